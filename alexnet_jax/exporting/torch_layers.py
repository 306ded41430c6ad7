"""Layers as lines of PyTorch: its own modules, or small classes for want of one."""

from collections.abc import Callable
from typing import Any

from alexnet_jax.exporting import kinds
from alexnet_jax.exporting.kinds import Operation

# What PyTorch has no module for, by the class's name.
HELPERS = {
    "TowerNorm": '''class TowerNorm(nn.Module):
    """Response normalization for each of several groups of maps by itself."""

    def __init__(self, groups: int, size: int, alpha: float, beta: float, k: float):
        """Takes the groups, and what nn.LocalResponseNorm takes."""
        super().__init__()
        self.groups = groups
        self.norm = nn.LocalResponseNorm(size, alpha, beta, k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalizes (N, C, H, W)."""
        return torch.cat([self.norm(part) for part in x.chunk(self.groups, 1)], 1)''',
    "MapNorm": '''class MapNorm(nn.Module):
    """x / (1 + alpha * mean of squares) ** beta over windows of the same map."""

    def __init__(self, size: int, alpha: float, beta: float):
        """Takes the window's side; zeros beyond the edge count in the mean."""
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalizes (N, C, H, W)."""
        mean = nn.functional.avg_pool2d(x * x, self.size, 1, self.size // 2)
        return x / (1 + self.alpha * mean) ** self.beta''',
    "MaskDropout": '''class MaskDropout(nn.Module):
    """Dropout of 2012: a mask in training, and all times 1 - p at test."""

    def __init__(self, p: float):
        """Takes the share that is dropped."""
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps the shape."""
        if not self.training:
            return x * (1 - self.p)
        return x * (torch.rand_like(x) >= self.p)''',
}
_ACTIVATIONS = {
    "relu": "nn.ReLU()",
    "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()",
    "softmax": "nn.Softmax(dim=1)",
}


def constructor(operation: Operation) -> str:
    """Returns the expression that makes an operation's module."""
    return _CONSTRUCTORS[type(operation)](operation)


def padding(operation: Operation) -> str:
    """Returns the module of zeros that a convolution wants first; empty if none."""
    if not isinstance(operation, kinds.Convolution) or _is_even(operation):
        return ""
    (top, bottom), (left, right) = operation.pads
    return f"nn.ZeroPad2d({(left, right, top, bottom)})"


def notes_of(operation: Operation) -> list[str]:
    """Returns what is to be said of how an operation is written."""
    notes: list[str] = []
    if isinstance(operation, kinds.Convolution):
        if operation.is_dense:
            notes.append(kinds.IN_GROUPS)
        if operation.rounds_up and padding(operation):
            (_, bottom), (_, right) = operation.pads
            notes.append(kinds.rounded_up(bottom, right, "zeros"))
    elif isinstance(operation, kinds.ResponseNorm) and operation.groups > 1:
        notes.append(f"{operation.groups} groups; written as the class TowerNorm")
    elif isinstance(operation, kinds.MapNorm):
        notes.append("written as the class MapNorm")
    elif isinstance(operation, kinds.Dropout) and operation.mask:
        notes.append("dropout of 2012; written as the class MaskDropout")
    return [f"{operation.name}: {note}" for note in notes]


def _is_even(conv: kinds.Convolution) -> bool:
    """Whether there are as many zeros on one side as on the other."""
    return all(before == after for before, after in conv.pads)


def _same(pair: tuple[int, int]) -> int | tuple[int, int]:
    return pair[0] if pair[0] == pair[1] else pair


def _convolution(conv: kinds.Convolution) -> str:
    made, read, height, width = conv.weight.shape
    words = [f"{read * conv.groups}, {made}, {_same((height, width))}"]
    if conv.strides != (1, 1):
        words.append(f"stride={_same(conv.strides)}")
    (top, _), (left, _) = conv.pads
    if _is_even(conv) and (top or left):
        words.append(f"padding={_same((top, left))}")
    if conv.dilations != (1, 1):
        words.append(f"dilation={_same(conv.dilations)}")
    if conv.groups > 1:
        words.append(f"groups={conv.groups}")
    if conv.bias is None:
        words.append("bias=False")
    return f"nn.Conv2d({', '.join(words)})"


def _dense(dense: kinds.Dense) -> str:
    made, read = dense.weight.shape
    return f"nn.Linear({read}, {made}{', bias=False' * (dense.bias is None)})"


def _batch_norm(norm: kinds.BatchNorm) -> str:
    axes = 2 if len(norm.input_shape) == 3 else 1
    kept = round(1 - norm.momentum, 12)  # PyTorch's is the share of the new
    return f"nn.BatchNorm{axes}d({norm.input_shape[0]}, {norm.epsilon}, {kept})"


def _response_norm(norm: kinds.ResponseNorm) -> str:
    settings = f"{norm.size}, {norm.alpha:.9g}, {norm.beta}, {norm.k}"
    if norm.groups > 1:
        return f"TowerNorm({norm.groups}, {settings})"
    return f"nn.LocalResponseNorm({settings})"


def _map_norm(norm: kinds.MapNorm) -> str:
    return f"MapNorm({norm.size}, {norm.alpha}, {norm.beta})"


def _pool(pool: kinds.Pool) -> str:
    ceil = ", ceil_mode=True" * pool.rounds_up
    kind = "Avg" if pool.average else "Max"
    return f"nn.{kind}Pool2d({pool.size}, {pool.stride}{ceil})"


def _adaptive_pool(pool: kinds.AdaptivePool) -> str:
    return f"nn.AdaptiveAvgPool2d({pool.output_shape[1:]})"


def _activation(activation: kinds.Activation) -> str:
    return _ACTIVATIONS[activation.function]


def _dropout(dropout: kinds.Dropout) -> str:
    return f"{'MaskDropout' if dropout.mask else 'nn.Dropout'}({dropout.rate})"


def _flatten(flatten: kinds.Flatten) -> str:
    return "nn.Flatten()"


_CONSTRUCTORS: dict[type[Operation], Callable[[Any], str]] = {
    kinds.Convolution: _convolution,
    kinds.Dense: _dense,
    kinds.BatchNorm: _batch_norm,
    kinds.ResponseNorm: _response_norm,
    kinds.MapNorm: _map_norm,
    kinds.Pool: _pool,
    kinds.AdaptivePool: _adaptive_pool,
    kinds.Activation: _activation,
    kinds.Dropout: _dropout,
    kinds.Flatten: _flatten,
}
