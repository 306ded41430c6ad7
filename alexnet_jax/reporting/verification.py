"""The verification report of weights that were read, as a table on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from alexnet_jax.inspection.tables import make_console, make_table, shape_text
from alexnet_jax.terminal.text import line_length
from alexnet_jax.weights.fitting import shown
from alexnet_jax.weights.verification import Verification

# Of the report, from wide to narrow; --json has all of them. A name after a slash is
# of a shorter form.
_COLUMNS = (
    ("array", "in the file", "shape", "changed", "parameters", "mean", "deviation",
     "MB"),
    ("array", "in the file/name", "shape", "changed", "parameters", "mean", "deviation",
     "MB"),
    ("array", "in the file/name", "shape", "changed/short", "parameters", "MB"),
    ("array", "in the file/name", "changed/short", "parameters", "MB"),
    ("array", "changed/short", "parameters", "MB"),
    ("array", "parameters", "MB"),
)  # fmt: skip
_NUMBERS = ("parameters", "mean", "deviation", "MB")


def print_verification(source: Path, report: Verification) -> None:
    """Prints a verification report as a table of no more columns than fit."""
    print(
        f"{source}: {report.form}, {report.network_text}, {report.num_classes:,} "
        f"classes, {report.parameters:,} parameters"
    )
    console = make_console()
    for columns in _COLUMNS:
        table = _table(report, columns)
        if console.measure(table).maximum <= line_length():
            break
    console.print(table)
    print(report.expected_text)
    for name in report.left_over:
        print(f"left out  {shown(name)}")
    if not report.left_over:
        print("nothing left over")


def _table(report: Verification, columns: Sequence[str]) -> Table:
    """Lays a verification report out, with its totals in the last row."""
    names = (column.partition("/")[0] for column in columns)
    table = make_table(*names, numbers=_NUMBERS)
    table.padding = (0, 1, 0, 0)
    for one in report.arrays:
        cells = {
            "array": one.name,
            "in the file": f"{one.source_name} {shape_text(one.source_shape)} "
            f"{one.source_type}",
            "in the file/name": one.source_name,
            "shape": shape_text(one.shape),
            "changed": one.changes,
            "changed/short": one.changes.replace("rows C,H,W to H,W,C", "rows to HWC"),
            "parameters": f"{one.parameters:,}",
            "mean": f"{one.mean:.3g}",
            "deviation": f"{one.deviation:.3g}",
            "MB": f"{one.bytes / 1e6:.2f}",
        }
        table.add_row(*(cells[column] for column in columns))
    table.add_section()
    totals = {
        "array": "total",
        "parameters": f"{report.parameters:,}",
        "MB": f"{report.bytes / 1e6:.2f}",
    }
    table.add_row(*(totals.get(column, "") for column in columns), style="bold")
    return table
