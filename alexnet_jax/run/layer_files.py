"""The texts of cuda-convnet's files, which go with the run of a `cfg:` network."""

import contextlib
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.atomic import read_regular
from alexnet_jax.config import is_cfg, restore_types
from alexnet_jax.errors import InputError
from alexnet_jax.models import read_cfg
from alexnet_jax.models.cuda_convnet import PREFIX, read_text
from alexnet_jax.run.checksums import has_checksums, step_folders
from alexnet_jax.run.kept import parse_config, read_kept
from alexnet_jax.run.records import CONFIG_FILE

Texts = tuple[str, str | None]  # layer file, layer-parameter file


def with_texts(config: ConfigDict, workdir: Path) -> ConfigDict:
    """Returns the config with the texts of a `cfg:` network's files; others as given.

    So a run goes on, and is opened, without the files. Where they are gone, those that
    the run keeps are taken.

    Args:
      config: Which stays as it is.
      workdir: The run's folder, which may be missing.

    Raises:
      InputError: A file cannot be read, and the folder holds no run of it.
    """
    if not is_cfg(config.model.name) or config.model.cfg_layers is not None:
        return config
    texts = _texts(config, _kept_texts(workdir, config))
    config = config.copy_and_resolve_references()
    restore_types(config)
    config.model.cfg_layers, config.model.cfg_params = texts
    return config


def _texts(config: ConfigDict, kept: Texts | None) -> Texts:
    name, params = config.model.name, config.optim.params
    try:
        texts = read_cfg(name, params)
    except InputError as error:
        if kept is None or _differs(name.removeprefix(PREFIX), kept[0]):
            raise
        if params is not None and _differs(params, kept[1]):
            raise
        print(f"warning   {error}; the run's own copy is taken")
        return kept
    # Nobody has named the layer-parameter file that once lay beside the other.
    return kept if kept is not None and texts == (kept[0], None) else texts


def _differs(path: str, text: str | None) -> bool:
    """Whether a file is there and holds another text."""
    with contextlib.suppress(InputError):
        return read_text(path, "") != text
    return False


def _kept_texts(workdir: Path, config: ConfigDict) -> Texts | None:
    """Returns what a run keeps; None if the folder holds none of files of these names.

    That it is the run of this config is checked later.
    """
    checkpoints = workdir / "checkpoints"
    if not any(has_checksums(path) for path in step_folders(checkpoints).values()):
        return None
    found = None
    with contextlib.suppress(OSError):
        found = parse_config(read_regular(workdir / CONFIG_FILE))
    if found is None and (kept := read_kept(checkpoints, CONFIG_FILE)):
        found = parse_config(kept.content)
    if found is None:
        return None
    model, optim = found["model"], found["optim"]
    layers, params = model.get("cfg_layers"), model.get("cfg_params")
    is_whole = isinstance(layers, str) and isinstance(params, str | None)
    before = model.get("name"), optim.get("params")
    after = config.model.name, config.optim.params
    is_same = all(map(_is_same_file, before, after))
    return (layers, params) if is_whole and is_same else None


def _is_same_file(before: Any, after: str | None) -> bool:
    """Whether two paths may be those of a file that was moved."""
    if before is None or after is None:
        return before == after
    return Path(str(before)).name == Path(after).name
