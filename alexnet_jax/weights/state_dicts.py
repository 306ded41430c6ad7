"""State dicts: where a checkpoint has its own, and the names in it."""

from collections.abc import Iterable, Mapping
from typing import Any

from alexnet_jax.weights.source import NotRead

# As PyTorch's example, torchvision's script and PyTorch's tutorials save checkpoints.
_KEYS = ("state_dict", "model_state_dict", "model")
# What `DataParallel` and `torch.compile` put before, or between, names of layers.
_WRAPPERS = ("module", "_orig_mod")


def unwrap(found: Any) -> Any:
    """Returns the state dict in a checkpoint; what is none, as it is."""
    for key in _KEYS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    return found


def plain_names(names: Iterable[Any]) -> dict[str, str]:
    """Returns the names of arrays without those of wrappers, by those with.

    Raises:
      NotRead: Two arrays are then of one name.
    """
    found: dict[str, str] = {}
    seen: dict[str, str] = {}
    split = {
        name: [one for one in name.split(".") if one not in _WRAPPERS]
        for name in map(str, names)
    }
    # Lightning's, in the module that trains the network, are called so in front.
    is_inner = all(parts[:1] == ["model"] for parts in split.values())
    for name, parts in split.items():
        plain = ".".join(parts[is_inner:]) or name
        if plain in seen:
            raise NotRead(
                f"a file of two networks: it holds {seen[plain]!r:.60} and "
                f"{name!r:.60}; save the state dict of one"
            )
        found[name] = plain
        seen[plain] = name
    return found
