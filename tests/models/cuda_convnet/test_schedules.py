"""Learning rates as they are written."""

import pytest

from alexnet_jax.models.cuda_convnet.schedules import read_rate, read_schedule
from alexnet_jax.models.cuda_convnet.updates import Rate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default", Rate(1.0)),
        ("linear[tgtFactor=10,noiseStdev=0]", Rate(1.0, "linear", 10.0)),
        ("linear[1000]", Rate(1.0, "linear", 1000.0)),
        ("linear[1,1]", Rate(1.0, "linear", 1.0, 1, 1.0)),
        ("exp[tgtFactor=1000,noiseStdev=0]", Rate(1.0, "exp", 1000.0)),
        ("exp[20000]", Rate(1.0, "exp", 20000.0)),
        ("dexp[250,0,4]", Rate(1.0, "dexp", 250.0, 4)),
        ("dexp[500,5]", Rate(1.0, "dexp", 500.0, 5)),
        ("dexp[tgtFactor=250,noiseStdev=0.5,numSteps=4]",
         Rate(1.0, "dexp", 250.0, 4, 0.5)),
        ("jdexp[ 1000 , 4 ]", Rate(1.0, "jdexp", 1000.0, 4)),
    ],
)  # fmt: skip
def test_schedules_of_2012(text, expected):
    assert read_schedule(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", Rate(0.0)),
        ("1e-5", Rate(1e-5)),
        ("const[base=0.01]", Rate(0.01)),
        ("dexp[base=0.01;tgtFactor=250;numSteps=4]", Rate(0.01, "dexp", 250.0, 4)),
        ("exp[base=0.02;tgtFactor=10]", Rate(0.02, "exp", 10.0)),
        ("linear[base=1;TGTFACTOR=10]", Rate(1.0, "linear", 10.0)),
    ],
)
def test_rates_of_2014(text, expected):
    assert read_rate(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "fast", "exp", "exp[]", "exp[0]", "exp[-1]", "exp[nan]", "dexp[250,0,0]"]
    + ["dexp[250,0,4,5]", "dexp[250,0,1001]", "dexp[250,0,1.5]", "default[1]"]
    + ["exp[tgtFactor=1,tgtFactor=2]", "exp[factor=1]", "exp[1", "exp[1]x"]
    + ["exp[tgtFactor=inf]", "linear[10,-1]"],
)
def test_what_is_no_schedule(text):
    with pytest.raises(ValueError):
        read_schedule(text)


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "nan", "inf", "dexp[tgtFactor=250;numSteps=4]", "exp[base=-1;2]"]
    + ["const[base=inf]", "exp[base=1]", "const[base=1;tgtFactor=2]"],
)
def test_what_is_no_rate(text):
    with pytest.raises(ValueError):
        read_rate(text)
