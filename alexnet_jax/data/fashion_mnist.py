"""Fashion-MNIST as TFDS has it, prepared without TensorFlow.

Source: Xiao et al. 2017; TFDS `fashion_mnist` 3.0.1.
"""

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.data.preparation.builder import open_builder, prepare
from alexnet_jax.data.preparation.tfds_internals import (
    FashionMNIST,
    NonMatchingChecksumError,
    skip_registration,
)
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand

# SHA-256 as TFDS registers them.
FILES = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}
_NETWORK_TIMEOUT_S = 10


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzipped IDX file of bytes, of any number of dimensions."""
    with gzip.open(path) as file:
        content = file.read()
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


# Not registered: TFDS has a `fashion_mnist` of its own, which needs TensorFlow.
with skip_registration():

    class FashionMnist(FashionMNIST):
        """TFDS's builder: its name, version, features, splits and checksums."""

        name = "fashion_mnist"

        def _split_generators(
            self, dl_manager: tfds.download.DownloadManager
        ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            paths = dl_manager.download({name: self.URL + name for name in FILES})

            def examples(prefix: str) -> Iterator[tuple[int, dict[str, Any]]]:
                return self._generate_examples(
                    paths[f"{prefix}-images-idx3-ubyte.gz"],
                    paths[f"{prefix}-labels-idx1-ubyte.gz"],
                )

            return {"train": examples("train"), "test": examples("t10k")}

        def _generate_examples(
            self, image_path: Path, label_path: Path
        ) -> Iterator[tuple[int, dict[str, Any]]]:
            pairs = zip(read_idx(image_path), read_idx(label_path), strict=True)
            for index, (image, label) in enumerate(pairs):
                # TFDS encodes a PIL image with PIL, an array with TensorFlow.
                yield index, {"image": Image.fromarray(image), "label": int(label)}


def load(data_dir: Path, manual_dir: str | None) -> tfds.core.GeneratorBasedBuilder:
    """Returns the builder, prepared; prepares it once.

    Args:
      data_dir: Folder of prepared data sets.
      manual_dir: `config.data.manual_dir`, the folder with the four original files.
        None takes `FASHION_MNIST_DIR`, otherwise downloads them. This folder is
        checked even if the data set is prepared already.

    Raises:
      InputError: `manual_dir` is missing, incomplete or damaged; or it is None and the
        files cannot be downloaded.
    """
    if manual_dir:
        check_manual_dir(expand(manual_dir, "data.manual_dir"), "data.manual_dir")
    return open_builder(
        FashionMnist, data_dir, lambda builder: _prepare(builder, manual_dir)
    )


def _prepare(builder: FashionMnist, manual_dir: str | None) -> None:
    if not manual_dir and (from_environment := os.environ.get("FASHION_MNIST_DIR")):
        manual_dir = from_environment
        folder = expand(manual_dir, "FASHION_MNIST_DIR")
        check_manual_dir(folder, "FASHION_MNIST_DIR")
    if manual_dir:
        prepare(builder, expand(manual_dir, "data.manual_dir"))
        return
    _check_network()
    try:
        prepare(builder)
    except (
        requests.exceptions.RequestException,
        tfds.download.DownloadError,
        NonMatchingChecksumError,
    ) as error:
        raise _unreachable(type(error).__name__) from error


def check_manual_dir(folder: Path, field: str) -> None:
    """Checks that the four files are there and intact.

    Args:
      folder: Of the files.
      field: The name of the user's setting, for the message.

    Raises:
      InputError: The folder or a file is missing, or a file is damaged.
    """
    needed = ", ".join(FILES)
    if not os.path.isdir(folder):
        raise InputError(
            f"{field}: {folder} is not a folder; it must contain the four files "
            f"{needed}"
        )
    missing = [name for name in FILES if not os.path.isfile(folder / name)]
    if missing:
        raise InputError(
            f"{field}: {folder} does not contain {', '.join(missing)}; it must contain "
            f"the four files {needed}"
        )
    for name, expected in FILES.items():
        try:
            with (folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(
                f"{field}: {folder / name} cannot be read ({error.strerror or error}); "
                "repair or replace it"
            ) from error
        if digest != expected:
            raise InputError(
                f"{field}: {folder / name} is damaged: its SHA-256 starts with "
                f"{digest[:12]}, not {expected[:12]}; download it again"
            )


def _check_network() -> None:
    """Requests one header before TFDS does, which retries for minutes."""
    failure: list[str] = ["no answer"]

    def ask() -> None:
        url = FashionMnist.URL + next(iter(FILES))
        try:
            requests.head(url, timeout=_NETWORK_TIMEOUT_S).raise_for_status()
            failure.clear()
        except requests.exceptions.RequestException as error:
            failure[0] = type(error).__name__

    # A thread, since name resolution ignores timeouts; a daemon, since it may hang.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_NETWORK_TIMEOUT_S)
    if failure:
        raise _unreachable(failure[0])


def _unreachable(reason: str) -> InputError:
    return InputError(
        f"Fashion-MNIST cannot be downloaded ({reason}); put {', '.join(FILES)} into a "
        "folder and set data.manual_dir to it, or try `make quickstart`, which needs "
        "no download"
    )
