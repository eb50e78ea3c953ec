"""Shape and order: reshaping, moving axes, joining, splitting."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import as_tensors, cast, common_shape, expand
from ..convert import promote, to_dtype
from ..dtypes import int64, is_integer
from ..errors import ArgumentError, DtypeError, ShapeError, class_refusal, user_line
from ..graph import Shape, spec_text
from ..hints import explain_arguments
from ..tensor import Tensor, as_tensor, constant
from . import axes as _axes
from .elementwise import own


@explain_arguments
def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Tensor:
    """The elements in row-major order in another shape; one size may be -1 and is computed.

    copy  True: the result has new memory; tensors never change one another
    """
    x = copied(as_tensor(x)) if copy else as_tensor(x)
    sizes = _axes.counts("reshape", shape, least=-1)
    if sizes.count(-1) == 1:
        rest = -math.prod(sizes)
        if rest == 0 or x.size % rest:
            raise ShapeError(
                "reshape",
                f"got {spec_text(x)} for {sizes}",
                f"expected sizes that divide {x.size}",
                "check the batch size, or flatten first",
                user_line(),
            )
        sizes = tuple(x.size // rest if n == -1 else n for n in sizes)
    out: Tensor = ops.reshape(x, shape=sizes)
    return out


def reshape_method(x: Tensor, *shape: Any, copy: bool | None = None) -> Tensor:
    """`reshape` with the shape as a tuple or as arguments: x.reshape((2, -1)), x.reshape(2, -1)."""
    return reshape(x, shape[0] if len(shape) == 1 else shape, copy=copy)


def copied(x: Tensor) -> Tensor:
    """A copy of x in new memory; gradients pass through."""
    out: Tensor = ops.astype(x, dtype=x.dtype)
    return out


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim, merged into one."""
    x = as_tensor(x)
    if not x.shape:
        return reshape(x, (1,))
    a, b = _axes.one("flatten", start_dim, x.ndim), _axes.one("flatten", end_dim, x.ndim)
    return reshape(x, (*x.shape[:a], math.prod(x.shape[a : b + 1]), *x.shape[b + 1 :]))


def permute_dims(x: Any, /, axes: Any) -> Tensor:
    """The axes in another order: axis k of the result is axis axes[k] of x."""
    x = as_tensor(x)
    order = tuple(_axes.one("permute_dims", a, x.ndim) for a in _axes.listed(axes))
    out: Tensor = ops.permute_dims(x, axes=order)
    return out


def transpose(x: Any, axes: Any = None, dim1: int | None = None) -> Tensor:
    """NumPy's name for `permute_dims`; without axes their order is reversed.

    With two whole numbers, as in PyTorch's `transpose(x, 0, 1)`, those two axes are exchanged.
    """
    x = as_tensor(x)
    order = list(range(x.ndim))
    if dim1 is not None:
        a, b = _axes.one("transpose", axes, x.ndim), _axes.one("transpose", dim1, x.ndim)
        order[a], order[b] = b, a
    return permute_dims(x, order if dim1 is not None else order[::-1] if axes is None else axes)


def matrix_transpose(x: Any, /) -> Tensor:
    """The last two axes exchanged."""
    return as_tensor(x).mT


def moveaxis(x: Any, source: Any, destination: Any, /) -> Tensor:
    """Axes moved to other places, the rest in order."""
    x = as_tensor(x)
    s, d = (
        [_axes.one("moveaxis", a, x.ndim) for a in _axes.listed(g)] for g in (source, destination)
    )
    if len(s) != len(d):
        raise ShapeError(
            "moveaxis",
            f"got {len(s)} sources, {len(d)} destinations",
            "expected the same number of each",
            "give one destination per source",
        )
    _axes.distinct("moveaxis", s), _axes.distinct("moveaxis", d)
    order = [a for a in range(x.ndim) if a not in s]
    for place, axis in sorted(zip(d, s, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, order)


@explain_arguments
def expand_dims(x: Any, /, axis: Any) -> Tensor:
    """A new axis of size 1, at one place or several."""
    x = as_tensor(x)
    places = _axes.listed(axis)
    n = x.ndim + len(places)
    where = _axes.distinct("expand_dims", [_axes.one("expand_dims", a, n) for a in places])
    old = iter(x.shape)
    return reshape(x, tuple(1 if k in where else next(old) for k in range(n)))


@explain_arguments
def squeeze(x: Any, /, axis: Any = None) -> Tensor:
    """Axes of size 1 removed: the named ones, or all."""
    x = as_tensor(x)
    if axis is None:
        axis = tuple(k for k, n in enumerate(x.shape) if n == 1)
    out = _axes.several("squeeze", axis, x.ndim)
    if any(x.shape[a] != 1 for a in out):
        raise ShapeError(
            "squeeze",
            f"got {spec_text(x)}, axis {axis}",
            "expected a size of 1",
            "index the axis or reduce it",
            user_line(),
        )
    return reshape(x, tuple(n for k, n in enumerate(x.shape) if k not in out))


@explain_arguments
def broadcast_to(x: Any, /, shape: Any) -> Tensor:
    """x repeated along new axes and axes of size 1."""
    x, shape = as_tensor(x), _axes.counts("broadcast_to", shape)
    if common_shape("broadcast_to", x.shape, shape) != shape:
        raise ShapeError(
            "broadcast_to",
            f"got {spec_text(x)} for {shape}",
            "expected each size equal or 1, counted from the last axis",
            "reshape it so that it has a size of 1 where it repeats",
            user_line(),
        )
    return own(expand(x, shape), x)


def broadcast_arrays(*xs: Any) -> list[Tensor]:
    """All of them in their common shape."""
    tensors = as_tensors(*xs)
    shape = common_shape("broadcast_arrays", *(t.shape for t in tensors))
    return [own(expand(t, shape), t) for t in tensors]


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that all of them broadcast to."""
    return common_shape("broadcast_shapes", *(_axes.counts("broadcast_shapes", s) for s in shapes))


@explain_arguments
def concat(xs: Any, /, axis: int | None = 0) -> Tensor:
    """The tensors one after another along an axis; None joins them flattened."""
    tensors = _tensors("concat", xs)
    dtype = tensors[0].dtype
    for t in tensors:
        dtype = promote(dtype, t.dtype)
    if axis is None:
        tensors, axis = [reshape(t, (-1,)) if t.size else reshape(t, (0,)) for t in tensors], 0
    if any(t.ndim != tensors[0].ndim for t in tensors):
        got = ", ".join(spec_text(t) for t in tensors)
        raise ShapeError(
            "concat",
            f"got {got}",
            "expected the same number of axes",
            "use stack, or expand_dims",
            user_line(),
        )
    axis = _axes.one("concat", axis, tensors[0].ndim)
    out: Tensor = ops.concat(*(cast(t, dtype) for t in tensors), axis=axis)
    return out


concatenate = concat


def _tensors(name: str, xs: Any) -> list[Tensor]:
    """The tensors to join."""
    tensors = as_tensors(*xs) if isinstance(xs, Iterable) else []
    if not tensors:
        got = "nothing" if isinstance(xs, Iterable) else type(xs).__name__
        raise ArgumentError(
            name, f"got {got}", "expected a list of at least one tensor", "[x] is one", user_line()
        )
    return tensors


@explain_arguments
def stack(xs: Any, /, axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis."""
    tensors = _tensors("stack", xs)
    if any(t.shape != tensors[0].shape for t in tensors):
        got = ", ".join(spec_text(t) for t in tensors)
        raise ShapeError(
            "stack", f"got {got}", "expected equal shapes", "pad or use concat", user_line()
        )
    return concat([expand_dims(t, axis=axis) for t in tensors], axis=axis)


@explain_arguments
def unstack(x: Any, /, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, without that axis."""
    return tuple(moveaxis(x, axis, 0))


@explain_arguments
def split(x: Any, sections: Any, axis: int = 0) -> list[Tensor]:
    """Cut along an axis: into equal sections, or before each of the listed places."""
    x = as_tensor(x)
    axis = _axes.one("split", axis, x.ndim)
    n = x.shape[axis]
    if not np.ndim(sections):
        sections = _axes.count("split", sections, 1)
        if n % sections:
            raise ShapeError(
                "split",
                f"got {n} in {sections} sections",
                f"expected a number of sections that divides {n}",
                "list the positions of the cuts, such as [2, 5]",
            )
        cuts = list(range(0, n + 1, n // sections)) if n else [0] * (sections + 1)
    else:
        cuts = [0, *_axes.counts("split", sections, None), n]
    before = (slice(None),) * axis
    return [x[(*before, slice(a, b))] for a, b in pairwise(cuts)]


@explain_arguments
def flip(x: Any, /, axis: Any = None) -> Tensor:
    """The order along the axes reversed; None is all of them."""
    x = as_tensor(x)
    out: Tensor = ops.flip(x, axis=_axes.several("flip", axis, x.ndim))
    return out


@explain_arguments
def roll(x: Any, /, shift: Any, axis: Any = None) -> Tensor:
    """Elements moved on by `shift` places along the axis; those pushed out enter at the front."""
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, (x.size,)), shift, axis=0), x.shape)
    axes = _axes.listed(axis)
    shifts = shift if isinstance(shift, (tuple, list)) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise ShapeError(
            "roll",
            f"got {len(shifts)} shifts, {len(axes)} axes",
            "expected the same number of each",
            "give one shift per axis",
            user_line(),
        )
    out = x
    for a, s in zip(axes, _axes.counts("roll", shifts, None), strict=True):
        a = _axes.one("roll", a, x.ndim)
        n = x.shape[a]
        if n and s % n:
            before, cut = (slice(None),) * a, n - s % n
            out = concat([out[(*before, slice(cut, n))], out[(*before, slice(0, cut))]], axis=a)
    return own(out, x)


def diagonal(x: Any, /, offset: int = 0) -> Tensor:
    """The diagonal of the last two axes; an offset above 0 lies above it."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(
            "diagonal", f"got {spec_text(x)}", "expected two axes", "reshape it", user_line()
        )
    (n, m), offset = x.shape[-2:], _axes.count("diagonal", offset, None)
    count = max(0, min(n + min(offset, 0), m - max(offset, 0)))
    at = (np.arange(count) + max(-offset, 0)) * m + np.arange(count) + max(offset, 0)
    flat = reshape(x, (*x.shape[:-2], n * m))
    out: Tensor = ops.take(flat, Tensor(at), axis=x.ndim - 2)
    return out


def tril(x: Any, /, k: int = 0) -> Tensor:
    """Zeros above the k-th diagonal of the last two axes."""
    return _triangle(x, "tril", k)


def triu(x: Any, /, k: int = 0) -> Tensor:
    """Zeros below the k-th diagonal of the last two axes."""
    return _triangle(x, "triu", k)


def _triangle(x: Any, name: str, k: int) -> Tensor:
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(
            name, f"got {spec_text(x)}", "expected two axes", "reshape it", user_line()
        )
    (n, m), k = x.shape[-2:], _axes.count(name, k, None)
    lower = np.tri(n, m, k if name == "tril" else k - 1, np.bool_)
    keep = expand(Tensor(lower if name == "tril" else ~lower), x.shape)
    out: Tensor = ops.where(keep, x, constant(x.shape, 0, x.dtype))
    return out


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """x in another dtype; between floating dtypes gradients flow back in the old one."""
    x, wanted = as_tensor(x), to_dtype("astype", dtype, device)
    if wanted == x.dtype and not copy:
        return x
    out: Tensor = ops.astype(x, dtype=wanted)
    return out


def one_hot(x: Any, num_classes: int, dtype: Any = np.float32) -> Tensor:
    """A new last axis that is 1 at the class and 0 elsewhere; classes count from 0."""
    x = as_tensor(x)
    if not is_integer(x.dtype):
        raise DtypeError(
            "one_hot",
            f"got {spec_text(x)}",
            "expected an integer dtype",
            "convert with astype(x, int64)",
            user_line(),
        )
    count = _axes.count("one_hot", num_classes)
    refusal = class_refusal("one_hot", count)
    checked = ops.checked_index(cast(x, int64), size=count, refusal=refusal)
    return cast(
        expand_dims(checked, axis=-1) == Tensor(np.arange(count)), to_dtype("one_hot", dtype)
    )
