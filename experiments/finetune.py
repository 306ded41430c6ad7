"""From the digits to Fashion-MNIST: does what digits taught help with few images?

  python -m alexnet_jax.main --config=experiments/digits.py
  python -m alexnet_jax.main --config=experiments/finetune.py[:VARIANT] --seeds=0,1,2

The first trains the half-width AlexNet on 1,500 digits, in `runs/digits`. The second
sees 4,800 images of Fashion-MNIST, each once, in 300 steps of 16, and is tested on all
10,000. Both sets are gray and have ten classes, so all layers would fit; fc8, which
knows digits, is drawn fresh.

`whole` (the default): conv1 to fc7 start from the digits; all layers learn as in
  `scratch`. Not yet run.
`caffe`: a tenth of that rate in conv1 to fc7, Caffe's recipe. Not yet run.
`frozen`: the convolutions stay as the digits left them. Not yet run.
`scratch`: all layers drawn fresh. Not yet run.

About three minutes each on two CPU cores (estimated from results/fashion-half). At half
that width and 67×67 pixels, where one takes half a minute: 0.7318, 0.7057, 0.5925 and
0.6520 (CPU, one seed, 2026-11-27, jax 0.10.2, flax 0.12.8).
"""

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError

VARIANTS = ("whole", "caffe", "frozen", "scratch")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config of a variant; "" is `whole`."""
    variant = variant or VARIANTS[0]
    if variant not in VARIANTS:
        raise InputError(
            f"finetune.py: variant must be one of {VARIANTS}; got {variant!r}"
        )
    config = default_config()
    config.name = f"finetune-{variant}"
    config.batch_size = 16
    config.num_train_steps = 300
    config.model.name = "alexnet_half"
    config.model.init = "lecun"  # as digits.py
    config.optim.learning_rate = 0.01
    config.optim.momentum = 0.9
    if variant != "scratch":
        config.checkpoint.init_from = "runs/digits"
        config.checkpoint.init_layers = ("conv*", "fc6", "fc7")
    if variant == "caffe":
        config.optim.learning_rate = 0.001
        config.optim.rates = {"fc8": 10.0}
    if variant == "frozen":
        config.optim.freeze = "conv*"
    config.log.every_steps = 10
    return config
