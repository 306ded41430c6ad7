"""A run's network, opened again to be looked at and asked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from alexnet_jax.config import default_config, flatten_config, validate
from alexnet_jax.data import DataSpec, Split, create_data
from alexnet_jax.errors import InputError
from alexnet_jax.models import create_configured
from alexnet_jax.models.base import layer_name
from alexnet_jax.preprocessing.pipeline import make_prepare
from alexnet_jax.run.weights import check_same_arrays, find_checkpoint, load_weights
from alexnet_jax.step import make_forward


class SplitPredictions(NamedTuple):
    """What a network said of labelled images.

    Attributes:
      image: `(N, h, w, C) uint8`.
      label: `(N,) int32`.
      logits: `(N, K) float32`.
    """

    image: np.ndarray
    label: np.ndarray
    logits: np.ndarray


def read_config(workdir: Path) -> ConfigDict:
    """Reads a run's config; keys that it does not know yet have their default.

    Raises:
      InputError: `config.json` is missing, damaged, or of another version.
    """
    path = workdir / "config.json"
    try:
        stored = flatten_config(json.loads(path.read_text())["config"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{workdir} holds no readable config.json; give a run's workdir, or "
            "WORKDIR/checkpoints/STEP"
        ) from error
    config = default_config()
    try:
        config.update_from_flattened_dict(stored)
        validate(config)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is of another version of the program: {str(error).strip()}"
        ) from error
    return config


class TrainedModel:
    """A trained network with what it was fed.

    Attributes:
      workdir: The run's folder.
      step: The checkpoint's.
      config: The run's.
      inputs: What it was fed.
      model: The network, `training=False`.
      weights: `params` and `model_state`, NumPy arrays.
      views: Of an image; the probabilities' mean over them is the answer.
      passed_over: Newer checkpoints that are damaged, and how; a line each.
    """

    def __init__(self, source: str | Path, views: int | None = None) -> None:
        """Opens a checkpoint.

        Args:
          source: `WORKDIR`, whose newest intact checkpoint is taken, or
            `WORKDIR/checkpoints/STEP`.
          views: As `config.eval.views`; the run's if not given. A run without
            `augment.canvas` has its ten views from one of 8 / 7 the image's size.

        Raises:
          InputError: No intact checkpoint of this config's network lies there.
        """
        folder, self.passed_over = find_checkpoint(source)
        self.step = int(folder.name)
        self.workdir = folder.parents[1]
        self.config = config = read_config(self.workdir)
        self.inputs = DataSpec.load(self.workdir)
        self.model = create_configured(config).clone(training=False)
        size = config.data.image_size
        self.input_shape = (1, size, size, self.inputs.image_shape[-1])
        self.weights = load_weights(folder)
        self._check(folder)
        self._on_device = jax.device_put(self.weights)
        self.views = config.eval.views if views is None else views
        if self.views > 1 and config.augment.canvas in (None, size):
            config.augment.canvas = size * 8 // 7
        scale = config.data.scale
        scale = self.model.author_scale if scale == "author" else scale
        self._prepare = make_prepare(
            scale, lambda: self.inputs.statistics, size, config.augment
        )
        self._forward = jax.jit(
            make_forward(
                self.model,
                self._prepare,
                views=self._prepare.views if self.views > 1 else None,
                dtype=config.dtype,
            )
        )
        self.batch_size = config.eval.batch_size

    def _check(self, folder: Path) -> None:
        def init() -> dict[str, Any]:
            keys = {name: jax.random.key(0) for name in ("params", "dropout")}
            state = dict(self.model.init(keys, jnp.zeros(self.input_shape)))
            return {"params": state.pop("params"), "model_state": state}

        check_same_arrays(self.weights, jax.eval_shape(init), f"checkpoint {folder}")
        for path, array in traverse_util.flatten_dict(self.weights["params"]).items():
            if not np.isfinite(array).all():
                raise InputError(
                    f"checkpoint {folder}: {'/'.join(path)} holds NaN or inf; take an "
                    "earlier one"
                )

    def logits(self, image: np.ndarray) -> np.ndarray:
        """Asks the network, at most `batch_size` images at a time.

        Args:
          image: `(N, h, w, C) uint8`, h, w and C as `inputs.image_shape` has them.

        Returns:
          `(N, K) float32`.

        Raises:
          InputError: An answer is not finite.
        """
        size = min(self.batch_size, len(image))
        parts = []
        for start in range(0, len(image), size):
            part = image[start : start + size]
            # The last is filled up, so that nothing is compiled anew.
            full = part[np.arange(size) % len(part)]
            parts.append(
                np.asarray(self._forward(**self._on_device, image=full))[: len(part)]
            )
        logits = np.concatenate(parts)
        if not np.isfinite(logits).all():
            raise InputError(
                f"checkpoint of step {self.step} in {self.workdir}: its answers hold "
                "NaN or inf; take an earlier one"
            )
        return logits

    def features(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what each convolution makes of an image `(h, w, C) uint8`.

        Returns:
          By the layer's name, `(h', w', N) float32`.
        """

        def trace(model: Any, x: jax.Array) -> dict[str, jax.Array]:
            made = {layer_name(layer): y for layer, y in model.layer_outputs(x)}
            return {name: y[0] for name, y in made.items() if name.startswith("conv")}

        params, state = self._on_device["params"], self._on_device["model_state"]
        variables = {"params": params, **state}
        prepared = self._prepare(jnp.asarray(image[None]))
        maps: Any = self.model.apply(variables, prepared, method=trace)
        return {name: np.asarray(layer) for name, layer in maps.items()}

    def open_split(
        self, name: str, data_dir: str | None = None, manual_dir: str | None = None
    ) -> Split:
        """Opens a split of the run's data set.

        Args:
          name: `train` or `test`.
          data_dir: As `config.data.data_dir`; the run's if not given.
          manual_dir: As `config.data.manual_dir`; the run's if not given.

        Raises:
          InputError: The data cannot be had, or is not what the network was fed.
        """
        data = self.config.data.copy_and_resolve_references()
        data.data_dir = data_dir or data.data_dir
        data.manual_dir = manual_dir or data.manual_dir
        opened = create_data(
            data,
            batch_size=self.batch_size,
            eval_batch_size=self.batch_size,
            seed=self.config.seed,
        )
        if opened.spec.class_names != self.inputs.class_names:
            raise InputError(
                f"data.name: {opened.spec.name} has other classes than "
                f"{self.inputs.name}, which the network was trained on"
            )
        return opened.train if name == "train" else opened.test

    def class_name(self, label: int) -> str:
        """Returns a class's name; a number, where the data has no such class."""
        names = self.inputs.class_names
        return names[label] if label < len(names) else f"class {label}"

    def ask(
        self, split: Split, examples: int | None = None
    ) -> Iterator[SplitPredictions]:
        """Asks about a split's first examples, or all, a batch at a time."""
        left = split.num_examples if examples is None else examples
        for step in range(len(split)):
            batch = split.batch(step)
            count = min(int(batch["mask"].sum()), left)
            if count <= 0:
                return
            logits = self.logits(batch["image"])[:count]
            yield SplitPredictions(
                batch["image"][:count], batch["label"][:count], logits
            )
            left -= count


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis, float64."""
    wide = logits.astype(np.float64)
    power = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return power / power.sum(axis=-1, keepdims=True)
