"""Checkpoints of a training: writing and reading them, and the settings that they record."""
