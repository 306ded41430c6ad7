"""Quick forms of layers on CPUs, each equal to XLA's by test."""
