"""What cuda-convnet's layers compute, written out plainly, each tower by itself."""

import math

import jax.numpy as jnp


def conv(x, kernel, bias, stride=1, pad=0):
    """A convolution whose last windows may hang over the end."""
    size = kernel.shape[0]
    return sum(
        jnp.einsum("bhwc,cf->bhwf", part, kernel[row, column])
        for row, column, part in windows(x, size, stride, pad, 0.0)
    ) + bias.reshape((1, 1, 1, -1))


def local(x, kernel, bias, stride=1, pad=0):
    """A convolution with a kernel at each place, `(H', W', size, size, C, F)`."""
    return sum(
        jnp.einsum("bhwc,hwcf->bhwf", part, kernel[:, :, row, column])
        for row, column, part in windows(x, kernel.shape[2], stride, pad, 0.0)
    ) + bias.reshape((1, *bias.shape))


def max_pool(x, size=3, stride=2, start=0):
    """Maxima over windows of which the last may hang over the end."""
    parts = windows(x, size, stride, -start, -jnp.inf, end=0)
    return jnp.stack([part for *_, part in parts]).max(0)


def avg_pool(x, size=3, stride=2):
    """Means over the pixels of a window that there are."""
    ones = jnp.ones_like(x)
    totals = sum(part for *_, part in windows(x, size, stride, 0, 0.0))
    return totals / sum(part for *_, part in windows(ones, size, stride, 0, 0.0))


def windows(x, size, stride, pad, fill, end=None):
    """Yields for each place in a window all windows' values there."""
    end = pad if end is None else end
    height = x.shape[1]
    count = 1 + math.ceil((height + pad + end - size) / stride)
    after = (count - 1) * stride + size - height - pad
    edges = ((0, 0), (pad, max(after, 0)), (pad, max(after, 0)), (0, 0))
    padded = jnp.pad(x, edges, constant_values=fill)
    last = stride * (count - 1) + 1
    for row in range(size):
        for column in range(size):
            rows, columns = (slice(i, i + last, stride) for i in (row, column))
            yield row, column, padded[:, rows, columns]


def norm(x, size=5, scale=0.5, power=0.75, k=1.0):
    """Normalization across maps."""
    count = x.shape[-1]
    sums = []
    for i in range(count):
        own = range(max(i - size // 2, 0), min(i - size // 2 + size, count))
        sums.append(sum(x[..., j] ** 2 for j in own))
    return x * (k + scale / size * jnp.stack(sums, -1)) ** -power


def map_norm(x, size=3, scale=0.5, power=0.75):
    """Normalization within maps."""
    parts = [part for *_, part in windows(x * x, size, 1, size // 2, 0.0)]
    return x * (1.0 + scale / size**2 * sum(parts)) ** -power


def flat(x):
    """Units of maps."""
    return x.reshape((x.shape[0], -1))


def relu(x):
    """ReLU."""
    return jnp.maximum(x, jnp.float32(0))


def tower(array, place, towers=2):
    """A tower's part of an array's last axis."""
    width = array.shape[-1] // towers
    return array[..., place * width : (place + 1) * width]
