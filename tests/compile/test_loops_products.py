"""Products with the same matrix at each step: one for all steps, before or after the loop."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import cost
from chainrule.compile.loops import lifting, products
from looping import body, counts, expect_same, f64, gradients, optimised, scans


@pytest.fixture(autouse=True)
def any_rows(monkeypatch):
    """Products of any number of rows are done before the loop."""
    monkeypatch.setattr(products, "COLUMNS_PER_ROW", 0)


W, C, XS = f64(3, 3), f64(2, 3), f64(5, 2, 3)


def outside(graph, op="matmul"):
    return [n for n in graph if n.op is not None and n.op.name == op]


def test_products_of_rows_are_one_before_the_loop():
    def f(w, u, b, c, xs):
        return cr.scan(lambda c, x: (cr.tanh(c @ w + x @ u + b), c), c, xs)

    args = W, f64(3, 3), f64(3), C, XS
    graph = optimised(f, *args)
    (scan,) = scans(graph)
    assert body(scan).count("matmul") == 1
    (product,) = outside(graph)
    assert product.shape == (10, 3)
    expect_same(f, *args)


@pytest.mark.parametrize("length", [2, 5])
@pytest.mark.parametrize(
    "product",
    [
        lambda w, x: x @ w,
        lambda w, x: (w @ x.T).T,
        lambda w, x: cr.relu(x @ w + 1) @ w.T,
        lambda w, x: cr.softmax(x @ w, axis=1) - x[:, ::-1],
        lambda w, x: (x[:, None, :] @ cr.stack([w, w * 2]))[:, 0],
        lambda w, x: cr.concat([x, x[:, :1]], axis=1)[:, 1:] @ w,
        lambda w, x: cr.stack([w @ row for row in x]),
        lambda w, x: (x.mean(axis=0) @ w)[None, :] + x,
        lambda w, x: cr.cumulative_sum(x, axis=1) @ w,
        lambda w, x: cr.pad(x, ((0, 0), (1, 0)))[:, 1:] @ w,
        lambda w, x: cr.flip(x, axis=0) @ w,
    ],
)
def test_products_of_all_forms(product, length):
    def f(w, c, xs):
        return cr.scan(lambda c, x: (cr.sin(c * product(w, x)), product(w, c)), c, xs)

    args = W, C, f64(length, 2, 3)
    assert "matmul" not in body(scans(optimised(f, *args))[0])
    expect_same(f, *args)


def test_rows_of_a_table_are_one_product():
    def f(table, w, c, tokens):
        return cr.scan(lambda c, t: (cr.tanh(c + table[t] @ w), None), c, tokens)[0]

    tokens = cr.Tensor(np.array([[1, 3], [0, -1], [2, 2]]))
    args = f64(4, 3), W, C, tokens
    (scan,) = scans(optimised(f, *args))
    assert body(scan) == ["add", "tanh"]
    expect_same(f, *args, order=0)


def test_products_that_only_ys_need_are_one_after_the_loop():
    def f(w, v, b, c, xs):
        def step(c, x):
            c = cr.tanh(c @ w + x)
            return c, cr.softmax(c @ v + b, axis=1)

        return cr.scan(step, c, xs)

    args = W, f64(3, 4), f64(4), C, XS
    graph = optimised(f, *args)
    (scan,) = scans(graph)
    assert body(scan) == ["matmul", "add", "tanh"]
    assert counts(scan) == (1, 1, 1, 1)
    assert [n.shape for n in outside(graph)] == [(10, 4)]
    expect_same(f, *args)


def test_the_gradient_of_the_rows_is_one_product():
    f = lambda w, c, xs: cr.scan(lambda c, x: (cr.tanh(c + x @ w), None), c, xs)[0]  # noqa: E731
    graph = optimised(gradients(f, 3), W, C, XS)
    assert all("matmul" not in body(s) for s in scans(graph))
    assert len(outside(graph)) == 3


@pytest.mark.parametrize(
    "step",
    [
        lambda w, c, x: (cr.tanh(x @ (w * c[:1])), x),  # not the same matrix
        lambda w, c, x: (cr.tanh((c + x) @ w), x),
        lambda w, c, x: (y := cr.tanh(c @ w), y),  # the carry needs it too
        lambda w, c, x: (c + x, cr.convolution((c @ w)[None], w[None], padding=0)),
    ],
)
def test_other_products_stay(step):
    f = lambda w, c, xs: cr.scan(lambda c, x: step(w, c, x), c, xs)  # noqa: E731
    (scan,) = scans(optimised(f, W, C, XS))
    assert body(scan).count("matmul") == 1
    expect_same(f, W, C, XS)


def test_what_would_take_too_much_memory_stays(monkeypatch):
    w, xs = f64(3, 64), f64(5, 2, 3)
    before = lambda w, xs: cr.scan(lambda c, x: (c + (x @ w).sum(), None), w[0, 0], xs)[0]  # noqa: E731
    after = lambda w, xs: cr.scan(lambda c, x: (c + x[0, 0], (c * x) @ w), w[0, 0], xs)  # noqa: E731
    for f, inside in ((before, 1), (after, 0)):  # the second stacks less if it is moved
        assert body(scans(optimised(f, w, xs))[0]).count("matmul") == 0
        with monkeypatch.context() as patch:
            patch.setattr(lifting, "STACKED", 1000)
            assert body(scans(optimised(f, w, xs))[0]).count("matmul") == inside


def test_the_work_of_a_loop_is_counted_where_it_is_done():
    f = lambda w, c, xs: cr.scan(lambda c, x: (cr.tanh(c @ w + x @ w), c @ w.T), c, xs)  # noqa: E731
    each = 3 * 2 * 2 * 3 * 3 + 2 * 2 * 3  # three products, a sum, tanh
    assert cost.total(optimised(f, W, C, XS)) == 5 * each


@pytest.mark.parametrize("rows", [1, 2])
def test_products_of_few_rows_are_done_before(monkeypatch, rows):
    monkeypatch.setattr(products, "COLUMNS_PER_ROW", 2)
    f = lambda w, c, xs: cr.scan(lambda c, x: (cr.tanh(c + x @ w), None), c, xs)[0]  # noqa: E731
    (scan,) = scans(optimised(f, W, f64(rows, 3), f64(5, rows, 3)))
    assert ("matmul" in body(scan)) == (rows > 1)


@pytest.mark.parametrize(
    "project",
    [
        lambda xs, u, b: xs @ u,
        lambda xs, u, b: xs @ u.T + b,
    ],
)
def test_products_of_many_rows_are_done_inside(monkeypatch, project):
    def f(w, u, b, c, xs):
        return cr.scan(lambda c, x: (cr.tanh(c @ w + x), c * b), c, project(xs, u, b))

    args = W, f64(3, 3), f64(3), C, XS
    (scan,) = scans(optimised(f, *args))
    assert body(scan).count("matmul") == 1
    monkeypatch.setattr(products, "COLUMNS_PER_ROW", 64)
    graph = optimised(f, *args)
    assert not outside(graph)
    assert body(scans(graph)[0]).count("matmul") == 2
    expect_same(f, *args)


def test_products_that_others_read_stay_before(monkeypatch):
    monkeypatch.setattr(products, "COLUMNS_PER_ROW", 64)

    def f(w, c, xs):
        rows = xs @ w
        return cr.scan(lambda c, x: (cr.tanh(c + x), None), c, rows)[0], rows

    (scan,) = scans(optimised(f, W, C, XS))
    assert "matmul" not in body(scan)
    expect_same(f, W, C, XS)
