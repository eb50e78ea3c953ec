"""Operations along an axis in the native backend, against the reference: values, dtypes, shapes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import ops
from chainrule.errors import RangeError

FLOATS = ["float32", "float64"]
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
DTYPES = [*FLOATS, *INTEGERS]
SPECIAL = [0.0, -0.0, 1.0, -1.0, -2.5, np.inf, -np.inf, np.nan, 1e-40, 3e38]

OPERATIONS = {  # name: the operation of an array along an axis
    "cumulative_sum": lambda x, axis: ops.cumulative_sum(x, axis=axis),
    "cumulative_sum_by_key": lambda x, axis: ops.cumulative_sum_by_key(
        x, cr.Tensor(np.arange(x.shape[axis]) // 3 % 5), axis=axis
    ),
    "cumulative_prod": lambda x, axis: ops.cumulative_prod(x, axis=axis),
    "recurrence": lambda x, axis: ops.recurrence(x, cr.flip(x, axis=axis), axis=axis),
    "argmax": lambda x, axis: ops.argmax(x, axis=(axis,)),
    "argmin": lambda x, axis: ops.argmin(x, axis=(axis,)),
    "argsort": lambda x, axis: ops.argsort(x, axis=axis, descending=False),
    "argsort descending": lambda x, axis: ops.argsort(x, axis=axis, descending=True),
}
ROUNDED = {"recurrence"}  # a · h + b is one instruction here, two in NumPy
FLOATS_ALONE = {"recurrence"}


def dtypes_of(name):
    if name in FLOATS_ALONE:
        return FLOATS
    return [*DTYPES, "bool"] if name.startswith("argsort") else DTYPES


SHAPES = [(9, 70), (70, 9), (1,), (7,), (100,), (3, 1), (1, 5), (2, 70, 3), (2, 3, 70)]
CASES = [(name, dtype) for name in OPERATIONS for dtype in dtypes_of(name)]
cases = pytest.mark.parametrize(("name", "dtype"), CASES)


def values(shape, dtype, rng):
    """Numbers with ties; products of them do not overflow soon."""
    x = rng.integers(0 if np.dtype(dtype).kind in "ub" else -3, 4, shape)
    return (x / 3 if np.dtype(dtype).kind == "f" else x).astype(dtype)


def check(name, function, *arrays):
    """The result has the reference's bits, unless it is ROUNDED, and nothing runs in NumPy."""
    compiled = cr.compile(function)
    found = compiled(*map(cr.Tensor, arrays)).numpy()
    assert " numpy" not in compiled.plan(*map(cr.Tensor, arrays))
    with np.errstate(all="ignore"):
        expected = function(*map(cr.Tensor, arrays)).numpy()
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if name in ROUNDED:
        tolerance = {"float32": 1e-5, "float64": 1e-12}[found.dtype.name]
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        return
    np.testing.assert_array_equal(found, expected)
    if found.dtype.kind == "f":
        signs = [np.signbit(a[~np.isnan(a)]) for a in (found, expected)]
        np.testing.assert_array_equal(*signs)


def along(name, axis):
    return lambda x: OPERATIONS[name](x, axis)


@cases
def test_each_axis_of_some_shapes(name, dtype):
    rng = np.random.default_rng(0)
    for shape in SHAPES if dtype in FLOATS else SHAPES[:2]:
        for axis in range(len(shape)):
            check(name, along(name, axis), values(shape, dtype, rng))


EMPTY_IS_REFUSED = {"argmax", "argmin"}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_nothing_at_all(name, shape):
    for axis in range(len(shape)):
        if shape[axis] or name not in EMPTY_IS_REFUSED:
            check(name, along(name, axis), np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values(name, dtype):
    """All triples, along rows and along columns."""
    special = (
        SPECIAL[:-1] if name in ROUNDED else SPECIAL
    )  # one product overflows, and one does not
    x = np.array([*itertools.product(special, repeat=3)], np.float64)
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
    check(name, along(name, 1), x)
    check(name, along(name, 0), np.ascontiguousarray(x.T))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [cr.float16, cr.bfloat16])
def test_numbers_of_16_bits(name, dtype):
    x = cr.Tensor(values((5, 70), np.float32, np.random.default_rng(0))).astype(dtype)
    for axis in (0, 1):
        compiled = cr.compile(along(name, axis))
        found, expected = compiled(x), along(name, axis)(x)
        assert " numpy" not in compiled.plan(x)
        assert found.dtype == expected.dtype
        tolerance = 1e-2 if name in ROUNDED else 0  # an ulp
        np.testing.assert_allclose(
            found.astype(cr.float32).numpy(), expected.astype(cr.float32).numpy(), tolerance
        )


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=25)
@given(
    st.lists(st.sampled_from([1, 2, 3, 8, 17, 33, 65]), min_size=1, max_size=3),
    st.integers(0, 2),
    st.sampled_from(FLOATS),
    st.integers(0, 99),
)
def test_random_shapes(name, shape, axis, dtype, seed):
    """Of a view, so that the loop computes what it reads."""
    axis %= len(shape)
    x = values(shape, dtype, np.random.default_rng(seed))
    check(name, lambda x: OPERATIONS[name](cr.flip(x.mT if x.ndim > 1 else x) * 2, axis), x)


# ── cumulative sums ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(200_000,), (20_000, 10), (3, 60_000)])
def test_long_sums_are_as_good_as_the_reference(shape):
    """0.1 added one by one in float32 would be off by a percent after a million terms."""
    axis = int(np.argmax(shape))
    check("cumulative_sum", along("cumulative_sum", axis), np.full(shape, 0.1, np.float32))


def test_an_infinite_factor_does_not_meet_the_first_value():
    a = np.array([np.inf, 2.0, 3.0], np.float32)
    run = cr.compile(lambda a, b: cr.recurrence(a, b))
    assert run(a, np.ones(3, np.float32)).tolist() == [1.0, 3.0, 10.0]


def test_options_of_the_public_functions():
    x = cr.Tensor(np.arange(6).reshape(2, 3))
    for axis in (-1, -2):
        run = cr.compile(lambda x, axis=axis: cr.cumulative_sum(x, axis=axis, include_initial=True))
        expected = cr.cumulative_sum(x, axis=axis, include_initial=True)
        assert run(x).tolist() == expected.tolist()


# ── argmax and argmin ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("size", [1, 3, 4, 7, 10, 16, 17, 64, 65, 127, 1000])
def test_the_first_of_equals_wherever_it_is(name, size):
    """Rows and columns with one, two and no extremes, and with NaN, at random places."""
    rng = np.random.default_rng(size)
    sign = 1 if name == "argmax" else -1
    x = np.zeros((60, size), np.float32)
    x[:20, 0] = -0.0
    for k, row in enumerate(x):
        places = rng.integers(0, size, 2)
        row[places] = [0.0, 1.0, np.nan, np.inf, -np.inf][k % 5] * sign
    x[50:] = -np.inf * sign
    check(name, along(name, 1), x)
    check(name, along(name, 0), np.ascontiguousarray(x.T))


def test_the_extreme_of_everything():
    x = np.random.default_rng(0).normal(size=(30, 41)).astype(np.float32)
    for function in (cr.argmax, cr.argmin):
        check("", lambda x, f=function: f(x), x)
        check("", lambda x, f=function: f(cr.tanh(x.T), axis=-1, keepdims=True), x)


# ── sorting ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", dtypes_of("argsort"))
@pytest.mark.parametrize("descending", [False, True])
def test_rows_of_all_lengths_are_sorted(dtype, descending):
    """Short and long rows, by rows and by columns, with all bytes of a number and with ties."""
    name = "argsort descending" if descending else "argsort"
    rng = np.random.default_rng(0)
    for size in (2, 16, 17, 128, 129, 700):
        x = rng.integers(0, 256, (6, size * np.dtype(dtype).itemsize), np.uint8)
        x[0], x[1] = 0, 255  # all equal
        x = x > 100 if dtype == "bool" else x.view(dtype)
        x[2] = x[2, rng.integers(0, 5, size) % size]
        check(name, along(name, 1), x)
        check(name, along(name, 0), np.ascontiguousarray(x.T))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [20, 300])
def test_special_values_in_order(dtype, size):
    """NaN of either sign is one value, and so are 0 and -0: they stay in the order of the index."""
    rng = np.random.default_rng(0)
    special = [*SPECIAL[:-2], -1e-40, 1e30, -1e30, -np.nan]
    x = np.array(special, dtype)[rng.integers(0, len(special), (5, size))]
    for name in ("argsort", "argsort descending"):
        check(name, along(name, 1), x)


@pytest.mark.parametrize("size", [5, 200])
def test_what_is_made_of_sorting(size):
    x = values((3, size), np.float32, np.random.default_rng(0))
    x[1, size // 2] = np.nan
    functions = {
        "sort": lambda x: cr.sort(x, axis=0),
        "sort by columns": lambda x: cr.sort(x.T, axis=0, descending=True),
        "top_k": lambda x: cr.top_k(x, 3)[0],
        "positions of top_k": lambda x: cr.top_k(x, 3, axis=0, largest=False)[1],
        "searchsorted": lambda x: cr.searchsorted(cr.sort(x[0]), x[1], side="right"),
        "isin": lambda x: cr.isin(x[1], x[2]),
        "gradient of sort": lambda x: cr.grad(lambda t: (cr.sort(t) ** 2).sum())(x[:1]),
    }
    for function in functions.values():
        check("", function, x)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_the_larger_of_whole_numbers(dtype):
    limits = np.iinfo(dtype)
    x, y = np.meshgrid(*[np.array([limits.min, limits.max, 0, 1, 100], dtype)] * 2)
    for function in (cr.maximum, cr.minimum):
        check("", function, x.copy(), y.copy())


# ── assigning ────────────────────────────────────────────────────────────────────────────────────


def test_an_index_assigned_outside_is_an_error():
    def assign(x, i):
        x = x.clone()
        x[i] = 2.0
        return x

    run, x = cr.compile(assign), np.zeros(3, np.float32)
    assert run(x, np.array([1, -1])).tolist() == [0.0, 2.0, 2.0]
    with pytest.raises(RangeError, match="index 3 for an axis of size 3"):
        run(x, np.array([1, 3]))
    assert run(x, np.array([0, 0])).tolist() == [2.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(2, 3, 128, 128), (2, 3, 3, 128, 128)])
def test_sums_in_pieces_of_a_wide_tile(shape):
    """The loops over few rows are written out: each goes through the pieces of its tile again."""
    x = np.random.default_rng(0).integers(-99, 99, shape).astype(np.float32)
    compiled = cr.compile(lambda x: cr.sum(x, axis=0))
    assert np.array_equal(compiled(cr.Tensor(x)).numpy(), x.sum(0))
