"""All that is used of TFDS and is not its public API, here alone.

Any release of TFDS may move these; so `pyproject.toml` pins it below the next one.
"""

# A download of other bytes than expected; `tfds.download` has `DownloadError` alone.
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

# Examples by their features, as TFDS writes them; `tfds.core` does not list it.
from tensorflow_datasets.core.example_serializer import ExampleSerializer

# For builders that TFDS shall not list, ours and those of a user's module.
from tensorflow_datasets.core.registered import skip_registration

# Two examples of one key, which a user's builder yields.
from tensorflow_datasets.core.shuffle import DuplicatedKeysError

# How many files a split becomes; `tfds.download.DownloadConfig` alone takes one.
from tensorflow_datasets.core.utils.shard_utils import ShardConfig

# Two data sets' classes. `tfds.builder_cls` would import all data sets: a second.
from tensorflow_datasets.datasets.imagenet2012.imagenet2012_dataset_builder import (
    Builder as Imagenet2012,
)
from tensorflow_datasets.image_classification.mnist import FashionMNIST

# A stored example, read five times as fast as through `tfds.features`.
from tensorflow_datasets.proto import tf_example_pb2

Example = tf_example_pb2.Example

__all__ = [
    "DuplicatedKeysError",
    "Example",
    "ExampleSerializer",
    "FashionMNIST",
    "Imagenet2012",
    "NonMatchingChecksumError",
    "ShardConfig",
    "skip_registration",
]
