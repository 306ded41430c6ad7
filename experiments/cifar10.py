"""CIFAR-10, by the layer files that were released with cuda-convnet's code.

  export CUDA_CONVNET_DIR=DIR
  python -m alexnet_jax.main --config=experiments/cifar10.py[:VARIANT]

DIR holds the released files as `2012/example-layers/` and `2014/layers/`;
docs/experiments_of_2012.md says where they come from. CIFAR-10 is read as TFDS prepares
it (docs/your_data.md); with `--config.data.name=image_folder
--config.data.manual_dir=FOLDER --config.data.stored_size=32` a folder of its pictures.
Batch 128; rates, momentum and decay of each layer are the files'. A variant is named
after its file, and the file after its test error, but for `80sec`:

`80sec` (the default): 26 %. The file does not say how long; 10 epochs here.
`18pct`: 120 epochs, then 10 at a tenth of all rates and 10 at a hundredth, as its file
  says. `19pct`: the same without normalization within maps, and with three times
  the weight decay in fc10; its file does not say how long.
`11pct`: random 24×24 crops and mirror images, the test averaged over ten views, where
  its program took nine, a grid of 3×3 without mirror images. As its file says 500
  epochs, then 10 at a tenth and 10 at a hundredth; but all five training batches are
  used from the start, where the author held one back for the first 350, and
  biases slow down with the weights. `13pct`, `12pct`: likewise, though their files name
  a page for it that does not come with them; `12pct` was released with the last rates
  of its run and begins with those of `13pct`.

Not yet run. By short runs at 32×32 on two CPU cores, whose logs are not kept, `80sec`
would take some twelve minutes and `18pct` three hours; `11pct` wants a GPU.
"""

import os
from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError

_OF_2012 = "2012/example-layers"
FILES = {
    "80sec": (_OF_2012, "80sec"),
    "18pct": (_OF_2012, "18pct"),
    "19pct": (_OF_2012, "19pct"),
    "13pct": (_OF_2012, "conv-local-13pct"),
    "12pct": (_OF_2012, "conv-local-12pct"),
    "11pct": ("2014/layers", "cifar10-11pct"),
}
VARIANTS = tuple(FILES)
_CROPPED = ("13pct", "12pct", "11pct")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config of a variant; "" is `80sec`."""
    variant = variant or VARIANTS[0]
    if variant not in VARIANTS:
        raise InputError(
            f"cifar10.py: variant must be one of {VARIANTS}; got {variant!r}"
        )
    released = os.environ.get("CUDA_CONVNET_DIR")
    if not released:
        raise InputError(
            "cifar10.py: CUDA_CONVNET_DIR must be set to the folder of cuda-convnet's "
            "released files, which holds 2012/ and 2014/; got none"
        )
    folder, name = FILES[variant]
    config = default_config()
    config.name = f"cifar10-{variant}"
    config.model.name = f"cfg:{Path(released, folder, f'layers-{name}.cfg')}"
    config.optim.params = str(Path(released, folder, f"layer-params-{name}.cfg"))
    config.data.name = "tfds/cifar10"
    config.data.image_size = 32
    config.num_epochs = 10
    config.checkpoint.every_seconds = 60.0  # on a GPU an epoch is seconds
    if variant != "80sec":
        config.optim.learning_rate = 0.001  # the files', but for the last of `12pct`
        config.optim.schedule = "step"
        config.optim.decay_epochs = (120, 130)
        config.num_epochs = 140
    if variant in _CROPPED:
        config.data.image_size = 24
        config.augment.canvas = 32
        config.augment.crop = "random"
        config.augment.mirror = True
        config.eval.views = 10
        config.optim.decay_epochs = (500, 510)
        config.num_epochs = 520
    return config
