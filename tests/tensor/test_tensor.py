"""What a tensor is and does in eager mode: values, dtypes, assignment, recording."""

import copy
import pickle
import weakref

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, DtypeError, GradientError, ShapeError


def grad_of(f, *arrays):
    """The gradients of f's sum, by backward."""
    leaves = [cr.Tensor(np.asarray(a, np.float64), requires_grad=True) for a in arrays]
    f(*leaves).sum().backward()
    return [leaf.grad.numpy() for leaf in leaves]


def test_python_numbers_become_float32_int64_and_bool():
    assert cr.Tensor(1.5).dtype == cr.float32
    assert cr.Tensor([1, 2]).dtype == cr.int64
    assert cr.Tensor([True]).dtype == cr.bool
    assert cr.Tensor(np.float64(1.5)).dtype == cr.float64
    assert cr.Tensor([np.float64(1.5)]).dtype == cr.float64
    assert cr.Tensor([[1.0, 2.0], [3.0, 4.0]]).shape == (2, 2)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "int8", "uint32"])
def test_every_dtype_keeps_its_values(name):
    x = cr.asarray([0, 1, 2], dtype=getattr(cr, name))
    assert x.dtype == getattr(cr, name)
    assert x.tolist() == [0, 1, 2]
    assert (x + x).dtype == x.dtype


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("float32", "float64", "float64"),
        ("int64", "float32", "float32"),
        ("int32", "float16", "float16"),
        ("bool", "int8", "int8"),
        ("float16", "bfloat16", "float32"),
        ("bfloat16", "float32", "float32"),
        ("uint8", "int8", "int16"),
    ],
)
def test_mixed_dtypes_promote(a, b, expected):
    x, y = cr.ones(2, dtype=getattr(cr, a)), cr.ones(2, dtype=getattr(cr, b))
    assert str((x + y).dtype) == expected
    assert (x + y).dtype == (y + x).dtype == cr.result_type(x, y)


def test_integers_without_a_common_dtype_are_refused():
    with pytest.raises(DtypeError, match=r"\[promote\] got .*uint64.*; .*; convert"):
        cr.ones(1, dtype=cr.uint64) + cr.ones(1, dtype=cr.int64)


def test_a_python_number_takes_the_tensors_dtype():
    assert (cr.ones(2, dtype=cr.float16) * 2.5).dtype == cr.float16
    assert (2 * cr.ones(2, dtype=cr.int8)).dtype == cr.int8
    assert (cr.ones(2, dtype=cr.int8) * 0.5).dtype == cr.float32
    assert (1 / cr.Tensor([2, 4])).tolist() == [0.5, 0.25]
    with pytest.raises(ArgumentError, match="300 for uint8"):
        cr.ones(2, dtype=cr.uint8) + 300


def test_half_precision_sums_in_float32():
    x = cr.full(4096, 1.0, dtype=cr.bfloat16)
    assert x.sum().item() == 4096.0  # in bfloat16 steps of 1 stop at 256


def test_numpy_operators_hand_over():
    a = np.arange(3.0, dtype=np.float32)
    x = cr.Tensor([1.0, 1.0, 1.0], requires_grad=True)
    y = a * x
    assert isinstance(y, cr.Tensor)
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 2]


def test_the_data_cannot_change_behind_a_graph():
    a = np.ones(3)
    x = cr.Tensor(a, requires_grad=True)
    y = (x * x).sum()
    a[:] = 100
    y.backward()
    assert x.grad.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 5


def test_dlpack_both_ways():
    a = np.arange(4.0)
    x = cr.from_dlpack(a)
    assert x.tolist() == [0, 1, 2, 3]
    assert np.shares_memory(np.from_dlpack(x), a)
    assert cr.from_dlpack(a, copy=True).numpy() is not a


def test_pickle_and_deepcopy_keep_value_and_flag():
    x = cr.Tensor([1.0, 2.0], requires_grad=True)
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert y.tolist() == [1, 2]
        assert y.requires_grad
        assert y is not x


def test_gradients_are_fresh_and_accumulate_on_request():
    x = cr.Tensor(3.0, requires_grad=True)
    for _ in range(2):
        (x * x).backward()
        assert x.grad.item() == 6
    (x * x).backward(accumulate=True)
    assert x.grad.item() == 12


def test_a_value_used_twice_gets_both_shares():
    (g,) = grad_of(lambda x: x * x + 3 * x, [1.0, 2.0])
    np.testing.assert_array_equal(g, [5.0, 7.0])


def test_broadcasting_sums_the_gradient_back():
    a, b = grad_of(lambda x, y: x * y, np.ones((2, 1, 3)), np.full((4, 1), 2.0))
    np.testing.assert_array_equal(a, np.full((2, 1, 3), 8.0))
    np.testing.assert_array_equal(b, np.full((4, 1), 6.0))


def test_no_grad_detach_and_integers_record_nothing():
    x = cr.Tensor([1.0, 2.0], requires_grad=True)
    with cr.no_grad():
        assert not (x * 2).requires_grad
        with cr.enable_grad():
            assert (x * 2).requires_grad
    assert not x.detach().requires_grad
    assert not (x > 1).requires_grad
    assert not x.argmax().requires_grad
    assert not cr.astype(x, cr.int64).requires_grad
    assert not cr.stop_gradient(x * 2).requires_grad


def test_backward_needs_something_recorded_and_a_scalar():
    with pytest.raises(GradientError, match=r"\[backward\].*requires_grad=True"):
        cr.Tensor(1.0).backward()
    x = cr.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ShapeError, match=r"\[backward\] got float32\[2\].*mean\(\) or sum\(\)"):
        (x * x).backward()
    (x * x).backward(cr.Tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 40]


def test_hooks_see_and_replace_gradients():
    x = cr.Tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    seen = []
    remove = y.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g * 10)
    y.sum().backward(retain_graph=True)
    assert seen == [[1, 1]]
    assert x.grad.tolist() == [30, 30]
    remove()
    y.sum().backward(retain_graph=True)
    assert seen == [[1, 1]]
    y.register_hook(lambda g: g.sum())
    with pytest.raises(GradientError, match=r"\[hook\]"):
        y.sum().backward()


def test_assignment_is_differentiable():
    def f(x, v):
        y = x * 1.0
        y[1, ::-2] = v
        return y * y

    x, v = np.arange(8.0).reshape(2, 4), np.array([10.0, 20.0])
    gx, gv = grad_of(f, x, v)
    np.testing.assert_array_equal(gx, [[0, 2, 4, 6], [8, 0, 12, 0]])
    np.testing.assert_array_equal(gv, [20, 40])


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        (0, 1),
        slice(None),
        (slice(None), 1),
        (slice(None, None, 2), slice(2, 0, -1)),
        Ellipsis,
        (Ellipsis, None, 0),
        [0, 2],
        ([0, 2], [1, 1]),
        ([[0], [2]], [1, 3]),
        (slice(1, None), [3, 0]),
        np.array([True, False, True]),
        (1, [0, 2]),
        ([0, 0], 1),
        slice(2, 2),
        (None, 1),
        (slice(None), np.array([True, False, True, True])),
    ],
    ids=str,
)
def test_indexing_and_assignment_follow_numpy(key):
    a = np.arange(12.0).reshape(3, 4)
    x = cr.Tensor(a.copy())
    np.testing.assert_array_equal(x[key].numpy(), a[key])
    value = np.arange(100.0, 100.0 + a[key].size).reshape(a[key].shape)
    a[key] = value
    x[key] = value
    np.testing.assert_array_equal(x.numpy(), a)


def test_in_place_operators_keep_the_handle():
    x = cr.Tensor([1.0, 2.0])
    y = x
    y += 1
    assert x.tolist() == [2, 3]
    x -= cr.Tensor([1, 1], dtype=cr.float64)
    assert x.dtype == cr.float32


def test_a_leaf_is_not_assigned_while_recording():
    p = cr.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradientError, match=r"\[assign\].*no_grad"):
        p -= 0.1
    old = (p * p).sum()
    with cr.no_grad():
        p -= 0.5
    assert p.requires_grad
    assert p.is_leaf
    old.backward()  # the graph still has the value it was computed from
    assert p.grad.tolist() == [2, 4]
    (p * p).sum().backward()
    assert p.grad.tolist() == [1, 3]


def test_gathered_tables_get_row_sparse_gradients():
    table = cr.Tensor(np.ones((1000, 4), np.float32), requires_grad=True)
    rows = cr.Tensor([3, 5, 3])
    (cr.take(table, rows, axis=0) * cr.Tensor([[1.0], [2.0], [4.0]])).sum().backward()
    assert isinstance(table.grad, cr.RowSparse)
    assert table.grad.values.shape == (3, 4)
    dense = table.grad.to_dense().numpy()
    assert dense[3, 0] == 5
    assert dense[5, 0] == 2
    assert dense.sum() == 28
    first = table.grad
    table[rows].sum().backward(accumulate=True)
    assert isinstance(table.grad, cr.RowSparse)
    np.testing.assert_array_equal(
        table.grad.numpy(), first.numpy() + np.bincount([3, 5, 3], minlength=1000)[:, None]
    )
    (table[rows].sum() + table.sum()).backward()
    assert isinstance(table.grad, cr.Tensor)


def test_only_what_the_rules_name_is_kept():
    big = cr.Tensor(np.zeros((100, 100), np.float32), requires_grad=True)
    inner = big + 1.0
    value = weakref.ref(inner._value)
    out = inner + 1.0
    del inner
    assert value() is None, "a sum needs neither of its inputs"
    inner = cr.tanh(out)
    value = weakref.ref(inner._value)
    loss = inner.sum()
    del inner
    assert value() is not None, "tanh needs its output"
    del loss
    assert value() is None


def test_bfloat16_leaves_get_bfloat16_gradients():
    x = cr.Tensor(np.ones((3, 3)), dtype=cr.bfloat16, requires_grad=True)
    cr.tanh(x @ x).sum().backward()
    assert x.grad.dtype == ml_dtypes.bfloat16


def test_printing():
    assert repr(cr.Tensor([1.0, 2.0])) == "Tensor([1., 2.])"
    assert repr(cr.Tensor(1, dtype=cr.int8)) == "Tensor(1, dtype=int8)"
    assert f"{cr.Tensor(0.25):.3f}" == "0.250"
    assert "requires_grad" in repr(cr.Tensor(1.0, requires_grad=True))


def test_names_of_other_libraries_are_answered():
    with pytest.raises(AttributeError, match=r"'view'; here it is x\.reshape"):
        cr.ones(2).view(1)
    with pytest.raises(AttributeError, match="'cat'; here it is concat"):
        cr.cat([])
    assert not hasattr(cr.ones(2), "__cuda_array_interface__")
