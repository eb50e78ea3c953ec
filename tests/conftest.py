"""Shared settings: the same Hypothesis examples every time, no time limit an example."""

from hypothesis import settings

settings.register_profile("chainrule", derandomize=True, deadline=None)
settings.load_profile("chainrule")
