"""What a network computes, explained.

images    where a network looks in an image: saliency maps and Grad-CAM
handbook  the table of derivatives as a page
formula   a graph of scalars as a formula
"""

from .handbook import handbook, row_formulas
from .images import grad_cam, has_regions, saliency

__all__ = ["grad_cam", "handbook", "has_regions", "row_formulas", "saliency"]
