"""A table of image files and their classes, as Kaggle hands them out."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from alexnet_jax.data.class_folders import PARTS
from alexnet_jax.data.image_files import SUFFIXES, as_utf8
from alexnet_jax.data.spreadsheet import fault, read_cells, row_fault
from alexnet_jax.terminal.paths import refuse_address

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_NEEDED = "path", "label"


class Row(NamedTuple):
    """A row of the table.

    Attributes:
      number: As a spreadsheet counts them; the header is 1.
      path: Of the image, as it is written.
      label: Of its class; may be empty in a part that is left out.
      split: `train`, `validation` or `test`.
    """

    number: int
    path: str
    label: str
    split: str


class Table(NamedTuple):
    """What a table says.

    Attributes:
      rows: Those of the parts that are used, in order.
      class_names: Of the training images; in the order of numbers where all are.
      left_out: The rows of each part that is not used, and why.
    """

    rows: tuple[Row, ...]
    class_names: tuple[str, ...]
    left_out: dict[str, tuple[int, str]]


def read_table(path: Path) -> Table:
    """Reads a table with the columns `path`, `label` and, optionally, `split`.

    Columns may be in any order and case; others are ignored. Without `split` all rows
    are of the training part. Of a validation and a test part the former is used. A test
    part without labels is left out.

    Args:
      path: A CSV file (with commas, semicolons, tabs or bars) or a Parquet file.

    Raises:
      InputError: The file cannot be read, a column is missing, or a row is at fault.
    """
    rows = list(_rows(path))
    counts = Counter(row.split for row in rows)
    if not counts["train"]:
        raise fault(path, "it has no row of the split train", "add training images")
    unused = {}
    if counts["validation"]:
        unused["test"] = "the validation part is measured"
    elif not any(row.label for row in rows if row.split == "test"):
        unused["test"] = "they have no label"
    used = tuple(row for row in rows if row.split not in unused)
    for row in used:
        if not row.label:
            raise row_fault(path, row.number, "label is empty", "fill it in")
    names = {row.label for row in used if row.split == "train"}
    if len(names) == 1:
        problem = f"all rows of train have the label {min(names)!r}"
        raise fault(path, problem, "add training images of another class")
    for row in used:
        if row.label not in names:
            raise row_fault(
                path,
                row.number,
                f"label {row.label!r} is in {row.split} but in no row of train",
                "add training images of it, or remove the row",
            )
    left_out = {name: (counts[name], why) for name, why in unused.items()}
    return Table(
        used, _in_order(names), {name: one for name, one in left_out.items() if one[0]}
    )


def locate(path: Path, row: Row) -> Path:
    """Returns where the image of a row is; relative paths begin at the table."""
    return Path(os.path.normpath(path.parent / row.path))


def _in_order(names: set[str]) -> tuple[str, ...]:
    if all(map(_NUMBER.fullmatch, names)):
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))


def _rows(path: Path) -> Iterator[Row]:
    """Yields the rows, each checked by itself and against those before."""
    lines = read_cells(path, (*_NEEDED, "split"))
    number, header = next(lines, (1, []))
    places = _columns(path, header)
    seen: dict[str, int] = {}
    for number, cells in lines:
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise row_fault(
                path,
                number,
                f"it has {len(cells)} columns, the header has {len(header)}",
                "quote what contains the delimiter",
            )
        values = {name: cells[place] for name, place in places.items()}
        split = values.get("split", "train")
        if split.lower() not in PARTS:
            raise row_fault(
                path,
                number,
                f"split is {split[:40]!r}",
                f"it must be one of {', '.join(PARTS)}",
            )
        row = Row(number, values["path"], values["label"], PARTS[split.lower()])
        if not row.path:
            raise row_fault(path, number, "path is empty", "fill it in")
        refuse_address(row.path, f"data.manual_dir: {as_utf8(path)}, row {number}")
        if "\0" in row.path:
            raise row_fault(path, number, "path holds a null byte", "correct it")
        if "\\" in row.path and not os.path.exists(locate(path, row)):
            raise row_fault(
                path,
                number,
                f"path {row.path[:100]!r} has backslashes",
                "write / between folders",
            )
        if not row.path.lower().endswith(SUFFIXES):
            raise row_fault(
                path,
                number,
                f"path {row.path[:100]!r} is of no image that can be read",
                f"its name must end with one of {', '.join(SUFFIXES)}",
            )
        first = seen.setdefault(os.fspath(locate(path, row)), number)
        if first != number:
            raise row_fault(
                path,
                number,
                f"path {row.path[:100]!r} stands in row {first} already",
                "remove one of them",
            )
        yield row


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """Returns where the columns are."""
    names = [name.lower() for name in header]
    wanted = (*_NEEDED, "split")
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise fault(
            path,
            f"it has no column {' and no column '.join(missing)}; its columns are "
            f"{', '.join(header)[:200] or 'none'}",
            "rename those that hold the image files' paths and classes to path and "
            "label (a path has its suffix, and begins at the table's folder)",
        )
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise fault(path, f"it has several columns {twice[0]}", "keep one of them")
    return {name: names.index(name) for name in wanted if name in names}
