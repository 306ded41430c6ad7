"""Runs a tutorial from top to bottom, as its reader does, and compares what it prints.

  python -m tests.tutorials PAGE

In the current folder: `sh` blocks a line after another, `python` blocks in one
interpreter, those that begin with `# NAME.py` written to that file. A block without a
language that follows one is what it prints; "..." stands for lines that are left out.
Numbers, of which no two machines have the same, are compared by their places alone.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?")
_HOME = re.compile(r"(?:~|/)[\w./-]*/(?=runs|tensorflow_datasets)")


def run(page: Path) -> list[str]:
    """Runs a page's blocks; returns what they print otherwise than it says."""
    namespace: dict = {"__name__": page.stem}
    printed, faults = None, []
    for language, block in _BLOCK.findall(page.read_text()):
        if language == "sh":
            printed = _shell(block)
        elif language == "python":
            printed = _python(block, namespace)
        elif not language and printed is not None:
            if not _pattern(block).fullmatch(_masked(printed)):
                faults.append(f"expected:\n{block}\nprinted:\n{printed}")
            printed = None
    return faults


def _shell(block: str) -> str:
    """Runs commands; `alexnet` is this checkout's, in this interpreter."""
    printed = ""
    for line in block.replace("\\\n", " ").splitlines():
        command, *words = shlex.split(line, comments=True)
        assert command == "alexnet", line
        done = subprocess.run(
            [sys.executable, "-m", "alexnet_jax", *words],
            env={**os.environ},  # without COLUMNS, which readline puts into C's
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        printed += done.stdout
    return printed


def _python(block: str, namespace: dict) -> str:
    if name := re.match(r"# (\w+\.py)\n", block):
        Path(name[1]).write_text(block)
        return ""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block, "<tutorial>", "exec"), namespace)
    return printed.getvalue()


def _masked(text: str) -> str:
    """Text without what differs from machine to machine.

    Numbers, the folders that it was run in, widths of tables, and which row is marked.
    """
    text = _HOME.sub("", text.replace("python -m alexnet_jax.main", "alexnet train"))
    text = re.sub(r"─+", "─", _NUMBER.sub("#", text.strip()))
    lines = (" ".join(line.split()).removesuffix(" best") for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines)


def _pattern(block: str) -> re.Pattern:
    lines = _masked(block).splitlines()
    parts = (r"(.*\n)*?" if one == "..." else re.escape(one) + r"\n" for one in lines)
    return re.compile("".join(parts))


if __name__ == "__main__":
    found = run(Path(sys.argv[1]).resolve())
    sys.exit("\n".join(found) or None)
