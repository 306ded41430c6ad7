"""The layers of an experiment, as its files describe them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alexnet_jax.errors import InputError
from alexnet_jax.models.cuda_convnet.files import Section

IMAGES, LABELS = 0, 1  # dataIdx
# Room for any network; no number that stops the machine.
MAX_COUNT = 1_000_000
ONE_INPUT = {"pool", "cmrnorm", "rnorm", "cnorm", "hs", "dropout", "dropout2"}
ONE_INPUT |= {"blur", "nailbed", "href", "softmax"}
FILTERS = {"conv", "local"}
WEIGHTS = FILTERS | {"fc"}
MAPPED = FILTERS | {"pool", "cmrnorm", "rnorm", "cnorm", "blur", "nailbed", "href"}
NORMS = ("cmrnorm", "rnorm", "cnorm")


@dataclass(frozen=True)
class Layer:
    """A layer as its files describe it.

    Attributes:
      name: Its section's.
      type: Its type, a key of `LAYER_KEYS`.
      section: Of the layer file.
      inputs: Names of the layers that it reads.
      settings: Values by key, of both files; a list has a value for each input.
      params: The section of the layer-parameter file, if there is one.
      channels: Its maps or units, over all of its groups.
      has_maps: Whether it makes maps, not units.
    """

    name: str
    type: str
    section: Section
    inputs: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    params: Section | None = None
    channels: int = 0
    has_maps: bool = True

    def error(self, message: str, key: str | None = None) -> InputError:
        """Returns an error at a key's line, in whichever file it stands."""
        in_params = self.params and (key or "").lower() in self.params.values
        section = self.params if in_params and self.params else self.section
        return section.error(message, key)

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key, or a default if it is in neither file."""
        return self.settings.get(key, default)

    def of_input(self, key: str, place: int, default: Any = None) -> Any:
        """Returns what a list says of an input."""
        values = self.settings.get(key)
        return default if values is None else values[place]


def complete(layers: Mapping[str, Layer]) -> None:
    """Gives 1 for each constant that stands in neither file."""
    for layer in layers.values():
        if layer.type in NORMS:
            layer.settings.setdefault("scale", 1.0)
            layer.settings.setdefault("pow", 1.0)
        if layer.get("pool") == "rand":
            layer.settings.setdefault("doMax", True)
