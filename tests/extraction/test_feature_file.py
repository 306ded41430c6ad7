"""Files of features by themselves: memory, full disks, missing libraries."""

import importlib.util
import os
import resource
import sys
import tracemalloc

import numpy as np
import pytest
from pyarrow import parquet

from alexnet_jax.errors import InputError
from alexnet_jax.extraction import writers
from alexnet_jax.extraction.feature_file import (
    FeatureFile,
    check_column_names,
    check_features_file,
)

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
    assert not [*file.parent.iterdir()]


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
    monkeypatch.setattr(os, "access", lambda *args: False)  # a test may be root
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
