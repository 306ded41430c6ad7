"""Classes as people name them."""

import difflib
import re
import unicodedata
from collections.abc import Sequence

from alexnet_jax.data.spec import DataSpec
from alexnet_jax.errors import InputError


def find_class(spec: DataSpec, names: Sequence[str], text: str) -> int:
    """Returns the label of a class that a person named.

    Args:
      spec: The data set.
      names: As people read them, of all classes of the network.
      text: A name, as the data set or people have it, in any case and any of Unicode's
        forms, spaces around it aside; or an index from 0 on, where no class is called
        so.

    Raises:
      InputError: There is no such class, the nearest are named; or there are several.
    """
    plain = [name.partition(" (")[0] for name in names]
    for known in (spec.class_names, names, plain):
        for change in (str, _plain):
            wanted = change(text)
            found = [i for i, name in enumerate(known) if change(name) == wanted]
            if len(found) == 1:
                return found[0]
            if found:
                several = ", ".join(f"{names[i]} (index {i})" for i in found[:5])
                raise InputError(
                    f"class: {text!r} names several: {several}; give an index"
                )
    count = len(names)
    number = text.strip()
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", number):
        if number.isdecimal() and len(number) < 10 and int(number) < count:
            return int(number)
        raise InputError(
            f"class must be a name or an index from 0 to {count - 1}; got {text}"
        )
    lower = {_plain(name): name for one in (names, plain) for name in one}
    close = difflib.get_close_matches(_plain(text), lower, n=5, cutoff=0.5)
    near = ", ".join(dict.fromkeys(lower[one] for one in close))
    few = ", ".join(names[:10]) + ", ..." * (count > 10)
    raise InputError(
        f"class: no class is named {text!r}; "
        + (f"the nearest: {near}" if near else f"there are {few}")
    )


def _plain(name: str) -> str:
    """Returns a name as it is compared: composed letters, no case, no spaces around."""
    composed = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", composed).strip()
