"""What a network was fed, kept in its run's folder to feed it other pictures."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_jax.atomic import atomic_write
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import InputError

DATA_FILE, STATISTICS_FILE = "data.json", "statistics.npz"


@dataclass(frozen=True)
class DataSpec:
    """A run's images, without the images.

    Attributes:
      data: The data set's name with its version, such as `fashion_mnist 3.0.1`.
      class_names: By label.
      image_shape: `(h, w, C)` as batches hold the images.
      statistics: Of the training images.
    """

    data: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    statistics: Statistics

    def same_as(self, other: "DataSpec") -> bool:
        """Whether a network would be fed the same."""
        names = ("data", "class_names", "image_shape")
        pairs = [
            (
                getattr(self.statistics, figure.name),
                getattr(other.statistics, figure.name),
            )
            for figure in dataclasses.fields(Statistics)
        ]
        return all(
            getattr(self, name) == getattr(other, name) for name in names
        ) and all(
            ours.shape == theirs.shape and np.allclose(ours, theirs)
            for ours, theirs in pairs
        )

    def save(self, workdir: Path) -> None:
        """Writes `data.json` and `statistics.npz`."""
        record = {
            "data": self.data,
            "class_names": self.class_names,
            "image_shape": self.image_shape,
        }
        self.statistics.save(workdir / STATISTICS_FILE)
        with atomic_write(workdir / DATA_FILE) as part:
            part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, workdir: Path) -> "DataSpec":
        """Reads what `save` wrote.

        Raises:
          InputError: A file is missing or damaged.
        """
        try:
            record = json.loads((workdir / DATA_FILE).read_text())
            height, width, channels = map(int, record["image_shape"])
            inputs = cls(
                data=str(record["data"]),
                class_names=tuple(map(str, record["class_names"])),
                image_shape=(height, width, channels),
                statistics=Statistics.load(workdir / STATISTICS_FILE),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{workdir} holds no readable {DATA_FILE} and {STATISTICS_FILE}, which "
                "say what the network was fed; the command that trained it, given "
                "again, writes them"
            ) from error
        if inputs.statistics.mean_image.shape[-1] != channels:
            raise InputError(f"{workdir}: {DATA_FILE} and {STATISTICS_FILE} disagree")
        return inputs
