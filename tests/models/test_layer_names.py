import re

import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.models.layer_names import layers_of, matches, select

LAYERS = ["conv1", "conv2", "fc6", "net/conv1", "norm1"]


def test_layers_of_a_network():
    params = {"conv1": {"kernel": 0, "bias": 0}, "net": {"a": {"b": {"kernel": 0}}}}
    state = {"norm": {"mean": 0}, "count": 0}
    assert layers_of(params, state) == ["conv1", "count", "net/a/b", "norm"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("conv1", {"conv1", "net/conv1"}),
        ("net/conv1", {"net/conv1"}),
        ("net", {"net/conv1"}),
        ("net/*", {"net/conv1"}),
        ("conv[12]", {"conv1", "conv2", "net/conv1"}),
        ("?c6", {"fc6"}),
        ("*", {*LAYERS}),
    ],
)
def test_patterns(pattern, found):
    assert select(LAYERS, [pattern], "optim.freeze") == found
    assert {layer for layer in LAYERS if matches(layer, pattern)} == found


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("Conv1", "the nearest: conv1, "),
        ("cnv*", "the nearest: conv1, conv2, net/conv1"),
        ("xyz", "there are conv1, conv2, fc6, net/conv1, norm1"),
        ("kernel", "there are conv1, "),
        ("conv1/kernel", "the nearest: "),
    ],
)
def test_a_pattern_that_names_nothing(pattern, hint):
    text = re.escape(f"optim.freeze: no layer is named {pattern!r}; {hint}")
    with pytest.raises(InputError, match=text) as error:
        select(LAYERS, ["fc6", pattern], "optim.freeze")
    assert "\n" not in str(error.value)


def test_many_layers_are_not_all_listed():
    with pytest.raises(InputError, match=r"l11, \.\.\. \(99 in all\)$"):
        select([f"l{n:02}" for n in range(99)], ["??"], "optim.freeze")
