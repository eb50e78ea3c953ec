"""The methods of Tensor that are functions: `x.sum(axis=0)` for `sum(x, axis=0)`.

Functions are composed above `tensor/` and cannot be imported there, so they become methods here, in
the one place where anything is set on the class from outside. `Tensor` declares each of them.
"""

from ..broadcasting import broadcast_binary, broadcast_matmul
from ..hints import explain_arguments
from ..tensor import Tensor
from . import elementwise, indexing, inspection, reductions, shaping

# What operators and assignment call.
Tensor._binary = staticmethod(broadcast_binary)
Tensor._matmul = staticmethod(broadcast_matmul)
Tensor._updated = indexing.updated
Tensor.__getitem__ = indexing.getitem
Tensor.__array_namespace__ = inspection.array_namespace

Tensor.sum = reductions.sum
Tensor.mean = reductions.mean
Tensor.prod = reductions.prod
Tensor.max = reductions.max
Tensor.min = reductions.min
Tensor.any = reductions.any
Tensor.all = reductions.all
Tensor.var = reductions.var
Tensor.std = reductions.std
Tensor.argmax = reductions.argmax
Tensor.argmin = reductions.argmin
Tensor.reshape = shaping.reshape_method
Tensor.astype = explain_arguments(shaping.astype)
Tensor.squeeze = shaping.squeeze
Tensor.flatten = explain_arguments(shaping.flatten)
Tensor.exp = explain_arguments(elementwise.exp)
Tensor.log = explain_arguments(elementwise.log)
Tensor.sqrt = explain_arguments(elementwise.sqrt)
Tensor.tanh = explain_arguments(elementwise.tanh)
Tensor.sigmoid = explain_arguments(elementwise.sigmoid)
