"""Summaries of networks, laid out as tables."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_jax.inspection.layers import LayerRow, describe
from alexnet_jax.models import Classifier, network_class
from alexnet_jax.terminal.tables import Table, table_lines

_SETTINGS = 16  # columns of the terminal that a layer's settings keep at least


class Summary(NamedTuple):
    """A network's layers with their shapes, parameters, multiply-adds and memory.

    `print(summary)` prints the table of `python -m alexnet_jax.summary`.

    Attributes:
      name: Its registered name.
      input_shape: `(B, H, W, C)`.
      num_classes: Number of logits.
      layers: From `describe`.
      width: What the numbers of maps and hidden units are multiplied by.
      network: Its class.
    """

    name: str
    input_shape: tuple[int, ...]
    num_classes: int
    layers: list[LayerRow]
    width: float = 1.0
    network: type[Classifier] = Classifier

    @property
    def params(self) -> int:
        """Number of weights and biases."""
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds per image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Memory of all layers' outputs for one image, in float32."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def title(self) -> str:
        """The line above the table: name, input and number of classes."""
        image = shape_text(self.input_shape[1:])
        width = f" of width {self.width:g}" if self.width != 1 else ""
        return (
            f"{short_name(self.name)}{width}: input {image}, {self.num_classes} "
            f"class{'es' * (self.num_classes != 1)}"
        )

    def __str__(self) -> str:
        return "\n".join([self.title, *table_lines(layer_table(self))])

    def to_dict(self) -> dict[str, Any]:
        """Returns what `--json` prints."""
        return {
            "name": self.name,
            "width": self.width,
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
    params: str | None = None,
) -> Summary:
    """Describes a network layer by layer; allocates no weights.

    Examples:
      >>> summary = summarize("lenet5")
      >>> summary.params, summary.macs
      (61706, 416520)
      >>> print(summary)
      lenet5: input 28×28×1, 10 classes
      layer ...

    Args:
      name: A key of `MODELS`, or `cfg:PATH` of one of cuda-convnet's layer files.
      input_shape: `(B, H, W, C)`; the author's if not given.
      num_classes: Number of logits; the author's if not given.
      params: With `cfg:PATH`, the path of a layer-parameter file; that of the layer
        file's name beside it if not given.

    Raises:
      InputError: The name is unknown, the layer file cannot be used, or the images are
        too small.
    """
    network = network_class(name, params)
    reference = network.reference
    assert reference is not None  # every network with a name has one
    shape = (1, *reference.input_shape) if input_shape is None else input_shape
    classes = reference.num_classes if num_classes is None else num_classes
    model = network(num_classes=classes, training=True)
    return describe_model(name, model, shape)


def describe_model(
    name: str, model: Classifier, input_shape: tuple[int, ...]
) -> Summary:
    """Describes a network of any width layer by layer; allocates no weights.

    Args:
      name: Its registered name.
      model: The network.
      input_shape: `(B, H, W, C)`.

    Raises:
      InputError: The images are too small.
    """
    layers = describe(model, input_shape)
    width = getattr(model, "width", 1.0)
    return Summary(name, input_shape, model.num_classes, layers, width, type(model))


def short_name(name: str) -> str:
    """Returns a network's name for a table: of a layer file without its folder."""
    kind, separator, path = name.partition(":")
    return f"{kind}:{Path(path).name}" if separator else name


def shape_text(shape: Iterable[int]) -> str:
    """Returns lengths as `224×224×3`."""
    return "×".join(str(length) for length in shape)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if part else ""


def layer_table(summary: Summary) -> Table:
    """Lays out a network, one layer per line."""
    numbers = ("receptive field", "params", "%", "MACs", "%", "MB")
    table = Table(
        *("layer", "settings", "output", *numbers),
        numbers=numbers,
        optional=("receptive field", "%", "MB", "MACs", "output"),
        last=("settings",),
        names={"layer": 12},
        texts={"settings": _SETTINGS},
    )
    for layer in summary.layers:
        table.add_row(
            layer.name,
            layer.settings,
            shape_text(layer.output_shape[1:]),
            "-" if layer.receptive_field is None else str(layer.receptive_field),
            f"{layer.params:,}" if layer.params else "",
            _percent(layer.params, summary.params),
            f"{layer.macs:,}" if layer.macs else "",
            _percent(layer.macs, summary.macs),
            _megabytes(layer.activation_bytes),
        )
    table.add_section()
    totals = f"{summary.params:,}", "", f"{summary.macs:,}", ""
    memory = _megabytes(summary.activation_bytes)
    table.add_row("total", "", "", "", *totals, memory, style="bold")
    return table


Aligned = list[LayerRow | None]


def align(columns: Sequence[list[LayerRow]]) -> list[Aligned]:
    """Puts layers of the same name in one row and keeps every network's order.

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


def side_by_side(summaries: Sequence[Summary], names: Sequence[str]) -> Table:
    """Lays out networks side by side; rows that differ begin with ≠.

    Args:
      summaries: The networks'.
      names: What they are called: names of networks, or folders of runs.
    """
    names = [short_name(name) for name in names]
    headings = [word for name in names for word in (name, "output", "params")]
    table = Table(
        *("", "layer", *headings),
        numbers=("params",),
        optional=("output", "params"),
        names={"layer": 10},
        texts={name: _SETTINGS for name in names},
    )

    def add(name: str, cells: Sequence[tuple[str, ...]], style: str = "") -> None:
        differs = len(set(cells)) > 1
        words = [word for cell in cells for word in cell]
        color = style or ("yellow" if differs else "")
        table.add_row("≠" if differs else "", name, *words, style=color)

    networks = [summary.network for summary in summaries]
    add("input", [(shape_text(s.input_shape[1:]), "", "") for s in summaries])
    add("images", [(network.author_scale, "", "") for network in networks])
    add("init", [(str(network.author_initializer), "", "") for network in networks])
    table.add_section()
    for row in align([summary.layers for summary in summaries]):
        name = next(layer.name for layer in row if layer)
        add(name, [_cell(layer) for layer in row])
    table.add_section()
    # In the column that is always there.
    add("params", [(f"{s.params:,}", "", "") for s in summaries], "bold")
    add("MACs", [(f"{s.macs:,}", "", "") for s in summaries], "bold")
    return table


def _cell(layer: LayerRow | None) -> tuple[str, ...]:
    if layer is None:
        return "-", "", ""
    params = f"{layer.params:,}" if layer.params else ""
    return layer.settings, shape_text(layer.output_shape[1:]), params


def list_table(summaries: Iterable[Summary]) -> Table:
    """Lays out networks, one per line; accuracies are top-1, or top-1 / top-5."""
    numbers = ("params", "MACs")
    published = "published accuracy, %"
    table = Table(
        *("name", "source", "input", *numbers, published),
        numbers=numbers,
        optional=("source", "MACs", "input"),
        last=("params", published),
        names={"name": 24},
        texts={"source": 24, published: 38},
    )
    for summary in summaries:
        reference = summary.network.reference
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
