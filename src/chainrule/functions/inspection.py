"""Dtypes and the namespace, inspected: limits, kinds, promotion, capabilities."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from ..broadcasting import scalar_dtype
from ..convert import promote, to_dtype
from ..dtypes import (
    DTYPES,
    FLOATS,
    INTEGERS,
    SIGNED,
    UNSIGNED,
    bfloat16,
    bool_,
    float16,
    float32,
    int64,
)
from ..errors import ArgumentError
from ..graph import Dtype
from ..tensor import Tensor, as_tensor


class FInfo(NamedTuple):
    """A floating dtype's limits."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: Dtype


class IInfo(NamedTuple):
    """An integer dtype's limits."""

    bits: int
    max: int
    min: int
    dtype: Dtype


def finfo(dtype: Any, /) -> FInfo:
    """The limits of a floating dtype (or tensor)."""
    dtype = _dtype(dtype)
    if dtype not in FLOATS:
        raise ArgumentError("finfo", f"got {dtype}", "expected a floating dtype", "use iinfo")
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return FInfo(
        info.bits,
        float(info.eps),
        float(info.max),
        float(info.min),
        float(info.smallest_normal),
        dtype,
    )


def iinfo(dtype: Any, /) -> IInfo:
    """The limits of an integer dtype (or tensor)."""
    dtype = _dtype(dtype)
    if dtype not in INTEGERS:
        raise ArgumentError("iinfo", f"got {dtype}", "expected an integer dtype", "use finfo")
    info = np.iinfo(dtype)
    return IInfo(info.bits, int(info.max), int(info.min), dtype)


def _dtype(x: Any) -> Dtype:
    if isinstance(x, (Tensor, np.ndarray, np.generic)):
        return x.dtype
    return to_dtype("dtype", x)


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion alone can turn one dtype into the other."""
    a, b = _dtype(from_), _dtype(to)
    if bfloat16 in (a, b):
        return promote(a, b) == b
    return bool(np.can_cast(a, b))


def result_type(*operands: Any) -> Dtype:
    """The dtype that tensors, dtypes and Python numbers have together."""
    numbers = [x for x in operands if type(x) in (bool, int, float)]
    rest = [_dtype(x) for x in operands if type(x) not in (bool, int, float)]
    if not rest:
        raise ArgumentError(
            "result_type", "got numbers alone", "expected a tensor or dtype", "pass a dtype too"
        )
    out = rest[0]
    for dtype in rest[1:]:
        out = promote(out, dtype)
    for number in numbers:
        out = scalar_dtype(as_tensor(np.zeros((), out)), number)
    return out


_DTYPE_KINDS: dict[str, tuple[Dtype, ...]] = {
    "bool": (bool_,),
    "signed integer": SIGNED,
    "unsigned integer": UNSIGNED,
    "integral": INTEGERS,
    "real floating": FLOATS,
    "complex floating": (),
    "numeric": INTEGERS + FLOATS,
}


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether the dtype is of the kind: a name ("integral"…), a dtype, or a tuple of them."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in _DTYPE_KINDS:
            raise ArgumentError(
                "isdtype",
                f"got {kind!r}",
                "expected one of " + ", ".join(_DTYPE_KINDS),
                "use one of these names, or a dtype",
            )
        return _dtype(dtype) in _DTYPE_KINDS[kind]
    return bool(_dtype(dtype) == _dtype(kind))


class Info:
    """The answers of `__array_namespace_info__`."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean masks and shapes that depend on data work in eager mode."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    def devices(self) -> list[str]:
        """["cpu"]."""
        return ["cpu"]

    def default_dtypes(self, *, device: Any = None) -> dict[str, Dtype | None]:
        """What Python numbers become; there are no complex numbers."""
        return {
            "real floating": float32,
            "complex floating": None,
            "integral": int64,
            "indexing": int64,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Dtype]:
        """The dtypes by name, of one kind or all (bfloat16 is ours, not the standard's)."""
        standard = [d for d in DTYPES if d not in (bfloat16, float16)]
        return {str(d): d for d in standard if kind is None or isdtype(d, kind)}


def array_namespace(x: Any, /, *, api_version: str | None = None) -> ModuleType:
    """The module whose functions take the tensor: chainrule."""
    if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        raise ArgumentError(
            "__array_namespace__",
            f"got api_version {api_version!r}",
            "expected 2021.12 to 2024.12",
            "leave it out",
        )
    return sys.modules[__name__.partition(".")[0]]


def __array_namespace_info__() -> Info:  # noqa: N807 (the standard's name)
    """Facts about this namespace, by the Array API standard."""
    return Info()
