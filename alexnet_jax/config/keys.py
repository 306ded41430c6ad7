"""The keys with their defaults, and what holds where one is not set."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FieldReference

from alexnet_jax.transfer import settings
from alexnet_jax.transfer.settings import Names, Rates, RatesReference

# Sizes of images, each of type `Size`.
SIZES = {"data.image_size", "data.stored_size", "augment.canvas"}
_STORED = 256
LEARNING_RATE = 0.01
DROPOUT_RATE = 0.5
# Data sets that come with the package: no files are read.
BUNDLED = ("digits", "shapes")
# Those that hold the text of a file.
TEXTS = ("model.cfg_layers", "model.cfg_params")


class Size(abc.ABC):  # noqa: B024 (no base class: a name for three types)
    """The type of a size of images: a side of squares, or `(height, width)`."""


for _type in (int, tuple, list):  # JSON has lists
    Size.register(_type)


class Key(NamedTuple):
    """A key of the config.

    Attributes:
      name: Dotted, such as `optim.momentum`.
      default: What holds where nothing is set; None if nothing need be.
      text: What it is, as help says it.
      value_type: Of its values, where `default` does not tell: it is None, or there are
        several.
    """

    name: str
    default: Any
    text: str
    value_type: type | None = None


# In the order in which they are printed. Sizes are a side, or height and width.
KEYS = (
    Key("name", "run", "name of the experiment: a run is written to runs/NAME"),
    Key("seed", 0, "of initial weights, the order of images, augmentation, dropout"),
    Key("batch_size", 128, "images of a training step, over all devices"),
    Key("num_epochs", 10, "length of the run"),
    Key("num_train_steps", None, "stop after so many steps, evaluate and save", int),
    Key(
        "steps_per_dispatch",
        None,
        "steps that a GPU does without being asked again (not set: 10 of small "
        "networks; a CPU does one)",
        int,
    ),
    Key(
        "dtype",
        "float32",
        "of activations and gradients: float32 or bfloat16; parameters are float32",
    ),
    # The network.
    Key(
        "model.name",
        "alexnet_d2l",
        "the network; python -m alexnet_jax.summary --list prints all",
    ),
    Key("model.num_classes", 10, "number of logits"),
    Key(
        "model.dropout_rate",
        None,
        "share of units that dropout leaves out (not set: 0.5, or the layer file's)",
        float,
    ),
    Key(
        "model.init",
        "author",
        "initialization: author, lecun, he, xavier, torch, paper, 2012, ...",
    ),
    Key("model.width", 1.0, "multiplies an AlexNet's channels and hidden units"),
    # Ablations of Krizhevsky's networks; see models/ablations.py.
    Key("model.normalization", "author", "ablation: author, none, batch"),
    Key("model.pooling", "author", "ablation: author, 2x2, average"),
    Key("model.activation", "author", "ablation: author, tanh"),
    Key("model.links", True, "whether the two towers read each other; an ablation"),
    # A run then does without the files, whose paths they do not hold.
    *(
        Key(
            f"model.cfg_{name}",
            None,
            f"text of the {file} of a network cfg:FILE; filled in as a run begins",
            str,
        )
        for name, file in (("layers", "layer file"), ("params", "layer-parameter file"))
    ),
    # The images.
    Key(
        "data.name",
        "fashion_mnist",
        "data set: digits, fashion_mnist, image_folder, tfds/cifar10, "
        "my_module:Builder, ...; see python -m alexnet_jax.data.prepare --help",
    ),
    Key(
        "data.manual_dir",
        None,
        "folder of the original files, or of class folders, or a table (fashion_mnist, "
        "not set: FASHION_MNIST_DIR, or downloaded)",
        str,
    ),
    Key(
        "data.data_dir",
        None,
        "folder of the prepared data sets (not set: TFDS_DATA_DIR, or "
        "~/tensorflow_datasets)",
        str,
    ),
    Key(
        "data.val_share",
        None,
        "share of the training images to validate on, such as 0.2, if the data set "
        "has no part for it",
        float,
    ),
    Key(
        "data.image_size",
        224,
        "side of what the network sees, in pixels; '(96,128)' for height and width",
        Size,
    ),
    Key(
        "data.stored_size",
        None,
        "size that images read from disk are resized to first (not set: as many "
        "pixels as 256×256)",
        Size,
    ),
    Key("data.fit", "crop", "to that size: crop, or warp as Caffe does"),
    Key(
        "data.resize",
        "bicubic",
        "pixels of that size: bicubic, bilinear as torchvision, opencv as Caffe",
    ),
    Key("data.workers", 0, "processes that decode JPEGs of a split; 0: threads"),
    Key("data.on_broken", "fail", "fail, or skip: broken images are left out"),
    Key(
        "data.memory",
        "auto",
        "what holds images: host, device, or auto: device on GPUs where they fit",
    ),
    Key(
        "data.scale",
        "author",
        "input normalization: author, unit, pixels, standard, caffe, torchvision",
    ),
    # What training images go through besides.
    Key(
        "augment.canvas",
        None,
        "size that images are resized to before cropping (not set: no crop)",
        Size,
    ),
    Key("augment.crop", "none", "none, random from the canvas, or random_resized"),
    Key("augment.mirror", False, "mirror every other image, chosen at random"),
    Key(
        "augment.color",
        0.0,
        "standard deviation of the color noise of 2012, where it was 0.1",
    ),
    Key("augment.color_epochs", None, "epoch after which there is none", int),
    Key(
        "augment.shared",
        1,
        "images in a row that share crop and mirror; 32 in 2012's code",
    ),
    # The update.
    Key(
        "optim.name",
        "sgd",
        "update rule: sgd as PyTorch's and Optax's, sgd_2012, adamw",
    ),
    Key(
        "optim.params",
        None,
        "layer-parameter file with rates, momenta and decays of a network cfg:FILE; "
        "with optim.learning_rate all but its rates",
        str,
    ),
    Key(
        "optim.learning_rate",
        None,
        "of kernels, after warm-up (not set: 0.01, or the file's)",
        float,
    ),
    Key("optim.momentum", 0.0, "of sgd and sgd_2012, in [0, 1)"),
    Key("optim.b1", 0.9, "of adamw: decay of the gradients' mean"),
    Key("optim.b2", 0.999, "of adamw: decay of the gradients' mean square"),
    Key("optim.eps", 1e-8, "of adamw: added to the square root of that"),
    Key("optim.weight_decay", 0.0, "of all parameters; of sgd_2012 of kernels"),
    Key("optim.label_smoothing", 0.0, "probability that is spread over all classes"),
    Key("optim.clip_norm", 0.0, "largest norm of the whole gradient; 0: any"),
    Key(
        "optim.accumulate_steps",
        1,
        "parts of a batch that are computed in turn, in the memory of one",
    ),
    Key(
        "optim.ema",
        None,
        "evaluate and load a moving average of the parameters, of this decay: 0.999",
        float,
    ),
    Key(
        "optim.schedule",
        "constant",
        "of the learning rate: constant, step, cosine, plateau, 2012, one_weird_trick",
    ),
    Key("optim.warmup_steps", 0, "in which the rate grows from 0"),
    Key(
        "optim.decay_rate", 0.1, "of step and plateau: multiplies the rate at each drop"
    ),
    Key("optim.decay_epochs", (), "of step: after which the rate drops: '(30, 60)'"),
    Key("optim.decay_steps", (), "of step: likewise steps: '(100_000, 200_000)'"),
    Key("optim.patience", 5, "of plateau: the rate drops after so many epochs ..."),
    Key("optim.min_delta", 0.001, "... whose test error fell by no more than this"),
    Key("optim.max_drops", 3, "of plateau: drops of the rate, at most"),
    Key("optim.freeze", None, "layers that do not learn, such as 'conv*'", Names),
    Key("optim.rates", None, "factors of layers' learning rates: 'fc8=10'", Rates),
    Key(
        "early_stop.patience",
        None,
        "end after so many evaluated epochs in a row without a better test top-1",
        int,
    ),
    # Evaluation.
    Key(
        "eval.batch_size",
        None,
        "test images at a time (not set: 125, or on a GPU as many as fit, at most "
        "1,000)",
        int,
    ),
    Key("eval.every_epochs", 1, "how often a run is evaluated"),
    Key("eval.metrics", ("loss", "top1", "top5"), "what is measured"),
    Key("eval.views", 1, "of a test image: 1, its center, or 10, averaged, as in 2012"),
    # Checkpoints.
    Key("checkpoint.every_epochs", 1, "how often a run is saved"),
    Key("checkpoint.every_steps", None, "save within epochs, too, every so many", int),
    Key(
        "checkpoint.every_seconds",
        None,
        "seconds since the last save below which only the best epoch is saved",
        float,
    ),
    Key("checkpoint.keep", 2, "newest ones that are kept, besides the best"),
    Key(
        "checkpoint.init_from",
        None,
        "folder of another run, to start from its weights in the layers that fit",
        str,
    ),
    Key(
        "checkpoint.init_layers",
        None,
        "layers whose weights are taken from it (not set: all that fit)",
        Names,
    ),
    # Devices.
    Key("parallel.data", -1, "devices that share a batch; -1: all there are"),
    Key("parallel.model", 1, "2: two devices hold one tower of the network each"),
    Key(
        "parallel.distributed",
        False,
        "join the processes of Slurm, Open MPI, ..., on one machine or many",
    ),
    Key(
        "parallel.coordinator",
        None,
        "HOST:PORT of process 0, where Slurm, ... do not say",
        str,
    ),
    Key("parallel.num_processes", None, "number of processes, likewise", int),
    Key("parallel.process_id", None, "number of this process, from 0, likewise", int),
    # What is written down.
    Key("log.every_steps", 50, "how often a row of metrics.jsonl is written"),
    Key("log.tensorboard", True, "write event files for TensorBoard, too"),
    Key("log.gradients", False, "log the gradient norm of each layer"),
    Key("debug.nans", False, "name the layer where NaN or inf began; slow"),
    Key("debug.deterministic", False, "the same bits in every run on a GPU; slower"),
)


def default_config() -> ConfigDict:
    """Returns the defaults, locked: a key that is not in `KEYS` cannot be set.

    Examples:
      >>> config = default_config()
      >>> config.optim.learning_rate, config.data.name = 0.1, "digits"
    """
    config = ConfigDict()
    for key in KEYS:
        *groups, name = key.name.split(".")
        holder = config
        for group in groups:
            if group not in holder:
                holder[group] = ConfigDict()
            holder = holder[group]
        holder[name] = _value(key)
    return config.lock()


def _value(key: Key) -> Any:
    if key.value_type is None:
        return key.default
    if key.value_type is Rates:
        return RatesReference()
    return FieldReference(key.default, field_type=key.value_type)


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


def wider(size: int | Sequence[int]) -> int | tuple[int, ...]:
    """Returns a canvas from which crops of a size differ: 8 / 7 of its sides.

    Example:
      >>> wider(224), wider((6, 28))
      (256, (7, 32))
    """
    sides = tuple(max(side + 1, side * 8 // 7) for side in side_pair(size))
    return sides if isinstance(size, Sequence) else sides[0]


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
