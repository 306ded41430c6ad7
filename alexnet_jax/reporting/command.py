"""The command that makes a run again, from its config alone."""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import cli
from alexnet_jax.config import flatten_config, in_one_form
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.experiments import experiments
from alexnet_jax.terminal.user_code import load_module, named_errors

# Filled in by the program, as a run with a layer file begins.
_FILLED_IN = ("model.cfg_layers", "model.cfg_params")


def command_of(config: ConfigDict, seeds: Sequence[int] = ()) -> str:
    """Returns what to type for such a run, quoted for the shell.

    A run does not keep the file that its config came from, which may have changed
    since: the command names the experiment of the package that is nearest, and a flag
    for each key that differs.

    Args:
      config: The run's.
      seeds: Those of several runs that are the same but for these.
    """
    flat = flatten_config(config)
    found = min(
        ((argument, _changes(base, flat)) for argument, base in _experiments()),
        key=lambda one: len(one[1]),
        default=("FILE", flat),
    )
    argument, changes = found
    words = [f"--config={argument}"]
    for key, value in changes.items():
        if key != "seed" or not seeds:
            words.append(f"--config.{key}={value}")
    if seeds:
        words.append(f"--seeds={','.join(map(str, seeds))}")
    words.append(f"--workdir=runs/{config.name}-again")
    return cli.as_started("python -m alexnet_jax.main ") + shlex.join(words)


def _experiments() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the experiments of the package and their variants, as `--config` does.

    One that wants files that are not here, or does not run, is left out.
    """
    for label, path in experiments().items():
        with contextlib.suppress(InputError):
            module = load_module(str(path), f"experiment_{label}", "--config")
            with named_errors(str(path), "--config"):
                variants = [None, *getattr(module, "VARIANTS", ())]
            for variant in variants:
                name = label if variant is None else f"{label}:{variant}"
                if config := _config_of(module, variant, path):
                    yield name, config


def _config_of(
    module: ModuleType, variant: str | None, path: Path
) -> dict[str, Any] | None:
    with contextlib.suppress(InputError), named_errors(str(path), "--config"):
        return flatten_config(
            module.get_config(*([] if variant is None else [variant]))
        )
    return None


def _changes(base: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Returns the keys of `wanted` whose values are others than those of `base`."""
    one, other = in_one_form(base), in_one_form(wanted)
    return {
        key: value
        for key, value in wanted.items()
        if key not in _FILLED_IN
        and (base.get(key) != value or type(base.get(key)) is not type(value))
        and (one.get(key) != other.get(key) or key in ("model.name", "optim.params"))
    }
