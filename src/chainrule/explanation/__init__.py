"""What a network computes, explained.

explanation   `explain`: the backward pass of a function, in several forms
derive        records a function as a derivation
recorder      follows a recording
owners        the user's names for modules and tensors
simplified    recorded graphs made shorter to explain
derivation    the pass, recorded: what it reads, what it computes, which rule made what
steps         its parts: calls of modules, lines of the user's code
names         the names of its values, and all names as they may be printed
update        an optimizer's step after the pass

What several forms read of a derivation:
samples       how many samples there are, and what the loss is of them
layers        equal layers, explained once
numbers       numbers and arrays as text
formula       a graph as a formula in one line

Forms, which do not know each other; a page has the words and equations of others:
mathematics   the pass as equations, in Unicode and LaTeX
prose         the pass in words: compact, and for readers without calculus
source        the pass as a module in Python that needs NumPy alone
page          the page of an explanation, which computes the graph itself

Others:
rows          the rows of a data set that are explained
user_code     code that comes with this library, explained as if the user had written it
images        where a network looks in an image: saliency maps and Grad-CAM
handbook      the table of derivatives as a page
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
