"""The steps that `replay.py` dumps: small, except where size decides the plan.

Each function in `replay_networks.py` and `replay_functions.py` that `@step` marks returns (a
function to compile, its arguments). Together they use every operation of `ops.TABLE` that gets to a
backend; `test_replay.py` checks that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Step = tuple[Callable[..., Any], tuple[Any, ...]]
ZOO: dict[str, Callable[[], Step]] = {}


def step(make: Callable[[], Step]) -> Callable[[], Step]:
    """Put a step into the zoo, by the name of the function that makes it."""
    ZOO[make.__name__.replace("_", "-")] = make
    return make


def reals(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Some numbers between 0 and 1."""
    return ((np.arange(np.prod(shape)) % 7 + 0.5) / 8).reshape(shape).astype(dtype)


def wholes(*shape: int, below: int = 3, dtype: str = "int64") -> np.ndarray:
    """Some whole numbers from 0."""
    return (np.arange(np.prod(shape)) % below).reshape(shape).astype(dtype)
