"""Data sets as TFDS prepares them: written by its own writer, with random images."""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

DIGITS = tuple(map(str, range(10)))


def write_copy(
    data_dir,
    name,
    shape=(28, 28, 1),
    splits=None,
    *,
    version="1.0.0",
    config=None,
    classes=DIGITS,
    keys=("image", "label"),
    supervised=(),
    more=None,
    encoding="png",
    label=None,
):
    """Prepares a data set as ArrayRecord; returns its folder.

    Args:
      data_dir: Folder of prepared data sets.
      name: The data set's.
      shape: Of its images; unknown sides are drawn.
      splits: Number of images by split.
      version: Of the data set.
      config: Its only config's name.
      classes: Names by label.
      keys: Of the image and the label.
      supervised: What the data set calls its input and its target; `keys` if empty.
      more: Further features, and a function of the index to their value, by name.
      encoding: Of the images.
      label: Of an index; cycles through all if not given.
    """
    more = more or {}
    configs = [tfds.core.BuilderConfig(name=config, version=version)] if config else []
    outer = name

    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            name = outer
            VERSION = tfds.core.Version(version)
            BUILDER_CONFIGS = configs

            def _info(self):
                features = {
                    keys[0]: tfds.features.Image(shape=shape, encoding_format=encoding),
                    keys[1]: tfds.features.ClassLabel(names=classes),
                } | {key: feature for key, (feature, _) in more.items()}
                return tfds.core.DatasetInfo(
                    builder=self,
                    features=tfds.features.FeaturesDict(features),
                    supervised_keys=keys if supervised == () else supervised,
                )

            def _split_generators(self, dl_manager):
                counts = splits or {"train": 40, "test": 20}
                return {
                    split: self._generate_examples(seed, count)
                    for seed, (split, count) in enumerate(counts.items())
                }

            def _generate_examples(self, seed, count):
                for index in range(count):
                    example = {
                        keys[0]: Image.fromarray(image_of(seed, index, shape)),
                        keys[1]: label(index) if label else index % len(classes),
                    }
                    yield index, example | {k: f(index) for k, (_, f) in more.items()}

    tfds.disable_progress_bar()
    builder = Builder(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare()
    return builder.data_path


def image_of(seed, index, shape):
    """An image of a split: `(h, w) uint8` if it is gray, else `(h, w, C)`."""
    generator = np.random.default_rng((seed, index))
    sides = [side or int(generator.integers(20, 40)) for side in shape]
    return generator.integers(0, 256, sides if sides[-1] > 1 else sides[:2], np.uint8)
