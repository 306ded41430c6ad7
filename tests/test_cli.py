"""What all commands share: help, flags, errors in one line, Ctrl-C, closed pipes."""

import argparse
import importlib

import pytest

from alexnet_jax import cli
from alexnet_jax.errors import InputError, RunError

COMMANDS = ["summary", "predict", "evaluate", "report", "checkpoint"]
COMMANDS += ["data.prepare", "data.statistics.__main__"]
BENCHMARKS = ["step", "gpu", "job", "scaling", "input", "ablations", "readme_tables"]
MODULES = [f"alexnet_jax.{name}" for name in COMMANDS]
MODULES += [f"benchmarks.{name}" for name in BENCHMARKS]


@pytest.mark.parametrize("module", MODULES)
def test_help_explains_every_argument(module, monkeypatch, capsys):
    parsers = []
    monkeypatch.setattr(
        argparse.ArgumentParser,
        "print_help",
        lambda parser, file=None: parsers.append(parser),
    )
    with pytest.raises(SystemExit, match="^0$"):
        importlib.import_module(module).main(["--help"])
    (parser,) = parsers
    assert parser.prog == f"python -m {module.removesuffix('.__main__')}"
    assert parser.description[0].isupper()
    for action in parser._actions:
        assert action.help, action.dest
        assert "_" not in "".join(action.option_strings)


def test_flags_take_hyphens_and_underscores():
    parser = cli.Parser("name", "doc")
    parser.add_argument("--input-shape")
    parser.add_argument("words", nargs="*")
    for flag in ("--input-shape", "--input_shape"):
        assert parser.parse_args([f"{flag}=a_b"]).input_shape == "a_b"
        assert parser.parse_args([flag, "a_b"]).input_shape == "a_b"
    words = ["a_b", "--", "--c_d"]
    assert parser.parse_args(words).words == ["a_b", "--c_d"]
    with pytest.raises(InputError, match="unrecognized arguments: --no-such=a_b"):
        parser.parse_args(["--no_such=a_b"])
    with pytest.raises(InputError, match="unrecognized arguments: --input=1"):
        parser.parse_args(["--input=1"])  # no abbreviations


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a must be b"), "a must be b"),
        (RunError("a\n  b"), "a b"),
        (FileNotFoundError(2, "No such file or directory", "a"), "a: No such file or"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_errors_are_one_line(error, line, error_line):
    @cli.one_line_errors()
    def main(argv):
        raise error

    assert error_line(main).startswith(f"error: {line}")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), cli.one_line_errors():
        print(1 // 0)


def test_ctrl_c_is_one_line(capsys):
    @cli.one_line_errors("interrupted; run the same command to continue")
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match="^130$"):
        main()
    line = "error: interrupted; run the same command to continue\n"
    assert capsys.readouterr().err == line
