"""Runs with random weights, written without training."""

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.config import default_config, side_pair
from alexnet_jax.data.spec import DataSpec
from alexnet_jax.data.statistics import measure
from alexnet_jax.models import MODELS, create_configured
from alexnet_jax.run.imported import new_run


def config_of(network, **changes):
    """A config at a sixteenth of the width; keys are dotted."""
    config = default_config()
    config.name = "drawn"
    config.model.name, config.model.num_classes = network, 7
    if hasattr(MODELS[network], "width"):
        config.model.width = 1 / 16
    config.data.name = "image_folder"
    config.data.image_size = side_pair(MODELS[network].reference.input_shape[0])
    config.log.tensorboard = False
    config.update_from_flattened_dict(changes)
    return config


def spec_of(config, image_shape, streamed=True):
    """A specification with statistics of drawn images."""
    draw = np.random.default_rng(1)
    found = measure([draw.integers(0, 256, (5, *image_shape), np.uint8)])
    return DataSpec(
        name="image_folder 1.0.0",
        class_names=tuple(f"ê{k}" for k in range(config.model.num_classes)),
        image_shape=image_shape,
        measure=lambda: found,
        streamed=streamed,
    )


def weights_of(config, channels):
    """Random `params` and `model_state` of a config's network."""
    model = create_configured(config)
    shape = (1, *side_pair(config.data.image_size), channels)
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    shapes = jax.eval_shape(lambda: model.init(keys, jnp.zeros(shape, jnp.float32)))
    draw = np.random.default_rng(0)
    gain = 4.0 if config.model.name == "lenet5" else 1.5  # sigmoids dampen

    def one(path, leaf):
        name = path[-1].key
        found = draw.normal(0, 1, leaf.shape)
        if name == "kernel":
            found *= gain / np.sqrt(np.prod(leaf.shape[:-1]))
        elif name == "bias":
            found *= 0.1
        elif name in ("var", "scale"):
            found = 0.5 + np.square(found)
        return found.astype(leaf.dtype)

    found = jax.tree_util.tree_map_with_path(one, shapes)
    return {"params": found.pop("params"), "model_state": dict(found)}


def make_run(workdir, network, image_shape=(40, 44, 3), streamed=True, **changes):
    """Writes a run's folder; returns its weights."""
    config = config_of(network, **changes)
    weights = weights_of(config, image_shape[-1])
    with new_run(workdir, config, spec_of(config, image_shape, streamed), **weights):
        pass
    return weights
