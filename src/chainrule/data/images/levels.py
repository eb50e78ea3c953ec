"""Brightness in arrays of numbers: which value is white, and values from 0 to 255."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FileError
from ...graph import Array

Levels = tuple[str, float]  # the kind of numbers, and the value that is white

_FIXED = {"bytes": 255.0, "bool": 1.0}
_KINDS = {"i": "whole", "u": "whole", "f": "fractions", "b": "bool"}
_OVERSHOOT = 2.0  # fractions below are shares of white, some a little too large, as after resizing


def levels_of(
    path: Path, parts: Sequence[Array], known: Levels | None = None
) -> tuple[Levels, list[str]]:
    """Which value is white in all parts of a file, and notes.

    It is 255 of bytes, 255 or 65535 of other whole numbers, 1 or 255 of fractions: the first that
    all values reach at most. Numbers of a known kind keep its value.
    """
    kinds = sorted({_kind(path, x.dtype) for x in parts})
    if len(kinds) > 1:
        raise FileError(
            "read_images",
            f"got {path} with training images of {parts[0].dtype}, test images of {parts[1].dtype}",
            "expected the same dtype, of which one value is white",
            "save both with one dtype",
        )
    (kind,) = kinds
    if kind in _FIXED:
        return (kind, _FIXED[kind]), []
    full = [x for x in parts if x.size]
    low, high = (float(f([f(x) for x in full])) for f in (np.min, np.max))
    if not np.isfinite([low, high]).all():
        raise _unclear(path, "values that are NaN or infinite", "save finite values")
    usual = _usual(kind, high)
    white = known[1] if known and known[0] == kind else usual
    most = _OVERSHOOT if white == 1 else white
    if low < 0 or high > most:
        as_trained = f", where {white:g} was white in training" * (white != usual)
        raise _unclear(path, f"values from {low:g} to {high:g}{as_trained}")
    note = f"{path} has values up to {high:g}; {white:g} is white, as in training"
    return (kind, white), [note] * (white != usual)


def brightness(x: Array, levels: Levels) -> Array:
    """Values from 0 to 255, float32 of fractions and of 16 bits, else uint8; 0 is black."""
    white = levels[1]
    if x.dtype.kind == "b":
        return x.astype(np.uint8) * np.uint8(255)
    if white == 255 and x.dtype.kind != "f":
        return x.astype(np.uint8, copy=False)
    if x.dtype.kind != "f":
        return (x / np.float32(white / 255)).astype(np.float32)
    return np.minimum(x, white).astype(np.float32) * np.float32(255 / white)


def _usual(kind: str, high: float) -> float:
    if kind == "fractions":
        return 1.0 if high < _OVERSHOOT else 255.0
    return 255.0 if high <= 255 else 65535.0


def _kind(path: Path, dtype: Any) -> str:
    if dtype == np.uint8:
        return "bytes"
    if dtype.kind not in _KINDS:
        raise _unclear(path, f"values of dtype {dtype}")
    return _KINDS[dtype.kind]


def _unclear(
    path: Path,
    what: str,
    advice: str = "save the images as they were before they were standardised",
) -> FileError:
    return FileError(
        "read_images",
        f"got {path} with {what}",
        "expected brightness: bytes, fractions from 0 to 1 or to 255, or 16 bits",
        advice,
    )
