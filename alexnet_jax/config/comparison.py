"""Configs of runs that were: read from records, compared, shown in reports."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config.keys import (
    DROPOUT_RATE,
    LEARNING_RATE,
    SIZES,
    TEXTS,
    default_config,
    flatten_config,
    is_cfg,
    learning_rate,
    stored_pair,
)
from alexnet_jax.config.rules import OF_FILE, OF_FILES_RATES, key_types, validate
from alexnet_jax.errors import InputError
from alexnet_jax.transfer import settings

# What only changes a run's length, place or reports: it may change on resuming.
MAY_CHANGE = (
    "name",
    "num_epochs",
    "num_train_steps",
    "data.manual_dir",
    "data.data_dir",
    "data.workers",
    "data.on_broken",
    "data.memory",
    "steps_per_dispatch",
    "early_stop.",
    "eval.",
    "checkpoint.",
    "parallel.",
    "log.",
    "debug.",
)
_BY_FILE = "as optim.params says"


def config_of(record: Mapping[str, Any]) -> ConfigDict:
    """Returns the config that a record holds; a key that it lacks has its default.

    Args:
      record: Nested, as JSON has it.

    Raises:
      InputError: It is of another version: keys are unknown, or values not allowed.
    """
    config = default_config()
    try:
        stored = flatten_config(record)
        for key in flatten_config(config):  # an empty group would vanish
            group, _, name = key.rpartition(".")
            if isinstance((record.get(group, {}) if group else record).get(name), dict):
                raise TypeError(f"{key} is a group of keys")
        config.update_from_flattened_dict(stored)
        validate(config)
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"is of another version of the program: {str(error).strip()}"
        ) from error
    return config


def shown_values(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a flat config's values as reports show them.

    Those that hold where a key is not set or a file decides, and of a long text its
    length and its hash.
    """
    values = dict(flat)
    by_file = values.get("optim.params") is not None
    if values.get("optim.learning_rate", 0) is None:
        values["optim.learning_rate"] = _BY_FILE if by_file else LEARNING_RATE
    if values.get("model.dropout_rate", 0) is None:
        is_file = is_cfg(str(values.get("model.name")))
        values["model.dropout_rate"] = (
            "as the layer file says" if is_file else DROPOUT_RATE
        )
    if by_file:
        rated = values.get("optim.learning_rate") == _BY_FILE
        for key in (*OF_FILE, *OF_FILES_RATES * rated):
            if f"optim.{key}" in values:
                values[f"optim.{key}"] = _BY_FILE
    for key in TEXTS:
        if isinstance(text := values.get(key), str):
            lines = len(text.splitlines())
            values[key] = f"a text of {lines:,} lines, SHA-256 {_hash(text)}"
    return values


def _hash(text: str) -> str:
    # An edited file may hold half a character.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def in_one_form(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a flat config's values as JSON has them, a square's size as its side.

    A layer file is named by its text and not by its path, and a long text by its hash.
    """
    values = json.loads(json.dumps(flat))
    _name_by_text(values)
    if values.get("optim.params") is None and "optim.learning_rate" in values:
        optim = {"learning_rate": values["optim.learning_rate"]}
        values["optim.learning_rate"] = learning_rate(optim)
    is_file = is_cfg(str(values.get("model.name")))
    if values.get("model.dropout_rate", 0) is None and not is_file:
        values["model.dropout_rate"] = DROPOUT_RATE
    if size := values.get("data.image_size"):
        data = {"image_size": size, "stored_size": values.get("data.stored_size")}
        values["data.stored_size"] = list(stored_pair(data))
    for key, kind in key_types().items():
        if key in values:
            values[key] = settings.in_one_form(values[key], kind.type)
    for key in SIZES & values.keys():
        value = values[key]
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            values[key] = value[0]
    return values


def _name_by_text(values: dict[str, Any]) -> None:
    """Makes equal what two configs say of files with equal texts."""
    for key in TEXTS:
        if isinstance(text := values.get(key), str):
            values[key] = f"text {_hash(text)}"
    if values.get("model.cfg_layers"):
        values["model.name"] = f"cfg: {values['model.cfg_layers']}"
        values["model.cfg_layers"] = None
    if values.get("model.cfg_params") and values.get("optim.params"):
        values["optim.params"] = "the layer-parameter file"


def differences(
    old: Mapping[str, Any] | ConfigDict, new: Mapping[str, Any] | ConfigDict
) -> Iterator[tuple[str, Any, Any]]:
    """Yields `(key, old value, new value)` where two configs are of different runs.

    Of a file whose text has changed, the key that names it and its paths, which may be
    equal.

    Args:
      old: A config, or its nested mapping as `config.json` holds it.
      new: Likewise.
    """

    def leaves(config: Any) -> dict[str, Any]:
        nested = config.to_dict() if isinstance(config, ConfigDict) else config
        return flatten_config(nested)

    raw = [leaves(config) for config in (default_config(), old, new)]
    defaults, before, after = map(in_one_form, raw)
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted(before.keys() | after.keys()):
        # Before a key existed, runs did what its default says.
        pair = before.get(key, defaults.get(key)), after.get(key)
        if pair[0] != pair[1] and not key.startswith(MAY_CHANGE):
            found[key] = pair
    if found.pop("model.cfg_params", None) and not found.keys() & {
        "model.name",
        "optim.params",
    }:
        by_name = raw[2].get("optim.params") is not None
        found["optim.params" if by_name else "model.cfg_params"] = (None, None)
    for key in ("optim.learning_rate", "model.dropout_rate"):  # they follow from files
        if raw[1].get(key) == raw[2].get(key):
            found.pop(key, None)
    for key in found.keys() & {"model.name", "optim.params"}:
        found[key] = raw[1].get(key, raw[0][key]), raw[2].get(key, raw[0][key])
    for key in sorted(found):
        yield key, *found[key]
