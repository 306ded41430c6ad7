"""A folder of class folders, as for torchvision and in Imagenette."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from alexnet_jax.data.preparation.builder import Photographs, open_builder
from alexnet_jax.data.preparation.jpeg import TO_JPEG
from alexnet_jax.data.preparation.shards import write_shards
from alexnet_jax.data.preparation.sources import Files, ImageFile
from alexnet_jax.errors import InputError

# Those of torchvision's ImageFolder.
_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp"),
    *(".pgm", ".tif", ".tiff", ".webp"),
)
_TEST_FOLDERS = {"val": "validation", "validation": "validation", "test": "test"}
_LAYOUT = "it must contain train/CLASS/*.jpg and val/CLASS/*.jpg"


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """Names a folder's prepared copy.

    Attributes:
      class_names: By label.
    """

    class_names: tuple[str, ...] = ()


with tfds.core.registered.skip_registration():

    class ImageFolder(Photographs):
        """Images in class folders, for training and for testing."""

        name = "image_folder"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            names = self.builder_config.class_names
            labels = tfds.features.ClassLabel(names=names)
            return self.describe(labels, "Images from a folder of class folders.")


def load(
    data_dir: Path, manual_dir: str | None, on_broken: str
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a folder's images, prepared; prepares them once.

    If files of the folder change, it is another data set with its own prepared copy.

    Args:
      data_dir: Folder of prepared data sets.
      manual_dir: `config.data.manual_dir`, the folder with `train/CLASS/*` and
        `val/CLASS/*` (also called `validation` or `test`).
      on_broken: What to do with a file that is not an image, `fail` or `skip`.

    Raises:
      InputError: The folder has another layout, a class has no images, or the disk is
        full.
    """
    if manual_dir is None:
        raise InputError(f"data.manual_dir must be set for image_folder; {_LAYOUT}")
    root = Path(manual_dir).expanduser().absolute()
    tests = [name for name in _TEST_FOLDERS if (root / name).is_dir()]
    if not (root / "train").is_dir() or not tests:
        raise InputError(
            f"data.manual_dir: {root} has another layout; {_LAYOUT} (or "
            "validation/, or test/)"
        )
    class_names = tuple(_classes(root / "train"))
    for extra in sorted(set(_classes(root / tests[0])) - set(class_names)):
        raise InputError(
            f"data.manual_dir: class {extra} is in {root / tests[0]} but not in "
            f"{root / 'train'}, which has {len(class_names)} classes"
        )
    sources = {
        split: Files.in_order(split, _list(root / name))
        for split, name in (("train", "train"), (_TEST_FOLDERS[tests[0]], tests[0]))
    }
    digests = "".join(source.digest() for source in sources.values())
    digest = hashlib.sha256(digests.encode()).hexdigest()
    config = FolderConfig(name=f"{root.name}-{digest[:8]}", class_names=class_names)

    def write(builder: ImageFolder) -> None:
        write_shards(builder, sources, TO_JPEG, on_broken=on_broken)

    return open_builder(ImageFolder, data_dir, write, config)


def _classes(folder: Path) -> list[str]:
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise InputError(
            f"data.manual_dir: {folder} contains no class folders; {_LAYOUT}"
        )
    return names


def _list(folder: Path) -> Iterator[ImageFile]:
    """Lists the images below each class folder."""
    for label in _classes(folder):
        empty = True
        for place, _, names in os.walk(folder / label, followlinks=True):
            for name in names:
                if not name.lower().endswith(_SUFFIXES) or name.startswith("."):
                    continue
                path, empty = Path(place, name), False
                key = path.relative_to(folder).as_posix()
                size = path.stat().st_size
                yield ImageFile(key, label, str(path), 0, size)
        if empty:
            raise InputError(
                f"data.manual_dir: class folder {folder / label} contains no images; "
                f"their names must end with one of {', '.join(_SUFFIXES)}"
            )
