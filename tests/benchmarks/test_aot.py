"""What is read from a program that XLA compiled for a GPU; the program is a sample."""

import importlib.util
import itertools
import re
from pathlib import Path

import pytest

from alexnet_jax.models import MODELS
from benchmarks import aot
from benchmarks.aot import Kernel, Plan, check, read_kernels, read_table

ROOT = Path(__file__).parents[2]
# As XLA writes it, shortened.
PROGRAM = """HloModule jit_step

%inner (p: f32[8]) -> f32[8] {
  ROOT %p = f32[8]{0} parameter(0)
}

ENTRY %main (a: bf16[4,8], b: pred[4]) -> (f32[], f32[4,8]) {
  %a = bf16[4,8]{1,0} parameter(0), metadata={op_name="a"}
  %b = pred[4]{0} parameter(1)
  %same = bf16[8,4]{1,0} bitcast(%a)
  %conv = (bf16[4,8]{1,0}, u8[16]{0}) custom-call(%a, %same), NAMES
  %y = bf16[4,8]{1,0} get-tuple-element(%conv), index=0
  %pair = (bf16[4,8]{1,0}, pred[4]{0}) tuple(%y, %b)
  %first = bf16[4,8]{1,0} get-tuple-element(%pair), index=0
  %second = pred[4]{0} get-tuple-element(%pair), index=1
  %sum = f32[] fusion(%y, %first, %second, /*index=3*/%b), kind=kInput, calls=%inner
  %c = f32[4,8]{1,0} constant({...})
  ROOT %out = (f32[], f32[4,8]{1,0}) tuple(%sum, %c)
}
""".replace("NAMES", 'custom_call_target="__cudnn$conv", metadata={op_name="add"}')


def test_kernels_are_read():
    """An operand that has several names is read once."""
    assert list(read_kernels(PROGRAM)) == [
        Kernel(
            64 + 64 + 16,
            "__cudnn$conv",
            "conv",
            "(bf16[4,8]{1,0}, u8[16]{0})",
            "add",
        ),
        Kernel(64 + 4 + 4, "fusion", "sum", "f32[]", ""),
    ]


def test_a_step_that_moves_more_is_named():
    published = Plan(2.0, 100, 0.2)
    assert check(Plan(2.05, 200, 0.9), published, "it") is None
    line = check(Plan(2.07, 100, 0.2), published, "it")
    assert line == "it moves 2.07 GB, 3% more than the 2.00 of docs/performance.md"


def test_the_table_has_every_step():
    rows = read_table((ROOT / "docs/performance.md").read_text())
    assert [*rows] == [*itertools.product(aot.MODELS, aot.DTYPES, aot.BATCHES)]
    log = (ROOT / "results/gpu-plan/log.txt").read_text()
    assert rows == read_table(log)
    assert {*aot.MODELS} <= {*MODELS}


def test_without_the_plugin_it_says_what_is_missing(error_line, monkeypatch):
    if importlib.util.find_spec("jax_plugins"):
        pytest.skip("there is a plugin")
    for name in ("XLA_FLAGS", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK"):
        monkeypatch.setenv(name, "")  # and as they were afterwards
    line = error_line(aot.main, "--models=alexnet_half")
    assert (
        "needs JAX's CUDA plugin, jax[cuda13], though no GPU; `make gpu-plan`" in line
    )


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (
            "--models=lenet5",
            r"--models: must be of \('alexnet_d2l', .*got \['lenet5'\]",
        ),
        ("--dtypes=float16", "--dtypes: must be of .*; got .*float16"),
        ("--batches=128,0", "--batches: must be at least 1; got '0'"),
    ],
)
def test_flags(flag, words, error_line):
    assert re.search(words, error_line(aot.main, flag))
