"""TFDS without TensorFlow."""
