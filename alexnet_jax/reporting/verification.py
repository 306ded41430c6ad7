"""The verification report of weights that were read, as a table on the terminal."""

from pathlib import Path

from alexnet_jax.inspection.tables import shape_text
from alexnet_jax.terminal.tables import Table, print_table
from alexnet_jax.weights.fitting import shown
from alexnet_jax.weights.verification import Verification

_NUMBERS = ("parameters", "mean", "deviation", "MB")


def print_verification(source: Path, report: Verification) -> None:
    """Prints a verification report as a table, with what it means."""
    print(
        f"{source}: {report.form}, {report.network_text}, {report.num_classes:,} "
        f"classes, {report.parameters:,} parameters"
    )
    print_table(_table(report), "with --json")
    print(report.expected_text)
    for name in report.left_over:
        print(f"left out  {shown(name)}")
    if not report.left_over:
        print("nothing left over")


def _table(report: Verification) -> Table:
    """Lays a verification report out, with its totals in the last row."""
    table = Table(
        *("array", "in the file", "shape there", "shape", "changed", *_NUMBERS),
        numbers=_NUMBERS,
        optional=(
            *("shape there", "mean", "deviation", "shape", "changed"),
            *("in the file", "MB"),
        ),
        names={"array": 16, "in the file": 24},
        texts={"changed": 40},
    )
    for one in report.arrays:
        table.add_row(
            one.name,
            one.source_name,
            f"{shape_text(one.source_shape)} {one.source_type}",
            shape_text(one.shape),
            one.changes,
            f"{one.parameters:,}",
            f"{one.mean:.3g}",
            f"{one.deviation:.3g}",
            f"{one.bytes / 1e6:.2f}",
        )
    table.add_section()
    totals = f"{report.parameters:,}", "", "", f"{report.bytes / 1e6:.2f}"
    table.add_row("total", "", "", "", "", *totals, style="bold")
    return table
