"""A suite goes on past whatever happens to its parts, and loses no result."""

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from alexnet_jax.errors import InputError
from benchmarks.gpu import part as writing
from benchmarks.gpu.part import read
from benchmarks.gpu.runner import Part, Runner, describe, summarize

ROOT = Path(__file__).parents[3]
FAKES = "tests.benchmarks.gpu.fakes"
LIMIT = 16_000_000  # bytes of a file


def part(what, limit_s=20.0, environment=None, **work):
    return Part(what, FAKES, {"what": what} | work, limit_s, environment or {})


@pytest.fixture
def perform(tmp_path):
    """Performs parts; returns their results, by part."""

    def call(*parts, seconds=60):
        runner = Runner(tmp_path / "out", "suite-1", tmp_path / "work", seconds)
        runner.perform(parts)
        names = {path.name for path in (tmp_path / "out").iterdir()}
        names = {name.removeprefix("earlier-") for name in names}
        assert names <= {"suite-1.jsonl", "suite-1.txt", "suite-1.tar.gz"}
        assert all(p.stat().st_size < LIMIT for p in (tmp_path / "out").iterdir())
        found = {}
        for row in read(runner.results):
            found.setdefault(row.pop("part"), []).append(row)
        return found

    return call


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_it_goes_on_past_failures(perform, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--first")
    found = perform(
        part("fails"),
        part("dies"),
        part("no_such_function"),
        part("good", environment={"XLA_FLAGS": "--second"}),
        part("returns"),
    )
    value, note = found["fails"]
    assert value == {"value": 1}
    assert note["ended"] == "failed (1)"
    assert "ValueError: it is broken" in note["error"]
    assert found["dies"][0] == {"value": 1}
    assert found["dies"][1]["ended"] == "failed (-9)"
    assert "KeyError: 'no_such_function'" in found["no_such_function"][0]["error"]
    third, nan, environment, note = found["good"]
    assert third == {"value": 0.33333, "words": "a third"}
    assert nan == {"value": "nan"}  # JSON has none
    assert environment == {"environment": "--first --second"}
    assert note["ended"] == "ok"
    assert found["returns"][0] == {"value": 1}
    told = capsys.readouterr().out
    log = (tmp_path / "out" / "suite-1.txt").read_text()
    assert "the reason" in log and "the reason" not in told.partition("Summary")[0][:20]
    for text in (told, log):
        summary = text.partition("Summary: ")[2]
        assert summary.startswith("2 of 5 parts measured\n  good: a third\n")
        assert "  dies: ended failed (-9)" in summary


@pytest.mark.heavy  # its limit is long enough for a busy machine to begin
def test_a_part_that_hangs_is_ended_with_all_that_it_started(perform):
    found = perform(part("hangs_on", 4.0), part("returns"))
    assert found["hangs_on"][1]["ended"] == "out of time"
    assert not is_alive(found["hangs_on"][0]["child"])
    assert found["returns"][1]["ended"] == "ok"


@pytest.mark.heavy
def test_a_part_may_save_when_its_time_is_over(perform):
    rows = perform(part("saves", 4.0))["saves"]
    assert [row.get("saved") for row in rows] == [None, True, None]
    assert rows[2]["ended"] == "out of time"


def test_a_suite_ends_in_time(perform):
    begin = time.monotonic()
    found = perform(part("hangs"), part("returns"), seconds=2)
    assert time.monotonic() - begin < 5
    assert [row["ended"] for row in found["hangs"]] == ["no time left"]
    assert [row["ended"] for row in found["returns"]] == ["no time left"]
    found = perform(part("hangs", 2.0), part("returns", 1.5), seconds=3)
    assert found["hangs"][-1]["ended"] == "out of time"
    assert found["returns"] == [{"ended": "no time left"}]


def test_results_of_an_earlier_suite_are_kept(perform, tmp_path):
    assert perform(part("returns"))["returns"][0] == {"value": 1}
    before = (tmp_path / "out" / "suite-1.jsonl").read_text()
    assert perform(part("good"))["good"][-1]["ended"] == "ok"
    assert (tmp_path / "out" / "earlier-suite-1.jsonl").read_text() == before


def test_no_file_is_larger_than_16_mb(perform, tmp_path, monkeypatch):
    perform(part("floods"), part("keeps", folder=str(tmp_path / "work")))
    out = tmp_path / "out"
    assert (out / "suite-1.jsonl").stat().st_size <= writing.MAX_BYTES
    assert "keeps: ended ok" in (out / "suite-1.txt").read_text()
    with tarfile.open(out / "suite-1.tar.gz") as tar:
        assert tar.getnames() == ["run/small.txt"]
    perform(part("returns"))  # packs nothing of the suite before
    with tarfile.open(out / "suite-1.tar.gz") as tar:
        assert tar.getnames() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_suite_that_is_killed_leaves_what_was_measured(number, tmp_path):
    """SIGTERM also ends the part, and the summary is written."""
    code = f"""
import benchmarks.gpu.__main__ as command
from benchmarks.gpu.runner import Part
def suite(*_, **__):
    return [Part(what, {FAKES!r}, {{"what": what}}, 50) for what in ("good", "hangs")]
command.suite = suite
command.main(["--suite=2", "--output={tmp_path}/out", "--work={tmp_path}/work"])
"""
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE
    ) as process:
        results, deadline = tmp_path / "out" / "suite-2.jsonl", time.monotonic() + 30
        while not any("pid" in row for row in read(results)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        process.wait(20)
    *_, note, hanging = read(results)
    assert note["part"] == "good" and note["ended"] == "ok"
    log = (tmp_path / "out" / "suite-2.txt").read_text()
    if number == signal.SIGKILL:
        os.kill(hanging["pid"], signal.SIGKILL)
        assert "good: a third" in log
    else:
        assert process.returncode == 128 + signal.SIGTERM
        assert not is_alive(hanging["pid"])
        assert "Summary: 1 of 1 parts measured" in log


def test_a_line_that_was_cut_off_is_no_result(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"part": "a"}\n{"part": "b')
    assert read(path) == [{"part": "a"}]
    assert read(tmp_path / "none") == []


def test_words():
    row = {"part": "a", "value": 12345.678, "note": "it", "none": None, "empty": ""}
    assert describe(row) == "a: value 1.235e+04, note it"
    rows = [row, {"part": "a", "ended": "ok"}, {"part": "b", "error": "lost"}]
    assert summarize(rows) == [
        "Summary: 1 of 1 parts measured",
        "Not measured:",
        "  b: error lost",
    ]


def test_nothing_follows_a_required_part_that_fails(perform, tmp_path):
    required = part("fails")._replace(required=True)
    with pytest.raises(SystemExit, match="^1$"):
        perform(required, part("good"))
    rows = read(tmp_path / "out" / "suite-1.jsonl")
    assert {row["part"] for row in rows} == {"fails"}


def test_what_is_not_a_suites_stays(tmp_path):
    (tmp_path / "work" / "kept").mkdir(parents=True)
    (tmp_path / "work" / "kept" / "mine.txt").touch()
    with pytest.raises(InputError, match="^--work must be a new folder or that of"):
        Runner(tmp_path / "out", "suite-1", tmp_path / "work", 60)
    assert (tmp_path / "work" / "kept" / "mine.txt").exists()


def test_a_part_ends_with_a_suite_that_is_killed(tmp_path):
    code = (
        "from pathlib import Path; from tests.benchmarks.gpu import test_runner as t; "
        f"t.Runner(Path({str(tmp_path)!r}, 'out'), 's', Path({str(tmp_path)!r}, 'w'), "
        "60).perform([t.part('hangs')])"
    )
    suite = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    rows, path = [], tmp_path / "out" / "s.jsonl"
    for _ in range(300):
        if rows := read(path):
            break
        time.sleep(0.1)
    assert is_alive(rows[0]["pid"])
    suite.kill()
    suite.wait()
    for _ in range(100):
        if not is_alive(rows[0]["pid"]):
            break
        time.sleep(0.1)
    assert not is_alive(rows[0]["pid"])
    assert read(path) == rows
