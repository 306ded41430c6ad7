"""The command line's own functions; tests/e2e has the whole process."""

import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.sweep import parse_seeds


def test_seeds_must_be_distinct_integers():
    assert parse_seeds(["0", "12"]) == [0, 12]
    for values in (["0", "0"], ["a"], []):
        with pytest.raises(InputError, match="--seeds must be distinct"):
            parse_seeds(values)
