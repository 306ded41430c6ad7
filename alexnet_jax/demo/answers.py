"""What a network answers to a picture, for the page: the one way is `predict`'s."""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alexnet_jax.data import true_examples
from alexnet_jax.data.pictures import Picture, has_dark_background
from alexnet_jax.errors import InputError
from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.inspection.layers import LayerRow
from alexnet_jax.inspection.tables import short_name
from alexnet_jax.reporting.sections import Section, filter_sections
from alexnet_jax.run.rows import is_evaluation, read_kept_row
from alexnet_jax.trained import TrainedModel

TOP = 5  # classes that are shown, as by `predict`
_DRAWN = "data:image/png;base64,"
_MAX_DRAWN_BYTES = 4_000_000
_LOOKED_AT, _EXAMPLES = 64, 12  # of the test images, from the first on
_IDLE = ("dropout", "mask_dropout")  # what does nothing in a trained network


class Answer(NamedTuple):
    """A picture, and what a network takes it for.

    Attributes:
      image: `(h, w, C) uint8`, the picture as the network is given it.
      notes: What was changed in the picture, or is unusual.
      classes: The most probable classes and their probabilities, in order.
      label: The true class, if it is known.
    """

    image: np.ndarray
    notes: tuple[str, ...]
    classes: tuple[tuple[str, float], ...]
    label: str | None


class Example(NamedTuple):
    """A picture of the data set.

    Attributes:
      image: `(h, w, C) uint8`.
      name: Of its class.
    """

    image: np.ndarray
    name: str


class Answers:
    """A trained network that is shown pictures.

    Attributes:
      network: The network.
      is_dark: Whether its data shows bright objects on black; so is what is drawn.
    """

    def __init__(self, run: str | Path) -> None:
        """Opens a run.

        Args:
          run: As `TrainedModel` takes it.

        Raises:
          InputError: As of `TrainedModel`; or its images are no pictures.
        """
        self.network = TrainedModel(run)
        channels = self.network.spec.image_shape[-1]
        if channels not in (1, 3):
            raise InputError(
                f"RUN: {self.network.workdir} was trained on images of {channels} "
                "channels; pictures have 1 (gray) or 3 (color)"
            )
        spec = self.network.spec
        self.is_dark = has_dark_background(spec.statistics.mean_image)
        # What is compiled is for one list of layers.
        self.layers = [row for row in self.network.layer_rows if row.kind not in _IDLE]

    def warm_up(self) -> None:
        """Compiles what the page will ask for, so that no visitor waits for it."""
        image = np.zeros(self.network.spec.image_shape, np.uint8)
        self.answer(Picture(image, ()))
        self.outputs(image)
        self.network.explain(image)

    def read(self, path: Path, invert: bool = False) -> Picture:
        """Reads a picture file as the command `predict` does.

        Raises:
          InputError: It cannot be read; its folder is not said.
        """
        ((_, found),) = self.network.read_pictures([path], invert=invert)
        if isinstance(found, InputError):
            line = str(found).removeprefix(f"{path}: ")
            raise InputError(f"{path.name}: {line}")
        return found

    def read_drawing(self, address: str) -> Picture:
        """Reads what a canvas of the page holds, as any picture file.

        Args:
          address: A PNG file as a `data:` address.

        Raises:
          InputError: It is none, or too large.
        """
        text = address if isinstance(address, str) else ""
        if not text.startswith(_DRAWN) or len(text) > _MAX_DRAWN_BYTES:
            raise InputError("the drawing is not a small PNG; draw it again")
        try:
            content = base64.b64decode(text.removeprefix(_DRAWN), validate=True)
        except binascii.Error as error:
            raise InputError("the drawing arrived damaged; draw it again") from error
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "drawing.png")
            path.write_bytes(content)
            return self.read(path)

    def answer(self, picture: Picture, label: str | None = None) -> Answer:
        """Returns the most probable classes of a picture.

        Args:
          picture: The picture.
          label: Its true class, if it is known.

        Raises:
          InputError: As of `TrainedModel.predict`.
        """
        found = self.network.predict(picture.image[None])
        (row,) = found.probabilities
        order = np.argsort(-row, kind="stable")[:TOP]
        classes = tuple((found.class_names[i], float(row[i])) for i in order)
        return Answer(picture.image, picture.notes, classes, label)

    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what each layer makes of an image: `(h, w, N)` or `(N,) float32`."""
        names = [row.name for row in self.layers]
        made = self.network.features(image[None], names)
        return {name: array[0] for name, array in made.items()}

    def explain(self, image: np.ndarray, label: int | None = None) -> Explanation:
        """Shows what in an image speaks for a class, as `TrainedModel.explain` does."""
        return self.network.explain(image, label)

    def row(self, layer: str) -> LayerRow:
        """Returns a layer's row of the table.

        Raises:
          InputError: There is no such layer.
        """
        for row in self.layers:
            if row.name == layer:
                return row
        raise InputError(f"layer must be one that is listed; got {str(layer)[:60]!r}")

    def examples(self) -> list[Example]:
        """Returns a few test images, of as many classes as there are among the first.

        Raises:
          InputError: The data set is not here, or cannot be read.
        """
        split = self.network.open_split("test", batch_size=_LOOKED_AT, prepare=False)
        try:
            batch = true_examples(split.batch(0))
        finally:
            split.close()
        firsts = np.unique(batch["label"], return_index=True)[1]
        others = np.setdiff1d(np.arange(len(batch["label"])), firsts)
        chosen = [*firsts, *others][:_EXAMPLES]
        return [
            Example(batch["image"][i], self.network.class_name(int(batch["label"][i])))
            for i in chosen
        ]

    def filters(self) -> Section | None:
        """Returns the figure of the first filters; None without a convolution."""
        return next(filter_sections(self.network), None)

    @property
    def title(self) -> str:
        """The network's name; of a layer file without its folder."""
        return short_name(self.network.config.model.name)

    @property
    def facts(self) -> list[str]:
        """What is to be said of the network: data, accuracy, parameters."""
        network = self.network
        height, width, channels = network.spec.image_shape
        colors = "gray" if channels == 1 else "color"
        count = sum(row.params for row in network.layer_rows)
        classes = f"{network.config.model.num_classes:,} classes"
        facts = [f"trained on {network.spec.name}: {classes}, {colors} images"]
        if not network.spec.streamed:
            facts[0] += f" of {height}×{width} pixels"
        row = read_kept_row(network.workdir / "checkpoints" / str(network.step))
        if is_evaluation(row):
            facts.append(f"{100 * row['test/top1']:.1f} % of the test images right")
        return [*facts, f"{count:,} parameters"]
