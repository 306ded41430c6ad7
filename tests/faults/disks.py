"""Disks that are full, read-only or broken."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.lives import Campaign, two_at_a_time


@contextlib.contextmanager
def small_disk(options: str) -> Iterator[Path | None]:
    """Mounts a tmpfs; yields its folder, or None where that is not allowed.

    The mount belongs to a process that waits for the end of its input: it is gone when
    this one ends, however it ends.
    """
    mount = 'mount -t tmpfs -o "$0" tmpfs /mnt && echo mounted && exec cat'
    namespace = ("unshare", "--user", "--map-root-user", "--mount")
    if not shutil.which(namespace[0]):
        yield None
        return
    with subprocess.Popen(
        [*namespace, "sh", "-c", mount, options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        assert holder.stdout is not None
        mounted = holder.stdout.readline() == b"mounted\n"
        yield Path(f"/proc/{holder.pid}/root/mnt") if mounted else None
        holder.communicate()


def full_disk(campaign: Campaign) -> None:
    """A disk with room for two checkpoints, then the run is moved to a larger one."""
    with small_disk(f"size={campaign.job.disk}") as disk:
        if disk is None:
            campaign.rows.append(("full disk", 0, "not run: no mounting here"))
            return
        workdir = disk / "run"
        process = campaign.start(workdir)
        text = campaign.end(process)
        assert process.returncode == 1, text
        (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
        assert "No space left" in line or "RESOURCE_EXHAUSTED" in line, line
        assert campaign.newest_intact(workdir) > 0
        larger = campaign.folder / "larger"
        shutil.copytree(workdir, larger)
    campaign.finish(larger)
    campaign.check_whole(larger)
    campaign.rows.append(("full disk", 1, "one line; with room it ended bit for bit"))


def read_only(campaign: Campaign) -> None:
    """A folder that cannot be written."""
    with small_disk("ro") as disk:
        if disk is None:
            campaign.rows.append(
                ("read-only folder", 0, "not run: mounting not allowed")
            )
            return
        process = campaign.start(disk / "run")
        text = campaign.end(process)
        assert process.returncode == 1 and "cannot be written" in text, text
    campaign.rows.append(("read-only folder", 1, "one line, before anything is done"))


def build_failing_calls(folder: Path) -> Path | None:
    """Compiles `failing_calls.c`; returns None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "failing_calls.so"
    source = Path(__file__).with_name("failing_calls.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True
    )
    return library


# Each call with the errors that a disk, a quota or a share answers with, and with the
# numbers of the first call that fails: in small files, in a checkpoint, in a later one.
FAILING = {
    "write": (("ENOSPC", "EDQUOT", "EIO", "EFBIG"), (1, 6, 30)),
    "open": (("ENOSPC", "EMFILE", "EROFS"), (1, 12, 40)),
    "rename": (("EIO", "EROFS"), (1, 9, 18)),
    "mkdir": (("ENOSPC", "EDQUOT"), (1, 4)),
    "read": (("EIO",), (1, 9)),
    "unlink": (("EIO", "EROFS"), (1,)),
    "fsync": (("EIO",), (1,)),
    "ftruncate": (("EIO",), (1,)),
    "flock": (("ENOLCK", "EOPNOTSUPP"), (1,)),
}
Case = tuple[str, str, int]  # a call, its error, from which time on
_HARMLESS = ("unlink", "fsync", "ftruncate", "flock")  # without which a run can go on


def pairs(call: str) -> list[Case]:
    """Each of a call's errors and each of its moments, in as few cases as can be."""
    errors, firsts = FAILING[call]
    count = max(len(errors), len(firsts))
    return [
        (call, errors[i % len(errors)], firsts[i % len(firsts)]) for i in range(count)
    ]


def failing_calls(campaign: Campaign, cases: list[Case]) -> None:
    """Each call fails from its N-th time on; then the disk is mended."""
    library = build_failing_calls(campaign.folder)
    if library is None:
        campaign.rows.append(("a system call fails", 0, "not run: no C compiler"))
        return

    def live(case: Case) -> None:
        call, name, first = case
        workdir = campaign.folder / f"{call}-{name}-{first}"
        process = campaign.start(
            workdir,
            LD_PRELOAD=str(library),
            FAULT_CALL=call,
            FAULT_ERRNO=str(getattr(errno, name)),
            FAULT_FROM=str(first),
            FAULT_FOLDER=f"{workdir}/",
        )
        out, error = process.communicate(timeout=300)
        if process.returncode == 0:
            assert call in _HARMLESS, (case, out)
        else:
            (line,) = error.splitlines()
            reason = os.strerror(getattr(errno, name))
            assert process.returncode == 1 and line.startswith("error: "), (case, line)
            assert f"cannot be written ({reason})" in line, (case, line)
        text = campaign.finish(workdir)
        campaign.check_whole(workdir, told=text)
        shutil.rmtree(workdir)

    two_at_a_time(live, cases)
    for call in dict.fromkeys(call for call, *_ in cases):
        times = sum(case[0] == call for case in cases)
        seen = "one line, or went on without it; mended, it ended bit for bit"
        campaign.rows.append((f"{call} fails", times, seen))
