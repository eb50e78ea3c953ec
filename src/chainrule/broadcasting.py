"""Operands made alike before an operation: one dtype, one shape, by explicit operations.

The graph itself never broadcasts or promotes: these functions put `astype`, `reshape` and
`broadcast_to` into it, so that no derivative rule has to know about either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import ops
from .convert import promote
from .dtypes import FLOATING, float32, float64, int64, is_boolean, is_floating
from .errors import DtypeError, ShapeError, user_line
from .graph import Dtype, Operation, Shape, spec_text
from .sparse import RowSparse
from .tensor import Tensor, as_tensor, constant


def scalar_dtype(x: Tensor, number: Any) -> Dtype:
    """The dtype of `tensor ∘ Python number`: the tensor's, unless the number is of a wider kind."""
    kind = type(number)
    dtype = x.dtype
    if kind is bool or isinstance(number, (bool, np.bool_)):
        return dtype
    if isinstance(number, int):
        return int64 if is_boolean(dtype) else dtype
    if isinstance(number, float):
        return dtype if is_floating(dtype) else float32
    raise DtypeError(
        "operator",
        f"got {kind.__name__} with {spec_text(x)}",
        "expected a tensor, an array or a real number",
        "convert it with asarray",
    )


def cast(x: Tensor, dtype: Dtype) -> Tensor:
    """x in the dtype."""
    if x.dtype == dtype:
        return x
    return x._bind(ops.astype, (x,), {"dtype": dtype})


def expand(x: Tensor, shape: Shape) -> Tensor:
    """x broadcast to the shape, by explicit operations; the shapes are known to fit."""
    if x.shape == shape:
        return x
    if len(x.shape) != len(shape):
        ones = (1,) * (len(shape) - len(x.shape)) + x.shape
        x = x._bind(ops.reshape, (x,), {"shape": ones})
    return x if x.shape == shape else x._bind(ops.broadcast_to, (x,), {"shape": shape})


def common_shape(name: str, *all_shapes: Shape) -> Shape:
    """The shape that all broadcast to, or ShapeError."""
    try:
        return np.broadcast_shapes(*all_shapes)
    except ValueError:
        got = " and ".join(map(str, all_shapes))
        raise ShapeError(
            name,
            f"got shapes {got}",
            "expected sizes that are equal or 1, counted from the last axis",
            "insert axes of size 1 with expand_dims or reshape",
            user_line(),
        ) from None


def broadcast_binary(op: Operation, a: Any, b: Any) -> Tensor:
    """A two-argument elementwise operation on tensors and numbers: promote, broadcast, apply it."""
    if type(a) is Tensor and type(b) is Tensor:
        va, vb = a._value, b._value
        if va is None or vb is None or va.shape != vb.shape or va.dtype is not vb.dtype:
            dtype = promote(a.dtype, b.dtype)
            same = a.shape == b.shape
            shape = a.shape if same else common_shape(op.name, a.shape, b.shape)
            a, b = expand(cast(a, dtype), shape), expand(cast(b, dtype), shape)
    elif type(a) is Tensor:
        if not isinstance(b, (bool, int, float)):
            return broadcast_binary(op, a, _operand(op, a, b))
        dtype = scalar_dtype(a, b)
        a = cast(a, dtype)
        b = constant(a.shape, b, dtype)
    elif type(b) is Tensor:
        if not isinstance(a, (bool, int, float)):
            return broadcast_binary(op, _operand(op, b, a), b)
        dtype = scalar_dtype(b, a)
        b = cast(b, dtype)
        a = constant(b.shape, a, dtype)
    else:
        return broadcast_binary(op, as_tensor(a), b)
    if op.dtypes is FLOATING and a.dtype not in FLOATING:
        a, b = cast(a, float32), cast(b, float32)
    return a._bind(op, (a, b), {})


def as_tensors(*xs: Any) -> list[Tensor]:
    """Each as a tensor. Next to a float64 tensor Python's floats are float64, otherwise float32."""
    tensors = [as_tensor(x) for x in xs]
    if any(t.dtype == float64 for t in tensors):
        for k, x in enumerate(xs):
            if isinstance(x, (float, list, tuple)) and tensors[k].dtype == float32:
                tensors[k] = Tensor(x, dtype=float64)
    return tensors


def _operand(op: Operation, tensor: Tensor, other: Any) -> Tensor:
    if isinstance(other, RowSparse):
        return other.to_dense()
    if isinstance(other, (np.ndarray, np.generic, list, tuple)) or hasattr(other, "__array__"):
        return as_tensors(tensor, other)[1]
    raise DtypeError(
        op.name,
        f"got {type(other).__name__} with {spec_text(tensor)}",
        "expected a tensor, an array or a real number",
        "convert it with asarray",
        user_line(),
    )


def broadcast_matmul(a: Any, b: Any) -> Tensor:
    """Matrix product: vectors become matrices, batches broadcast, a shared matrix stays one."""
    if type(a) is not Tensor or type(b) is not Tensor:
        a, b = as_tensors(a, b)
    if a.dtype != b.dtype:
        dtype = promote(a.dtype, b.dtype)
        a, b = cast(a, dtype), cast(b, dtype)
    if len(a.shape) == 2 and len(b.shape) == 2:
        return a._bind(ops.matmul, (a, b), {})
    if not a.shape or not b.shape:
        raise ShapeError(
            "matmul",
            f"got {spec_text(a)} and {spec_text(b)}",
            "expected at least one axis each",
            "multiply by a scalar with *",
            user_line(),
        )
    if len(b.shape) <= 2 < len(a.shape):  # one matrix for the whole batch: a single large product
        rows = a._bind(ops.reshape, (a,), {"shape": (int(np.prod(a.shape[:-1])), a.shape[-1])})
        out = broadcast_matmul(rows, b)
        return out._bind(ops.reshape, (out,), {"shape": a.shape[:-1] + b.shape[1:]})
    row, column = len(a.shape) == 1, len(b.shape) == 1
    if row:
        a = a._bind(ops.reshape, (a,), {"shape": (1, *a.shape)})
    if column:
        b = b._bind(ops.reshape, (b,), {"shape": (*b.shape, 1)})
    batch = common_shape("matmul", a.shape[:-2], b.shape[:-2])
    a, b = expand(a, batch + a.shape[-2:]), expand(b, batch + b.shape[-2:])
    out = a._bind(ops.matmul, (a, b), {})
    shape = batch + (() if row else a.shape[-2:-1]) + (() if column else b.shape[-1:])
    return out if out.shape == shape else out._bind(ops.reshape, (out,), {"shape": shape})
