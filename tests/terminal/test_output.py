"""Streams that are closed, full or of few letters, in processes that import no JAX."""

import os
import subprocess
import sys

import pytest

PRELUDE = """
import sys
from alexnet_jax import cli
from alexnet_jax.terminal.output import output_may_be_lost
"""
PRINTS = "for _ in range(9): print('a' * 9_999, flush=True)"
COMMAND = f"""{PRELUDE}
with cli.one_line_errors():
    {PRINTS}
"""
WORK = f"""{PRELUDE}
with cli.one_line_errors():
    with output_may_be_lost():
        {PRINTS}
        print('b', file=sys.stderr)
    open(sys.argv[1], 'w').write('done')
"""


def run(shell, code, *words, **environment):
    """Runs a shell's line in which $0 is Python and $1 the code."""
    return subprocess.run(
        ["bash", "-c", shell, sys.executable, code, *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("flag", ["", "-u"])
@pytest.mark.parametrize(
    ("shell", "status", "error"),
    [
        ('"$0" {} -c "$1" | true; exit ${{PIPESTATUS[0]}}', 141, ""),
        (
            '"$0" {} -c "$1" > /dev/full',
            1,
            "error: standard output: No space left on device\n",
        ),
        ('"$0" {} -c "$1" >&-', 0, ""),
    ],
)
def test_a_command_ends_quietly_or_in_one_line(shell, status, error, flag):
    done = run(shell.format(flag), COMMAND)
    assert (done.returncode, done.stderr, done.stdout) == (status, error, "")


@pytest.mark.parametrize(
    "streams",
    [
        "| true; exit ${PIPESTATUS[0]}",
        "2>&1 | true; exit ${PIPESTATUS[0]}",
        "> /dev/full 2>&1",
        ">&- 2>&-",
        "<&- >&- 2>&-",
    ],
)
def test_work_goes_on_though_nobody_reads(streams, tmp_path):
    done = run(f'"$0" -c "$1" "$2" {streams}', WORK, str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "file").read_text() == "done"
    assert done.stderr in ("", "b\n")


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    code = f"""{PRELUDE}
import os
with cli.one_line_errors():
    file = open(sys.argv[1], 'w')
    os.write(2, b'of a library')
"""
    done = run('"$0" -c "$1" "$2" >&- 2>&-', code, str(tmp_path / "file"))
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_letters_that_the_terminal_lacks(environment):
    code = f"""{PRELUDE}
with cli.one_line_errors():
    print('2\\u00d72 \\u00b1 1, \\u72ac')
    cli.print_json('\\u00d7')
    cli.warn('3\\u00d73')
"""
    done = run('"$0" -c "$1"', code, **environment)
    assert done.stdout == '2x2 +/- 1, \\u72ac\n"\\u00d7"\n'
    assert (done.returncode, done.stderr) == (0, "warning: 3x3\n")


def test_a_progress_bar_may_move_the_cursor_and_a_name_may_not():
    code = f"""{PRELUDE}
with cli.one_line_errors():
    sys.stderr.write('\\r50 %\\x1b[A')
    cli.warn('\\x1b[A\\x1b[2J')
    sys.stderr.writelines(['\\x07', '\\n'])
"""
    done = run('"$0" -c "$1"', code)
    assert done.stderr == "\n50 %\x1b[Awarning: \\u001b[A\\u001b[2J\n\\u0007\n"
