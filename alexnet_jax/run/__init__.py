"""A run's folder: what a run writes, and how it is read again.

`folder` opens all of it, in its `place`: `records` (config, `rows`, TensorBoard's
`board`) and `checkpoints` with their `checksums` and the small files that they have
`kept`; damaged ones go to `quarantine`. `weights` and `read` open what other runs left,
at the `paths` that users give. `events` and `interval` say what is due after which
step; `progress`, `signals` and `quiet` are the terminal's.
Only `train`, `loop`, `trained`, `reporting/`, `d2l/` and commands import this room.
"""
