"""The run's small files: whose run, on which data; each checkpoint keeps them, too."""

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from alexnet_jax.atomic import is_made_by, move_aside, read_regular, write_file
from alexnet_jax.config import (
    config_of,
    differences,
    flatten_config,
    in_one_form,
    restore_types,
)
from alexnet_jax.data import DataSpec
from alexnet_jax.data.spec import DATA_FILE, STATISTICS_FILE
from alexnet_jax.errors import InputError
from alexnet_jax.run.checksums import has_checksums, read_checksums, step_folders
from alexnet_jax.run.records import CONFIG_FILE
from alexnet_jax.run.rows import METRICS_FILE, is_evaluation, scan_rows

KEPT_FILES: tuple[str, ...] = (CONFIG_FILE, DATA_FILE, STATISTICS_FILE)
# A rate of a layer-parameter file that depends on the length of the run.
_SCHEDULED = re.compile(r"=\s*(?:linear|j?d?exp)\s*\[")


class Kept(NamedTuple):
    """A small file as a checkpoint keeps it."""

    content: bytes
    step: int


def read_kept(checkpoints: Path, name: str) -> Kept | None:
    """Returns a run's small file as its newest checkpoint that has it whole keeps it.

    Args:
      checkpoints: The folder of a run's checkpoints, which may be missing.
      name: The file's, such as `config.json`.

    Returns:
      None if no checkpoint has it.
    """
    for step, folder in reversed(step_folders(checkpoints).items()):
        digest = (read_checksums(folder) or {}).get(name)
        with contextlib.suppress(OSError):
            content = read_regular(folder / name)
            if hashlib.sha256(content).hexdigest() == digest:
                return Kept(content, step)
    return None


def check_same_run(workdir: Path, config: ConfigDict) -> ConfigDict:
    """Checks that a folder holds this config's run, if any.

    A `config.json` that cannot be read is written anew as a checkpoint keeps it. A run
    without checkpoints begins anew; its results are not lost to another config's.

    Args:
      workdir: The folder.
      config: The run's config.

    Returns:
      The config, with that source of the first weights which the run began with.

    Raises:
      InputError: It is another config's, or there are checkpoints but no config, or
        `config.json` is another program's.
      OSError: `config.json` cannot be written.
    """
    checkpoints = workdir / "checkpoints"
    path = workdir / CONFIG_FILE
    content, old = None, None
    with contextlib.suppress(OSError):
        content = read_regular(path)
        old = parse_config(content)
    if not any(has_checksums(path) for path in step_folders(checkpoints).values()):
        if is_made_by(workdir / "README.md", "alexnet_jax.export"):
            raise InputError(
                f"workdir: {workdir} holds an export, whose files would be replaced; "
                "choose another --workdir"
            )
        if old is None and content is not None:
            _clear_config(path, content)
        elif old and any(map(is_evaluation, scan_rows(workdir / METRICS_FILE).rows)):
            _check_same_config(workdir, old, config)
        return config
    if old is None:
        old = _restore_config(path)
    _check_same_config(workdir, old, config)
    config = _with_source(old, config)
    _note_evaluation(old, config)
    epochs = old["num_epochs"], config.num_epochs
    follows = None
    text = config.model.cfg_params or ""
    if config.optim.params and config.optim.learning_rate is None:
        if _SCHEDULED.search(text):
            follows = "optim.params over the new length"
    elif config.optim.schedule in ("cosine", "one_weird_trick"):
        follows = f"the new {config.optim.schedule}"
    if follows and epochs[0] != epochs[1]:
        print(
            f"note      num_epochs was {epochs[0]}, is {epochs[1]}: from this step on "
            f"the learning rates follow {follows}"
        )
    return config


def _note_evaluation(old: dict[str, Any], config: ConfigDict) -> None:
    """Notes a run that is evaluated otherwise from now on; its results are of both."""
    with contextlib.suppress(InputError):  # an edited file
        before, now = flatten_config(config_of(old)), flatten_config(config)
        for key in ("eval.views", "eval.metrics"):
            if before[key] != now[key]:
                print(
                    f"note      {key} was {before[key]}, is {now[key]}: results so far "
                    "are of the former; `alexnet evaluate` takes what was trained"
                )


def _check_same_config(workdir: Path, old: dict[str, Any], config: ConfigDict) -> None:
    """Checks that two configs are of one run.

    Raises:
      InputError: They are not.
    """
    changes = [*differences(old, config)]
    if changes:
        listed = "; ".join(_change(*change, config) for change in changes)
        is_text = any(before == after for _, before, after in changes)
        more = "; checkpoint.init_from takes this run's weights to another" * is_text
        raise InputError(
            f"workdir: {workdir} holds another config's run: {listed}; choose another "
            f"--workdir, or the old values{more}"
        )


def _with_source(old: dict[str, Any], config: ConfigDict) -> ConfigDict:
    """Returns the config with the run's source of its first weights; notes another."""
    known = config.copy_and_resolve_references()
    restore_types(known)
    before = old.get("checkpoint")
    for key in ("init_from", "init_layers"):
        value = before.get(key) if isinstance(before, dict) else None
        with contextlib.suppress(TypeError):  # an edited file's, of another type
            known.checkpoint[key] = tuple(value) if isinstance(value, list) else value
    source, given = known.checkpoint.init_from, config.checkpoint.init_from
    if given not in (None, source):
        began = f"those of {source!r}" if source else "weights of its own"
        print(
            f"note      checkpoint.init_from {given!r} is not read: the run has begun, "
            f"with {began}; choose another --workdir to begin with others"
        )
    layers, given = known.checkpoint.init_layers, config.checkpoint.init_layers
    if source and given not in (None, layers):
        began = f"the layers {layers!r}" if layers else "all layers that fit"
        print(
            f"note      checkpoint.init_layers {given!r} is not read: the run has "
            f"begun, with {began}"
        )
    return known


def _clear_config(path: Path, content: bytes) -> None:
    """Moves a damaged `config.json` aside.

    Raises:
      InputError: It is another program's.
      OSError: It cannot be moved.
    """
    is_ours = True
    with contextlib.suppress(ValueError, RecursionError):
        record = json.loads(content)
        is_ours = isinstance(record, dict) and "config" in record
    if not is_ours:
        raise InputError(
            f"workdir: {path} is not a run's, and would be replaced; choose another "
            "--workdir"
        )
    print(f"warning   {path} is damaged; moved to {move_aside(path)}")


def _change(key: str, before: Any, after: Any, config: ConfigDict) -> str:
    """Returns a difference in words."""
    if key == "model.cfg_params":
        name = config.model.name
        return f"the text of the layer-parameter file beside {name!r} has changed"
    if before == after:
        return f"the text of {key} {after!r} has changed"
    return f"{key} was {before!r}, is {after!r}"


def parse_config(content: bytes) -> dict[str, Any] | None:
    """Returns the config that `config.json` holds; None if it holds none."""
    try:
        config = json.loads(content)["config"]
        whole = all(
            isinstance(config[name], dict) for name in ("model", "data", "optim")
        )
        if not (whole and isinstance(config["num_epochs"], int)):
            return None
        in_one_form(flatten_config(config))  # a size or a text may be none
        return config
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return None


def _restore_config(path: Path) -> dict[str, Any]:
    """Writes `config.json` anew from a checkpoint; returns the config."""
    kept = read_kept(path.parent / "checkpoints", CONFIG_FILE)
    old = parse_config(kept.content) if kept else None
    if kept is None or old is None:
        raise InputError(
            f"workdir: {path.parent} holds checkpoints but no readable config.json, so "
            "whether they are this run's is unknown; choose another --workdir"
        )
    print(f"warning   {path} cannot be read; written anew from checkpoint {kept.step}")
    write_file(path, kept.content)
    return old


def kept_spec(workdir: Path) -> DataSpec | None:
    """Returns what a run was trained on.

    Files that cannot be read are written anew as a checkpoint keeps them.

    Args:
      workdir: The run's folder.

    Returns:
      None if neither the folder nor a checkpoint says so.

    Raises:
      OSError: A file cannot be written.
    """
    with contextlib.suppress(InputError):
        return DataSpec.load(workdir)
    for name in (DATA_FILE, STATISTICS_FILE):
        kept = read_kept(workdir / "checkpoints", name)
        if kept is None:
            return None
        path = workdir / name
        with contextlib.suppress(OSError):
            if read_regular(path) == kept.content:
                continue
        print(f"warning   {path} is damaged; written anew from checkpoint {kept.step}")
        write_file(path, kept.content)
    with contextlib.suppress(InputError):
        return DataSpec.load(workdir)
    return None
