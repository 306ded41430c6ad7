"""What several test modules use."""

import importlib.util
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from alexnet_jax.config import default_config
from alexnet_jax.data.statistics import measure
from alexnet_jax.inspection.layers import describe
from alexnet_jax.layers.dense import flatten
from alexnet_jax.models import Classifier, create_model
from alexnet_jax.parallel import create_parallel
from alexnet_jax.preprocessing.pipeline import create_pipeline
from alexnet_jax.run.rows import read_rows
from alexnet_jax.step import create_state, make_eval_step, make_train_step

# Leaves of `config.augment`: all at once.
AUGMENTED = {"canvas": 32, "crop": "random", "mirror": True, "color": 0.1, "shared": 3}
TOWERS_SIZE = 67  # of the images of `setup_towers`, in pixels


def config_with(changes):
    """The default config with other values, by dotted keys."""
    config = default_config()
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        (config[group] if group else config)[name] = value
    return config


def padded_batch(shape, true):
    """Images of a shape `(B, H, W, C)` and labels; only the first ones are true."""
    generator = np.random.default_rng(1)
    return {
        "image": generator.integers(0, 256, shape, np.uint8),
        "label": generator.integers(0, 10, shape[0]).astype(np.int32),
        "mask": np.arange(shape[0]) < true,
    }


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def assert_close(got, wanted, share):
    """Compares, but for a share of the largest value."""
    atol = share * np.abs(wanted).max()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


def compare(one, other, rtol=1e-5):
    """Leaf by leaf, relative to the leaf's largest value."""

    def leaf(path, a, b):
        scale = np.abs(a).max() or 1.0
        np.testing.assert_allclose(
            a / scale, b / scale, atol=rtol, rtol=0, err_msg=jax.tree_util.keystr(path)
        )

    jax.tree_util.tree_map_with_path(leaf, jax.device_get(one), jax.device_get(other))


def assert_same_bits(one, other):
    """Leaf by leaf; -0.0 is not 0.0."""

    def same(a, b):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    jax.tree.map(same, one, other)


def count_convolutions(layer, *inputs, platform="cpu"):
    """Counts XLA's convolutions in what a layer compiles to."""
    traced = jax.jit(layer.apply).trace(*inputs)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    return text.count("stablehlo.convolution")


def init_keys():
    return {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def shapes_of(model, input_shape):
    image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
    return jax.eval_shape(lambda x: model.init(init_keys(), x), image)["params"]


def activations(model, variables, image):
    """The outputs of all layers, by their names in the summary."""
    outputs = model.apply(
        variables, image, method=lambda self, x: [y for _, y in self.layer_outputs(x)]
    )
    names = [row.name for row in describe(model, image.shape)]
    return dict(zip(names, outputs, strict=True))


def setup_towers(
    name,
    data,
    model_axis,
    batch,
    tx=None,
    *,
    rate=0.0,
    frozen=frozenset(),
    accumulate_steps=1,
    **fields,
):
    """Returns the state and steps of a layout; plain SGD at rate 1 unless given.

    At rate 1 the change of the parameters is the negative gradient.
    """
    parallel = create_parallel(data, model_axis, 8, name)
    model = create_model(
        name,
        num_classes=10,
        training=True,
        width=1 / 8,
        dropout_rate=rate,
        initializer="torch",
        **fields,
    )
    local = parallel.local_model(model)
    tx = tx or optax.sgd(1.0)
    augment = default_config().augment
    augment.update(canvas=72, crop="random", mirror=True, color=0.1, shared=3)
    found = measure([batch["image"]])
    prepare = create_pipeline("standard", lambda: found, TOWERS_SIZE, augment)
    step = make_train_step(
        local,
        tx,
        prepare,
        augment=prepare.augmented,  # every layout draws the same
        steps_per_epoch=9,
        log_every_steps=9,
        frozen=frozen,
        accumulate_steps=accumulate_steps,
        axis_name=parallel.axis_name,
    )
    evaluate = make_eval_step(local, prepare, axis_name=parallel.axis_name)
    shape = (1, TOWERS_SIZE, TOWERS_SIZE, 3)
    state = create_state(model, tx, shape, jax.random.key(0), frozen)
    train_step = parallel.compile_train(step)
    eval_step = parallel.compile_eval(evaluate)
    key = jax.random.key(1)
    return (
        parallel.put(state),
        lambda state: train_step(state, parallel.shard_batch(batch), key)[0],
        lambda state: eval_step(
            state.params, state.model_state, parallel.shard_batch(batch)
        ),
    )


def rows_of(factor=1.0, epochs=4):
    """Two windows an epoch, the second at its end with a test result."""
    rows = []
    for step in range(1, 2 * epochs + 1):
        row = {"step": step, "epoch": step / 2, "time_s": 60.0 * step}
        row |= {"train/loss": factor / step, "train/top1": 1 - factor / (step + 1)}
        if step % 2 == 0:
            row |= {"test/loss": factor * 2 / step, "test/top1": 1 - factor / step}
        rows.append(row)
    return rows


class UserNet(Classifier):
    """A user's network: unnamed layers, a lambda, BatchNorm, dropout."""

    def setup(self):
        self.net = nn.Sequential(
            [
                nn.Conv(4, (3, 3), strides=2),
                nn.BatchNorm(use_running_average=not self.training, momentum=0.9),
                lambda x: nn.relu(x),
                flatten,
                nn.Dropout(0.2, deterministic=not self.training),
                nn.Dense(self.num_classes),
            ]
        )


def checkpoint_of(workdir, step):
    """The arrays of a checkpoint, read without the project's code."""
    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        return jax.tree.map(
            np.asarray, manager.restore(step, args=ocp.args.StandardRestore())
        )


def metrics_of(workdir, *names):
    """The named metrics of a run's rows, a tuple a row."""
    rows = read_rows(workdir / "metrics.jsonl")
    return [tuple(row.get(name) for name in names) for row in rows]


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXPERIMENTS = {
    path.stem: _load(path)
    for path in sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
}


def load_example(name):
    """A module of `examples/`, which is no package."""
    return _load(Path(__file__).parents[1] / "examples" / f"{name}.py")
