"""Fine-tuning: which layers start from another run, stand still, or learn faster.

`settings` reads the three keys of the config, `layers` finds the layers that their
patterns name, `freezing` keeps layers still in a step, `weights` takes layers over.

`config`, `optim`, `step`, `loop`, `inspection` and commands import this room.
"""
