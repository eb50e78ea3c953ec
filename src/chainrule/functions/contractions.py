"""Sums of products: matrix products, tensordot, einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..broadcasting import as_tensors, broadcast_matmul, cast
from ..convert import promote
from ..errors import ArgumentError, DtypeError, ShapeError, user_line
from ..graph import spec_text
from ..hints import explain_arguments
from ..tensor import Tensor
from . import axes as _axes
from .reductions import sum as _sum
from .shaping import broadcast_to, diagonal, moveaxis, permute_dims, reshape


def matmul(x1: Any, x2: Any, /) -> Tensor:
    """x1 @ x2: (…, n, k) times (…, k, m) is (…, n, m); batch axes broadcast, vectors are fine."""
    return broadcast_matmul(x1, x2)


def dot(x1: Any, x2: Any, /) -> Tensor:
    """NumPy's and PyTorch's name for the product of two vectors."""
    return broadcast_matmul(x1, x2)


def tensordot(x1: Any, x2: Any, /, axes: Any = 2) -> Tensor:
    """Sum over pairs of axes: the last n of x1 with the first n of x2, or two lists of axes."""
    x1, x2 = as_tensors(x1, x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x1.ndim, x2.ndim):
            raise ShapeError(
                "tensordot",
                f"got {axes} axes for {spec_text(x1)} and {spec_text(x2)}",
                "expected at most the number of axes that each has",
                "name the axes in two lists",
                user_line(),
            )
        left, right = list(range(x1.ndim - axes, x1.ndim)), list(range(axes))
    else:
        if not isinstance(axes, (tuple, list)) or len(axes) != 2:
            raise ArgumentError(
                "tensordot",
                f"got axes {axes!r}",
                "expected a whole number, or two lists of axes",
                "for example axes=([1], [0])",
                user_line(),
            )
        left = [_axes.one("tensordot", a, x1.ndim) for a in _axes.listed(axes[0])]
        right = [_axes.one("tensordot", a, x2.ndim) for a in _axes.listed(axes[1])]
    if [x1.shape[a] for a in left] != [x2.shape[a] for a in right]:
        raise ShapeError(
            "tensordot",
            f"got {spec_text(x1)} over {left} and {spec_text(x2)} over {right}",
            "expected pairs of equal sizes",
            "check the order of the axes",
            user_line(),
        )
    rows = [a for a in range(x1.ndim) if a not in left]
    columns = [a for a in range(x2.ndim) if a not in right]
    inner = math.prod(x1.shape[a] for a in left)
    n, m = math.prod(x1.shape[a] for a in rows), math.prod(x2.shape[a] for a in columns)
    a = reshape(permute_dims(x1, rows + left), (n, inner))
    b = reshape(permute_dims(x2, right + columns), (inner, m))
    shape = [x1.shape[k] for k in rows] + [x2.shape[k] for k in columns]
    return reshape(broadcast_matmul(a, b), shape)


@explain_arguments
def vecdot(x1: Any, x2: Any, /, axis: int = -1) -> Tensor:
    """∑ x1 · x2 along an axis; the others broadcast."""
    x1, x2 = as_tensors(x1, x2)
    dtype = promote(x1.dtype, x2.dtype)
    _axes.one("vecdot", axis, min(x1.ndim, x2.ndim))
    a, b = moveaxis(cast(x1, dtype), axis, -1), moveaxis(cast(x2, dtype), axis, -1)
    if a.shape[-1] != b.shape[-1]:
        raise ShapeError(
            "vecdot",
            f"got {spec_text(x1)} and {spec_text(x2)}",
            "expected equal sizes on the axis",
            "pass axis= if another axis is meant",
            user_line(),
        )
    return _sum(a * b, axis=-1, dtype=dtype)


def outer(x1: Any, x2: Any, /) -> Tensor:
    """Every element of one vector times every element of the other."""
    x1, x2 = as_tensors(x1, x2)
    return reshape(x1, (-1, 1)) * reshape(x2, (1, -1))


def einsum(equation: str, /, *operands: Any) -> Tensor:
    """Einstein's summation: `einsum("bij,bjk->bik", x, y)`.

    A letter that the result lacks is summed over; `...` stands for broadcast axes. Operands are
    taken two at a time from the left, each pair as one batched matrix product.
    """
    if not isinstance(equation, str):
        raise DtypeError(
            "einsum",
            f"got {type(equation).__name__}",
            "expected the equation first, as a text",
            'for example einsum("ij,jk->ik", x, y)',
            user_line(),
        )
    tensors = as_tensors(*operands)
    inputs, output = _parse(equation, tensors)
    x, letters = _single(tensors[0], inputs[0])
    for k in range(1, len(tensors)):
        y, other = _single(tensors[k], inputs[k])
        later = set(output).union(*inputs[k + 1 :])
        x, letters = _pair(equation, x, letters, y, other, later)
    gone = tuple(k for k, c in enumerate(letters) if c not in output)
    if gone:
        x = _sum(x, axis=gone, dtype=x.dtype)
        letters = [c for c in letters if c in output]
    return permute_dims(x, [letters.index(c) for c in output])


def _parse(equation: str, tensors: list[Tensor]) -> tuple[list[list[str]], list[str]]:
    """The letters of each operand and of the result; `...` becomes digits."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors) or not tensors:
        raise ArgumentError(
            "einsum",
            f"got {equation!r} for {len(tensors)} operands",
            "expected one term per operand",
            "separate the terms by commas",
            user_line(),
        )
    inputs, widest = [], 0
    for term, x in zip(terms, tensors, strict=True):
        named = len(term.replace("...", ""))
        hidden = x.ndim - named if "..." in term else 0
        if hidden < 0 or ("..." not in term and named != x.ndim):
            raise ShapeError(
                "einsum",
                f"got {term!r} for {spec_text(x)}",
                f"expected {x.ndim} letters",
                "name every axis, or put ... for the leading ones",
                user_line(),
            )
        widest = max(widest, hidden)
        inputs.append((term, hidden))
    axes = [chr(0x100 + k) for k in range(widest)]
    rows = [list(t.replace("...", "".join(axes[widest - h :]))) for t, h in inputs]
    if arrow:
        output = list(right.replace("...", "".join(axes)))
    else:
        flat = [c for row in rows for c in row]
        output = axes + sorted({c for c in flat if flat.count(c) == 1 and c not in axes})
    known = {c for row in rows for c in row}
    if not set(output) <= known or len(set(output)) != len(output):
        raise ArgumentError(
            "einsum",
            f"got {equation!r}",
            "expected a result of letters that occur, each once",
            "check the letters after ->",
            user_line(),
        )
    return rows, output


def _single(x: Tensor, letters: list[str]) -> tuple[Tensor, list[str]]:
    """A letter that occurs twice in one operand: its diagonal."""
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            a = letters.index(c)
            b = letters.index(c, a + 1)
            if x.shape[a] != x.shape[b]:
                raise ShapeError(
                    "einsum",
                    f"got {spec_text(x)} with {c!r} twice",
                    "expected equal sizes on the axes of one letter",
                    "use different letters",
                    user_line(),
                )
            x = diagonal(moveaxis(x, (a, b), (-2, -1)))
            letters = [d for k, d in enumerate(letters) if k not in (a, b)] + [c]
    return x, list(letters)


def _pair(
    equation: str, x: Tensor, xs: list[str], y: Tensor, ys: list[str], later: set[str]
) -> tuple[Tensor, list[str]]:
    """Two operands: letters of both that remain are the batch, letters that end here are summed."""
    sizes: dict[str, int] = {}
    for t, letters in ((x, xs), (y, ys)):
        for c, n in zip(letters, t.shape, strict=True):
            if sizes.setdefault(c, n) not in (n, 1) and n != 1:
                raise ShapeError(
                    "einsum",
                    f"got sizes {sizes[c]} and {n} for {c!r} in {equation!r}",
                    "expected one size per letter",
                    "check the operands' order",
                    user_line(),
                )
            sizes[c] = max(sizes[c], n) if 0 not in (sizes[c], n) else 0
    x, y = (broadcast_to(t, [sizes[c] for c in letters]) for t, letters in ((x, xs), (y, ys)))
    for t_letters, other in ((xs, ys), (ys, xs)):
        alone = [c for c in t_letters if c not in other and c not in later]
        if alone:
            t = x if t_letters is xs else y
            t = _sum(t, axis=tuple(t_letters.index(c) for c in alone), dtype=t.dtype)
            rest = [c for c in t_letters if c not in alone]
            if t_letters is xs:
                x, xs = t, rest
            else:
                y, ys = t, rest
    batch = [c for c in xs if c in ys and c in later]
    inner = [c for c in xs if c in ys and c not in later]
    rows = [c for c in xs if c not in ys]
    columns = [c for c in ys if c not in xs]
    a = permute_dims(x, [xs.index(c) for c in batch + rows + inner])
    b = permute_dims(y, [ys.index(c) for c in batch + inner + columns])
    count = {
        k: [sizes[c] for c in v]
        for k, v in {"b": batch, "r": rows, "i": inner, "c": columns}.items()
    }
    n, k, m = (math.prod(count[s]) for s in "ric")
    out = broadcast_matmul(reshape(a, (*count["b"], n, k)), reshape(b, (*count["b"], k, m)))
    return reshape(out, count["b"] + count["r"] + count["c"]), batch + rows + columns


def convolution(
    x: Any,
    w: Any,
    /,
    *,
    stride: Any = 1,
    padding: Any = 0,
    input_dilation: Any = 1,
    kernel_dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Slide the kernel over x and sum products (cross-correlation), in 1 to 3 dimensions.

    x        (N, *size, C), channels last
    w        (*kernel, C / groups, O)
    stride   one number, or one per dimension; the dilations too
    padding  zeros around x: a number, one per dimension, (before, after) pairs, "valid" or "same"
    result   (N, *out, O) with out = ⌊(size + padding - dilation (kernel - 1) - 1) / stride⌋ + 1
    """
    x, w = as_tensors(x, w)
    n = x.ndim - 2
    if not 1 <= n <= 3 or w.ndim != x.ndim:
        raise ShapeError(
            "convolution",
            f"got {spec_text(x)} and {spec_text(w)}",
            "expected x (N, *size, C) and w (*kernel, C / groups, O) with 1 to 3 sizes",
            "add a batch axis, or check the kernel's axes",
            user_line(),
        )
    dtype = promote(x.dtype, w.dtype)
    stride, di, dk = (
        each("convolution", v, n, 1) for v in (stride, input_dilation, kernel_dilation)
    )
    expect_padding("convolution", padding, stride)
    pads: Any
    if padding == "valid":
        pads = ((0, 0),) * n
    elif padding == "same":
        reach = [d * (k - 1) for d, k in zip(dk, w.shape[:n], strict=True)]
        pads = tuple((r // 2, r - r // 2) for r in reach)
    elif isinstance(padding, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in padding):
        pads = tuple(each("convolution", p, 2) for p in padding)
    else:
        pads = tuple((p, p) for p in each("convolution", padding, n, 0))
    if len(pads) != n:
        raise ArgumentError(
            "convolution",
            f"got padding {padding}",
            f"expected {n} pairs",
            "give one pair per dimension",
            user_line(),
        )
    return ops.convolution(
        cast(x, dtype),
        cast(w, dtype),
        stride=stride,
        padding=pads,
        input_dilation=di,
        kernel_dilation=dk,
        groups=_axes.count("convolution", groups, 1),
    )


def expect_padding(name: str, padding: Any, stride: Sequence[int]) -> None:
    """Raise for an unknown name, and for "same" with a stride, which changes the size."""
    if not isinstance(padding, str):
        return
    if padding not in ("valid", "same"):
        raise ArgumentError(
            name,
            f"got padding {padding!r}",
            "expected valid, same or numbers",
            "padding=1 adds one zero on each side",
            user_line(),
        )
    if padding == "same" and any(s != 1 for s in stride):
        raise ArgumentError(
            name,
            f'got padding "same" and stride {tuple(stride)}',
            "expected a stride of 1, with which sizes stay the same",
            "padding=kernel_size // 2 halves sizes with a stride of 2",
            user_line(),
        )


def each(name: str, value: Any, n: int, least: int | None = None) -> tuple[int, ...]:
    """One whole number, `least` or more, for each of n dimensions."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(values) != n:
        raise ArgumentError(
            name,
            f"got {value!r}",
            f"expected a whole number, or {n} of them",
            "for example 2, or one number per dimension",
            user_line(),
        )
    return _axes.counts(name, values, least)


def convolution_transpose(
    x: Any,
    w: Any,
    /,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    kernel_dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The adjoint of `convolution` (also called deconvolution).

    x        (N, *size, C), channels last
    w        (*kernel, O / groups, C): the kernel of a convolution from O to C channels
    result   (N, *out, O) with
             out = (size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1

    output_padding is less than the stride or the dilation: it selects one of the sizes that the
    convolution maps to the same size
    """
    x, w = as_tensors(x, w)
    n = x.ndim - 2
    dtype = promote(x.dtype, w.dtype)
    x, w = cast(x, dtype), cast(w, dtype)
    steps, pads, more, gaps = (
        each("convolution_transpose", v, n, least)
        for v, least in ((stride, 1), (padding, 0), (output_padding, 0), (kernel_dilation, 1))
    )
    if any(e >= max(s, d) for e, s, d in zip(more, steps, gaps, strict=True)):
        raise ArgumentError(
            "convolution_transpose",
            f"got output_padding {more}",
            f"expected less than the stride {steps} or the dilation {gaps}",
            f"output_padding={max(steps) - 1} is the largest for that stride",
            user_line(),
        )
    kernel, (o, c) = w.shape[:n], w.shape[n:]
    flipped = ops.flip(w, axis=tuple(range(n)))
    split = reshape(flipped, (*kernel, o, groups, c // groups))
    swapped = reshape(permute_dims(split, (*range(n), n + 2, n + 1, n)), (*kernel, c // groups, -1))
    reach = [d * (k - 1) for d, k in zip(gaps, kernel, strict=True)]
    sides = tuple((r - p, r - p + e) for r, p, e in zip(reach, pads, more, strict=True))
    return ops.convolution(
        x,
        swapped,
        stride=(1,) * n,
        padding=sides,
        input_dilation=steps,
        kernel_dilation=gaps,
        groups=groups,
    )
