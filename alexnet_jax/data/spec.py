"""What a data set is, without its images; kept with a run."""

import dataclasses
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.atomic import read_regular, write_file
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import InputError

# Names of data sets of image files, in runs of version 0.1, which did not say so.
_STREAMED = ("image_folder", "imagenet2012", "imagenet2012_256")
DATA_FILE, STATISTICS_FILE = "data.json", "statistics.npz"
_MAX_LENGTH = 2**14


@dataclass(frozen=True)
class DataSpec:
    """What a network is trained on, without the images.

    Attributes:
      name: The data set's, with its version, such as `fashion_mnist 3.0.1`.
      class_names: By label.
      image_shape: `(h, w, C)` of the images in a batch.
      measure: Returns the training images' statistics.
      streamed: Whether the images are files of any size, which are decoded by
        `preparation.jpeg.decode` as they are needed; a picture to be classified is
        then, too.
      files: A name of the image files that it was made of, their labels and times; ""
        of a data set that has none of its own.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    measure: Callable[[], Statistics] = field(repr=False, compare=False)
    streamed: bool = False
    files: str = field(default="", compare=False)

    @functools.cached_property
    def statistics(self) -> Statistics:
        """The training images' statistics, measured at first use."""
        return self.measure()

    def as_images(self, images: Any) -> np.ndarray:
        """Returns images `(N, h, w, C) uint8`, of any library, as NumPy's.

        Raises:
          InputError: They are of another shape or dtype, or there are none.
        """
        shape = ", ".join(map(str, self.image_shape))
        wanted = f"images must be (N, {shape}) uint8, N >= 1"
        array = as_array(images, not_taken(wanted, type(images).__name__))
        is_right = array.dtype == np.uint8 and array.shape[1:] == self.image_shape
        if not (is_right and len(array)):
            raise InputError(f"{wanted}; got {array.shape} {array.dtype}")
        return array

    def as_image(self, image: Any) -> np.ndarray:
        """Returns an image `(h, w, C) uint8`, of any library, as NumPy's.

        Raises:
          InputError: It is of another shape or dtype.
        """
        wanted = f"image must be ({', '.join(map(str, self.image_shape))}) uint8"
        array = as_array(image, not_taken(wanted, type(image).__name__))
        if array.dtype != np.uint8 or array.shape != self.image_shape:
            raise InputError(f"{wanted}; got {array.shape} {array.dtype}")
        return array

    def matches(self, other: "DataSpec") -> bool:
        """Whether names, shapes and statistics are the same, up to rounding."""
        if self != other:
            return False
        pairs = [
            (
                getattr(self.statistics, figure.name),
                getattr(other.statistics, figure.name),
            )
            for figure in dataclasses.fields(Statistics)
        ]
        return all(
            ours.shape == theirs.shape and np.allclose(ours, theirs)
            for ours, theirs in pairs
        )

    def save(self, workdir: Path) -> None:
        """Writes `data.json` and `statistics.npz`."""
        self.statistics.save(workdir / STATISTICS_FILE)
        write_file(workdir / DATA_FILE, self.text)

    @property
    def text(self) -> str:
        """What `data.json` holds."""
        record: dict[str, object] = {
            "data": self.name,
            "class_names": self.class_names,
            "image_shape": self.image_shape,
        }
        if self.streamed:
            record["streamed"] = True
        if self.files:
            record["files"] = self.files
        if self.statistics.is_published:  # another data set's, or a resized copy's
            record["statistics"] = self.statistics.source
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def of(cls, text: str | bytes, statistics: Statistics) -> "DataSpec":
        """Makes a specification of what `data.json` holds, and its statistics.

        Raises:
          Exception: `ValueError` or another, as on JSON that is not a specification's.
        """
        record = json.loads(text)
        height, width, channels = map(_length, record["image_shape"])
        name = str(record["data"])
        streamed = record.get("streamed", name.split(" ")[0] in _STREAMED)
        return cls(
            name=name,
            class_names=tuple(map(str, record["class_names"])),
            image_shape=(height, width, channels),
            measure=lambda: statistics,
            streamed=bool(streamed),
            files=str(record.get("files", "")),
        )

    @classmethod
    def load(cls, workdir: Path) -> "DataSpec":
        """Reads what `save` wrote.

        Raises:
          InputError: A file is missing or damaged.
        """
        try:
            text = read_regular(workdir / DATA_FILE)
            spec = cls.of(text, Statistics.load(workdir / STATISTICS_FILE))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{workdir} has no readable {DATA_FILE} and {STATISTICS_FILE}, which "
                "describe the training data; run the training command again to write "
                "them"
            ) from error
        if spec.statistics.mean_image.shape[-1] != spec.image_shape[-1]:
            raise InputError(
                f"{workdir}: {DATA_FILE} and {STATISTICS_FILE} are of different data; "
                "run the training command again in another --workdir"
            )
        return spec


def as_array(value: Any, fault: str) -> np.ndarray:
    """Returns an array of any library, or lists of numbers, as NumPy's.

    Args:
      value: The array.
      fault: What an error says before NumPy's reason.

    Raises:
      InputError: It is none.
    """
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        # Lists of unequal lengths; a tensor on another device, or with a gradient.
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{fault} ({reason})") from error


def not_taken(wanted: str, what: str) -> str:
    """Returns the fault of what is no array, for `as_array`."""
    return f"{wanted}; got {what}, which NumPy cannot take"


def _length(value: object) -> int:
    """Returns a length of an image as JSON holds it."""
    if type(value) is not int or not 0 < value <= _MAX_LENGTH:
        raise ValueError(f"no length of an image: {value!r:.60}")
    return value
