"""Writes PyTorch's numbers for `test_golden.py`: logits, loss, gradients, SGD.

python -m tests.golden.make        (wants PyTorch; the tests do not)
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch

from alexnet_jax.models import create_model
from benchmarks.step import torch_network
from tests.golden.formula import LABELS, NETWORKS, images, weights

PATH = Path(__file__).parent / "torch.json"


def main() -> None:
    """Writes `torch.json`."""
    golden = {name: numbers(name) for name in NETWORKS}
    golden["torch"] = torch.__version__
    PATH.write_text(json.dumps(golden, indent=1) + "\n")


def numbers(name: str) -> dict:
    """Runs three steps of SGD in evaluation mode, so without dropout."""
    size, (height, width, channels) = NETWORKS[name]
    network = torch_network(name).eval()
    if name != "lenet5":  # the first dense layer, for the smaller images
        first = next(m for m in network if isinstance(m, torch.nn.Linear))
        place = list(network).index(first)
        network[place] = torch.nn.Linear(height * width * channels, first.out_features)
    model = create_model(name)
    shapes = jax.eval_shape(
        lambda: model.init(
            {"params": jax.random.key(0), "dropout": jax.random.key(0)},
            jnp.zeros((1, size, size, 1)),
        )
    )["params"]
    made = weights(jax.tree.map(lambda leaf: leaf.shape, shapes))
    layers = [m for m in network if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    seen_dense = False
    for layer, (_, parts) in zip(layers, sorted(made.items()), strict=True):
        kernel = parts["kernel"]
        if kernel.ndim == 4:  # HWIO to OIHW
            kernel = kernel.transpose(3, 2, 0, 1)
        elif not seen_dense:  # rows in H, W, C order to C, H, W order
            seen_dense = True
            kernel = kernel.reshape(height, width, channels, -1)
            kernel = kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)
        else:
            kernel = kernel.T
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
            layer.bias.copy_(torch.from_numpy(parts["bias"]))
    image = torch.from_numpy(images(size)).permute(0, 3, 1, 2).contiguous()
    label = torch.tensor(LABELS)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4
    )
    losses, norms = [], []
    for _ in range(3):
        optimizer.zero_grad()
        logits = network(image)
        loss = torch.nn.functional.cross_entropy(logits, label)
        loss.backward()
        losses.append(loss.item())
        if not norms:
            first_logits = logits.tolist()
            norms = [
                [float(part.grad.double().norm()) for part in (m.weight, m.bias)]
                for m in layers
            ]
        optimizer.step()
    return {"logits": first_logits, "gradient_norms": norms, "losses": losses}


if __name__ == "__main__":
    main()
