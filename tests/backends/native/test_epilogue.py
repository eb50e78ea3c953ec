"""Products that are finished in registers, against NumPy; and which products are."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends import native
from chainrule.backends.native.plan.kinds import MATMUL
from chainrule.backends.program import lower
from chainrule.compile.passes import optimise
from chainrule.recording import record
from chainrule.trace import Trace

FINISHED = {  # of a product x @ w, a row (n,), a column (m, 1), and an array of the product's shape
    "a bias": lambda y, row, column, full: [y + row],
    "a bias, an activation and its mask": lambda y, row, column, full: [
        relu(y + row),
        (y + row) > 0,
    ],
    "a column": lambda y, row, column, full: [y * column - 1.0],
    "a residual": lambda y, row, column, full: [full + 0.5 * y],
    "a mask from memory": lambda y, row, column, full: [where(full > 0, y, -y)],
    "two results": lambda y, row, column, full: [y * row, y - full],
    "a quotient and a square": lambda y, row, column, full: [square(y) / (square(full) + 1.0)],
}
SHAPES = [(1, 1, 1), (3, 5, 2), (16, 16, 8), (33, 31, 7), (64, 64, 64), (130, 70, 300), (40, 17, 1)]


def relu(y):
    return where(y > 0, y, 0.0)


def where(mask, yes, no):
    return cr.where(mask, yes, no) if isinstance(yes, cr.Tensor) else np.where(mask, yes, no)


def square(x):
    return x * x


def built(function, arrays):
    """The native program of a function, which has not been run."""
    made = record(function, [(a.shape, a.dtype, False) for a in arrays], Trace(lasting=True))
    return native.build(lower(optimise(made.graph)))


def finished(run):
    """Which products of a program are finished in registers."""
    groups = [task.group for task in run.planned().plan.tasks]
    return [g.main for g in groups if g.kind is MATMUL and g.writes != (g.main,)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FINISHED)
def test_equals_numpy(name, shape, turned, dtype):
    m, n, k = shape
    rng = np.random.default_rng(0)
    draw = lambda *size: rng.integers(-3, 4, size).astype(dtype)  # noqa: E731
    x, w = draw(m, k), draw(n, k).T if turned else draw(k, n)
    row, column, full = draw(n), draw(m, 1), draw(m, n)
    arrays = [x, np.ascontiguousarray(w.T) if turned else w, row, column, full]

    def function(t):
        y = t[0] @ (t[1].mT if turned else t[1])
        return FINISHED[name](y, *t[2:])

    run = built(function, arrays)
    expected = FINISHED[name](x @ w, row, column, full)
    for found, wanted in zip(run(arrays), expected, strict=True):
        assert found.dtype == wanted.dtype
        if name.startswith("a quotient"):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
        else:  # small whole numbers: exact in any order
            np.testing.assert_array_equal(found, wanted)


def test_special_values_pass_through_a_mask():
    x = np.array([[np.nan, 1.0], [np.inf, 1.0], [1e-40, 1.0], [-1.0, 1.0]], np.float32)
    run = built(lambda t: [cr.relu(t[0] @ t[1])], [x, np.ones((2, 20), np.float32)])
    (found,) = run([x, np.ones((2, 20), np.float32)])
    expected = np.repeat([[np.nan], [np.inf], [1.0], [0.0]], 20, axis=1).astype(np.float32)
    np.testing.assert_array_equal(found, expected)


def test_which_products_are_finished_in_registers():
    x = np.ones((64, 64), np.float32)
    assert finished(built(lambda t: [cr.relu(t[0] @ t[1])], [x, x]))
    assert finished(built(lambda t: [(y := t[0] @ t[1]), y + 1], [x, x])), "also stored itself"
    assert not finished(built(lambda t: [cr.exp(t[0] @ t[1])], [x, x])), "exp has no vector code"
    assert not finished(built(lambda t: [cr.flip(t[0] @ t[1], axis=1) + t[0]], [x, x])), (
        "another order"
    )
    assert not finished(built(lambda t: [cr.sum(t[0] @ t[1], axis=0)], [x, x])), "a reduction"
    deep = np.ones((8, 5000), np.float32)
    assert not finished(built(lambda t: [t[0] @ t[1].mT + 1], [deep, deep])), "k is cut"


def test_an_epilogue_waits_for_what_it_reads():
    """The residual is the product before: finished only when that is there."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 40, 40))
    run = built(lambda t: [(t[0] @ t[1]) + (t[0] @ (t[0] @ t[1]))], [x, w])
    (found,) = run([x, w])
    np.testing.assert_allclose(found, x @ w + x @ (x @ w), rtol=1e-12, atol=1e-12)


SHARED = {  # of two products y, z, and an array: who takes what along is not plain
    "a row of the product itself": lambda y, z, a: [y, y - y[-1:]],
    "a column of the product itself": lambda y, z, a: [y - y[:, :1]],
    "one element": lambda y, z, a: [y * y[-1:, -1:]],
    "a row, spread": lambda y, z, a: [y + where(a > 0, y[-1:] + 0 * y, y)],
    "a sum of two, one used again": lambda y, z, a: [y + z, y],
    "a sum of two, the other used again": lambda y, z, a: [y + z, z],
    "a sum of two, both used again": lambda y, z, a: [y + z, z * a, y - a],
    "a difference in a product": lambda y, z, a: [(y - z) @ a, z.sum(axis=0)],
}


@pytest.mark.parametrize("size", [8, 70])
@pytest.mark.parametrize("name", SHARED)
def test_products_that_share_what_they_are_used_for(name, size):
    rng = np.random.default_rng(0)
    x, w, v, a = (rng.integers(-3, 4, (size, size)).astype(np.float64) for _ in range(4))

    def function(t):
        return SHARED[name](t[0] @ t[1], t[0] @ t[2], t[3])

    for found, wanted in zip(
        built(function, [x, w, v, a])([x, w, v, a]), function([x, w, v, a]), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


# Of y = x @ w with axes (a, b, n): what else it is computed with, and is it finished in registers.
ON_SEVERAL_AXES = {
    "a bias": (lambda y, row, per, full: [y + row], True),
    "a residual": (lambda y, row, per, full: [full + y * row], True),
    "a factor for each row": (lambda y, row, per, full: [y * per], True),
    "a residual with turned axes": (
        lambda y, row, per, full: [y + cr.permute_dims(cr.reshape(full, (5, 6, 7)), (1, 0, 2))],
        False,
    ),
    "a part of a larger residual": (
        lambda y, row, per, full: [y + cr.concat([full, full], axis=1)[:, 5:]],
        False,
    ),
    "one for each of the first axis": (lambda y, row, per, full: [y + full[:, :1]], False),
    "turned itself": (lambda y, row, per, full: [y + cr.flip(y, axis=0)], False),
    "two results": (lambda y, row, per, full: [relu(y), cr.square(y)], True),
}


@pytest.mark.parametrize("name", ON_SEVERAL_AXES)
@pytest.mark.parametrize("repeated", [1, 30])
def test_rows_on_several_axes(name, repeated):
    function, is_finished = ON_SEVERAL_AXES[name]
    rng = np.random.default_rng(0)
    draw = lambda *size: rng.integers(-3, 4, size).astype(np.float32)  # noqa: E731
    a = 6 * repeated  # one thread, or several
    x, w, row, per, full = draw(a, 5, 4), draw(4, 7), draw(7), draw(a, 5, 1), draw(a, 5, 7)
    if name.startswith("a residual with turned") and repeated > 1:
        full, is_finished = full[:6], False
        x, per, a = x[:6], per[:6], 6
    arrays = [x, w, row, per, full]
    run = built(lambda t: function(t[0] @ t[1], *t[2:]), arrays)
    expected = function(*map(cr.Tensor, (x @ w, row, per, full)))
    for found, wanted in zip(run(arrays), expected, strict=True):
        np.testing.assert_array_equal(found, wanted.numpy())
    assert bool(finished(run)) == is_finished


def test_a_layer_on_sequences_is_one_loop():
    specs = [np.zeros(s, np.float32) for s in ((8, 16, 24), (32, 24), (32,))]
    run = built(lambda t: [relu(cr.nn.functional.linear(*t))], specs)
    assert len(run.planned().plan.tasks) == len(finished(run)) == 1
