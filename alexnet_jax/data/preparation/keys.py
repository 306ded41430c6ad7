"""Which of a data set's features are the image and its class."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from alexnet_jax.errors import InputError

_NAMES = ("file_name", "filename", "image/filename", "id", "image_id")


class Keys(NamedTuple):
    """The features of an example that are read, by their names in its record.

    Attributes:
      image: The encoded image.
      label: Its class, a number.
      name: What an error calls the example; None if it has no name.
    """

    image: str = "image"
    label: str = "label"
    name: str | None = "file_name"


def find_keys(info: tfds.core.DatasetInfo) -> Keys:
    """Returns the features that make a data set one of images and their classes.

    Those are taken that the data set calls its input and its target; else, of several
    images or classes, those called `image` and `label`.

    Args:
      info: The data set's.

    Raises:
      InputError: There is no image, no class, or it is not known which is meant.
    """
    features = _features(info)
    pair: Any = info.supervised_keys
    if not (isinstance(pair, tuple) and len(pair) == 2):
        pair = None, None
    image = _choose(info, pair[0], "image", tfds.features.Image, "an image")
    label = _choose(info, pair[1], "label", tfds.features.ClassLabel, "one class")
    if features[image].np_dtype != np.uint8:
        raise _unfit(info, f"its images are of {features[image].np_dtype}, not uint8")
    texts = [name for name in _NAMES if _is_text(features.get(name))]
    return Keys(image, label, texts[0] if texts else None)


def check_names(info: tfds.core.DatasetInfo) -> None:
    """Checks that the names of classes can be stored: TFDS does so a line each.

    Args:
      info: The data set's, before it is prepared.

    Raises:
      InputError: A name is empty, has several lines, or is another's but for spaces.
    """
    for feature in _features(info).values():
        is_label = isinstance(feature, tfds.features.ClassLabel)
        if not is_label or feature.num_classes is None:  # named as it is prepared
            continue
        seen: dict[str, str] = {}
        for name in feature.names:
            fault = None
            if not name.strip():
                fault = "is empty"
            elif {"\n", "\r"} & {*name}:
                fault = "has several lines"
            elif (other := seen.setdefault(name.strip(), name)) != name:
                fault = f"is {other!r} but for spaces"
            if fault:
                raise InputError(
                    f"data.name: {info.full_name}: the class name {name[:100]!r} "
                    f"{fault}, and cannot be stored; rename the class"
                )


def _choose(
    info: tfds.core.DatasetInfo, named: Any, usual: str, kind: type, words: str
) -> str:
    # Of the very class: a LabeledImage, which is an Image, holds classes of pixels.
    found = [key for key, one in _features(info).items() if type(one) is kind]
    for key in (named, usual):
        if isinstance(key, str) and key in found:
            return key
    if len(found) != 1 or isinstance(named, str):
        raise _unfit(info, f"it does not say which feature is {words}")
    return str(found[0])


def _features(info: tfds.core.DatasetInfo) -> dict[str, Any]:
    if isinstance(info.features, tfds.features.FeaturesDict):
        return dict(info.features.items())
    return {"the whole example": info.features}


def _is_text(feature: Any) -> bool:
    return type(feature) is tfds.features.Text


def _unfit(info: tfds.core.DatasetInfo, reason: str) -> InputError:
    shown = ", ".join(
        f"{key} ({type(one).__name__})" for key, one in _features(info).items()
    )
    return InputError(
        f"data.name: {info.full_name} is no data set of images with one class each: "
        f"{reason}; it has {shown[:300]}"
    )


def count_channels(info: tfds.core.DatasetInfo) -> int:
    """Returns the channels of a data set's images in batches: 1 if gray, else 3."""
    return 1 if info.features[find_keys(info).image].shape[-1] == 1 else 3


def fixed_shape(info: tfds.core.DatasetInfo) -> tuple[int, int] | None:
    """Returns height and width of a data set's images; None if they are of any."""
    height, width, _ = info.features[find_keys(info).image].shape
    return None if height is None or width is None else (height, width)
