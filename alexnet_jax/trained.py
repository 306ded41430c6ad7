"""A trained model: a run's network, opened again to predict."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from alexnet_jax.config import side_pair, wider
from alexnet_jax.data import (
    DataSpec,
    Split,
    WrongShare,
    check_manual_dir,
    create_data,
    true_examples,
)
from alexnet_jax.data.pictures import Picture, list_files, read_pictures
from alexnet_jax.data.wordnet import shown_names
from alexnet_jax.errors import InputError
from alexnet_jax.explanation.classes import find_class
from alexnet_jax.explanation.explainer import Explainer, Explanation
from alexnet_jax.explanation.patches import whole
from alexnet_jax.extraction.inputs import as_path, paths_or_array
from alexnet_jax.extraction.outputs import check_pool, choose_layers, make_outputs
from alexnet_jax.extraction.stream import Part, stream
from alexnet_jax.inspection.layers import LayerRow, describe
from alexnet_jax.inspection.memory import fitting_batch_size
from alexnet_jax.metrics import (
    NO_EXAMPLES,
    add_sums,
    check_metrics,
    class_scores,
    confusion,
    finish_metrics,
    metric_sums,
)
from alexnet_jax.models import create_configured
from alexnet_jax.preprocessing.pipeline import make_preprocessing
from alexnet_jax.run.read import read_config
from alexnet_jax.run.weights import check_same_arrays, find_checkpoint, load_weights
from alexnet_jax.step import make_forward
from alexnet_jax.terminal.bar import spinner, track

# The batches of an evaluation do not change what it finds.
_MAX_BATCH_SIZE = 4096


class Predictions(NamedTuple):
    """What a network predicts for images.

    Attributes:
      probabilities: `(N, K) float64`, rows sum to 1.
      class_names: Of the K classes.
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each image, `(N,) int64`."""
        return self.probabilities.argmax(axis=1)

    @property
    def classes(self) -> list[str]:
        """The name of the most probable class of each image."""
        return [self.class_names[label] for label in self.labels]


class LabeledLogits(NamedTuple):
    """Images of a split with their labels and a network's logits.

    Attributes:
      image: `(N, h, w, C) uint8`.
      label: `(N,) int32`.
      logits: `(N, K) float32`.
    """

    image: np.ndarray
    label: np.ndarray
    logits: np.ndarray


def load(workdir: str | Path, views: int | None = None) -> "TrainedModel":
    """Opens a trained model.

    Args:
      workdir: A run's folder, whose newest intact checkpoint is taken, or
        `WORKDIR/checkpoints/STEP`.
      views: As in `TrainedModel`.

    Raises:
      InputError: No intact checkpoint of a network is there.

    Examples:
      >>> model = load("runs/mine")
      >>> images = model.open_split("test").batch(0)["image"]  # (N, 8, 8, 1) uint8
      >>> predictions = model.predict(images)
      >>> predictions.probabilities.shape[1] == len(predictions.class_names)
      True
    """
    return TrainedModel(workdir, views)


class TrainedModel:
    """A trained network with the specification of its input.

    Attributes:
      workdir: The run's folder.
      step: The checkpoint's.
      config: The run's.
      spec: What the network was trained on.
      model: The network, `training=False`.
      weights: `params` and `model_state`, NumPy arrays.
      views: Of an image; probabilities are averaged over them.
      skipped: Newer checkpoints that are damaged, and how; a line each.
    """

    def __init__(self, source: str | Path, views: int | None = None) -> None:
        """Opens a checkpoint.

        Args:
          source: `WORKDIR`, whose newest intact checkpoint is taken, or
            `WORKDIR/checkpoints/STEP`.
          views: As `config.eval.views`; the run's if not given. A run without
            `augment.canvas` has its ten views from one of 8 / 7 the image's sides.

        Raises:
          InputError: No intact checkpoint of this config's network is there.
        """
        folder, self.skipped = find_checkpoint(source)
        self.step = int(folder.name)
        self.workdir = folder.parent.parent
        self.config = config = read_config(self.workdir)
        if views is not None and views not in (1, 10):
            raise InputError(f"views must be 1 or 10; got {views!r}")
        check_metrics(config.eval.metrics)
        self.spec = DataSpec.load(self.workdir)
        self.model = create_configured(config).clone(training=False)
        size, canvas = side_pair(config.data.image_size), config.augment.canvas
        self.input_shape = (1, *size, self.spec.image_shape[-1])
        self.weights = load_weights(folder)
        self._check(folder)
        self._variables = jax.device_put(self.weights)
        self.views = config.eval.views if views is None else views
        if self.views > 1 and (canvas is None or side_pair(canvas) == size):
            config.augment.canvas = wider(size)
        self._preprocess = make_preprocessing(
            config, self.model, lambda: self.spec.statistics
        )
        self._forward = jax.jit(
            make_forward(
                self.model,
                self._preprocess,
                views=self._preprocess.views if self.views > 1 else None,
                dtype=config.dtype,
            )
        )
        self.batch_size = min(fitting_batch_size(config, self.model), _MAX_BATCH_SIZE)

    def _check(self, folder: Path) -> None:
        state = self.model.variable_shapes(self.input_shape)
        check_same_arrays(
            self.weights,
            {"params": state.pop("params"), "model_state": state},
            f"checkpoint {folder}",
            "restore the run's own config.json",
        )
        for path, array in traverse_util.flatten_dict(self.weights["params"]).items():
            if not np.isfinite(array).all():
                raise InputError(
                    f"checkpoint {folder}: {'/'.join(path)} holds NaN or inf; take an "
                    "earlier one"
                )

    def predict(self, images: np.ndarray) -> Predictions:
        """Returns class probabilities.

        Args:
          images: `(N, h, w, C) uint8`, h, w and C as in `spec.image_shape`.

        Raises:
          InputError: `images` has another shape or dtype, or a logit is not finite.
        """
        logits = self.logits(images)
        names = tuple(self.class_name(label) for label in range(logits.shape[1]))
        return Predictions(probabilities(logits), names)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits, computed at most `batch_size` images at a time.

        Args:
          images: As in `predict`.

        Returns:
          `(N, K) float32`.

        Raises:
          InputError: As in `predict`.
        """
        return self._logits(self._forward, images)

    def _logits(
        self, forward: Callable[..., jax.Array], images: np.ndarray
    ) -> np.ndarray:
        (logits,) = self._in_batches(
            lambda part: (forward(**self._variables, image=part),), images
        )
        if not np.isfinite(logits).all():
            raise InputError(
                f"checkpoint of step {self.step} in {self.workdir}: its logits hold "
                "NaN or inf; take an earlier one"
            )
        return logits

    def _in_batches(
        self, function: Callable[[np.ndarray], Sequence[jax.Array]], images: np.ndarray
    ) -> list[np.ndarray]:
        """Applies a function of images to so many of them as fit; joins the results."""
        images = self.spec.as_images(images)
        size = min(self.batch_size, len(images))
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            # The last is filled up, so that nothing is compiled again.
            full = part[np.arange(size) % len(part)]
            parts.append([np.asarray(made)[: len(part)] for made in function(full)])
        return [np.concatenate(made) for made in zip(*parts, strict=True)]

    @cached_property
    def layer_names(self) -> list[str]:
        """The layers' names, in order: `conv1`, `relu1`, `pool1`, ..., `fc8`."""
        return [row.name for row in self.layer_rows]

    @cached_property
    def layer_rows(self) -> list[LayerRow]:
        """The layers' rows of the table, in order."""
        return describe(self.model, self.input_shape)

    def features(
        self,
        images: np.ndarray | str | Path | Iterable[str | Path] | Iterable[np.ndarray],
        layers: str | Sequence[str] = ("conv*", "fc*"),
        pool: str = "none",
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of layers, for the center view of each image.

        They are those that `logits` comes from with `views=1`, in the run's `dtype`. If
        the model is opened with ten views, and its run has no `augment.canvas`, the
        center view is that of the canvas which these are from.

        Args:
          images: As in `predict`; or picture files, or folders of them, which are read
            as the command `predict` reads them. An iterator is read to its end.
          layers: Names of `layer_names`, or patterns of them such as `relu*`. `conv1`
            is before its ReLU, `relu1` after it.
          pool: What is taken over the height and width of maps: `none`, `mean`, `max`.

        Returns:
          By name, `(N, h', w', C') float32` or, pooled, `(N, C') float32`; of dense
          layers `(N, units) float32`. Rows of files are in the order of
          `data.pictures.list_files`.

        Raises:
          InputError: `images` is neither, or has another shape or dtype, a file cannot
            be read, a pattern fits no layer, or `pool` is none of these.
        """
        given = paths_or_array(images)
        if isinstance(given, np.ndarray):
            names, compute = self._compute(layers, pool)
            found = self._in_batches(lambda part: [*compute(part).values()], given)
            return dict(zip(names, found, strict=True))
        parts = []
        for part in self.stream_features(list_files(given, "images"), layers, pool):
            if part.errors:
                raise InputError(part.errors[0])
            parts.append(part.layers)
        return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}

    def read_pictures(
        self, paths: Sequence[Path], *, invert: bool = False, ahead: int = 64
    ) -> Iterator[tuple[Path, Picture | InputError]]:
        """Yields picture files as images of the run's data, or what is wrong with them.

        Args:
          paths: The files.
          invert: Whether to exchange light and dark first.
          ahead: How many pictures are held in memory, at most.
        """
        data = self.config.data
        return read_pictures(
            paths, self.spec, invert, data.fit, data.resize, ahead=ahead
        )

    def stream_features(
        self,
        paths: Sequence[Path],
        layers: str | Sequence[str],
        pool: str = "none",
        *,
        invert: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[Part]:
        """Yields what `features` gives of picture files, a batch at a time.

        Args:
          paths: Files; those that cannot be read are left out, and named.
          layers: As in `features`.
          pool: As in `features`.
          invert: Whether to exchange light and dark first.
          batch_size: Pictures at a time; the network's `batch_size` if not given.

        Raises:
          InputError: A pattern fits no layer, `pool` is unknown, or `batch_size` is
            less than 1.
        """
        _, compute = self._compute(layers, pool)
        size = min(_count(batch_size, "batch_size") or self.batch_size, len(paths))
        pictures = self.read_pictures(paths, invert=invert, ahead=2 * size)
        return stream(pictures, compute, size)

    def _compute(
        self, layers: str | Sequence[str], pool: str
    ) -> tuple[list[str], Callable[[np.ndarray], dict[str, jax.Array]]]:
        """Returns the names of layers, and the function that computes their outputs."""
        check_pool(pool)
        names = choose_layers(self.layer_names, layers)
        wanted = tuple(map(self.layer_names.index, names))

        def compute(image: np.ndarray) -> dict[str, jax.Array]:
            made = self._outputs(
                **self._variables, image=image, wanted=wanted, pool=pool
            )
            return dict(zip(names, made, strict=True))

        return names, compute

    @cached_property
    def _outputs(self) -> Callable[..., list[jax.Array]]:
        """The compiled function of layers' outputs; one, so that calls share it."""
        return make_outputs(self.model, self._preprocess, self.config.dtype)

    def explain(
        self,
        image: np.ndarray | str | Path,
        label: int | str | None = None,
        *,
        layer: str | None = None,
        window: int | None = None,
        stride: int | None = None,
    ) -> Explanation:
        """Shows what in an image speaks for a class: occlusion, gradient, Grad-CAM.

        All is of the center view, which `features` describes.

        Args:
          image: `(h, w, C) uint8`, as in `spec.image_shape`; or a picture file, which
            is read as the command `predict` reads it.
          label: The class, by number or name; the most probable one if not given.
          layer: A name of `layer_names`, whose maps Grad-CAM weights; the nonlinearity
            of the last convolution if not given.
          window: Height and width, in pixels of the image, of the patch that covers it;
            a fifth of the image's if not given.
          stride: Pixels from one patch to the next; half of the patch if not given.

        Raises:
          InputError: `image` has another shape or dtype, or cannot be read; there is
            no such class or layer; `window` or `stride` does not fit; a number is not
            finite.

        Source: Zeiler and Fergus 2014, §4.2; Simonyan et al. 2014, §3; Selvaraju et al.
          2017, §3.
        """
        classes = self.config.model.num_classes
        if isinstance(label, str):
            label = self.find_class(label)
        label = whole(label, "label")
        if label is not None and not 0 <= label < classes:
            raise InputError(f"label must be from 0 to {classes - 1}; got {label}")
        notes: tuple[str, ...] = ()
        if isinstance(image, str | os.PathLike):
            ((_, picture),) = self.read_pictures([as_path(image)])
            if isinstance(picture, InputError):
                raise picture
            image, notes = picture
        found = self._explainer.explain(
            image, label, layer=layer, window=window, stride=stride
        )
        return found._replace(notes=(*notes, *found.notes))

    def find_class(self, text: str) -> int:
        """Returns the label of a class by its name, in any case, or its number.

        Raises:
          InputError: There is no such class, or several; the nearest are named.
        """
        classes = range(self.config.model.num_classes)
        return find_class(self.spec, [self.class_name(one) for one in classes], text)

    @cached_property
    def _explainer(self) -> Explainer:
        forward, notes = self._forward, []
        if self.views > 1:
            forward = jax.jit(
                make_forward(self.model, self._preprocess, dtype=self.config.dtype)
            )
            notes = [f"of the center view; predictions are means over {self.views}"]
        return Explainer(
            self.model,
            self._preprocess,
            self.spec,
            self._variables,
            lambda images: probabilities(self._logits(forward, images)),
            dtype=self.config.dtype,
            batch_size=self.batch_size,
            notes=notes,
        )

    def open_split(
        self,
        name: str,
        data_dir: str | None = None,
        manual_dir: str | None = None,
        *,
        batch_size: int | None = None,
        prepare: bool = True,
    ) -> Split:
        """Opens a split of the run's data set.

        Args:
          name: `train` or `test`.
          data_dir: As `config.data.data_dir`. If it is not given, the data is read
            from the run's own folder; what that lacks is prepared in `TFDS_DATA_DIR`
            or the default, and a line says so: a folder that a run names is not
            written to.
          manual_dir: As `config.data.manual_dir`; the run's if not given.
          batch_size: Images of a batch; the network's `batch_size` if not given.
          prepare: Whether data that is nowhere prepared is prepared, which may download
            it; without, nothing is written.

        Raises:
          InputError: The data cannot be read, or has other classes; or `batch_size` is
            less than 1.
        """
        if name not in ("train", "test"):
            raise InputError(f"name of the split must be train or test; got {name!r}")
        batch_size = _count(batch_size, "batch_size") or self.batch_size
        settings = self.config.data.copy_and_resolve_references()
        named = None if data_dir else settings.data_dir
        settings.data_dir = data_dir
        settings.manual_dir = manual_dir or settings.manual_dir
        check_manual_dir(settings.name, manual_dir)
        open_data = partial(
            create_data,
            settings,
            batch_size=batch_size,
            eval_batch_size=batch_size,
            seed=self.config.seed,
            read_from=named,
            prepare=prepare,
        )
        with spinner("opening the data"):
            try:
                data = open_data()
            except WrongShare as error:
                if not manual_dir:
                    raise
                if not error.brought:
                    raise InputError(
                        f"--manual-dir: {manual_dir} has no part to measure; put the "
                        "images into test/CLASS/, beside train/CLASS/ with those that "
                        "the network was trained on"
                    ) from error
                settings.val_share = None  # the run's was of other images
                data = open_data()
        if data.spec.class_names != self.spec.class_names:
            raise InputError(
                f"data.name: {data.spec.name} has other classes than "
                f"{self.spec.name}, which the network was trained on"
            )
        if data.division is not None:
            data.division.check(self.workdir)
        return data.train if name == "train" else data.test

    @cached_property
    def _shown_names(self) -> tuple[str, ...]:
        return shown_names(self.spec.class_names)

    def class_name(self, label: int) -> str:
        """Returns a class's name as people read it, such as `tench (n01440764)`.

        Where the data has no such class, it is a number.

        Raises:
          InputError: `label` is no whole number, or less than 0.
        """
        names = self._shown_names
        number = whole(label, "label")
        if number is None or number < 0:
            raise InputError(f"label must be at least 0; got {label!r}")
        return names[number] if number < len(names) else f"class {number}"

    def predict_split(
        self, split: Split, examples: int | None = None
    ) -> Iterator[LabeledLogits]:
        """Yields logits of a split's first examples, or all, a batch at a time.

        Raises:
          InputError: All images are broken, or `examples` is less than 1; or as in
            `predict`.
        """
        counted = _count(examples, "examples")
        total = left = split.num_examples if counted is None else counted
        batches = min(len(split), -(-total // split.batch_size))
        for step in track(range(len(split)), batches, "batches", "compiling"):
            batch = split.batch(step)
            if batch["mask"].any():
                # Of the whole batch, so that all are of one shape.
                batch = batch | {"logits": self.logits(batch["image"])}
                kept = true_examples(batch, left)
                left -= len(kept["label"])
                yield LabeledLogits(kept["image"], kept["label"], kept["logits"])
            if left <= 0:
                return
        if left == total:
            raise InputError(NO_EXAMPLES)

    def evaluate(
        self,
        split: str = "test",
        data_dir: str | None = None,
        manual_dir: str | None = None,
    ) -> dict[str, Any]:
        """Measures the model on a split of its data.

        Args:
          split: `test` or `train`.
          data_dir: As in `open_split`.
          manual_dir: As in `open_split`.

        Returns:
          `workdir`, `step`, `data`, `split`, `examples`, `views`; the metrics of the
          run's `eval.metrics` (`loss` in nats, `top1`, ... as fractions) and `ece`, the
          expected calibration error; `classes`, a list of `class`, `examples`, `top1`,
          `mistaken_for` (the class that it is most often confused with) and `mistaken`
          (how often).

        Raises:
          InputError: The data cannot be read, or has other classes.
        """
        classes = self.config.model.num_classes
        names = dict.fromkeys([*self.config.eval.metrics, "ece"])
        total: dict[str, Any] = {}
        matrix = np.zeros((classes, classes), np.int64)
        for one in self.predict_split(self.open_split(split, data_dir, manual_dir)):
            sums = metric_sums(
                names,
                jnp.asarray(one.logits),
                jnp.asarray(one.label),
                jnp.ones(len(one.label), bool),
            )
            total = add_sums(total, sums)
            matrix += confusion(one.logits, one.label)
        return {
            "workdir": str(self.workdir),
            "step": self.step,
            "data": self.spec.name,
            "split": split,
            "examples": int(matrix.sum()),
            "views": self.views,
            **finish_metrics(total),
            "classes": [*self._class_results(matrix)],
        }

    def _class_results(self, matrix: np.ndarray) -> Iterator[dict[str, Any]]:
        scores = class_scores(matrix)
        for label, count in enumerate(scores.examples.tolist()):
            other = int(scores.confused_with[label])
            yield {
                "class": self.class_name(label),
                "examples": count,
                "top1": float(scores.recall[label]) if count else None,
                "mistaken_for": None if other < 0 else self.class_name(other),
                "mistaken": int(scores.confusions[label]),
            }


def _count(value: Any, name: str) -> int | None:
    """Returns a number of things as Python's; None as it is."""
    number = whole(value, name)
    if number is not None and number < 1:
        raise InputError(f"{name} must be at least 1; got {value!r}")
    return number


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis, float64."""
    wide = logits.astype(np.float64)
    power = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return power / power.sum(axis=-1, keepdims=True)
