"""Batches for the training step: from the host, or of images that the devices hold.

Either way a batch is a function of (seed, step), the same to the bit.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data.batches import Batches, Split
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.memory import device_memory
from alexnet_jax.parallel import Parallel
from alexnet_jax.parallel.multihost import smallest

_SHARE = 1 / 8  # of a device's memory, which images may take
# Under a millisecond on an H100, where to start a step takes the host 0.3 ms.
_SHORT_FLOP = 2e11
_STEPS = 10  # of a dispatch, where they are short


class Feed(Protocol):
    """What gives the training step its batches.

    Attributes:
      shared: What each step is given as its key, on all devices.
      most: The most steps of a dispatch.
    """

    shared: Any
    most: int

    def wrap(self, train_step: Callable) -> Callable:
        """Returns the step, or several, as `step(state, sent, shared)`."""

    def send(self, step: int, count: int) -> Any:
        """Divides what steps need among the devices.

        Args:
          step: The first step, counted from 0.
          count: How many, at most `most`.
        """


class HostFeed:
    """Sends each batch to the devices."""

    def __init__(self, split: Split, parallel: Parallel, key: jax.Array) -> None:
        """Keeps what it is given; `key` is on all devices."""
        self.shared, self.most = key, 1
        self._split, self._parallel = split, parallel
        self._part = parallel.local_slice(split.batch_size)

    def wrap(self, train_step: Callable) -> Callable:
        return train_step

    def send(self, step: int, count: int) -> Any:
        return self._parallel.shard_batch(self._split.batch(step, self._part))


class DeviceFeed:
    """Keeps all images on every device and sends places; a step gathers its batch."""

    def __init__(
        self, split: Batches, parallel: Parallel, key: jax.Array, most: int
    ) -> None:
        """Puts the images on the devices; `key` is there."""
        images = parallel.put({"image": split.image, "label": split.label})
        self.shared, self.most = (key, images), most
        self._split, self._parallel = split, parallel
        self._part = parallel.local_slice(split.batch_size)

    def wrap(self, train_step: Callable) -> Callable:
        def train_steps(state: Any, sent: Any, shared: Any) -> Any:
            key, images = shared

            def one(state: Any, place: dict[str, jax.Array]) -> Any:
                batch = {
                    name: _gather(all_, place["index"]) for name, all_ in images.items()
                }
                return train_step(state, batch | {"mask": place["mask"]}, key)

            count = sent["mask"].shape[1]
            if count == 1:  # the very program of a batch from the host, and a gather
                return one(state, jax.tree.map(lambda place: place[:, 0], sent))
            places = jax.tree.map(jnp.transpose, sent)  # (B, count) → (count, B)
            state, norms = jax.lax.scan(one, state, places)
            return state, jax.tree.map(lambda norm: norm[-1], norms)

        return train_steps

    def send(self, step: int, count: int) -> Any:
        drawn = [self._split.draw(one, self._part) for one in range(step, step + count)]
        index, mask = (np.stack(arrays, axis=1) for arrays in zip(*drawn, strict=True))
        return self._parallel.shard_batch(
            {"index": index.astype(np.int32), "mask": mask}
        )


def _gather(array: jax.Array, index: jax.Array) -> jax.Array:
    # Every index is in bounds, so none is compared with them.
    return array.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def create_feed(
    config: ConfigDict,
    split: Split,
    parallel: Parallel,
    key: jax.Array,
    step_flop: Callable[[], float],
) -> Feed:
    """Picks how batches reach the step, by the config, the data and the devices.

    Args:
      config: The run's: `data.memory` and `steps_per_dispatch`. `debug.nans`, which
        looks at each step, takes batches from the host, one by one. A CPU goes one by
        one in any case: it has nothing to gain, and XLA's compiler rounds several steps
        of a program otherwise than one.
      split: Training batches.
      parallel: The devices.
      key: The steps' key, on all devices.
      step_flop: Returns a step's arithmetic operations on a device.

    Raises:
      InputError: What is asked for wants images in memory, and they are read from disk.
    """
    if config.debug.nans:
        return HostFeed(split, parallel, key)
    is_gpu = jax.default_backend() == "gpu"
    memory, most = config.data.memory, config.steps_per_dispatch
    several = most is not None and most > 1
    # Of just this class: another may draw its batches otherwise.
    if type(split) is not Batches:
        if memory == "device" or several:
            what = f"steps_per_dispatch={most}" if several else "data.memory='device'"
            raise InputError(
                f"{what} wants images of one size in memory; those of "
                f"{config.data.name} are read from disk: leave it at its default"
            )
        return HostFeed(split, parallel, key)
    # All processes decide the same: one program of another kind would wait for ever.
    fits = smallest(int(split.image.nbytes <= _SHARE * device_memory())) == 1
    if memory == "host" or (memory == "auto" and not (is_gpu and (fits or several))):
        return HostFeed(split, parallel, key)
    if not is_gpu:
        most = 1
    elif most is None:
        most = _STEPS if step_flop() < _SHORT_FLOP else 1
    # A dispatch ends where a row is written, a checkpoint is due or an epoch ends.
    every_steps = config.checkpoint.every_steps or len(split)
    most = min(most, config.log.every_steps, every_steps, len(split))
    return DeviceFeed(split, parallel, key, most)
