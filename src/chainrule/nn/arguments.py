"""Checks of the arguments of losses and layers: settings, factors, values of a target.

Settings and shapes are checked when the call is made. So are values, if there are any: a compiled
step, which has none while it is traced, raises when it runs.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import cast, common_shape, expand
from ..convert import promote
from ..dtypes import float32, int8, is_boolean, is_floating, is_integer
from ..errors import ArgumentError, DtypeError, RangeError, Refusal, ShapeError, user_line
from ..graph import Shape, spec_text
from ..tensor import Tensor, as_tensor
from ..trace import state


def current_values(x: Tensor) -> Any:
    """The values of a tensor; None if it is traced, or may have others when the graph runs."""
    hidden = state.trace is not None and state.trace.hides(x)
    return None if hidden else x._value


def expect_number(
    name: str,
    what: str,
    value: Any,
    usual: float,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Raise unless a setting is a number in its range; NaN is in no range.

    usual   a value that works, for the message
    """
    got = current_values(value) if isinstance(value, Tensor) else value
    if got is None and isinstance(value, Tensor):
        return
    if isinstance(got, np.ndarray) and got.size == 1:
        got = got.item()
    x = float(got) if isinstance(got, Real) and not isinstance(got, bool) else math.nan
    if not (
        -math.inf <= x
        and (above is None or x > above)
        and (least is None or x >= least)
        and (most is None or x <= most)
    ):
        needed = (
            f"a number above {above:g}, up to {most:g}"
            if above is not None and most is not None
            else f"a number above {above:g}"
            if above is not None
            else f"a number from {least:g} to {most:g}"
            if least is not None and most is not None
            else f"a number from {least:g}"
            if least is not None
            else "a number"
        )
        raise ArgumentError(
            name,
            f"got {what}={got!r}",
            f"expected {needed}",
            f"{what}={usual:g} works",
            user_line(),
        )


def expect_fraction(name: str, what: str, value: Any, usual: float = 0.1) -> None:
    """Raise unless a setting is from 0 to 1."""
    expect_number(name, what, value, usual, least=0, most=1)


def expect_integers(name: str, least: int, **values: Any) -> None:
    """Raise unless each of these settings is an integer, `least` or more."""
    for what, value in values.items():
        try:
            wrong = isinstance(value, bool) or operator.index(value) < least
        except TypeError:
            wrong = True
        if wrong:
            raise ArgumentError(
                name,
                f"got {what}={value!r}",
                f"expected a whole number from {least}",
                f"{what}={max(1, least)} is the smallest that does something",
                user_line(),
            )


def expect_batch_first(name: str, batch_first: bool) -> None:
    """Raise if sequences should have another first axis."""
    if not batch_first:
        raise ArgumentError(
            name,
            "got batch_first=False",
            "expected sequences that are batch first",
            "leave it out, and move the axes with cr.moveaxis(x, 0, 1)",
            user_line(),
        )


def as_floating(x: Any) -> Tensor:
    """x; integers and bools as float32, in which nothing overflows or is cut off."""
    x = as_tensor(x)
    return x if is_floating(x.dtype) else cast(x, float32)


def as_factor(name: str, what: str, value: Any, shape: Shape) -> Tensor:
    """A factor per element of `shape`: it broadcasts to that shape and does not enlarge it."""
    return expect_broadcastable(name, what, as_floating(value), shape)


def expect_broadcastable(name: str, what: str, each: Tensor, shape: Shape) -> Tensor:
    """The tensor; an error unless it broadcasts to `shape` without enlarging it."""
    padded = (1,) * (len(shape) - each.ndim) + each.shape
    if len(padded) != len(shape) or any(
        n not in (1, m) for n, m in zip(padded, shape, strict=True)
    ):
        raise ShapeError(
            name,
            f"got the {what} {spec_text(each)} for elements of shape {shape}",
            "expected a shape that broadcasts to it",
            f"insert axes of size 1 where it is the same for all, for example {what}[:, None]",
            user_line(),
        )
    return each


def expect_values(
    name: str, what: str, x: Tensor, wrong: Callable[[Any], Any], needed: str, advice: str
) -> Tensor:
    """x; an error if elements are wrong, which a compiled step raises when it runs.

    wrong    which elements are: a bool per element of an array or a traced tensor
    needed   what is expected, for the message
    """
    now = current_values(x)
    if now is not None:
        bad = np.asarray(wrong(now))
        if bad.any():
            worst = np.asarray(now)[bad].reshape(-1)[0]
            raise RangeError(name, f"got {what} {worst}", f"expected {needed}", advice, user_line())
        return x
    refusal = Refusal(name, f"got {what} out of range", f"expected {needed}", advice)
    zero = ops.checked_index(cast(wrong(x.detach()), int8), size=1, refusal=refusal)
    return x + cast(zero, x.dtype)


def expect_unit_interval(
    name: str, what: str, x: Tensor, advice: str, slack: float = 0.0
) -> Tensor:
    """x; an error unless its elements are from 0 to 1, plus or minus the slack."""
    return expect_values(name, what, x, lambda v: (v < -slack) | (v > 1 + slack), "0 to 1", advice)


def expect_signs(name: str, target: Tensor) -> Tensor:
    """The target; an error unless its elements are 1 or -1."""
    return expect_values(
        name,
        "the target",
        target,
        lambda v: (v != 1) & (v != -1),
        "1 or -1",
        "write 2 * target - 1 for targets of 1 and 0",
    )


def expect_rows(name: str, indices: Any, count: int) -> Tensor:
    """Row numbers of a table, from 0; an error for others: -1 is not the last row."""
    refusal = Refusal(
        name,
        "got the index {}",
        f"expected 0 to {count - 1}",
        "make room for more with num_embeddings, and give missing values (often -1) a row of "
        "their own: indices + 1",
    )
    indices = as_tensor(indices)
    if not is_integer(indices.dtype):
        raise DtypeError(
            name,
            f"got indices {spec_text(indices)}",
            "expected an integer dtype",
            "convert with astype(indices, int64)",
            user_line(),
        )
    return ops.checked_index(indices, size=count, refusal=refusal)


def as_one_batch(name: str, *xs: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values in one dtype and with the batch axes that they broadcast to."""
    query, key, value = xs
    fits = min(x.ndim for x in xs) >= 2 and (
        query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    )
    if not fits:
        raise ShapeError(
            name,
            "got " + ", ".join(map(spec_text, xs)),
            "expected a query (..., T, d), a key (..., S, d) and a value (..., S, e)",
            "key and value have the same length, query and key the same last axis",
            user_line(),
        )
    dtype = promote(promote(query.dtype, key.dtype), value.dtype)
    batch = common_shape(name, *(x.shape[:-2] for x in xs))
    return tuple(expand(cast(x, dtype), (*batch, *x.shape[-2:])) for x in xs)


def mask_of(name: str, mask: Any, true: str = "allowed") -> Tensor:
    """A mask of attention: bool, or floats that are added to the scores.

    true   the meaning of True in a bool mask, for the message
    """
    mask = as_tensor(mask)
    if not (is_boolean(mask.dtype) or is_floating(mask.dtype)):
        raise DtypeError(
            name,
            f"got a mask {spec_text(mask)}",
            "expected bool, or floats that are added",
            f"mask != 0 is True where attending is {true}, if the mask is 1 there",
            user_line(),
        )
    return mask
