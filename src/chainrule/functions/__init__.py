"""The functions of the public namespace, composed of the operations in `ops.py`.

Here those that are methods too become methods of Tensor.
"""

from ..tensor import Tensor
from . import elementwise, indexing, inspection, reductions, shaping
from .habits import explained

for _module, _names in (
    (reductions, "sum mean prod max min any all var std argmax argmin"),
    (shaping, "astype squeeze flatten"),
    (elementwise, "exp log sqrt tanh sigmoid"),
):
    for _name in _names.split():
        setattr(Tensor, _name, explained(getattr(_module, _name)))
setattr(Tensor, "backward", explained(Tensor.backward))  # noqa: B010 - it has one already
Tensor.reshape = shaping.reshape_method
Tensor.__array_namespace__ = inspection.array_namespace
Tensor.__getitem__ = indexing.getitem
Tensor._updated = indexing.updated
