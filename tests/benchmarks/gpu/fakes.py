"""What a part may do, good and bad, in a moment and without JAX."""

import os
import signal
import sys
import time
from pathlib import Path


def measure(what, folder="", **work):
    if what == "returns":
        return {"value": 1}
    return globals()[what](folder=Path(folder), **work)


def good(folder, **work):
    yield {"value": 1 / 3, "words": "a third"}
    yield {"value": float("nan")}
    yield {"environment": os.environ.get("XLA_FLAGS")}


def fails(folder):
    yield {"value": 1}
    print("the reason", file=sys.stderr)
    raise ValueError("it is broken")


def dies(folder):
    yield {"value": 1}
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(folder):
    yield {"pid": os.getpid()}
    time.sleep(60)


def hangs_on(folder):
    """Heeds no SIGTERM, nor does its child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child:
        yield {"child": child}
    time.sleep(60)


def saves(folder):
    """Takes SIGTERM as a run does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    yield {"value": 1}
    try:
        time.sleep(60)
    finally:
        yield {"saved": True}


def floods(folder):
    print("x" * 2_000_000)
    yield from ({"value": "y" * 100_000} for _ in range(200))


def keeps(folder):
    (folder / "kept" / "run").mkdir()
    (folder / "kept" / "run" / "small.txt").write_text("small")
    (folder / "kept" / "large").write_bytes(os.urandom(17_000_000))
    yield {"value": 1}
