"""Performs parts one after another, whatever becomes of each, in a number of seconds.

A part is a process group with a limit: SIGTERM shortly before it, so that a run saves,
then SIGKILL. Leaves three files of at most 16 MB: `suite-N.jsonl`, a line a result,
written as it comes; `suite-N.txt`, what the parts printed, and the summary; and
`suite-N.tar.gz`, the small files that the parts keep.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_jax.atomic import free_place, write_file
from alexnet_jax.errors import InputError
from benchmarks.gpu.part import read, write

_ROOT = Path(__file__).parents[2]
_GRACE_S = 10.0  # between SIGTERM and SIGKILL
_LEAST_S = 10.0  # with less left, no part is begun
_LOG_BYTES = 200_000  # of a part; the first and the last are kept
_KEPT_BYTES = 15_000_000


class Part(NamedTuple):
    """What one process measures.

    Attributes:
      name: In results and on the terminal.
      module: Whose `measure` yields the results.
      work: Its keyword arguments, as JSON has them.
      limit_s: Seconds until it is ended.
      environment: Variables besides those of the suite.
      required: Whether the others mean nothing if it fails.
    """

    name: str
    module: str
    work: dict[str, Any]
    limit_s: float
    environment: dict[str, str] = {}
    required: bool = False


class Runner:
    """The files of a suite, and the time that is left to it."""

    def __init__(self, output: Path, stem: str, work: Path, seconds: float) -> None:
        """Begins the files, beside earlier ones; the time runs from now.

        Args:
          output: Folder of the three files.
          stem: Of their names.
          work: Folder of all else; what parts put in its `kept/` is packed.
          seconds: For all parts together.

        Raises:
          InputError: `kept/` holds what no suite has put there.
        """
        kept, log = work / "kept", work / "part.log"
        if kept.is_dir() and any(kept.iterdir()) and not log.exists():
            raise InputError(
                f"--work must be a new folder or that of an earlier suite; {work} has "
                "a folder kept/ of something else"
            )
        self._end = time.monotonic() + seconds
        self._begin = time.monotonic()
        shutil.rmtree(kept, ignore_errors=True)  # of an earlier suite
        for folder in (output, kept):
            folder.mkdir(parents=True, exist_ok=True)
        self.results = (output / f"{stem}.jsonl").absolute()
        self._log = (output / f"{stem}.txt").absolute()
        self._archive = output / f"{stem}.tar.gz"
        self._work, self._part_log = work.absolute(), log.absolute()
        for path in (self.results, self._log, self._archive):
            if path.exists():  # of an earlier suite
                path.rename(free_place(path.with_name(f"earlier-{path.name}")))
        for path in (self.results, self._log):
            path.touch()

    def perform(self, parts: Sequence[Part]) -> None:
        """Measures every part for which there is time, and sums up.

        Raises:
          SystemExit: With 1, a part that is required failed; nothing follows it.
        """
        try:
            for part in parts:
                known = len(read(self.results))
                note = self._perform(part)
                write(self.results, {"part": part.name} | note)
                seconds = time.monotonic() - self._begin
                for row in read(self.results)[known:]:
                    self._say(f"{seconds:5.0f} s  {describe(row)}")
                self._pack()
                if part.required and note["ended"].startswith("failed"):
                    sys.exit(1)
        finally:  # also of a suite that is stopped
            self._say("\n" + "\n".join(summarize(read(self.results))))

    def _perform(self, part: Part) -> dict[str, Any]:
        limit = min(part.limit_s, self._end - time.monotonic())
        if limit < min(_LEAST_S, part.limit_s):
            return {"ended": "no time left"}
        begin = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.gpu.part", part.name, part.module]
        command += [json.dumps(part.work), str(self.results)]
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        with self._part_log.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=_ROOT,  # of the experiments
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": path} | _add_flags(part.environment),
            )
            try:
                ended = _wait(process, limit)
            finally:
                _signal(process, signal.SIGKILL)  # and what it has started
                process.wait()
        text = _shorten(self._part_log.read_bytes())
        note = {"ended": ended, "seconds": time.monotonic() - begin}
        if ended != "ok":
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            note["error"] = " | ".join(lines[-3:])[-500:]
        with self._log.open("a") as whole:
            whole.write(f"\n===== {part.name}: {ended}\n{text}\n")
        return note

    def _say(self, line: str) -> None:
        print(line, flush=True)
        with self._log.open("a") as file:
            file.write(line + "\n")

    def _pack(self) -> None:
        """Packs the kept files, the smallest first, as far as they go."""
        folder, size, packed = self._work / "kept", 0, io.BytesIO()
        files = [path for path in folder.rglob("*") if path.is_file()]
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for path in sorted(files, key=lambda path: (path.stat().st_size, path)):
                size += path.stat().st_size + 1024
                if size < _KEPT_BYTES:
                    tar.add(path, str(path.relative_to(folder)))
        write_file(self._archive, packed.getvalue())


def _wait(process: subprocess.Popen, limit: float) -> str:
    """Returns how a process ended: "ok", "failed (CODE)" or "out of time"."""
    grace = min(_GRACE_S, limit / 4)
    try:
        code = process.wait(limit - grace)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        return "out of time"
    return f"failed ({code})" if code else "ok"


def _signal(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _add_flags(environment: dict[str, str]) -> dict[str, str]:
    """Returns a part's environment, its flags of XLA after those that are set."""
    flags = [os.environ.get("XLA_FLAGS", ""), environment.get("XLA_FLAGS", "")]
    return environment | {"XLA_FLAGS": " ".join(filter(None, flags))}


def _shorten(content: bytes) -> str:
    half = _LOG_BYTES // 2
    if len(content) > _LOG_BYTES:
        content = content[:half] + b"\n...\n" + content[-half:]
    return content.decode(errors="replace")


def describe(row: dict[str, Any]) -> str:
    """Returns a result in words: its own, or its keys and values."""
    words = row.get("words") or ", ".join(
        f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()
        if key != "part" and value not in ("", None)
    )
    return f"{row['part']}: {words}"[:600]


def summarize(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Returns the summary: what has words of its own, then what was not measured."""
    rows = list(rows)
    notes = {row["part"]: row for row in rows if "ended" in row}
    done = [name for name, note in notes.items() if note["ended"] == "ok"]
    lines = [f"Summary: {len(done)} of {len(notes)} parts measured"]
    lines += [f"  {describe(row)}" for row in rows if "words" in row]
    lost = [row for row in rows if row.get("ended", "ok") != "ok" or "error" in row]
    if lost:
        lines += ["Not measured:", *(f"  {describe(row)}" for row in lost)]
    return lines
