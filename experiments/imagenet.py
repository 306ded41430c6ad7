"""The recipes that AlexNets were trained by on ImageNet 2012.

  python -m alexnet_jax.main --config=experiments/imagenet.py[:VARIANT]

All but `smoke` need --config.data.manual_dir=DIR, which holds ILSVRC2012_img_train.tar
and ILSVRC2012_img_val.tar, or what `python -m alexnet_jax.data.prepare
imagenet2012_256` made of them. The colors are those that Krizhevsky published, the
mean image has the averages of his by channel, unless `python -m
alexnet_jax.data.statistics imagenet2012_256` was run before. Published are errors on
the 50,000 validation images, in percent: top-1 / top-5.

`paper` (the default): as the text has it. The rate is divided by 10, three times, when
  the validation error stops improving; how long to wait is not said. The text says
  nothing of biases: they learn at twice the rate, as in its code, and color noise is
  the code's, by the square roots of the eigenvalues that the text has.
  Published: 40.7 / 18.2, ten views. Not yet run.
`2012`: configuration 145, which is what was run: its network, its rates by epoch, one
  crop and one mirroring for 32 images at a time, no color noise after epoch 67.
  Published: 40.66 / 18.21, ten views. Not yet run.
`caffe`: bvlc_alexnet, from warped images, blue first, 450,000 steps of 256.
  Published: 42.9 / 19.8, center (at step 360,000). Not yet run.
`torchvision`: its reference recipe. Crops are cut from the middle square, and not from
  all of the image as there.
  Published: 43.48 / 20.93, center. Not yet run.
`one_weird_trick`: cuda-convnet2's network on one GPU, in four steps of the rate.
  Published: 40.42 / 18.15, ten views; 42.55 / 19.81, center. Not yet run.
`smoke`: a small network on drawn shapes, which needs no ImageNet and uses the same
  pipeline: JPEG files in class folders, prepared, streamed, augmented, evaluated on ten
  views. It writes to runs/imagenet-smoke only.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError

VARIANTS = ("paper", "2012", "caffe", "torchvision", "one_weird_trick", "smoke")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config of a variant; "" is `paper`."""
    variant = variant or VARIANTS[0]
    if variant not in VARIANTS:
        raise InputError(
            f"imagenet.py: variant must be one of {VARIANTS}; got {variant!r}"
        )
    config = default_config()
    config.name = f"imagenet-{variant}"
    config.num_epochs = 90
    config.model.num_classes = 1_000
    config.data.stored_size = 256
    config.data.name = "imagenet2012_256"
    config.augment.canvas = 256
    config.augment.crop = "random"
    config.augment.mirror = True
    config.optim.momentum = 0.9
    {
        "paper": _paper,
        "2012": _2012,
        "caffe": _caffe,
        "torchvision": _torchvision,
        "one_weird_trick": _one_weird_trick,
        "smoke": _smoke,
    }[variant](config)
    return config


def _krizhevsky(config: ConfigDict) -> None:
    config.augment.color = 0.1
    config.optim.name = "sgd_2012"
    config.optim.weight_decay = 5e-4
    config.eval.views = 10


def _paper(config: ConfigDict) -> None:
    _krizhevsky(config)
    config.model.name = "alexnet_paper"
    config.optim.schedule = "plateau"


def _2012(config: ConfigDict) -> None:
    _krizhevsky(config)
    config.num_epochs = 91
    config.model.name = "alexnet_2012"
    config.augment.shared = 32
    config.augment.color_epochs = 67
    config.optim.schedule = "2012"


def _caffe(config: ConfigDict) -> None:
    config.batch_size = 256
    config.num_train_steps = 450_000
    config.model.name = "alexnet_caffe"
    config.data.image_size = 227
    config.data.fit = "warp"
    config.data.resize = "opencv"
    config.data.scale = "caffe"
    config.optim.name = "sgd_2012"
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "step"
    config.optim.decay_steps = (100_000, 200_000, 300_000, 400_000)


def _torchvision(config: ConfigDict) -> None:
    config.batch_size = 256
    config.model.name = "alexnet_torchvision"
    config.data.resize = "bilinear"
    config.data.scale = "torchvision"
    config.augment.crop = "random_resized"
    config.optim.weight_decay = 1e-4
    config.optim.schedule = "step"
    config.optim.decay_epochs = (30, 60)


def _one_weird_trick(config: ConfigDict) -> None:
    _krizhevsky(config)
    config.model.name = "alexnet_one_weird_trick"
    config.optim.schedule = "one_weird_trick"


def _smoke(config: ConfigDict) -> None:
    _krizhevsky(config)
    config.batch_size = 16
    config.num_epochs = 4
    config.model.name = "alexnet_2012"
    config.model.num_classes = 4
    config.model.width = 0.125
    config.model.init = "lecun"  # the weights of 2012 are too small for so few maps
    config.data.name = "shapes"
    config.data.data_dir = "runs/imagenet-smoke/data"
    config.optim.learning_rate = 0.001
    config.log.every_steps = 2
