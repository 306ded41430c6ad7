"""The config: every key with its default, and the rules that `validate` checks."""

import abc
import functools
import hashlib
import json
import math
import operator
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FieldReference, config_dict

from alexnet_jax.errors import InputError
from alexnet_jax.transfer import settings
from alexnet_jax.transfer.settings import Names, Rates, RatesReference

# What only changes a run's length, place or reports: it may change on resuming.
MAY_CHANGE = (
    "name",
    "num_epochs",
    "num_train_steps",
    "data.manual_dir",
    "data.data_dir",
    "data.workers",
    "data.on_broken",
    "data.memory",
    "steps_per_dispatch",
    "eval.",
    "checkpoint.",
    "parallel.",
    "log.",
    "debug.",
)
# Sizes of images, each of type `Size`.
SIZES = {"data.image_size", "data.stored_size", "augment.canvas"}


class Size(abc.ABC):  # noqa: B024 (no base class: a name for three types)
    """The type of a size of images: a side of squares, or `(height, width)`."""


for _type in (int, tuple, list):  # JSON has lists
    Size.register(_type)


def side_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Returns height and width.

    Args:
      size: A validated size: a side in pixels, or `(height, width)`.

    Example:
      >>> side_pair(224), side_pair((96, 128))
      ((224, 224), (96, 128))
    """
    if not isinstance(size, Sequence):
        return size, size
    height, width = size
    return height, width


def size_text(size: int | Sequence[int]) -> str:
    """Returns a size as `96×128`."""
    return "×".join(map(str, side_pair(size)))


def stored_pair(data: Mapping[str, Any] | ConfigDict) -> tuple[int, int]:
    """Returns height and width of images that are read from disk, as batches hold them.

    Args:
      data: `config.data`. If `stored_size` is not set, they have as many pixels as
        256×256, in the proportions of `image_size`.
    """
    if data["stored_size"] is not None:
        return side_pair(data["stored_size"])
    height, width = side_pair(data["image_size"])
    ratio = math.sqrt(height / width)
    return max(1, round(_STORED * ratio)), max(1, round(_STORED / ratio))


def learning_rate(optim: Mapping[str, Any] | ConfigDict) -> float:
    """Returns the rate that networks are given: that of a run's kernels, after warm-up.

    Args:
      optim: `config.optim`. With `params` and no `learning_rate`, the rates of the file
        hold instead.

    Example:
      >>> learning_rate(default_config().optim)
      0.01
    """
    rate = optim["learning_rate"]
    return _LEARNING_RATE if rate is None else rate


def is_cfg(name: str) -> bool:
    """Whether a network's name is that of a layer file, `cfg:PATH`."""
    return name.startswith("cfg:")


def shown_values(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a flat config's values as reports show them.

    Those that hold where a key is not set or a file decides, and of a long text its
    length and its hash.
    """
    values = dict(flat)
    by_file = values.get("optim.params") is not None
    if values.get("optim.learning_rate", 0) is None:
        values["optim.learning_rate"] = _BY_FILE if by_file else _LEARNING_RATE
    if values.get("model.dropout_rate", 0) is None:
        is_file = is_cfg(str(values.get("model.name")))
        values["model.dropout_rate"] = (
            "as the layer file says" if is_file else _DROPOUT_RATE
        )
    if by_file:
        rated = values.get("optim.learning_rate") == _BY_FILE
        for key in (*_OF_FILE, *_OF_FILES_RATES * rated):
            if f"optim.{key}" in values:
                values[f"optim.{key}"] = _BY_FILE
    for key in _TEXTS:
        if isinstance(text := values.get(key), str):
            lines = len(text.splitlines())
            values[key] = f"a text of {lines:,} lines, SHA-256 {_hash(text)}"
    return values


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def default_config() -> ConfigDict:
    """Returns the defaults, locked: a key that is not here cannot be set.

    Example:
      >>> config = default_config()
      >>> config.optim.learning_rate, config.data.name = 0.1, "digits"
    """
    config = ConfigDict()
    config.name = "run"  # of the experiment; a run is written to runs/NAME
    config.seed = 0
    config.batch_size = 128  # over all devices
    config.num_epochs = 10
    config.num_train_steps = config_dict.placeholder(int)  # stop there
    config.steps_per_dispatch = config_dict.placeholder(int)  # see feeding/feeds.py
    config.dtype = "float32"  # of activations and gradients; parameters are float32

    config.model = ConfigDict()
    config.model.name = "alexnet_d2l"
    config.model.num_classes = 10
    config.model.dropout_rate = config_dict.placeholder(
        float
    )  # 0.5, or the layer file's
    config.model.init = "author"
    config.model.width = 1.0  # times the channels and hidden units; of AlexNets
    # Ablations of Krizhevsky's networks; see models/ablations.py.
    config.model.normalization = "author"  # or 'none', 'batch'
    config.model.pooling = "author"  # or '2x2', 'average'
    config.model.activation = "author"  # or 'tanh'
    config.model.links = True  # between the towers
    # The text of the files of a 'cfg:PATH' network, and no path; filled in by the
    # program as a run begins, which then does without the files.
    config.model.cfg_layers = config_dict.placeholder(str)
    config.model.cfg_params = config_dict.placeholder(str)

    config.data = ConfigDict()
    config.data.name = "fashion_mnist"
    config.data.manual_dir = config_dict.placeholder(str)  # FASHION_MNIST_DIR
    config.data.data_dir = config_dict.placeholder(str)  # TFDS_DATA_DIR
    config.data.val_share = config_dict.placeholder(float)  # where no part is brought
    config.data.image_size = _size(224)  # of squares, or (height, width)
    config.data.stored_size = _size(None)  # of images read from disk; see stored_pair
    config.data.fit = "crop"  # cover that size and crop, or 'warp' as Caffe
    config.data.resize = "bicubic"  # or 'bilinear' as torchvision, 'opencv' as Caffe
    config.data.workers = 0  # processes that decode a split; 0: threads
    config.data.on_broken = "fail"  # images; or 'skip': named, and not counted
    config.data.memory = "auto"  # that holds images: 'host', or 'device' as on GPUs
    config.data.scale = "author"  # its author's, or a key of SCALES in normalize.py

    config.augment = ConfigDict()
    config.augment.canvas = _size(None)  # size that is cropped from
    config.augment.crop = "none"  # 'random' from the canvas, or 'random_resized'
    config.augment.mirror = False  # flip left and right, every other image
    config.augment.color = 0.0  # standard deviation of the noise; 0.1 in 2012
    config.augment.color_epochs = config_dict.placeholder(int)  # color noise ends here
    config.augment.shared = 1  # images that share crop and mirror; 32 in 2012's code

    config.optim = ConfigDict()
    config.optim.name = "sgd"
    config.optim.params = config_dict.placeholder(str)  # layer-parameter file: 'cfg:'
    config.optim.learning_rate = config_dict.placeholder(float)  # see learning_rate
    config.optim.momentum = 0.0
    config.optim.b1 = 0.9  # 'adamw': decay of the gradients' mean ...
    config.optim.b2 = 0.999  # ... and of their mean square,
    config.optim.eps = 1e-8  # added to the root of the latter
    config.optim.weight_decay = 0.0  # 'sgd_2012': of kernels; else of all parameters
    config.optim.label_smoothing = 0.0  # probability spread over all classes
    config.optim.clip_norm = 0.0  # of the whole gradient; 0: not clipped
    config.optim.schedule = "constant"  # or as optim.create_schedule lists them
    config.optim.warmup_steps = 0  # linear, from 0
    config.optim.decay_rate = 0.1  # 'step', 'plateau': the rate is multiplied by this
    config.optim.decay_epochs = ()  # 'step': after these epochs ...
    config.optim.decay_steps = ()  # ... or after these steps
    config.optim.patience = 5  # 'plateau': after so many epochs in a row ...
    config.optim.min_delta = 0.001  # ... whose test error fell by no more than this,
    config.optim.max_drops = 3  # maximum number of drops
    config.optim.freeze = _names()  # layers that do not learn, such as 'conv*'
    config.optim.rates = RatesReference()  # factors of layers' rates: {'fc8': 10.0}

    config.eval = ConfigDict()
    config.eval.batch_size = config_dict.placeholder(int)  # see inspection/memory.py
    config.eval.every_epochs = 1
    config.eval.metrics = ("loss", "top1", "top5")  # names of metrics.METRICS
    config.eval.views = 1  # of an image: its center; or 10, averaged, as in 2012

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 1
    config.checkpoint.every_steps = config_dict.placeholder(int)  # besides
    config.checkpoint.every_seconds = config_dict.placeholder(float)  # not sooner
    config.checkpoint.keep = 2  # newest ones; the best is kept besides
    config.checkpoint.init_from = config_dict.placeholder(str)  # another run's workdir
    config.checkpoint.init_layers = _names()  # taken from it; not set: all that fit

    config.parallel = ConfigDict()
    config.parallel.data = -1  # devices that share a batch; -1: all there are
    config.parallel.model = 1  # 2: each holds a tower; with data, so many pairs
    config.parallel.distributed = False  # several processes, on one machine or many
    config.parallel.coordinator = config_dict.placeholder(str)  # HOST:PORT of process 0
    config.parallel.num_processes = config_dict.placeholder(int)
    config.parallel.process_id = config_dict.placeholder(int)

    config.log = ConfigDict()
    config.log.every_steps = 50  # a row of metrics.jsonl
    config.log.tensorboard = True
    config.log.gradients = False  # the norm of each kernel's gradient in every row

    config.debug = ConfigDict()
    config.debug.nans = False  # look at each step; name the layer that went wrong
    config.debug.deterministic = False  # the same bits in every run on a GPU; slower
    return config.lock()


def _size(default: int | None) -> FieldReference:
    return FieldReference(default, field_type=Size)


def _names() -> FieldReference:
    return FieldReference(None, field_type=Names)


_SEVERAL = (Size, Names, Rates)  # names for several types
_STORED = 256
_LEARNING_RATE = 0.01
_DROPOUT_RATE = 0.5
# What a layer-parameter file decides, and what else if its rates hold.
_OF_FILE = ("name", "momentum", "weight_decay")
_OF_FILES_RATES = ("schedule", "warmup_steps")
_BY_FILE = "as optim.params says"
_TEXTS = ("model.cfg_layers", "model.cfg_params")
# Steps and sizes are 32-bit integers on devices.
_LIMIT = 2**31
_MAX_SIDE = 2**14  # of an image, in pixels
_MAX_SHOWN = 200  # letters of a value in an error
_MAX_ITEMS = 1000  # of a list


def _integer(value: Any, low: int) -> bool:
    return isinstance(value, int) and low <= value < _LIMIT


def _real(value: Any, low: float, below: float = math.inf) -> bool:
    # A comparison with NaN is false, so NaN is refused as well.
    return isinstance(value, int | float) and low <= value < below


def _is_side(value: Any) -> bool:
    return _integer(value, 1) and value <= _MAX_SIDE and not isinstance(value, bool)


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
_OPTIONAL_SIZE: Rule = (
    lambda value: value is None or _SIZE[0](value),
    f"{_SIZE[1]}, or not set",
)
_OPTIONAL_COUNT: Rule = (
    lambda value: value is None or _integer(value, 1),
    "an integer of at least 1, or not set",
)
_FLOAT32_MAX = 3.4e38
_RATE: Rule = (
    lambda value: _real(value, 0.0, _FLOAT32_MAX),
    "a finite number of at least 0",
)
_SHARE: Rule = (lambda value: _real(value, 0.0, 1.0), "in [0, 1)")
_LAYERS: Rule = (
    lambda value: value is None or settings.are_names(value),
    settings.NAMES_ALLOWED,
)

# Names of networks, data sets, initializations, scales and metrics are checked where
# they are registered; what depends on the devices, where these are known.
_RULES: dict[str, Rule] = {
    "name": (lambda value: value.strip() not in ("", ".", ".."), "a folder's name"),
    "seed": (lambda value: 0 <= value < 2**32, "in [0, 2**32)"),
    "batch_size": _COUNT,
    "num_epochs": _COUNT,
    "num_train_steps": _OPTIONAL_COUNT,
    "steps_per_dispatch": _OPTIONAL_COUNT,
    "dtype": _one_of("float32", "bfloat16"),
    "model.num_classes": _COUNT,
    "model.dropout_rate": (
        lambda value: value is None or _SHARE[0](value),
        f"{_SHARE[1]}, or not set",
    ),
    "model.width": (lambda value: _real(value, 0.0) and 0 < value <= 16, "in (0, 16]"),
    "data.val_share": (
        lambda value: value is None or (_real(value, 0.0, 1.0) and value > 0),
        "in (0, 1), or not set",
    ),
    "data.image_size": _SIZE,
    "data.stored_size": _OPTIONAL_SIZE,
    "data.fit": _one_of("crop", "warp"),
    "data.resize": _one_of("bicubic", "bilinear", "opencv"),
    "data.workers": (
        lambda value: _integer(value, 0),
        "an integer of at least 0",
    ),
    "data.memory": _one_of("auto", "host", "device"),
    "data.on_broken": _one_of("fail", "skip"),
    "augment.canvas": _OPTIONAL_SIZE,
    "augment.crop": _one_of("none", "random", "random_resized"),
    "augment.color": _SHARE,
    "augment.color_epochs": _OPTIONAL_COUNT,
    "augment.shared": _COUNT,
    "optim.name": _one_of("sgd", "sgd_2012", "adamw"),
    "optim.params": (
        lambda value: value is None or value.strip() != "",
        "the path of a layer-parameter file, or not set",
    ),
    "optim.learning_rate": (
        lambda value: value is None or _RATE[0](value),
        f"{_RATE[1]}, or not set",
    ),
    "optim.momentum": _SHARE,
    "optim.b1": _SHARE,
    "optim.b2": _SHARE,
    "optim.eps": _RATE,
    "optim.weight_decay": _RATE,
    "optim.label_smoothing": _SHARE,
    "optim.clip_norm": _RATE,
    "optim.schedule": _one_of(
        "constant", "step", "cosine", "plateau", "2012", "one_weird_trick"
    ),
    "optim.warmup_steps": (
        lambda value: _integer(value, 0),
        "an integer of at least 0",
    ),
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
    "optim.rates": (
        lambda value: value is None or settings.are_rates(value),
        settings.RATES_ALLOWED,
    ),
    "optim.decay_rate": (
        lambda value: _real(value, 0.0) and 0 < value <= 1,
        "in (0, 1]",
    ),
    "eval.batch_size": _OPTIONAL_COUNT,
    "eval.every_epochs": _COUNT,
    "eval.metrics": (
        lambda value: len(value) == len(set(value)) and {"loss", "top1"} <= set(value),
        "a tuple of metrics, 'loss' and 'top1' among them, each named once",
    ),
    "eval.views": (lambda value: value in (1, 10), "1 or 10"),
    "checkpoint.every_epochs": _COUNT,
    "checkpoint.every_steps": _OPTIONAL_COUNT,
    "checkpoint.every_seconds": (
        lambda value: value is None or (_real(value, 0.0) and value > 0),
        "a finite number above 0, or not set",
    ),
    "checkpoint.keep": _COUNT,
    "checkpoint.init_layers": _LAYERS,
    "parallel.data": (
        lambda value: value == -1 or _integer(value, 1),
        "-1 (all devices) or an integer of at least 1",
    ),
    "parallel.model": _COUNT,
    "parallel.coordinator": (
        lambda value: value is None or bool(re.fullmatch(r"\S+:[0-9]+", value)),
        "HOST:PORT of process 0, or not set",
    ),
    "parallel.num_processes": _OPTIONAL_COUNT,
    "parallel.process_id": (
        lambda value: value is None or _integer(value, 0),
        "an integer of at least 0, or not set",
    ),
    "log.every_steps": _COUNT,
}


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{"optim.momentum": 0.9, ...}`, every leaf under its dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if prefix + key == "optim.rates":
            leaves[prefix + key] = settings.as_tuple(value)
        elif isinstance(value, Mapping | ConfigDict):
            leaves |= flatten_config(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves


class _Type(NamedTuple):
    """The type of a key's values."""

    type: type
    optional: bool

    @property
    def words(self) -> str:
        """What an error calls the type."""
        names = {str: "a string", bool: "True or False"}
        words = names.get(self.type, f"of type {self.type.__name__}")
        return f"{words}, or not set" if self.optional else words

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
def _types() -> dict[str, _Type]:
    """Returns the type of each key's values."""
    defaults = default_config()
    types = {}
    for key, value in flatten_config(defaults).items():
        group, _, name = key.rpartition(".")
        holder = defaults[group] if group else defaults
        types[key] = _Type(holder.get_type(name), value is None)
    return types


def config_of(record: Mapping[str, Any]) -> ConfigDict:
    """Returns the config that a record holds; a key that it lacks has its default.

    Args:
      record: Nested, as JSON has it.

    Raises:
      InputError: It is of another version: keys are unknown, or values not allowed.
    """
    config = default_config()
    try:
        stored = flatten_config(record)
        for key in flatten_config(config):  # an empty group would vanish
            group, _, name = key.rpartition(".")
            if isinstance((record.get(group, {}) if group else record).get(name), dict):
                raise TypeError(f"{key} is a group of keys")
        config.update_from_flattened_dict(stored)
        validate(config)
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"is of another version of the program: {str(error).strip()}"
        ) from error
    return config


def optional_keys() -> list[str]:
    """Returns the keys that need not be set: None says so."""
    return [key for key, kind in _types().items() if kind.optional]


def restore_types(config: ConfigDict) -> None:
    """Gives fields their types again where a config holds values alone.

    One that was read from JSON, or copied without its references, knows no type of a
    key that is not set, and takes a size for an integer, a pattern for a string.

    Args:
      config: With the keys of `default_config`; changed in place.
    """
    for key, kind in _types().items():
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
    for key, kind in _types().items():
        if key not in leaves:
            raise InputError(f"{key} is missing; begin with default_config()")
        value = leaves[key]
        is_allowed, allowed = _RULES.get(key, (lambda value: True, kind.words))
        if not (kind.fits(value) and is_allowed(value)):
            raise InputError(f"{key} must be {allowed}; got {_shown(value)}")
    _validate_canvas(config)
    if config.debug.nans and config.parallel.distributed:
        raise InputError(
            "debug.nans works in one process only; got it with "
            "parallel.distributed=True"
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
    for key in ("optim.params", *_TEXTS):
        group, _, leaf = key.partition(".")
        if config[group][leaf] is not None and not is_cfg(name):
            raise InputError(
                f"{key} is read with a model.name 'cfg:PATH' only; got it with {name!r}"
            )
    if optim.params is None:
        return
    defaults = default_config().optim
    keys = (*_OF_FILE, *_OF_FILES_RATES * (optim.learning_rate is None))
    unread = [key for key in keys if optim[key] != defaults[key]]
    if unread:
        names = ", ".join(f"optim.{key}" for key in unread)
        flags = " ".join(f"--config.optim.{key}={defaults[key]}" for key in unread)
        got = ", ".join(repr(optim[key]) for key in unread)
        rates = ", or set optim.learning_rate" * bool({*unread} & {*_OF_FILES_RATES})
        raise InputError(
            f"{names} must not be set with optim.params, whose file decides: set "
            f"{flags}{rates}; got {got}"
        )


def _validate_optimizer(optim: ConfigDict) -> None:
    """Checks that no other optimizer's settings are set."""
    unread = ("momentum",) if optim.name == "adamw" else ("b1", "b2", "eps")
    defaults = default_config().optim
    for key in unread:
        if optim[key] != defaults[key]:
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


def _validate_canvas(config: ConfigDict) -> None:
    """Checks that there is something to crop from where something is to be cropped."""
    canvas, size = config.augment.canvas, config.data.image_size
    sides = side_pair(size)
    larger = sides if canvas is None else side_pair(canvas)
    if any(map(operator.lt, larger, sides)):
        raise InputError(
            f"augment.canvas must be at least data.image_size, {size}; got {canvas}"
        )
    cut = tuple(side * 8 // 7 for side in sides)
    example = cut if isinstance(size, Sequence) else cut[0]
    wants = {
        "augment.crop 'random'": config.augment.crop == "random",
        "eval.views 10": config.eval.views > 1,
    }
    for name, wanted in wants.items():
        if wanted and larger == sides:
            raise InputError(
                f"augment.canvas must be more than data.image_size, {size}, with "
                f"{name}, such as {example}; got {canvas}"
            )


def in_one_form(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a flat config's values as JSON has them, a square's size as its side.

    A layer file is named by its text and not by its path, and a long text by its hash.
    """
    values = json.loads(json.dumps(flat))
    _name_by_text(values)
    if values.get("optim.params") is None and "optim.learning_rate" in values:
        optim = {"learning_rate": values["optim.learning_rate"]}
        values["optim.learning_rate"] = learning_rate(optim)
    is_file = is_cfg(str(values.get("model.name")))
    if values.get("model.dropout_rate", 0) is None and not is_file:
        values["model.dropout_rate"] = _DROPOUT_RATE
    if size := values.get("data.image_size"):
        data = {"image_size": size, "stored_size": values.get("data.stored_size")}
        values["data.stored_size"] = list(stored_pair(data))
    for key, kind in _types().items():
        if key in values:
            values[key] = settings.in_one_form(values[key], kind.type)
    for key in SIZES & values.keys():
        value = values[key]
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            values[key] = value[0]
    return values


def _name_by_text(values: dict[str, Any]) -> None:
    """Makes equal what two configs say of files with equal texts."""
    for key in _TEXTS:
        if isinstance(text := values.get(key), str):
            values[key] = f"text {_hash(text)}"
    if values.get("model.cfg_layers"):
        values["model.name"] = f"cfg: {values['model.cfg_layers']}"
        values["model.cfg_layers"] = None
    if values.get("model.cfg_params") and values.get("optim.params"):
        values["optim.params"] = "the layer-parameter file"


def differences(
    old: Mapping[str, Any] | ConfigDict, new: Mapping[str, Any] | ConfigDict
) -> Iterator[tuple[str, Any, Any]]:
    """Yields `(key, old value, new value)` where two configs are of different runs.

    Of a file whose text has changed, the key that names it and its paths, which may be
    equal.

    Args:
      old: A config, or its nested mapping as `config.json` holds it.
      new: Likewise.
    """

    def leaves(config: Any) -> dict[str, Any]:
        nested = config.to_dict() if isinstance(config, ConfigDict) else config
        return flatten_config(nested)

    raw = [leaves(config) for config in (default_config(), old, new)]
    defaults, before, after = map(in_one_form, raw)
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted(before.keys() | after.keys()):
        # Before a key existed, runs did what its default says.
        pair = before.get(key, defaults.get(key)), after.get(key)
        if pair[0] != pair[1] and not key.startswith(MAY_CHANGE):
            found[key] = pair
    if found.pop("model.cfg_params", None) and not found.keys() & {
        "model.name",
        "optim.params",
    }:
        by_name = raw[2].get("optim.params") is not None
        found["optim.params" if by_name else "model.cfg_params"] = (None, None)
    for key in ("optim.learning_rate", "model.dropout_rate"):  # they follow from files
        if raw[1].get(key) == raw[2].get(key):
            found.pop(key, None)
    for key in found.keys() & {"model.name", "optim.params"}:
        found[key] = raw[1].get(key, raw[0][key]), raw[2].get(key, raw[0][key])
    for key in sorted(found):
        yield key, *found[key]
