"""How published networks see images, as a run's config and specification of data."""

import dataclasses
import io
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.atomic import read_regular
from alexnet_jax.config import default_config
from alexnet_jax.data.imagenet import class_names
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.data.statistics import KRIZHEVSKY, Statistics
from alexnet_jax.errors import InputError
from alexnet_jax.models import MODELS
from alexnet_jax.weights.caffe import read_blob
from alexnet_jax.weights.mapping import Conversion

_OF_CAFFE = ("alexnet_caffe", "caffenet")
PUBLISHED = ("alexnet_torchvision", *_OF_CAFFE)
# Of its training images, in gray levels.
_FASHION_MEAN, _FASHION_DEVIATION = 72.94, 90.02
_STORED = 256  # side of images before the central crop
# The average of Caffe's mean image by channel, here RGB.
# Source: BVLC/caffe, examples/00-classification.ipynb.
_CAFFE_MEAN = np.array([122.67891434, 116.66876762, 104.00698793])


def create_config(conversion: Conversion) -> ConfigDict:
    """Returns the config of a run that goes on with published weights.

    It is that of `experiments/imagenet.py`, `torchvision` or `caffe`, whose
    preprocessing is the source's; but images are RGB, as the converted conv1 is.
    """
    config = default_config()
    config.num_epochs = 90
    config.batch_size = 256
    config.model.name = conversion.network
    config.model.num_classes = conversion.num_classes
    config.model.width = conversion.width
    if conversion.network not in PUBLISHED:
        return _assume(config, conversion)
    config.data.name = "imagenet2012_256"
    config.data.stored_size = config.augment.canvas = _STORED
    config.augment.mirror = True
    config.optim.momentum = 0.9
    config.optim.schedule = "step"
    if conversion.network == "alexnet_torchvision":
        config.name = "imagenet-torchvision"
        config.data.resize = "bilinear"
        config.data.scale = "torchvision"
        config.augment.crop = "random_resized"
        config.optim.weight_decay = 1e-4
        config.optim.decay_epochs = (30, 60)
        return config
    config.name = "imagenet-caffe"
    config.num_train_steps = 450_000
    config.data.image_size = 227
    config.data.fit = "warp"
    config.data.resize = "opencv"
    config.data.scale = "pixels"
    config.augment.crop = "random"
    config.optim.name = "sgd_2012"
    config.optim.weight_decay = 5e-4
    config.optim.decay_steps = (100_000, 200_000, 300_000, 400_000)
    return config


def _assume(config: ConfigDict, conversion: Conversion) -> ConfigDict:
    """Completes the config of a network whose file says nothing of images."""
    height, width, channels = conversion.image_shape
    config.name = conversion.network.replace("_", "-")
    config.data.image_size = height if height == width else (height, width)
    if hasattr(MODELS.get(conversion.network), "normalization"):
        config.model.normalization = conversion.normalization
    if channels == 3:
        config.data.name = "imagenet2012_256"
        config.data.stored_size = config.augment.canvas = _STORED
        if height > _STORED or width > _STORED:
            config.augment.canvas = (height, width)
        config.augment.crop = "random"
        config.augment.mirror = True
    config.optim.momentum = 0.9
    return config


def is_resized(conversion: Conversion) -> bool:
    """Whether a network has other classes, or another width, than was published."""
    return conversion.num_classes != len(class_names()) or conversion.width != 1


def describe_assumed(conversion: Conversion) -> str:
    """Returns which data is assumed for a network whose file does not say."""
    is_color = conversion.image_shape[2] == 3
    return "ImageNet's are" if is_color else "Fashion-MNIST's are"


def create_spec(conversion: Conversion, mean: Path | None = None) -> DataSpec:
    """Returns what published weights were trained on: ImageNet 2012.

    Args:
      conversion: The weights. Where they have other than 1,000 classes, the names of
        these are not known, and are numbers.
      mean: Caffe's mean image, `imagenet_mean.binaryproto` or `ilsvrc_2012_mean.npy`;
        its average by channel if not given.

    Raises:
      InputError: `mean` is no image of three channels, or the network takes none.
    """
    statistics = KRIZHEVSKY
    if conversion.network in _OF_CAFFE:
        image = np.broadcast_to(_CAFFE_MEAN, (_STORED, _STORED, 3))
        statistics = _about(image if mean is None else _read_mean(mean))
    elif mean is not None:
        raise InputError(
            f"--mean is of Caffe's networks; {conversion.network} subtracts a mean by "
            "channel; leave it out"
        )
    channels = conversion.image_shape[2]
    if channels != 3:
        return _assumed_spec(conversion, channels)
    names = class_names()
    if conversion.num_classes != len(names):
        names = tuple(map(str, range(conversion.num_classes)))
    return DataSpec(
        name="imagenet2012_256 1.0.0",
        class_names=names,
        image_shape=(_STORED, _STORED, 3),
        measure=lambda: statistics,
        streamed=True,
    )


def _assumed_spec(conversion: Conversion, channels: int) -> DataSpec:
    """Returns Fashion-MNIST's specification, its mean image one gray throughout."""
    even = np.ones(channels)
    statistics = Statistics(
        mean_image=np.full((28, 28, channels), _FASHION_MEAN),
        mean=even * _FASHION_MEAN,
        deviation=even * _FASHION_DEVIATION,
        color_deviations=even * _FASHION_DEVIATION,
        color_directions=np.eye(channels),
    )
    return DataSpec(
        name="fashion_mnist 3.0.1",
        class_names=tuple(map(str, range(conversion.num_classes))),
        image_shape=(28, 28, channels),
        measure=lambda: statistics,
    )


def _about(image: np.ndarray) -> Statistics:
    """Returns ImageNet's statistics about a mean image, `(256, 256, 3)`, RGB."""
    mean = image.mean((0, 1))
    return dataclasses.replace(KRIZHEVSKY, mean_image=np.array(image), mean=mean)


def _read_mean(path: Path) -> np.ndarray:
    """Reads a mean image, `(1, 3, h, w)` or `(3, h, w)`, BGR, 0 to 255.

    Raises:
      InputError: It is none.
    """
    remedy = (
        f"give an image of shape (3, {_STORED}, {_STORED}), as "
        "imagenet_mean.binaryproto and ilsvrc_2012_mean.npy are"
    )
    content = read_regular(path)
    try:
        if content.startswith(b"\x93NUMPY"):
            found = np.load(io.BytesIO(content), allow_pickle=False)
        else:
            found = read_blob(memoryview(content), "the mean image")
    except Exception as error:  # of any kind, on bytes that are something else
        raise InputError(f"--mean: {path} is no mean image; {remedy}") from error
    if found.dtype.kind != "f":
        raise InputError(
            f"--mean: {path} must hold floats; its numbers are {found.dtype}; {remedy}"
        )
    if found.shape not in ((3, _STORED, _STORED), (1, 3, _STORED, _STORED)):
        raise InputError(
            f"--mean: {path} is of shape {found.shape}, not colors first; {remedy}"
        )
    image = found.reshape(found.shape[-3:]).transpose(1, 2, 0)[..., ::-1]
    if not np.isfinite(image).all():
        raise InputError(f"--mean: {path} holds NaN or infinity; {remedy}")
    if image.min() < 0 or image.max() > 255 or image.mean() <= 1:
        raise InputError(
            f"--mean: {path} must hold gray levels from 0 to 255; its numbers are "
            f"{image.min():.3g} to {image.max():.3g}, {image.mean():.3g} on average; "
            f"{remedy}"
        )
    return image.astype(np.float64)
