"""A run's folder: records, checkpoints, checksums, progress."""
