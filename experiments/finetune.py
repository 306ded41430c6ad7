"""From the digits to Fashion-MNIST: does what digits taught help with few images?

  python -m alexnet_jax.main --config=experiments/digits.py
  python -m alexnet_jax.main --config=experiments/finetune.py[:VARIANT] --seeds=0,1,2

The first trains the half-width AlexNet on 1,500 digits, in `runs/digits`. The second
sees 4,800 images of Fashion-MNIST, each once, in 300 steps of 16, and is tested on all
10,000. Both sets are gray and have ten classes, so all layers would fit; fc8, which
knows digits, is drawn fresh.

`whole` (the default): conv1 to fc7 start from the digits; all layers learn as in
  `scratch`. 71.70 ± 2.96 %.
`caffe`: a tenth of that rate in conv1 to fc7, Caffe's recipe. 72.94 ± 0.65 %.
`frozen`: the convolutions stay as the digits left them. 68.75 ± 1.36 %.
`scratch`: all layers drawn fresh. 73.86 ± 2.25 %.

So the digits help at the start (mean training loss of steps 1 to 50: 1.74 with `caffe`,
2.14 from scratch) and not at the end: three seeds show no difference between `whole`,
`caffe` and `scratch`, and frozen convolutions cost five points.

Test top-1, mean and standard deviation of three seeds; results/finetune-*. Two CPU
cores with much else on them, 3 to 7 minutes each, 2026-11-27, jax 0.10.2, flax 0.12.8.
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
