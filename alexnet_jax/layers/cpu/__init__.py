"""Quick forms of layers on CPUs, each equal to XLA's by test.

Only `layers/` imports it, and it imports nothing from there. On other platforms XLA's
own forms stand, by `jax.lax.platform_dependent`; on CPUs too, where `switch` says so.
`gradient` gives reverse-mode gradients of one's own that leave forward mode to JAX.
"""

Padding = tuple[tuple[int, int], ...]  # before and after each axis, in pixels
