"""What the comments of layer-parameter files tell: Krizhevsky's notes on his runs."""

import re
from collections.abc import Iterable
from typing import NamedTuple

# Negative log-probability, top-1 and top-5 error: `1.741473, 0.406640, 0.182100`.
_RESULT = re.compile(r"\d\.\d{4,},\s*(0\.\d{4,}),\s*(0\.\d{4,})")
# Of the examples: `26% error on CIFAR-10 in 80 seconds`.
_PERCENT = re.compile(r"(\d+)% error on CIFAR-10")
_CHANGE = re.compile(
    r"epoch\s+(\d+(?:\.\d+)?):.*\b(?:epsw|epstw|eps|rates?)\b", re.IGNORECASE
)


class ErrorRate(NamedTuple):
    """A result in a comment.

    Attributes:
      top1: Fraction of images, in [0, 1].
      top5: Likewise; None if only one is told.
    """

    top1: float
    top5: float | None


def error_rates(comments: Iterable[str]) -> list[ErrorRate]:
    """Returns the error rates that comments tell, in their order."""
    found: dict[ErrorRate, None] = {}  # two files may tell the same
    for line in comments:
        for match in _RESULT.finditer(line):
            found[ErrorRate(float(match[1]), float(match[2]))] = None
        for match in _PERCENT.finditer(line):
            found[ErrorRate(int(match[1]) / 100, None)] = None
    return [*found]


def rate_changes(comments: Iterable[str]) -> list[str]:
    """Returns the comments that tell when learning rates were changed, by epoch.

    Rates were changed by hand as a run went on, so the file as it was left has those of
    its last stage.
    """
    found = [(match, line) for line in comments if (match := _CHANGE.search(line))]
    # Notes of an earlier run may stand below.
    found.sort(key=lambda one: float(one[0][1]))
    return [line for _, line in found]
