"""What linen lacks: parameter-free layers as plain functions.

They are functions, not modules, so that `layer_summary` names them as d2l does.
"""

import flax.linen as nn
import jax


def max_pool(x: jax.Array) -> jax.Array:
    """Overlapping max-pooling: 3×3 windows at stride 2, no padding.

    Args:
      x: `(B, H, W, C)`.

    Returns:
      `(B, (H - 3) // 2 + 1, (W - 3) // 2 + 1, C)`.

    Source: Krizhevsky et al. 2012, §3.4.
    """
    return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))


def avg_pool(x: jax.Array) -> jax.Array:
    """Average pooling: 2×2 windows at stride 2. `(B, H, W, C)` → `(B, H/2, W/2, C)`."""
    # `nn.avg_pool` divides by an integer, which strict promotion refuses.
    total = nn.pooling.pool(x, 0.0, jax.lax.add, (2, 2), (2, 2), padding="VALID")
    return total / 4.0


def flatten(x: jax.Array) -> jax.Array:
    """`(B, H, W, C)` → `(B, H * W * C)`, channels fastest."""
    return x.reshape((x.shape[0], -1))
