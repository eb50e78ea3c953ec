"""The functions of the public namespace, composed of the operations in `ops.py`.

creation      tensors from values, ranges, shapes
elementwise   arithmetic, powers, exponentials, trigonometry
logic         comparisons, logic, bits
reductions    sums, means, extremes, running sums and products
sorting       order, sets, search
contractions  matrix products, tensordot, einsum
attention     attention as one operation
shaping       reshaping, moving axes, joining, splitting
padding       repeating and padding
indexing      reading and assigning parts; `keys`: what a key selects
windows       sliding windows and pooling
standardising mean 0 and variance 1
control       checkpoint, custom_vjp
scan          loops that carry state
defining      defop
inspection    dtypes, promotion, capabilities
axes          checks of axes and sizes
methods       those that are methods of `Tensor` too
"""

from . import methods as methods
