"""The report of a run: one HTML page."""

from .page import Report, render

__all__ = ["Report", "render"]
