"""The steps that benchmarks compare do the same work; a side that fails says so."""

import importlib.util
import multiprocessing

import jax
import pytest

from alexnet_jax.errors import RunError
from benchmarks import sides
from benchmarks.jax_steps import flax_step, our_step
from tests.helpers import compare


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bare_step_of_flax_trains_as_ours(dtype, compiled_in_a_hurry):
    ours, flax = (make("lenet5", "train", 4, dtype) for make in (our_step, flax_step))
    first = jax.device_get(ours.wait().params)
    for step in (ours, flax):
        step.run()
        step.run()
    after = ours.wait().params
    compare(flax.wait()[0], after, 1e-5 if dtype == "float32" else 1e-2)
    with pytest.raises(AssertionError):
        compare(first, after)
    assert ours.device_gb() is None
    assert ours.compile_s > 0


def test_a_step_that_runs_nowhere_is_named():
    context = multiprocessing.get_context("spawn")
    work = {"model": "lenet5", "mode": "train", "batch_size": 2, "dtype": "float32"}
    with pytest.raises(RunError, match="^torch.none: (ModuleNotFound|Value)Error: "):
        sides.Side(context, "torch.none", **work)


def test_a_process_that_is_gone_is_named():
    pipe, theirs = multiprocessing.Pipe()
    side = sides.Side.__new__(sides.Side)
    side._name, side._pipe = "ours", pipe
    theirs.close()
    with pytest.raises(RunError, match="^ours: the process is gone$"):
        side.seconds(1)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no PyTorch")
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
@pytest.mark.heavy
def test_torch_runs_as_asked():
    for how in ("", "compile"):
        step = sides.create_step(f"torch.{how}", "lenet5", "train", 2, "bfloat16")
        step.run()
        step.wait()
        assert step.device_gb() is None and step.kernels(1) is None
    with pytest.raises(RuntimeError, match="a CUDA graph wants a GPU"):
        sides.create_step("torch.graph", "lenet5", "train", 2, "float32")
    with pytest.raises(ValueError, match="how must be"):
        sides.create_step("torch.none", "lenet5", "train", 2, "float32")
