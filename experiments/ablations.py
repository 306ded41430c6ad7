"""The paper's ablations: the network of 2012 with one of its parts exchanged.

  python -m alexnet_jax.main --config=experiments/ablations.py[:VARIANT]
  python -m benchmarks.ablations       every variant, three seeds each, and their table

Each variant is `baseline` (configuration 145) with one field of the model changed. In
points of top-1 / top-5 error on ImageNet, ten views, against configuration 145:

`no_lrn`: no response normalization, +1.37 / +1.15 (run 148; the paper: 1.4 / 1.2).
`pool_2x2`: pools that do not overlap, +0.39 / +0.30 (run 147; 0.4 / 0.3).
`one_tower`: half the maps, +1.70 / +1.23 (run 145-half, ImageNet 2010; 1.7 / 1.2).
`no_links`: towers that meet in fc8 only, +1.16 / +1.12 (run 150; not in the paper).
`tanh`: instead of ReLU. In the paper's figure 1, on CIFAR-10 and with another network,
  ReLU reaches 25 % training error in a sixth of the epochs.
`no_dropout`: the paper says that it overfits, and gives no figure.
`batch_norm`, `average_pool`: as in later and in earlier networks; no figure.

Full width, batch 128, ten epochs, the rate lowered after epochs 7 and 9: made for a
GPU, and not yet run. At a quarter of the width, 128×128 pixels, batch 32 and one epoch
the baseline has 0.8521 ± 0.0058 test accuracy on CPU cores (three seeds, 2026-11-22,
jax 0.10.2, flax 0.12.8; results/ablations has all variants). At half the width,
112×112, batch 128 and three epochs it has 0.8841 ± 0.0016, and neither `no_lrn` nor
`pool_2x2` differs from it by a sign that two seeds share (2026-11-28;
results/ablations-half).
"""

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError

CHANGES: dict[str, dict[str, str | float | bool]] = {
    "baseline": {},
    "no_lrn": {"normalization": "none"},
    "pool_2x2": {"pooling": "2x2"},
    "one_tower": {"name": "alexnet_2012_one_gpu"},
    "no_links": {"links": False},
    "tanh": {"activation": "tanh"},
    "no_dropout": {"dropout_rate": 0.0},
    "batch_norm": {"normalization": "batch"},
    "average_pool": {"pooling": "average"},
}
VARIANTS = tuple(CHANGES)


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config of a variant; "" is `baseline`."""
    variant = variant or VARIANTS[0]
    if variant not in VARIANTS:
        raise InputError(
            f"ablations.py: variant must be one of {VARIANTS}; got {variant!r}"
        )
    config = default_config()
    config.name = f"ablations-{variant}"
    config.model.name = "alexnet_2012"
    config.model.update(CHANGES[variant])
    config.optim.name = "sgd_2012"
    config.optim.learning_rate = 0.01
    config.optim.momentum = 0.9
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "step"
    config.optim.decay_epochs = (7, 9)
    config.checkpoint.keep = 1
    config.log.every_steps = 20
    config.log.gradients = True
    return config
