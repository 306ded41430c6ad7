"""Half-width AlexNet on UCI's digits, bundled, at 224×224: nothing to download.

`make quickstart`, or `python -m alexnet_jax.main --config=experiments/digits.py`. About
90 s on two CPU cores; 0.9327 ± 0.0187 test accuracy over 3 seeds (2026-11-26, version
0.2.0, jax 0.10.2, flax 0.12.8; results/digits).
"""

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; there are no variants."""
    if variant:
        raise InputError(f"digits.py: there are no variants; got {variant!r}")
    config = default_config()
    config.name = "digits"
    config.batch_size = 16
    config.num_epochs = 4
    config.model.name = "alexnet_half"
    # With PyTorch's initialization it would stay on the plateau for hundreds of steps.
    config.model.init = "lecun"
    config.data.name = "digits"
    config.optim.momentum = 0.9
    config.optim.schedule = "cosine"
    config.eval.batch_size = 297
    config.log.every_steps = 10
    return config
