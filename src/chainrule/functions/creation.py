"""Functions that make tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..broadcasting import as_tensors, cast
from ..convert import expect_no_mask, to_array, to_dtype
from ..dtypes import float32, int64, is_integer
from ..errors import ArgumentError, DtypeError, ShapeError, user_line
from ..graph import Array, Dtype, spec_text
from ..hints import explain_arguments
from ..tensor import Tensor, as_tensor, make
from .axes import count, counts
from .shaping import broadcast_arrays as _broadcast_arrays
from .shaping import broadcast_to, copied, expand_dims, reshape


def _dtype_or(dtype: Any, device: Any, default: Dtype = float32) -> Dtype:
    return to_dtype("creation", default if dtype is None else dtype, device)


def _shape(shape: Any) -> tuple[int, ...]:
    return counts("creation", shape)


def _tensor_of(function: Callable[..., Array], *args: Any) -> Tensor:
    """The result of a NumPy function as a tensor, if it fits into memory."""
    try:
        return make(function(*args))
    except (MemoryError, OverflowError, ValueError) as error:
        got = f"got too much: {error}".replace(";", ",")
        raise ArgumentError(
            "creation",
            got,
            "expected an array that fits into memory",
            "make it smaller",
            user_line(),
        ) from None


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """PyTorch's name for `Tensor(data)`."""
    return Tensor(data, dtype, requires_grad)


def asarray(
    obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None
) -> Tensor:
    """A tensor of anything array-like. Floats become float32, whole numbers int64.

    copy  True: always; None: unless it is a tensor already; False: never (an error if needed)
    """
    wanted = _dtype_or(dtype, device)
    dtype = None if dtype is None else wanted
    if isinstance(obj, Tensor):
        if dtype is not None and obj.dtype != dtype:
            if copy is False:
                raise _must_copy(f"{obj.dtype} for {dtype}")
            return obj.astype(dtype)
        return copied(obj) if copy else obj
    if not isinstance(obj, (np.ndarray, np.generic)) and hasattr(obj, "__dlpack__"):
        obj = _shared("asarray", obj)
    if copy is not False:
        return copied(Tensor(obj, dtype)) if copy else Tensor(obj, dtype)
    if not isinstance(obj, np.ndarray):
        raise _must_copy(type(obj).__name__)
    if dtype is not None and obj.dtype != dtype:
        raise _must_copy(f"{obj.dtype} for {dtype}")
    expect_no_mask("asarray", obj)
    to_dtype("asarray", obj.dtype)
    return make(obj)


def _must_copy(got: str) -> ArgumentError:
    return ArgumentError(
        "asarray",
        f"got {got} with copy=False",
        "expected memory that can be shared",
        "use copy=None",
    )


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of any object with `__dlpack__`, shared unless copy=True."""
    _dtype_or(None, device)
    if isinstance(x, Tensor):
        return copied(x) if copy else x
    if not hasattr(x, "__dlpack__"):
        raise DtypeError(
            "from_dlpack",
            f"got {type(x).__name__}",
            "expected an object with __dlpack__",
            "use asarray",
        )
    array = _shared("from_dlpack", x)
    return make(array.copy() if copy else array)


def _shared(name: str, x: Any) -> Array:
    """NumPy's view of another library's memory."""
    expect_no_mask(name, x)
    try:
        array = np.from_dlpack(x)
    except (BufferError, RuntimeError) as error:
        raise DtypeError(
            name,
            f"got {type(x).__name__}: {error}",
            "expected memory on the CPU of a dtype NumPy knows",
            "move or convert it there first",
        ) from None
    to_dtype(name, array.dtype)
    return array


@explain_arguments
def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """0 everywhere."""
    return _tensor_of(np.zeros, _shape(shape), _dtype_or(dtype, device))


@explain_arguments
def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """1 everywhere."""
    return _tensor_of(np.ones, _shape(shape), _dtype_or(dtype, device))


@explain_arguments
def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """0 everywhere: nothing here reads memory that was not written."""
    return zeros(shape, dtype=dtype, device=device)


@explain_arguments
def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """One number everywhere; dtype None: the number's. The number may be a tensor."""
    if isinstance(fill_value, Tensor):
        wanted = _dtype_or(dtype, device, fill_value.dtype)
        return broadcast_to(cast(fill_value, wanted), _shape(shape))
    value = to_array(fill_value, None if dtype is None else _dtype_or(dtype, device))
    if value.ndim:
        raise ShapeError(
            "full",
            f"got {spec_text(value)} to fill with",
            "expected one number",
            "use broadcast_to",
            user_line(),
        )
    return _tensor_of(np.full, _shape(shape), value, _dtype_or(value.dtype, device))


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """0 everywhere, in x's shape and dtype."""
    x = as_tensor(x)
    return zeros(x.shape, dtype=dtype or x.dtype, device=device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """1 everywhere, in x's shape and dtype."""
    x = as_tensor(x)
    return ones(x.shape, dtype=dtype or x.dtype, device=device)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """0 everywhere, in x's shape and dtype."""
    return zeros_like(x, dtype=dtype, device=device)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """One number everywhere, in x's shape and dtype."""
    x = as_tensor(x)
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Tensor:
    """1 on the k-th diagonal, 0 elsewhere."""
    n, m = _shape((n_rows, n_rows if n_cols is None else n_cols))
    return _tensor_of(np.eye, n, m, count("eye", k, None), _dtype_or(dtype, device))


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """start, start + step, … up to but not including stop."""
    if stop is None:
        start, stop = 0, start
    bounds = (start, stop, step)
    whole = all(isinstance(v, (int, np.integer)) for v in bounds)
    wanted = _dtype_or(dtype, device, int64 if whole else float32)
    if step == 0 or not all(map(_finite, bounds)):
        raise ArgumentError(
            "arange",
            f"got {bounds}",
            "expected finite numbers and a step other than 0",
            "use linspace for a number of points",
            user_line(),
        )
    if whole:
        return _tensor_of(lambda: _fitting("arange", np.arange(start, stop, step), wanted))
    start, stop, step = map(float, bounds)  # NumPy's float32 would stay one
    length = max(0, math.ceil((stop - start) / step))
    return _tensor_of(
        lambda: _fitting("arange", start + step * np.arange(length, dtype=np.float64), wanted)
    )


def _fitting(name: str, numbers: Array, dtype: Dtype) -> Array:
    """The numbers in the dtype; one that an integer dtype cannot hold is an error."""
    if is_integer(dtype) and numbers.size:
        info, ends = np.iinfo(dtype), (int(numbers[0]), int(numbers[-1]))
        if min(ends) < info.min or max(ends) > info.max:
            raise ArgumentError(
                name,
                f"got numbers from {ends[0]} to {ends[1]}",
                f"expected numbers that {dtype} can hold, {info.min} to {info.max}",
                "dtype=cr.int64 holds more",
                user_line(),
            )
    return numbers.astype(dtype)


def _finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except TypeError:
        return False


def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Tensor:
    """`num` numbers, evenly spaced from start to stop, calculated in float64.

    Of an integer dtype each is rounded down.
    """
    wanted = _dtype_or(dtype, device)
    num = count("linspace", num)
    if not (_finite(start) and _finite(stop)):
        raise ArgumentError(
            "linspace",
            f"got {start} to {stop}",
            "expected finite numbers",
            "replace inf and NaN first",
            user_line(),
        )
    ends = float(start), float(stop)  # of NumPy's float32 it would calculate in float32
    whole = is_integer(wanted)

    def even() -> Array:
        numbers = np.linspace(*ends, num, endpoint=endpoint)
        return _fitting("linspace", np.floor(numbers) if whole else numbers, wanted)

    return _tensor_of(even)


def meshgrid(*xs: Any, indexing: str = "xy") -> list[Tensor]:
    """Coordinate grids from vectors; "ij" keeps the order of the axes, "xy" swaps the first two."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(
            "meshgrid", f"got {indexing!r}", 'expected "xy" or "ij"', 'leave it out: "xy"'
        )
    tensors = as_tensors(*xs)
    n = len(tensors)
    lines = []
    for k, x in enumerate(tensors):
        place = 1 - k if indexing == "xy" and n > 1 and k < 2 else k
        others = tuple(j for j in range(n) if j != place)
        lines.append(expand_dims(reshape(x, (x.size,)), axis=others))
    return _broadcast_arrays(*lines)
