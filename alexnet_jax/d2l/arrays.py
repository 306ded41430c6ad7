"""What a user's batches may hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet_jax.data import spec
from alexnet_jax.errors import InputError

_GRAY_OR_COLOR = (1, 3, 4)  # channels


def as_array(value: Any, place: str) -> np.ndarray:
    """Returns a NumPy array of numbers; lists and other libraries' arrays are taken.

    Raises:
      InputError: It holds something else, or rows of several lengths.
    """
    wanted = f"data: {place} must hold arrays of numbers"
    array = spec.as_array(value, f"{wanted}; {type(value).__name__} cannot be made one")
    # A kind of `V` is bfloat16, as JAX has it in NumPy.
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise InputError(
            f"{wanted}; got dtype {array.dtype} of "
            f"shape {array.shape}; convert it first, images such as by "
            "np.stack(X).astype('float32'), names of classes such as by "
            "np.unique(y, return_inverse=True)[1]"
        )
    return array


def narrow(array: np.ndarray) -> np.ndarray:
    """Returns float64 as float32, and int64 as int32 where all numbers fit."""
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype in (np.int64, np.uint64, np.uint32):
        small = np.iinfo(np.int32)
        if not array.size or (array.min() >= small.min and array.max() <= small.max):
            return array.astype(np.int32)
    return array


def check_images(image: np.ndarray, place: str, values: bool = True) -> np.ndarray:
    """Returns images as the loops take them: uint8, or float32.

    Args:
      image: `(B, H, W, C)` of at least one image: bytes as uint8, or floats in [0, 1].
      place: Such as `batch 0 of train_dataloader()`.
      values: Whether to look at every pixel, which takes a moment.

    Raises:
      InputError: They have another shape or range.
    """
    wanted = "images must have shape (batch, height, width, channels)"
    shape = image.shape
    if image.ndim == 3:
        raise InputError(
            f"data: {wanted}; {place} has {shape}; add the channels by X[..., None]"
        )
    if image.ndim != 4:
        raise InputError(f"data: {wanted}; {place} has {shape}")
    if 0 in shape:
        raise InputError(f"data: {place} is empty: X has shape {shape}; leave it out")
    _check_axes(shape, wanted, place)
    if image.dtype == np.uint8:
        return image
    if values:
        _check_range(image, place)
    return image.astype(np.float32)


def _check_axes(shape: tuple[int, ...], wanted: str, place: str) -> None:
    """Refuses channels first: gray or color ones, or a square's fewer than its side."""
    _, first, second, last = shape
    known = first in _GRAY_OR_COLOR and last not in _GRAY_OR_COLOR and second > 4
    square = second == last > 4 and first < second
    if known or square:
        raise InputError(
            f"data: {wanted}; {place} has {shape}, channels first; give "
            "X.transpose(0, 2, 3, 1)"
        )


def check_finite(array: np.ndarray, place: str, what: str) -> None:
    """Checks that numbers are finite.

    Raises:
      InputError: There is NaN or infinity.
    """
    if array.dtype.kind in "biu" or not array.size:
        return
    if not np.isfinite(array.astype(np.float32)).all():
        raise InputError(f"data: {place} has {what} with NaN or infinity; mend them")


def check_features(array: np.ndarray, place: str) -> None:
    """Checks a network's inputs that are not `(B, H, W, C)`: finite, and no raw pixels.

    Raises:
      InputError: There is NaN or infinity, or what looks like bytes that were not
        scaled: few features, such as a table's, may have any range.
    """
    check_finite(array, place, "images")
    if 0 in array.shape:
        raise InputError(
            f"data: {place} is empty: X has shape {array.shape}; leave it out"
        )
    looks_like_pixels = array[0].size >= 64 and array.min() >= 0
    if looks_like_pixels and array.max() > _STANDARDIZED:
        _check_range(array, place)


_STANDARDIZED, _CENTERED = 20, 256


def _check_range(image: np.ndarray, place: str) -> None:
    check_finite(image, place, "images")
    least, most = float(image.min()), float(image.max())
    # Centered images have negatives, about as far from zero: a stray one is none.
    limit: float = 2 if least >= 0 else _STANDARDIZED
    if -least >= most / 8 and least < 0:
        limit = _CENTERED  # of pixels, as in 2012
    if max(-least, most) <= limit:
        return
    remedy = "X.astype('uint8')" if least >= 0 and most <= 255 else "X / X.max()"
    reach = f"up to {most:g}" if least >= 0 else f"from {least:g} up to {most:g}"
    if image.dtype == np.uint8:
        remedy = "X / 255"
    raise InputError(
        f"data: images must be uint8 in [0, 255] or floats in [0, 1]; {place} has "
        f"{image.dtype} {reach}; give {remedy}"
    )


def check_same_size(image: np.ndarray, shape: tuple[int, ...], place: str) -> None:
    """Checks that images `(B, H, W, C)` have the shape of those before, `(H, W, C)`.

    Raises:
      InputError: They have another.
    """
    if image.shape[1:] != shape:
        raise InputError(
            f"data: images of a loader must have one size; {place} has "
            f"{image.shape[1:]}, those before {shape}"
        )


def check_labels(label: np.ndarray, count: int, classes: int, place: str) -> np.ndarray:
    """Returns labels as the loops take them, `(count,) int32`.

    Args:
      label: `(count,)`, or `(count, 1)`; floats if they are whole.
      count: Examples in the batch.
      classes: Labels are below.
      place: Such as `batch 0 of train_dataloader()`.

    Raises:
      InputError: They have another shape, are no whole numbers or out of range.
    """
    shape = label.shape
    if label.ndim == 2 and shape[1] == 1:
        label = label[:, 0]
    if label.ndim != 1:
        one_hot = label.ndim == 2 and shape[1] == classes
        raise InputError(
            f"data: labels must have shape (batch,), a class number each; {place} has "
            f"{shape}" + ("; of one-hot labels give y.argmax(-1)" if one_hot else "")
        )
    if len(label) != count:
        raise InputError(
            f"data: {place} has {count} examples and {len(label)} labels; give one each"
        )
    whole = label.astype(np.float64) if label.dtype.kind not in "biu" else label
    wrong = whole[~(np.isfinite(whole) & (whole == np.floor(whole)))]
    if len(wrong):
        raise InputError(
            f"data: labels must be whole numbers in [0, {classes - 1}]; {place} has "
            f"{wrong[0]:g}"
        )
    wrong = whole[(whole < 0) | (whole >= classes)]
    if len(wrong):
        raise InputError(
            f"data: labels must be in [0, {classes - 1}], the network's {classes} "
            f"classes; {place} has {wrong[0]}; mend it, or set num_classes"
        )
    return label.astype(np.int32)


def are_class_numbers(label: np.ndarray, count: int) -> bool:
    """Whether labels for a loss of one's own look like class numbers.

    Args:
      label: Of any shape and dtype.
      count: Examples in the batch.
    """
    if label.shape not in ((count,), (count, 1)) or label.dtype.kind == "b":
        return False
    whole = label.astype(np.float64) if label.dtype.kind not in "iu" else label
    return bool((np.isfinite(whole) & (whole == np.floor(whole))).all())


def empty_loader(name: str) -> InputError:
    """Returns the error of a loader without a batch."""
    return InputError(f"data: the loader is empty; it must give pairs (X, y): {name}")


def check_pair(batch: Sequence[Any], place: str) -> None:
    """Checks that a batch is images and labels.

    Raises:
      InputError: It is more.
    """
    if len(batch) != 2:
        raise InputError(f"data: {place} must be a pair (X, y); got {len(batch)}")


def check_channels(train: int | None, val: int) -> None:
    """Checks the channels of images to validate on.

    Args:
      train: Those of the images to train on; None if they may be any.
      val: Theirs.

    Raises:
      InputError: They differ.
    """
    if train is not None and val != train:
        raise InputError(
            f"data: images to train on have {train} channels, those to validate on "
            f"{val}; give as many"
        )
