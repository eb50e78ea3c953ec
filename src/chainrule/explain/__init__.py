"""The backward pass as mathematics.

handbook  the table of derivatives as a page
formula   a graph of scalars as a formula
"""

from .handbook import handbook, row_formulas

__all__ = ["handbook", "row_formulas"]
