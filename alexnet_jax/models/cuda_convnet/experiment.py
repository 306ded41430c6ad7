"""An experiment: a layer file and a layer-parameter file, as one."""

import contextlib
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from alexnet_jax.errors import InputError
from alexnet_jax.layers.initializers import gaussian_scheme
from alexnet_jax.models.cuda_convnet.calls import Call
from alexnet_jax.models.cuda_convnet.files import File, parse_file
from alexnet_jax.models.cuda_convnet.layers import Layer, complete
from alexnet_jax.models.cuda_convnet.lowered import Lowered
from alexnet_jax.models.cuda_convnet.lowering import lower
from alexnet_jax.models.cuda_convnet.plan import Block, join_steps
from alexnet_jax.models.cuda_convnet.rates import layer_updates
from alexnet_jax.models.cuda_convnet.reading import read_layers
from alexnet_jax.models.cuda_convnet.updates import LayerUpdates

PREFIX = "cfg:"
_MAX_BYTES = 1_000_000  # the longest of 2012 has 20,000
_MAX_LINE = 10_000


@dataclass(frozen=True)
class Experiment:
    """A network and how its layers learn, from the text of cuda-convnet's files.

    Attributes:
      name: `cfg:PATH`, for errors and tables.
      layers_text: The layer file.
      params_text: The layer-parameter file; None if there is none.
      params_name: What errors call it.
      strict: Whether each of its sections must be a layer's.
      is_complete: Whether constants that stand in neither file are an error; else they
        are taken as 1, for a network that is counted and not computed.
    """

    name: str
    layers_text: str
    params_text: str | None = None
    params_name: str = "layer-params"
    strict: bool = True
    is_complete: bool = True

    @property
    def file_name(self) -> str:
        """The layer file's name, without its folder."""
        return Path(self.name.removeprefix(PREFIX)).name

    @cached_property
    def params(self) -> File | None:
        """The layer-parameter file."""
        text = self.params_text
        return None if text is None else parse_file(text, self.params_name)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The layers of the files, by name.

        Raises:
          InputError: They cannot be used; file and line are named.
        """
        file = parse_file(self.layers_text, self.name.removeprefix(PREFIX))
        layers = read_layers(file, self.params, strict=self.strict)
        if not self.is_complete:
            complete(layers)
        return layers

    @cached_property
    def lowered(self) -> Lowered:
        """What the layers become."""
        return lower(self.layers)

    @cached_property
    def scheme(self) -> str | None:
        """The scheme of `SCHEMES` that draws all weights as the file says, or None."""
        weights = self.lowered.weights
        if not all(one.has_bias for one in weights.values()):
            return None
        return gaussian_scheme(
            {
                name: (
                    one.source.of_input("initW", one.place, 0.01),
                    one.source.get("initB", 0.0),
                )
                for name, one in weights.items()
            }
        )

    @cached_property
    def blocks(self) -> list[Block]:
        """The blocks of layers that `setup` creates."""
        return [
            block._replace(calls=tuple(self._in_short(call) for call in block.calls))
            for block in join_steps(self.lowered.steps)
        ]

    def _in_short(self, call: Call) -> Call:
        """Leaves out of a call what the network says once for all of them."""
        kwargs = dict(call.kwargs)
        if self.scheme and call.function in ("conv", "dense", "local"):
            kwargs = {k: v for k, v in kwargs.items() if k not in ("deviation", "bias")}
        has_defaults = kwargs.keys() <= {"groups"}
        is_by_tower = kwargs.get("groups", 1) == self.lowered.towers
        if call.function == "LocalResponseNorm" and has_defaults and is_by_tower:
            return call._replace(function="norm", kwargs=())
        return call._replace(kwargs=tuple(kwargs.items()))

    @cached_property
    def updates(self) -> LayerUpdates:
        """How each array learns.

        Raises:
          InputError: A layer has no section in the layer-parameter file.
        """
        assert self.params is not None
        return layer_updates(self.lowered.weights, self.layers, self.params)

    def check_initialization(self) -> None:
        """Checks that the file says how weights are drawn.

        Raises:
          InputError: They were taken from another run, by code of the author's.
        """
        foreign = ("initWFunc", "initBFunc", "initCFunc")
        for layer in self.layers.values():
            for key in foreign:
                if key in layer.settings:
                    raise layer.section.error(
                        f"{key} calls code that took weights of another run and was "
                        "not released; it is never run: set model.init (initializer "
                        "of create_model), such as "
                        f"'2012', to draw them afresh, or remove the line; got "
                        f"{layer.settings[key]!r}",
                        key,
                    )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that it was made for.

        The files do not say a size: 32×32 for ten classes (CIFAR-10), else 224×224.
        """
        side = 32 if self.lowered.num_classes == 10 else 224
        images = (one for one in self.layers.values() if one.type == "data")
        return side, side, next(images).channels


def read_text(path: str, key: str) -> str:
    """Returns the text of a file.

    Args:
      path: Of a layer file or a layer-parameter file; `~` is the home.
      key: The config's, for errors.

    Raises:
      InputError: It cannot be read, or is no such file.
    """
    if not path:
        raise InputError(f"{key}: must name a file, such as cfg:layers-145.cfg; got ''")
    try:
        file = Path(path).expanduser()
        found = file.stat()
        is_text = stat.S_ISREG(found.st_mode) and found.st_size <= _MAX_BYTES
        # A pipe or a device might never end.
        text = file.read_bytes().decode("utf-8-sig") if is_text else None
    except UnicodeDecodeError:
        text = None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{key}: cannot read {path!r}: {reason}") from None
    if text is None or max(map(len, text.splitlines()), default=0) > _MAX_LINE:
        raise InputError(
            f"{key}: must be a text file in UTF-8 of at most {_MAX_BYTES:,} bytes, and "
            f"{_MAX_LINE:,} characters a line; got {path!r}"
        )
    return text


def params_beside(path: str) -> Path | None:
    """Returns the layer-parameter file of a layer file's name, if it lies beside it.

    That of `layers-145.cfg` is `layer-params-145.cfg`. A run keeps the texts of its
    files, so that their folder need neither be there nor be readable.
    """
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no such user
        file = Path(path).expanduser()
        params = file.with_name(file.name.replace("layers", "layer-params", 1))
        if file.name.startswith("layers") and params.is_file():
            return params
    return None
