"""The types and rules of values, which `validate` checks."""

import functools
import math
import operator
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FieldReference

from alexnet_jax.config.keys import (
    BUNDLED,
    TEXTS,
    Size,
    default_config,
    flatten_config,
    is_cfg,
    side_pair,
    wider,
)
from alexnet_jax.errors import InputError
from alexnet_jax.transfer import settings
from alexnet_jax.transfer.settings import Names, Rates, RatesReference

# What each optimizer reads and others do not.
OPTIMIZER_KEYS = {
    **dict.fromkeys(("sgd", "sgd_2012"), ("momentum",)),
    "adamw": ("b1", "b2", "eps"),
}
_SEVERAL = (Size, Names, Rates)  # names for several types
# What a layer-parameter file decides, and what else if its rates hold.
OF_FILE = ("name", "momentum", "weight_decay")
OF_FILES_RATES = ("schedule", "warmup_steps")
# Steps and sizes are 32-bit integers on devices.
_LIMIT = 2**31
_MAX_SIDE = 2**14  # of an image, in pixels
_MAX_SHOWN = 200  # letters of a value in an error
_MAX_ITEMS = 1000  # of a list


def _integer(value: Any, low: int) -> bool:
    # Python counts True as 1.
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and low <= value < _LIMIT


def _real(value: Any, low: float, below: float = math.inf) -> bool:
    # A comparison with NaN is false, so NaN is refused as well.
    return isinstance(value, int | float) and low <= value < below


def _is_side(value: Any) -> bool:
    return _integer(value, 1) and value <= _MAX_SIDE


def _increasing(values: Any) -> bool:
    return all(_integer(value, 1) for value in values) and list(values) == sorted(
        set(values)
    )


Rule = tuple[Callable[[Any], bool], str]


def _one_of(*allowed: str) -> Rule:
    return lambda value: value in allowed, f"one of {allowed}"


_COUNT: Rule = (lambda value: _integer(value, 1), "an integer of at least 1")
_SIZE: Rule = (
    lambda value: (
        all(map(_is_side, (value,) if isinstance(value, int) else value))
        and (isinstance(value, int) or len(value) == 2)
    ),
    f"an integer of at least 1 and at most {_MAX_SIDE}, or a pair of them, height and "
    "width, such as '(96, 128)'",
)
_INDEX: Rule = (lambda value: _integer(value, 0), "an integer of at least 0")
_FLOAT32_MAX = 3.4e38
_RATE: Rule = (
    lambda value: _real(value, 0.0, _FLOAT32_MAX),
    "a finite number of at least 0",
)
_SHARE: Rule = (lambda value: _real(value, 0.0, 1.0), "in [0, 1)")
_PART: Rule = (lambda value: _real(value, 0.0, 1.0) and value > 0, "in (0, 1)")
# An empty text is what a shell makes of a variable that is not set.
_PATH: Rule = (lambda value: value.strip() != "", "a path")
_LAYERS: Rule = settings.are_names, settings.NAMES_ALLOWED

# Names of networks, data sets, initializations, scales and metrics are checked where
# they are registered; what depends on the devices, where these are known.
_RULES: dict[str, Rule] = {
    "name": (lambda value: value.strip() not in ("", ".", ".."), "a folder's name"),
    "seed": (lambda value: 0 <= value < 2**32, "in [0, 2**32)"),
    "batch_size": _COUNT,
    "num_epochs": _COUNT,
    "num_train_steps": _COUNT,
    "steps_per_dispatch": _COUNT,
    "dtype": _one_of("float32", "bfloat16"),
    "model.num_classes": _COUNT,
    "model.dropout_rate": _SHARE,
    "model.width": (lambda value: _real(value, 0.0) and 0 < value <= 16, "in (0, 16]"),
    "data.val_share": _PART,
    "data.data_dir": _PATH,
    "data.manual_dir": _PATH,
    "data.image_size": _SIZE,
    "data.stored_size": _SIZE,
    "data.fit": _one_of("crop", "warp"),
    "data.resize": _one_of("bicubic", "bilinear", "opencv"),
    "data.workers": _INDEX,
    "data.memory": _one_of("auto", "host", "device"),
    "data.on_broken": _one_of("fail", "skip"),
    "augment.canvas": _SIZE,
    "augment.crop": _one_of("none", "random", "random_resized"),
    "augment.color": _SHARE,
    "augment.color_epochs": _COUNT,
    "augment.shared": _COUNT,
    "optim.name": _one_of(*OPTIMIZER_KEYS),
    "optim.params": (_PATH[0], "the path of a layer-parameter file"),
    "optim.learning_rate": _RATE,
    "optim.momentum": _SHARE,
    "optim.b1": _SHARE,
    "optim.b2": _SHARE,
    "optim.eps": _RATE,
    "optim.weight_decay": _RATE,
    "optim.label_smoothing": _SHARE,
    "optim.clip_norm": _RATE,
    "optim.accumulate_steps": _COUNT,
    "optim.ema": _PART,
    "optim.schedule": _one_of(
        "constant", "step", "cosine", "plateau", "2012", "one_weird_trick"
    ),
    "optim.warmup_steps": _INDEX,
    "optim.decay_epochs": (
        _increasing,
        "a tuple of increasing epochs, such as '(30, 60)'",
    ),
    "optim.decay_steps": (
        _increasing,
        "a tuple of increasing steps, such as '(100_000, 200_000)'",
    ),
    "optim.patience": _COUNT,
    "optim.min_delta": _SHARE,
    "optim.max_drops": _COUNT,
    "optim.freeze": _LAYERS,
    "optim.rates": (settings.are_rates, settings.RATES_ALLOWED),
    "optim.decay_rate": (
        lambda value: _real(value, 0.0) and 0 < value <= 1,
        "in (0, 1]",
    ),
    "early_stop.patience": _COUNT,
    "eval.batch_size": _COUNT,
    "eval.every_epochs": _COUNT,
    "eval.metrics": (
        lambda value: len(value) == len(set(value)) and {"loss", "top1"} <= set(value),
        "a tuple of metrics, 'loss' and 'top1' among them, each named once",
    ),
    "eval.views": (lambda value: value in (1, 10), "1 or 10"),
    "checkpoint.every_epochs": _COUNT,
    "checkpoint.every_steps": _COUNT,
    "checkpoint.every_seconds": (
        lambda value: _real(value, 0.0) and value > 0,
        "a finite number above 0",
    ),
    "checkpoint.keep": _COUNT,
    "checkpoint.init_from": _PATH,
    "checkpoint.init_layers": _LAYERS,
    "parallel.data": (
        lambda value: value == -1 or _integer(value, 1),
        "-1 (all devices) or an integer of at least 1",
    ),
    "parallel.model": _COUNT,
    "parallel.coordinator": (
        lambda value: bool(re.fullmatch(r"\S+:[0-9]+", value)),
        "HOST:PORT of process 0",
    ),
    "parallel.num_processes": _COUNT,
    "parallel.process_id": _INDEX,
    "log.every_steps": _COUNT,
}


class _Type(NamedTuple):
    """The type of a key's values."""

    type: type
    optional: bool

    @property
    def words(self) -> str:
        """What an error calls the type."""
        names = {str: "a string", bool: "True or False"}
        return names.get(self.type, f"of type {self.type.__name__}")

    def fits(self, value: Any) -> bool:
        """Whether a value is of the type; those of a tuple may be of any."""
        if value is None:
            return self.optional
        if isinstance(value, bool) or self.type is bool:  # Python counts them as 0, 1
            return isinstance(value, bool) and self.type is bool
        if self.type is tuple:  # JSON has lists
            return (
                isinstance(value, tuple | list)
                and len(value) <= _MAX_ITEMS
                and all(isinstance(one, str | int | float) for one in value)
            )
        if self.type is str:
            return isinstance(value, str) and _is_text(value)
        return isinstance(value, int | float if self.type is float else self.type)


def _is_text(value: str) -> bool:
    """Whether a string can be a path: no null byte, no surrogate that is no byte."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


@functools.cache
def key_types() -> dict[str, _Type]:
    """Returns the type of each key's values."""
    defaults = default_config()
    types = {}
    for key, value in flatten_config(defaults).items():
        group, _, name = key.rpartition(".")
        holder = defaults[group] if group else defaults
        types[key] = _Type(holder.get_type(name), value is None)
    return types


def optional_keys() -> list[str]:
    """Returns the keys that need not be set: None says so."""
    return [key for key, kind in key_types().items() if kind.optional]


def restore_types(config: ConfigDict) -> None:
    """Gives fields their types again where a config holds values alone.

    One that was read from JSON, or copied without its references, knows no type of a
    key that is not set, and takes a size for an integer, a pattern for a string.

    Args:
      config: With the keys of `default_config`; changed in place.
    """
    for key, kind in key_types().items():
        group, _, name = key.rpartition(".")
        holder = config[group] if group else config
        value = dict(holder.items(preserve_field_references=True))[name]
        if kind.type is Rates:
            value = settings.as_tuple(value)
        lost = value is None or (kind.type in _SEVERAL and kind.fits(value))
        if lost and not isinstance(value, FieldReference):
            make = RatesReference if kind.type is Rates else FieldReference
            with holder.ignore_type():
                holder[name] = make(value, field_type=kind.type)


def _shown(value: Any) -> str:
    """Returns a value in words, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write out integers of 4,300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def validate(config: ConfigDict) -> None:
    """Checks every value that can be checked without data and devices.

    Raises:
      InputError: The first value that is not allowed, with what is.
    """
    leaves = flatten_config(config)
    for key, kind in key_types().items():
        if key not in leaves:
            raise InputError(f"{key} is missing; begin with default_config()")
        value = leaves[key]
        is_allowed, allowed = _RULES.get(key, (lambda value: True, kind.words))
        # None, where a key need not be set, is of its type and nothing else.
        if not (kind.fits(value) and (value is None or is_allowed(value))):
            unset = ", or not set" * kind.optional
            raise InputError(f"{key} must be {allowed}{unset}; got {_shown(value)}")
    _validate_canvas(config)
    if config.debug.nans and config.parallel.distributed:
        raise InputError(
            "debug.nans works in one process only; got it with "
            "parallel.distributed=True"
        )
    several = (config.steps_per_dispatch or 1) > 1 and not config.debug.nans
    if config.data.memory == "host" and several:
        raise InputError(
            "steps_per_dispatch must be 1, or not set, with data.memory='host'; got "
            f"{config.steps_per_dispatch}"
        )
    parts = config.optim.accumulate_steps
    if config.batch_size % parts:
        batch = config.batch_size
        fitting = next(n for n in range(min(parts, batch), 0, -1) if batch % n == 0)
        raise InputError(
            f"optim.accumulate_steps must divide batch_size, {batch}, such as "
            f"{fitting}; got {parts}"
        )
    if config.checkpoint.init_layers and not config.checkpoint.init_from:
        raise InputError(
            "checkpoint.init_layers is read with checkpoint.init_from only; set both "
            f"or none; got {config.checkpoint.init_layers!r}"
        )
    _validate_cfg(config)
    _validate_optimizer(config.optim)
    _validate_schedule(config.optim, config.eval.every_epochs)


def _validate_cfg(config: ConfigDict) -> None:
    """Checks that layer-parameter files go with layer files, and what they say."""
    name, optim = config.model.name, config.optim
    for key in ("optim.params", *TEXTS):
        group, _, leaf = key.partition(".")
        if config[group][leaf] is not None and not is_cfg(name):
            raise InputError(
                f"{key} is read with a model.name 'cfg:PATH' only; got it with {name!r}"
            )
    if optim.params is None:
        return
    defaults = default_config().optim
    keys = (*OF_FILE, *OF_FILES_RATES * (optim.learning_rate is None))
    unread = [key for key in keys if optim[key] != defaults[key]]
    if unread:
        names = ", ".join(f"optim.{key}" for key in unread)
        flags = " ".join(f"--config.optim.{key}={defaults[key]}" for key in unread)
        got = ", ".join(repr(optim[key]) for key in unread)
        rates = ", or set optim.learning_rate" * bool({*unread} & {*OF_FILES_RATES})
        raise InputError(
            f"{names} must not be set with optim.params, whose file decides: set "
            f"{flags}{rates}; got {got}"
        )


def _validate_optimizer(optim: ConfigDict) -> None:
    """Checks that no other optimizer's settings are set."""
    defaults = default_config().optim
    for key in sorted({key for keys in OPTIMIZER_KEYS.values() for key in keys}):
        if key not in OPTIMIZER_KEYS[optim.name] and optim[key] != defaults[key]:
            raise InputError(
                f"optim.{key} is not read by optim.name {optim.name!r}; leave it at "
                f"{defaults[key]}; got {optim[key]!r}"
            )


def _validate_schedule(optim: ConfigDict, eval_every_epochs: int) -> None:
    epochs, steps = optim.decay_epochs, optim.decay_steps
    if optim.schedule == "step" and bool(epochs) == bool(steps):
        raise InputError(
            "optim.decay_epochs must name the epochs after which optim.schedule "
            "'step' lowers the rate, such as '(30, 60)', or optim.decay_steps the "
            f"steps; got {epochs!r} and {steps!r}"
        )
    for key in ("decay_epochs", "decay_steps"):
        if optim.schedule != "step" and optim[key]:
            raise InputError(
                f"optim.{key} is read by optim.schedule 'step' only; "
                f"got {optim[key]!r} with {optim.schedule!r}"
            )
    if optim.schedule == "plateau" and eval_every_epochs != 1:
        raise InputError(
            "eval.every_epochs must be 1 with optim.schedule 'plateau', which looks at "
            f"the test error of every epoch; got {eval_every_epochs}"
        )


def unread(config: ConfigDict) -> Iterator[str]:
    """Yields a sentence for each setting that others keep from being read.

    Not a part of `validate`: a sweep over schedules has settings of each of them.
    """
    if config.data.name in BUNDLED and config.data.manual_dir is not None:
        yield (
            f"data.manual_dir is not read: {config.data.name} comes with the package; "
            "for a folder of images set data.name=image_folder"
        )
    augment = config.augment
    if augment.color_epochs is not None and not augment.color:
        yield "augment.color_epochs is not read: augment.color is 0"
    if augment.shared != 1 and augment.crop == "none" and not augment.mirror:
        yield "augment.shared is not read: augment.crop and augment.mirror are off"
    optim, defaults = config.optim, default_config().optim
    readers = {
        "decay_rate": ("step", "plateau"),
        **dict.fromkeys(("patience", "min_delta", "max_drops"), ("plateau",)),
    }
    for key, schedules in readers.items():
        if optim.schedule not in schedules and optim[key] != defaults[key]:
            hint = "; to end a run early, set early_stop.patience" * (key == "patience")
            yield (
                f"optim.{key} is not read: it is of optim.schedule "
                f"{' and '.join(map(repr, schedules))}{hint}"
            )


def _validate_canvas(config: ConfigDict) -> None:
    """Checks that there is something to crop from where something is to be cropped."""
    canvas, size = config.augment.canvas, config.data.image_size
    sides = side_pair(size)
    larger = sides if canvas is None else side_pair(canvas)
    if any(map(operator.lt, larger, sides)):
        raise InputError(
            f"augment.canvas must be at least data.image_size, {size}; got {canvas}"
        )
    wants = {
        "augment.crop 'random'": config.augment.crop == "random",
        "eval.views 10": config.eval.views > 1,
    }
    for name, wanted in wants.items():
        if wanted and larger == sides:
            raise InputError(
                f"augment.canvas must be more than data.image_size, {size}, with "
                f"{name}, such as {wider(size)}; got {canvas}"
            )
