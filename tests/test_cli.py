"""What all commands share: help, flags, errors in one line, Ctrl-C, closed pipes."""

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys

import pytest
from jax.errors import JaxRuntimeError

from alexnet_jax import cli
from alexnet_jax.errors import InputError, RunError
from alexnet_jax.sweep import parse_seeds

BENCHMARKS = [
    "step",
    "gpu.__main__",
    "job",
    "scaling",
    "input",
    "ablations",
    "readme_tables",
    "experiments_of_2012",
]
MODULES = [cli.load(name).__name__ for name in cli.COMMANDS if name != "train"]
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
    if module.startswith("alexnet_jax."):
        lines = parser.description.splitlines()
        assert max(map(len, lines)) < 80  # as wide as a terminal
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
        (IsADirectoryError(21, "Is a directory", 5), "[Errno 21] Is a directory: 5"),
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
    @cli.one_line_errors("; run the same command to continue")
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match="^130$"):
        main()
    line = "error: interrupted; run the same command to continue\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "terminated"),
        (signal.SIGHUP, "hung up"),
    ],
)
def test_signals_are_one_line(number, words, capsys):
    before = signal.getsignal(number)

    @cli.one_line_errors()
    def main():
        signal.raise_signal(number)

    with pytest.raises(SystemExit, match=f"^{128 + number}$"):
        main()
    assert capsys.readouterr().err == f"error: {words}\n"
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "Unable to allocate 9 GiB"),
        (MemoryError(), None),
        (
            JaxRuntimeError("RESOURCE_EXHAUSTED: Out of\nmemory"),
            "RESOURCE_EXHAUSTED: Out",
        ),
    ],
)
def test_out_of_memory_is_one_line(error, reason, error_line):
    @cli.one_line_errors()
    def main(argv):
        raise error

    line = error_line(main)
    assert line.startswith("error: out of memory") and "end other programs" in line
    assert reason is None or reason in line


def test_control_characters_are_shown_escaped(capsys):
    @cli.one_line_errors()
    def main():
        print("a\x1b[31mb\x9bc\u202ed")
        cli.warn("one\ntwo \x07")
        raise InputError("\x1b]0;title\x07 \ud800")

    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    assert out == "a\\u001b[31mb\\u009bc\\u202ed\n"
    assert err.splitlines() == [
        "warning: one two \\u0007",
        "error: \\u001b]0;title\\u0007 \\ud800",
    ]


def test_json_reads_back_what_was_escaped(capsys):
    names = ["é", "\x1b[2J", "\u202e", "\U000e0041", "×"]
    with cli.one_line_errors():
        cli.print_json(names)
    assert json.loads(capsys.readouterr().out) == names


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        (cli.positive_int, "1" + "0" * 9, "must have at most 9 digits; got 10 of them"),
        (cli.positive_int, "9" * 5000, "must have at most 9 digits; got 5000 of them"),
        (cli.positive_int, "٣", "must be at least 1; got"),
        (cli.positive_int, "²", "must be at least 1; got"),
        (cli.positive_int, "-1", "must be at least 1; got"),
        (cli.image_shape, "9" * 5000 + ",1,1", "of lengths of at most 1,000,000; got"),
        (cli.image_shape, "1000001,1,1", "of lengths of at most 1,000,000; got"),
        (cli.image_shape, "٣,٣,٣", "must be height, width and channels"),
    ],
)
def test_numbers_out_of_all_proportion(function, text, expected):
    with pytest.raises(argparse.ArgumentTypeError, match=expected):
        function(text)
    assert cli.positive_int("007") == 7
    assert cli.image_shape("000000000001,2,3") == (1, 1, 2, 3)


@pytest.mark.slow
def test_a_platform_that_the_machine_lacks(tmp_path):
    for name in ("cuda", "nonsense"):
        done = subprocess.run(
            [sys.executable, "-m", "alexnet_jax.main"]
            + ["--config=experiments/digits.py", f"--workdir={tmp_path}"],
            env=os.environ | {"JAX_PLATFORMS": name, "MPLBACKEND": "nonsense"},
            capture_output=True,
            text=True,
        )
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1
        assert line.startswith(
            f"error: JAX_PLATFORMS: JAX finds no device for '{name}'"
        )


@pytest.mark.parametrize("seeds", ["0,-1", "0,4294967296", "0,x", "1,1", ""])
def test_seeds_are_checked_before_the_first_run(seeds):
    with pytest.raises(InputError, match="--seeds must be distinct integers in .0, 2"):
        parse_seeds(seeds.split(","))
