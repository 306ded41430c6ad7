"""Tables of cuda-convnet's experiments: what each is, and how it differs from 145."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.layers import LayerRow, describe
from alexnet_jax.inspection.tables import align, summarize
from alexnet_jax.models.cuda_convnet import (
    PREFIX,
    Experiment,
    network_class,
    params_beside,
    read_text,
)
from alexnet_jax.models.cuda_convnet.files import File, parse_file
from alexnet_jax.models.cuda_convnet.notes import ErrorRate, error_rates
from alexnet_jax.models.cuda_convnet.reading import check_params
from alexnet_jax.models.layer_names import whole_name
from alexnet_jax.terminal.tables import Table
from alexnet_jax.terminal.text import counted

_TWIN = "alexnet_2012"  # configuration 145
_WIRES = ("take_towers", "random_channels", "add", "concatenate", "flatten")
_NORMS = ("lrn", "map_norm", "contrast_norm")


class ExperimentRow(NamedTuple):
    """A layer file, or a layer-parameter file without one.

    Attributes:
      name: Its path in the directory, without `layers-` and `.cfg`.
      has_layers: Whether there is a layer file.
      has_params: Whether there is a layer-parameter file.
      params: Weights and biases; None where no layer file says.
      macs: Multiply-adds an image, likewise.
      differences: What differs from configuration 145, likewise.
      errors: Results in the comments of the layer-parameter file or the layer file.
      refused: Why it is not read; None if it is.
      params_refused: Why its layer-parameter file is not.
    """

    name: str
    has_layers: bool
    has_params: bool
    params: int | None = None
    macs: int | None = None
    differences: tuple[str, ...] | None = None
    errors: tuple[ErrorRate, ...] = ()
    refused: str | None = None
    params_refused: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns what `--json` prints."""
        errors = [error._asdict() for error in self.errors]
        return self._asdict() | {"errors": errors}


def read_experiments(directory: Path, what: str = "--report") -> list[ExperimentRow]:
    """Reads all layer files and layer-parameter files of a directory and below it.

    Args:
      directory: Of `layers*.cfg` and `layer-params*.cfg`.
      what: What an error calls it.

    Raises:
      InputError: There is no such directory, or it has no such files.
    """
    if not directory.is_dir():
        raise InputError(f"{what}: {directory} must be a directory of .cfg files")
    files = sorted(directory.rglob("*.cfg"))
    layers = [file for file in files if file.name.startswith("layers")]
    params = [file for file in files if file.name.startswith("layer-params")]
    if not (layers or params):
        raise InputError(
            f"{what}: {directory} must hold files layers*.cfg or "
            "layer-params*.cfg; it has none"
        )
    twin = summarize(_TWIN).layers
    rows = [_layers_row(file, directory, twin) for file in layers]
    paired = {params_beside(str(file)) for file in layers}
    rows += [_params_row(file, directory) for file in params if file not in paired]
    return sorted(rows, key=lambda row: row.name)


def _layers_row(file: Path, directory: Path, twin: Sequence[LayerRow]) -> ExperimentRow:
    beside = params_beside(str(file))
    row = ExperimentRow(_name(file, "layers", directory), True, beside is not None)
    params = None
    if beside is not None:
        row, params = _with_params(row, beside)
    try:
        text = read_text(str(file), "--report")
        row = _with_results(row, parse_file(text, file.name))
        experiment = Experiment(
            f"{PREFIX}{file.name}",
            text,
            params,
            "layer-params" if beside is None else beside.name,
            strict=False,
            is_complete=False,
        )
        network = network_class(experiment)
        assert network.reference is not None
        layers = describe(network(), (1, *network.reference.input_shape))
    except InputError as error:
        return row._replace(refused=str(error))
    return row._replace(
        params=sum(layer.params for layer in layers),
        macs=sum(layer.macs for layer in layers),
        differences=tuple(differences(layers, twin, experiment.params is not None)),
    )


def _params_row(file: Path, directory: Path) -> ExperimentRow:
    row = ExperimentRow(_name(file, "layer-params", directory), False, has_params=True)
    return _with_params(row, file)[0]


def _with_params(row: ExperimentRow, file: Path) -> tuple[ExperimentRow, str | None]:
    """Returns a row with what a layer-parameter file says, and its text.

    No text, if it is not read: what the layers are can be said without.
    """
    try:
        text = read_text(str(file), "--report")
        params = parse_file(text, file.name)
        row = _with_results(row, params)
        check_params(params)
    except InputError as error:
        return row._replace(params_refused=str(error)), None
    return row, text


def _with_results(row: ExperimentRow, file: File) -> ExperimentRow:
    found = dict.fromkeys((*row.errors, *error_rates(file.comments)))
    return row._replace(errors=tuple(found))


def _name(file: Path, prefix: str, directory: Path) -> str:
    stem = file.name.removeprefix(prefix).removesuffix(".cfg").lstrip("-.")
    folder = file.parent.relative_to(directory).as_posix()
    return stem if folder == "." else f"{folder}/{stem}"


def differences(
    layers: Sequence[LayerRow], others: Sequence[LayerRow], with_constants: bool
) -> list[str]:
    """Returns what differs between two networks, a few words for each layer.

    Args:
      layers: Of the network that is described.
      others: Of the one that it is compared with.
      with_constants: Whether the constants of normalization are known.
    """
    parts = Counter(whole_name(layer.name) for layer in layers if layer.params)
    words = [f"{name} in {count} parts" for name, count in parts.items() if count > 1]
    whole = [layer for layer in layers if parts[whole_name(layer.name)] <= 1]
    known = [layer for layer in others if parts[layer.name] <= 1]
    for own, other in align([_by_owner(whole), _by_owner(known)]):
        if own is None or other is None:
            layer = own or other
            assert layer is not None
            words.append(f"{'+' if own else '-'}{layer.name.partition(' ')[0]}")
            continue
        changes = []
        settings, others_settings = (_own_settings(one) for one in (own, other))
        is_known = with_constants or own.kind not in _NORMS
        if (own.kind, settings) != (other.kind, others_settings) and is_known:
            changes.append(settings or own.kind)
        before, after = other.output_shape[-1], own.output_shape[-1]
        if after != before and own.params:
            changes.append(f"{after:,} for {before:,}")
        if changes:
            words.append(f"{own.name.partition(' ')[0]} {' '.join(changes)}")
    return _moves(words, whole, known, with_constants)


def _by_owner(layers: Iterable[LayerRow]) -> list[LayerRow]:
    """Returns layers whose names say which layer with weights they follow.

    What only leads from one layer to another is left out.
    """
    owner, named = "", []
    for layer in layers:
        if layer.params:
            owner = layer.name
            named.append(layer)
        elif layer.kind not in _WIRES:
            # A letter only tells it from others of its name.
            name = re.sub(r"(\d)[a-z]$", r"\1", layer.name)
            named.append(layer._replace(name=f"{name} {owner}"))
    return named


def _own_settings(layer: LayerRow) -> str:
    """Returns a layer's settings, without what it reads."""
    return re.sub(r"(^| )of .*", "", layer.settings)


def _moves(
    words: list[str],
    layers: Sequence[LayerRow],
    others: Sequence[LayerRow],
    with_constants: bool,
) -> list[str]:
    """Says once of a layer that it stands elsewhere, and if it is another besides."""
    moved = {word[1:] for word in words if word.startswith("-")}
    moved &= {word[1:] for word in words if word.startswith("+")}
    kept = [word for word in words if word[1:] not in moved or word[0] not in "+-"]
    before = {other.name: _own_settings(other) for other in others}
    for layer in layers:
        if layer.name in moved:
            settings = _own_settings(layer)
            is_known = with_constants or layer.kind not in _NORMS
            changed = f" {settings}" * (settings != before[layer.name] and is_known)
            kept.append(f"{layer.name} elsewhere{changed}")
    return kept


def experiments_table(rows: Iterable[ExperimentRow]) -> Table:
    """Lays out experiments, one per line."""
    numbers = ("params", "MACs")
    difference = "differs from 145 by"
    table = Table(
        *("name", *numbers, "error, %", difference),
        numbers=numbers,
        optional=("MACs", "params", "error, %"),
        names={"name": 24},
        texts={difference: 32, "error, %": 16},
    )
    for row in rows:
        table.add_row(*cells(row))
    return table


def cells(row: ExperimentRow) -> tuple[str, ...]:
    """Returns the cells of a row, `-` for what its files do not say."""
    if row.refused:
        difference = f"not supported: {row.refused}"
    elif row.differences is None:
        difference = "-"
    else:
        difference = ", ".join(row.differences) or "nothing"
    errors = "; ".join(
        f"{100 * error.top1:.0f}"
        if error.top5 is None
        else f"{100 * error.top1:.2f} / {100 * error.top5:.2f}"
        for error in row.errors
    )
    counts = ("-" if n is None else f"{n:,}" for n in (row.params, row.macs))
    return row.name, *counts, errors or "-", difference


def totals(rows: Sequence[ExperimentRow]) -> str:
    """Returns how many files were read and how many were not."""
    layers = [row for row in rows if row.has_layers]
    params = [row for row in rows if row.has_params]
    refused = sum(row.refused is not None for row in layers)
    refused_params = sum(row.params_refused is not None for row in params)
    return (
        f"{counted(len(layers), 'layer file')}: {len(layers) - refused} read, "
        f"{refused} not supported; {counted(len(params), 'layer-parameter file')}: "
        f"{len(params) - refused_params} read, {refused_params} not supported"
    )
