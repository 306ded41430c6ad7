"""Layer files that cannot be used: one line, with file and line."""

import re
import time

import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.models.cuda_convnet.files import parse_file
from alexnet_jax.models.cuda_convnet.reading import check_params, read_layers
from tests.models.cuda_convnet.cfgs import (
    DATA,
    RATES,
    conv,
    create,
    experiment,
    fc,
    network,
    norm,
    params,
    pool,
    section,
)

CONV = conv("conv1", "data", 3)
FC = fc("fc", "conv1")
LRN = norm("it", "cmrnorm", "conv1")


def line_of(text, line):
    """A line's number, from 1 on; the last one's that is so."""
    lines = text.splitlines()
    return len(lines) - lines[::-1].index(line)


def dropout(**keys):
    return section("it", "hs", inputs="conv1", keep=0.5, **keys)


WRONG = [
    # types and keys
    (network(section("it", "convolution", inputs="data")), "type=convolution",
     "[it] type must be one of data, conv, "),
    (network(section("it", "pol", inputs="data")), "type=pol",
     "'pol'; the nearest: pool"),
    (network("[it]\ninputs=data"), "[it]", "[it] type must be one of data, conv, "),
    (network(conv("it", "data", 3, filterSise=3)), "filterSise=3",
     "[it] filtersise is no key of conv layers; the nearest: filterSize"),
    (network(fc("it", "data", initW="x")), "initW=x",
     "[it] initW must be a number of at least 0; got 'x'"),
    (network(conv("it", "data", 3, filters=10**9)), "filters=1000000000",
     "[it] filters must be an integer of at least 1; got '1000000000'"),
    # what is missing
    (network(section("it", "fc", inputs="data")), "[it]", "[it] outputs is missing"),
    (network(section("it", "conv", inputs="data", channels=3, filters=16, initW=1)),
     "[it]", "[it] filterSize is missing"),
    (network(section("it", "pool", inputs="data", pool="max", channels=3, sizeX=3)),
     "[it]", "[it] stride is missing"),
    (network(section("it", "hs", inputs="data")), "[it]", "[it] keep is missing"),
    (network(section("it", "blur", inputs="data", stdev=1, channels=3)), "[it]",
     "[it] filterSize is missing"),
    (network(section("it", "data")), "[it]", "[it] dataIdx is missing"),
    (network(section("it", "dropout")), "[it]", "[it] inputs is missing: the layers"),
    (network(CONV, section("it", "cmrnorm", inputs="conv1", channels=16)), "[it]",
     "[it] size must be set, once; sizeX is its old name"),
    (network(CONV, section("it", "cmrnorm", inputs="conv1", size=5, sizeX=5)),
     "sizeX=5",
     "[it] size must be set, once; sizeX is its old name"),
    # lists
    (network(CONV, conv("it", "data,conv1", [3, 16, 3])), "channels=3,16,3",
     "[it] channels must have a value for each of its 2 inputs, or one for all; got 3"),
    (network(CONV, section("it", "dropout", inputs="conv1,conv1")),
     "inputs=conv1,conv1", "[it] inputs must be one layer; got 2"),
    # inputs
    (network(CONV, fc("fc", "conv2")), "inputs=conv2",
     "[fc] there is no layer 'conv2' to read; the nearest: conv1"),
    (network(conv("a", "b", 16), conv("b", "c", 16), conv("c", "a", 16), fc("fc", "b")),
     "inputs=a", "[c] layers must not read each other in a circle: a ← c ← b ← a"),
    (network(conv("a", "a", 16), fc("fc", "a,data")), "inputs=a",
     "[a] layers must not read each other in a circle: a ← a"),
    (network(CONV, FC, conv("it", "conv1", 16)), "[it]",
     "[it] no layer reads this one; remove it"),
    (network(CONV, FC, section("more", "data", dataIdx=0)), "[more]",
     "[more] no layer reads this one; remove it"),
    (network(fc("fc", "labels,data")), "inputs=labels,data",
     "[fc] labels holds labels, not images"),
    (network(CONV, FC, fc("it", "probs"), section("probs2", "softmax", inputs="it"))
     .replace("labels,probs", "labels,probs2"), "inputs=probs",
     "[it] probs (softmax) can be read by a cost only"),
    # channels and groups
    (network(CONV, conv("it", "conv1", 32), fc("fc", "it")), "channels=32",
     "[it] channels must be 16, those of conv1; got 32"),
    (network(CONV, conv("it", "data", 1), fc("fc", "it,conv1")), "channels=1",
     "[it] channels must be 3, those of data; got 1"),
    (network(CONV, pool("it", "conv1", 8), fc("fc", "it")), "channels=8",
     "[it] channels must be 16, those of conv1; got 8"),
    (network(conv("it", "data", 3, groups=2), fc("fc", "it")), "groups=2",
     "[it] groups must divide channels, 3; got 2"),
    (network(CONV, conv("it", "data,conv1", [3, 16], [16, 16], 3, groups=[1, 2]),
             fc("fc", "it")), "filters=16,16",
     "[it] filters × groups must be the same for all inputs; got [16, 32]"),
    (network(CONV, conv("it", "conv1", 16, groups=1, randSparse=1), fc("fc", "it")),
     "groups=1", "[it] randSparse must have groups, more than one, and filterChannels"),
    (network(CONV, conv("it", "conv1", 16, groups=4, randSparse=1, filterChannels=3),
             fc("fc", "it")), "filterChannels=3", "is their product; got 4 × 3 of 16"),
    (network(CONV, conv("it", "conv1", 16, groups=2, randSparse=1, type="local"),
             fc("fc", "it")), "randSparse=1", "[it] randSparse must be 0 in a local"),
    (network(CONV, conv("it", "conv1", 16, groups=2, type="local"), fc("fc", "it")),
     "groups=2", "[it] groups must be 1 in a local layer; got 2"),
    (network(CONV, section("it", "eltsum", inputs="data,conv1"), fc("fc", "it")),
     "inputs=data,conv1",
     "[it] inputs must have the same channels; got 3 maps, 16 maps"),
    (network(CONV, fc("a", "conv1", 16), section("it", "eltsum", inputs="conv1,a"),
             fc("fc", "it")), "inputs=conv1,a",
     "the same channels; got 16 maps, 16 units"),
    (network(fc("a", "data", 16), conv("it", "a", 16), fc("fc", "it")), "inputs=a",
     "[it] a makes units, not maps, which conv needs"),
    (network(fc("a", "data", 16), pool("it", "a", 16), fc("fc", "it")), "inputs=a",
     "[it] a makes units, not maps, which pool needs"),
    (network(fc("a", "data", 600_000), fc("b", "data", 600_000),
             section("it", "concat", inputs="a,b"), fc("fc", "it")), "[it]",
     "[it] it must have at most 1,000,000 maps or units; got 1,200,000"),
    # pooling
    (network(CONV, pool("it", "conv1", sizeX=2, stride=3), fc("fc", "it")), "stride=3",
     "[it] stride must be at most sizeX, 2; got 3"),
    (network(CONV, pool("it", "conv1", start=-3), fc("fc", "it")), "start=-3",
     "[it] start must be above minus sizeX, 3; got -3"),
    (network(CONV, pool("it", "conv1", pool="rand"), fc("fc", "it")), "pool=rand",
     "[it] pool=rand is not supported without doMax=true"),
    (network(CONV, norm("it", "cmrnorm", "conv1", scale=1), fc("fc", "it")), "[it]",
     "[it] pow is missing; it stands in the layer-parameter file: name it with optim"),
    (network(CONV, norm("it", "cmrnorm", "conv1", scale=1, pow=1, minDiv=0),
             fc("fc", "it")), "minDiv=0", "[it] minDiv must be above 0; got 0"),
    # costs
    (DATA + "\n" + CONV + "\n" + FC + "\n" + section("probs", "softmax", inputs="fc"),
     "[probs]", "[probs] a cost.logreg layer must end the network; there is none"),
    (network(CONV, FC, section("cost2", "cost.logreg", inputs="labels,probs")),
     "[cost]", "[cost] a second cost, beside cost2, is not supported"),
    (network(CONV, FC).replace("labels,probs", "probs,labels"), "inputs=probs,labels",
     "[cost] inputs must be the labels (data with dataIdx=1) and a softmax layer; got"),
    (network(CONV, FC).replace("labels,probs", "labels"), "inputs=labels",
     "[cost] inputs must be the labels and a softmax layer"),
    (network(CONV, logits="conv1"), "[conv1]",
     "[conv1] what softmax reads must be an fc layer, or several"),
    (network(CONV, FC, section("it", "concat", inputs="conv1,fc"), logits="it"),
     "[conv1]", "[conv1] what softmax reads must be an fc layer, or several"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "expected"), WRONG)
def test_a_layer_file_that_cannot_be_used(text, line, expected):
    said = re.escape(f"net.cfg:{line_of(text, line)}: ") + ".*" + re.escape(expected)
    with pytest.raises(InputError, match=f"^{said}") as caught:
        create(text)
    assert str(caught.value).isprintable()


def rated(**keys):
    """Rates of a layer, with other ones."""
    return {key: value for key, value in {**RATES, **keys}.items() if value is not None}


@pytest.mark.parametrize(
    ("keys", "line", "expected"),
    [
        (rated(epsB=None), "[conv1]", "[conv1] epsB is missing"),
        (rated(momW="2"), "momW=2", "[conv1] momW must be in [0, 1); got '2'"),
        (
            rated(epsW="1,2"),
            "epsW=1,2",
            "[conv1] epsW must have a value for each of its",
        ),
        (
            rated(epw=1),
            "epw=1",
            "[conv1] epw is no key of conv layers in layer-parameter files; the near",
        ),
        (
            rated(wcNormMin=2, wcNormMax=1),
            "wcNormMin=2",
            "[conv1] wcNormMin must be at most wcNormMax; got 2 and 1",
        ),
    ],
)
def test_a_layer_parameter_file_that_cannot_be_used(keys, line, expected):
    text = params(conv1=keys, fc=RATES)
    said = re.escape(f"params.cfg:{line_of(text, line)}: {expected}")
    with pytest.raises(InputError, match=f"^{said}"):
        create(network(CONV, FC), text)


def test_a_section_of_no_layer():
    text = params(conv1=RATES, conv2=RATES, fc=RATES)
    said = re.escape(
        f"params.cfg:{line_of(text, '[conv2]')}: [conv2] there is no such layer in "
        "net.cfg; the nearest: conv1; remove the section"
    )
    with pytest.raises(InputError, match=f"^{said}$"):
        create(network(CONV, FC), text)
    lenient = experiment(network(CONV, FC), text, strict=False)
    assert [*lenient.updates.arrays] == [
        "conv1/kernel", "conv1/bias", "fc8/kernel", "fc8/bias"
    ]  # fmt: skip


@pytest.mark.parametrize("left_out", ["conv1", "fc", "cost"])
def test_a_section_that_is_missing(left_out):
    text = params(conv1=RATES, fc=RATES).replace(f"[{left_out}]", "[data]")
    text = text if left_out != "cost" else params(conv1=RATES, fc=RATES)[:-24]
    layers = network(CONV, FC)
    model = create(layers, re.sub(r"\[data\]\n(?:.+\n)*", "", text))
    said = (
        rf"params.cfg: must have a section \[{left_out}\], for that layer of "
        f"net.cfg:{line_of(layers, f'[{left_out}]')}; got none"
    )
    with pytest.raises(InputError, match=f"^{said}$"):
        _ = model.layer_updates


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_a_file_without_layers(text):
    said = r"^net.cfg: must hold layers, such as \[conv1\]; got none$"
    with pytest.raises(InputError, match=said):
        create(text)


def test_a_layer_parameter_file_in_place_of_a_layer_file():
    with pytest.raises(InputError, match=r"^net.cfg:1: \[conv1\] type must be one of"):
        create(params(conv1=RATES, fc=RATES))


def test_a_layer_file_in_place_of_a_layer_parameter_file():
    text = network(CONV, FC)
    said = r"^params.cfg:2: \[data\] type is no key of layer-parameter files$"
    with pytest.raises(InputError, match=said):
        create(text, text)


def test_a_layer_parameter_file_alone():
    check_params(parse_file(params(conv1={**RATES, "epsW": "1,2"}), "params.cfg"))
    text = params(conv1={**RATES, "epsW": "1,x"})
    said = r"^params.cfg:2: \[conv1\] epsW must be a rate of at least 0, or a schedule"
    with pytest.raises(InputError, match=said):
        check_params(parse_file(text, "params.cfg"))


def test_layers_stand_after_what_they_read():
    text = network(fc("fc", "b"), conv("b", "a", 16), conv("a", "data", 3))
    layers = read_layers(parse_file(text, "net.cfg"))
    assert [*layers] == ["data", "labels", "a", "b", "fc", "probs", "cost"]
    assert [layer.channels for layer in layers.values()][2:5] == [16, 16, 10]
    assert [layer.has_maps for layer in layers.values()][2:5] == [True, True, False]


def test_lists_have_a_value_for_each_input():
    text = network(
        CONV, conv("it", "data,conv1", [3, 16], padding=[0, 1]), fc("fc", "it")
    )
    layer = experiment(text).layers["it"]
    assert layer.get("padding") == (0, 1)
    assert layer.get("filters") == (16, 16)  # one stands for all
    assert layer.of_input("padding", 1) == 1
    assert layer.of_input("groups", 1, 7) == 7


def test_a_deep_network_is_read_quickly():
    count = 3000
    deep = [
        section(f"it{i}", "dropout", inputs=f"it{i - 1}" if i else "data")
        for i in range(count)
    ]
    start = time.perf_counter()
    found = experiment(network(*reversed(deep), fc("fc", f"it{count - 1}")))
    assert len(found.blocks[0].calls) == count + 2
    circle = section("it0", "dropout", inputs=f"it{count - 1}")
    with pytest.raises(InputError, match="in a circle: it0 ←") as caught:
        create(network(circle, *deep[1:], fc("fc", "it5")))
    assert len(str(caught.value)) < 300
    assert time.perf_counter() - start < 20


def test_many_layers_beside_each_other():
    names = [f"it{i}" for i in range(100)]
    wide = [fc(name, "data", 2) for name in names]
    start = time.perf_counter()
    blocks = experiment(network(*wide, fc("fc", names))).blocks
    assert [call.function for block in blocks for call in block.calls] == [
        "flatten", "dense", "dense"
    ]  # fmt: skip
    assert time.perf_counter() - start < 20


def test_layers_that_double_what_they_read():
    layers = [section("it0", "concat", inputs="data,data")]
    layers += [
        section(f"it{i}", "concat", inputs=f"it{i - 1},it{i - 1}") for i in range(1, 60)
    ]
    said = r"^net.cfg:\d+: \[it\d+\] it must have at most 1,000,000 maps or units"
    with pytest.raises(InputError, match=said):
        create(network(*layers, fc("fc", "it59")))


def test_many_layers_that_read_many():
    names = [f"it{i}" for i in range(1100)]
    wide = [fc(name, "data", 1) for name in names]
    both = section("all", "concat", inputs=names)
    readers = [fc(f"fc{i}", "all", 1) for i in range(100)]
    text = network(*wide, both, *readers, fc("fc", [f"fc{i}" for i in range(100)]))
    said = r"^net.cfg:\d+: \[fc\d+\] this and the layers before read more than 100,000 "
    with pytest.raises(InputError, match=said):
        create(text)
