"""chainrule: backpropagation you can read, at the speed of your machine.

The array functions follow the Python Array API standard. If PyTorch or NumPy has
another name, the error gives the name here.

Longer than other files: one public name per line.
"""

import importlib as _importlib
import math as _math
import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# After a product OpenBLAS has its threads look for more work for 0.1 s, on the processors that
# compiled steps need. As NumPy loads it, it reads that 2²⁰ cycles are enough, some 0.4 ms.
if "OPENBLAS_THREAD_TIMEOUT" not in _os.environ:
    _os.environ["OPENBLAS_THREAD_TIMEOUT"] = "20"
    try:
        _importlib.import_module("numpy")
    finally:
        _os.environ.pop("OPENBLAS_THREAD_TIMEOUT", None)

from . import random as random
from .checking import check_gradients
from .compile import compile
from .dtypes import (
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .dtypes import bool_ as bool
from .errors import ChainruleError, GradientError
from .functions.contractions import convolution, dot, einsum, matmul, outer, tensordot, vecdot
from .functions.control import checkpoint, custom_vjp, stop_gradient
from .functions.creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from .functions.defining import defop
from .functions.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    ceil,
    clip,
    conj,
    copysign,
    cos,
    cosh,
    divide,
    erf,
    erfinv,
    exp,
    expm1,
    floor,
    floor_divide,
    hypot,
    isfinite,
    isinf,
    isnan,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    positive,
    pow,
    power,
    real,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    signbit,
    sin,
    sinh,
    softplus,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    trunc,
    where,
)
from .functions.indexing import gather, nonzero, scatter_add, take, take_along_axis
from .functions.inspection import __array_namespace_info__ as __array_namespace_info__
from .functions.inspection import (
    can_cast,
    finfo,
    iinfo,
    isdtype,
    result_type,
)
from .functions.logic import (
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
)
from .functions.padding import pad, repeat, tile
from .functions.reductions import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    diff,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    recurrence,
    softmax,
    std,
    sum,
    var,
)
from .functions.scan import scan
from .functions.shaping import (
    astype,
    broadcast_arrays,
    broadcast_shapes,
    broadcast_to,
    concat,
    concatenate,
    diagonal,
    expand_dims,
    flatten,
    flip,
    matrix_transpose,
    moveaxis,
    one_hot,
    permute_dims,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    transpose,
    tril,
    triu,
    unstack,
)
from .functions.sorting import (
    argsort,
    isin,
    searchsorted,
    sort,
    top_k,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from .functions.windows import avg_pool, fold, lp_pool, max_pool, sum_pool, unfold
from .hints import hide_modules as _hide_modules
from .hints import missing as _missing
from .sparse import RowSparse
from .tensor import Tensor, enable_grad, is_grad_enabled, no_grad
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

if _TYPE_CHECKING:  # what is imported when it is used
    from . import data as data
    from . import diagnosis as diagnosis
    from . import doctor as doctor
    from . import explanation as explanation
    from . import interop as interop
    from . import models as models
    from . import nn as nn
    from . import optim as optim
    from . import train as train
    from .doctor import diagnose
    from .explanation import explain
    from .train import fit
else:  # a type checker is to know which names there are
    _ROOMS = {
        *("data", "diagnosis", "doctor", "explanation", "interop", "models"),
        *("nn", "optim", "train"),
    }

    def __getattr__(name: str) -> _Any:
        if name in _ROOMS:
            return _importlib.import_module(f".{name}", __name__)
        if name == "fit":
            return _importlib.import_module(".train", __name__).fit
        if name == "diagnose":
            return _importlib.import_module(".doctor", __name__).diagnose
        if name == "explain":
            return _importlib.import_module(".explanation", __name__).explain
        raise _missing("chainrule", name)


__version__ = "0.1.0"
__array_api_version__ = "2024.12"

e, inf, nan, pi, newaxis = _math.e, _math.inf, _math.nan, _math.pi, None

__all__ = [
    "ChainruleError",
    "GradientError",
    "RowSparse",
    "Tensor",
    "abs",
    "acos",
    "acosh",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "asarray",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "avg_pool",
    "bfloat16",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "bool",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "can_cast",
    "ceil",
    "check_gradients",
    "checkpoint",
    "clip",
    "compile",
    "concat",
    "concatenate",
    "conj",
    "convolution",
    "copysign",
    "cos",
    "cosh",
    "count_nonzero",
    "cumulative_prod",
    "cumulative_sum",
    "custom_vjp",
    "defop",
    "diagnose",
    "diagonal",
    "diff",
    "divide",
    "dot",
    "e",
    "einsum",
    "empty",
    "empty_like",
    "enable_grad",
    "equal",
    "erf",
    "erfinv",
    "exp",
    "expand_dims",
    "explain",
    "expm1",
    "eye",
    "finfo",
    "fit",
    "flatten",
    "flip",
    "float16",
    "float32",
    "float64",
    "floor",
    "floor_divide",
    "fold",
    "from_dlpack",
    "full",
    "full_like",
    "gather",
    "grad",
    "greater",
    "greater_equal",
    "hessian",
    "hvp",
    "hypot",
    "iinfo",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "isdtype",
    "isfinite",
    "isin",
    "isinf",
    "isnan",
    "jacobian",
    "jvp",
    "less",
    "less_equal",
    "linspace",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "lp_pool",
    "matmul",
    "matrix_transpose",
    "max",
    "max_pool",
    "maximum",
    "mean",
    "meshgrid",
    "min",
    "minimum",
    "moveaxis",
    "multiply",
    "nan",
    "negative",
    "newaxis",
    "nextafter",
    "no_grad",
    "nonzero",
    "norm",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "outer",
    "pad",
    "permute_dims",
    "pi",
    "positive",
    "pow",
    "power",
    "prod",
    "random",
    "real",
    "reciprocal",
    "recurrence",
    "relu",
    "remainder",
    "repeat",
    "reshape",
    "result_type",
    "roll",
    "round",
    "rsqrt",
    "scan",
    "scatter_add",
    "searchsorted",
    "sigmoid",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stop_gradient",
    "subtract",
    "sum",
    "sum_pool",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tensor",
    "tensordot",
    "tile",
    "top_k",
    "transpose",
    "tril",
    "triu",
    "trunc",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "unfold",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "unstack",
    "value_and_grad",
    "var",
    "vecdot",
    "vjp",
    "where",
    "zeros",
    "zeros_like",
]

_hide_modules(__name__, "checking", "errors", "random")
