"""What happens to images on the device, inside the step: scale, crops, colors.

`step`, `loop`, `trained`, `inspection/`, `exporting/` and `d2l/` import it; it knows
the config, the data's statistics and which scale a network's author used, but no run.
"""
