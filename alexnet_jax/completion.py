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


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """Returns the parsers of all commands, which know the names that are registered."""
    from alexnet_jax.data import DATA_SETS
    from alexnet_jax.models import list_models
    from alexnet_jax.terminal.experiments import experiments

    parsers: dict[str, Any] = {
        name: cli.load(name).make_parser() for name in cli.COMMANDS if name != "train"
    }
    parsers["train"] = cli.load("train").make_parser(every_key=True)
    values: dict[str, Any] = {
        "--config": [*experiments()],
        "--config.data.name": [*DATA_SETS],
        "--config.model.name": list_models(),
    }
    for action in parsers["train"]._actions:
        action.choices = values.get(action.option_strings[0])
    firsts = {"summary": list_models()}
    firsts |= {name: [*DATA_SETS] for name in parsers if name.startswith("data ")}
    for name, choices in firsts.items():
        first = next(one for one in parsers[name]._actions if not one.option_strings)
        first.choices = choices
    return {name: parsers[name] for name in cli.COMMANDS}


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
