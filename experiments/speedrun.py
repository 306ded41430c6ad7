"""The shortest way to a given test accuracy on Fashion-MNIST at 224×224.

  python -m alexnet_jax.main --config=experiments/speedrun.py[:VARIANT] --seeds=0,1,2

The network and its images are `fashion.py`'s; initialization, batch and schedule are
free. `time_s` of the last row of `metrics.jsonl` begins after the compilation and
includes every evaluation; only the end is evaluated and saved.

`gpu` (the default): `alexnet_d2l` to a mean of 0.91, the fewest seconds. Not yet run.
`cpu`: `alexnet_half` to 0.90, the fewest epochs: 2 of each of three seeds, to a mean of
  0.9039 (0.0026); with `--config.num_epochs=1` 0.8876 (0.0022) (CPU, 2026-11-28,
  version 0.2.0, jax 0.10.2, flax 0.12.8; results/speedrun-cpu*).
"""

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError

VARIANTS = ("gpu", "cpu")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config of a variant; "" is `gpu`."""
    variant = variant or VARIANTS[0]
    if variant not in VARIANTS:
        raise InputError(
            f"speedrun.py: variant must be one of {VARIANTS}; got {variant!r}"
        )
    config = default_config()
    config.name = f"speedrun-{variant}"
    config.data.scale = "standard"
    config.model.init = "he"
    config.optim.momentum = 0.9
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "cosine"
    config.optim.learning_rate = 0.02
    config.optim.warmup_steps = 200  # after 50 a seed in three does not learn
    if variant == "gpu":
        config.dtype = "bfloat16"
        config.batch_size = 256
        config.num_epochs = 8
    else:
        config.model.name = "alexnet_half"
        config.batch_size = 64
        config.num_epochs = 2
    config.eval.every_epochs = config.checkpoint.every_epochs = config.num_epochs
    config.log.tensorboard = False
    return config
