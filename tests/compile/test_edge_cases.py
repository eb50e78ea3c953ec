"""Edges of the functions: what is traced, narrow, aliased, too large, or nothing to do.

Expected values are worked out by hand or NumPy's.
"""

import array
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import ArgumentError, DtypeError, RangeError

t = cr.Tensor
nan, inf = math.nan, math.inf


# ── indices that are known only when a compiled step runs ────────────────────────────────────────

GRID = np.arange(6).reshape(2, 3)


def assigned(x, i, j):
    x = x.clone()
    x[i, j] = -1
    return x


TRACED = {
    "read": lambda x, i, j: x[i, j],
    "assign": assigned,
    "along": lambda x, i, j: cr.take_along_axis(x, j[None], axis=1),
    "take": lambda x, i, j: cr.take(x, j, axis=1),
}


@pytest.mark.parametrize("name", TRACED)
@pytest.mark.parametrize("bad", [3, -4, 100])
@pytest.mark.parametrize("wrap", [lambda f: f, cr.compile], ids=["eager", "compiled"])
def test_an_index_out_of_range_is_an_error(wrap, bad, name):
    f = wrap(TRACED[name])
    f(t(GRID), t([0]), t([2]))
    with pytest.raises(RangeError, match=f"index {bad} for an axis of size 3; expected -3 to 2"):
        f(t(GRID), t([0]), t([bad]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_indices_of_any_integer_dtype(dtype):
    x = np.arange(600).reshape(2, 300)
    i, j = np.array([1, 0], dtype), np.array([100, 2], dtype)
    assert t(x)[t(i), t(j)].tolist() == [400, 2]
    assert cr.take(t(x), t(j), axis=1).tolist() == x[:, [100, 2]].tolist()
    if dtype[0] == "i":
        assert cr.take(t(x), t(-j), axis=1).tolist() == x[:, [-100, -2]].tolist()


# ── getitem and setitem against NumPy ────────────────────────────────────────────────────────────


@st.composite
def keys(draw):
    """A shape and a key that may be valid for it."""
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    length = draw(st.integers(1, 3))
    key, axis = [], 0
    while axis < len(shape) and draw(st.integers(0, 9)):
        n = shape[axis]
        kind = draw(st.sampled_from(["slice", "int", "array", "mask", "new"]))
        axis += kind != "new"
        end = st.none() | st.integers(-5, 5)
        if kind == "slice":
            step = draw(st.sampled_from([None, 1, 2, 3, -1, -2]))
            key.append(slice(draw(end), draw(end), step))
        elif kind == "new":
            key.append(None)
        elif kind == "mask":
            key.append(np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool))
        elif n and kind == "int":
            key.append(draw(st.integers(-n, n - 1)))
        elif n:
            size = draw(st.sampled_from([(), (1,), (length,), (2, 1)]))
            numbers = draw(st.lists(st.integers(-n, n - 1), min_size=6, max_size=6))
            key.append(np.resize(np.array(numbers), size))
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), Ellipsis)
    return shape, tuple(key)


def gradient_of(x):
    """As an array; zeros where nothing came."""
    if x.grad is None:
        return np.zeros(x.shape)
    return (x.grad.to_dense() if isinstance(x.grad, cr.RowSparse) else x.grad).numpy()


@settings(max_examples=400)
@given(keys())
def test_indexing_agrees_with_numpy(drawn):
    shape, key = drawn
    x = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    ours = tuple(t(k) if isinstance(k, np.ndarray) else k for k in key)
    leaf = t(x, requires_grad=True)
    try:
        wanted = x[key]
    except IndexError:  # masks and arrays that do not fit together
        with pytest.raises(cr.ChainruleError):
            leaf[ours]
        return
    part = leaf[ours]
    np.testing.assert_array_equal(part.numpy(), wanted, strict=True)
    weights = np.arange(2.0, 2 + wanted.size).reshape(wanted.shape)
    (part * t(weights)).sum().backward()
    gradient = np.zeros(shape)
    np.add.at(gradient, key, weights)
    np.testing.assert_array_equal(gradient_of(leaf), gradient)

    changed, value = x.copy(), -np.arange(1.0, 1 + wanted.size).reshape(wanted.shape)
    changed[key] = value
    source, put = t(x, requires_grad=True), t(value, requires_grad=True)
    y = source.clone()
    y[ours] = put
    np.testing.assert_array_equal(y.numpy(), changed)
    y.sum().backward()
    np.testing.assert_array_equal(gradient_of(source), changed == x)
    # an element written twice comes from the last value alone
    np.testing.assert_array_equal(gradient_of(put), np.isin(value, changed))


def test_an_ellipsis_keeps_index_arrays_apart_even_where_it_stands_for_nothing():
    x, i = np.arange(12.0).reshape(4, 3), np.array([0, 1, 2])
    assert t(x)[None, t(i), ..., t(i)].shape == x[None, i, ..., i].shape == (3, 1)
    assert t(x)[None, t(i), t(i), ...].shape == (1, 3)
    y = t(x)
    y[None, t(i), ..., t(i)] = cr.asarray([[1.0], [2.0], [3.0]], dtype=cr.float64)
    x[None, i, ..., i] = [[1], [2], [3]]
    assert y.tolist() == x.tolist()


# ── narrow floating dtypes ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("f", [cr.sort, lambda x: cr.top_k(x, 4)[0], cr.unique_values])
def test_bfloat16_with_nan_is_put_in_order(f):
    values = [3.0, nan, 1.0, 2.0]
    got = f(t(values, dtype=cr.bfloat16))
    assert got.dtype == cr.bfloat16
    np.testing.assert_array_equal(got.astype("float32").numpy(), f(t(values)).numpy())
    assert cr.argsort(t(values, dtype=cr.bfloat16)).tolist() == [2, 3, 0, 1]
    found = cr.isin(t(values, dtype=cr.bfloat16), t([nan, 2.0, 1.0], dtype=cr.bfloat16))
    assert found.tolist() == [False, False, True, True]
    row = cr.sort(t(values, dtype=cr.bfloat16))
    assert cr.searchsorted(row, t([1.5, nan], dtype=cr.bfloat16)).tolist() == [1, 3]
    assert cr.unique_all(t([2.0, nan, 2.0], dtype=cr.bfloat16)).counts.tolist() == [2, 1]


NARROW = {
    "mean": (cr.mean, [60000.0] * 4, 60000),
    "var": (cr.var, [15.0, -15.0] * 3000, 225),
    "std": (cr.std, [300.0, -300.0], 300),
    "norm": (cr.norm, [300.0, 400.0], 500),
    "logsumexp": (cr.logsumexp, [11.0] * 65536, 11 + 16 * math.log(2)),
    "softmax": (lambda x: cr.softmax(x).sum(), [0.0] * 100000, 1),
    "log_softmax": (lambda x: cr.log_softmax(x)[0], [0.0] * 65536, -16 * math.log(2)),
    "avg_pool": (lambda x: cr.avg_pool(x.reshape(1, -1, 1), 4).sum(), [60000.0] * 4, 60000),
}


@pytest.mark.parametrize("dtype", [cr.float16, cr.bfloat16], ids=str)
@pytest.mark.parametrize("name", NARROW)
def test_narrow_floats_do_not_overflow_on_the_way(name, dtype):
    f, data, wanted = NARROW[name]
    x = t(data, dtype=dtype, requires_grad=True)
    y = f(x)
    y.backward()
    assert y.dtype == x.grad.dtype == dtype
    assert y.item() == pytest.approx(wanted, rel=2**-7)
    assert np.isfinite(x.grad.numpy().astype(np.float64)).all()


def test_the_mean_of_many_float16():
    x = cr.ones(100000, dtype=cr.float16).clone()
    x.requires_grad = True
    y = cr.mean(x)
    y.backward()
    assert y.item() == 1
    assert x.grad[0].item() == float(np.float16(1e-5))


# ── nothing to do is still a tensor of its own ───────────────────────────────────────────────────

NOTHING = {
    "[:]": lambda x: x[:],
    "[...]": lambda x: x[...],
    "[0:n]": lambda x: x[0:3],
    "+": lambda x: +x,
    "positive": cr.positive,
    "real": cr.real,
    "conj": cr.conj,
    "floor of ints": cr.floor,
    "round of ints": cr.round,
    "clip": cr.clip,
    "clip to all": lambda x: cr.clip(x, -(2**70), 2**70),
    "broadcast_to": lambda x: cr.broadcast_to(x, (3,)),
    "broadcast_arrays": lambda x: cr.broadcast_arrays(x)[0],
    "split": lambda x: cr.split(x, 1)[0],
    "roll": lambda x: cr.roll(x, 3, axis=0),
    "diff": lambda x: cr.diff(x, n=0),
    "pad": lambda x: cr.pad(x, 0),
    "pad edge": lambda x: cr.pad(x, 0, mode="edge"),
    "reshape": lambda x: cr.reshape(x, (3,)),
    "squeeze": cr.squeeze,
    "flatten": lambda x: x.flatten(),
    "concat": lambda x: cr.concat([x]),
    "full": lambda x: cr.full((3,), x),
    "astype": lambda x: x.astype(x.dtype),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_result_is_another_handle(name):
    x = t([1, 2, 3])
    best = NOTHING[name](x)
    x += 1
    assert best.tolist() == [1, 2, 3]
    best -= 1
    assert x.tolist() == [2, 3, 4]


def test_an_assigned_leaf_is_not_the_target():
    v, x = t([1.0, 2.0], requires_grad=True), cr.zeros(2)
    x[:] = v
    assert not x.is_leaf
    (x * x).sum().backward()
    assert v.grad.tolist() == [2, 4]


# ── values that do not fit ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([300], "uint8"),
        ([-1], "uint8"),
        ([[1], [nan]], "int32"),
        ([inf], "int64"),
        (300, "uint8"),
        ([2**63], "int64"),
        ([2.0**63], "int64"),
        ([1, 2**64], "uint64"),
        ([-1, 2**63], None),
        ([1, 2**63], None),
        (2**70, None),
        ([np.int64(300)], "uint8"),
    ],
)
def test_numbers_do_not_wrap(data, dtype):
    with pytest.raises(ArgumentError, match=r"\[asarray\] got"):
        t(data, dtype=dtype)


def test_numbers_that_fit():
    assert t([1, 2**63 + 1], dtype="uint64").tolist() == [1, 2**63 + 1]
    assert t([255, 0], dtype="uint8").tolist() == [255, 0]
    assert t([1.7], dtype="int8").tolist() == [1]
    assert t([1e300]).tolist() == [inf]
    assert t([], dtype="uint8").shape == (0,)
    assert t(np.array([300]), dtype="uint8").tolist() == [44]  # an array is converted, as astype


SHARED = {
    "array": lambda a: a,
    "repeated": lambda a: np.broadcast_to(a, (2, 3)),
    "read-only view": lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
    "memoryview": memoryview,
}


@pytest.mark.parametrize("name", SHARED)
def test_memory_that_others_can_write_is_copied(name):
    memory = np.array([1.0, 2.0, 3.0])
    x = t(SHARED[name](memory))
    memory[:] = 9
    assert x.numpy().reshape(-1)[:3].tolist() == [1, 2, 3]


def test_pytorchs_memory_is_copied():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    memory = torch.ones(2)
    x = t(memory)
    memory[:] = 9
    assert x.tolist() == [1, 1]
    with pytest.raises(DtypeError, match=r"\[asarray\] got Tensor: Can't call numpy"):
        t(torch.ones(1, requires_grad=True))


def test_the_memory_of_an_array_and_of_bytes_is_copied():
    numbers, letters = array.array("d", [1.0, 2.0]), bytearray(b"ab")
    x, y = t(numbers), t(memoryview(letters))
    numbers[0], letters[0] = 9.0, 0
    assert x.tolist() == [1, 2]
    assert y.tolist() == [97, 98]


def test_what_no_one_can_write_is_shared():
    memory = np.ones(3)
    memory.flags.writeable = False
    assert np.shares_memory(t(memory).numpy(), memory)


# ── one function after another ───────────────────────────────────────────────────────────────────


def test_one_hot_counts_in_int64():
    assert cr.one_hot(t([44, 200], dtype="uint8"), 300).sum(axis=-1).tolist() == [1, 1]
    assert cr.one_hot(t([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    for x in (cr.ones(2), cr.ones(2, dtype=cr.float16), t([True])):
        with pytest.raises(DtypeError, match=r"\[one_hot\] got .*; expected an integer dtype"):
            cr.one_hot(x, 3)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bad", [-1, 3, 300])
def test_one_hot_of_a_class_that_there_is_not(bad, compiled):
    def f(x):
        return cr.one_hot(x, 3)

    run = cr.compile(f) if compiled else f
    assert run(t([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(RangeError, match=rf"class {bad} at position 1; expected 0 to 2"):
        run(t([2, bad]))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_a_fraction_is_not_assigned_to_whole_numbers(dtype):
    x = cr.ones(3, dtype=dtype)
    for value in (1.5, 2.0, np.float32(0.5), cr.Tensor(0.5), [0.5], np.ones(1)):
        with pytest.raises(DtypeError, match=r"\[assign\] got float.* for a part of"):
            x[:1] = value
    x[0], x[1:], x[cr.Tensor([False] * 3)] = 0, [1, 1], []
    assert x.tolist() == [0, 1, 1]


def test_scatter_add_counts_its_axis_from_the_end():
    updates = t([[1.0, 2.0], [3.0, 4.0]])
    found = cr.scatter_add(updates, t([2, 2]), size=3, axis=-1)
    assert found.tolist() == [[0, 0, 3], [0, 0, 7]]


def test_recurrence_promotes_and_broadcasts():
    h = cr.recurrence(2, t([1, 1, 1], dtype="int8"))
    assert h.tolist() == [1, 3, 7]
    assert h.dtype == cr.float32
    wide = cr.recurrence(cr.ones((2, 1)), t([[1.0], [2.0]], dtype="float64"))
    assert wide.dtype == cr.float64
    assert wide.tolist() == [[1], [3]]


def test_clip_promotes_and_spreads_nan():
    assert cr.clip(t([0, 1, 5]), max=2.7).tolist() == pytest.approx([0, 1, 2.7])
    assert cr.clip(t([1, 2], dtype="int8"), max=t(300)).tolist() == [1, 2]
    assert cr.clip(t([1, 2], dtype="int8"), t(300)).tolist() == [300, 300]
    assert cr.clip(t([1, 2], dtype="int8"), -1000, 1000).dtype == cr.int8
    for low, high in ((t(nan), None), (None, t([nan, nan])), (nan, None)):
        assert np.isnan(cr.clip(t([1.0, 2.0]), low, high).numpy()).all()
    assert np.isnan(cr.clip(t([nan]), 0.0, t(1.0)).numpy()).all()


def test_a_padding_value_has_its_gradient_and_its_dtype():
    x, v = t([[1.0, 2.0]], requires_grad=True), t(3.0, requires_grad=True)
    y = cr.pad(x, 1, value=v)
    assert y.tolist() == [[3, 3, 3, 3], [3, 1, 2, 3], [3, 3, 3, 3]]
    y.sum().backward()
    assert v.grad.item() == 10
    assert x.grad.tolist() == [[1, 1]]


def test_padding_keeps_the_dtype():
    for dtype in ("int64", "uint8", "bool", "float32", "float64"):
        for value in (1, 1.0, True, np.float64(1), t(1, dtype="uint8")):
            y = cr.pad(t([0], dtype=dtype), (0, 1), value=value)
            assert y.dtype == dtype
            assert y.tolist() == [0, 1]
    assert cr.pad(t([0.0]), 1, value=t(2.0, dtype="float64")).dtype == cr.float32
    for value in (1.5, math.inf, nan, t(1.0)):
        with pytest.raises(cr.errors.DtypeError, match="whole number"):
            cr.pad(t([1]), 1, value=value)


def test_max_pool_of_whole_numbers_keeps_them():
    got = cr.max_pool(t([[[-7], [-5]]]), 2, padding=1)
    assert got.tolist() == [[[-7], [-5]]]
    assert got.dtype == cr.int64


def test_numpys_and_pytorchs_ways_to_say_it():
    x = np.arange(24.0).reshape(2, 3, 4)
    y = t(x)
    assert cr.transpose(y, 0, -1).tolist() == x.transpose(2, 1, 0).tolist()
    assert cr.transpose(y, (1, 0, 2)).tolist() == x.transpose(1, 0, 2).tolist()
    assert cr.transpose(y).tolist() == x.T.tolist()
    assert cr.tensordot(y, y, axes=(1, 1)).tolist() == np.tensordot(x, x, (1, 1)).tolist()
    assert cr.tile(y, np.int64(2)).tolist() == np.tile(x, 2).tolist()
    assert y.reshape(np.array([6, 4])).shape == (6, 4)
    kernel = cr.ones((2, 2, 1, 1))
    assert cr.convolution(cr.ones((1, 5, 5, 1)), kernel, padding=[(1, 1), 2]).shape == (1, 6, 8, 1)


def test_gather_reads_the_first_of_the_other_axes():
    x = t(np.arange(12.0).reshape(3, 4))
    for axis, at in [(1, [[3, 0]]), (0, [[2], [0], [1], [1]]), (-1, [[1], [2]])]:
        wanted = torch_gather(x.numpy(), axis, np.array(at))
        assert cr.gather(x, axis, t(at)).tolist() == wanted.tolist()
    for at in ([[0]] * 4, [0, 1]):
        with pytest.raises(cr.errors.ShapeError, match="gather"):
            cr.gather(x, 1, t(at))


def torch_gather(x, axis, at):
    """PyTorch's definition: out[i, j] = x[at[i, j], j] for axis 0, x[i, at[i, j]] for axis 1."""
    i, j = np.indices(at.shape)
    return x[at, j] if axis == 0 else x[i, at]


def test_softmax_of_nothing():
    x = t(np.zeros((2, 0)), requires_grad=True)
    assert cr.logsumexp(x, axis=1).tolist() == [-math.inf] * 2
    assert cr.logsumexp(x, axis=0).shape == (0,)
    assert cr.softmax(x).shape == cr.log_softmax(x).shape == (2, 0)
    cr.logsumexp(x, axis=1).sum().backward()
    assert x.grad.shape == (2, 0)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "part", [slice(None, None, 0), slice(0.5, 2), slice("a", None), slice(None, None, 1.5)], ids=str
)
def test_slices_of_something_else_than_whole_numbers(part, compiled):
    def run(x):
        return x[part]

    with pytest.raises(ArgumentError, match=r"\[index\] got a slice .*whole numbers, and a step"):
        (cr.compile(run) if compiled else run)(cr.ones((5, 2)))
    with pytest.raises(ArgumentError, match=r"got a slice"):
        cr.zeros(3)[part] = 1.0
