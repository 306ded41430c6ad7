"""The experiments that come with the package, found by name from anywhere."""

import difflib
import functools
import os
from pathlib import Path


@functools.cache
def experiments() -> dict[str, Path]:
    """Returns the config files that come with the package, by their names.

    They lie in `experiments/` of a checkout, and in the package where it is installed.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "experiments", package.parent / "experiments"):
        if found := sorted(folder.glob("*.py")):
            return {path.stem: path for path in found}
    return {}


def find_experiment(path: str) -> str:
    """Returns the path of a config file: a file that is there, or one of the package.

    Args:
      path: A path, or `NAME`, `NAME.py` or `experiments/NAME.py` of an experiment. One
        that is neither is returned as it is.
    """
    folder, name = os.path.split(path)
    known = experiments().get(name.removesuffix(".py"))
    if known is None or folder not in ("", "experiments") or os.path.isfile(path):
        return path
    return str(known)


def config_hint(path: str) -> str:
    """Says which config can be had instead of one that cannot be read."""
    known = experiments()
    if not known:
        return "give a file whose get_config(variant='') returns a config"
    near = difflib.get_close_matches(Path(path).stem, known, n=1)
    if near:
        return f"try --config={near[0]}"
    return f"try --config=digits (experiments: {', '.join(known)})"
