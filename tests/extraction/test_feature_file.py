"""Files of features by themselves: memory, full disks, missing libraries."""

import csv
import errno
import importlib.util
import resource
import signal
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from alexnet_jax.errors import InputError
from alexnet_jax.extraction import writers
from alexnet_jax.extraction.feature_file import (
    FeatureFile,
    check_column_names,
    check_features_file,
)
from alexnet_jax.terminal.signals import Ended, raised_signals

ENDINGS = [".npz", ".csv", ".parquet"]
if importlib.util.find_spec("h5py"):  # an extra
    ENDINGS += [".h5"]
ROW_BYTES = 4 * 4096


def fill(file, batches, rows=64):
    block = np.random.default_rng(0).standard_normal((rows, 8, 8, 64)).astype("f4")
    with FeatureFile(file) as out:
        for start in range(batches):
            out.write([f"{start}-{i}" for i in range(rows)], {"maps": block + start})
        out.finish({"a": 1})


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_are_not_kept(ending, tmp_path, monkeypatch):
    """Four times as many take no more memory."""
    monkeypatch.setattr(writers, "_BUFFER_BYTES", 2**19)
    monkeypatch.setattr(writers, "_CSV_VALUES", 2**13)
    file, peaks = tmp_path / f"f{ending}", []
    rows = 4 if ending == ".csv" else 32  # text takes time
    fill(file, 1, rows)
    for batches in (8, 32):
        tracemalloc.start()
        fill(file, batches, rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 24 * rows * ROW_BYTES / 8, peaks
    assert file.stat().st_size > 32 * rows * ROW_BYTES * 0.9


def test_row_groups_are_large_whatever_a_batch_is(tmp_path):
    file = tmp_path / "f.parquet"
    with FeatureFile(file) as out:
        for i in range(200):
            out.write([str(i)], {"fc": np.full((1, 8), i, np.float32)})
        out.finish({})
    found = parquet.ParquetFile(file)
    assert found.metadata.num_rows == 200 and found.metadata.num_row_groups == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk(ending, tmp_path):
    file = tmp_path / f"f{ending}"
    file.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(
            InputError, match=rf"^--output: .*f{ending} cannot be writt"
        ):
            fill(file, 6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [*tmp_path.iterdir()] == [file] and file.read_text() == "old"


@pytest.mark.parametrize("ending", ENDINGS)
def test_errors_of_others_pass(ending, tmp_path):
    file = tmp_path / "new" / f"f{ending}"
    with pytest.raises(RuntimeError, match="^of a device$"), FeatureFile(file) as out:
        out.write(["a"], {"fc": np.zeros((1, 2), np.float32)})
        raise RuntimeError("of a device")
    assert not file.parent.exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_folders_that_it_made_are_removed(ending, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    file = tmp_path / "own" / "a" / "b" / f"f{ending}"
    with pytest.raises(KeyError), FeatureFile(file):
        raise KeyError
    assert [*tmp_path.rglob("*")] == [tmp_path / "own"]
    with pytest.raises(KeyError), FeatureFile(file):
        (tmp_path / "own" / "a" / "other").touch()
        raise KeyError
    assert [*(tmp_path / "own").rglob("*")] == [
        tmp_path / "own" / "a",
        tmp_path / "own" / "a" / "other",
    ]
    monkeypatch.chdir(tmp_path)
    fill(Path(f"new/../f{ending}"), 1, rows=1)
    assert (tmp_path / f"f{ending}").stat().st_size


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("call", ["write", "truncate", "seek", "readinto"])
def test_a_signal_within_hdf5(call, number, tmp_path, monkeypatch):
    """HDF5 calls Python, where an exception would end the process."""
    pytest.importorskip("h5py")
    file, calls = tmp_path / "new" / "f.h5", []

    def interrupted(self, *args):
        calls.append(call)
        if len(calls) == 1:
            signal.raise_signal(number)
        return getattr(super(writers._Lenient, self), call)(*args)

    monkeypatch.setattr(writers._Lenient, call, interrupted, raising=False)
    with pytest.raises(Ended) as ended, raised_signals():
        fill(file, 3, rows=2)
    assert ended.value.number == number and calls
    assert not [*tmp_path.iterdir()]


def test_any_exception_waits_until_hdf5_has_returned(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    file = tmp_path / "f.h5"

    def memoryview(content):
        raise KeyboardInterrupt("within")

    with pytest.raises(KeyboardInterrupt, match="within"), FeatureFile(file) as out:
        monkeypatch.setattr(writers, "memoryview", memoryview, raising=False)
        out.write(["a"], {"fc": np.zeros((1, 2**18), np.float32)})
        out.finish({})
    assert not [*tmp_path.iterdir()]


NAMES = ["a\rb", "\r", "a\r\nb", "a\nb", 'a"b', '"', "a,b", "a\tb", " a ", "'a'", "a;b"]
NAMES += ["a\x0bb", "a\x0cb", "a\x85b", "a\u2028b", "ä", "#a", "a\\b", 'a\r",\n"']


def test_csv_quotes_whatever_splits_rows(tmp_path):
    file = tmp_path / "f.csv"
    rows = np.arange(len(NAMES), dtype=np.float32)[:, None]
    with FeatureFile(file) as out:
        out.write(NAMES, {"f,c": rows})
        out.finish({})
    with open(file, newline="", encoding="utf-8") as lines:
        header, *found = csv.reader(lines)
    assert header == ["path", "f,c_0"]
    assert [name for name, _ in found] == NAMES
    assert [float(value) for _, value in found] == rows[:, 0].tolist()
    options = arrow_csv.ParseOptions(newlines_in_values=True)
    table = arrow_csv.read_csv(file, parse_options=options)
    assert table.column_names == header
    assert table["path"].to_pylist() == NAMES
    assert table["f,c_0"].to_pylist() == rows[:, 0].tolist()


@pytest.mark.parametrize(
    ("ending", "library"), [(".h5", "h5py"), (".hdf5", "h5py"), (".parquet", "pyarrow")]
)
def test_a_missing_library(ending, library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    remedy = r"pip install 'alexnet_jax\[features\]'"
    message = f"--output: {library} is not installed, .* {remedy}"
    with pytest.raises(InputError, match=message):
        check_features_file(tmp_path / f"f{ending}")
    check_features_file(tmp_path / "f.npz")


def test_a_folder_that_is_read_only(tmp_path, monkeypatch):
    def refuse(**options):  # a test may be root
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match="cannot be written .Permission denied"):
        check_features_file(tmp_path / "new" / "f.npz")


def test_a_layer_with_the_name_of_the_paths(tmp_path):
    with pytest.raises(
        InputError, match="--layers: the file holds a 'path' of its own"
    ):
        check_column_names(["conv1", "path"])


def test_special_values(tmp_path):
    values = [np.nan, np.inf, -np.inf, -0.0, 1e-42, 3.4028235e38, 0.1, 1 / 3]
    rows = np.array([values], np.float32)
    file = tmp_path / "f.csv"
    with FeatureFile(file) as out:
        out.write(["a"], {"fc": rows})
        out.finish({})
    texts = file.read_text().splitlines()[1].split(",")[1:]
    found = np.array([texts]).astype(np.float32)
    np.testing.assert_array_equal(found, rows)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(rows))
