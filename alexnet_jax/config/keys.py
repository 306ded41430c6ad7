"""The keys with their defaults, and what holds where one is not set."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, FieldReference, config_dict

from alexnet_jax.transfer import settings
from alexnet_jax.transfer.settings import Names, RatesReference

# Sizes of images, each of type `Size`.
SIZES = {"data.image_size", "data.stored_size", "augment.canvas"}
_STORED = 256
LEARNING_RATE = 0.01
DROPOUT_RATE = 0.5
# Those that hold the text of a file.
TEXTS = ("model.cfg_layers", "model.cfg_params")


class Size(abc.ABC):  # noqa: B024 (no base class: a name for three types)
    """The type of a size of images: a side of squares, or `(height, width)`."""


for _type in (int, tuple, list):  # JSON has lists
    Size.register(_type)


def default_config() -> ConfigDict:
    """Returns the defaults, locked: a key that is not here cannot be set.

    Examples:
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
    config.optim.accumulate_steps = 1  # parts of a batch, computed one after the other
    config.optim.ema = config_dict.placeholder(float)  # decay of the parameters' mean
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

    config.early_stop = ConfigDict()
    # After so many evaluated epochs in a row without a better test top-1.
    config.early_stop.patience = config_dict.placeholder(int)

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


def side_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Returns height and width.

    Args:
      size: A validated size: a side in pixels, or `(height, width)`.

    Examples:
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

    Examples:
      >>> learning_rate(default_config().optim)
      0.01
    """
    rate = optim["learning_rate"]
    return LEARNING_RATE if rate is None else rate


def is_cfg(name: str) -> bool:
    """Whether a network's name is that of a layer file, `cfg:PATH`."""
    return name.startswith("cfg:")
