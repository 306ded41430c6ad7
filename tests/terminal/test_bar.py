import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from io import StringIO

import pytest

from alexnet_jax.terminal import bar, signals
from alexnet_jax.terminal.bar import Bar, spinner, track

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(StringIO):
    """A stream that says that it is a terminal.

    Attributes:
      gone: Whether it has been closed at its other end.
    """

    encoding = "utf-8"
    gone = False

    def isatty(self):
        return True

    def write(self, text):
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(text)

    def rows(self):
        """What is left to see: a new line, a line erased, and one above another."""
        rows, place = [""], 0
        for part in re.split(r"(\r|\n|\x1b\[\d*[A-Za-z])", self.getvalue()):
            if part == "\n":
                place += 1
                rows += [""] * (place + 1 - len(rows))
            elif part == "\x1b[2K":
                rows[place] = ""
            elif part == "\x1b[1A":
                place -= 1
            elif part == "\r" or ESCAPE.fullmatch(part):
                assert part == "\r" or part.endswith("m"), part
            else:
                rows[place] += part
        return rows

    def drawn(self):
        """All that has been drawn, in order, without colors."""
        text = ESCAPE.sub("", self.getvalue())
        return [row for row in re.split(r"[\r\n]+", text) if row.strip()]


@pytest.fixture
def open_terminal(monkeypatch):
    """Puts a terminal of 80 columns in standard output and error; each update draws."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(bar, "_EVERY_S", 0)

    def call():  # by the test itself: pytest changes both after a fixture
        found = Terminal()
        monkeypatch.setattr(sys, "stderr", found)
        monkeypatch.setattr(sys, "stdout", found)
        return found

    return call


def test_a_row_of_a_terminal_and_nothing_at_the_end(open_terminal):
    terminal = open_terminal()
    with Bar(4_690, "steps", 469) as shown:
        shown.update(938, "epoch 2/10", ("loss 0.4321", "12,345 images/s"))
        (row,) = terminal.drawn()
        assert len(row) <= 80
        shown.update(939, "epoch 3/10")
    assert row.startswith("epoch 2/10 ━")
    for text in (" 938/4,690 steps ", " left loss 0.4321, 12,345 images/s"):
        assert text in row
    assert any(row.startswith("epoch 3/10") for row in terminal.drawn())
    assert "".join(terminal.rows()) == ""


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_no_row_is_longer_than_the_terminal(open_terminal, monkeypatch, columns):
    terminal = open_terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    with Bar(1_234_567, "pictures") as shown:
        numbers = "loss 1.2345", "123,456 images/s"
        shown.update(1_000_000, "epoch 100/100", numbers)
        before = terminal.rows()
    assert len(before) == 1 and 0 < len(before[0]) <= columns
    assert "".join(terminal.rows()) == ""
    # What matters most is there: the epoch, then the time left, then how many.
    assert before[0].startswith("epoch 100/100")
    assert (" left" in before[0]) == (columns >= 40)
    assert ("pictures" in before[0]) == (columns >= 80)


def test_the_last_one_is_seen_and_the_one_below_it_afterwards(open_terminal):
    terminal = open_terminal()
    streams = sys.stdout, sys.stderr
    with Bar(9, "steps") as below:
        below.update(3, "epoch 1/3")
        with Bar(4, "batches") as above:
            above.update(1, "testing")
            below.draw()
            assert terminal.rows()[0].startswith("testing")
            print("a line")
        below.update(4, "epoch 2/3")
        assert terminal.rows()[0] == "a line"
        assert terminal.rows()[1].startswith("epoch 2/3")
    assert (sys.stdout, sys.stderr) == streams and not bar._drawn
    assert terminal.rows()[1:] == ["", ""]


def test_the_first_item_may_take_long(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setattr(bar, "_TURN_S", 0.001)

    def items():
        while not any(" compiling 0:00:" in row for row in terminal.drawn()):
            time.sleep(0.001)
        yield from "abc"

    before = threading.active_count()
    for _ in track(items(), 3, "letters", "compiling"):
        pass
    assert threading.active_count() == before
    assert any("2/3 letters" in row for row in terminal.drawn())
    assert "".join(terminal.rows()) == ""


def test_lines_stand_above_it(open_terminal):
    terminal = open_terminal()
    streams = sys.stdout, sys.stderr
    long = "a line that is longer than the terminal: " + 60 * "x "
    with Bar(3, "images") as shown:
        shown.advance()
        print("broken    a.jpg")
        print(long, file=sys.stderr)
        shown.advance(2)
        assert terminal.rows()[:2] == ["broken    a.jpg", long]
        assert "3/3 images" in terminal.rows()[2]
    assert terminal.rows() == ["broken    a.jpg", long, "", ""]
    assert (sys.stdout, sys.stderr) == streams


def test_short_work_shows_nothing(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setattr(bar, "_EVERY_S", 1000)
    assert [*track("abc", 3, "letters")] == ["a", "b", "c"]
    with spinner("compiling"):
        pass
    assert terminal.getvalue() == ""


def test_no_thread_draws_a_bar(open_terminal):
    terminal = open_terminal()
    before = threading.active_count()
    for _ in track("ab", 2, "letters"):
        assert threading.active_count() == before
    assert any("1/2 letters" in row for row in terminal.drawn())


def test_a_spinner_moves_and_its_thread_ends(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setattr(bar, "_TURN_S", 0.001)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), spinner("compiling"):
        while len({row[0] for row in terminal.drawn()}) < 2:
            time.sleep(0.001)
        raise KeyboardInterrupt
    assert threading.active_count() == before
    assert all(re.match(r"[-\\|/] compiling 0:00:", one) for one in terminal.drawn())
    assert "".join(terminal.rows()) == ""


@pytest.mark.parametrize("error", [None, StringIO(), Terminal()])
def test_nothing_is_written_where_there_is_no_terminal(monkeypatch, error):
    monkeypatch.setattr(bar, "_EVERY_S", 0)
    monkeypatch.setenv("FORCE_COLOR", "1")  # which Rich takes for a terminal
    if isinstance(error, Terminal):
        monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", error)
    with Bar(3, "images") as shown, spinner("compiling"):
        shown.update(1, "epoch 1/3")
        shown.advance()
        assert not shown.is_due() and sys.stderr is error
    assert error is None or error.getvalue() == ""


def test_a_closed_stream_has_no_bar(monkeypatch):
    closed = StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    with Bar(3, "images") as shown:
        shown.advance()


def test_a_terminal_that_is_gone_ends_nothing(open_terminal):
    terminal = open_terminal()
    with Bar(3, "images") as shown:
        shown.advance()
        terminal.gone = True
        shown.advance()
    assert signals.erase == "" and sys.stderr is terminal


def test_a_terminal_of_few_letters(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setattr(Terminal, "encoding", "ascii")
    for _ in track("ab", 2, "letters"):
        pass
    assert terminal.getvalue().isascii() and terminal.drawn()


ENDED = """
import signal, sys, time
from alexnet_jax.terminal import bar
from alexnet_jax.terminal.signals import end_at_once
end_at_once()
bar._EVERY_S = 0
with bar.Bar(3, "images") as shown:
    shown.advance()
    signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_removes_the_bar_before_its_line():
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm"}
    command = [sys.executable, "-c", ENDED]
    with subprocess.Popen(command, env=environment, stderr=theirs) as process:
        os.close(theirs)
        seen = ""
        while select.select([ours], [], [], 60)[0]:
            try:
                seen += os.read(ours, 10_000).decode()
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 128 + 15
    assert "1/3 images" in seen
    assert seen.endswith("\r\x1b[2Kerror: terminated\r\n")
    assert "\x1b[?25l" not in seen  # the cursor is not hidden
