"""d2l's names over this project's parts, so that the book's JAX code runs again.

`from alexnet_jax import d2l` takes the place of `from d2l import jax as d2l`. What is
different:

  * Images are shuffled before they are cut into batches, so that the composition of a
    batch changes from epoch to epoch; d2l shuffles the batches.
  * The host holds 28×28 bytes; upsampling happens on the device. `data.train[0]` has
    an axis of channels, `(60000, 28, 28, 1)`.
  * Everything is a function of a seed (`FashionMNIST(seed=0)`, `fit(key=...)`); d2l
    draws one.
  * `num_gpus` above 1 shares each batch between so many, and `gradient_clip_val` clips;
    d2l ignores both. Without a GPU the CPU is used, and said so.
  * `Trainer(max_steps=...)` stops early; there is a bar, and a script saves its curves
    as `trainer.picture`.
  * A classifier on images that overrides at most `configure_optimizers` goes through
    the command line's loop; whatever else is overridden is called in the book's loop.
  * Parameters have Caffe's names (`conv1`, `fc8`), and d2l's the places of layers
    (`net/layers_0`). `layer_summary` draws no weights.
  * `resize` to sides of another shape than the images' stretches them; d2l pads.
  * Curves are PNG in a notebook, and SVG after `d2l.use_svg_display()`.
  * The chapters on text, and what other tabs than JAX's need, are not here: each name
    says so.

Nothing in the package imports this room; it imports whatever it needs.

Source: d2l.ai 1.0.3, `d2l.jax`.
"""

from typing import Any

from alexnet_jax.d2l.base import (
    HyperParameters,
    add_to_class,
)
from alexnet_jax.d2l.board import (
    ProgressBoard,
)
from alexnet_jax.d2l.classifier import (
    Classifier,
)
from alexnet_jax.d2l.data import (
    Digits,
    FashionMNIST,
)
from alexnet_jax.d2l.datamodule import (
    DataModule,
    SyntheticRegressionData,
)
from alexnet_jax.d2l.functions import (
    abs,
    arange,
    argmax,
    astype,
    concat,
    cos,
    cosh,
    cpu,
    exp,
    expand_dims,
    eye,
    float32,
    get_key,
    get_seed,
    gpu,
    int32,
    int64,
    linspace,
    log,
    matmul,
    meshgrid,
    nn_Module,
    num_gpus,
    numpy,
    ones,
    ones_like,
    plt,
    reduce_mean,
    reduce_sum,
    repeat,
    reshape,
    set_figsize,
    show_images,
    sigmoid,
    sin,
    sinh,
    stack,
    swapaxes,
    tanh,
    tensor,
    to,
    transpose,
    try_all_gpus,
    try_gpu,
    use_svg_display,
    zeros,
    zeros_like,
)
from alexnet_jax.d2l.module import (
    Module,
    TrainState,
)
from alexnet_jax.d2l.networks import (
    SGD,
    AlexNet,
    LeNet,
    LinearRegression,
    LinearRegressionScratch,
    Residual,
    ResNeXtBlock,
    SoftmaxRegression,
)
from alexnet_jax.d2l.trainer import (
    Trainer,
)
from alexnet_jax.errors import InputError

__all__ = [
    "AlexNet",
    "Classifier",
    "DataModule",
    "Digits",
    "FashionMNIST",
    "HyperParameters",
    "LeNet",
    "LinearRegression",
    "LinearRegressionScratch",
    "Module",
    "ProgressBoard",
    "ResNeXtBlock",
    "Residual",
    "SGD",
    "SoftmaxRegression",
    "SyntheticRegressionData",
    "TrainState",
    "Trainer",
    "abs",
    "add_to_class",
    "arange",
    "argmax",
    "astype",
    "concat",
    "cos",
    "cosh",
    "cpu",
    "exp",
    "expand_dims",
    "eye",
    "float32",
    "get_key",
    "get_seed",
    "gpu",
    "int32",
    "int64",
    "linspace",
    "log",
    "matmul",
    "meshgrid",
    "nn_Module",
    "num_gpus",
    "numpy",
    "ones",
    "ones_like",
    "plt",
    "reduce_mean",
    "reduce_sum",
    "repeat",
    "reshape",
    "set_figsize",
    "show_images",
    "sigmoid",
    "sin",
    "sinh",
    "stack",
    "swapaxes",
    "tanh",
    "tensor",
    "to",
    "transpose",
    "try_all_gpus",
    "try_gpu",
    "use_svg_display",
    "zeros",
    "zeros_like",
]

_TEXT = "it belongs to the chapters on text and attention, which have no images"
_TORCH = "it is of the PyTorch and MXNet tabs; a flax layer draws its own parameters"
_ARRAYS = "the JAX tab has none; call jax.random with a key, such as d2l.get_key()"
_FILES = "nothing is downloaded by name here; docs/running.md says where data are from"
_OLDER = (
    "it is of an earlier edition or of another tab; this one's classes are "
    "d2l.DataModule, d2l.Module, d2l.Classifier and d2l.Trainer"
)
_TABS = "it is of another edition or of another tab; call jax.numpy's or an array's"
# Names of the book's that are not here, by the reason.
_MISSING = {
    _TORCH: "init_cnn init_seq2seq",
    "draw with d2l.plt or d2l.ProgressBoard, by its draw(x, y, label)": "Animator",
    "add up numbers in a list; time.perf_counter tells the time": "Accumulator Timer",
    _OLDER: (
        "accuracy batch_norm corr2d_multi_in evaluate_accuracy evaluate_accuracy_gpu "
        "evaluate_loss get_dataloader_workers get_fashion_mnist_labels linreg "
        "load_array load_data_fashion_mnist predict_ch3 sgd squared_loss "
        "synthetic_data train_batch_ch13 train_ch3 train_ch6 train_ch13 "
        "train_epoch_ch3 train_epoch_ch6 train_2d"
    ),
    _TABS: "annotate bool clip double float get_local_file size sum",
    _ARRAYS: "normal rand randn",
    _FILES: "DATA_HUB DATA_URL download extract",
    "draw with d2l.plt or d2l.ProgressBoard": "plot set_axes show_heatmaps",
    "call jax.lax.conv or flax.linen.Conv": "corr2d",
    _TEXT: (
        "AddNorm AdditiveAttention Decoder DotProductAttention Encoder EncoderDecoder "
        "GRU MTFraEng MultiHeadAttention PositionWiseFFN PositionalEncoding RNN RNNLM "
        "RNNLMScratch RNNScratch Seq2Seq Seq2SeqEncoder TimeMachine TransformerEncoder "
        "TransformerEncoderBlock Vocab bleu check_len check_shape masked_softmax "
        "show_list_len_pair_hist"
    ),
}


class MissingNameError(InputError, AttributeError):
    """A name of the book's that this room does not have."""


def __getattr__(name: str) -> Any:
    for reason, names in _MISSING.items():
        if name in names.split():
            raise MissingNameError(f"d2l.{name} is not here: {reason}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
