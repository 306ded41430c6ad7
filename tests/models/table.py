"""The table of all networks: a new one is entered here, worked out from its source."""

from typing import NamedTuple

from tests.golden.formula import Case


class Known(NamedTuple):
    """What is known of a network.

    Attributes:
      input_shape: Of its author's images.
      num_classes: Of its author's data.
      params: Weights and biases.
      macs: Multiply-adds an image.
      shapes: Output of every convolution, pool and dense layer, in order.
      scheme: Its author's initialization.
      golden: What it is compared with PyTorch at.
      towers: Parts that can lie on devices of their own.
    """

    input_shape: tuple[int, int, int]
    num_classes: int
    params: int
    macs: int
    shapes: str
    scheme: str
    golden: Case
    towers: int = 1


_PIXELS = Case(90, 0.25, contrast=100.0, learning_rate=1e-6)
_DENSE = "4096 4096 1000"
_GRID = "55×55×{0} 27×27×{0} 27×27×{1} 13×13×{1} 13×13×{2} 13×13×{3} 13×13×{4} 6×6×{4}"
_SMALL = "54×54×96 26×26×96 26×26×256 12×12×256 12×12×384 12×12×384 12×12×256 5×5×256"
TWO_TOWERS = f"{_GRID.format(96, 256, 384, 384, 256)} {_DENSE}"
OF_2014 = f"{_GRID.format(64, 192, 384, 256, 256)} {_DENSE}"
TABLE = {
    "alexnet_d2l": Known(
        (224, 224, 1),
        10,
        46_764_746,
        938_146_176,
        f"{_SMALL} 4096 4096 10",
        "lecun",
        Case(67),
    ),
    "alexnet_paper": Known(
        (224, 224, 3),
        1000,
        60_965_224,
        724_406_816,
        TWO_TOWERS,
        "paper",
        _PIXELS,
        towers=2,
    ),
    "alexnet_2012": Known(
        (224, 224, 3),
        1000,
        60_965_224,
        724_406_816,
        TWO_TOWERS,
        "2012",
        _PIXELS,
        towers=2,
    ),
    "alexnet_2012_one_gpu": Known(
        (224, 224, 3),
        1000,
        59_798_312,
        391_514_384,
        "55×55×48 27×27×48 27×27×128 13×13×128 13×13×192 13×13×192 13×13×256 6×6×256 "
        + _DENSE,
        "2012",
        _PIXELS,
    ),
    "alexnet_2012_conv6": Known(
        (224, 224, 3),
        1000,
        61_555_304,
        745_640_480,
        f"{_GRID.format(96, 256, 384, 384, 256)} 6×6×256 {_DENSE}",
        "2012",
        _PIXELS,
        towers=2,
    ),
    "alexnet_caffe": Known(
        (227, 227, 3),
        1000,
        60_965_224,
        724_406_816,
        TWO_TOWERS,
        "caffe",
        Case(90, 0.25, contrast=10.0, learning_rate=1e-4),
        towers=2,
    ),
    "caffenet": Known(
        (227, 227, 3),
        1000,
        60_965_224,
        724_406_816,
        TWO_TOWERS,
        "caffenet",
        _PIXELS,
        towers=2,
    ),
    "alexnet_one_weird_trick": Known(
        (224, 224, 3),
        1000,
        61_100_840,
        714_188_480,
        OF_2014,
        "one_weird_trick",
        _PIXELS,
    ),
    "alexnet_torchvision": Known(
        (224, 224, 3),
        1000,
        61_100_840,
        714_188_480,
        OF_2014.replace("6×6×256", "6×6×256 6×6×256"),
        "torch",
        Case(63),
    ),
    "alexnet_keras": Known(
        (224, 224, 3),
        1000,
        50_844_008,
        1_009_945_728,
        f"{_SMALL} {_DENSE}",
        "xavier",
        Case(99, 0.25),
    ),
    "alexnet_fashion": Known(
        (224, 224, 1),
        10,
        46_764_746,
        938_146_176,
        f"{_SMALL} 4096 4096 10",
        "torch",
        Case(67),
    ),
    "alexnet_half": Known(
        (224, 224, 3),
        1000,
        16_630_440,
        311_191_824,
        f"{_GRID.format(48, 128, 192, 192, 128)} 2048 2048 1000",
        "torch",
        Case(95),
    ),
    "alexnet_ungrouped": Known(
        (227, 227, 3),
        1000,
        62_378_344,
        1_135_256_096,
        TWO_TOWERS,
        "ungrouped",
        Case(99, 0.25, contrast=10.0, learning_rate=1e-4),
    ),
    "lenet5": Known(
        (28, 28, 1),
        10,
        61_706,
        416_520,
        "28×28×6 14×14×6 10×10×16 5×5×16 120 84 10",
        "xavier",
        Case(28),
    ),
}

# Between them they have every kind of layer.
KINDS = "alexnet_d2l", "alexnet_2012", "caffenet", "alexnet_torchvision", "lenet5"
