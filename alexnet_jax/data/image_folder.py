"""A folder of class folders, as for torchvision and in Imagenette."""

import dataclasses
import hashlib
import os
from pathlib import Path

import tensorflow_datasets as tfds

from alexnet_jax.data.class_folders import (
    LAYOUT,
    NOT_UTF8,
    Found,
    check_outside,
    note,
    read_class_folders,
    report_broken,
)
from alexnet_jax.data.image_files import as_utf8, stat_file
from alexnet_jax.data.preparation.builder import Photographs, open_builder
from alexnet_jax.data.preparation.jpeg import TO_STORED
from alexnet_jax.data.preparation.shards import check_whole, write_shards
from alexnet_jax.data.preparation.sources import Files, ImageFile
from alexnet_jax.data.preparation.tfds_internals import skip_registration
from alexnet_jax.data.spreadsheet import row_fault
from alexnet_jax.data.table import locate, read_table
from alexnet_jax.data.validation import check_share
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand
from alexnet_jax.terminal.text import counted


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """Names a folder's prepared copy.

    Attributes:
      class_names: By label.
    """

    class_names: tuple[str, ...] = ()


with skip_registration():

    class ImageFolder(Photographs):
        """Images in class folders, for training and for testing."""

        name = "image_folder"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            names = self.builder_config.class_names
            labels = tfds.features.ClassLabel(names=names)
            return self.describe(labels, "Images from a folder of class folders.")


def load(
    data_dir: Path,
    manual_dir: str | None,
    on_broken: str,
    val_share: float | None = None,
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a folder's images, prepared; prepares them once.

    If files of the folder change (their names, sizes or times of change), it is another
    data set with its own prepared copy.

    Args:
      data_dir: Folder of prepared data sets.
      manual_dir: `config.data.manual_dir`, the folder with `train/CLASS/*` and
        `val/CLASS/*`, as `class_folders.read_class_folders` finds them; or, with
        `val_share`, with `train/CLASS/*` or `CLASS/*` alone; or a table, as
        `table.read_table` reads it.
      on_broken: What to do with a file that is not an image, cannot be read or has a
        name that is not UTF-8, `fail` or `skip`.
      val_share: `config.data.val_share`.

    Raises:
      InputError: An image is broken, or was when it was prepared; the folder has
        another layout, a class has no images, or the disk is full.
    """
    if manual_dir is None:
        raise InputError(f"data.manual_dir must be set for image_folder; {LAYOUT}")
    root = expand(manual_dir, "data.manual_dir")
    if os.path.isfile(root):
        found = _read_table(root, on_broken, val_share)
    else:
        check_outside(root, data_dir, "data.data_dir")
        found = read_class_folders(root, on_broken, val_share)
    sources = {
        split: Files.in_order(split, files) for split, files in found.files.items()
    }
    if not all(map(len, sources.values())):
        raise InputError(f"data.on_broken: {as_utf8(root)} has no image that is left")
    digests = "".join(source.digest() for source in sources.values())
    digests += "\0".join(found.class_names)
    digest = hashlib.sha256(digests.encode()).hexdigest()
    name = root.stem if os.path.isfile(root) else root.name
    config = FolderConfig(
        name=f"{as_utf8(name)}-{digest[:8]}", class_names=found.class_names
    )

    def write(builder: ImageFolder) -> None:
        write_shards(builder, sources, TO_STORED, on_broken=on_broken)

    has_test = len(sources) > 1
    builder = open_builder(ImageFolder, data_dir, write, config, has_test)
    check_whole(builder, on_broken)
    return builder


def _read_table(path: Path, on_broken: str, val_share: float | None) -> Found:
    table = read_table(path)
    check_share(as_utf8(path), {row.split for row in table.rows}, val_share)
    for split, (count, reason) in table.left_out.items():
        note(f"{counted(count, 'row')} of the split {split} left out: {reason}")
    files: dict[str, list[ImageFile]] = {row.split: [] for row in table.rows}
    for row in table.rows:
        place = locate(path, row)
        try:
            if as_utf8(place) != os.fspath(place):
                raise OSError(NOT_UTF8)
            found = stat_file(place)
        except OSError as error:
            reason = error.strerror or str(error)
            if on_broken == "fail":
                raise row_fault(
                    path,
                    row.number,
                    f"{row.path} ({reason})",
                    "a path begins at the table's folder; correct it, or set "
                    "data.on_broken=skip to skip broken images",
                ) from error
            report_broken(row.path, f"row {row.number}: {reason}", on_broken)
            continue
        one = ImageFile.of(row.path, row.label, place, found)
        files[row.split].append(one)
    return Found(dict(sorted(files.items())), table.class_names)
