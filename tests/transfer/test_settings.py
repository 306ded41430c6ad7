import json

import numpy as np
import pytest

from alexnet_jax.config import default_config, differences, flatten_config, validate
from alexnet_jax.errors import InputError
from alexnet_jax.run.read import read_config
from alexnet_jax.transfer.settings import (
    parse_names,
    parse_rates,
    patterns_of,
    rates_of,
)

RATES = {"fc8": 10.0, "conv*": 0.1}


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("conv*", ("conv*",)),
        ("conv*,fc6", ("conv*", "fc6")),
        ("conv[12], fc6,", ("conv[12]", "fc6")),
        ("('conv*', 'fc6')", ("conv*", "fc6")),
        ("['conv*']", ("conv*",)),
        ("'conv*'", ("conv*",)),
        ("conv*,conv*", ("conv*",)),
        ("5", ("5",)),
        ("('conv1, fc6', ' fc7 ')", ("conv1", "fc6", "fc7")),
        ("conv[1,2],fc6", ("conv[1,2]", "fc6")),
        ("()", ()),
    ],
)
def test_layers_on_the_command_line(text, patterns):
    config = default_config()
    config.optim.freeze = parse_names(text)
    validate(config)
    assert patterns_of(config.optim.freeze) == patterns


@pytest.mark.parametrize(
    "text",
    [
        "{'fc8': 10.0, 'conv*': 0.1}",
        "{'fc8': 10, 'conv*': 1e-1}",
        "('fc8=10', 'conv*=0.1')",
        "['fc8=10', 'conv* = 0.1']",
        "fc8=10,conv*=0.1",
        "'fc8=10, conv*=0.1'",
        "{' fc8 ': 10, 'conv*,': 0.1}",
    ],
)
def test_rates_on_the_command_line(text):
    config = default_config()
    config.optim.rates = parse_rates(text)
    validate(config)
    assert rates_of(config.optim.rates) == RATES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fc8",
        "{'fc8': 'x'}",
        "{'fc8': -1}",
        "{'fc8': 1e999}",
        "{",
        "5",
        "fc8=",
        "{'fc8,fc7': 1, 'fc7': 2}",
    ],
)
def test_rates_that_do_not_parse(text):
    with pytest.raises(ValueError, match="must be a factor for each of some layers"):
        parse_rates(text)


@pytest.mark.parametrize(
    "value",
    [RATES, "fc8=10,conv*=0.1", ("fc8=10", "conv*=0.1"), ["conv*=.1", "fc8=10.0"]],
)
def test_rates_in_files(value, tmp_path):
    """In every form they are one run's, also when they are read again."""
    one, other = default_config(), default_config()
    one.optim.rates, other.optim.rates = value, ("fc8=10", "conv*=0.1")
    validate(one)
    assert rates_of(one.optim.rates) == RATES
    assert not list(differences(one, other))
    assert one.to_json()  # a tuple of strings, whatever it was set by
    record = json.dumps({"config": one.to_dict()})
    (tmp_path / "config.json").write_text(record)
    again = read_config(tmp_path)
    assert rates_of(again.optim.rates) == RATES
    assert not list(differences(json.loads(one.to_json()), again))
    again.optim.rates = {"fc8": np.float32(2)}
    assert rates_of(again.optim.rates) == {"fc8": 2.0}
    assert [key for key, *_ in differences(one, again)] == ["optim.rates"]
    copy = one.copy_and_resolve_references()
    copy.optim.update(rates=None)
    assert flatten_config(copy)["optim.rates"] is None


def test_layers_in_one_form():
    one, other = default_config(), default_config()
    for value in ("fc6,conv*", ("conv*", "fc6"), ["fc6", "conv*", "fc6"]):
        one.optim.freeze, other.optim.freeze = value, ["conv*", "fc6"]
        assert not list(differences(one, other))
    other.optim.freeze = None
    assert len(list(differences(one, other))) == 1
    one.optim.freeze = None
    one.checkpoint.init_layers = "conv*"  # of the start only
    assert not list(differences(one, other))


@pytest.mark.parametrize("value", [(), {}, []])
def test_what_is_empty_is_not_set(value):
    one, other = default_config(), default_config()
    one.optim.rates = value
    one.optim.freeze = tuple(value)
    validate(one)
    assert not list(differences(one, other)) and not rates_of(one.optim.rates)


def test_rates_that_differ_a_little_are_others():
    one, other = default_config(), default_config()
    one.optim.rates, other.optim.rates = {"fc8": 0.1234561}, {"fc8": 0.1234564}
    assert [key for key, *_ in differences(one, other)] == ["optim.rates"]


def test_rates_of_another_type():
    config = default_config()
    with pytest.raises(TypeError):
        config.optim.rates = 5
    with pytest.raises(TypeError):
        config.optim.freeze = {"conv1": True}
    config.optim.rates = {"fc8": True}
    with pytest.raises(InputError, match="optim.rates must be .*; got .'fc8=True',."):
        validate(config)
