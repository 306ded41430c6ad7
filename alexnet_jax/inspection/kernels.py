"""AlexNet's large kernels beside stacks of 3×3 kernels that see as much."""

from typing import NamedTuple

from alexnet_jax.inspection.layers import LayerRow, describe
from alexnet_jax.models.base import AlexNetBase


class Stack(NamedTuple):
    """Convolutions that stand for one.

    Attributes:
      name: Their kernels and strides.
      maps: Their maps, from input to output.
      layers: From `describe`; activations are those of all of them.
    """

    name: str
    maps: str
    layers: list[LayerRow]


class _Stack(AlexNetBase):
    # (maps, kernel, stride, padding, groups) of each convolution.
    convolutions: tuple[tuple[int, int, int, int, int], ...] = ()

    def setup(self) -> None:
        self.net = self.sequential(
            [
                self.conv(f"conv{number}", *settings)
                for number, settings in enumerate(self.convolutions, start=1)
            ]
        )


def _describe(
    input_shape: tuple[int, int, int],
    *convolutions: tuple[int, int, int, int, int],
) -> Stack:
    words = [
        f"{size}×{size}" + (f"/{stride}" if stride > 1 else "")
        for _, size, stride, _, _ in convolutions
    ]
    maps = [input_shape[-1], *(settings[0] for settings in convolutions)]
    layers = describe(_Stack(convolutions=convolutions), (1, *input_shape))
    return Stack(", ".join(words), " → ".join(map(str, maps)), layers)


def compare_kernels() -> list[list[Stack]]:
    """Describes conv1 and conv2 of the paper, each with stacks that replace it.

    A stack sees as many pixels and puts out as many maps of the same size. For conv1
    there are two: strides as early as 11 pixels allow, and all of it at the end.
    """
    image, pooled = (227, 227, 3), (27, 27, 96)
    return [
        [
            _describe(image, (96, 11, 4, 0, 1)),
            _describe(image, *((96, 3, stride, 0, 1) for stride in (2, 1, 2))),
            _describe(image, *((96, 3, stride, 0, 1) for stride in (1, 1, 1, 1, 4))),
        ],
        [
            _describe(pooled, (256, 5, 1, 2, 2)),
            _describe(pooled, (96, 3, 1, 1, 2), (256, 3, 1, 1, 2)),
            _describe(pooled, (256, 3, 1, 1, 2), (256, 3, 1, 1, 2)),
        ],
    ]
