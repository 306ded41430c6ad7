"""scikit-learn's bundled handwritten digits: real images that need no download.

Source: Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", its
test part, as scikit-learn ships it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.data.preparation.builder import open_builder, prepare

_NUM_TRAIN = 1_500  # of 1,797, in scikit-learn's order; the others are `test`

with tfds.core.registered.skip_registration():

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
                description="Handwritten digits of 8×8 pixels, from scikit-learn.",
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
            from sklearn import datasets  # late: it takes a second

            digits = datasets.load_digits()
            # 0 ... 16 counts of ink become 0 ... 255.
            images = np.round(digits.images * (255 / 16)).astype(np.uint8)
            pairs = zip(images[start:stop], digits.target[start:stop], strict=True)
            for index, (image, label) in enumerate(pairs):
                yield index, {"image": Image.fromarray(image), "label": int(label)}


def load(data_dir: Path) -> tfds.core.GeneratorBasedBuilder:
    """Returns the builder, prepared under `data_dir`; prepares it once."""
    return open_builder(Digits, data_dir, lambda builder: prepare(builder))
