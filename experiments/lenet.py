"""LeNet-5 on Fashion-MNIST at 28×28: what AlexNet is compared with.

  python -m alexnet_jax.main --config=experiments/lenet.py

d2l.ai §7.6: batch 128, 10 epochs, SGD at 0.1. Published: 0.7359 test accuracy after 10
epochs, 91 s. Here: 0.7226 ± 0.0105 over 3 seeds, 80 s each on two CPU cores
(2026-11-21, jax 0.10.2, flax 0.12.8; results/lenet).
"""

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; there are no variants."""
    if variant:
        raise InputError(f"lenet.py: there are no variants; got {variant!r}")
    config = default_config()
    config.name = "lenet"
    config.model.name = "lenet5"
    config.data.image_size = 28
    config.optim.learning_rate = 0.1
    return config
