"""Quick forms of layers on CPUs, each equal to XLA's by test.

Only `layers/` imports it, and it imports nothing from there. On other platforms XLA's
own forms stand, by `jax.lax.platform_dependent`.
"""

Padding = tuple[tuple[int, int], ...]  # before and after each axis, in pixels
