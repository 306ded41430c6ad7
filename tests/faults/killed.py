"""Runs the program and kills it before its N-th change of files below its folder.

  python -m tests.faults.killed N WORKDIR [flags of alexnet_jax.main]

A kill leaves files as they are at that moment; "after" a change is before the next one.
With N = 0 nothing is killed, and the changes are listed on standard error, one a line.
What TensorStore does itself is not seen; the moments on both sides of it are.
"""

import itertools
import os
import runpy
import signal
import sys

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Python's audit events, with the places of their paths.
_CHANGES = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "open": 1}


def watch(number: int, workdir: str) -> None:
    """Watches this process from now on."""
    count = itertools.count(1)

    def look(event: str, args: tuple) -> None:
        if event not in _CHANGES or (event == "open" and not args[2] & _WRITES):
            return
        paths = [
            os.fsdecode(p)
            for p in args[: _CHANGES[event]]
            if isinstance(p, str | bytes)
        ]
        # Within a folder that is being removed, names are relative.
        if not any(p.startswith(workdir) or not p.startswith("/") for p in paths):
            return
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        if not number:
            names = " ".join(p.removeprefix(workdir) for p in paths)
            os.write(2, f"{event} {names}\n".encode())

    sys.addaudithook(look)


if __name__ == "__main__":
    _, number, workdir, *flags = sys.argv
    watch(int(number), f"{workdir}/")
    sys.argv = ["alexnet_jax.main", f"--workdir={workdir}", *flags]
    runpy.run_module("alexnet_jax.main", run_name="__main__", alter_sys=True)
