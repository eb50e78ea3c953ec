"""Sequences as arrays: padded, cut into windows, or as parallel streams.

N sequences, T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..convert import expect_no_mask
from ..errors import ArgumentError, DtypeError, ShapeError, user_line
from ..graph import Array
from ..hints import explain_arguments


@explain_arguments
def pad(sequences: Iterable[Any], length: int | None = None, value: Any = 0) -> tuple[Array, Array]:
    """(padded, lengths): sequences of different lengths in one array, filled up at their ends.

    sequences   N arrays (Tₖ,) or (Tₖ, C); one of length 0 is filling alone
    length      T; by default the length of the longest
    value       the filling: 0, or the code of a padding token
    padded      (N, T) or (N, T, C), of the common dtype
    lengths     int64 (N,), for `nn.LSTM` and other layers that leave the filling out
    """
    arrays = _arrays(sequences)
    if length is not None:
        _expect_whole("pad", 0, length=length)
    lengths = np.array([len(a) for a in arrays], np.int64)
    steps = int(lengths.max()) if length is None else length
    if steps < lengths.max():
        raise ArgumentError(
            "pad",
            f"got sequence {int(lengths.argmax())} of {lengths.max()} steps for length {length}",
            f"expected at most {length} steps",
            f"length={lengths.max()}, or cut it: sequence[:{length}]",
            user_line(),
        )
    dtype = np.result_type(*arrays)
    _expect_filling(value, dtype)
    padded = np.full((len(arrays), steps, *arrays[0].shape[1:]), value, dtype)
    for row, a in zip(padded, arrays, strict=True):
        row[: len(a)] = a
    return padded, lengths


@explain_arguments
def windows(
    series: Any, length: int, *, horizon: int | None = None, stride: int | None = None
) -> tuple[Array, Array]:
    """(x, y): windows of a series, and what follows each of them.

    series    (T,), whole numbers such as the codes of a text, or values; with a horizon also (T, C)
    length    steps per window
    horizon   None: y (N, length) is x one step further on, to predict each next element.
              h: y (N, h) or (N, h, C) has the h steps after each window, for a forecast
    stride    from the start of a window to the next; by default `length` (they do not overlap), and
              1 with a horizon
    x         (N, length) or (N, length, C)

    Both are views of the series. The last steps are left out where they fill no window.
    """
    series = _series("windows", series, 1 if horizon is None else 2)
    stride = (length if horizon is None else 1) if stride is None else stride
    _expect_whole("windows", 1, length=length, horizon=horizon, stride=stride)
    after = 1 if horizon is None else horizon
    if len(series) < length + after:
        raise ArgumentError(
            "windows",
            f"got a series of {len(series)} for windows of {length} and the {after} after them",
            f"expected {length + after} steps or more",
            "use a longer series or text, or shorter windows",
            user_line(),
        )
    last = len(series) - length - after  # the last start of a window
    x = _views(series[: len(series) - after], length)[: last + 1 : stride]
    if horizon is None:
        return x, _views(series[1:], length)[: last + 1 : stride]
    return x, _views(series[length:], horizon)[: last + 1 : stride]


@explain_arguments
def streams(series: Any, count: int) -> tuple[Array, Array]:
    """(x, y), both (count, T): a long series as parallel streams, and y one step further on.

    Each row continues where the one above ends, so `fit(…, tbptt=k)` trains on `count` places of
    one text at once: `fit(model, streams(codes, 32), batch_size=32, tbptt=64, …)`.
    """
    series = _series("streams", series, 1)
    _expect_whole("streams", 1, count=count)
    steps = (len(series) - 1) // count
    if steps < 1:
        raise ArgumentError(
            "streams",
            f"got {count} streams of a series of {len(series)}",
            f"expected {count + 1} steps or more: one in each stream, and one after the last",
            f"count={max(1, len(series) // 100)}" if len(series) > 1 else "use a longer series",
            user_line(),
        )
    end = count * steps
    return series[:end].reshape(count, steps), series[1 : end + 1].reshape(count, steps)


def _views(series: Array, length: int) -> Array:
    """All windows, at every step: (N, length) or (N, length, C), without a copy."""
    views = np.lib.stride_tricks.sliding_window_view(series, length, axis=0)
    return np.moveaxis(views, -1, 1)


def _expect_whole(name: str, least: int, **values: Any) -> None:
    """Raise unless each of these is a whole number from `least`, or None."""
    for what, value in values.items():
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not (whole and value >= least):
            raise ArgumentError(
                name,
                f"got {what}={value!r}",
                f"expected a whole number from {least}",
                f"{what}={64 if what == 'length' else 1}",
                user_line(),
            )


def _expect_filling(value: Any, dtype: np.dtype[Any]) -> None:
    """Raise unless the dtype has this number."""
    with np.errstate(all="ignore"):
        filling = np.asarray(value)
        there = filling.dtype.kind in "biuf" and not filling.shape
        cast = filling.astype(dtype) if there else filling
        if there and dtype.kind == "f":
            there = bool(np.isfinite(cast) == np.isfinite(filling))
        elif there:
            there = bool(np.isfinite(filling)) and cast.item() == filling.item()
    if not there:
        raise ArgumentError(
            "pad",
            f"got the filling {value!r} for sequences of {dtype}",
            f"expected one number that {dtype} has",
            "convert the sequences first: [s.astype(np.float32) for s in sequences]",
            user_line(),
        )


def _series(name: str, series: Any, most_axes: int) -> Array:
    """A series as an array; raises where it has other axes, or a step that is not finite."""
    expect_no_mask(name, series)
    series = np.asarray(series)
    if series.dtype.kind not in "biuf":
        raise DtypeError(
            name,
            f"got a series of dtype {series.dtype}",
            "expected numbers",
            "encode a text: codes = cr.data.Characters.fit(text).encode(text)",
            user_line(),
        )
    if not 1 <= series.ndim <= most_axes:
        raise ShapeError(
            name,
            f"got codes of shape {series.shape}"
            if series.dtype.kind in "iu"
            else f"got a series of shape {series.shape}",
            "expected one axis, (T,)" + ", or two, (T, C)" * (most_axes > 1),
            "series.ravel() reads row after row"
            + "; with horizon= a series may be (T, C)" * (name == "windows"),
            user_line(),
        )
    if series.dtype.kind == "f" and not np.isfinite(series).all():
        place = np.argwhere(~np.isfinite(series))[0]
        column = f", column {place[1]}" if series.ndim > 1 else ""
        raise ArgumentError(
            name,
            f"got {series[tuple(place)]} at step {place[0]}{column}",
            "expected finite numbers: each window with a gap would be lost",
            "fill the gaps, with np.interp for example, or cut the series there",
            user_line(),
        )
    return series


def _arrays(sequences: Iterable[Any]) -> list[Array]:
    rows = [*sequences]
    for s in rows:
        expect_no_mask("pad", s)
    arrays = [np.asarray(s) for s in rows]
    if not arrays:
        raise ArgumentError(
            "pad", "got no sequences", "expected one or more", "check the filter", user_line()
        )
    for k, a in enumerate(arrays):
        if not a.ndim or a.shape[1:] != arrays[0].shape[1:]:
            raise ShapeError(
                "pad",
                f"got sequence {k} of shape {a.shape} after {arrays[0].shape}",
                "expected (T,), or (T, C) with one C",
                "a sequence has one row per step and the same channels in each",
                user_line(),
            )
        if a.dtype.kind not in "biuf":
            raise DtypeError(
                "pad",
                f"got sequence {k} of dtype {a.dtype}",
                "expected numbers",
                "encode a text with cr.data.Characters",
                user_line(),
            )
    return arrays
