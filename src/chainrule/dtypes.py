"""The dtypes of tensors and their kinds, in the words of the Array API standard.

bfloat16 is not one of NumPy's own dtypes: ml_dtypes adds it, and its `dtype.kind` is "V". So
nothing else reads the kind of a tensor's dtype: it calls one of these functions.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from .graph import Dtype

bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{b}") for b in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{b}") for b in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{b}") for b in (16, 32, 64))
bfloat16 = np.dtype(ml_dtypes.bfloat16)

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
INTEGERS = SIGNED + UNSIGNED
FLOATS = (float16, bfloat16, float32, float64)
DTYPES = (bool_, *INTEGERS, *FLOATS)
FLOATING = frozenset(FLOATS)  # `dtype in FLOATING` is `is_floating` without a call, for hot paths


def is_floating(dtype: Dtype) -> bool:
    """Real floating-point: float16, bfloat16, float32, float64."""
    return dtype.kind in "fV"


def is_ieee_floating(dtype: Dtype) -> bool:
    """Real floating-point in a format of IEEE 754: float16, float32, float64, not bfloat16."""
    return dtype.kind == "f"


def is_half(dtype: Dtype) -> bool:
    """Real floating-point of 16 bits, for storage: float16, bfloat16."""
    return dtype.itemsize == 2 and is_floating(dtype)


def is_bfloat16(dtype: Dtype) -> bool:
    """bfloat16: a floating dtype that NumPy's own functions do not know."""
    return dtype.kind == "V"


def is_integer(dtype: Dtype) -> bool:
    """Integer, signed or unsigned."""
    return dtype.kind in "iu"


def is_signed(dtype: Dtype) -> bool:
    """Signed integer."""
    return dtype.kind == "i"


def is_unsigned(dtype: Dtype) -> bool:
    """Unsigned integer."""
    return dtype.kind == "u"


def is_boolean(dtype: Dtype) -> bool:
    """Boolean."""
    return dtype.kind == "b"


def is_exact(dtype: Dtype) -> bool:
    """Boolean or integer: arithmetic on it never rounds."""
    return dtype.kind in "biu"


def kind_rank(dtype: Dtype) -> int:
    """Kinds from narrow to wide: 0 boolean, 1 unsigned, 2 signed, 3 real floating-point."""
    return 3 if is_floating(dtype) else "bui".index(dtype.kind)


def index_dtype(count: int) -> Dtype:
    """The smallest unsigned dtype of 8 or 32 bits for the numbers below count."""
    return uint8 if count <= 256 else uint32
