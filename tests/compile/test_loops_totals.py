"""Gradients of weights: one product, or one sum, over all steps after the loop."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import graph_evaluation
from chainrule.compile.loops import lifting
from looping import body, counts, expect_same, f64, gradients, operations, optimised, scans


def linear(w, b, c, xs):
    return cr.scan(lambda c, x: (cr.tanh(c @ w + x + b), None), c, xs)[0]


def test_products_and_sums_leave_the_loop():
    args = f64(3, 3), f64(3), f64(2, 3), f64(4, 2, 3)
    graph = optimised(gradients(linear, 4), *args)
    _, backward = scans(graph)
    assert body(backward).count("matmul") == 1  # the cotangent of c
    assert "sum" not in body(backward)
    assert counts(backward)[1:] == (1, 1, 1)  # the cotangent of c; the new c; that of its sum
    assert operations(graph).count("matmul") == 1
    expect_same(linear, *args)


@pytest.mark.parametrize("length", [2, 5])
@pytest.mark.parametrize(
    "product",
    [
        lambda c, w, x: c @ w,
        lambda c, w, x: c @ w.T,
        lambda c, w, x: (w @ c.T).T,
        lambda c, w, x: (c[:, None, :] @ w)[:, 0],
        lambda c, w, x: (cr.stack([c, x]) @ cr.stack([w, w.T])).sum(axis=0),
        lambda c, w, x: c @ w[:, ::-1] + x @ w,
        lambda c, w, x: c @ cr.concat([w[:1], w[:2]]) - cr.flip(c, axis=0) @ w,
        lambda c, w, x: cr.stack([w @ row for row in c]),
    ],
)
def test_products_of_all_forms(product, length):
    f = lambda w, c, xs: cr.scan(lambda c, x: (cr.tanh(product(c, w, x) + x), c), c, xs)  # noqa: E731
    args = f64(3, 3), f64(2, 3), f64(length, 2, 3)
    expect_same(f, *args)
    backward = scans(optimised(gradients(f, 3), *args))[-1]
    assert counts(backward)[1] == 1, "no carry but the cotangent of c"


def test_a_first_value_is_added_once():
    def f(total, xs):
        return cr.scan(lambda t, x: (t + x.T @ cr.sin(x), None), total, xs)[0]

    args = f64(3, 3), f64(4, 2, 3)
    assert operations(optimised(f, *args)).count("matmul") == 1
    expect_same(f, *args)


@pytest.mark.parametrize(
    "step",
    [
        lambda t, x: (t + x.T @ x, t),  # its values on the way are read
        lambda t, x: (cr.tanh(t + x.T @ x), x),
        lambda t, x: (t + t, x),
        lambda t, x: (t + x.T @ x * t, x),
        lambda t, x: (t + cr.sin(x[:1]) * t, x),
    ],
)
def test_other_carries_stay(step):
    f = lambda t, xs: cr.scan(step, t, xs)  # noqa: E731
    args = f64(3, 3), f64(4, 2, 3)
    (scan,) = scans(optimised(f, *args))
    assert counts(scan)[1] == 1
    expect_same(f, *args)


def test_a_sum_of_what_is_not_stacked_stays():
    elementwise = lambda w, c, xs: cr.scan(lambda c, x: (cr.sin(c * w[0] + x), None), c, xs)[0]  # noqa: E731
    expect_same(elementwise, f64(3, 3), f64(2, 3), f64(4, 2, 3))
    f = lambda t, xs: cr.scan(lambda t, x: (t + cr.exp(x).sum(axis=0), None), t, xs)[0]  # noqa: E731
    (scan,) = scans(optimised(f, f64(3), f64(4, 2, 3)))
    assert counts(scan) == (0, 1, 1, 0)
    g = lambda t, xs: cr.scan(lambda t, x: (t + x.sum(axis=0), None), t, xs)[0]  # noqa: E731
    assert not scans(optimised(g, f64(3), f64(4, 2, 3)))


def test_what_would_take_too_much_memory_stays(monkeypatch):
    def f(t, a, b, xs):
        return cr.scan(lambda t, x: (t + (a * x).T @ (b * x), None), t, xs)[0]

    args = f64(4, 4), f64(6, 4), f64(6, 4), f64(5, 1, 1)
    assert not scans(optimised(f, *args))[0].params["carries"]
    monkeypatch.setattr(lifting, "STACKED", 1000)  # bytes; the factors have 5 · 2 · 6 · 4 · 8
    assert scans(optimised(f, *args))[0].params["carries"]


def test_half_precision_is_added_in_the_precision_of_the_carry():
    def f(t, xs):
        def step(t, x):
            return t + (x.astype(cr.float16).T @ x.astype(cr.float16)).astype(cr.float32), None

        return cr.scan(step, t, xs)[0]

    x = np.full((64, 8, 2), 1.0, np.float32) * np.float32(np.float16(0.1))
    args = cr.Tensor(np.zeros((2, 2), np.float32)), cr.Tensor(x)
    graph = optimised(f, *args)
    (product,) = [n for n in graph if n.op is not None and n.op.name == "matmul"]
    assert product.dtype == np.float32
    (total,) = graph_evaluation.run(graph, [a.numpy() for a in args])
    exact = np.einsum("tnk,tnm->km", x.astype(np.float64), x.astype(np.float64))
    np.testing.assert_allclose(total, exact, rtol=1e-5)  # 512 terms in float32; float16 has 1e-3


def test_sums_of_many_steps_are_as_exact_as_those_of_a_loop():
    rng = np.random.default_rng(0)
    xs = (rng.normal(size=(2000, 8, 4)) + 1).astype(np.float32)
    f = lambda t, xs: cr.scan(lambda t, x: (t + x.T @ x, None), t, xs)[0]  # noqa: E731
    zeros = cr.Tensor(np.zeros((4, 4), np.float32))
    (once,) = graph_evaluation.run(optimised(f, zeros, cr.Tensor(xs)), [zeros.numpy(), xs])
    exact = np.einsum("tnk,tnm->km", xs.astype(np.float64), xs.astype(np.float64))
    loop = f(zeros, cr.Tensor(xs)).numpy()
    assert np.abs(once - exact).max() <= np.abs(loop - exact).max()
