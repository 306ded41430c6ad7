"""Data sets of TFDS by name: `tfds/mnist`, `tfds/emnist/letters`, `tfds/cifar10:3.0.2`.

A copy that is prepared as ArrayRecord is read where it lies, and nothing is written to
it. One that is missing is prepared by TFDS, if it can do so without TensorFlow.
"""

import contextlib
import difflib
import hashlib
import importlib.util
import inspect
import io
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
import tensorflow_datasets as tfds

from alexnet_jax.data.preparation.builder import prepare, quiet, stored_format
from alexnet_jax.data.preparation.damage import (
    FOREIGN_REMEDY,
    INFO_FILE,
    DamagedData,
    NotPrepared,
    check_features,
    named_damage,
)
from alexnet_jax.data.preparation.keys import find_keys
from alexnet_jax.data.preparation.lock import preparation_lock
from alexnet_jax.data.preparation.prepared import check_files, may_write
from alexnet_jax.data.preparation.sources import open_copy
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand

PREFIX = "tfds/"
FORM = "tfds/NAME[/CONFIG][:VERSION]"
_PART = r"(?:0|[1-9][0-9]{0,8}|\*)"  # of a version
_NAME = re.compile(rf"tfds/(\w+)(?:/([^/:]+))?(?::({_PART}\.{_PART}\.{_PART}))?")
_CONSTRUCTED = re.compile(
    r'Failed to construct dataset "[^"]*", builder_kwargs ".*?}": '
)
_CONNECT_S = 8.0


class _Name(NamedTuple):
    """A data set's name.

    Attributes:
      whole: As it was given.
      name: TFDS's.
      config: Of those that it has; None takes its first.
      version: None takes the newest.
    """

    whole: str
    name: str
    config: str | None
    version: str | None

    @property
    def path(self) -> str:
        """Name and config, as TFDS's command takes them."""
        return f"{self.name}/{self.config}" if self.config else self.name


def load(data_dir: Path, name: str, manual_dir: str | None) -> tfds.core.DatasetBuilder:
    """Returns the builder of a data set, prepared.

    Args:
      data_dir: Folder of prepared data sets.
      name: As in `FORM`.
      manual_dir: `config.data.manual_dir`, for data sets that TFDS cannot download.

    Raises:
      NotPrepared: It is missing, and the folder may only be read.
      DamagedData: It is damaged.
      InputError: There is no such data set, it is in another format, or it cannot be
        prepared here.
    """
    wanted = _parse(name)
    folder = _find(data_dir, wanted)
    if folder is None:
        if not may_write():
            raise NotPrepared(f"data.data_dir: {name} is not prepared in {data_dir}")
        folder = _prepare(data_dir, wanted, manual_dir)
    return _open(folder, wanted)


def list_names() -> list[str]:
    """Returns the names of the data sets that TFDS knows."""
    return tfds.list_builders(with_community_datasets=False)


def is_of_tfds(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether a builder is one of TFDS's own, or reads what such a one prepared."""
    return builder.__module__.startswith("tensorflow_datasets.")


def kept_folder(builder: tfds.core.DatasetBuilder, data_dir: Path) -> Path:
    """Returns where what is computed of a copy is kept: not in TFDS's own folder.

    Args:
      builder: As `load` returned it.
      data_dir: Folder of prepared data sets.
    """
    folder = Path(builder.data_path)
    digest = hashlib.sha256((folder / INFO_FILE).read_bytes())
    for split in builder.info.splits.values():
        for path in split.filepaths:
            found = os.stat(path)
            digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    place = Path(builder.info.full_name)
    name = f"{place.name}-{digest.hexdigest()[:12]}"
    return data_dir / "alexnet_jax" / "tfds" / place.parent / name


def _parse(name: str) -> _Name:
    match = _NAME.fullmatch(name)
    if match is None or match[2] in (".", ".."):
        raise InputError(
            f"data.name must be {FORM}, such as tfds/mnist or tfds/emnist/letters; got "
            f"{name[:200]!r}"
        )
    return _Name(name, *match.groups())


def _find(data_dir: Path, wanted: _Name) -> Path | None:
    """Returns the folder of a prepared copy; None if there is none."""
    folder = data_dir / wanted.name
    config = wanted.config
    if config is None and not _versions(folder, wanted.version):
        configs = [name for name in _folders(folder) if _versions(folder / name, None)]
        config = _default_config(wanted.name)
        if config is None and len(configs) == 1:  # TFDS does not know the data set
            (config,) = configs
        if config not in configs and configs:
            raise InputError(
                f"data.name: {wanted.whole} names no config; prepared in {data_dir} "
                f"are {', '.join(f'tfds/{wanted.name}/{name}' for name in configs)}"
            )
    folder = folder / config if config else folder
    found = _versions(folder, wanted.version)
    # A newer one that only TensorFlow reads does not hide one that can be read here.
    ours = [path for path in found if stored_format(path) == "array_record"]
    return next(reversed(ours or found), None)


def _folders(folder: Path) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())
    return []


def _versions(folder: Path, version: str | None) -> list[Path]:
    """Returns the folders of the versions that fit, in order."""
    valid = [name for name in _folders(folder) if tfds.core.Version.is_valid(name)]
    found = sorted(map(tfds.core.Version, valid))
    return [folder / str(one) for one in found if version is None or one.match(version)]


def _default_config(name: str) -> str | None:
    with contextlib.suppress(Exception):  # TFDS imports the data set's module
        configs = tfds.builder_cls(name).builder_configs
        return next(iter(configs), None)
    return None


def _open(folder: Path, wanted: _Name) -> tfds.core.DatasetBuilder:
    file_format = stored_format(folder)
    if file_format != "array_record":
        raise InputError(
            f"data.name: {folder} holds {file_format} files, which need TensorFlow; "
            "where it is installed, write ArrayRecord beside them: tfds convert_format "
            f"--dataset_version_dir={folder} --out_file_format=array_record"
        )
    with not_replaced(), named_damage(folder):
        check_features(folder)
        builder = open_copy(folder)
        if not builder.info.splits:
            raise DamagedData(folder, f"{INFO_FILE} names no splits")
        check_files(builder)
    return builder


@contextlib.contextmanager
def not_replaced() -> Iterator[None]:
    """Says of a damaged copy that it is the user's to replace."""
    try:
        yield
    except DamagedData as error:
        raise DamagedData(error.folder, error.reason, FOREIGN_REMEDY) from error


def _prepare(data_dir: Path, wanted: _Name, manual_dir: str | None) -> Path:
    """Has TFDS prepare a data set, if it can without TensorFlow; returns its folder."""
    _check_spelling(wanted)
    builder = _create(data_dir, wanted)
    find_keys(builder.info)  # before anything is downloaded
    if _wants_tensorflow(builder):
        raise _needs_tensorflow(data_dir, wanted)
    if not manual_dir:
        _check_reachable(builder, data_dir, wanted)
    folder = Path(builder.data_path)
    with preparation_lock(folder):
        if not folder.exists():  # another process may have prepared it
            files = expand(manual_dir, "data.manual_dir") if manual_dir else None
            with _named_failures(data_dir, wanted):
                prepare(builder, files)
    return folder


def _check_spelling(wanted: _Name) -> None:
    """Refuses `tfds/MNIST`, which TFDS would prepare as mnist, and not find again."""
    names = list_names()
    near = {one.replace("_", ""): one for one in names}
    meant = near.get(wanted.name.replace("_", "").lower())
    if meant and wanted.name not in names:
        right = wanted._replace(name=meant).path
        raise InputError(
            f"data.name: TFDS {tfds.__version__} has no data set {wanted.name!r}; did "
            f"you mean {PREFIX}{right}?"
        )


def _check_reachable(
    builder: tfds.core.DatasetBuilder, data_dir: Path, wanted: _Name
) -> None:
    """Checks that there is a network, where TFDS would try for minutes.

    Raises:
      InputError: No server of the first two can be reached.
    """
    downloads = data_dir / "downloads"
    kept = [*downloads.glob("*.INFO"), *downloads.glob(f"{builder.name}/*.INFO")]
    urls = [urlsplit(url) for url in builder.url_infos or ()]
    servers = dict.fromkeys(
        (url.hostname, url.port or (443 if url.scheme == "https" else 80))
        for url in urls
        if url.hostname
    )
    if kept or getproxies() or not servers:
        return
    with _named_failures(data_dir, wanted):
        for server in [*servers][:2]:
            try:
                socket.create_connection(server, _CONNECT_S).close()
                return
            except OSError as error:
                reason = f"{server[0]}: {error.strerror or error}"
        raise requests.exceptions.ConnectionError(reason)


def _create(data_dir: Path, wanted: _Name) -> tfds.core.DatasetBuilder:
    whole = wanted.path + (f":{wanted.version}" if wanted.version else "")
    try:
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            return tfds.builder(whole, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        known = {*list_names(), *_folders(data_dir)}
        near = difflib.get_close_matches(wanted.name, known)
        hint = ", ".join(f"tfds/{name}" for name in near)
        raise InputError(
            f"data.name: TFDS {tfds.__version__} has no data set {wanted.name!r}, and "
            f"none is prepared in {data_dir}"
            + (f"; did you mean {hint}?" if near else "; see its catalog")
        ) from error
    except ImportError as error:
        raise _needs_tensorflow(data_dir, wanted, error) from error
    except Exception as error:  # assertions, and whatever a builder raises
        configs: list[str] = []
        with contextlib.suppress(Exception):
            configs = list(tfds.builder_cls(wanted.name).builder_configs)
        if wanted.config and wanted.config not in configs:
            near = difflib.get_close_matches(wanted.config, configs) or configs[:10]
            raise InputError(
                f"data.name: tfds/{wanted.name} has no config {wanted.config!r}"
                + (f"; it has {', '.join(near)}" if near else "")
            ) from error
        if wanted.version:
            found = _create(data_dir, wanted._replace(version=None))
            raise InputError(
                f"data.name: {wanted.whole} is not prepared in {data_dir}, and TFDS "
                f"{tfds.__version__} prepares version {found.version}; name that one, "
                "or none"
            ) from error
        raise InputError(
            f"data.name: TFDS cannot open {wanted.whole} ({_text(error)})"
        ) from error


def _wants_tensorflow(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether a builder's code asks for TensorFlow where there is none.

    It is looked for before gigabytes are downloaded.
    """
    if importlib.util.find_spec("tensorflow") is not None:
        return False
    with contextlib.suppress(OSError, TypeError):
        source = inspect.getsource(sys.modules[type(builder).__module__])
        return re.search(r"^[^\"'#]*\btf\.\w", source, re.MULTILINE) is not None
    return False


def _needs_tensorflow(
    data_dir: Path, wanted: _Name, error: Exception | None = None
) -> InputError:
    why = f" ({_text(error)})" if error else ""
    return InputError(
        f"data.name: {wanted.whole} is not prepared in {data_dir}, and TFDS needs "
        f"TensorFlow to prepare it{why}; {_elsewhere(data_dir, wanted)}"
    )


def _elsewhere(data_dir: Path, wanted: _Name) -> str:
    version = f":{wanted.version}" if wanted.version else ""
    return (
        f"where that is installed: tfds build {wanted.path}{version} "
        f"--file_format=array_record --data_dir={data_dir}; then copy "
        f"{data_dir / wanted.name} here"
    )


@contextlib.contextmanager
def _named_failures(data_dir: Path, wanted: _Name) -> Iterator[None]:
    """Turns whatever TFDS raises while it prepares into one line."""
    try:
        yield
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise _needs_tensorflow(data_dir, wanted, error) from error
    except Exception as error:  # a builder is others' code
        failed = isinstance(
            error, requests.exceptions.RequestException | tfds.download.DownloadError
        )
        verb = "download" if failed else "prepare"
        raise InputError(
            f"data.name: TFDS cannot {verb} {wanted.whole} ({_text(error)}); prepare "
            f"it where TensorFlow and the network are: "
            f"{_elsewhere(data_dir, wanted).partition(': ')[2]}"
        ) from error


def _text(error: Exception) -> str:
    text = _CONSTRUCTED.sub("", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
