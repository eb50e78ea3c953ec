"""Numbers and arrays as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

FULL = 12  # elements up to which an array is printed in full,
LONGEST = 64  # and characters


def number_text(value: Any, digits: int = 3) -> str:
    """A number with so many significant digits; whole numbers of an integer type in full."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(value).replace("-", "−")
    value = float(value)
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "−∞" if value < 0 else "∞"
    text = f"{value:.{digits}g}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def shape_text(shape: Sequence[int]) -> str:
    """4 × 3, or an empty text for a single number."""
    return " × ".join(map(str, shape))


def array_text(value: Any) -> str:
    """A small array in full; of a larger one the smallest and largest element, and the mean."""
    array = np.asarray(value)
    if not array.size:
        return "empty"
    if array.size == 1:
        return number_text(array.reshape(())[()])
    if array.size <= FULL and len(full := _nested(_without_ones(array))) <= LONGEST:
        return full
    if array.dtype.kind == "b":
        return f"{np.count_nonzero(array)} of {array.size} true"
    ends = f"{number_text(array.min())} to {number_text(array.max())}"
    if array.min() == array.max():
        return f"all {number_text(array.flat[0])}"
    mean = array.mean(dtype="f8")
    if abs(mean) < 1e-6 * np.abs(array).max():  # what rounding leaves of 0
        mean = 0.0
    return ends if array.dtype.kind in "iu" else f"{ends}, mean {number_text(mean)}"


def _without_ones(array: Any) -> Any:
    """The array without leading axes of size 1."""
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return array


def _nested(array: Any) -> str:
    if array.ndim == 0:
        return number_text(array[()])
    return f"[{' '.join(map(_nested, array))}]"


def element_text(name: str, index: Sequence[int]) -> str:
    """weight[0, 2], or the name of a single number."""
    return f"{name}[{', '.join(map(str, index))}]" if len(index) else name


def largest(value: Any) -> tuple[int, ...]:
    """The index of the element that is farthest from 0; NaN is the farthest."""
    sizes = np.abs(np.asarray(value, np.float64))  # to argmax, NaN is the largest
    return tuple(int(i) for i in np.unravel_index(int(sizes.argmax()), sizes.shape))


def largest_places(value: Any, count: int) -> list[tuple[int, ...]]:
    """The indices of the elements that are farthest from 0, at most this count."""
    array = np.asarray(value)
    flat = np.abs(np.nan_to_num(array)).ravel()
    first = np.argsort(-flat, kind="stable")[:count]
    return [tuple(int(i) for i in np.unravel_index(k, array.shape)) for k in first if flat[k]]


def count_text(count: int, thing: str) -> str:
    """1 number, 12 numbers."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
