"""The commands, and what they share: parser, one-line errors, Ctrl-C, closed pipes."""

import argparse
import atexit
import contextlib
import difflib
import importlib
import json
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from absl import logging

from alexnet_jax.errors import InputError, RunError
from alexnet_jax.terminal.output import guarded_streams
from alexnet_jax.terminal.paths import refuse_address
from alexnet_jax.terminal.signals import WORDS, raised_signals
from alexnet_jax.terminal.text import printable


class Command(NamedTuple):
    """A command: `alexnet NAME`, or `python -m alexnet_jax.MODULE`.

    Attributes:
      module: The module in the package, which has `main(argv=None)`.
      summary: What the command does, the first line of its help.
    """

    module: str
    summary: str


# By name. Help and completion are made of these; a test compares docs/running.md.
COMMANDS = {
    "train": Command("main", "Trains a network as a config file describes."),
    "predict": Command("predict", "Classifies pictures with a trained network."),
    "evaluate": Command(
        "evaluate", "Evaluates a checkpoint on its data set, in all and by class."
    ),
    "report": Command("report", "Writes a report of runs: one self-contained page."),
    "explain": Command(
        "explain", "Shows what a network's answer to a picture rests on."
    ),
    "demo": Command(
        "demo", "Shows a network in a page: draw, and see what it answers."
    ),
    "features": Command(
        "features", "Writes the features of pictures to a file, a row a picture."
    ),
    "summary": Command(
        "summary", "Prints the layers of networks, alone or side by side."
    ),
    "checkpoint": Command(
        "checkpoint", "Lists the checkpoints of a run and checks them."
    ),
    "convert": Command(
        "convert", "Makes a run of an AlexNet's weights, array by array."
    ),
    "export": Command("export", "Writes a trained network for other tools."),
    "data prepare": Command(
        "data.prepare", "Prepares a data set on all cores, ahead of runs."
    ),
    "data statistics": Command(
        "data.statistics", "Measures a data set's training images."
    ),
    "completion": Command(
        "completion", "Prints what completes these commands in a shell."
    ),
}


def load(name: str) -> ModuleType:
    """Returns the module of a command.

    It has `main(argv=None)` and, but for that of `train`, `make_parser()`.

    Args:
      name: A key of `COMMANDS`.
    """
    module = importlib.import_module(f"alexnet_jax.{COMMANDS[name].module}")
    if hasattr(module, "main"):
        return module
    return importlib.import_module(f"{module.__name__}.__main__")  # of a package


_HELP_WIDTH = 80
_MAX_DIGITS = 9
_MAX_LENGTH = 1_000_000
CHECKPOINT_HELP = (
    "a run's folder, for its newest intact checkpoint, or WORKDIR/checkpoints/STEP"
)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, but no wider than people read."""

    def __init__(self, prog: str, **options: Any) -> None:
        width = min(_HELP_WIDTH, shutil.get_terminal_size().columns) - 2
        super().__init__(prog, **({"width": width} | options))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Returns `--flag=VALUE`, the form that switches of a config need."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, action.dest.upper())
        return f"{', '.join(action.option_strings)}={value}"


class Parser(argparse.ArgumentParser):
    """A parser whose flags may be written with hyphens or underscores.

    Help has one form: what the command does, usage, examples, what else is to be said,
    arguments, options.
    """

    def __init__(self, module: str, doc: str | None, **options: Any) -> None:
        """Creates the parser of `python -m MODULE`.

        Args:
          module: The module.
          doc: Its first line says what the command does; then stand examples, indented
            by two spaces, a command each; then the rest.
          **options: As `ArgumentParser` takes them.
        """
        super().__init__(
            prog=as_started(f"python -m {module}"),
            description=as_started(doc or ""),
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=False,
            **options,
        )
        self._positionals.title = "arguments"
        self.add_argument("-h", "--help", action="help", help="print this and exit")

    def format_help(self) -> str:
        """Returns what `--help` prints."""
        summary, *blocks = (self.description or "").strip().split("\n\n")
        is_example = [f"\n{block}".startswith("\n  ") for block in blocks]
        count = is_example.index(False) if False in is_example else len(blocks)
        parts = [summary, self.format_usage().strip()]
        if count:
            parts.append("\n".join(["examples:", *blocks[:count]]))
        parts += blocks[count:]
        parts += map(self.format_group, self._action_groups)
        return "\n\n".join(filter(None, parts)) + "\n"

    def format_group(self, group: argparse._ArgumentGroup) -> str:
        """Returns what `--help` prints of a group of arguments; "" of an empty one."""
        formatter = self._get_formatter()
        formatter.start_section(group.title)
        formatter.add_text(group.description)
        formatter.add_arguments(group._group_actions)
        formatter.end_section()
        return formatter.format_help().strip("\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses arguments, `--input_shape=...` as `--input-shape=...`."""
        words = hyphenate(sys.argv[1:] if args is None else args)
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raises an InputError, which names the flag nearest to an unknown one."""
        if found := re.match("unrecognized arguments: (--[^ =]+)", message):
            flags = [one.lstrip("-") for one in self._option_string_actions]
            near = difflib.get_close_matches(found[1].lstrip("-"), flags, n=1)
            message += f"; did you mean --{near[0]}?" if near else ""
        raise InputError(message)


_by_program = False


def started_by_program() -> None:
    """Notes that the command was started as `alexnet NAME`, as help then says it."""
    global _by_program
    _by_program = True


def as_started(text: str) -> str:
    """Returns a text with the commands in it as the user started this one.

    Examples:
      >>> as_started("run python -m alexnet_jax.predict --help")
      'run python -m alexnet_jax.predict --help'
    """
    if not _by_program:
        return text
    names = {command.module: name for name, command in COMMANDS.items()}

    def renamed(match: re.Match[str]) -> str:
        return f"alexnet {names[match[1]]}" if match[1] in names else match[0]

    return re.sub(r"python -m alexnet_jax\.([a-z_.]*[a-z])", renamed, text)


def hyphenate(args: Sequence[str]) -> list[str]:
    """Returns arguments with hyphens in flags, but for keys of the config."""
    words = list(args)
    end = words.index("--") if "--" in words else len(words)
    for place, word in enumerate(words[:end]):
        if word.startswith("--") and not word.startswith("--config."):
            name, equals, value = word.partition("=")
            words[place] = name.replace("_", "-") + equals + value
    return words


def positive_int(text: str) -> int:
    """Parses an argument that counts something."""
    if not re.fullmatch(r"[0-9]+", text) or not text.strip("0"):
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text!r}")
    if len(text.lstrip("0")) > _MAX_DIGITS:
        raise argparse.ArgumentTypeError(
            f"must have at most {_MAX_DIGITS} digits; got {len(text)} of them"
        )
    return int(text)


def path(text: str) -> Path:
    """Parses an argument that names a file or a folder."""
    if not text:  # Python takes it for the current folder
        raise argparse.ArgumentTypeError("must not be empty")
    try:
        refuse_address(text, "it")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("it: ")) from error
    return Path(text)


def folder(text: str) -> str:
    """Parses an argument that names a folder as a key of the config does."""
    path(text)
    return text


def image_shape(text: str) -> tuple[int, ...]:
    """Parses `H,W,C` or `B,H,W,C` as `(B, H, W, C)`; B is 1 if not given."""
    words = [word.lstrip("0") for word in re.findall(r"[0-9]+", text)]
    # Python reads no more than 4,300 digits.
    numbers = tuple(int(word[: _MAX_DIGITS + 1] or "0") for word in words)
    if (
        not re.fullmatch(r"[\s0-9,x×()\[\]]+", text)
        or len(numbers) not in (3, 4)
        or 0 in numbers
    ):
        raise argparse.ArgumentTypeError(
            "must be height, width and channels, such as 224,224,3, or four numbers "
            f"that begin with the batch size; got {text!r}"
        )
    if max(numbers) > _MAX_LENGTH:
        raise argparse.ArgumentTypeError(
            f"must be of lengths of at most {_MAX_LENGTH:,}; got {text[:60]!r}"
        )
    return numbers if len(numbers) == 4 else (1, *numbers)


def add_pictures(parser: Parser, most: str = "") -> None:
    """Adds RUN, a trained network, and IMAGE, what it is to look at, with `--invert`.

    Args:
      parser: Of the command.
      most: What the help of IMAGE says besides.
    """
    parser.add_argument("run", type=path, metavar="RUN", help=CHECKPOINT_HELP)
    parser.add_argument(
        "images",
        type=path,
        nargs="+",
        metavar="IMAGE",
        help="a picture (JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM, AVIF; HEIC with "
        f"pillow-heif), or a folder of them{most}",
    )
    parser.add_argument(
        "--invert",
        action="store_true",
        help="exchange light and dark, for dark pictures on a light background",
    )


def add_data_arguments(parser: Parser) -> None:
    """Adds `--data-dir` and `--manual-dir`, which override those of a run."""
    for name, text in (
        (
            "--data-dir",
            "folder of the prepared data sets (default: the run's own, which is only "
            "read; what it lacks is prepared in TFDS_DATA_DIR or "
            "~/tensorflow_datasets)",
        ),
        ("--manual-dir", "folder of the original files (default: the run's own)"),
    ):
        parser.add_argument(name, type=folder, metavar="DIR", help=text)


def print_json(value: Any) -> None:
    """Prints an object as JSON; beyond ASCII only what the terminal has."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    plain = not encoding.startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=plain))


def warn(line: str) -> None:
    """Prints a warning, in one line on stderr."""
    print(f"warning: {_one_line(as_started(line))}", file=sys.stderr)


def print_error(line: str) -> None:
    """Prints an error, in one line on stderr."""
    print(f"error: {_one_line(as_started(line))}", file=sys.stderr, flush=True)


def exit_on_errors(lines: Sequence[str]) -> None:
    """Prints errors that did not keep a command from going on; ends it if there are."""
    for line in lines:
        print_error(line)
    if lines:
        sys.exit(1)


@contextlib.contextmanager
def one_line_errors(
    hint: str = "",
    before_exit: Callable[[int], None] | None = None,
    memory: str = "end other programs, or take a computer with more",
) -> Iterator[None]:
    """Ends the process with one line on stderr where Python would print a traceback.

    The exit status is 1 after an error; 130, 143, 129 after Ctrl-C, SIGTERM, SIGHUP;
    and 141 if whoever reads standard output has closed it, as `head` does; then no line
    is printed. Any other exception is a bug and keeps its traceback.

    What is printed shows control characters escaped.

    Args:
      hint: What to say after a signal besides.
      before_exit: Takes the exit status, last of all.
      memory: What to do where there is too little of it.
    """

    def leave(status: int, message: str = "") -> NoReturn:
        if message:
            print_error(message)
        if before_exit:
            before_exit(status)
        sys.exit(status)

    logging.set_verbosity(logging.ERROR)  # Orbax and TFDS log each of their steps
    # No command opens a window, and Matplotlib is not imported with an unknown name.
    os.environ.pop("MPLBACKEND", None)
    with guarded_streams():
        try:
            with raised_signals(hint):
                try:
                    yield
                except SystemExit:  # of --help
                    sys.stdout.flush()
                    raise
                sys.stdout.flush()
        except BrokenPipeError:
            leave(128 + signal.SIGPIPE)
        except (InputError, RunError, OSError) as error:
            leave(1, _text(error))
        except MemoryError as error:
            leave(1, f"{_out_of_memory(error)}; {memory}")
        except KeyboardInterrupt as error:
            number = getattr(error, "number", signal.SIGINT)
            _skip_finalizers(128 + number)
            leave(128 + number, WORDS[signal.Signals(number)] + hint)
        except (RuntimeError, AssertionError) as error:
            # JAX's own class is not imported, so that a mistyped flag needs no JAX.
            if "RESOURCE_EXHAUSTED" in str(error):
                leave(1, f"{_out_of_memory(error)}; {memory}")
            if not _has_no_devices(error):
                raise
            leave(1, _no_devices(error))


def _skip_finalizers(status: int) -> None:
    """Ends a command's process at the first finalizer, which this is.

    XLA may still compile in a thread, which crashes as Python takes modules apart. A
    test or a notebook that called the command goes on.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = getattr(spec, "name", None) or ""
    if _by_program or module.startswith("alexnet_jax."):
        atexit.register(_exit_now, status)


def _exit_now(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads; closed
            stream.flush()
    os._exit(status)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _out_of_memory(error: Exception) -> str:
    reason = _one_line(str(error))[:160]
    return f"out of memory{f' ({reason})' if reason else ''}"


def _has_no_devices(error: Exception) -> bool:
    """Whether JAX found no device of the platform that it was told to use."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return Path(frame.f_code.co_filename).name == "xla_bridge.py"


def _no_devices(error: Exception) -> str:
    platforms = os.environ.get("JAX_PLATFORMS")
    return (
        f"JAX_PLATFORMS: JAX finds no device for {platforms!r} "
        f"({_one_line(str(error))[:160] or type(error).__name__}); unset it, or name a "
        "platform of this machine, such as cpu"
    )


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        name = error.filename
        if isinstance(name, str | bytes):  # or a number, of a file that was open
            return f"{os.fsdecode(name)}: {error.strerror}"
    return str(error)
