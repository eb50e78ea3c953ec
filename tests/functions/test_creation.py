"""Tensors of what NumPy and Python have, beside NumPy: numbers, masks, dtypes without a place."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import DataLoader, read_table, train_test_split
from chainrule.errors import ArgumentError, DtypeError

KINDS = [float, np.float32, np.float64, np.int64, lambda v: cr.Tensor(v, dtype=cr.float32)]


@pytest.mark.parametrize("kind", KINDS, ids=["float", "float32", "float64", "int64", "Tensor"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8"])
@pytest.mark.parametrize(("start", "stop"), [(0.1, 0.9), (-3.0, 5.0), (100.0, -7.5), (1e-3, 1e3)])
def test_evenly_spaced(start, stop, dtype, kind):
    a, b = kind(start), kind(stop)
    for num in (0, 1, 2, 7, 50):
        for endpoint in (True, False):
            if dtype == "int8" and num > 1 and abs(float(b)) > 127:
                with pytest.raises(ArgumentError, match=r"linspace.*numbers that int8 can hold"):
                    cr.linspace(a, b, num, dtype=dtype, endpoint=endpoint)
                continue
            found = cr.linspace(a, b, num, dtype=dtype, endpoint=endpoint).numpy()
            expected = np.linspace(float(a), float(b), num, endpoint=endpoint, dtype=dtype)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, expected)
    step = kind(1.0 if float(b) > float(a) else -1.0)
    if dtype in ("float64", "float32"):
        found = cr.arange(a, b, step, dtype=dtype).numpy()
        expected = np.arange(float(a), float(b), float(step)).astype(dtype)
        np.testing.assert_allclose(found, expected, rtol=np.finfo(dtype).eps, atol=1e-15)


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        (lambda: cr.arange(300, dtype=cr.uint8), "arange"),
        (lambda: cr.arange(1, -2, -1, dtype=cr.uint8), "arange"),
        (lambda: cr.arange(0.0, 300.0, 0.5, dtype=cr.int8), "arange"),
        (lambda: cr.arange(2**40, 2**40 + 3, dtype=cr.int32), "arange"),
        (lambda: cr.linspace(0, -3, 4, dtype=cr.uint8), "linspace"),
        (lambda: cr.linspace(0, 1e20, 3, dtype=cr.int64), "linspace"),
    ],
)
def test_numbers_that_an_integer_dtype_cannot_hold(numbers, name):
    with pytest.raises(ArgumentError, match=rf"\[{name}\] got numbers from .* can hold"):
        numbers()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("prepend", "append"),
    [
        ([0.5], None),
        (None, [1.5, 2.5]),
        (0.5, 7),
        (np.float64(0.5), None),
        (True, None),
        (np.array([1], np.int8), np.array([0.25], np.float64)),
    ],
)
@pytest.mark.parametrize("x", [[1, 4, 9, 16], [1.5, 2.25, 8.0], [[1, 2], [4, 9]]])
def test_differences_of_what_is_put_around(x, prepend, append, n):
    ends = {k: v for k, v in (("prepend", prepend), ("append", append)) if v is not None}
    if np.ndim(x) == 2:
        ends = {k: np.broadcast_to(v, (2, np.size(v))) for k, v in ends.items()}
    expected = np.diff(np.array(x), n, **ends)
    found = cr.diff(cr.Tensor(x), n, **ends)
    np.testing.assert_array_equal(found.numpy(), expected)


MASKED = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
LABELS = np.ma.masked_array([0, 1, 1, 0], [True, False, False, False])
TAKEN = {
    "Tensor": lambda m: cr.Tensor(m),
    "Tensor, dtype": lambda m: cr.Tensor(m, dtype="float32"),
    "asarray": lambda m: cr.asarray(m),
    "asarray, no copy": lambda m: cr.asarray(m, copy=False),
    "from_dlpack": lambda m: cr.from_dlpack(m),
    "in a list": lambda m: cr.Tensor([m, m]),
    "an element": lambda m: cr.Tensor([1.0, np.ma.masked]),
    "one": lambda m: cr.full((2,), np.ma.masked),
    "operand": lambda m: cr.Tensor([1.0, 1.0, 1.0]) * m,
    "function": lambda m: cr.sin(m),
    "condition": lambda m: cr.where(m > 1, 1.0, 0.0),
    "assigned": lambda m: cr.zeros(3).__setitem__(slice(None), m),
    "DataLoader": lambda m: DataLoader((m, m)),
    "fit": lambda m: cr.fit(nn.Linear(1, 1), (m[:, None], m[:, None]), loss="mse"),
    "predict": lambda m: cr.train.predict(nn.Linear(1, 1), m[:, None]),
    "labels": lambda m: train_test_split(np.ones(4), LABELS, stratify=LABELS),
    "table": lambda m: read_table({"a": m}),
    "compiled": lambda m: cr.compile(lambda x: x + 1)(m),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_mask_is_not_lost(name):
    with pytest.raises(ArgumentError, match=r"1 of \d elements masked.*x\.filled\(0\.0\)"):
        TAKEN[name](MASKED)


def test_where_no_element_is_masked_there_is_nothing_to_lose():
    for mask in (np.ma.nomask, [False, False]):
        m = np.ma.masked_array([1.0, 2.0], mask)
        assert cr.Tensor(m).tolist() == cr.Tensor([m, m])[0].tolist() == [1.0, 2.0]
        assert DataLoader(m).data.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "data",
    [
        np.array([1, None], object),
        np.array([1, 2], object),
        None,
        [1.0, None],
        {1, 2},
        {"a": 1},
        (k for k in range(2)),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.array([1], "m8[s]"),
        np.array(["a"]),
        b"ab",
        np.array([1j]),
        [1j],
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, "V4"),
        np.longdouble(1) if np.longdouble(0).nbytes > 8 else None,
    ],
    ids=lambda d: type(d).__name__,
)
@pytest.mark.parametrize("make", [cr.Tensor, cr.asarray, lambda d: cr.Tensor(d, dtype="int64")])
def test_dtypes_that_have_no_place(make, data):
    if isinstance(data, np.longdouble) and make not in (cr.Tensor, cr.asarray):
        assert make(data).item() == 1
        return
    with pytest.raises(
        DtypeError, match=r"\[asarray\] got .* of .*; expected one of bool.*; convert"
    ):
        make(data)


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "u8"])
def test_either_byte_order(kind):
    for order in "<>":
        array = np.array([1, 2, 3], order + kind)
        assert cr.Tensor(array).tolist() == cr.asarray(array).tolist() == [1, 2, 3]
        assert cr.Tensor(array).dtype == np.dtype(kind)
    assert math.isclose(cr.Tensor(np.array(0.1, ">f8")).item(), 0.1)


A, B = np.array([0.3, 0.7, 0.2]), [0.1, 0.2, 0.3]
EXACT = {  # what stands beside float64, in Python's numbers, and what NumPy gives
    "operator": (lambda x: x + B, A + B),
    "operator, turned": (lambda x: B - x, np.array(B) - A),
    "in place": (lambda x: x.clone().__imul__(B), A * B),
    "comparison": (lambda x: x - 0.2 == [0.3 - 0.2, 0.7 - 0.2, 0.0], np.ones(3)),
    "maximum": (lambda x: cr.maximum(B, x), np.maximum(B, A)),
    "atan2": (lambda x: cr.atan2(B, x), np.arctan2(B, A)),
    "clip": (lambda x: cr.clip(x, B, 0.65), np.clip(A, B, 0.65)),
    "where": (lambda x: cr.where(x > 0.5, B, x), np.where(A > 0.5, B, A)),
    "matmul": (lambda x: x @ B, A @ B),
    "matmul, turned": (lambda x: cr.matmul(B, x), A @ B),
    "dot": (lambda x: cr.dot(x, B), A @ B),
    "vecdot": (lambda x: cr.vecdot(B, x), A @ B),
    "outer": (lambda x: cr.outer(x, B), np.outer(A, B)),
    "einsum": (lambda x: cr.einsum("i,j->ij", x, B), np.outer(A, B)),
    "tensordot": (lambda x: cr.tensordot(x, B, axes=1), A @ B),
    "concat": (lambda x: cr.concat([x, B]), np.concatenate([A, B])),
    "stack": (lambda x: cr.stack([x[0], 0.1]), np.array([A[0], 0.1])),
    "meshgrid": (lambda x: cr.meshgrid(x, B)[1], np.meshgrid(A, B)[1]),
    "isin": (lambda x: cr.isin(x, [0.3, 0.7, 0.2]), np.ones(3)),
    "searchsorted": (lambda x: cr.searchsorted(cr.sort(x), [0.2, 0.3, 0.7]), np.arange(3)),
    "pad": (lambda x: cr.pad(x, 1, value=0.1), np.pad(A, 1, constant_values=0.1)),
    "diff": (lambda x: cr.diff(x, prepend=[0.1]), np.diff(A, prepend=[0.1])),
    "convolution": (
        lambda x: cr.convolution(x.reshape((1, 3, 1)), [[[0.1]]]).reshape((3,)),
        A * 0.1,
    ),
    "assigned": (lambda x: x.clone().__setitem__(slice(1, None), [0.1, 0.2]), None),
}


@pytest.mark.parametrize("name", EXACT)
def test_pythons_numbers_beside_float64_keep_their_digits(name):
    f, expected = EXACT[name]
    found = f(cr.Tensor(A))
    if expected is None:
        x = cr.Tensor(A)
        x[1:] = B[:2]
        found, expected = x, np.array([A[0], *B[:2]])
    np.testing.assert_allclose(found.numpy().astype(float), expected, rtol=1e-15)
    narrow = f(cr.Tensor(A.astype(np.float32)))
    assert narrow is None or narrow.dtype != cr.float64, "and float32 stays what it is"
