"""The cells of a CSV or Parquet file, as text."""

import contextlib
import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from alexnet_jax.data.image_files import as_utf8, open_file
from alexnet_jax.errors import InputError

_DELIMITERS = ",;\t|"
# The first bytes of such files.
_PARQUET = b"PAR1"
_ARCHIVES = b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\xd0\xcf\x11\xe0"


def read_cells(path: Path, wanted: Collection[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields the header and the rows as stripped text, with their numbers.

    Args:
      path: A CSV file (with commas, semicolons, tabs or bars) or a Parquet file.
      wanted: The columns, in lower case, by which a delimiter is known, and which are
        read of a Parquet file; its others, which come last, are empty.

    Yields:
      The number of a row as spreadsheets count them, from 1, and its cells.

    Raises:
      InputError: The file cannot be read.
    """
    try:
        with open_file(path) as file:
            content = file.read()
    except OSError as error:
        reason = f"it cannot be read ({error.strerror or error})"
        raise fault(path, reason, "repair it, or choose another file") from error
    if content.startswith(_ARCHIVES):
        raise fault(path, "it is compressed, or a workbook of Excel", "save it as CSV")
    if content.startswith(_PARQUET):
        yield from enumerate(_read_parquet(path, content, wanted), start=1)
        return
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # as Excel writes Unicode
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise fault(
            path, f"line {line} is not UTF-8", "give a CSV file in UTF-8, or Parquet"
        ) from error
    lines = io.StringIO(text, newline="")
    skipped, first = 0, ""
    for first in lines:
        if first.strip() and not first.startswith("sep="):  # as Excel writes it
            break
        skipped += 1
    lines.seek(lines.tell() - len(first) if first.strip() else 0)
    delimiter = max(_DELIMITERS, key=lambda one: _merit(one, first, wanted))
    number = skipped
    try:
        # Strict, so that a quote that is never closed does not swallow the rest.
        for number, cells in enumerate(
            csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True),
            start=skipped + 1,
        ):
            yield number, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise row_fault(
            path, number + 1, str(error), "repair it, or choose another file"
        ) from error


def _merit(delimiter: str, header: str, wanted: Collection[str]) -> tuple[int, int]:
    """Returns how many wanted columns a delimiter makes of a header, and its number."""
    names: list[str] = []
    with contextlib.suppress(csv.Error):  # it is read again, and refused then
        names = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True))
    found = sum(name.strip().lower() in wanted for name in names)
    return found, header.count(delimiter)


def _read_parquet(
    path: Path, content: bytes, names: Collection[str]
) -> Iterator[list[str]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise fault(
            path,
            "Parquet is read by pyarrow, which is missing",
            "install it (pip install pyarrow), or give a CSV file",
        ) from error
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        header = file.schema_arrow.names
        wanted = [name for name in header if name.lower() in names]
        yield [*wanted, *(name for name in header if name not in wanted)]
        for name in wanted:
            if pyarrow.types.is_nested(file.schema_arrow.field(name).type):
                raise fault(
                    path, f"its column {name} holds lists", "give one value in each row"
                )
        rest = [""] * (len(header) - len(wanted))
        for batch in file.iter_batches(columns=wanted):
            columns = [batch.column(name).to_pylist() for name in wanted]
            for values in zip(*columns, strict=True):
                yield [*map(_text, values), *rest]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = f"it cannot be read ({' '.join(str(error).split())[:100]})"
        raise fault(path, reason, "repair it, or choose another file") from error


def _text(value: Any) -> str:
    """Returns a cell's text; None is empty, as in a CSV file."""
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, bytes):
        return value.decode().strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def fault(path: Path, reason: str, remedy: str) -> InputError:
    """Returns the error of a file."""
    return InputError(f"data.manual_dir: {as_utf8(path)}: {reason}; {remedy}")


def row_fault(path: Path, number: int, reason: str, remedy: str) -> InputError:
    """Returns the error of a row, with its number."""
    return InputError(
        f"data.manual_dir: {as_utf8(path)}, row {number}: {as_utf8(reason)}; {remedy}"
    )
