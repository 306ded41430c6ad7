"""`alexnet NAME`, each command by its name: one table, and what is made from it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax import __main__ as program
from alexnet_jax import __version__, cli
from alexnet_jax.completion import completion
from alexnet_jax.config import KEYS, default_config, flatten_config

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "alexnet_jax"


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """What a process notes as it is started as `alexnet`; undone after each test."""
    monkeypatch.setattr(cli, "_by_program", False)


def test_every_command_is_in_the_table():
    """Every module that can be started with `-m`, but for the program's own."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if 'if __name__ == "__main__":' in path.read_text():
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            found.add(".".join(part for part in parts if part != "__main__"))
    assert {command.module for command in cli.COMMANDS.values()} == found - {""}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_summary_is_the_first_line_of_the_help(name):
    first, *_ = cli.load(name).__doc__.splitlines()
    assert first == cli.COMMANDS[name].summary


@pytest.mark.parametrize("words", [["help", "report"], ["report", "--help"]])
def test_help_of_a_command(words, capsys):
    with pytest.raises(SystemExit, match="^0?$"):
        program.main(words)
    assert capsys.readouterr().out.startswith(cli.COMMANDS["report"].summary)


def test_a_mistyped_flag_names_the_nearest(error_line):
    line = error_line(cli.load("report").main, "run", "--ouput=x")
    assert line.endswith("unrecognized arguments: --ouput=x; did you mean --output?")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"], ["data", "-h"]])
def test_the_help_lists_all(words, capsys):
    program.main(words)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for name, command in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", printed, re.M)


def test_the_docs_list_all():
    rows = [
        f"| `alexnet {name}` | `python -m alexnet_jax.{one.module}` | {one.summary} |"
        for name, one in cli.COMMANDS.items()
    ]
    assert "\n".join(rows) + "\n\n" in (ROOT / "docs" / "running.md").read_text()


def test_version(capsys):
    program.main(["--version"])
    assert re.fullmatch(
        rf"alexnet_jax {re.escape(__version__)}, Python 3\.\d+\.\d+\S*, jax \S+, "
        r"flax \S+\n",
        capsys.readouterr().out,
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sumary"], "there is no command 'sumary'; try alexnet summary"),
        (["data"], "there is no command 'data'; try alexnet data prepare or alexnet d"),
        (["data", "x"], "there is no command 'data x'; try alexnet data prepare or"),
        (["--config=a"], "there is no command '--config=a'; try alexnet "),
        ([""], "there is no command ''; try alexnet --help"),
    ],
)
def test_unknown_commands_are_one_line(words, expected, capsys):
    with pytest.raises(SystemExit, match="^1$"):
        program.main(words)
    error = capsys.readouterr().err
    assert error.startswith(f"error: alexnet: {expected}") and error.count("\n") == 1


def help_of(name, capsys, *flags):
    with pytest.raises(SystemExit, match="^0?$"):
        program.main([*name.split(), *(flags or ("--help",))])
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_has_one_form(name, columns, capsys, monkeypatch):
    """What it does, usage, examples, the rest, arguments, options."""
    monkeypatch.setenv("COLUMNS", str(columns))
    printed = help_of(name, capsys)
    assert max(map(len, printed.splitlines())) <= 80
    first, usage, examples, *rest = printed.split("\n\n")
    assert first == cli.COMMANDS[name].summary
    assert usage.startswith(f"usage: alexnet {name} ")
    head, *lines = examples.splitlines()
    assert head == "examples:" and lines[0].startswith(f"  alexnet {name} ")
    assert "python -m" not in printed
    sections = [one.split("\n")[0] for one in rest if re.match(r"(\w+:)\n  \S", one)]
    assert sections[-2:] in (["arguments:", "options:"], ["options:", "keys:"])


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_is_explained_with_its_default(name):
    for action in cli.load(name).make_parser()._actions:
        assert action.help, action.dest
        if action.default not in (None, False, "==SUPPRESS=="):
            assert "default" in action.help or "of the run" in action.help, action.dest


def test_help_of_train_names_every_key(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    common = re.findall(r"^  --config\.([\w.]+)=", help_of("train", capsys), re.M)
    assert "--help-config" in help_of("train", capsys) and len(common) > 10
    for flag in ("--help-config", "--helpfull"):
        printed = help_of("train", capsys, flag)
        assert max(map(len, printed.splitlines())) <= 80
        found = re.findall(r"^  --config\.([\w.]+)=", printed, re.M)
        assert found == [key.name for key in KEYS]
        assert {*found} == flatten_config(default_config()).keys()
    assert {*common} < {*found}
    words = " ".join(printed.split())
    for key in KEYS:
        assert key.text.split("; see")[0].split(" python -m")[0] in words, key.name
        if key.default is not None:
            assert f"(default: {key.default})" in words, key.name


def test_errors_name_commands_as_they_were_started(capsys):
    line = "no statistics; run python -m alexnet_jax.data.statistics NAME first"
    cli.warn(line)
    assert capsys.readouterr().err == f"warning: {line}\n"
    cli.started_by_program()
    cli.print_error(line)
    assert "; run alexnet data statistics NAME first" in capsys.readouterr().err
    assert cli.as_started("python -m alexnet_jax.d2l") == "python -m alexnet_jax.d2l"


def alexnet(*words, **options):
    command = [str(Path(sys.executable).with_name("alexnet")), *words]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.e2e
def test_train_by_name_from_an_empty_folder(tmp_path):
    """As after `pip install`, and again, which goes on."""
    small = ["--config.data.image_size=32", "--config.model.name=lenet5"]
    words = ["train", "--config=digits", *small, "--config.num_epochs=1"]
    done = alexnet(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-2]
    assert last.startswith("to train longer: alexnet train --config=digits --config.")
    flags = last.removeprefix("to train longer: alexnet ").split()
    again = alexnet(*flags, cwd=tmp_path)
    assert "resuming  at step 94 of 188" in again.stdout
    checked = alexnet("checkpoint", "runs/digits", cwd=tmp_path)
    assert checked.returncode == 0 and "188" in checked.stdout


@pytest.mark.e2e
def test_a_mistyped_flag_by_name():
    done = alexnet("train", "--config=digits", "--config.optim.lr=1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --config has no key lr in optim. Did you m")


BASH = """
source {script}
COMP_WORDS=(alexnet {words}) COMP_CWORD={index}
_shtab_alexnet
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tr", {"train"}),
        ("data ''", {"prepare", "statistics"}),
        ("train --config d", {"digits"}),
        ("train --config.optim.b", {"--config.optim.b1", "--config.optim.b2"}),
        ("train --config.model.name alexnet_c", {"alexnet_caffe"}),
        ("summary lene", {"lenet5"}),
        ("data prepare dig", {"digits"}),
        ("evaluate --sp", {"--split"}),
    ],
)
def test_bash_completes(words, expected, tmp_path):
    script = tmp_path / "alexnet.bash"
    script.write_text(completion("bash"))
    code = BASH.format(script=script, words=words, index=words.count(" ") + 1)
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert {*done.stdout.split()} == expected, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_each_shell_knows_each_command(shell, capsys):
    cli.load("completion").main([shell])
    printed = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert re.search(rf"\b{name.split()[-1]}\b", printed), name
