"""How each layer learns: as a layer-parameter file says, and as networks here do."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jax.tree_util import DictKey

from alexnet_jax.config import default_config
from alexnet_jax.inspection.tables import Summary, short_name
from alexnet_jax.models.classifier import Classifier
from alexnet_jax.models.cuda_convnet import CfgNetwork
from alexnet_jax.models.cuda_convnet.notes import rate_changes
from alexnet_jax.models.cuda_convnet.updates import ArrayUpdate, Rate
from alexnet_jax.models.krizhevsky import (
    AlexNet2012,
    AlexNet2012Conv6,
    AlexNet2012OneGPU,
    AlexNetOneWeirdTrick,
)
from alexnet_jax.optim import create_schedule, group_of
from alexnet_jax.terminal.tables import Table

# Networks whose author's momentum and decay are known, with the schedule: 145-half and
# 146-2012-2011 changed their rates at other epochs than 145, which is `2012`.
_SCHEDULES: dict[type[Classifier], str | None] = {
    AlexNet2012: "2012",
    AlexNet2012OneGPU: None,
    AlexNet2012Conv6: None,
    AlexNetOneWeirdTrick: "one_weird_trick",
}
_BASE, _EPOCHS, _LAST_STAGE = 0.01, 100, 90


class LayerRates(NamedTuple):
    """How a layer learns, in words.

    Attributes:
      kernel: Its learning rate.
      bias: That of the biases; `-` if there are none.
      momentum: Of both.
      decay: Of the kernel; biases have none.
    """

    kernel: str
    bias: str
    momentum: str
    decay: str


def layer_rates(summary: Summary) -> dict[str, LayerRates]:
    """Returns how each layer of a network learns; nothing, if that is not known.

    Args:
      summary: The network.
    """
    network = summary.network
    if issubclass(network, CfgNetwork):
        return _rates_of_file(network)
    if network not in _SCHEDULES:
        return {}
    names = [layer.name for layer in summary.layers if layer.params]
    return {name: _rates_of_schedule(name, _SCHEDULES[network]) for name in names}


def _rates_of_file(network: type[CfgNetwork]) -> dict[str, LayerRates]:
    if network.experiment.params is None:
        return {}
    rates: dict[str, LayerRates] = {}
    arrays = network.experiment.updates.arrays
    for name in dict.fromkeys(array.rpartition("/")[0] for array in arrays):
        kernel, bias = (arrays.get(f"{name}/{kind}") for kind in ("kernel", "bias"))
        momenta = dict.fromkeys(f"{one.momentum:g}" for one in (kernel, bias) if one)
        rates[name] = LayerRates(
            _rate_text(kernel),
            _rate_text(bias),
            ", ".join(momenta),
            f"{kernel.weight_decay:g}" if kernel else "-",
        )
    return rates


def _rate_text(update: ArrayUpdate | None) -> str:
    return "-" if update is None else rate_text(update.rate)


def rate_text(rate: Rate) -> str:
    """Returns a rate in words: `0.01 → 4e-05 in 4 steps`."""
    noise = f", noise {rate.noise:g}" * bool(rate.noise)
    if rate.kind == "constant" or not rate.base or rate.factor == 1:
        return f"{rate.base:g}{noise}"
    words = {"linear": "", "exp": ", exponential"}
    words |= {"dexp": f" in {rate.steps} steps"}
    words |= {"jdexp": f" in {rate.steps} steps, half of each between two"}
    return f"{rate.base:g} → {rate.base / rate.factor:.3g}{words[rate.kind]}{noise}"


def _rates_of_schedule(name: str, schedule: str | None) -> LayerRates:
    if schedule is None:
        return LayerRates("-", "-", "0.9", "0.0005")
    optim = default_config().optim
    optim.schedule = schedule
    groups = create_schedule(optim, _BASE, 1, _EPOCHS)
    texts = []
    for kind, factor in (("kernel", 1.0), ("bias", 2.0)):  # `sgd_2012`
        group = groups[group_of([DictKey(name), DictKey(kind)], groups)]
        values = [factor * float(group(epoch)) for epoch in range(_EPOCHS)]
        if schedule == "2012":
            texts.append(f"{values[_LAST_STAGE]:.4g}")
            continue
        steps = len(dict.fromkeys(values))
        texts.append(f"{values[0]:.3g} → {values[-1]:.3g} in {steps} steps")
    return LayerRates(texts[0], texts[1], "0.9", "0.0005")


def rates_table(summaries: Sequence[Summary]) -> Table | None:
    """Lays out how the layers of networks learn; None if no file says so.

    Momentum and weight decay that differ begin with ≠. Rates do not: a file has those
    of the stage that it was left in.

    Args:
      summaries: One or several networks.
    """
    columns = [layer_rates(summary) for summary in summaries]
    if not any(
        issubclass(one.network, CfgNetwork) and rates
        for one, rates in zip(summaries, columns, strict=True)
    ):
        return None
    others = ("of biases", "momentum", "decay")
    several = len(summaries) > 1
    names = [f"{short_name(one.name)}: " if several else "" for one in summaries]
    headings = [word for name in names for word in (f"{name}rate", *others)]
    table = Table(
        *("", "layer", *headings),
        optional=others,
        names={"layer": 10},
        texts={f"{name}rate": 22 for name in names},
    )
    nothing = LayerRates("-", "-", "-", "-")
    for name in dict.fromkeys(name for rates in columns for name in rates):
        cells = [rates.get(name, nothing) for rates in columns]
        known = {cell[2:] for cell in cells if cell is not nothing}
        words = [word for cell in cells for word in cell]
        table.add_row("≠" if len(known) > 1 else "", name, *words)
    return table


def stages(summaries: Iterable[Summary]) -> list[str]:
    """Returns a line for each network that has rates: which stage they are of."""
    lines = []
    for summary in summaries:
        network = summary.network
        if issubclass(network, CfgNetwork) and network.experiment.params:
            params = network.experiment.params
            name = Path(params.name).name
            changes = rate_changes(params.comments)
            if changes:
                lines.append(
                    f"{name}: rates as the file was left; the latest of {len(changes)} "
                    f"notes of a change: {changes[-1]!r}"
                )
            else:
                lines.append(f"{name}: rates as written; no note of a change")
        elif _SCHEDULES.get(network) == "2012":
            lines.append(
                f"{summary.name}: optim.schedule '2012' from epoch 79 on, its last "
                f"stage, at optim.learning_rate {_BASE:g}"
            )
    return lines
