"""Fine-tuning: which layers start from another run, stand still, or learn faster.

`settings` reads the three keys of the config, `freezing` keeps layers still in a step,
`rates` finds their factors, `weights` takes layers over. `layer_updates` is the
optimizer of a layer-parameter file, which gives each array a rate.

`config`, `optim`, `step`, `loop`, `inspection`, `run` and commands import this room.
"""
