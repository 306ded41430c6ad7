"""The examples of a user's builder: checked as they come, each fault in one line."""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

import tensorflow_datasets as tfds

from alexnet_jax.data.preparation.tfds_internals import DuplicatedKeysError
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.user_code import named_errors

_MAX_NAMES = 10  # of classes in a line
_MAX_TEXT = 300  # letters of a reason


class _Unfit(Exception):
    """An example that cannot be stored."""

    # TFDS puts the whole example before the text of others, in place.
    def __str__(self) -> str:
        return str(self.args[0])


@contextlib.contextmanager
def named_examples(builder: Any, path: str) -> Iterator[None]:
    """Lets a builder's examples fail in one line while it is prepared.

    Args:
      builder: A user's.
      path: The file of its code.

    Raises:
      InputError: Its code raised, or an example cannot be stored.
    """
    _name_failures(builder, path)
    features = builder.info.features
    features.encode_example = functools.partial(_encode, features)
    try:
        with named_errors(path, "data.name"):
            yield
    except InputError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, _Unfit | DuplicatedKeysError):
                reason = str(cause) or "two examples share a key"
                raise InputError(f"data.name: {path}: {reason}") from error
            cause = cause.__cause__ or cause.__context__
        raise


def _name_failures(builder: Any, path: str) -> None:
    """Lets a builder's code fail in one line, as examples are asked for."""
    split_generators = builder._split_generators

    @functools.wraps(split_generators)
    def named(*args: Any, **options: Any) -> Any:
        with named_errors(path, "data.name"):
            found = split_generators(*args, **options)
        if not isinstance(found, dict):
            return found
        unique = not builder.info.disable_shuffling
        return {split: _named(one, split, path, unique) for split, one in found.items()}

    builder._split_generators = named


def _named(examples: Any, split: str, path: str, unique: bool) -> Any:
    if examples is None:
        raise _Unfit(f"the examples of {split} are None; they must be an iterable")
    if not isinstance(examples, Iterable):  # of Apache Beam
        return examples
    return _each(examples, split, path, unique)


def _each(
    examples: Iterable[Any], split: str, path: str, unique: bool
) -> Iterator[Any]:
    iterator, keys = iter(examples), set()
    while True:
        with named_errors(path, "data.name"):
            try:
                example = next(iterator)
            except StopIteration:
                return
        if not (isinstance(example, tuple) and len(example) == 2):
            raise _Unfit(
                f"{split} yields {type(example).__name__}; examples must be pairs of a "
                "key and a dict of features"
            )
        key = example[0]
        if unique and isinstance(key, Integral | str | bytes):  # TFDS refuses others
            text = key if isinstance(key, bytes) else str(key)
            if text in keys:
                raise _Unfit(f"two examples of {split} share the key {key!r}")
            keys.add(text)
        yield example


def _encode(features: tfds.features.FeaturesDict, example: Any) -> dict[str, Any]:
    """Encodes an example as TFDS does, with a reason where it cannot be."""
    if not isinstance(example, dict):
        raise _Unfit(
            f"an example is {type(example).__name__}; it must be a dict of its "
            f"features, {', '.join(features)}"
        )
    faults = [f"no feature {key!r}" for key in features if key not in example]
    faults += [f"{key!r}, which is none" for key in example if key not in features]
    if faults:
        raise _Unfit(
            f"an example has {' and '.join(faults)[:_MAX_TEXT]}; the features are "
            f"{', '.join(features)}"
        )
    encoded = {}
    for key, feature in features.items():
        try:
            encoded[key] = feature.encode_example(example[key])
        except Exception as error:  # features of TFDS raise any kind
            reason = _reason(feature, example[key], error)
            raise _Unfit(f"an example cannot be encoded ({key}: {reason})") from error
    return encoded


def _reason(feature: Any, value: Any, error: Exception) -> str:
    if isinstance(feature, tfds.features.ClassLabel):
        names = feature.names[:_MAX_NAMES]
        more = ", ..." if len(feature.names) > len(names) else ""
        return (
            f"there is no class {str(value)[:_MAX_TEXT]!r}; the {feature.num_classes} "
            f"classes are {', '.join(names)}{more}"
        )
    text = " ".join(str(error).split())[:_MAX_TEXT]
    kind = type(error).__name__
    return text if isinstance(error, ValueError) and text else f"{kind}: {text}"
