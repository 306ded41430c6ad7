"""The config: `keys` and defaults, the `rules` of values, `comparison` of configs.

All of the package may import this room, by its names here; it imports the rules of
layer patterns, `transfer.settings`, alone.
"""

from alexnet_jax.config.comparison import (
    MAY_CHANGE,
    config_of,
    differences,
    in_one_form,
    shown_values,
)
from alexnet_jax.config.keys import (
    BUNDLED,
    KEYS,
    SIZES,
    Size,
    default_config,
    flatten_config,
    is_cfg,
    learning_rate,
    side_pair,
    size_text,
    stored_pair,
    wider,
)
from alexnet_jax.config.rules import (
    optional_keys,
    restore_types,
    unread,
    validate,
)

__all__ = [
    "BUNDLED",
    "KEYS",
    "SIZES",
    "Size",
    "default_config",
    "flatten_config",
    "is_cfg",
    "learning_rate",
    "side_pair",
    "size_text",
    "stored_pair",
    "wider",
    "optional_keys",
    "restore_types",
    "unread",
    "validate",
    "MAY_CHANGE",
    "config_of",
    "differences",
    "in_one_form",
    "shown_values",
]
