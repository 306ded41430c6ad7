"""AlexNet on Fashion-MNIST, upsampled to 224×224.

  python -m alexnet_jax.main --config=experiments/fashion.py[:VARIANT]

`d2l` (the default): d2l.ai §8.1, batch 128, 10 epochs, SGD at 0.01.
  Published: 0.8824 test accuracy after 10 epochs, 279 s on a GPU; here 0.8815, at best
  0.8822 after 9 (two CPU cores, 2.3 h, one seed, 2026-11-28, version 0.2.0, jax
  0.10.2, flax 0.12.8; results/fashion-d2l).
`seed003`: a PyTorch tutorial's network (`alexnet_fashion`) and rate, 0.1.
  Published: 0.9047 after 10 epochs, at best 0.9135 after 9; here 0.9097, which is the
  best (two CPU cores, shared, 3.4 h, one seed, 2026-11-28, version 0.2.0, jax 0.10.2,
  flax 0.12.8; results/fashion-seed003).
`half`: half the width, SGD at 0.01, momentum 0.9, weight decay 5e-4.
  Published: about 0.90 after 10 epochs. With `--config.model.init=lecun` 0.9159, at
  best 0.9203 after 8 (CPU, one seed, 2026-11-22, version 0.1.0;
  results/fashion-half).
`augmented`: `half`, each image resized to 256×256; training sees random 224×224 crops,
  every other one mirrored, and the test the center; with `--config.eval.views=10` the
  mean over ten views. Not yet run at this size. At half
  the width, 112 of 128 pixels, batch 64, three epochs and a cosine: 0.8650 ± 0.0015
  (ten views 0.8679), where images as they are give 0.8944 ± 0.0006, mirrors alone
  0.8894 ± 0.0025 and crops alone 0.8756 ± 0.0030 (CPU, two seeds, 2026-11-22, jax
  0.10.2, flax 0.12.8; results/augment-*).
`smoke`: `half` with 20 steps of 32 images, to check that everything works.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError

VARIANTS = ("d2l", "seed003", "half", "augmented", "smoke")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config of a variant; "" is `d2l`."""
    variant = variant or VARIANTS[0]
    if variant not in VARIANTS:
        raise InputError(
            f"fashion.py: variant must be one of {VARIANTS}; got {variant!r}"
        )
    config = default_config()
    config.name = f"fashion-{variant}"
    config.checkpoint.every_seconds = 60.0  # on a GPU an epoch is seconds
    if variant == "seed003":
        config.model.name = "alexnet_fashion"
        config.optim.learning_rate = 0.1
    if variant in ("half", "augmented", "smoke"):
        config.model.name = "alexnet_half"
        config.optim.momentum = 0.9
        config.optim.weight_decay = 5e-4
    if variant == "augmented":
        config.augment.canvas = 256
        config.augment.crop = "random"
        config.augment.mirror = True
    if variant == "smoke":
        config.batch_size = 32
        config.num_train_steps = 20
        config.log.every_steps = 5
    return config
