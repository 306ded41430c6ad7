"""A coordinator that cannot be reached is one line, where JAX would abort."""

import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.parallel import multihost
from alexnet_jax.parallel.multihost import reach_coordinator


@pytest.fixture
def port(monkeypatch):
    """A port on which nobody listens."""
    monkeypatch.setattr(multihost, "_START_S", 0.3)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        yield free.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost:99999", "the port must be in .1, 65535"),
        ("localhost:0", "the port must be in .1, 65535"),
        ("no-such-host.invalid:80", "there is no such host"),
        (f"{'a' * 100}.invalid:80", "there is no such host"),
    ],
)
@pytest.mark.parametrize("process_id", [0, 1])
def test_an_address_that_is_none(address, expected, process_id):
    with pytest.raises(InputError, match=f"^parallel.coordinator: .*: {expected}"):
        reach_coordinator(address, process_id)


def test_nobody_listens(port, capsys):
    with pytest.raises(InputError, match=r"reached within 0.3 s \(Connection"):
        reach_coordinator(f"localhost:{port}", 1)
    assert capsys.readouterr().out == f"waiting   for process 0 at localhost:{port}\n"


def test_a_port_that_is_taken(port):
    with pytest.raises(InputError, match="listened on .*; choose another one"):
        reach_coordinator(f"localhost:{port}", 0)


def test_somebody_listens():
    with socket.create_server(("localhost", 0)) as server:
        reach_coordinator(f"localhost:{server.getsockname()[1]}", 1)


@pytest.mark.heavy
@pytest.mark.parametrize("number", [None, signal.SIGINT, signal.SIGTERM])
def test_the_other_process_does_not_come(number):
    """In a process of its own, which JAX would abort; process 0 waits."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    code = f"""
import jax
jax.config.update("jax_platforms", "cpu")
from alexnet_jax import cli
from alexnet_jax.config import default_config
from alexnet_jax.parallel import multihost
multihost._START_S = {2 if number is None else 60}
config = default_config()
config.parallel.update(
    distributed=True, coordinator="localhost:{port}", num_processes=2, process_id=0
)
with cli.one_line_errors(before_exit=multihost.abort_process):
    print("ready", flush=True)
    multihost.start(config)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    if number is not None:
        time.sleep(0.5)
        process.send_signal(number)
    _, error = process.communicate(timeout=30)
    if number is None:
        assert process.returncode == 1
        assert error.startswith(
            "error: parallel.distributed: not all 2 processes came to localhost:"
            f"{port} within 2 s; start all of them; "
        )
    else:
        assert process.returncode == 128 + number
    assert len(error.splitlines()) == 1 and error.startswith("error: ")


def test_long_configs_are_compared_as_a_whole(monkeypatch):
    config = default_config()
    config.optim.freeze = tuple(f"layer{number:030}" for number in range(900))

    def gathered(array):
        other = np.asarray(array).copy()
        other[other == ord("7")] = ord("8") if is_other else ord("7")
        return np.stack([array, other])

    monkeypatch.setattr(multihost.jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost.multihost_utils, "process_allgather", gathered)
    is_other = False
    multihost.check_same_config(config)
    multihost.agree(lambda: None)
    is_other = True
    with pytest.raises(InputError, match="must be the same in every process; got"):
        multihost.check_same_config(config)
