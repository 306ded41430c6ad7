"""The memory that a run needs at least, from its shapes, before any is allocated."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from alexnet_jax.config import side_pair
from alexnet_jax.errors import InputError
from alexnet_jax.models.classifier import Classifier
from alexnet_jax.transfer.freezing import NONE, Frozen, split

# Where Linux says how much a container may use.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# Test images at a time; of a GPU's memory they take this share, each as many copies of
# the largest output.
_CPU_BATCH_SIZE, _GPU_BATCH_SIZE = 125, 1000
_SHARE, _COPIES = 1 / 4, 4


def device_memory() -> int:
    """Returns the bytes of a device's memory; of the machine's, for a CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or host_memory()


def host_memory() -> int:
    """Returns the bytes of memory that this process may use."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _LIMITS:
        try:
            found.append(int(file.read_text()))
        except (OSError, ValueError):  # there is none; "max"
            continue
    return min(found)


def fitting_batch_size(config: ConfigDict, model: Classifier) -> int:
    """Returns how many test images are looked at at a time, by all devices together.

    That is `eval.batch_size` or, if it is not set, 125 on CPUs, which larger batches
    make no faster, and on GPUs as many as are sure to fit one, at most 1,000.

    Args:
      config: The run's.
      model: Its network.
    """
    if config.eval.batch_size is not None:
        return config.eval.batch_size
    if jax.default_backend() != "gpu":
        return _CPU_BATCH_SIZE
    # Of three channels, as stored no larger than shown: only an estimate is wanted.
    shape = *side_pair(config.data.image_size), 3
    needed = _COPIES * _bytes_per_image(config, model.layer_shapes((1, *shape)), shape)
    return max(1, min(_GPU_BATCH_SIZE, int(_SHARE * device_memory()) // needed))


def check_memory(
    config: ConfigDict,
    state: Any,
    layers: Sequence[tuple[str, tuple[int, ...]]],
    image_shape: tuple[int, ...],
    *,
    data: int,
    eval_batch_size: int,
    frozen: Frozen = NONE,
) -> None:
    """Checks that a run is not out of all proportion to a device's memory.

    What is counted is a lower bound: the state and its gradient; for one batch, the
    images as stored and as the network sees them, and the largest output of a layer.

    Args:
      config: The run's.
      state: A `TrainState` of `jax.ShapeDtypeStruct`.
      layers: For one image, from `layer_shapes`.
      image_shape: `(h, w, C)` of the images in a batch.
      data: Devices that share a batch.
      eval_batch_size: Test images per step, over all devices.
      frozen: Names of the layers without a gradient.

    Raises:
      InputError: It would not fit; with the key to lower.
    """
    there = device_memory()
    gradient = _bytes(split(state.params, frozen)[0])
    of_state = (_bytes(state) + gradient) // config.parallel.model
    per_image = _bytes_per_image(config, layers, image_shape)
    in_parts = _bytes_per_image(
        config, layers, image_shape, config.optim.accumulate_steps
    )
    # By the key that is to be lowered: what it takes, besides the state.
    needs = {
        "model.width or model.num_classes": ("the network's state", 0),
        "batch_size": ("a training step", -(-config.batch_size // data) * in_parts),
        "eval.batch_size": ("a test step", -(-eval_batch_size // data) * per_image),
    }
    for key, (what, more) in needs.items():
        if of_state + more <= there:
            continue
        if more and of_state + per_image > there:  # not even one image would fit
            key = "data.image_size or augment.canvas"
        raise InputError(
            f"{key} must be lower: {what} would need at least "
            f"{(of_state + more) / 1e9:,.1f} GB on each device; there are "
            f"{there / 1e9:,.1f}"
        )


def _bytes_per_image(
    config: ConfigDict,
    layers: Sequence[tuple[str, tuple[int, ...]]],
    image_shape: tuple[int, ...],
    parts: int = 1,
) -> int:
    """Returns what an image takes where so many parts of a batch take turns."""
    size, canvas = config.data.image_size, config.augment.canvas
    seen = math.prod(side_pair(size if canvas is None else canvas))
    width = 2 if config.dtype == "bfloat16" else 4
    largest = max(math.prod(shape) for _, shape in layers)
    largest //= config.parallel.model * parts
    return math.prod(image_shape) + width * max(largest, seen * image_shape[-1])


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
