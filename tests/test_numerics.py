"""The NumPy meanings of `numerics.py` against independent sources: the standard library, SciPy,
published vectors, and loops."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from chainrule import gauss_error, numerics
from chainrule.dtypes import FLOATS, bfloat16, float16, float32
from chainrule.errors import RangeError
from chainrule.graph import Array

TINY = 5e-324  # the smallest subnormal number of float64


def ulps(found: Array, wanted: Array) -> float:
    """The largest difference in units in the last place of what is wanted."""
    assert found.dtype == wanted.dtype
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    known = np.isfinite(wanted)
    assert np.array_equal(found[~known], wanted[~known], equal_nan=True)
    a, b = found[known], wanted[known]
    return float(np.max(np.abs(a - b) / np.spacing(np.abs(b)), initial=0))


def both_signs(x: Array) -> Array:
    return np.concatenate([-x[::-1], x])


# ── elementwise ──────────────────────────────────────────────────────────────────────────────────

GRID = both_signs(
    np.concatenate(
        [
            [0.0, TINY, 1e-310, 2.2250738585072014e-308],
            10.0 ** np.linspace(-307, 0, 4001),
            np.linspace(0, 6.5, 40001),
            0.84375 + np.linspace(-1e-6, 1e-6, 201),  # where erf changes formulas
            [10.0, 27.0, 1e10, 1.7976931348623157e308, np.inf, np.nan],
        ]
    )
)


def test_erf_in_float64_against_the_standard_library_and_scipy() -> None:
    wanted = np.array([math.erf(x) for x in GRID])
    found = gauss_error.erf(GRID)
    assert ulps(found, wanted) <= 1
    assert ulps(found, special.erf(GRID)) <= 4  # SciPy and the standard library differ by 3
    assert np.array_equal(np.signbit(found), np.signbit(GRID))


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32], ids=str)
def test_narrow_erf_is_correctly_rounded(dtype: Any) -> None:
    with np.errstate(over="ignore"):
        x = GRID.astype(dtype)
    wanted = np.array([math.erf(v) for v in x.astype(np.float64)]).astype(dtype)
    assert np.array_equal(gauss_error.erf(x), wanted, equal_nan=True)


def test_erf_is_odd_increasing_and_below_one() -> None:
    x = np.linspace(0, 7, 100001)
    y = gauss_error.erf(x)
    assert np.array_equal(gauss_error.erf(-x), -y)
    assert (np.diff(y) >= -np.spacing(y[1:])).all()
    assert y.max() == 1
    assert str(gauss_error.erf(np.array([-0.0, 0.0])).tolist()) == "[-0.0, 0.0]"


INSIDE = both_signs(
    np.concatenate(
        [
            [0.0, TINY, 1e-310],
            10.0 ** np.linspace(-307, -1e-3, 4001),
            np.linspace(0, 1, 40001)[:-1],
            1 - 10.0 ** np.linspace(-15.9, -1, 2001),
            [1 - 2.0**-53],
        ]
    )
)


def test_erfinv_in_float64_against_scipy() -> None:
    found = gauss_error.erfinv(INSIDE)
    assert ulps(found, special.erfinv(INSIDE)) <= 4
    assert np.array_equal(np.signbit(found), np.signbit(INSIDE))
    assert np.array_equal(gauss_error.erfinv(-INSIDE), -found)


def test_erfinv_undoes_erf() -> None:
    """erf magnifies a relative error by y erf′(y) / erf(y) ≤ 1."""
    wanted = np.abs(INSIDE[np.abs(INSIDE) > 1e-300])
    found = np.array([math.erf(y) for y in gauss_error.erfinv(wanted)])
    assert ulps(found, wanted) <= 4


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32], ids=str)
def test_narrow_erfinv_is_scipys_rounded(dtype: Any) -> None:
    x = INSIDE.astype(dtype)
    wanted = special.erfinv(x.astype(np.float64)).astype(dtype)
    assert np.array_equal(gauss_error.erfinv(x), wanted, equal_nan=True)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_erfinv_at_the_edges_and_outside(dtype: Any) -> None:
    x = np.array([1, -1, 1.5, -2, np.inf, -np.inf, np.nan]).astype(dtype)
    inf, nan = np.inf, np.nan
    found = gauss_error.erfinv(x)
    assert found.dtype == dtype
    wanted = [inf, -inf, nan, nan, nan, nan, nan]
    assert np.array_equal(found.astype(float), wanted, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid(dtype: Any) -> None:
    x = np.concatenate([np.linspace(-80, 80, 1001), [0.0, 37.0]]).astype(dtype)
    wanted = special.expit(x.astype(np.float64)).astype(dtype)
    assert ulps(numerics.sigmoid(x), wanted) <= 4
    ends = np.array([-1000, 1000, -np.inf, np.inf, 0], dtype)
    with np.errstate(over="raise", invalid="raise"):
        assert numerics.sigmoid(ends).tolist() == [0, 1, 0, 1, 0.5]
    assert np.isnan(numerics.sigmoid(np.array([np.nan], dtype))).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_shifts_by_any_amount(dtype: Any) -> None:
    """As Python's own, whose integers are unbounded, cut to the width."""
    width = np.dtype(dtype).itemsize * 8
    info = np.iinfo(dtype)
    values = [info.min, info.min + 1, 0, 1, 5, info.max // 2, info.max]
    amounts = [0, 1, width - 2, width - 1, width, min(width + 7, int(info.max))]
    pairs = np.array(list(itertools.product(values, amounts)), dtype=object)
    x1, x2 = (pairs[:, k].astype(dtype) for k in range(2))
    left = numerics.shift(np.left_shift)(x1, x2)
    right = numerics.shift(np.right_shift)(x1, x2)
    for a, n, below, above in zip(*pairs.T, left.tolist(), right.tolist(), strict=True):
        cut = (a << n) % 2**width
        assert below == (cut - 2**width if cut > info.max else cut)
        assert above == a >> n


# ── scans and order ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_recurrence_against_a_loop(axis: int) -> None:
    rng = np.random.default_rng(axis)
    a, b = rng.uniform(-1, 1, (2, 3, 4, 2))
    found = numerics.recurrence(a, b, axis)
    for place in np.ndindex(*(n for k, n in enumerate(a.shape) if k != axis)):
        at: Any = (*place[:axis], slice(None), *place[axis:])
        h, line = 0.0, []
        for factor, term in zip(a[at].tolist(), b[at].tolist(), strict=True):
            h = factor * h + term
            line.append(h)
        assert found[at].tolist() == line
    assert numerics.recurrence(np.zeros((0, 2)), np.zeros((0, 2)), 0).shape == (0, 2)


@given(st.lists(st.integers(0, 4), max_size=12), st.booleans())
def test_argsort_is_stable_both_ways(numbers: list[int], descending: bool) -> None:
    sign = -1 if descending else 1
    wanted = sorted(range(len(numbers)), key=lambda k: (sign * numbers[k], k))
    for dtype in (np.int64, np.float32, np.uint8):
        x = np.array(numbers, dtype)
        assert numerics.argsort(x, 0, descending).tolist() == wanted
    columns = np.stack([np.array(numbers, np.int64)] * 2, 1)
    assert numerics.argsort(columns, 0, descending).T.tolist() == [wanted] * 2


def test_argsort_puts_nan_last_or_first() -> None:
    x = np.array([np.nan, 1.0, np.inf, np.nan, -np.inf])
    assert numerics.argsort(x, 0, False).tolist() == [4, 1, 2, 0, 3]
    assert numerics.argsort(x, 0, True).tolist() == [0, 3, 2, 1, 4]


# ── windows ──────────────────────────────────────────────────────────────────────────────────────

WINDOWS = [
    ((5,), (3,), (1,), (1,)),
    ((7,), (2,), (3,), (2,)),
    ((4, 6), (2, 3), (2, 1), (1, 2)),
    ((3, 3, 4), (2, 1, 2), (1, 1, 2), (1, 1, 1)),
    ((4,), (4,), (1,), (1,)),
    ((6,), (2,), (5,), (1,)),
]


@pytest.mark.parametrize(("size", "window", "stride", "dilation"), WINDOWS)
def test_unfold_against_a_loop_and_fold_as_its_adjoint(
    size: Any, window: Any, stride: Any, dilation: Any
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, (2, *size, 3)).astype(np.float64)
    y = numerics.unfold(x, window, stride, dilation)
    n = len(size)
    for place in np.ndindex(*y.shape[1 : 2 * n + 1]):
        at = [
            p * s + w * d for p, w, s, d in zip(place[:n], place[n:], stride, dilation, strict=True)
        ]
        assert np.array_equal(y[(slice(None), *place)], x[(slice(None), *at)])
    u = rng.integers(-9, 9, y.shape).astype(np.float64)
    assert (u * y).sum() == (numerics.fold(u, size, stride, dilation) * x).sum()


def test_convolution_against_its_definition() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-4, 5, (2, 5, 4)).astype(np.float64)
    w = rng.integers(-4, 5, (2, 2, 6)).astype(np.float64)
    stride, low, high, spread, reach, groups = 2, 1, -2, 3, 2, 2
    found = numerics.convolution(x, w, (stride,), ((low, high),), (spread,), (reach,), groups)
    wide = np.zeros((2, 4 * spread + 1, 4))
    wide[:, ::spread] = x
    wide = np.concatenate([np.zeros((2, low, 4)), wide], 1)[:, :high]
    for n, t, o in np.ndindex(*found.shape):
        first = o // 3 * 2  # three outputs a group, two inputs
        total = sum(
            wide[n, t * stride + k * reach, first + c] * w[k, c, o] for k, c in np.ndindex(2, 2)
        )
        assert found[n, t, o] == total
    assert found.shape == (2, (wide.shape[1] - reach - 1) // stride + 1, 6)


def test_pad_spreads_and_surrounds() -> None:
    found = numerics.pad(np.array([1, 2, 3]), (2,), (1,), (1,))
    assert found.tolist() == [0, 0, 1, 0, 2, 0, 3, 0]
    assert numerics.pad(np.zeros(0), (1,), (2,), (3,)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_narrow_dtypes_are_summed_in_float32(dtype: Any) -> None:
    """4096 ones: in float16 a running sum would stop at 2048, in bfloat16 at 256."""
    x = np.ones((1, 4096), dtype)
    assert float(numerics.matmul(x, x.T)[0, 0]) == 4096
    spread = numerics.scatter_add(x[0], np.zeros(4096, np.int64), axis=0, size=1)
    assert (spread.dtype, float(spread[0])) == (dtype, 4096)


# ── indexing ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bad", [3, -4, 100])
def test_an_index_outside_is_an_error(bad: int) -> None:
    x, at = np.zeros((2, 3)), np.array([0, bad])
    message = f"got index {bad} for an axis of size 3; expected -3 to 2"
    with pytest.raises(RangeError, match=message):
        numerics.take(x, at, 1)
    with pytest.raises(RangeError, match=message):
        numerics.scatter_add(x[:, :2], at, 1, 3)
    with pytest.raises(RangeError, match=message):
        numerics.checked_index(at, 3)


def test_an_unsigned_index_outside_is_an_error() -> None:
    with pytest.raises(RangeError, match="got index 200"):
        numerics.take(np.zeros(3), np.array([200], np.uint8), 0)
    with pytest.raises(RangeError, match="size 0"):
        numerics.take(np.zeros(0), np.array([0]), 0)
    assert numerics.take(np.zeros((0, 2)), np.zeros(0, np.int64), 0).shape == (0, 2)


@given(st.lists(st.integers(-4, 3), max_size=9), st.integers(0, 1))
def test_take_and_scatter_add_against_loops(places: list[int], axis: int) -> None:
    x = np.arange(16.0).reshape(4, 4)
    at = np.array(places, np.int64)
    taken = numerics.take(x, at, axis)
    added = numerics.scatter_add(taken, at, axis, 4)
    wanted = np.zeros((4, 4))
    for k, place in enumerate(places):
        one, whole = (taken[k], x[place]) if axis == 0 else (taken[:, k], x[:, place])
        assert np.array_equal(one, whole)
        target = wanted if axis == 0 else wanted.T
        target[place % 4] += one
    assert np.array_equal(added, wanted)


@given(st.lists(st.integers(-3, 2), max_size=8))
def test_sums_by_key_against_a_loop(places: list[int]) -> None:
    keys, x = np.array(places, np.int64), np.arange(1.0, len(places) + 1)
    wanted: list[float] = []
    for k, key in enumerate(places):
        wanted.append(x[k] + (wanted[-1] if k and places[k - 1] == key else 0.0))
    assert numerics.cumulative_sum_by_key(x, keys, 0).tolist() == wanted
    assert numerics.cumulative_sum_by_key(x[None], keys, 1).tolist() == [wanted]


# ── random bits ──────────────────────────────────────────────────────────────────────────────────

KNOWN = [  # Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_against_the_published_vectors(counter: str, key: str, result: str) -> None:
    found = numerics.philox(*(np.array([c], np.uint64) for c in words(counter)), *words(key))
    assert [int(word[0]) for word in found] == words(result)


def philox_by_hand(counter: list[int], key: list[int]) -> list[int]:
    """The definition in Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_the_definition_in_this_test_gives_the_published_vectors(
    counter: str, key: str, result: str
) -> None:
    assert philox_by_hand(words(counter), words(key)) == words(result)


@pytest.mark.parametrize(("seed", "draw"), [(0, 0), (2**64 - 1, 2**64 - 1), (1 << 33 | 7, 5 << 40)])
def test_random_bits_are_the_blocks_of_one_draw(seed: int, draw: int) -> None:
    """Key: the seed, low word first. Counter: block, then draw, low words first."""
    found = numerics.random_bits(np.array([seed, draw], np.uint64), (3, 3))
    assert (found.shape, found.dtype) == ((3, 3), np.uint32)
    low = 0xFFFFFFFF
    wanted = []
    for block in range(3):
        wanted += philox_by_hand([block, 0, draw & low, draw >> 32], [seed & low, seed >> 32])
    assert found.reshape(-1).tolist() == wanted[:9]
    for shape, count in (((), 1), ((0,), 0), ((2, 0), 0), ((4,), 4)):
        part = numerics.random_bits(np.array([seed, draw], np.uint64), shape)
        assert part.shape == shape
        assert part.reshape(-1).tolist() == wanted[:count]


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", bfloat16, "int8", "int64", bool]
)
def test_choosing_by_bits(dtype: Any) -> None:
    """The bits that NumPy's where gives, of broadcast numbers, views and signed zeros too."""
    rng, shape = np.random.default_rng(0), (120, 100)
    condition = rng.random(shape) > 0.5
    a, b = ((rng.normal(size=shape) * 9).astype(dtype) for _ in range(2))
    zero, minus, one = (np.broadcast_to(np.array(v).astype(dtype), shape) for v in (0.0, -0.0, 1.0))
    flipped = np.asfortranarray(a)
    for x1, x2 in [(a, b), (a, zero), (zero, a), (a, minus), (minus, a), (one, zero), (flipped, b)]:
        for chooses in (condition, np.asfortranarray(condition), condition[::-1]):
            found, wanted = numerics.where(chooses, x1, x2), np.where(chooses, x1, x2)
            assert condition.size >= numerics.BY_BITS
            assert found.dtype == wanted.dtype
            assert found.tobytes() == wanted.tobytes()
