import jax
import jax.numpy as jnp
import optax
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import RunError
from alexnet_jax.inspection.nonfinite import look_at_layers
from alexnet_jax.models import create_model
from alexnet_jax.step import create_state
from tests.graphs import Fork
from tests.helpers import noise

SIZE = 67


@pytest.fixture(scope="module")
def network():
    """Wide enough for Winograd's algorithm, which spreads NaN over a tile."""
    model = create_model("alexnet_paper", num_classes=10, training=True, width=0.5)
    shape = 1, SIZE, SIZE, 3
    return model, create_state(model, optax.sgd(0.1), shape, jax.random.key(0))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("layer", "value"),
    [
        ("conv1", "nan"),
        ("conv2", "inf"),
        ("conv4", "nan"),
        ("fc7", "inf"),
        (None, "nan"),
    ],
)
def test_it_names_the_layer_that_went_wrong_first(network, layer, value):
    model, state = network
    images = noise(2, SIZE, SIZE, 3)
    if layer is None:
        images = images.at[1, 30, 30, 1].set(float(value))
    else:
        params = jax.tree.map(lambda leaf: leaf, state.params)
        kernel = params[layer]["kernel"]
        params[layer]["kernel"] = kernel.at[(0,) * kernel.ndim].set(float(value))
        state = state.replace(params=params)
    after = state.replace(first_bad=jnp.int32(1))
    named = "the output of layer {}, {}; "
    places = {"conv1": 1, "conv2": 5, "conv4": 11, "fc7": 20}
    found = named.format(places[layer or "conv1"], layer or "conv1")
    with pytest.raises(RunError, match=f"the first to go wrong is {found}"):
        look_at_layers(model, default_config(), state, after, images)


@pytest.mark.slow
def test_it_names_the_layer_of_a_network_that_is_no_chain():
    """conv2b and the sum that reads it are not finite; conv2a is."""
    model = Fork(initializer="he")
    state = create_state(model, optax.sgd(0.1), (1, 12, 12, 1), jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf, state.params)
    params["conv2b"]["bias"] = params["conv2b"]["bias"].at[3].set(jnp.inf)
    state = state.replace(params=params)
    after = state.replace(first_bad=jnp.int32(1))
    with pytest.raises(RunError, match="wrong is the output of layer 6, conv2b; "):
        look_at_layers(model, default_config(), state, after, noise(2, 12, 12, 1))
