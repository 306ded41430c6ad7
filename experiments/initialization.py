"""Do the paper's settings train? Four initializations of the same network.

  python -m alexnet_jax.main --config=experiments/initialization.py[:VARIANT]

The network, the data, the rate and the order of the images are the same; only initial
weights and biases differ: `paper` (the default; N(0, 0.01) everywhere, biases 1 in
conv2, conv4, conv5, fc6 and fc7), `2012` (what was run: N(0, 0.03) in conv3 to conv5),
`caffe` (0.005 in fc6 and fc7, biases 0.1) and `caffenet` (0.005 and 1). Ten minutes
each on two CPU cores. Test accuracy after the 500 steps: 0.7512, 0.7505, 0.7962 and
0.7186 (one seed, 2026-11-21, jax 0.10.2, flax 0.12.8; results/initialization); with
`--config.data.scale=standard`, `paper` and `2012` stay at 0.1000.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError

VARIANTS = ("paper", "2012", "caffe", "caffenet")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config of a variant; "" is `paper`."""
    variant = variant or VARIANTS[0]
    if variant not in VARIANTS:
        raise InputError(
            f"initialization.py: variant must be one of {VARIANTS}; got {variant!r}"
        )
    config = default_config()
    config.name = f"initialization-{variant}"
    config.batch_size = 32
    config.num_train_steps = 500
    config.model.name = "alexnet_paper"
    config.model.init = variant
    config.optim.name = "sgd_2012"
    config.optim.learning_rate = 0.01
    config.optim.momentum = 0.9
    config.optim.weight_decay = 5e-4
    config.log.every_steps = 5
    return config
