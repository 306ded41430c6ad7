"""Which layer of this package each type of layer is."""

from typing import Any

from alexnet_jax.layers.pooling import CeilPool, ceil_pool
from alexnet_jax.models.cuda_convnet.calls import Call, Name, layer, plain
from alexnet_jax.models.cuda_convnet.layers import Layer

# What the sources have, which `norm("2012")` says in one word.
_NORM_2012 = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
_MAP_NORM = {"size": 5, "scale": 1e-3, "power": 0.75, "k": 1.0}


def call_of(source: Layer, groups: int) -> Call:
    """Returns a layer without weights.

    Args:
      source: As the files have it.
      groups: Groups of maps that do not see each other: the towers.

    Raises:
      InputError: Something is missing, or not supported; file and line are named.
    """
    kind, get = source.type, source.get
    if kind == "pool":
        return _pool(source)
    if kind == "cmrnorm":
        given = _constants(source, ("size", "alpha", "beta", "k"))
        kwargs = {key: one for key, one in given.items() if one != _NORM_2012[key]}
        count = groups if groups > 1 else None
        return layer("LocalResponseNorm", "2012", **kwargs, groups=count)
    if kind == "rnorm":
        given = _constants(source, ("size", "scale", "power", "k"))
        kwargs = {key: one for key, one in given.items() if one != _MAP_NORM[key]}
        return layer("MapNorm", **kwargs)
    if kind == "cnorm":
        given = _constants(source, ("size", "scale", "power", "k"))
        k = given.pop("k")
        return layer("MapContrastNorm", *given.values(), k=None if k == 1 else k)
    if kind in ("hs", "dropout", "dropout2"):
        return _dropout(source)
    if kind == "eltsum":
        coefficients = get("coeffs")
        is_plain = coefficients is None or {*coefficients} == {1.0}
        return plain("add") if is_plain else layer("Add", coefficients)
    if kind == "blur":
        return layer("GaussianBlur", get("filterSize"), get("stdev"))
    return layer("Subsample", get("stride")) if kind == "nailbed" else plain("mirror")


def _constants(source: Layer, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns a normalization's constants, under the names of this package."""
    values = [source.settings["size"]]
    for key in ("scale", "pow"):
        if key not in source.settings:
            raise source.error(
                f"{key} is missing; it stands in the layer-parameter file: name it "
                "with optim.params, or put it beside the layer file"
            )
        values.append(source.settings[key])
    k = source.get("minDiv", 1.0)
    if k == 0:
        raise source.error("minDiv must be above 0; got 0", "minDiv")
    return dict(zip(names, [*values, k], strict=True))


def _pool(source: Layer) -> Call:
    kind, size, stride = (source.settings[key] for key in ("pool", "sizeX", "stride"))
    start = source.get("start", 0)
    if kind == "rand" and not source.get("doMax"):
        raise source.error(
            "pool=rand is not supported without doMax=true in the layer-parameter "
            "file: its code was not released",
            "pool",
        )
    for key, value in (("stride", stride), ("start", 1 - start)):
        if value > size:
            raise source.error(
                f"{key} must be {'at most' if key == 'stride' else 'above minus'} "
                f"sizeX, {size}; got {source.settings[key]}",
                key,
            )
    kind = "max" if kind == "rand" else kind
    pool = ceil_pool(kind, size, stride, start)
    if isinstance(pool, CeilPool):
        return layer("CeilPool", kind, size, stride, start=start or None)
    return plain(pool.__name__)


def _dropout(source: Layer) -> Call:
    rate = round(1 - source.get("keep", 0.5), 12)
    is_masked = source.type != "dropout"
    if not source.get("enable", True):
        # What is switched off still scales its units, but for `dropout`'s.
        rate = rate if is_masked else 0.0
        return layer("MaskDropout", rate, Name("True"))
    mask = True if is_masked else None
    return layer("dropout", mask=mask, rate=rate if rate != 0.5 else None)


def weight_calls(
    source: Layer,
    place: int,
    name: str,
    features: int | Name,
    groups: int,
    has_bias: bool,
    seed: int,
) -> list[Call]:
    """Returns a layer with weights, and what it needs before it.

    Args:
      source: As the files have it.
      place: The input that it is for.
      name: Its name here.
      features: Maps or units, over all groups.
      groups: Groups of towers that do not see each other.
      has_bias: Whether it has biases.
      seed: Of random connections.
    """
    init = {"deviation": source.of_input("initW", place, 0.01)}
    init |= {"bias": source.get("initB") or None} if has_bias else {"use_bias": False}
    if source.type == "fc":
        count = groups if groups > 1 else None
        return [layer("dense", name, features, groups=count, **init)]
    size = source.of_input("filterSize", place)
    stride = source.of_input("stride", place, 1)
    own_groups = source.of_input("groups", place, 1)
    calls = []
    if source.of_input("randSparse", place):
        channels = source.of_input("channels", place)
        seen = source.of_input("filterChannels", place, channels // own_groups)
        calls.append(layer("RandomChannels", own_groups * seen // channels, seed))
    count = groups * own_groups
    if source.type == "local" and count > 1:
        raise source.error(f"groups must be 1 in a local layer; got {count}", "groups")
    convolution = layer(
        "local" if source.type == "local" else "conv",
        name,
        features,
        size,
        stride=stride if stride > 1 else None,
        pad=_padding(source.of_input("padding", place, 0), stride),
        groups=count if count > 1 else None,
        **init,
    )
    return [*calls, convolution]


def _padding(pad: int, stride: int) -> int | Name | Call | None:
    """Returns how windows at the end are padded: they may hang over."""
    if stride == 1:  # they never do
        return pad or None
    return layer("ceil_pad", pad) if pad else Name("CEIL")
