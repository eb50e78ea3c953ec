"""What a run shows of itself: charts as SVG, and the page that holds them."""

from .page import Report, render

__all__ = ["Report", "render"]
