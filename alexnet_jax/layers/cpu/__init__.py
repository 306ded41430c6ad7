"""Quick forms of layers on CPUs, each equal to XLA's by test.

Only `layers/` imports it, and it imports nothing from there. Some forms are NVIDIA
GPUs' as well (`cuda`). On other platforms XLA's own stand, by `switch.by_platform`;
everywhere, where `plain_forms` says so.
`gradient` gives reverse-mode gradients of one's own that leave forward mode to JAX.
"""

Padding = tuple[tuple[int, int], ...]  # before and after each axis, in pixels
