"""Prints what completes these commands in a shell.

  python -m alexnet_jax.completion bash >> ~/.bash_completion
  python -m alexnet_jax.completion zsh > FOLDER/_alexnet    FOLDER is in $fpath
  python -m alexnet_jax.completion fish > alexnet.fish      in its completions

It completes `alexnet`, its commands and their flags, every key of a config
among them, and the names of experiments, networks and data sets.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from alexnet_jax import cli

_SHELLS = ("bash", "zsh", "fish", "tcsh")


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.completion", __doc__)
    parser.add_argument("shell", choices=_SHELLS, help="the shell")
    return parser


def _train_parser() -> argparse.ArgumentParser:
    """Returns a parser that knows the flags of `train`, which parses them itself."""
    from alexnet_jax.config import default_config, flatten_config
    from alexnet_jax.data import DATA_SETS
    from alexnet_jax.models import list_models
    from alexnet_jax.terminal.experiments import experiments

    known = {"data.name": [*DATA_SETS], "model.name": list_models()}
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--config", choices=[*experiments()], help="a config file or an experiment")
    add("--workdir", type=cli.path, help="the run's folder")
    add("--seeds", help="run once per seed")
    add("--sweep", help="run once per combination of values")
    for key, value in flatten_config(default_config()).items():
        add(f"--config.{key}", choices=known.get(key), help=f"default: {value}")
    return parser


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """Returns the parsers of all commands."""
    from alexnet_jax.data import DATA_SETS
    from alexnet_jax.models import list_models

    parsers: dict[str, Any] = {"train": _train_parser()}
    for name in cli.COMMANDS.keys() - {"train"}:
        parsers[name] = cli.load(name).make_parser()
    values = {"summary": list_models()}
    values |= {name: [*DATA_SETS] for name in parsers if name.startswith("data ")}
    for name, choices in values.items():
        first = next(one for one in parsers[name]._actions if not one.option_strings)
        first.choices = choices
    return parsers


def completion(shell: str) -> str:
    """Returns the script for a shell: bash, zsh, fish or tcsh."""
    import shtab

    root = argparse.ArgumentParser(prog="alexnet")
    groups = {"": root.add_subparsers(parser_class=argparse.ArgumentParser)}
    for name, parser in _parsers().items():
        for action in parser._actions:
            if action.type is cli.path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        group, _, last = name.rpartition(" ")
        if group not in groups:
            within = groups[""].add_parser(group, help=f"commands for {group}")
            groups[group] = within.add_subparsers()
        summary = cli.COMMANDS[name].summary
        groups[group].add_parser(
            last, parents=[parser], add_help=False, help=summary, description=summary
        )
    return shtab.complete(root, shell)


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the script for the shell that the arguments name."""
    print(completion(make_parser().parse_args(argv).shell))


if __name__ == "__main__":
    main()
