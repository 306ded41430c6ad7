"""AlexNet in JAX and Flax."""

from importlib.metadata import version

__version__ = version("alexnet_jax")
