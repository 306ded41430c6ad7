"""Each key of each type of layer: a value that is read, and one that is refused."""

import re

import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.models.cuda_convnet.keys import (
    FOREIGN,
    LAYER_KEYS,
    NO_EFFECT,
    PARAM_KEYS,
    READ,
    REFUSED_TYPES,
)
from alexnet_jax.models.cuda_convnet.updates import Rate
from tests.models.cuda_convnet.cfgs import (
    NORM,
    RATES,
    conv,
    experiment,
    fc,
    network,
    norm,
    params,
    pool,
    section,
)

# A layer of each type, which reads 16 maps or, where it may, a dense layer's units.
LAYERS = {
    "data": section("it", "data", dataIdx=0),
    "conv": conv("it", "conv1", 16, groups=2),
    "local": conv("it", "conv1", 16, type="local"),
    "fc": fc("it", "conv1"),
    "pool": pool("it", "conv1"),
    "cmrnorm": norm("it", "cmrnorm", "conv1"),
    "rnorm": norm("it", "rnorm", "conv1"),
    "cnorm": norm("it", "cnorm", "conv1"),
    "hs": section("it", "hs", inputs="conv1", keep=0.5),
    "dropout": section("it", "dropout", inputs="conv1"),
    "dropout2": section("it", "dropout2", inputs="conv1"),
    "concat": section("it", "concat", inputs="conv1"),
    "pass": section("it", "pass", inputs="conv1"),
    "eltsum": section("it", "eltsum", inputs="conv1"),
    "blur": section("it", "blur", inputs="conv1", stdev=2, filterSize=5, channels=16),
    "nailbed": section("it", "nailbed", inputs="conv1", stride=2, channels=16),
    "href": section("it", "href", inputs="conv1", channels=16),
    "softmax": section("it", "softmax", inputs="fc"),
    "cost.logreg": section("it", "cost.logreg", inputs="labels,probs"),
}
# By key: what is written, what it is read as, and what is refused.
VALUES = {
    "dataIdx": ("0", 0, "2"),
    "gpu": ("0,1", None, "one"),
    "initW": ("0.02", (0.02,), "-1"),
    "initB": ("-7", -7.0, "nan"),
    "initWFunc": ("makew.make()", "makew.make()", None),
    "initBFunc": ("makew.make()", "makew.make()", None),
    "initCFunc": ("makew.make()", "makew.make()", None),
    "neuron": ("relu", "relu", "brelu[6]"),
    "outputs": ("10", 10, "0"),
    "filters": ("8", (8,), "2.5"),
    "padding": ("1", (1,), "-1"),
    "groups": ("2", (2,), "0"),
    "randSparse": ("false", (False,), "maybe"),
    "filterChannels": ("8", (8,), "0"),
    "partialSum": ("4", None, "-1"),
    "sumWidth": ("4", None, "x"),
    "sharedBiases": ("0", False, "2"),
    "size": ("5", 5, "0"),
    "minDiv": ("2", 2.0, "-1"),
    "scale": ("0.001", 0.001, "inf"),
    "pow": ("0.75", 0.75, "-0.5"),
    "pool": ("avg", "avg", "maxabs"),
    "sizeX": ("3", 3, "0"),
    "start": ("-1", -1, "1"),
    "outputsX": ("0", 0, "6"),
    "keep": ("0.25", 0.25, "0"),
    "enable": ("false", False, "off"),
    "coeffs": ("-0.5", (-0.5,), "x"),
    "stdev": ("4", 4.0, "0"),
    "epsW": ("exp[base=1;tgtFactor=2]", (Rate(1.0, "exp", 2.0),), "exp[2]"),
    "epsB": ("0.02", Rate(0.02), "-1"),
    "momW": ("0.9", (0.9,), "1"),
    "momB": ("0", 0.0, "1"),
    "wc": ("0.0005", (0.0005,), "-1"),
    "wball": ("0.01", (0.01,), "-1"),
    "schedW": ("exp[2]", Rate(1.0, "exp", 2.0), "fast"),
    "schedB": ("default", Rate(1.0), "fast"),
    "sched": ("dexp[4,3]", Rate(1.0, "dexp", 4.0, 3), "fast"),
    "updatePeriod": ("1", 1, "2"),
    "wcnorm": ("0", (0.0,), "1"),
    "wcNormMin": ("0", (0.0,), "-1"),
    "wcNormMax": ("2", (2.0,), "-1"),
    "doMax": ("1", True, "x"),
    "coeff": ("0.5", 0.5, "-1"),
    "topk": ("5", None, "0"),
}
# Those whose value depends on the type.
OF_TYPE = {
    ("blur", "filterSize"): ("5", 5, "4"),
    ("conv", "filterSize"): ("3", (3,), "0"),
    ("local", "filterSize"): ("3", (3,), "0"),
    ("conv", "stride"): ("2", (2,), "0"),
    ("local", "stride"): ("2", (2,), "0"),
    ("pool", "stride"): ("2", 2, "0"),
    ("nailbed", "stride"): ("2", 2, "0"),
    ("conv", "channels"): ("16", (16,), "0"),
    ("local", "channels"): ("16", (16,), "0"),
    ("local", "groups"): ("1", (1,), "0"),
    ("local", "filters"): ("8", (8,), "x"),
    ("softmax", "inputs"): ("fc", ("fc",), "fc,,fc"),
    ("cost.logreg", "inputs"): ("labels,probs", ("labels", "probs"), ","),
}
PAIRS = [(kind, key, LAYER_KEYS) for kind in LAYER_KEYS for key in LAYER_KEYS[kind]]
PAIRS += [(kind, key, PARAM_KEYS) for kind in PARAM_KEYS for key in PARAM_KEYS[kind]]


def written(kind, key, keys, value):
    """A layer file and a layer-parameter file in which a layer has the value."""
    lines = [
        line
        for line in LAYERS[kind].splitlines()
        if not line.lower().startswith(f"{key.lower()}=")
        and not (key == "sizeX" and line.startswith("size="))
    ]
    own = RATES if "epsW" in PARAM_KEYS.get(kind, {}) else {}
    own = NORM if "pow" in PARAM_KEYS.get(kind, {}) else own
    own = {"coeff": "1"} if kind == "cost.logreg" else own
    if keys is LAYER_KEYS:
        lines.append(f"{key}={value}")
        own = {name: said for name, said in own.items() if name != key}
    else:
        own = {**own, key: value}
    it = "\n".join(lines)
    before = [conv("conv1", "data", 3), fc("fc", "it"), it]
    if kind == "data":
        before = [it, conv("conv1", "it", 3), fc("fc", "data,conv1")]
    elif kind == "fc":
        before = [conv("conv1", "data", 3), it, fc("fc", "it")]
    elif kind == "cost.logreg":
        text = network(conv("conv1", "data", 3), fc("fc", "conv1"))
        text = f"{text.partition('[cost]')[0]}\n{it}\n"
        return text, section("it", **own)
    elif kind == "softmax":
        text = network(conv("conv1", "data", 3), fc("fc", "conv1"), it, logits="fc")
        start, _, end = text.partition("[probs]")
        return start + end[end.index("[cost]") :].replace("probs", "it"), params()
    return network(*before), params(it=own)


def value_of(kind, key):
    if (kind, key) in OF_TYPE:
        return OF_TYPE[kind, key]
    if key == "inputs":
        return "conv1", ("conv1",), "conv1,"
    return ("16", 16, "0") if key == "channels" else VALUES[key]


REFUSED = [
    (kind, key)
    for kind, key, keys in PAIRS
    if keys[kind][key].effect not in (READ, NO_EFFECT, FOREIGN)
]
ALLOWED = [pair for pair in PAIRS if pair[:2] not in REFUSED]


@pytest.mark.parametrize(("kind", "key", "keys"), ALLOWED)
def test_every_key_is_read(kind, key, keys):
    good, expected, bad = value_of(kind, key)
    layers, of_params = written(kind, key, keys, good)
    layer = experiment(layers, of_params).layers["it"]
    found = layer.inputs if key == "inputs" else layer.get(key)
    if key == "sizeX" and kind != "pool":
        found = layer.get("size")  # its old name
    assert found == expected
    if bad is None:
        return
    layers, of_params = written(kind, key, keys, bad)
    file, text = (
        ("net.cfg", layers) if keys is LAYER_KEYS else ("params.cfg", of_params)
    )
    line = 1 + text.splitlines().index(f"{key}={bad}")
    said = re.escape(
        f"{file}:{line}: [it] {key} must be {keys[kind][key].allowed}; got"
    )
    with pytest.raises(InputError, match=f"^{said} {re.escape(repr(bad))}$"):
        _ = experiment(layers, of_params).layers


@pytest.mark.parametrize(("kind", "key"), REFUSED)
def test_rounding_is_refused(kind, key):
    layers, of_params = written(kind, key, PARAM_KEYS, "half")
    line = 1 + of_params.splitlines().index(f"{key}=half")
    said = rf"^params.cfg:{line}: \[it\] {key} is not supported: rounding of the values"
    with pytest.raises(InputError, match=said):
        _ = experiment(layers, of_params).layers


@pytest.mark.parametrize("kind", REFUSED_TYPES)
def test_types_that_are_refused(kind):
    text = network(section("it", kind, inputs="data"))
    line = 1 + text.splitlines().index(f"type={kind}")
    said = re.escape(f"net.cfg:{line}: [it] type {kind} is not supported: ")
    with pytest.raises(InputError, match=f"^{said}{REFUSED_TYPES[kind]}$"):
        _ = experiment(text).layers


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ident", None), ("ReLU", "relu"), ("logistic", "sigmoid")]
    + [("softrelu", "softplus"), ("tanh[1,1]", "tanh")],
)
def test_neurons(text, expected):
    assert LAYER_KEYS["fc"]["neuron"].read(text) == expected
