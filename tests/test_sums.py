"""Sums of ten million numbers: float32 against float64, whatever the axis and the backend."""

import itertools

import numpy as np
import pytest

from chainrule import sums

BOUND = 1e-6  # of the sum of the absolute values


# ── any layout, any axes ─────────────────────────────────────────────────────────────────────────

SHAPES = [
    (), (100, 0, 3), (0, 100), (70_000,), (129, 10), (3, 5000, 7), (3000, 1, 33), (80, 3, 90, 2),
]  # fmt: skip


def layouts(x):
    """The same shape in other places of memory: in order, backwards, every second, repeated."""
    yield x
    yield np.flip(x)
    yield np.repeat(x, 2, -1)[..., ::2] if x.ndim else x
    yield np.broadcast_to(x[:1], x.shape) if x.size and x.ndim else x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_layout_and_axes(shape, dtype):
    bound = BOUND if dtype == np.float32 else 1e-14
    whole = np.random.default_rng(0).random(shape).astype(dtype)
    for x in itertools.chain(layouts(whole), layouts(whole.T)):
        for count in range(len(shape) + 1):
            for axis in itertools.combinations(range(len(shape)), count):
                found, exact = sums.total(x, axis), x.sum(axis, np.longdouble, keepdims=True)
                assert (found.shape, found.dtype) == (exact.shape, dtype)
                np.testing.assert_allclose(found, exact, rtol=bound)
