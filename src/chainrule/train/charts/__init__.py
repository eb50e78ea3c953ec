"""Charts as SVG text, for reports, histories and rates: NumPy and the standard library, no script.

drawing     the finished `Chart`, colours, text, numbers and axes
curves      `lines`
heatmaps    `heatmap`
confusion   `confusion_matrix`
points      `scatter` and `histogram`
pixels      images, filters and maps as data URIs of PNG files
"""

from .confusion import confusion_matrix
from .curves import lines
from .drawing import Chart
from .heatmaps import heatmap
from .points import histogram, scatter

__all__ = ["Chart", "confusion_matrix", "heatmap", "histogram", "lines", "scatter"]
