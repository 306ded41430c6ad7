"""The same command goes on, whatever was done to the run's folder."""

import errno
import json
import os
import shutil
import socket
import stat
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax import atomic
from alexnet_jax.atomic import write_file
from alexnet_jax.data import Batches, DataSpec
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.run import checkpoints, place
from alexnet_jax.run.checkpoints import Checkpoints
from alexnet_jax.run.checksums import CHECKSUMS, find_fault, step_folders
from alexnet_jax.run.folder import named_disk_errors, workdir_lock
from alexnet_jax.run.kept import KEPT_FILES
from alexnet_jax.run.rows import scan_rows
from alexnet_jax.train import train_and_evaluate
from tests.faults.damage import KINDS
from tests.helpers import checkpoint_of, metrics_of


def slow(value):
    """A case for make test-slow."""
    return pytest.param(value, marks=pytest.mark.slow)


def heavy(value):
    """A case for make test-all."""
    return pytest.param(value, marks=pytest.mark.heavy)


def spoilt_checksums():
    """Of which checkpoints, and what is in their place."""
    for number, steps in enumerate([(8,), (4, 8)]):
        for content in (b'{"sha256": []}', b'{"sha256": {}}', b"", b"5"):
            marks = [pytest.mark.heavy] * (content != b'{"sha256": []}')
            if (steps, content) == ((4, 8), b""):
                marks = [pytest.mark.slow]
            name = f"steps{number}-{content.decode()}"
            yield pytest.param(steps, content, id=name, marks=marks)


NAMES = ("step", "train/loss", "test/loss")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A place for a run of eight steps and the same run of twelve."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def run(config, runs, tmp_path):
    """A run with checkpoints of the steps 4 and 8, to be broken."""
    if not (runs / "whole").exists():
        train_and_evaluate(config, runs / "run")
        shutil.copytree(runs / "run", runs / "whole")
        config.num_epochs = 3
        train_and_evaluate(config, runs / "whole")
    config.num_epochs = 3
    return shutil.copytree(runs / "run", tmp_path / "run")


@pytest.fixture
def goes_on(config, run, runs, capsys):
    """Goes on and compares with the run that was left alone; returns what is said."""

    def check(start=8, rows=True):
        capsys.readouterr()
        train_and_evaluate(config, run)
        out = capsys.readouterr().out
        assert f"resuming  at step {start} of 12" in out or not start
        whole, parts = (checkpoint_of(path, 12) for path in (runs / "whole", run))
        jax.tree.map(np.testing.assert_array_equal, whole, parts)
        if rows:
            assert metrics_of(run, *NAMES) == metrics_of(runs / "whole", *NAMES)
        for folder in step_folders(run / "checkpoints").values():
            assert find_fault(folder) is None
        for name in KEPT_FILES:
            kept = run / "checkpoints" / "12" / name
            assert (run / name).read_bytes() == kept.read_bytes()
        return [line for line in out.splitlines() if line.startswith("warning")]

    return check


@pytest.mark.heavy
def test_nothing_is_said_where_nothing_is_wrong(goes_on):
    assert goes_on() == []


class TestUnfinishedCheckpoints:
    def test_the_name_comes_after_the_checksums(self, tmp_path, monkeypatch):
        """And the older one goes after the newer came."""
        seen = []

        def look(self, target):
            if target.name == "2":
                assert find_fault(self) is None
                seen.append([path.name for path in tmp_path.iterdir() if path != self])
            return rename(self, target)

        rename = type(tmp_path).rename
        made = Checkpoints(tmp_path / "checkpoints", keep=1)
        state = {"params": {"kernel": np.ones(3)}}
        made.save(1, state, {})
        made._await(0)
        monkeypatch.setattr(type(tmp_path), "rename", look)
        made.save(2, state, {})
        made.close()
        assert list(step_folders(tmp_path / "checkpoints")) == [2] and len(seen) == 1

    @pytest.mark.heavy
    def test_one_without_checksums_was_never_written(self, run, goes_on):
        (run / "checkpoints" / "8" / CHECKSUMS).unlink()
        (line,) = goes_on(start=4)
        assert "step 8: seal.json is missing, so it was never written to its" in line

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["no checksums", heavy("emptied")])
    def test_with_none_left_the_run_starts_over(self, run, goes_on, kind):
        for folder in step_folders(run / "checkpoints").values():
            if kind == "emptied":
                shutil.rmtree(folder)
                folder.mkdir()
            else:
                (folder / CHECKSUMS).unlink()
        lines = goes_on(start=0)
        assert "warning   no checkpoint is left: the run starts at step 0" in lines
        assert {path.name for path in (run / "damaged").iterdir()} == {"4", "8"}

    @pytest.mark.heavy
    def test_arrays_that_are_elsewhere(self, run, goes_on):
        folder = run / "checkpoints" / "8"
        for path in folder.rglob("*"):
            if path.parent.name == "d" or path.name == "manifest.ocdbt":
                path.unlink()
        record = json.loads((folder / CHECKSUMS).read_text())
        record["sha256"] = {
            name: digest
            for name, digest in record["sha256"].items()
            if (folder / name).exists()
        }
        (folder / CHECKSUMS).write_text(json.dumps(record))
        (line,) = goes_on(start=4)
        assert "step 8: the index of its arrays cannot be read" in line or (
            "of its arrays are not in it" in line
        )

    @pytest.mark.parametrize(
        ("spoil", "fault"),
        [
            (None, "is not as it was saved"),
            (KINDS["flipped bit"], "is not as it was saved"),
            (KINDS["truncated"], "cannot be read"),
        ],
    )
    def test_what_was_written_is_read_back(self, tmp_path, monkeypatch, spoil, fault):
        """The arrays' writer does something else than it was told, without an error."""
        made = Checkpoints(tmp_path / "checkpoints", keep=1)
        write = made._writer.save
        kernel = np.random.default_rng(0).normal(size=100_000)

        def save(folder, args):
            write(folder, args=args)
            if spoil is None:
                args.default.item["params"] = {"kernel": -kernel}
            else:
                files = (folder / "default").rglob("*")
                spoil(max(files, key=lambda path: path.stat().st_size))

        monkeypatch.setattr(made._writer, "save", save)
        made.save(1, {"params": {"kernel": kernel}}, {})
        words = rf"read back, params.kernel {fault}.*\); there is none yet"
        with pytest.raises(RunError, match=words):
            made.close()
        assert not list((tmp_path / "checkpoints").iterdir())


class TestSmallFiles:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "content",
        [
            b'{"config": []}',
            *map(heavy, (None, b"", b"{", b"[]", b'{"config": {}}', b"\xff")),
        ],
    )
    def test_the_config(self, run, goes_on, content):
        path = run / "config.json"
        path.unlink() if content is None else path.write_bytes(content)
        (line,) = goes_on()
        assert line.endswith(
            "config.json cannot be read; written anew from checkpoint 8"
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["data.json", "statistics.npz"])
    def test_the_specification(self, run, goes_on, name):
        content = (run / name).read_bytes()
        spoilt = bytearray(content)
        spoilt[4:60] = bytes(range(100, 156))
        (run / name).write_bytes(spoilt)
        (line,) = goes_on()
        assert line.endswith(f"{name} is damaged; written anew from checkpoint 8")
        assert (run / name).read_bytes() == content

    def test_any_byte_of_the_statistics(self, run):
        content = (run / "statistics.npz").read_bytes()
        refused = 0
        for byte in (*range(0, 400, 5), *range(len(content) - 600, len(content), 9)):
            spoilt = bytearray(content)
            spoilt[byte] ^= 0x15
            (run / "statistics.npz").write_bytes(spoilt)
            try:  # no other error than this
                DataSpec.load(run)
            except InputError:
                refused += 1
        assert refused > 50

    @pytest.mark.heavy
    def test_all_at_once(self, run, goes_on):
        for name in KEPT_FILES:
            (run / name).unlink()
        (run / "metrics.jsonl").unlink()
        lines = goes_on()
        assert len(lines) == 4
        assert "lacks the rows of step 4, 8; taken" in lines[-1]

    @pytest.mark.slow
    def test_of_an_older_version_the_specification_is_measured_again(
        self, run, goes_on, monkeypatch
    ):
        monkeypatch.setattr("alexnet_jax.run.kept.read_kept", lambda *_: None)
        (run / "data.json").unlink()
        (line,) = goes_on()
        assert line.endswith("cannot be read; written anew, as the data is now")

    @pytest.mark.heavy
    @pytest.mark.parametrize(("steps", "content"), [*spoilt_checksums()])
    def test_the_checksums(self, run, goes_on, content, steps):
        for step in steps:
            (run / "checkpoints" / str(step) / CHECKSUMS).write_bytes(content)
        lines = goes_on(start=4 if steps == (8,) else 8)
        assert all("seal.json is damaged" in line for line in lines)
        assert len(lines) == len(steps)

    @pytest.mark.heavy
    def test_foreign_entries_are_left_alone(self, run, goes_on):
        folder = run / "checkpoints"
        (folder / "200").write_text("mine")
        (folder / "12").write_text("in the way")
        for name in ("²", "٣", "007", "notes"):
            (folder / name).mkdir()
        lines = goes_on()
        assert [line.endswith("is no checkpoint; left alone") for line in lines] == [
            True
        ] * 6
        assert (folder / "200").read_text() == "mine" and (folder / "²").is_dir()
        assert (run / "damaged" / "12").read_text() == "in the way"

    @pytest.mark.slow
    def test_folders_in_the_place_of_files(self, run, goes_on):
        names = ["curves.png", ".lock", *KEPT_FILES]
        for name in names:
            (run / name).unlink()
            (run / name).mkdir()
            (run / name / "mine").touch()
        (run / "damaged").touch()
        lines = goes_on()
        moved = {f"{path.name}" for path in run.glob("*.damaged")}
        assert moved == {f"{name}.damaged" for name in names}
        assert len(lines) == len(names) + len(KEPT_FILES)
        assert stat.S_ISREG((run / "curves.png").stat().st_mode)

    @pytest.mark.heavy
    @pytest.mark.parametrize(
        "name",
        [
            "metrics.jsonl",
            heavy("config.json"),
            pytest.param("curves.png", marks=pytest.mark.slow),
        ],
    )
    def test_what_would_never_end(self, run, goes_on, name):
        (run / name).unlink()
        os.mkfifo(run / name)
        assert f"{name} is in the way; moved to {run / name}.damaged" in goes_on()[0]

    @pytest.mark.slow
    def test_a_link_to_what_would_never_end(self, run, goes_on, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for name in KEPT_FILES:
            (run / name).unlink()
            (run / name).symlink_to(tmp_path / "pipe")
        (run / "checkpoints" / "8" / "config.json").unlink()
        os.mkfifo(run / "checkpoints" / "8" / "config.json")
        lines = goes_on(start=4)
        assert sum("written anew from checkpoint 4" in line for line in lines) == 3
        assert sum("step 8: config.json is missing; mo" in line for line in lines) == 1

    @pytest.mark.slow
    def test_a_file_in_the_place_of_the_checkpoints(self, run, goes_on):
        shutil.rmtree(run / "checkpoints")
        (run / "checkpoints").touch()
        assert "checkpoints is in the way; moved to" in goes_on(start=0)[0]

    @pytest.mark.slow
    def test_what_kills_left_is_removed(self, run, goes_on):
        for name in ("metrics.jsonl", "config.json", "checkpoints/12"):
            write_file(run / f"{name}.0123456789abcdef.tmp", "half")
        assert goes_on() == [] and not list(run.rglob("*.tmp"))

    @pytest.mark.slow
    def test_a_checkpoint_that_is_a_link(self, run, goes_on, tmp_path):
        """What it leads to is somebody else's: neither read nor moved nor deleted."""
        (run / "checkpoints" / "8").rename(tmp_path / "8")
        (run / "checkpoints" / "8").symlink_to(tmp_path / "8")
        assert goes_on(start=4)[-1].endswith("8 is no checkpoint; left alone")
        assert find_fault(tmp_path / "8") is None


class TestRows:
    @pytest.mark.slow
    def test_one_bad_line(self, run, goes_on):
        path = run / "metrics.jsonl"
        lines = path.read_bytes().splitlines()
        path.write_bytes(b"\n".join([b"\xff\n5\n[]", *lines, lines[-1][:20]]))
        damaged = path.read_bytes()
        (line,) = goes_on()
        assert "lines 1, 2, 3, 6 are damaged; skipped; the file as it was is" in line
        assert (run / "metrics.jsonl.damaged").read_bytes() == damaged

    @pytest.mark.slow
    def test_a_row_without_the_time(self, run, goes_on):
        path = run / "metrics.jsonl"
        path.write_text(path.read_text().replace('"time_s"', '"time"'))
        goes_on()

    @pytest.mark.slow
    def test_moved_while_the_run_writes(self, run, goes_on, monkeypatch):
        move_at_step(monkeypatch, 10, run / "metrics.jsonl", run / "moved")
        (line,) = goes_on()
        assert line.endswith("metrics.jsonl was moved or changed; written anew")

    @pytest.mark.slow
    def test_emptied_while_the_run_writes(self, run, goes_on, monkeypatch):
        at_step(monkeypatch, 10, lambda: os.truncate(run / "metrics.jsonl", 0))
        (line,) = goes_on()
        assert line.endswith("metrics.jsonl was moved or changed; written anew")

    @pytest.mark.slow
    @pytest.mark.parametrize("spoil", [Path.unlink, KINDS["emptied"]])
    def test_all_rows_are_in_the_checkpoint(self, run, goes_on, spoil):
        """Those between the checkpoints too."""
        spoil(run / "metrics.jsonl")
        shutil.rmtree(run / "checkpoints" / "4")
        (line,) = goes_on()
        assert "lacks the rows of step 4, 8; taken from the checkpoints" in line
        assert "lost" not in line

    @pytest.mark.slow
    def test_a_flipped_digit(self, run, goes_on):
        path = run / "metrics.jsonl"
        first, second = path.read_text().splitlines()
        row = json.loads(first) | {"test/top1": 0.99}
        path.write_text(f"{json.dumps(row)}\n{second}\n")
        (line,) = goes_on()
        assert "the rows of step 4 are not as their checkpoint has them" in line

    def test_a_run_that_has_ended_is_mended(self, run, config, capsys):
        whole = {p: (run / p).read_bytes() for p in ("metrics.jsonl", "curves.png")}
        config.num_epochs = 2
        result = train_and_evaluate(config, run)
        assert "warning" not in capsys.readouterr().out
        for name, content in whole.items():
            (run / name).write_bytes(content[: len(content) // 2])
        assert train_and_evaluate(config, run) == result
        out = capsys.readouterr().out
        assert "warning " in out and "finished  earlier, at step 8" in out
        for name, content in whole.items():
            assert (run / name).read_bytes() == content


def at_step(monkeypatch, step, act):
    """Does something once while a run trains."""
    batch, done = Batches.batch, []

    def look(self, index, rows=slice(None)):
        if index == step and self.batch_size == 400 and not done:
            done.append(act())
        return batch(self, index, rows)

    monkeypatch.setattr(Batches, "batch", look)


def move_at_step(monkeypatch, step, path, to=None):
    """Moves something away, or deletes it, while a run trains."""
    at_step(monkeypatch, step, lambda: path.rename(to) if to else shutil.rmtree(path))


@pytest.mark.slow
def test_checkpoints_that_are_swapped_for_somebody_elses(
    run, config, tmp_path, monkeypatch
):
    """Nothing of theirs is deleted, moved or written."""
    for step in (4, 8, 12):
        (tmp_path / "theirs" / str(step)).mkdir(parents=True)
        (tmp_path / "theirs" / str(step) / "precious").touch()
    before = sorted((tmp_path / "theirs").rglob("*"))

    def swap():
        (run / "checkpoints").rename(tmp_path / "ours")
        (run / "checkpoints").symlink_to(tmp_path / "theirs")

    at_step(monkeypatch, 9, swap)
    with pytest.raises(RunError, match="checkpoints was moved or deleted while the"):
        train_and_evaluate(config, run)
    assert sorted((tmp_path / "theirs").rglob("*")) == before
    assert not (run / "damaged").exists()


@pytest.mark.slow
def test_tensorboards_events_go_on(run, config, tmp_path, monkeypatch, capsys):
    config.log.tensorboard = True
    at_step(monkeypatch, 9, lambda: (run / "tensorboard").rename(tmp_path / "moved"))
    train_and_evaluate(config, run)
    assert "was moved or deleted; a new file goes on" in capsys.readouterr().out
    assert list((run / "tensorboard").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["renamed", *map(heavy, ("deleted", "replaced"))])
def test_a_workdir_that_goes_away(run, config, tmp_path, monkeypatch, what, capsys):
    to = None if what == "deleted" else tmp_path / "moved"
    move_at_step(monkeypatch, 9, run, to)
    if what == "replaced":
        fit = Checkpoints.save
        monkeypatch.setattr(
            Checkpoints,
            "save",
            lambda *args: (run.mkdir(exist_ok=True), fit(*args))[1],
        )
    with pytest.raises(RunError, match="workdir: .* was moved or deleted wh") as error:
        train_and_evaluate(config, run)
    assert "\n" not in str(error.value)
    assert not (run / "metrics.jsonl").exists()
    assert "finished" not in capsys.readouterr().out
    if what == "renamed":
        monkeypatch.undo()
        to.rename(run)
        assert train_and_evaluate(config, run)["step"] == 12


class TestErrorsOfTheDisk:
    @pytest.mark.heavy
    @pytest.mark.parametrize(
        "code", [errno.EIO, *map(slow, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))]
    )
    @pytest.mark.parametrize("where", ["rows", "board"])
    def test_while_a_record_is_written(self, run, config, monkeypatch, code, where):
        def fail(file, content):
            name = os.path.basename(os.readlink(f"/proc/self/fd/{file.fileno()}"))
            wanted = "metrics.jsonl" if where == "rows" else "events.out.tfevents"
            if name.startswith(wanted) and not name.endswith(".tmp"):
                raise OSError(code, os.strerror(code))
            write(file, content)

        write = atomic.write_all
        for module in ("records", "board"):
            monkeypatch.setattr(f"alexnet_jax.run.{module}.write_all", fail)
        config.log.tensorboard = True
        line = f"workdir: .* cannot be written .{os.strerror(code)}.; make room"
        with pytest.raises(RunError, match=line):
            train_and_evaluate(config, run)
        monkeypatch.undo()
        assert train_and_evaluate(config, run)["step"] == 12

    def test_the_reason_is_what_the_system_said(self):
        text = f"x{'/long' * 99}: Failed [os_error_code='{errno.EDQUOT}']"
        assert checkpoints._reason(ValueError(text)) == os.strerror(errno.EDQUOT)
        assert checkpoints._reason(OSError(errno.EIO, "bad")) == "bad"
        assert checkpoints._reason(RuntimeError("a\nb")) == "a b"

    def test_an_error_of_standard_output_is_not_the_folders(self, tmp_path):
        with pytest.raises(BrokenPipeError), named_disk_errors(tmp_path):
            raise BrokenPipeError


class TestLocks:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "code", [errno.ENOLCK, *map(heavy, (errno.EOPNOTSUPP, errno.ENOSYS))]
    )
    def test_a_file_system_without_them(self, run, goes_on, monkeypatch, code):
        def refuse(*args):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(atomic.fcntl, "flock", refuse)
        (line,) = goes_on()
        assert f"cannot be locked ({os.strerror(code)}): nothing keeps a second" in line

    def test_a_second_run(self, tmp_path):
        with (
            workdir_lock(tmp_path),
            pytest.raises(InputError, match="another run is writing to"),
            workdir_lock(tmp_path),
        ):
            pass


class TestOpenFiles:
    @pytest.mark.parametrize(
        ("limits", "raised"), [((64, 64), None), ((64, 4096), 1024), ((16, 100), 100)]
    )
    def test_a_low_limit_is_raised_if_it_may(self, monkeypatch, limits, raised):
        found = []
        monkeypatch.setattr(place.resource, "getrlimit", lambda _: limits)
        monkeypatch.setattr(
            place.resource, "setrlimit", lambda _, wanted: found.append(wanted)
        )
        place.raise_open_files()
        assert [soft for soft, _ in found if soft != limits[0]] == (
            [raised] if raised else []
        )

    def test_too_few(self, config, tmp_path, monkeypatch):
        monkeypatch.setattr(place.resource, "getrlimit", lambda _: (16, 16))
        monkeypatch.setattr(place.resource, "setrlimit", lambda *_: None)
        with pytest.raises(InputError, match="limit of open files is 16, too low to"):
            train_and_evaluate(config, tmp_path)


class TestLinks:
    @pytest.mark.slow
    def test_files_and_folders_are_not_written_through(self, run, config, tmp_path):
        victim, folder = tmp_path / "victim", tmp_path / "others"
        victim.write_text("mine")
        folder.mkdir()
        names = [*KEPT_FILES, "curves.png", ".lock"]
        for name in names:
            (run / name).unlink()
            (run / name).symlink_to(victim)
        shutil.copy(run / "metrics.jsonl", tmp_path / "rows")
        before = (tmp_path / "rows").read_bytes()
        (run / "metrics.jsonl").unlink()
        (run / "metrics.jsonl").symlink_to(tmp_path / "rows")
        for name in ("tensorboard", "damaged"):
            (run / name).symlink_to(folder)
        (run / "checkpoints" / "12").symlink_to(victim)
        (run / "checkpoints" / "8" / CHECKSUMS).unlink()
        config.log.tensorboard = True
        assert train_and_evaluate(config, run)["step"] == 12
        assert victim.read_text() == "mine" and not list(folder.iterdir())
        assert (tmp_path / "rows").read_bytes() == before
        for name in (*names, "metrics.jsonl", "tensorboard", "damaged"):
            assert not (run / name).is_symlink(), name
        assert len(scan_rows(run / "metrics.jsonl").rows) == 3

    @pytest.mark.heavy
    def test_linked_checkpoints_are_refused(self, run, config, tmp_path):
        (run / "checkpoints").rename(tmp_path / "elsewhere")
        (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InputError, match="checkpoints is a symbolic link, which"):
            train_and_evaluate(config, run)
        assert len(list((tmp_path / "elsewhere").iterdir())) == 2


@pytest.mark.slow
def test_a_socket_is_no_file(tmp_path, config, monkeypatch):
    with socket.socket(socket.AF_UNIX) as server, monkeypatch.context() as patch:
        patch.chdir(tmp_path)  # a socket's path may have 107 bytes
        server.bind("config.json")
    config.num_train_steps = 1
    assert train_and_evaluate(config, tmp_path)["step"] == 1
