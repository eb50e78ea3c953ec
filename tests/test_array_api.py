"""Edge cases of the Array API: 0-d, empty, negative axes, promotion, overflow, NaN in order.

The standard's own conformance suite runs apart from these tests (docs/decisions/004-array-api.md);
these are the cases that it made us fix, and those that it leaves out.
"""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, AxisError, DtypeError, ShapeError

inf, nan = math.inf, math.nan


def same(x, expected):
    """Equal dtype, shape and values; NaN equals NaN."""
    expected = np.asarray(expected)
    assert x.dtype == expected.dtype
    np.testing.assert_array_equal(x.numpy(), expected, strict=True)


# ── the namespace ────────────────────────────────────────────────────────────────────────────────


def test_a_tensor_names_its_namespace():
    x = cr.ones(2)
    assert x.__array_namespace__() is cr
    assert x.__array_namespace__(api_version="2024.12") is cr
    with pytest.raises(ArgumentError, match=r"\[__array_namespace__\] got api_version '1999.12'"):
        x.__array_namespace__(api_version="1999.12")


def test_namespace_info_lists_the_standard_dtypes():
    info = cr.__array_namespace_info__()
    assert info.dtypes(kind="real floating") == {"float32": cr.float32, "float64": cr.float64}
    assert info.default_dtypes()["real floating"] == cr.float32
    assert info.default_dtypes()["complex floating"] is None
    assert len(info.dtypes()) == 11


@pytest.mark.parametrize("dtype", ["foo", None, "complex64", np.dtype(">f4")])
def test_a_dtype_that_is_none_of_ours_is_named(dtype):
    with pytest.raises(DtypeError, match=r"\[astype\] got dtype .*; expected one of bool, int8"):
        cr.astype(cr.ones(1), dtype)


def test_axis_out_of_range_is_a_value_error_and_an_index_error():
    for kind in (AxisError, ShapeError, IndexError, ValueError):
        with pytest.raises(kind, match=r"\[expand_dims\] got axis 3 for 3 axes"):
            cr.expand_dims(cr.ones((2, 2)), 3)


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────


def test_reshape_takes_the_shape_by_keyword_and_the_method_takes_sizes():
    x = cr.asarray([[1, 2, 3], [4, 5, 6]])
    assert cr.reshape(x, shape=(3, 2)).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert x.reshape(3, -1).shape == x.reshape((-1, 2)).shape == (3, 2)
    assert cr.reshape(x, -1).shape == x.reshape(6).shape == (6,)
    assert cr.reshape(cr.ones((1, 1)), ()).shape == ()
    assert cr.reshape(cr.ones((0, 3)), (3, -1)).shape == (3, 0)


def test_copies_are_copies():
    memory = np.zeros(2, np.float32)
    x = cr.from_dlpack(memory)
    others = [
        cr.asarray(x, copy=True),
        cr.reshape(x, (2,), copy=True),
        cr.from_dlpack(x, copy=True),
        cr.from_dlpack(memory, copy=True),
        cr.asarray(memory),
    ]
    shown = memory.view()
    shown.flags.writeable = False
    others.append(cr.asarray(shown, copy=True))
    memory[:] = 1
    assert x.tolist() == cr.asarray(memory, copy=False).tolist() == [1, 1]
    assert all(y.tolist() == [0, 0] for y in others)


def test_copy_false_refuses_to_copy():
    for make in (
        lambda: cr.asarray([1.0], copy=False),
        lambda: cr.asarray(np.ones(1), dtype=cr.float32, copy=False),
        lambda: cr.asarray(cr.ones(1), dtype=cr.float64, copy=False),
        lambda: np.asarray(cr.ones(1), dtype=np.float64, copy=False),
    ):
        with pytest.raises(ArgumentError, match="copy=False; expected"):
            make()


def test_constants_can_be_exported():
    repeated = cr.broadcast_to(cr.ones(1), (3,))
    assert np.from_dlpack(repeated).tolist() == [1, 1, 1]
    assert repeated.__dlpack__(max_version=None) is not None


def test_meshgrid_makes_vectors_of_scalars():
    (only,) = cr.meshgrid(cr.asarray(2.0))
    same(only, np.asarray([2.0], np.float32))
    a, b = cr.meshgrid(cr.asarray([1, 2, 3]), cr.asarray(9))
    assert a.tolist() == [[1, 2, 3]]
    assert b.tolist() == [[9, 9, 9]]


def test_negative_axes_count_from_the_end():
    x = np.arange(24).reshape(2, 3, 4)
    t = cr.asarray(x)
    same(cr.flip(t, axis=-2), np.flip(x, -2))
    same(cr.roll(t, (1, -6), axis=(-1, 0)), np.roll(x, (1, -6), (-1, 0)))
    same(cr.stack([t, t], axis=-1), np.stack([x, x], -1))
    same(cr.expand_dims(t, (-1, 0)), np.expand_dims(x, (-1, 0)))
    same(cr.moveaxis(t, (0, -1), (-1, 0)), np.moveaxis(x, (0, -1), (-1, 0)))
    same(cr.cumulative_sum(t, axis=-2, include_initial=True)[:, 1:], np.cumsum(x, -2))


def test_shifts_and_axes_come_in_pairs():
    with pytest.raises(ShapeError, match=r"\[roll\] got 1 shifts, 2 axes; expected the same"):
        cr.roll(cr.ones((2, 2)), (1,), axis=(0, 1))


@pytest.mark.parametrize("repeats", [[], 3, [2]])
def test_nothing_repeated_is_nothing(repeats):
    none = cr.asarray([], dtype=cr.int64)
    same(cr.repeat(none, cr.asarray(repeats, dtype=cr.uint64)), np.arange(0))


def test_an_empty_mask_selects_nothing():
    x = cr.asarray([[1, 2], [3, 4]])
    assert x[cr.asarray([], dtype=cr.bool)].shape == (0, 2)
    assert x[cr.zeros((2, 0), dtype=cr.bool)].shape == (0,)
    with pytest.raises(IndexError, match=r"\[index\] got a mask bool\[3\]"):
        x[cr.asarray([True, False, True])]


def test_0d_masks():
    x = cr.asarray([1, 2])
    assert x[cr.asarray(True)].tolist() == [[1, 2]]
    assert x[cr.asarray(False)].shape == (0, 2)
    assert cr.asarray(5)[...].tolist() == 5


# ── promotion and overflow ───────────────────────────────────────────────────────────────────────


def test_whole_numbers_wrap_within_their_dtype():
    x = cr.asarray([200, 100], dtype=cr.uint8)
    same(x + x, np.asarray([144, 200], np.uint8))
    same(cr.sum(x, dtype=cr.uint8), np.asarray(44, np.uint8))
    same(cr.prod(x, dtype=cr.uint8), np.asarray(20000 % 256, np.uint8))
    same(cr.vecdot(x, x), np.asarray((200 * 200 + 100 * 100) % 256, np.uint8))
    same(cr.sum(x), np.asarray(300, np.uint64))
    same(cr.abs(cr.asarray(-128, dtype=cr.int8)), np.asarray(-128, np.int8))


def test_a_number_takes_the_dtype_of_the_tensor():
    x = cr.asarray([1, 2], dtype=cr.int8)
    assert (x + 1).dtype == (1 - x).dtype == cr.where(x > 1, x, 0).dtype == cr.int8
    assert (x * 0.5).dtype == (x**2.0).dtype == cr.float32
    same(x**2, np.asarray([1, 4], np.int8))
    with pytest.raises(ArgumentError, match="got 300 for int8"):
        x + 300


def test_result_type():
    assert cr.result_type(cr.int8, cr.uint8) == cr.int16
    assert cr.result_type(cr.ones(1, dtype=cr.int16), 3) == cr.int16
    assert cr.result_type(cr.int16, 3.0) == cr.float32
    assert cr.result_type(np.float64(1), np.ones(1, np.int8), True) == cr.float64
    with pytest.raises(DtypeError, match="got int64 and uint64"):
        cr.result_type(cr.int64, cr.uint64)


def test_in_place_operators_keep_object_and_dtype():
    x = y = cr.asarray([7, 12], dtype=cr.int8)
    x += cr.asarray([1, 0], dtype=cr.int64)
    x //= 2
    x **= 2
    x %= 10
    x <<= 3
    x >>= 1
    x |= 1
    x &= 29
    x ^= 3
    assert x is y
    z = np.asarray([7, 12], np.int8) + np.asarray([1, 0], np.int8)
    same(y, ((((z // 2) ** 2 % 10) << 3 >> 1) | 1) & 29 ^ 3)
    m = w = cr.asarray([[1.0, 2.0], [3.0, 4.0]])
    m @= cr.asarray([[0.0, 1.0], [1.0, 0.0]])
    assert w.tolist() == [[2, 1], [4, 3]]


def test_in_place_operators_do_not_round():
    x = cr.asarray([1, 2])
    with pytest.raises(DtypeError, match=r"\[assign\] got float32\[2\] for int64\[2\]"):
        x += 0.5
    truth = cr.asarray([True])
    with pytest.raises(DtypeError, match=r"\[assign\] got int64\[1\] for bool\[1\]"):
        truth += 1


def test_full_of_a_tensor_has_its_gradient():
    x = cr.Tensor(2.0, requires_grad=True)
    cr.full((2, 3), x).sum().backward()
    assert x.grad.item() == 6
    assert cr.full((), True).dtype == cr.bool


def test_signs():
    x = cr.asarray([-inf, -1.0, -0.0, 0.0, inf, nan])
    assert cr.signbit(x).tolist() == [True, True, True, False, False, False]
    assert cr.signbit(cr.asarray(-3)).tolist() is True
    same(cr.conj(x), x.numpy())
    same(cr.real(cr.asarray(3)), np.asarray(3))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(inf, 2.0, nan), (1.0, -inf, -1.0), (-1.0, inf, -1.0), (1.0, inf, 0.0), (1.0, 0.0, inf)],
)
def test_floor_division_by_infinity_follows_python(a, b, expected):
    got = (cr.asarray(a) // cr.asarray(b)).item()
    assert got == expected or (math.isnan(got) and math.isnan(expected))


# ── order and sets ───────────────────────────────────────────────────────────────────────────────


def test_nan_sorts_last_and_equals_keep_their_order():
    x = cr.asarray([nan, 1.0, -inf, nan, 1.0])
    same(cr.sort(x), np.asarray([-inf, 1, 1, nan, nan], np.float32))
    assert cr.argsort(x).tolist() == [2, 1, 4, 0, 3]
    assert cr.argsort(x, descending=True).tolist() == [0, 3, 1, 4, 2]
    assert cr.sort(cr.zeros((2, 0))).shape == (2, 0)


def test_each_nan_is_unique():
    values, first, inverse, counts = cr.unique_all(cr.asarray([[nan, 1.0], [nan, 1.0]]))
    same(values, np.asarray([1, nan, nan], np.float32))
    assert counts.tolist() == [2, 1, 1]
    assert inverse.shape == (2, 2)
    assert sorted(first.tolist()) == [0, 1, 2]
    assert cr.unique_values(cr.asarray(3)).tolist() == [3]
    assert cr.unique_counts(cr.zeros((0, 2))).counts.shape == (0,)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 33])
def test_searchsorted_and_isin_agree_with_numpy(n, side):
    draw = np.random.default_rng(n)
    for dtype in (np.int64, np.uint8, np.bool_, np.float32):
        row, x = draw.integers(0, 9, n).astype(dtype), draw.integers(0, 9, (3, 4)).astype(dtype)
        if dtype == np.float32:
            row[n // 2 :: 2], x[0, 0], x[1, 1], x[2, 2] = nan, nan, inf, -inf
        order = np.argsort(row)
        at = cr.searchsorted(cr.asarray(row), cr.asarray(x), side=side, sorter=cr.asarray(order))
        same(at, np.searchsorted(row, x, side=side, sorter=order))
        same(cr.isin(cr.asarray(x), cr.asarray(row)), np.isin(x, row))
        same(cr.isin(cr.asarray(x), cr.asarray(row), invert=True), ~np.isin(x, row))


def test_search_is_compiled():
    search = cr.compile(lambda row, x: (cr.searchsorted(row, x), cr.isin(x, row)))
    at, found = search(cr.asarray([1.0, 2.0, 4.0]), cr.asarray([[2.0, 3.0], [nan, 0.0]]))
    assert at.tolist() == [[1, 2], [3, 0]]
    assert found.tolist() == [[True, False], [False, False]]


def test_search_takes_numbers():
    row = cr.asarray([1, 3])
    assert cr.searchsorted(row, 2).item() == 1
    assert cr.isin(3, row).item() is True
    assert cr.isin(row, 3).tolist() == [False, True]
    with pytest.raises(ShapeError, match=r"\[searchsorted\] got int64\[1,2\]; expected one axis"):
        cr.searchsorted(cr.asarray([[1, 2]]), 1)


# ── reductions of nothing ────────────────────────────────────────────────────────────────────────


def test_reductions_of_nothing():
    x = cr.zeros((2, 0))
    assert cr.sum(x).item() == 0
    assert cr.prod(x, axis=-1).tolist() == [1, 1]
    assert cr.all(x).item() is True
    assert cr.any(x).item() is False
    assert math.isnan(cr.mean(x).item())
    assert math.isnan(cr.var(x).item())
    assert cr.max(x, axis=0).shape == (0,)
    with pytest.raises(ShapeError, match=r"\[max\] got float32\[2,0\]"):
        cr.max(x)


def test_reductions_of_a_scalar():
    x = cr.asarray(3.0)
    assert cr.sum(x, axis=()).item() == cr.max(x).item() == cr.mean(x, keepdims=True).item() == 3
    assert cr.argmax(x).item() == 0
    assert cr.std(x).item() == 0
