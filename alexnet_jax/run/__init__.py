"""A run's folder: what a run writes, and how it is read again.

`folder` locks it and opens the rest: `records` (config, metrics), `checkpoints` with
their `checksums`. `weights` and `read` open what other runs left; `progress` and
`signals` are the terminal's. Only `train`, `loop`, `trained`, `reporting/`, `d2l/` and
commands import this room.
"""
