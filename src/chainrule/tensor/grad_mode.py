"""Whether operations are recorded for `backward`, and NumPy's floating-point warnings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..trace import state


@contextmanager
def set_grad_enabled(enabled: bool) -> Iterator[None]:
    """Inside, operations are recorded, or not."""
    before, state.grad = state.grad, enabled
    try:
        yield
    finally:
        state.grad = before


@contextmanager
def quiet() -> Iterator[None]:
    """NumPy's floating-point warnings off, once for many operations."""
    before, state.quiet = state.quiet, True
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        state.quiet = before


def no_grad() -> Any:
    """Nothing inside is recorded: `with no_grad(): …`, or as a decorator."""
    return set_grad_enabled(False)


def enable_grad() -> Any:
    """Recording inside a `no_grad`: `with enable_grad(): …`, or as a decorator."""
    return set_grad_enabled(True)


def is_grad_enabled() -> bool:
    """Whether operations are recorded at present."""
    return state.grad
