"""What ImageNet's classes are called, whose names are WordNet's numbers."""

import functools
from collections.abc import Sequence
from pathlib import Path


@functools.cache
def _words() -> dict[str, str]:
    """Returns a name in English by WordNet's number, of the 1,000 classes of 2012.

    Source: pytorch/vision, torchvision/models/_meta.py, in the order of the numbers.
    """
    file = Path(__file__).with_name("imagenet_classes.txt")
    lines = file.read_text("utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def shown_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns classes' names as people read them.

    Args:
      class_names: A data set's. If all are WordNet's numbers of ImageNet's classes,
        each gets its name, as in `tench (n01440764)`; others stay as they are.
    """
    words = _words()
    if not all(name in words for name in class_names):
        return tuple(class_names)
    return tuple(f"{words[name]} ({name})" for name in class_names)
