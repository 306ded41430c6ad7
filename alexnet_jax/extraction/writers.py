"""Forms of files of features, written as rows come: NumPy's, CSV, Parquet, HDF5.

All hold the same: `path`, a text a row, and by its own name each layer, `(rows, ...)
float32`. None keeps more than a few batches in memory.
"""

import contextlib
import importlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from alexnet_jax.terminal.signals import deferred_signals

PATH, METADATA = "path", "metadata"
_BUFFER_BYTES = 2**24
# Of HDF5, which reads and writes whole chunks: at most, and where a batch is smaller.
_CHUNK_BYTES, _CHUNK_ROWS = 2**20, 64
_CSV_VALUES = 2**18  # that are text at a time


class Writer(Protocol):
    """A file that is being written."""

    def write(self, paths: Sequence[str], layers: Mapping[str, np.ndarray]) -> None:
        """Adds rows, at least one; each time of the same layers."""

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Ends the file, which has rows.

        Args:
          metadata: What JSON holds; CSV has no place for it.
        """

    def close(self) -> None:
        """Lets go of what is open."""


def _drop(file: Any) -> None:
    """Closes a file that is whole, or that will not be kept."""
    with contextlib.suppress(OSError, RuntimeError):  # it may still have to be written
        file.close()


class Npz:
    """An archive of `.npy` arrays, for `np.load`.

    Its arrays lie one after the other, and each begins with its number of rows. So they
    gather in files without names, which take the archive's size on the disk.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._paths: list[str] = []
        self._layers: dict[str, tuple[BinaryIO, tuple[int, ...]]] = {}

    def write(self, paths: Sequence[str], layers: Mapping[str, np.ndarray]) -> None:
        self._paths += paths
        for name, rows in layers.items():
            if name not in self._layers:
                spool: Any = tempfile.TemporaryFile(dir=self._file.parent)  # noqa: SIM115
                self._layers[name] = spool, rows.shape[1:]
            self._layers[name][0].write(np.ascontiguousarray(rows).data)

    def finish(self, metadata: Mapping[str, Any]) -> None:
        small = {PATH: self._paths, METADATA: json.dumps(metadata)}
        with zipfile.ZipFile(self._file, "w") as archive:
            for name, value in small.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(
                        member, np.asarray(value), allow_pickle=False
                    )
            for name, (spool, shape) in self._layers.items():
                header = {
                    "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
                    "fortran_order": False,
                    "shape": (len(self._paths), *shape),
                }
                spool.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(spool, member, _BUFFER_BYTES)
                spool.close()  # its place on the disk is free again

    def close(self) -> None:
        for spool, _ in self._layers.values():
            _drop(spool)


def _quoted(text: str) -> str:
    """Quotes as `csv` does, which leaves a carriage return bare before Python 3.13."""
    if {*text}.isdisjoint(',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


class Csv:
    """A line a picture; of each value the shortest text that gives it back."""

    def __init__(self, file: Path) -> None:
        self._file = open(file, "w", encoding="utf-8", newline="")  # noqa: SIM115
        self._has_header = False

    def write(self, paths: Sequence[str], layers: Mapping[str, np.ndarray]) -> None:
        import pyarrow as pa

        flat = {name: rows.reshape(len(rows), -1) for name, rows in layers.items()}
        if not self._has_header:
            sizes = {name: rows.shape[1] for name, rows in flat.items()}
            columns = [
                f"{name}_{i}" for name, size in sizes.items() for i in range(size)
            ]
            self._write_row([PATH, *map(_quoted, columns)])
            self._has_header = True
        values = np.concatenate([*flat.values()], axis=1)
        step = max(1, _CSV_VALUES // values.shape[1])
        for start in range(0, len(paths), step):
            part = values[start : start + step]
            # Arrow finds the shortest text, many times quicker than NumPy does.
            texts = pa.array(part.reshape(-1)).cast(pa.string()).to_pylist()
            width = part.shape[1]
            for row, path in enumerate(paths[start : start + step]):
                values_of = texts[row * width : (row + 1) * width]
                self._write_row([_quoted(path), *values_of])

    def _write_row(self, texts: Sequence[str]) -> None:
        self._file.write(",".join(texts) + "\n")

    def finish(self, metadata: Mapping[str, Any]) -> None:
        del metadata
        self._file.close()

    def close(self) -> None:
        _drop(self._file)


class Parquet:
    """A table; a layer is a column of lists, each of fixed length."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tables: list[Any] = []
        self._writer: Any = None

    def write(self, paths: Sequence[str], layers: Mapping[str, np.ndarray]) -> None:
        import pyarrow as pa

        columns, fields = [pa.array(paths, pa.string())], [pa.field(PATH, pa.string())]
        for name, rows in layers.items():
            size = int(np.prod(rows.shape[1:], dtype=int))
            values = pa.array(rows.reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(values, size))
            shape = {"shape": json.dumps(rows.shape[1:])}
            fields.append(pa.field(name, columns[-1].type, metadata=shape))
        table = pa.table(columns, schema=pa.schema(fields))
        self._tables.append(table)
        if sum(one.nbytes for one in self._tables) >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Writes a row group: small ones are many, and their places are kept."""
        import pyarrow as pa
        from pyarrow import parquet

        if not self._tables:
            return
        table = pa.concat_tables(self._tables)
        if self._writer is None:
            # Floats hardly repeat.
            self._writer = parquet.ParquetWriter(
                self._file, table.schema, use_dictionary=False
            )
        self._writer.write_table(table, row_group_size=len(table))
        self._tables = []

    def finish(self, metadata: Mapping[str, Any]) -> None:
        self._flush()
        self._writer.add_key_value_metadata({METADATA: json.dumps(metadata)})
        self._writer.close()

    def close(self) -> None:
        if self._writer is not None:
            _drop(self._writer)


class _Lenient(io.FileIO):
    """A file that keeps its errors to itself.

    On a full disk HDF5 1.14 ends the process as it closes a file, and crashes where
    another exception, such as of a signal, passes through it.

    Attributes:
      error: The first.
    """

    error: BaseException | None = None

    def write(self, content: Any) -> int:
        """Writes all bytes, or seems to."""
        try:
            rest = memoryview(content).cast("B")
            while rest and not self.error:
                rest = rest[super().write(rest) :]
        except BaseException as error:
            self.error = self.error or error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        """Sets the length, or seems to."""
        try:
            return super().truncate(size)
        except BaseException as error:
            self.error = self.error or error
            return size or 0


class Hdf5:
    """A file of HDF5: a data set for each layer.

    No signal is handled within HDF5, which calls `_Lenient`.
    """

    @deferred_signals()
    def __init__(self, file: Path) -> None:
        self._h5: Any = importlib.import_module("h5py")
        self._bytes = _Lenient(file, "w+")
        self._file: Any = self._h5.File(self._bytes, "w")

    @deferred_signals()
    def write(self, paths: Sequence[str], layers: Mapping[str, np.ndarray]) -> None:
        for name, rows in {PATH: np.array(paths, object), **layers}.items():
            if name not in self._file:
                is_text = name == PATH
                row_bytes = 16 if is_text else rows[0].nbytes
                chunk = min(_CHUNK_BYTES // row_bytes, max(_CHUNK_ROWS, len(rows)))
                self._file.create_dataset(
                    name,
                    shape=(0, *rows.shape[1:]),
                    maxshape=(None, *rows.shape[1:]),
                    dtype=self._h5.string_dtype() if is_text else np.float32,
                    chunks=(max(1, chunk), *rows.shape[1:]),
                )
            data = self._file[name]
            start = len(data)
            data.resize(start + len(rows), axis=0)
            data[start:] = rows
        self._check()

    @deferred_signals()
    def finish(self, metadata: Mapping[str, Any]) -> None:
        self._file.attrs[METADATA] = json.dumps(metadata)
        self._file.close()
        self._check()

    def _check(self) -> None:
        if self._bytes.error:
            raise self._bytes.error

    @deferred_signals()
    def close(self) -> None:
        _drop(self._file)
        _drop(self._bytes)
