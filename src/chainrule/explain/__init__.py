"""The backward pass as mathematics."""

from .handbook import handbook, row_formulas

__all__ = ["handbook", "row_formulas"]
