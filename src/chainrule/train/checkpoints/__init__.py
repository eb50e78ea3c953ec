"""Checkpoints of a training.

checkpoint   writing one, finding the newest intact one
settings     the settings and data that a run began with, and what differs on resuming
"""
