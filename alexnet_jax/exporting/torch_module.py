"""Writes a network for PyTorch: a state dict, and a module's source that takes it.

The source needs PyTorch alone. torchvision's AlexNet keeps torchvision's names; all
other networks have Caffe's, `conv1.weight` to `fc8.bias`.

Source: pytorch/vision, torchvision/models/alexnet.py.
"""

import io
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.atomic import atomic_write, write_file
from alexnet_jax.exporting import kinds
from alexnet_jax.exporting.kinds import Operation
from alexnet_jax.exporting.libraries import require
from alexnet_jax.exporting.torch_layers import HELPERS, constructor, notes_of, padding

WEIGHTS_FILE, SOURCE_FILE = "model.pth", "network.py"
TORCHVISION = "alexnet_torchvision"
_MAX_WIDTH = 88  # of a line of network.py


class _Writer(io.FileIO):
    """A file whose errors are raised when it is closed.

    PyTorch makes a `RuntimeError` of its own of them, without the reason.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file for writing."""
        super().__init__(path, "wb")
        self._error: OSError | None = None

    def write(self, content: Any) -> int:
        """Writes all bytes, unless an error occurred."""
        try:
            rest = memoryview(content).cast("B")
            size = len(rest)
            while rest and self._error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return size

    def close(self) -> None:
        """Closes the file.

        Raises:
          OSError: Of the first write that failed.
        """
        super().close()
        error, self._error = self._error, None
        if error is not None:
            raise error


def write_torch(
    folder: Path, network: str, operations: Sequence[Operation]
) -> list[str]:
    """Writes `model.pth`, a dict of tensors, and `network.py`, which it fits.

    Args:
      folder: Where they are written; it must exist.
      network: Its registered name, or any other.
      operations: From `list_operations`.

    Returns:
      A line for each layer that is written by other modules than its own.

    Raises:
      InputError: PyTorch is not installed.
      OSError: A file cannot be written.
    """
    torch = require("torch")
    tensors = OrderedDict(
        (name, torch.from_numpy(np.require(array, np.float32, ["C", "W"])))
        for name, array in state_dict_names(network, operations).items()
    )
    # To a file: of a path, its random name would stand in the archive.
    with atomic_write(folder / WEIGHTS_FILE) as path, _Writer(path) as file:
        torch.save(tensors, file)
    write_file(folder / SOURCE_FILE, module_source(network, operations))
    return [note for operation in operations for note in notes_of(operation)]


def state_dict_names(
    network: str, operations: Sequence[Operation]
) -> dict[str, np.ndarray]:
    """Returns the arrays by their names in PyTorch.

    BatchNorm's count of steps is not among them: PyTorch takes it to be 0.

    Args:
      network: Its registered name, or any other.
      operations: From `list_operations`.
    """
    parts = ("weight", "bias", "running_mean", "running_var")
    arrays: dict[str, np.ndarray] = {}
    for layers in _layout(network, operations).values():
        for name, operation in layers:
            found = [
                getattr(operation, field, None)
                for field in ("weight", "bias", "mean", "variance")
            ]
            arrays |= {
                f"{name}.{part}": array
                for part, array in zip(parts, found, strict=True)
                if array is not None
            }
    return arrays


def module_source(network: str, operations: Sequence[Operation]) -> str:
    """Returns the text of `network.py`, whose `create_network()` makes the module.

    The state dict fits it strictly. It trains too: with dropout, and with BatchNorm's
    statistics.

    Args:
      network: Its registered name, or any other.
      operations: From `list_operations`.
    """
    body = (
        _torchvision_source(network, operations)
        if network == TORCHVISION
        else _sequential_source(operations)
    )
    helpers = [text for word, text in HELPERS.items() if f" {word}(" in body]
    channels, height, width = operations[0].input_shape
    (classes,) = operations[-1].output_shape
    imports = ["import torch", "from torch import nn"]
    if "OrderedDict" in body:
        imports = ["from collections import OrderedDict", "", *imports]
    if "torch." not in "".join((*helpers, body)):
        imports.remove("import torch")
    # A `cfg:` network is named after a file, whose name may hold anything.
    title = network.encode("unicode_escape").decode().replace('"', '\\"')
    head = f'''"""{title} in PyTorch, as alexnet_jax wrote it; it needs PyTorch alone.

    import torch
    from network import create_network

    network = create_network()
    network.load_state_dict(torch.load("{WEIGHTS_FILE}", weights_only=True))
    network.eval()
    logits = network(images)

Images are (N, {channels}, {height}, {width}) float32, preprocessed as the run's were;
logits are (N, {classes}). Comments are the shapes of a layer's output.
"""'''
    return "\n\n\n".join(["\n".join([head, "", *imports]), *helpers, body]) + "\n"


def _layout(
    network: str, operations: Sequence[Operation]
) -> dict[str, list[tuple[str, Operation]]]:
    """Returns the parts of the module, with the names of what is in each."""
    if network != TORCHVISION:
        return {"": [(operation.name, operation) for operation in operations]}
    parts: dict[str, list[tuple[str, Operation]]] = {"features": [], "classifier": []}
    part = "features"
    for operation in operations:
        if isinstance(operation, kinds.AdaptivePool | kinds.Flatten):
            part = "classifier"
            continue
        parts[part].append((f"{part}.{len(parts[part])}", operation))
    return parts


def _sequential_source(operations: Sequence[Operation]) -> str:
    lines = ["    layers = OrderedDict()"]
    for operation in operations:
        if pad := padding(operation):
            lines.append(f'    layers["{operation.name}_pad"] = {pad}')
        made = f'    layers["{operation.name}"] = {constructor(operation)}'
        lines += _commented(made, operation)
    return "\n".join(
        [
            "def create_network() -> nn.Sequential:",
            '    """Returns the network, with weights drawn by PyTorch."""',
            *lines,
            "    return nn.Sequential(layers)",
        ]
    )


def _torchvision_source(network: str, operations: Sequence[Operation]) -> str:
    parts = _layout(network, operations)
    lines: list[str] = []
    for part, names in parts.items():
        lines.append(f"        self.{part} = nn.Sequential(")
        for _, operation in names:
            lines += _commented(f"            {constructor(operation)},", operation)
        lines.append("        )")
        if part == "features":
            lines.append("        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))")
    return f'''class AlexNet(nn.Module):
    """torchvision's AlexNet, by the same names."""

    def __init__(self) -> None:
        """Draws the weights as PyTorch does."""
        super().__init__()
{chr(10).join(lines)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images to logits."""
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def create_network() -> AlexNet:
    """Returns the network, with weights drawn by PyTorch."""
    return AlexNet()'''


def _commented(line: str, operation: Operation) -> list[str]:
    """Returns a line with its output's shape, in a line before it if it is long."""
    shape = "×".join(map(str, operation.output_shape))
    whole = f"{line}  # {shape}"
    if len(whole) <= _MAX_WIDTH:
        return [whole]
    indent = line[: len(line) - len(line.lstrip())]
    comment = f"{indent}# {shape}"
    if len(line) <= _MAX_WIDTH:
        return [comment, line]
    head, _, rest = line.partition("(")
    arguments, _, tail = rest.rpartition(")")
    return [comment, f"{head}(", f"{indent}    {arguments}", f"{indent}){tail}"]
