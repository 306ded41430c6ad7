"""What happens to images on the device, inside the step: scale, crops, colors.

The loop, trained models and d2l's data modules import it; it knows the config, the
data's statistics and which scale a network's author used, but no run.
"""
