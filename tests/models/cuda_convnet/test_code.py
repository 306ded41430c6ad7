"""The class that a person would write for a layer file: it is the same network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.inspection.layers import describe
from alexnet_jax.models.cuda_convnet.code import print_class
from alexnet_jax.models.cuda_convnet.network import CfgNetwork
from tests.models.cuda_convnet.cfgs import (
    NORM,
    conv,
    create,
    fc,
    network,
    norm,
    params,
    pool,
    section,
    towers_cfg,
)


def graph_cfg():
    """Blocks that read each other, with a layer of each type."""
    layers = [
        section("blur", "blur", inputs="data", stdev=2, filterSize=3, channels=3),
        section("nails", "nailbed", inputs="blur", stride=2, channels=3),
        section("mirror", "href", inputs="data", channels=3),
        *[conv(f"conv1{a}", "mirror", 3, stride=2) for a in "abc"],
        norm("norma", "cmrnorm", "conv1a", size=3, **NORM),
        norm("normb", "rnorm", "conv1b", minDiv=2, **NORM),
        norm("normc", "cnorm", "conv1c", **NORM),
        conv("conv2", "nails", 3, padding=1, sharedBiases=0, initB=0.5),
        section("sum", "eltsum", inputs="norma,normb,conv2", coeffs="1,-1,0.5"),
        section("plus", "eltsum", inputs="sum,normc"),
        conv("conv3", "plus", 16, 8, groups=4, randSparse=1, filterChannels=8,
             neuron="softrelu"),
        conv("local4", "conv3", 32, 4, type="local", neuron="tanh[1,1]"),
        pool("pool5", "conv3", 32, 2, 1, pool="avg", start=-1),
        section("drop", "dropout2", inputs="local4"),
        section("off", "dropout", inputs="pool5"),
        fc("fc6", "drop,off", 6, neuron="logistic"),
        section("hs", "hs", inputs="fc6", keep=0.25),
        fc("fc", "hs,data", initB=-1),
    ]  # fmt: skip
    return network(*layers), params(off={"enable": 0}, drop={"keep": 0.9})


def several_cfg():
    """Classes of two layers, of which one reads one of two towers."""
    layers = [conv(f"conv1{a}", "data", 3) for a in "ab"]
    layers += [fc("fca", "conv1a", 4), fc("fcb", "conv1b,conv1a", 6)]
    both = section("both", "concat", inputs="fcb,fca")
    return network(*layers, both, logits="both"), None


@pytest.mark.heavy
@pytest.mark.parametrize("cfg", [towers_cfg, graph_cfg, several_cfg])
def test_the_printed_class_is_the_network(cfg, compiled_in_a_hurry):
    model = create(*cfg())
    code = print_class(model)
    assert max(map(len, code.splitlines())) <= 88
    names = {}
    exec(code, names)
    (written,) = (
        value
        for value in names.values()
        if isinstance(value, type) and value.__name__ == "Net"
    )
    assert not issubclass(written, CfgNetwork)
    other = written(num_classes=model.num_classes)
    assert other.reference == model.reference
    assert (other.towers, other.unit) == (model.towers, model.unit)
    assert describe(model, (1, 12, 12, 3)) == describe(other, (1, 12, 12, 3))
    x = np.random.RandomState(0).randn(2, 12, 12, 3).astype(np.float32)
    key = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    made = [jax.jit(one.init)(key, x) for one in (model, other)]
    jax.tree.map(np.testing.assert_array_equal, *made)
    both = [
        jax.jit(one.apply)(variables, x, rngs={"dropout": jax.random.key(2)})
        for one, variables in zip((model, other), made, strict=True)
    ]
    np.testing.assert_array_equal(*both)
    assert jnp.isfinite(both[0]).all()
