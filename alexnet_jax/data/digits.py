"""UCI's handwritten digits, bundled: real images that need no download.

Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI
Machine Learning Repository, doi 10.24432/C50P49, under CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/). `digits.npz` holds its test part
unchanged: `image (1797, 8, 8)`, counts of ink from 0 to 16, and `label (1797,)`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.data.preparation.builder import open_builder, prepare
from alexnet_jax.data.preparation.tfds_internals import skip_registration

FILE = Path(__file__).with_name("digits.npz")
_NUM_TRAIN = 1_500  # of 1,797, in UCI's order; the others are `test`


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Reads all digits, in UCI's order.

    Returns:
      Images `(1797, 8, 8) uint8` in 0 ... 255, and labels `(1797,) uint8`.
    """
    with np.load(FILE) as arrays:
        images = np.round(arrays["image"] * (255 / 16)).astype(np.uint8)
        return images, arrays["label"]


with skip_registration():

    class Digits(tfds.core.GeneratorBasedBuilder):
        """1,797 gray images of 8×8 pixels, split into 1,500 and 297."""

        name = "digits"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            )
            return tfds.core.DatasetInfo(
                builder=self,
                description="Handwritten digits of 8×8 pixels, from UCI.",
                features=features,
                supervised_keys=("image", "label"),
            )

        def _split_generators(
            self, dl_manager: tfds.download.DownloadManager
        ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            return {
                "train": self._generate_examples(0, _NUM_TRAIN),
                "test": self._generate_examples(_NUM_TRAIN, None),
            }

        def _generate_examples(
            self, start: int, stop: int | None
        ) -> Iterator[tuple[int, dict[str, Any]]]:
            images, labels = read_digits()
            pairs = zip(images[start:stop], labels[start:stop], strict=True)
            for index, (image, label) in enumerate(pairs):
                yield index, {"image": Image.fromarray(image), "label": int(label)}


def load(data_dir: Path) -> tfds.core.GeneratorBasedBuilder:
    """Returns the builder, prepared under `data_dir`; prepares it once."""
    return open_builder(Digits, data_dir, lambda builder: prepare(builder))
