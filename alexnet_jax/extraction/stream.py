"""Layers' outputs of many pictures, a batch at a time: decoded beside computing."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from alexnet_jax.data.pictures import Picture
from alexnet_jax.errors import InputError


class Part(NamedTuple):
    """The pictures of a batch.

    Attributes:
      paths: Those that could be read, a row each.
      layers: Their rows by layer, `(rows, ...) float32`; empty if there are none.
      errors: A line for each that could not.
      notes: What may change the outputs of some.
    """

    paths: list[Path]
    layers: dict[str, np.ndarray]
    errors: list[str]
    notes: list[str]

    @property
    def seen(self) -> int:
        """The number of pictures, whether they could be read or not."""
        return len(self.paths) + len(self.errors)


def stream(
    pictures: Iterable[tuple[Path, Picture | InputError]],
    compute: Callable[[np.ndarray], Mapping[str, jax.Array]],
    batch_size: int,
) -> Iterator[Part]:
    """Yields the outputs of pictures, in order.

    The next batch is gathered while the device computes one.

    Args:
      pictures: With their paths; or what is wrong with them.
      compute: Takes `(batch_size, h, w, C) uint8`, gives arrays of as many rows.
      batch_size: Always the same, so that nothing is compiled twice.
    """
    rest = iter(pictures)
    waiting: tuple[Part, Mapping[str, jax.Array]] | None = None
    while batch := list(itertools.islice(rest, batch_size)):
        part = Part([], {}, [], [])
        images = []
        for path, found in batch:
            if isinstance(found, InputError):
                part.errors.append(str(found))
            else:
                part.paths.append(path)
                part.notes.extend(found.notes)
                images.append(found.image)
        full = (images * -(-batch_size // len(images)))[:batch_size] if images else []
        made = compute(np.stack(full)) if full else {}
        if waiting:
            yield _finish(*waiting)
        waiting = part, made
    if waiting:
        yield _finish(*waiting)


def _finish(part: Part, made: Mapping[str, jax.Array]) -> Part:
    """Waits for the device, and drops what a batch was filled up with."""
    rows = {name: np.asarray(one)[: len(part.paths)] for name, one in made.items()}
    return part._replace(layers=rows)
