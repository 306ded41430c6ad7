"""The statistics of a data set's images: mean image, deviations, colors.

Each data set has its own. Those of images in memory are measured when they are needed,
those of images on disk once, in one pass, and kept beside them; ImageNet's are
published.

  python -m alexnet_jax.data.statistics NAME

measures any data set and writes the result into its folder, where it goes before all
else. `data/` and `preprocessing/` import this package.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from alexnet_jax.atomic import write_file
from alexnet_jax.data.npz import load_npz
from alexnet_jax.errors import InputError

FILE_NAME = "statistics.npz"  # in a data set's folder
_MAX_BYTES = 1 << 29  # of all arrays; a mean image of 256 pixels takes 2 MB
_PART = 1000  # images that are held as float64 at a time


@dataclass(frozen=True)
class Statistics:
    """Statistics of a training set, float64, in gray levels of 0 to 255.

    Attributes:
      mean_image: `(h, w, C)`, of the images in batches.
      mean: `(C,)`, over all pixels.
      deviation: `(C,)`, standard deviations over all pixels.
      color_deviations: `(C,)`, square roots of the eigenvalues of the colors'
        covariance over all pixels, ascending.
      color_directions: `(C, C)`, its eigenvectors, as columns.
    """

    mean_image: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    color_deviations: np.ndarray
    color_directions: np.ndarray

    @property
    def is_published(self) -> bool:
        """Whether they are Krizhevsky's of ImageNet."""
        pairs = zip(asdict(self).values(), asdict(KRIZHEVSKY).values(), strict=True)
        return all(np.array_equal(ours, theirs) for ours, theirs in pairs)

    @property
    def source(self) -> str:
        """Where they come from, in words."""
        if self.is_published:
            return "published for ImageNet (Krizhevsky)"
        return "measured on the training images"

    def save(self, path: Path) -> None:
        """Writes an `.npz` file."""
        buffer = io.BytesIO()
        np.savez(buffer, **asdict(self))
        write_file(path, buffer.getvalue())

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Statistics":
        """Takes arrays by the attributes' names.

        Raises:
          TypeError: One is missing, or is none of these.
          ValueError: They are no floats, not finite, or do not fit each other.
        """
        if any(array.dtype.kind != "f" for array in arrays.values()):
            raise ValueError("arrays of other than floats")
        found = cls(**arrays)
        channels = found.mean_image.shape[2:]
        shapes = {name: array.shape for name, array in arrays.items()}
        image = shapes.pop("mean_image")
        square = shapes.pop("color_directions")
        fits = len(image) == 3 and square == channels * 2
        if not fits or {*shapes.values()} != {channels}:
            raise ValueError("shapes that do not fit each other")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("NaN or inf")
        return found

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Reads what `save` wrote.

        Raises:
          InputError: The file is missing or damaged.
        """
        try:
            return cls.of(load_npz(path, _MAX_BYTES))
        except Exception as error:  # on damaged bytes NumPy and zipfile raise any kind
            raise InputError(
                f"statistics: {path} cannot be read ({type(error).__name__}); delete "
                "it, or run python -m alexnet_jax.data.statistics NAME to write it "
                "again"
            ) from error


def measure(parts: Iterable[np.ndarray]) -> Statistics:
    """Measures images in one pass; sums of bytes are exact in any order.

    Args:
      parts: Images `(n, h, w, C) uint8`, or floating in [0, 1], of one shape.

    Raises:
      InputError: There is no image.
    """
    count, image, product = 0, np.zeros(()), np.zeros(())
    for whole in parts:
        for part in np.array_split(whole, -(-len(whole) // _PART)):
            wide = part.astype(np.float64)
            if part.dtype != np.uint8:
                wide *= 255.0
            pixels = wide.reshape(-1, wide.shape[-1])
            image, product = image + wide.sum(0), product + pixels.T @ pixels
            count += len(part)
    if not count:
        raise InputError(
            "data.on_broken: no training image is left to measure; all of them are "
            "broken"
        )
    pixels_each = image[..., 0].size
    mean = image.sum((0, 1)) / (count * pixels_each)
    covariance = product / (count * pixels_each) - np.outer(mean, mean)
    values, directions = np.linalg.eigh(covariance)
    return Statistics(
        mean_image=image / count,
        mean=mean,
        # A variance of 0 may come out as a little less.
        deviation=np.sqrt(np.maximum(np.diag(covariance), 0.0)),
        color_deviations=np.sqrt(np.maximum(values, 0.0)),
        color_directions=directions,
    )


def stored_path(folder: Path, tag: str = "") -> Path:
    """Returns where the command stores what it measures.

    Args:
      folder: Of the prepared data set.
      tag: Of a part of its training split; see `Order.tag`.
    """
    return (folder / FILE_NAME).with_stem(f"{Path(FILE_NAME).stem}{tag}")


def load_stored(folder: Path, tag: str = "") -> Statistics | None:
    """Returns what the command measured of a data set; None if it was not run.

    Args:
      folder: As in `stored_path`.
      tag: As in `stored_path`.

    Raises:
      InputError: The file there is damaged.
    """
    path = stored_path(folder, tag)
    return Statistics.load(path) if path.exists() else None


def load_or_measure(
    path: Path, parts: Callable[[], Iterable[np.ndarray]], keep: bool = True
) -> Statistics:
    """Returns the statistics in a file; measures and keeps them if there are none.

    A file that is damaged is replaced. Several processes may do so at once: they write
    the same. In a folder that cannot be written nothing is kept.

    Args:
      path: An `.npz` file in a data set's folder.
      parts: Returns the images, as `measure` takes them.
      keep: Whether a file is written.

    Raises:
      InputError: There is no image, or one is broken.
    """
    if path.exists():
        with contextlib.suppress(InputError):
            return Statistics.load(path)
    print(f"measuring the training images in {path.parent}, once", flush=True)
    found = measure(parts())
    if not keep:
        return found
    try:
        found.save(path)
    except OSError as error:
        print(f"note      {path} cannot be written ({error.strerror or error})")
    return found


def _krizhevsky() -> Statistics:
    deviations = np.array([19.72083305, 37.09388853, 121.78006099])
    directions = np.array(
        [
            [0.41795513, -0.71257945, -0.56351045],  # red
            [-0.81698062, -0.02354167, -0.5761844],
            [0.39731118, 0.70119634, -0.59200296],
        ]
    )
    mean = np.array([127.305, 119.715, 104.913])
    central = np.array([127.226, 118.587, 103.448])  # of the inner 224²
    inner = (224 / 256) ** 2
    image = np.broadcast_to((mean - inner * central) / (1 - inner), (256, 256, 3))
    image = image.copy()
    image[16:240, 16:240] = central
    return Statistics(
        mean_image=image,
        mean=mean,
        deviation=np.sqrt(np.square(directions) @ np.square(deviations)),
        color_deviations=deviations,
        color_directions=directions,
    )


# Of ImageNet's training images at 256², RGB. His mean image lies in the source, and is
# not copied: this one has its averages, of the central window and of the whole image.
# Source: cuda-convnet2, `make-data/input_meta`.
KRIZHEVSKY = _krizhevsky()

# ImageNet's, RGB, by channel. Source: torchvision, `references/classification`.
TORCHVISION_MEAN = np.array([0.485, 0.456, 0.406]) * 255
TORCHVISION_DEVIATION = np.array([0.229, 0.224, 0.225]) * 255
