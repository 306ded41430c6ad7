"""A folder of class folders, as torchvision and Imagenette lay them."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from alexnet_jax.data.preparation.builder import Photographs, is_prepared
from alexnet_jax.data.preparation.jpeg import as_jpeg
from alexnet_jax.data.preparation.shards import Recipe, write
from alexnet_jax.data.preparation.sources import Files, ImageFile
from alexnet_jax.errors import InputError

# As torchvision's ImageFolder takes them.
_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp"),
    *(".pgm", ".tif", ".tiff", ".webp"),
)
_TEST_FOLDERS = {"val": "validation", "validation": "validation", "test": "test"}
_LAYOUT = "it must hold train/CLASS/*.jpg and val/CLASS/*.jpg"
_AS_THEY_ARE = Recipe("JPEG as it is, all else as RGB JPEG", as_jpeg)


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """Tells a folder's prepared copy from others'.

    Attributes:
      class_names: By label.
    """

    class_names: tuple[str, ...] = ()


with tfds.core.registered.skip_registration():

    class ImageFolder(Photographs):
        """Images in a folder a class, for training and for test."""

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

    A folder whose files have changed since is another data set, prepared for itself.

    Args:
      data_dir: Folder of prepared data sets.
      manual_dir: `config.data.manual_dir`, the folder with `train/CLASS/*` and
        `val/CLASS/*` (also called `validation` or `test`).
      on_broken: What to do with a file that is no image, `fail` or `skip`.

    Raises:
      InputError: The folder is laid out otherwise, a class has no images, or the disk
        is full.
    """
    if manual_dir is None:
        raise InputError(
            f"data.manual_dir is not set, and image_folder reads it; {_LAYOUT}"
        )
    root = Path(manual_dir).expanduser().absolute()
    tests = [name for name in _TEST_FOLDERS if (root / name).is_dir()]
    if not (root / "train").is_dir() or not tests:
        raise InputError(
            f"data.manual_dir: {root} is laid out otherwise; {_LAYOUT} (or "
            "validation/, or test/)"
        )
    class_names = tuple(_classes(root / "train"))
    for extra in sorted(set(_classes(root / tests[0])) - set(class_names)):
        raise InputError(
            f"data.manual_dir: class {extra} is in {root / tests[0]} and not in "
            f"{root / 'train'}, which has {len(class_names)} classes"
        )
    sources = {
        split: Files.in_order(split, _list(root / name))
        for split, name in (("train", "train"), (_TEST_FOLDERS[tests[0]], tests[0]))
    }
    digests = "".join(source.digest() for source in sources.values())
    digest = hashlib.sha256(digests.encode()).hexdigest()
    config = FolderConfig(name=f"{root.name}-{digest[:8]}", class_names=class_names)

    def create() -> ImageFolder:
        return ImageFolder(data_dir=data_dir, config=config, file_format="array_record")

    builder = create()
    if not is_prepared(builder):
        write(builder, sources, _AS_THEY_ARE, on_broken=on_broken)
        builder = create()
    return builder


def _classes(folder: Path) -> list[str]:
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise InputError(f"data.manual_dir: {folder} holds no class folder; {_LAYOUT}")
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
                f"data.manual_dir: class folder {folder / label} holds no image; "
                f"known are {', '.join(_SUFFIXES)}"
            )
