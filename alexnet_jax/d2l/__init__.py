"""d2l's names over this project's parts, so that the book's JAX code runs again.

`from alexnet_jax import d2l` takes the place of `from d2l import jax as d2l`. What is
different:

  * Images are shuffled before they are cut into batches, so that the composition of a
    batch changes from epoch to epoch; d2l shuffles the batches.
  * The host holds 28×28 bytes; upsampling happens on the device.
  * Everything is a function of a seed (`FashionMNIST(seed=0)`, `fit(key=...)`); d2l
    draws one.
  * `num_gpus` above 1 shares each batch between so many, and `gradient_clip_val` clips;
    d2l ignores both. Without a GPU the CPU is used, and said so.
  * `Trainer(max_steps=...)` stops early; there is a bar, and a script saves its curves
    as `trainer.picture`.

Nothing in the package imports this room; it imports whatever it needs.

Source: d2l.ai 1.0.3, `d2l.jax`.
"""

from alexnet_jax.d2l.board import ProgressBoard
from alexnet_jax.d2l.data import DataModule, Digits, FashionMNIST
from alexnet_jax.d2l.trainer import Trainer, num_gpus
from alexnet_jax.models import AlexNet, Classifier, LeNet

__all__ = [
    "AlexNet",
    "Classifier",
    "DataModule",
    "Digits",
    "FashionMNIST",
    "LeNet",
    "ProgressBoard",
    "Trainer",
    "num_gpus",
]
