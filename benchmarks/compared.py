"""What the sides of a comparison have in common: networks, and a step ready to run."""

from collections.abc import Callable
from typing import NamedTuple

SIZES = {  # of the images
    "alexnet_d2l": 224,
    "alexnet_paper": 224,
    "alexnet_torchvision": 224,
    "alexnet_half": 224,
    "lenet5": 28,
}


class Step(NamedTuple):
    """A step that is ready to run.

    Attributes:
      run: Starts it.
      wait: Returns when all that was started is done; of JAX, the state.
      compile_s: Seconds that it took to trace and compile; of PyTorch's, the first.
      device_gb: Returns the most memory of the GPU so far; None on a CPU.
      kernels: Returns how many kernels so many steps run on the device; None if unseen.
      hlo: XLA's program.
    """

    run: Callable[[], object]
    wait: Callable[[], object]
    compile_s: float
    device_gb: Callable[[], float | None]
    kernels: Callable[[int], float | None]
    hlo: str = ""
