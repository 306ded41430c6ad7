"""The book's short names: JAX's functions, devices, keys and figures."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt

from alexnet_jax.d2l.board import in_notebook
from alexnet_jax.errors import InputError

nn_Module = nn.Module
to, numpy = jax.device_put, np.asarray
float32, int32, int64 = jnp.float32, jnp.int32, jnp.int64

abs, arange, cos, cosh, exp, eye = (
    jnp.abs,
    jnp.arange,
    jnp.cos,
    jnp.cosh,
    jnp.exp,
    jnp.eye,
)
expand_dims, linspace, log, matmul = (
    jnp.expand_dims,
    jnp.linspace,
    jnp.log,
    jnp.matmul,
)
meshgrid, ones, ones_like, sin, sinh = (
    jnp.meshgrid,
    jnp.ones,
    jnp.ones_like,
    jnp.sin,
    jnp.sinh,
)
concat, stack, tanh, tensor = jnp.concatenate, jnp.stack, jnp.tanh, jnp.array
zeros, zeros_like, sigmoid = jnp.zeros, jnp.zeros_like, jax.nn.sigmoid


def _method(name: str) -> Callable[..., Any]:
    """Returns the function that calls an array's method."""
    return lambda array, *args, **kwargs: getattr(array, name)(*args, **kwargs)


argmax, astype, reshape = _method("argmax"), _method("astype"), _method("reshape")
reduce_mean, reduce_sum = _method("mean"), _method("sum")
repeat, swapaxes, transpose = (
    _method("repeat"),
    _method("swapaxes"),
    _method("transpose"),
)


def get_seed() -> int:
    """Draws a seed by Python's `random`."""
    return random.randint(0, 10**6)


def get_key() -> jax.Array:
    """Draws a raw PRNG key, `(2,) uint32`, by Python's `random`."""
    return jax.random.PRNGKey(get_seed())


def gpus() -> list[jax.Device]:
    """Returns the GPUs."""
    return [device for device in jax.devices() if device.platform == "gpu"]


def num_gpus() -> int:
    """Returns how many GPUs there are."""
    return len(gpus())


def cpu() -> jax.Device:
    """Returns the CPU, the first if there are several."""
    return jax.devices("cpu")[0]


def gpu(i: int = 0) -> jax.Device:
    """Returns a GPU.

    Raises:
      InputError: There is none of this number.
    """
    if not 0 <= i < num_gpus():
        raise InputError(f"gpu must be below {num_gpus()}, the GPUs here; got {i}")
    return gpus()[i]


def try_gpu(i: int = 0) -> jax.Device:
    """Returns a GPU, or the CPU if there is none of this number."""
    return gpu(i) if i < num_gpus() else cpu()


def try_all_gpus() -> list[jax.Device]:
    """Returns the GPUs, or the CPU alone if there is none."""
    return gpus() or [cpu()]


def use_svg_display() -> None:
    """Draws a notebook's pictures as SVG; does nothing elsewhere."""
    if in_notebook():
        from IPython import get_ipython

        get_ipython().run_line_magic("config", "InlineBackend.figure_formats = ['svg']")


def set_figsize(figsize: tuple[float, float] = (3.5, 2.5)) -> None:
    """Sets the size of figures to come, in inches."""
    use_svg_display()
    plt.rcParams["figure.figsize"] = figsize


def show_images(
    imgs: Iterable[Any],
    num_rows: int,
    num_cols: int,
    titles: Sequence[str] | None = None,
    scale: float = 1.5,
) -> Any:
    """Shows images in rows.

    Args:
      imgs: Each `(H, W)`, `(H, W, 1)` or `(H, W, 3)`.
      num_rows: Rows of images.
      num_cols: Images a row.
      titles: A title each; None for none.
      scale: Inches an image.

    Returns:
      The matplotlib axes, `(num_rows * num_cols,)`.
    """
    size = (num_cols * scale, num_rows * scale * (1.2 if titles else 1))
    figure, grid = plt.subplots(num_rows, num_cols, figsize=size, squeeze=False)
    axes = grid.ravel()
    for one in axes:
        one.set_axis_off()
    for index, (one, image) in enumerate(zip(axes, imgs, strict=False)):
        one.imshow(np.squeeze(image), cmap="gray")
        if titles and index < len(titles):
            one.set_title(titles[index], fontsize=9)
    figure.tight_layout()
    return axes
