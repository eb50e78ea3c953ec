"""What a network computes, explained.

explanation   `explain`: the backward pass of a function, in several forms
derivation    the pass, recorded: what it reads, what it computes, which rule made what
derive        records a function as one
simplified    recorded graphs made shorter to explain
update        an optimizer's step after the pass
recorder      follows a recording
owners        the user's names for modules and tensors
steps         the pass in steps (modules, lines of the user's code), and the names of values
mathematics   the pass as equations, in Unicode and LaTeX
prose         the pass in words: compact, and for readers without calculus
source        the pass as a module in Python that needs NumPy alone
page          the page of an explanation, which computes the graph itself
rows          the rows of a data set that are explained
user_code     code that comes with this library, explained as if the user had written it
images        where a network looks in an image: saliency maps and Grad-CAM
handbook      the table of derivatives as a page
formula       a graph of scalars as a formula
"""

from .explanation import Explanation, explain
from .handbook import handbook, row_formulas
from .images import grad_cam, has_regions, saliency

__all__ = [
    "Explanation",
    "explain",
    "grad_cam",
    "handbook",
    "has_regions",
    "row_formulas",
    "saliency",
]
