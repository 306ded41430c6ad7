"""Several processes that train one network, through `jax.distributed`.

Process 0 is the primary: only it reads and writes the run's folder. The others compute,
and learn from it where to resume.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from flax import traverse_util
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from alexnet_jax.config import in_one_form
from alexnet_jax.errors import InputError, RunError

T = TypeVar("T")

# A process that is silent for so long counts as dead.
_HEARTBEAT_S = 20
_SHUTDOWN_S = 5
_START_S = 120
_GRACE_S = 60
_TRY_S, _RETRY_S = 5.0, 0.2
# A thread that waits for the other processes; an orderly exit would wait for it.
_JOINING: list[threading.Thread] = []
_LAST_WORDS_S = 1.0

# What may differ from process to process.
_OWN = ("parallel.process_id", "data.data_dir", "data.manual_dir", "data.workers")


def start(config: ConfigDict) -> None:
    """Joins the other processes, if `config.parallel.distributed` says so.

    Slurm, Open MPI and Kubernetes are recognized; elsewhere set `parallel.coordinator`,
    `num_processes` and `process_id`.

    Raises:
      InputError: No cluster was found and none was described, or it cannot be joined.
    """
    parallel = config.parallel
    described = parallel.coordinator, parallel.num_processes, parallel.process_id
    given = [value is not None for value in described]
    if not parallel.distributed:
        if any(given):
            raise InputError(
                "parallel.coordinator, num_processes and process_id are read with "
                "parallel.distributed=True only"
            )
        return
    if any(given) and not all(given):
        raise InputError(
            "parallel.coordinator, num_processes and process_id go together; got "
            f"{described}"
        )
    if all(given) and not parallel.process_id < parallel.num_processes:
        raise InputError(
            f"parallel.process_id must be below parallel.num_processes, "
            f"{parallel.num_processes}; got {parallel.process_id}"
        )
    if jax.distributed.is_initialized():
        return
    if all(given):
        reach_coordinator(parallel.coordinator, parallel.process_id)
    try:
        _join(described)
    except InputError:
        raise
    except (ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"parallel.distributed: the processes cannot be joined ({text[:200]}); "
            "without Slurm, Open MPI or Kubernetes set parallel.coordinator=HOST:PORT, "
            "parallel.num_processes and parallel.process_id"
        ) from error


def _join(described: tuple[str | None, int | None, int | None]) -> None:
    """Joins the other processes, in a thread that can be left.

    JAX waits without hearing signals, and aborts the process when it has waited enough.

    Raises:
      ValueError, RuntimeError: As `jax.distributed.initialize` does.
      InputError: The others do not come.
    """
    failures: list[BaseException] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                *described,
                initialization_timeout=int(_START_S) + _GRACE_S,
                heartbeat_timeout_seconds=_HEARTBEAT_S,
                shutdown_timeout_seconds=_SHUTDOWN_S,
            )
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=initialize, daemon=True)
    _JOINING.append(thread)
    thread.start()
    thread.join(_START_S)
    if thread.is_alive():
        address, count, _ = described
        where = f" {count} processes came to {address}" if address else " came"
        raise InputError(
            f"parallel.distributed: not all{where} within {_START_S} s; start all of "
            "them; parallel.coordinator is an address of process 0's machine"
        )
    _JOINING.remove(thread)
    if failures:
        raise failures[0]


def reach_coordinator(address: str, process_id: int) -> None:
    """Waits until process 0 can be reached, which JAX would end the process over.

    Args:
      address: `HOST:PORT` of process 0.
      process_id: This process's; in process 0 the port must be free.

    Raises:
      InputError: It cannot be reached in two minutes, or not at all.
    """
    host, _, port = address.rpartition(":")
    what = f"parallel.coordinator: {address}"
    hint = "give HOST:PORT of process 0, and start it as well"
    if not 0 < int(port) < 2**16:
        raise InputError(f"{what}: the port must be in [1, 65535]; {hint}")
    name = host.strip("[]")
    try:
        socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        text = getattr(error, "strerror", None) or error
        raise InputError(f"{what}: there is no such host ({text}); {hint}") from error
    if process_id == 0:
        try:
            socket.create_server(("", int(port))).close()
        except OSError as error:
            raise InputError(
                f"{what}: the port cannot be listened on ({error.strerror or error}); "
                "choose another one, in all processes"
            ) from error
        return
    end, told = time.monotonic() + _START_S, False
    while True:
        try:
            socket.create_connection((name, int(port)), timeout=_TRY_S).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"{what}: cannot be reached within {_START_S} s "
                    f"({error.strerror or error}); {hint}"
                ) from error
        if not told:
            print(f"waiting   for process 0 at {address}", flush=True)
            told = True
        time.sleep(_RETRY_S)


def is_primary() -> bool:
    """Whether this process reads and writes the run's folder."""
    return jax.process_index() == 0


def agree(action: Callable[[], T]) -> T:
    """Runs an action in every process; if it fails in one, all of them stop.

    Args:
      action: What to run. If it communicates with other processes, it must do so
        whether it fails or not.

    Raises:
      InputError: It failed, in another process, whose line it has; or in this one.
      RunError: It failed in this process.
      OSError: It failed in this process.
    """
    result: Any = None
    failure: Exception | None = None
    try:
        result = action()
    except (InputError, RunError, OSError) as error:
        failure = error
    if jax.process_count() > 1:
        lines = _texts("" if failure is None else str(failure))
        for index, line in enumerate(lines):
            if line and failure is None:
                raise InputError(f"process {index} stopped: {line}")
    if failure is not None:
        raise failure
    return result


@contextlib.contextmanager
def primary_first() -> Iterator[None]:
    """Runs the context in the primary first, then in the others."""
    several = jax.process_count() > 1
    if several and not is_primary():
        multihost_utils.sync_global_devices("primary_first")
    try:
        yield
    finally:
        if several and is_primary():
            multihost_utils.sync_global_devices("primary_first")


@contextlib.contextmanager
def silence_other_processes() -> Iterator[None]:
    """Discards what processes other than the primary print."""
    if is_primary():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def named_process_errors() -> Iterator[None]:
    """Turns the loss of another process into one line.

    Raises:
      RunError: Another process ended, or cannot be reached.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
            raise
        text = " ".join(str(error).split())
        raise RunError(
            f"parallel: another process ended, or cannot be reached ({text[:160]}); "
            "the last checkpoint is kept; start all processes again with the same "
            "command"
        ) from error


def check_same_config(config: ConfigDict) -> None:
    """Checks that all processes run one config.

    Raises:
      InputError: They do not; the first key that differs is named.
    """
    if jax.process_count() == 1:
        return
    flat = traverse_util.flatten_dict(config.to_dict(), sep=".")
    own = {key: one for key, one in in_one_form(flat).items() if key not in _OWN}
    configs = [json.loads(text) for text in _texts(json.dumps(own))]
    for key, value in configs[0].items():
        for index, other in enumerate(configs):
            if other.get(key) != value:
                raise InputError(
                    f"{key} must be the same in every process; got {value!r} in "
                    f"process 0 and {other.get(key)!r} in process {index}"
                )


def _texts(text: str) -> list[str]:
    """Returns every process's text."""
    data = text.encode(errors="replace")
    padded = np.zeros(max(1, largest(len(data))), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]


def from_primary(tree: Any) -> Any:
    """Returns the primary's arrays, as NumPy arrays, in every process.

    Args:
      tree: Arrays; those of the other processes give structure, shapes and dtypes.
    """
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def largest(value: int) -> int:
    """Returns the largest of all processes' values."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())


def smallest(value: int) -> int:
    """Returns the smallest of all processes' values."""
    return -largest(-value)


def to_host(tree: Any) -> Any:
    """Copies whole arrays to NumPy; every process must call it.

    NumPy's own arrays are returned as they are.
    """

    def copy(leaf: Any) -> np.ndarray:
        if not isinstance(leaf, jax.Array):
            return np.asarray(leaf)
        if leaf.is_fully_addressable:
            return np.array(leaf)
        if leaf.is_fully_replicated:
            return np.array(leaf.addressable_data(0))
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(copy, tree)


def abort_process(status: int) -> None:
    """Ends this process at once, if there are others, which may wait for it forever.

    An orderly exit would wait for them, and JAX would end it with a C++ stack trace.

    Args:
      status: For the shell.
    """
    if not _JOINING:
        if not jax.distributed.is_initialized() or jax.process_count() == 1:
            return
        if is_primary():
            time.sleep(_LAST_WORDS_S)  # JAX ends the others when it goes
    sys.stdout.flush()
    os._exit(status)
