"""Networks in numbers, laid out as tables."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from alexnet_jax.inspection.collectives import Collective, Traffic
from alexnet_jax.inspection.kernels import compare_kernels
from alexnet_jax.inspection.layers import LayerRow, describe
from alexnet_jax.models import MODELS, check_name, create_model


class Summary(NamedTuple):
    """A network in numbers.

    Attributes:
      name: Its registered name.
      input_shape: `(B, H, W, C)`.
      num_classes: Number of logits.
      layers: From `describe`.
    """

    name: str
    input_shape: tuple[int, ...]
    num_classes: int
    layers: list[LayerRow]

    @property
    def params(self) -> int:
        """Weights and biases of all layers."""
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds an image of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Memory of all layers' outputs for an image, in float32."""
        return sum(layer.activation_bytes for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Returns what `--json` prints."""
        return {
            "name": self.name,
            "input_shape": self.input_shape,
            "num_classes": self.num_classes,
            "params": self.params,
            "macs": self.macs,
            "activation_bytes": self.activation_bytes,
            "layers": [layer._asdict() for layer in self.layers],
        }


def summarize(
    name: str,
    input_shape: tuple[int, ...] | None = None,
    num_classes: int | None = None,
) -> Summary:
    """Describes a registered network.

    Args:
      name: A key of `MODELS`.
      input_shape: `(B, H, W, C)`; its author's if not given.
      num_classes: Number of logits; its author's if not given.

    Raises:
      InputError: The name is unknown, or the images are too small.
    """
    check_name(name)
    reference = MODELS[name].reference
    assert reference is not None  # every registered network has one
    shape = input_shape or (1, *reference.input_shape)
    classes = num_classes or reference.num_classes
    model = create_model(name, num_classes=classes)
    return Summary(name, shape, classes, describe(model, shape))


def shape_text(shape: Iterable[int]) -> str:
    """Returns lengths as `224×224×3`."""
    return "×".join(str(length) for length in shape)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if part else ""


def _table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """Returns an empty table, whose `numbers` stand to the right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        justify: Any = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, no_wrap=True)
    return table


def one_table(summary: Summary) -> Table:
    """Lays out a network, a line a layer."""
    numbers = ("sees", "params", "%", "MACs", "%", "MB")
    table = _table("layer", "settings", "output", *numbers, numbers=numbers)
    for layer in summary.layers:
        table.add_row(
            layer.name,
            layer.settings,
            shape_text(layer.output_shape[1:]),
            "-" if layer.receptive_field is None else str(layer.receptive_field),
            f"{layer.params:,}" if layer.params else "",
            _share(layer.params, summary.params),
            f"{layer.macs:,}" if layer.macs else "",
            _share(layer.macs, summary.macs),
            _megabytes(layer.activation_bytes),
        )
    table.add_section()
    totals = f"{summary.params:,}", "", f"{summary.macs:,}", ""
    memory = _megabytes(summary.activation_bytes)
    table.add_row("total", "", "", "", *totals, memory, style="bold")
    return table


Aligned = list[LayerRow | None]


def align(columns: Sequence[list[LayerRow]]) -> list[Aligned]:
    """Puts layers of the same name in one row, in every network's own order.

    Args:
      columns: The layers of each network.

    Returns:
      Rows with a layer, or None, for each network.
    """
    rows: list[Aligned] = []
    for place, layers in enumerate(columns):
        have = [next(layer.name for layer in row if layer) for row in rows]
        matcher = difflib.SequenceMatcher(
            None, have, [layer.name for layer in layers], autojunk=False
        )
        merged: list[Aligned] = []
        for tag, i, j, k, m in matcher.get_opcodes():
            if tag == "equal":
                pairs = zip(rows[i:j], layers[k:m], strict=True)
                merged += [[*row, layer] for row, layer in pairs]
            else:
                merged += [[*row, None] for row in rows[i:j]]
                merged += [[*[None] * place, layer] for layer in layers[k:m]]
        rows = merged
    return rows


def side_by_side(summaries: Sequence[Summary]) -> Table:
    """Lays out networks beside each other; rows that differ begin with ≠."""
    table = _table("", "layer")
    for summary in summaries:
        table.add_column(summary.name, no_wrap=True)
        table.add_column("output", no_wrap=True)
        table.add_column("params", justify="right", no_wrap=True)

    def add(name: str, cells: Sequence[tuple[str, ...]], style: str = "") -> None:
        differs = len(set(cells)) > 1
        words = [word for cell in cells for word in cell]
        color = style or ("yellow" if differs else "")
        table.add_row("≠" if differs else "", name, *words, style=color)

    networks = [MODELS[summary.name] for summary in summaries]
    add("input", [(shape_text(s.input_shape[1:]), "", "") for s in summaries])
    add("images", [(network.author_scale, "", "") for network in networks])
    add("init", [(str(network.author_initializer), "", "") for network in networks])
    table.add_section()
    for row in align([summary.layers for summary in summaries]):
        name = next(layer.name for layer in row if layer)
        add(name, [_cell(layer) for layer in row])
    table.add_section()
    add("params", [("", "", f"{s.params:,}") for s in summaries], "bold")
    add("MACs", [("", "", f"{s.macs:,}") for s in summaries], "bold")
    return table


def _cell(layer: LayerRow | None) -> tuple[str, ...]:
    if layer is None:
        return "-", "", ""
    params = f"{layer.params:,}" if layer.params else ""
    return layer.settings, shape_text(layer.output_shape[1:]), params


def list_table(summaries: Iterable[Summary]) -> Table:
    """Lays out networks, a line each; accuracies are top-1, or top-1 / top-5."""
    numbers = ("params", "MACs")
    table = _table(
        "name", "source", "input", *numbers, "published accuracy, %", numbers=numbers
    )
    for summary in summaries:
        reference = MODELS[summary.name].reference
        assert reference is not None
        table.add_row(
            summary.name,
            reference.source,
            shape_text(summary.input_shape[1:]),
            f"{summary.params:,}",
            f"{summary.macs:,}",
            reference.published,
        )
    return table


def kernel_table() -> Table:
    """Lays out large kernels beside stacks of 3×3 that see as much."""
    numbers = ("sees", "params", "MACs", "MB")
    table = _table("layers", "maps", "output", *numbers, numbers=numbers)
    for group in compare_kernels():
        for stack in group:
            last = stack.layers[-1]
            table.add_row(
                stack.name,
                stack.maps,
                shape_text(last.output_shape[1:]),
                str(last.receptive_field),
                f"{sum(layer.params for layer in stack.layers):,}",
                f"{sum(layer.macs for layer in stack.layers):,}",
                _megabytes(sum(layer.activation_bytes for layer in stack.layers)),
            )
        table.add_section()
    return table


def traffic_table(traffic: Traffic) -> Table:
    """Lays out a step's collectives, a line each."""
    numbers = ("numbers", "sent an image", "sent, MB")
    columns = "in", "for", "collective", "result on a device", "devices"
    table = _table(*columns, *numbers, numbers=("devices", *numbers))
    for one in traffic.listed:
        results = [shape_text(shape) or "1" for shape in one.shapes]
        more = f" and {len(results) - 1} more" if len(results) > 1 else ""
        table.add_row(
            one.part,
            one.purpose,
            one.kind,
            results[0] + more,
            str(one.devices),
            f"{one.result_bytes // 4:,}",
            f"{one.sent_bytes / 4 / traffic.batch_size:,.0f}",
            f"{one.sent_bytes / 1e6:.2f}",
        )
    return table


def traffic_lines(traffic: Traffic) -> list[str]:
    """Sums up a step's collectives and the memory of the state, a line each."""

    def total(found: Sequence[Collective]) -> str:
        sent = sum(one.sent_bytes for one in found)
        return f"{len(found)} collectives, {sent / 1e6:,.1f} MB sent by a device"

    lines = [f"a step of {traffic.batch_size} images a row: {total(traffic.listed)}"]
    if traffic.automatic is not None:
        lines.append(f"XLA's own partitioner: {total(traffic.automatic)}")
    lines.append(
        f"state: {traffic.state_bytes / 1e6:,.1f} MB on a device, "
        f"{traffic.whole_bytes / 1e6:,.1f} MB in one piece"
    )
    return lines
