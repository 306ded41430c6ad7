"""Compiles training steps for an H100 on a machine without one, and reads the program.

  make gpu-plan
  python -m benchmarks.aot --models=alexnet_d2l --dtypes=bfloat16 --kernels=40

A row a step: bytes that its kernels move, kernels, and the memory that XLA plans beside
arguments and results. Steps are those of Fashion-MNIST: one channel, ten classes, 28×28
bytes upsampled to 224×224. Nothing runs. Layouts, fusions, casts, copies and the memory
plan are XLA's own; the algorithms of cuDNN and cuBLAS, which it chooses by measuring,
are not. So bytes and kernels repeat exactly with a version of XLA, and time is unknown.

`--check` compares with the table in docs/performance.md and fails where a step moves
more. It wants `jax[cuda13]` (4.9 GB), and neither a GPU nor a driver.
"""

import argparse
import itertools
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from alexnet_jax import cli
from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/performance.md"
MODELS = ("alexnet_d2l", "alexnet_half", "alexnet_torchvision", "alexnet_paper")
MODELS += ("alexnet_2012",)
DTYPES, BATCHES = ("bfloat16", "float32"), (128, 512)
TOLERANCE = 0.03  # by how much a step may move more than the table says
HEADER = "| network | dtype | batch | GB moved | kernels | GB planned |"

_BYTES = {"pred": 1, "bf16": 2} | {
    f"{kind}{bits}": bits // 8 for kind in "fsu" for bits in (8, 16, 32, 64)
}
_ARRAY = re.compile(rf"\b({'|'.join(_BYTES)})\[([\d,]*)\]")
_LINE = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")
# What is no kernel.
_FREE = {"parameter", "tuple", "get-tuple-element", "constant", "bitcast"}


class Kernel(NamedTuple):
    """A kernel of a compiled program.

    Attributes:
      moved: Bytes of its operands and results.
      kind: XLA's operation, or the library's call.
      name: XLA's.
      shape: Of its results, as XLA writes it.
      source: What of the traced program it computes, as far as XLA says.
    """

    moved: int
    kind: str
    name: str
    shape: str
    source: str


class Plan(NamedTuple):
    """What XLA made of a step: a row of the table.

    Attributes:
      moved_gb: Bytes of all kernels' operands and results.
      kernels: How many there are.
      planned_gb: Memory beside arguments and results.
    """

    moved_gb: float
    kernels: int
    planned_gb: float


def read_kernels(hlo: str) -> Iterator[Kernel]:
    """Yields the kernels of a compiled program.

    Args:
      hlo: Its text, as `compiled.as_text()` has it.
    """
    shapes: dict[str, str] = {}
    same: dict[str, str] = {}  # an array's first name by its other ones
    tuples: dict[str, list[str]] = {}
    for line in hlo[hlo.index("\nENTRY ") :].splitlines():
        if not (found := _LINE.match(line)):
            continue
        name, shape, kind, rest = found.groups()
        shapes[name] = shape
        operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        operands = [same.get(one, one) for one in operands]
        if kind == "tuple":
            tuples[name] = operands
        elif kind == "bitcast":
            same[name] = operands[0]
        elif kind == "get-tuple-element" and operands[0] in tuples:
            index = re.search(r"index=(\d+)", rest)
            same[name] = tuples[operands[0]][int(index[1]) if index else 0]
        if kind in _FREE:
            continue
        read = sum(_bytes(shapes.get(one, "")) for one in {*operands})  # each once
        moved = read + _bytes(shape)
        target = re.search(r'custom_call_target="([^"]*)"', line)
        source = re.search(r'op_name="([^"]*)"', line)
        kind = target[1] if target else kind
        yield Kernel(moved, kind, name, shape, source[1] if source else "")


def _bytes(shape: str) -> int:
    return sum(
        math.prod(map(int, filter(None, lengths.split(",")))) * _BYTES[kind]
        for kind, lengths in _ARRAY.findall(shape)
    )


def h100() -> Any:
    """Returns a device that stands for an H100.

    Raises:
      InputError: JAX's CUDA plugin is not installed.
    """
    from jax.experimental import topologies

    # The plugin then asks for no driver; and without a card nothing can be measured.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0"
    try:
        return topologies.get_topology_desc(
            platform="cuda",
            topology_name="h100",
            topology="1x1x1",
            target_config=(ROOT / "benchmarks/h100.txtpb").read_text(),
        ).devices[0]
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise InputError(
            "benchmarks.aot needs JAX's CUDA plugin, jax[cuda13], though no GPU; "
            f"`make gpu-plan` installs it; got {str(error).splitlines()[0]}"
        ) from error


def compile_step(name: str, dtype: str, batch_size: int, device: Any) -> Any:
    """Returns the compiled training step of a network on Fashion-MNIST.

    Args:
      name: The network's.
      dtype: `float32` or `bfloat16`.
      batch_size: Images.
      device: What it is compiled for.
    """
    from alexnet_jax.models import create_model
    from alexnet_jax.optim import create_optimizer, create_schedule
    from alexnet_jax.preprocessing.pipeline import create_pipeline
    from alexnet_jax.step import create_state, make_train_step

    def no_statistics() -> Any:
        raise InputError("scale 'unit' has no statistics")

    optim = default_config().optim
    tx = create_optimizer(optim, create_schedule(optim, 0.01, 469, 10))
    model = create_model(name, num_classes=10, training=True)
    step = make_train_step(
        model,
        tx,
        create_pipeline("unit", no_statistics, 224),
        dtype=dtype,
        steps_per_epoch=469,
        log_every_steps=50,
    )
    key, shape = jax.random.key(0), (1, 224, 224, 1)
    state = jax.eval_shape(lambda key: create_state(model, tx, shape, key), key)
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, 28, 28, 1), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    sharding = jax.sharding.SingleDeviceSharding(device)
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        (state, batch, key),
    )
    return jax.jit(step, donate_argnums=0).lower(*placed).compile()


def read_table(page: str) -> dict[tuple[str, str, int], Plan]:
    """Returns the published rows, by network, dtype and batch size.

    Args:
      page: The text of docs/performance.md.
    """
    rows = {}
    for line in page[page.index(HEADER) :].splitlines()[2:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip(" `") for cell in line.split("|")[1:-1]]
        name, dtype, batch_size, moved, kernels, planned = cells
        plan = Plan(float(moved), int(kernels), float(planned))
        rows[name, dtype, int(batch_size)] = plan
    return rows


def check(plan: Plan, published: Plan, what: str) -> str | None:
    """Returns what is wrong with a step, if it moves more than is published.

    Args:
      plan: As compiled.
      published: Its row of the table.
      what: The step, in words.
    """
    more = plan.moved_gb / published.moved_gb - 1
    if more <= TOLERANCE:
        return None
    return (
        f"{what} moves {plan.moved_gb:.2f} GB, {more:.0%} more than the "
        f"{published.moved_gb:.2f} of docs/performance.md"
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser("benchmarks.aot", __doc__)
    add = parser.add_argument

    def words(known: Sequence[str]) -> Callable[[str], list[str]]:
        def parse(text: str) -> list[str]:
            if unknown := sorted({*text.split(",")} - {*known}):
                raise argparse.ArgumentTypeError(f"must be of {known}; got {unknown}")
            return text.split(",")

        return parse

    def sizes(text: str) -> list[int]:
        return [cli.positive_int(word) for word in text.split(",")]

    add("--models", type=words(MODELS), default=MODELS, help=f"of {MODELS}")
    add("--dtypes", type=words(DTYPES), default=DTYPES, help=f"of {DTYPES}")
    add("--batches", type=sizes, default=BATCHES, help="images, such as 128,512")
    add(
        "--kernels",
        type=cli.positive_int,
        default=0,
        help="list so many, the largest first",
    )
    add("--hlo", type=cli.path, help="folder to write XLA's programs to")
    add("--check", action="store_true", help="compare with the published table")
    return parser.parse_args(argv)


def _print_kernels(kernels: Sequence[Kernel]) -> None:
    for kernel in kernels:
        print(
            f"  {kernel.moved / 1e6:8.1f} MB  {kernel.kind[:28]:28} "
            f"{kernel.name[:36]:36} {kernel.shape[:56]:56} {kernel.source[-80:]}"
        )


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table; with `--check` ends with 1 where a step moves more."""
    options = _parse(argv)
    device, wrong = h100(), []
    published = read_table(PAGE.read_text()) if options.check else {}
    steps = [*itertools.product(options.models, options.dtypes, options.batches)]
    if options.check and (without := [step for step in steps if step not in published]):
        what = " ".join(map(str, without[0]))
        raise InputError(f"--check: {what} has no row in docs/performance.md")
    print(f"jax {jax.__version__}, compiled for an H100, not run\n\n{HEADER}")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for step in steps:
        compiled = compile_step(*step, device)
        hlo = compiled.as_text()
        kernels = sorted(read_kernels(hlo), reverse=True)
        moved_gb = sum(kernel.moved for kernel in kernels) / 1e9
        planned_gb = compiled.memory_analysis().temp_size_in_bytes / 1e9
        plan = Plan(moved_gb, len(kernels), planned_gb)
        name, dtype, batch_size = step
        print(
            f"| `{name}` | {dtype} | {batch_size} | {plan.moved_gb:.2f} "
            f"| {plan.kernels} | {plan.planned_gb:.2f} |",
            flush=True,
        )
        if options.hlo:
            options.hlo.mkdir(parents=True, exist_ok=True)
            (options.hlo / f"{name}-{dtype}-{batch_size}.hlo").write_text(hlo)
        _print_kernels(kernels[: options.kernels])
        if options.check:
            found = check(plan, published[step], " ".join(map(str, step)))
            wrong += [found] if found else []
    for line in wrong:
        cli.print_error(line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    if not os.environ.get("JAX_PLATFORMS"):  # which JAX has read
        jax.config.update("jax_platforms", "cpu")
    main()
