"""ImageNet 2012 as TFDS has it, prepared without TensorFlow; and at 256 pixels.

Source: Russakovsky et al. 2015; TFDS `imagenet2012` 5.1.0; Krizhevsky et al. 2012, §2.
"""

import functools
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow_datasets as tfds

from alexnet_jax.data.preparation.builder import (
    Photographs,
    open_builder,
)
from alexnet_jax.data.preparation.damage import NotPrepared
from alexnet_jax.data.preparation.jpeg import TO_JPEG, Conversion, shrink
from alexnet_jax.data.preparation.prepared import Access, accessed
from alexnet_jax.data.preparation.shards import (
    check_whole,
    count_lacking,
    write_shards,
)
from alexnet_jax.data.preparation.sources import Files, ImageFile, Records, Source
from alexnet_jax.data.preparation.tfds_internals import Imagenet2012, skip_registration
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand

TARS = {"train": "ILSVRC2012_img_train.tar", "validation": "ILSVRC2012_img_val.tar"}

# TFDS's; the validation images' are beside it.
_LABELS = Path(tfds.core.tfds_path("datasets/imagenet2012/labels.txt"))
_SHORT_SIDE = 256
_QUALITY = 85
_IMAGE_BYTES = 22_000  # measured on five photographs: 16 to 27 kB

_SHRUNK = Conversion(
    f"JPEG of quality {_QUALITY}, short side {_SHORT_SIDE}",
    functools.partial(shrink, short_side=_SHORT_SIDE, quality=_QUALITY),
    _IMAGE_BYTES,
)

with skip_registration():

    class Imagenet2012Shrunk(Photographs):
        """ImageNet 2012 with a short side of 256 pixels, as JPEG."""

        name = "imagenet2012_256"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            labels = tfds.features.ClassLabel(names_file=_LABELS)
            return self.describe(labels, f"ILSVRC 2012. {_SHRUNK.description} pixels.")


def load(
    data_dir: Path, manual_dir: str | None, on_broken: str
) -> tfds.core.DatasetBuilder:
    """Returns TFDS's builder, prepared; prepares it once.

    Args:
      data_dir: Folder of prepared data sets.
      manual_dir: `config.data.manual_dir`, the folder with the two tars.
      on_broken: What to do with a file that is not an image, `fail` or `skip`.

    Raises:
      InputError: A tar is missing, incomplete or damaged, the disk is full, or images
        are broken, or were when it was prepared.
    """

    def write(builder: tfds.core.DatasetBuilder) -> None:
        write_shards(builder, list_tars(manual_dir), TO_JPEG, on_broken=on_broken)

    builder = open_builder(Imagenet2012, data_dir, write)
    check_whole(builder, on_broken)
    return builder


def load_256(
    data_dir: Path, manual_dir: str | None, on_broken: str
) -> tfds.core.DatasetBuilder:
    """Returns the builder of the small images, prepared; prepares it once.

    Args:
      data_dir: Folder of prepared data sets. If it has `imagenet2012`, the images are
        made from that.
      manual_dir: `config.data.manual_dir`, otherwise the folder with the two tars.
      on_broken: What to do with a file that cannot be decoded, `fail` or `skip`.

    Raises:
      InputError: As of `load`.
    """

    def write(builder: tfds.core.DatasetBuilder) -> None:
        sources: Mapping[str, Source]
        lacking = None
        try:
            with accessed(Access(may_write=False)):
                large = load(data_dir, None, on_broken)
        except NotPrepared:
            sources = list_tars(manual_dir)
        else:
            check_whole(large, on_broken)
            sources = {split: Records.of(large, split) for split in TARS}
            lacking = count_lacking(large)
        write_shards(builder, sources, _SHRUNK, on_broken=on_broken, lacking=lacking)

    builder = open_builder(Imagenet2012Shrunk, data_dir, write)
    check_whole(builder, on_broken)
    return builder


def list_tars(manual_dir: str | None) -> dict[str, Files]:
    """Lists the images in the two tars, which are neither unpacked nor copied.

    Args:
      manual_dir: Their folder.

    Raises:
      InputError: One is missing, truncated or without some classes or images.
    """
    both = f"it must contain {' and '.join(TARS.values())}"
    if manual_dir is None:
        raise InputError(
            f"data.manual_dir must be set, since ImageNet cannot be downloaded; {both}"
        )
    folder = expand(manual_dir, "data.manual_dir")
    missing = [name for name in TARS.values() if not os.path.isfile(folder / name)]
    if missing:
        raise InputError(
            f"data.manual_dir: {folder} does not contain {' and '.join(missing)}; "
            f"{both}"
        )
    print(f"listing   the images in {folder}", flush=True)
    lists = {"train": _list_train, "validation": _list_validation}
    files = {}
    # The small one first: its faults are reported soon.
    for split in reversed(TARS):
        path = folder / TARS[split]
        try:
            files[split] = Files.in_order(split, lists[split](path))
        except (tarfile.TarError, OSError) as error:
            raise InputError(
                f"data.manual_dir: {path} is truncated or not a tar file ({error}); "
                "download it again"
            ) from error
    return {split: files[split] for split in TARS}


def _list_train(path: Path) -> Iterator[ImageFile]:
    """Lists a tar that contains a tar for each class."""
    expected = set(_LABELS.read_text().split())
    labels = set()
    with tarfile.open(path, "r:") as outer:
        for member in filter(tarfile.TarInfo.isfile, outer):
            label, empty = Path(member.name).stem, True
            with tarfile.open(fileobj=outer.extractfile(member), mode="r:") as inner:
                for image in filter(tarfile.TarInfo.isfile, inner):
                    offset, empty = member.offset_data + image.offset_data, False
                    yield ImageFile(image.name, label, str(path), offset, image.size)
            if empty:
                raise InputError(
                    f"data.manual_dir: class {label} in {path} contains no images; "
                    "download it again"
                )
            labels.add(label)
    if labels != expected:
        raise InputError(
            f"data.manual_dir: {path} must contain {len(expected)} classes; got "
            f"{len(labels)} (the first that is missing or unknown is "
            f"{min(labels ^ expected)}); download it again"
        )


def _list_validation(path: Path) -> Iterator[ImageFile]:
    """Lists a tar of images; TFDS has their labels, in the order of their names."""
    labels = validation_labels()
    with tarfile.open(path, "r:") as tar:
        images = sorted(filter(tarfile.TarInfo.isfile, tar), key=lambda m: m.name)
    if len(images) != len(labels):
        raise InputError(
            f"data.manual_dir: {path} must contain {len(labels):,} images; got "
            f"{len(images):,}; download it again"
        )
    for image, label in zip(images, labels, strict=True):
        yield ImageFile(image.name, label, str(path), image.offset_data, image.size)


def class_names() -> tuple[str, ...]:
    """Returns the names of the 1,000 classes, WordNet's, by label."""
    return tuple(_LABELS.read_text().split())


def validation_labels() -> list[str]:
    """Returns the labels of the validation images, in the order of their names."""
    return _LABELS.with_name("validation_labels.txt").read_text().split()
