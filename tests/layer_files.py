"""Layer files of the tests' own, in cuda-convnet's format, and their parameters."""

_DATA = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
"""
_COST = """
[probs]
type=softmax
inputs=fc9
[logprob]
type=cost.logreg
inputs=labels,probs
"""


def _section(name, **keys):
    lines = [f"{key}={value}" for key, value in keys.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def _conv(name, source, channels, filters, size, padding, kind="conv"):
    keys = {"channels": channels, "filters": filters, "filterSize": size}
    keys |= {"padding": padding, "stride": 1, "neuron": "relu", "initW": 0.05}
    if kind == "conv":
        keys |= {"partialSum": 1, "sharedBiases": 1}
    return _section(name, type=kind, inputs=source, **keys)


def _pool(name, source, channels):
    keys = {"start": 0, "sizeX": 3, "stride": 2, "outputsX": 0, "channels": channels}
    return _section(name, type="pool", pool="max", inputs=source, **keys)


def _fc(name, source, outputs, neuron="ident"):
    return _section(
        name, type="fc", inputs=source, outputs=outputs, initW=0.1, neuron=neuron
    )


def _rates(*names, rate=0.001):
    return "".join(
        _section(name, epsW=rate, epsB=2 * rate, momW=0.9, momB=0.9, wc=0.001)
        for name in names
    ) + _section("logprob", coeff=1)


# Two towers, which read each other before the dense layer.
TOWERS = "".join(
    [
        _DATA,
        _conv("conv1a", "data", 3, 4, 5, 2),
        _conv("conv1b", "data", 3, 4, 5, 2),
        _pool("pool1a", "conv1a", 4),
        _pool("pool1b", "conv1b", 4),
        _conv("conv2a", "pool1a", 4, 6, 3, 1),
        _conv("conv2b", "pool1b", 4, 6, 3, 1),
        _fc("fc9", "conv2a,conv2b", 10).replace("initW=0.1", "initW=0.1,0.1"),
        _COST,
    ]
)
TOWERS_PARAMS = _rates("conv1a", "conv1b", "conv2a", "conv2b", rate=1e-5) + _section(
    "fc9", epsW="1e-5,1e-5", epsB=2e-5, momW="0.9,0.9", momB=0.9, wc="0.001,0.001"
)
# For images of 32×32, with a layer whose kernels differ from place to place.
LOCAL = "".join(
    [
        _DATA,
        _conv("conv1", "data", 3, 8, 5, 2),
        _pool("pool1", "conv1", 8),
        _section("norm1", type="cmrnorm", inputs="pool1", channels=8, size=5),
        _pool("pool2", "norm1", 8),
        _conv("local3", "pool2", 8, 6, 3, 1, "local"),
        _fc("fc9", "local3", 10),
        _COST,
    ]
)
LOCAL_PARAMS = _rates("conv1", "local3", "fc9") + _section(
    "norm1", scale=0.001, pow=0.75
)


def write_files(folder, name, layers, params):
    """Writes a pair of files; returns `model.name` and `optim.params`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"layers-{name}.cfg", folder / f"layer-params-{name}.cfg"
    for path, text in zip(paths, (layers, params), strict=True):
        path.write_text(text)
    return f"cfg:{paths[0]}", str(paths[1])
