"""The methods of Tensor that are functions: `x.sum(axis=0)` for `sum(x, axis=0)`.

Functions are composed above `tensor/` and cannot be imported there, so they become methods here, in
the one place where anything is set on the class from outside. `Tensor` declares each of them.
"""

from ..broadcasting import binary, contract
from ..tensor import Tensor
from . import elementwise, indexing, inspection, reductions, shaping
from .habits import explained

# What operators and assignment call.
Tensor._binary = staticmethod(binary)
Tensor._contract = staticmethod(contract)
Tensor._updated = indexing.updated
Tensor.__getitem__ = indexing.getitem
Tensor.__array_namespace__ = inspection.array_namespace

Tensor.sum = explained(reductions.sum)
Tensor.mean = explained(reductions.mean)
Tensor.prod = explained(reductions.prod)
Tensor.max = explained(reductions.max)
Tensor.min = explained(reductions.min)
Tensor.any = explained(reductions.any)
Tensor.all = explained(reductions.all)
Tensor.var = explained(reductions.var)
Tensor.std = explained(reductions.std)
Tensor.argmax = explained(reductions.argmax)
Tensor.argmin = explained(reductions.argmin)
Tensor.reshape = shaping.reshape_method
Tensor.astype = explained(shaping.astype)
Tensor.squeeze = explained(shaping.squeeze)
Tensor.flatten = explained(shaping.flatten)
Tensor.exp = explained(elementwise.exp)
Tensor.log = explained(elementwise.log)
Tensor.sqrt = explained(elementwise.sqrt)
Tensor.tanh = explained(elementwise.tanh)
Tensor.sigmoid = explained(elementwise.sigmoid)
