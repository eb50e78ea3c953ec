"""Sums of ten million numbers: float32 against float64, whatever the axis and the backend."""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import sums
from chainrule.backends.native import team

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


# ── ten million elements ─────────────────────────────────────────────────────────────────────────

POINT_ONE = float(np.float32(0.1))
REDUCTIONS = {  # and what they are of n numbers 0.1, where that is not 0
    "sum": (cr.sum, np.sum, lambda n: n * POINT_ONE),
    "mean": (cr.mean, np.mean, lambda n: POINT_ONE),
    "std": (cr.std, np.std, None),
    "norm": (cr.norm, lambda x, axis: np.sqrt(np.sum(x * x, axis)), lambda n: n**0.5 * POINT_ONE),
    "logsumexp": (
        cr.logsumexp, lambda x, axis: np.log(np.sum(np.exp(x), axis)),
        lambda n: math.log(n) + POINT_ONE,
    ),
}  # fmt: skip
PLACES = [
    ((10_000_000,), None), ((3125, 3200), None), ((3125, 3200), 0), ((3125, 3200), 1),
    ((1_000_001, 10), 0), ((2_500_000, 4), 0), ((64, 3125, 50), (0, 2)),
    ((16, 125, 100, 50), (0, 1, 2)),
]  # fmt: skip


def errors(found, exact):
    return float(np.abs(np.asarray(found, np.float64) / exact - 1).max())


@pytest.mark.parametrize(("shape", "axis"), PLACES)
def test_ten_million_elements(shape, axis, monkeypatch):
    """In eager mode and compiled; 0.1 everywhere is the worst case."""
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")

    def all_of_them(x):
        return [function(x, axis=axis) for function, _, _ in REDUCTIONS.values()]

    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    compiled, wide = cr.compile(all_of_them), x.astype(np.float64)
    exact = [function(wide, axis=axis) for _, function, _ in REDUCTIONS.values()]
    for mode in (all_of_them, compiled):
        for name, found, expected in zip(REDUCTIONS, mode(x), exact, strict=True):
            assert errors(found, expected) < BOUND, (name, mode)
    x[...] = 0.1
    for mode in (all_of_them, compiled):
        for (name, (_, _, of)), found in zip(REDUCTIONS.items(), mode(x), strict=True):
            if of is not None:
                assert errors(found, of(x.size // found.size)) < BOUND, (name, mode)


def test_the_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    x = np.random.default_rng(0).random((3125, 3200), dtype=np.float32)
    found = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("CHAINRULE_THREADS", threads)
        team.threads.cache_clear()
        step = cr.compile(lambda x: [cr.sum(x * x, axis=axis) for axis in (None, 0, 1)])
        found.append([t.numpy().tobytes() for t in step(x)])
    team.threads.cache_clear()
    assert found[0] == found[1] == found[2]


def test_narrow_tall_and_irregular(monkeypatch):
    """Few columns, many columns, what lies backwards or is looked up; float64 too."""
    rng = np.random.default_rng(0)
    rows = cr.Tensor(rng.integers(0, 500, 3000))
    cases = {
        "columns": lambda x: [cr.sum(x, axis=0)],
        "backwards": lambda x: [cr.sum(cr.flip(x, axis=-1), axis=-1)],
        "turned": lambda x: [cr.sum(cr.permute_dims(x, (1, 0)), axis=-1)],
        "folded": lambda x: [cr.sum(x.reshape(-1, 5), axis=a) for a in (None, 0)],
        "looked up": lambda x: [cr.sum(cr.take(x, rows, axis=0), axis=a) for a in (None, 0)],
        "every second": lambda x: [cr.sum(x[::2, ::2], axis=a) for a in (None, 0, 1)],
        "repeated": lambda x: [cr.sum(cr.broadcast_to(x[:, None], (500, 70, x.shape[1])), axis=1)],
    }
    for dtype, bound in ((np.float32, BOUND), (np.float64, 1e-13)):
        for columns, (name, case) in itertools.product((1, 5, 3000), cases.items()):
            x = rng.random((500, columns)).astype(dtype)
            if name != "folded" or columns != 1:
                for found, exact in zip(
                    cr.compile(case)(x), case(x.astype(np.float64)), strict=True
                ):
                    assert errors(found, exact.numpy()) < bound, (name, columns, dtype)
