"""Python's and NumPy's data as arrays of supported dtypes, and how dtypes mix."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import shapes
from .errors import ArgumentError, DtypeError
from .graph import Array, Dtype


def to_dtype(name: str, dtype: Any, device: Any = None) -> Dtype:
    """One of chainrule's dtypes, from itself or its name; the device must be the only one."""
    if device not in (None, "cpu"):
        raise ArgumentError(name, f"got device {device!r}", '"cpu" alone', "leave it out")
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in shapes.DTYPES:
        raise DtypeError(
            name, f"got dtype {dtype}", f"one of {_dtype_names()}", "choose one of them"
        )
    return found


def to_array(data: Any, dtype: Any = None) -> Array:
    """Anything that a tensor can be made of, as an array of a supported dtype."""
    dtype = None if dtype is None else to_dtype("asarray", dtype)
    if hasattr(data, "_known"):
        value = data._known("asarray")
        return value if dtype is None else value.astype(dtype, copy=False)
    if isinstance(data, (list, tuple)) and any(hasattr(d, "_known") for d in _leaves(data)):
        data = _unwrapped(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ArgumentError(
            "asarray", f"got {type(data).__name__}: {error}", "rows of equal length", "pad them"
        ) from None
    if dtype is not None:
        if array.dtype.kind not in "biufV":
            raise _no_dtype(data, array)
        if array.dtype.kind in "iuf" and dtype.kind in "iu" and isinstance(data, (int, float)):
            _check_fits(data, dtype)
        return array.astype(dtype)
    if not isinstance(data, (np.ndarray, np.generic)):
        if array.dtype == np.float64 and not _numpy_inside(data):
            array = array.astype(np.float32)
        if array.dtype.kind == "u" and array.dtype == np.uint64 and not _numpy_inside(data):
            raise ArgumentError(
                "asarray", "got a whole number above int64", "numbers that fit", "give dtype=uint64"
            )
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    elif array.flags.writeable:
        array = array.copy()
    if array.dtype not in shapes.DTYPES:
        raise _no_dtype(data, array)
    return array


def _check_fits(data: Any, dtype: Dtype) -> None:
    info = np.iinfo(dtype)
    if data != data or not info.min <= data <= info.max:
        raise ArgumentError(
            "asarray", f"got {data}", f"a number that {dtype} can hold", "choose a wider dtype"
        )


def _leaves(data: Any) -> Iterator[Any]:
    for d in data:
        if isinstance(d, (list, tuple)):
            yield from _leaves(d)
        else:
            yield d


def _unwrapped(data: Any) -> Any:
    if hasattr(data, "_known"):
        return data._known("asarray")
    return [_unwrapped(d) for d in data] if isinstance(data, (list, tuple)) else data


def _numpy_inside(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return any(isinstance(d, (np.ndarray, np.generic)) for d in _leaves(data))
    return hasattr(data, "__array__")


def _dtype_names() -> str:
    return ", ".join(map(str, shapes.DTYPES))


def _no_dtype(data: Any, array: Array) -> DtypeError:
    return DtypeError(
        "asarray",
        f"got {type(data).__name__} of {array.dtype}",
        f"one of {_dtype_names()}",
        "convert it, or encode texts and categories as numbers",
    )


@functools.cache
def promote(a: Dtype, b: Dtype) -> Dtype:
    """The dtype that holds both: the Array API's table, and for mixed kinds the wider kind.

    An integer (or bool) with a float gives the float's dtype; float16 with bfloat16 gives float32.
    """
    if a == b:
        return a
    for x, y in ((a, b), (b, a)):
        if x.kind in "biu" and y.kind in "fV":
            return y
        if x.kind == "b":
            return y
    if {a, b} == {shapes.float16, shapes.bfloat16}:
        return shapes.float32
    if "V" in (a.kind, b.kind):
        return a if b == shapes.bfloat16 else b
    out = np.promote_types(a, b)
    if out.kind == "f" and a.kind != "f":
        raise DtypeError(
            "promote", f"got {a} and {b}", "no integer dtype holds both", "convert one with astype"
        )
    return out
