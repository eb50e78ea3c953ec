"""chainrule: backpropagation you can read, at the speed of your machine.

The array functions follow the Python Array API standard; NumPy's and PyTorch's spellings are
accepted where they differ.
"""

import math as _math

from . import random as random
from .checking import check_gradients
from .compile import compile
from .errors import ChainruleError
from .functions.contractions import convolution, dot, einsum, matmul, outer, tensordot, vecdot
from .functions.control import checkpoint, custom_vjp, defop, scan, stop_gradient
from .functions.creation import (
    arange, asarray, empty, empty_like, eye, from_dlpack, full, full_like, linspace, meshgrid,
    ones, ones_like, tensor, zeros, zeros_like,
)  # fmt: skip
from .functions.dtypes import (
    __array_namespace_info__, can_cast, finfo, iinfo, isdtype, result_type,
)  # fmt: skip
from .functions.elementwise import (
    abs, acos, acosh, add, asin, asinh, atan, atan2, atanh, bitwise_and, bitwise_invert,
    bitwise_left_shift, bitwise_or, bitwise_right_shift, bitwise_xor, ceil, clip, conj, copysign,
    cos, cosh, divide, equal, erf, erfinv, exp, expm1, floor, floor_divide, greater, greater_equal,
    hypot, isfinite, isinf, isnan, less, less_equal, log, log1p, log2, log10, logaddexp,
    logical_and, logical_not, logical_or, logical_xor, maximum, minimum, multiply, negative,
    nextafter, not_equal, positive, pow, power, real, reciprocal, relu, remainder, round, rsqrt,
    sigmoid, sign, signbit, sin, sinh, softplus, sqrt, square, subtract, tan, tanh, trunc, where,
)  # fmt: skip
from .functions.indexing import gather, nonzero, scatter_add, take, take_along_axis
from .functions.reductions import (
    all, any, argmax, argmin, count_nonzero, cumulative_prod, cumulative_sum, diff, log_softmax,
    logsumexp, max, mean, min, norm, prod, recurrence, softmax, std, sum, var,
)  # fmt: skip
from .functions.shaping import (
    astype, broadcast_arrays, broadcast_shapes, broadcast_to, concat, concatenate, diagonal,
    expand_dims, flatten, flip, matrix_transpose, moveaxis, one_hot, pad, permute_dims, repeat,
    reshape, roll, split, squeeze, stack, tile, transpose, tril, triu, unstack,
)  # fmt: skip
from .functions.sorting import (
    argsort, isin, searchsorted, sort, top_k, unique_all, unique_counts, unique_inverse,
    unique_values,
)  # fmt: skip
from .functions.windows import avg_pool, max_pool, sum_pool, unfold
from .shapes import (
    bfloat16, float16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
)  # fmt: skip
from .shapes import bool_ as bool
from .sparse import RowSparse
from .tensor import Tensor, enable_grad, is_grad_enabled, no_grad
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

__version__ = "0.1.0"
__array_api_version__ = "2024.12"

e, inf, nan, pi, newaxis = _math.e, _math.inf, _math.nan, _math.pi, None

__all__ = [name for name in dir() if not name.startswith("_")]
