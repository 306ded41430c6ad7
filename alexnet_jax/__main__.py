"""The command `alexnet`: its help, and the way to each of its commands."""

import difflib
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

from alexnet_jax import __version__, cli
from alexnet_jax.errors import InputError

_HELP = """usage: alexnet COMMAND [ARGUMENTS]

AlexNet in JAX and Flax. To begin with:

  alexnet train --config=digits
  alexnet report runs/digits
  alexnet predict runs/digits picture.png

commands, of which each has a --help of its own:
{commands}

options:
  --help           print this
  --version        print the versions of the program, Python, JAX and Flax
"""


def help_text() -> str:
    """Returns what `alexnet --help` prints."""
    lines = (f"  {name:16} {one.summary}" for name, one in cli.COMMANDS.items())
    return _HELP.format(commands="\n".join(lines))


def _split(words: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the name of the command that the words begin with, and its arguments.

    Raises:
      InputError: There is no such command; the nearest is named.
    """
    for count in (2, 1):
        if (name := " ".join(words[:count])) in cli.COMMANDS:
            return name, [*words[count:]]
    group = _group(words[0])
    near = difflib.get_close_matches(words[0], cli.COMMANDS, n=1)
    hint = " or ".join(f"alexnet {name}" for name in group or near)
    raise InputError(
        f"alexnet: there is no command {' '.join(words[:2] if group else words[:1])!r};"
        f" try {hint or 'alexnet --help'}"
    )


def _group(word: str) -> list[str]:
    """Returns the commands of two words of which this is the first."""
    return [name for name in cli.COMMANDS if name.startswith(f"{word} ")]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command that the arguments name, as its module would."""
    words = [*(sys.argv[1:] if argv is None else argv)]
    with cli.one_line_errors():
        if words[:1] == ["help"]:
            words = [*words[1:], "--help"]
        is_group = words[1:] in (["--help"], ["-h"]) and bool(_group(words[0]))
        if not words or words[0] in ("--help", "-h") or is_group:
            return print(help_text(), end="")
        if words[0] == "--version":
            return print(_versions())
        name, arguments = _split(words)
        cli.started_by_program()
        module = cli.load(name)
    module.main(arguments)


def _versions() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "flax"))
    return f"alexnet_jax {__version__}, Python {platform.python_version()}, {libraries}"


if __name__ == "__main__":
    main()
