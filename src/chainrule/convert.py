"""Python's and NumPy's data as arrays of supported dtypes, and how dtypes mix."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .dtypes import (
    DTYPES,
    FLOATS,
    bfloat16,
    float16,
    float32,
    is_boolean,
    is_exact,
    is_floating,
    is_ieee_floating,
    is_integer,
)
from .errors import ArgumentError, DtypeError, TraceError, user_line
from .graph import Array, Dtype, spec_text
from .handle import Handle


def to_dtype(name: str, dtype: Any, device: Any = None) -> Dtype:
    """One of chainrule's dtypes, from itself or its name; the device must be the only one."""
    if device not in (None, "cpu"):
        raise ArgumentError(name, f"got device {device!r}", 'expected "cpu" alone', "leave it out")
    try:
        wanted = None if dtype is None else np.dtype(dtype)
    except TypeError:
        wanted = None
    if wanted is None or wanted not in DTYPES:
        raise DtypeError(
            name,
            f"got dtype {dtype}",
            f"expected one of {_dtype_names()}",
            "pass one of these, or leave dtype out",
        )
    return wanted


def to_array(data: Any, dtype: Any = None) -> Array:
    """The data of a new tensor as an array of a supported dtype."""
    dtype = None if dtype is None else to_dtype("asarray", dtype)
    if isinstance(data, Handle):
        value = data._concrete("asarray")
        return value if dtype is None else value.astype(dtype, copy=False)
    kinds = {*map(type, _leaves(data))} if isinstance(data, (list, tuple)) else ()
    for d in _leaves(data) if any(hasattr(kind, "filled") for kind in kinds) else (data,):
        expect_no_mask("asarray", d)
    if any(issubclass(kind, Handle) for kind in kinds):
        for d in _leaves(data):
            if isinstance(d, Handle) and d._value is None:
                raise TraceError(
                    "asarray",
                    f"got a {type(data).__name__} with a traced {spec_text(d)} in it",
                    "expected a tensor, or numbers alone",
                    "pass one tensor, or join several with cr.stack or cr.concat",
                    user_line(),
                )
        data = _unwrapped(data)
    array = _as_array(data)
    plain = isinstance(data, (list, tuple, int, float))
    if dtype is not None:
        if not _is_number(array.dtype):
            raise _no_dtype(data, array)
        if plain and is_integer(dtype):
            _check_fits(array, dtype)
        with np.errstate(over="ignore"):  # a number too large for a float becomes inf
            return array.astype(dtype)
    if plain and not _numpy_inside(data):
        if array.dtype == np.float64:
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
        elif array.dtype == np.uint64:
            raise ArgumentError(
                "asarray",
                "got a whole number above int64",
                "expected numbers that fit",
                "pass dtype=uint64",
            )
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    elif not (plain or isinstance(data, np.generic) or _unwritable(data)):
        array = array.copy()
    if array.dtype not in DTYPES:
        raise _no_dtype(data, array)
    return array


def expect_no_mask(operation: str, data: Any) -> None:
    """Raise if it is an array of NumPy's `ma` with masked elements: a tensor has no mask."""
    hidden = np.count_nonzero(getattr(data, "mask", False)) if hasattr(data, "filled") else 0
    if hidden:
        raise ArgumentError(
            operation,
            f"got a {type(data).__name__} with {hidden} of {np.size(data)} elements masked",
            "expected an array without masked elements",
            "replace them, x.filled(0.0), and pass x.mask as an input or a "
            "weight; or leave these rows out",
            user_line(),
        )


def _as_array(data: Any) -> Array:
    """NumPy's array of the data; whole numbers are never rounded to floats."""
    try:
        array = np.asarray(data)
        mixed = array.dtype.kind in "fO" and array.size and isinstance(data, (list, tuple, int))
        if mixed and all(isinstance(n, int) for n in _leaves((data,))):  # some above int64
            array = np.asarray(data, np.uint64 if min(_leaves((data,))) >= 0 else np.int64)
    except OverflowError as error:
        raise ArgumentError(
            "asarray",
            f"got {type(data).__name__}: {error}",
            "expected numbers that fit",
            "use floats",
        ) from None
    except ValueError as error:
        raise ArgumentError(
            "asarray",
            f"got {type(data).__name__}: {error}",
            "expected rows of equal length",
            "pad the shorter rows",
        ) from None
    except (TypeError, RuntimeError, BufferError) as error:
        raise DtypeError(
            "asarray",
            f"got {type(data).__name__}: {error}",
            "expected numbers, lists or an array",
            "convert it to a NumPy array first",
        ) from None
    return array


def _unwritable(data: Any) -> bool:
    """Whether no one else can write the memory: an array that owns it and is read-only."""
    return type(data) is np.ndarray and data.base is None and not data.flags.writeable


def _is_number(dtype: Dtype) -> bool:
    """Whether NumPy can convert it to each of chainrule's dtypes: no text, object or complex."""
    return is_exact(dtype) or is_ieee_floating(dtype) or dtype == bfloat16


def _check_fits(array: Array, dtype: Dtype) -> None:
    """Python's numbers in an integer dtype: each has to fit, so that none wraps."""
    if not (is_integer(array.dtype) or is_ieee_floating(array.dtype)) or not array.size:
        return
    info, low, high = np.iinfo(dtype), array.min().item(), array.max().item()
    if not (info.min <= low and high <= info.max):
        worst = low if not info.min <= low else high
        raise ArgumentError(
            "asarray",
            f"got {worst}",
            f"expected a number that {dtype} can hold",
            "use a wider dtype, such as int64",
        )


def _leaves(data: Any) -> Iterator[Any]:
    for d in data:
        if isinstance(d, (list, tuple)):
            yield from _leaves(d)
        else:
            yield d


def _unwrapped(data: Any) -> Any:
    if isinstance(data, Handle):
        return data._concrete("asarray")
    return [_unwrapped(d) for d in data] if isinstance(data, (list, tuple)) else data


def _numpy_inside(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return any(isinstance(d, (np.ndarray, np.generic)) for d in _leaves(data))
    return hasattr(data, "__array__")


def _dtype_names() -> str:
    return ", ".join(map(str, DTYPES))


def _no_dtype(data: Any, array: Array) -> DtypeError:
    return DtypeError(
        "asarray",
        f"got {type(data).__name__} of {array.dtype}",
        f"expected one of {_dtype_names()}",
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
        if is_exact(x) and is_floating(y):
            return y
        if is_boolean(x):
            return y
    if {a, b} == {float16, bfloat16}:
        return float32
    if bfloat16 in (a, b):
        return a if b == bfloat16 else b
    out = np.promote_types(a, b)
    if is_ieee_floating(out) and not is_ieee_floating(a):
        raise DtypeError(
            "promote",
            f"got {a} and {b}",
            "expected an integer dtype that holds both, and there is none",
            "convert one with astype",
        )
    return out


def as_loaded(name: str, new: Array, dtype: Dtype) -> Array:
    """The values of a file in the dtype of the array that they replace, if kind and range fit.

    Floats are rounded. Integers or bools in place of floats are an error, and so are floats that
    become infinite.
    """
    if new.dtype == dtype:
        return new
    floats = dtype in FLOATS
    if new.dtype not in FLOATS if floats else not np.can_cast(new.dtype, dtype, "safe"):
        raise DtypeError(
            "load_state_dict",
            f"got {spec_text(new)} for {name}",
            f"expected {dtype}, or another {'floating ' * floats}dtype that it can hold",
            f'read the right file, or convert on purpose: array.astype("{dtype}")',
        )
    with np.errstate(over="ignore"):
        out = new.astype(dtype)
    if floats and (np.isfinite(new) & ~np.isfinite(out)).any():
        raise ArgumentError(
            "load_state_dict",
            f"got {spec_text(new)} for {name} with values beyond {dtype}",
            f"expected values that {dtype} can hold",
            "read the right file",
        )
    return out
