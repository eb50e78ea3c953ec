"""A backward pass as a module in Python that needs NumPy alone.

module       the module: inputs, forward, backward, update
update       what the optimizer does to each parameter
statements   which values become variables; loops
names        what variables are called
operations   of each operation its expression
elementwise  expressions of elementwise operations
axes         … of operations that have axes: shapes, reductions, products of matrices, rows
calls        … that call a function
readable     the graph as it reads best
identities   what makes a graph shorter to read
patterns     what parts of a graph compute: a mask, a class
constants    constants as Python writes them
expressions  expressions that know their precedence and shape
layout       lines that are not too long
functions    the source of functions, with what they use
helpers      the functions that a module may bring along
"""

from .module import numpy_source, source_arrays

__all__ = ["numpy_source", "source_arrays"]
