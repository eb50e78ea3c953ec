"""scan(checkpoint_every=k): the same results and gradients, with less memory."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.errors import ArgumentError
from looping import expect_same, f64, gradients, optimised


def recurrent(w, c, xs, **settings):
    def step(state, x):
        c, n = state
        c = cr.tanh(c @ w + x)
        return (c, n + 1), {"c": c * x, "n": n}

    (c, n), ys = cr.scan(step, (c, cr.Tensor(0)), xs, **settings)
    return c, n, ys["c"], ys["n"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("length", "every"), [(0, 2), (1, 3), (5, 1), (6, 2), (7, 3), (5, 8)])
def test_results_and_gradients_are_the_same(length, every, reverse):
    args = f64(3, 3), f64(2, 3), f64(length, 2, 3)
    f = lambda *a: recurrent(*a, reverse=reverse)  # noqa: E731
    g = lambda *a: recurrent(*a, reverse=reverse, checkpoint_every=every)  # noqa: E731
    for a, b in zip(f(*args), g(*args), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    if length:
        for a, b in zip(gradients(f, 3)(*args), gradients(g, 3)(*args), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)
        expect_same(g, *args)


def test_without_xs_and_with_random_numbers():
    def run(**settings):
        generator = cr.random.Generator(3)
        step = lambda c, _: (c * generator.bernoulli(0.5, (4,)) + 1, generator.normal((2,)))  # noqa: E731
        last, noise = cr.scan(step, cr.ones(4), length=7, **settings)
        return last, noise, generator.state

    for a, b in zip(run(), run(checkpoint_every=3), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def stacked(graph):
    """The bytes that the loops of a graph stack at the same time, those inside included."""
    scans = [n for n in graph if n.op is ops.scan]
    ys = 0
    for scan in scans:
        carries = scan.params["carries"]
        specs = zip(scan.shape[carries:], scan.dtype[carries:], strict=True)
        ys += sum(math.prod(shape) * dtype.itemsize for shape, dtype in specs)
    inside = [v for n in graph for v in n.params.values() if hasattr(v, "nodes")]
    return ys + max(map(stacked, inside), default=0)


def test_memory_grows_as_the_square_root_of_the_steps():
    def bytes_of(length, **settings):
        def f(w, c, xs):
            return cr.scan(lambda c, x: (cr.tanh(cr.sin(c @ w) * x), None), c, xs, **settings)[0]

        return stacked(optimised(cr.grad(lambda *a: f(*a).sum(), (0,)), *args(length)))

    def args(length):
        return f64(8, 8), f64(4, 8), f64(length, 1, 8)

    one = 4 * 8 * 8
    assert bytes_of(256) >= 4 * 256 * one
    assert bytes_of(256, checkpoint_every=16) <= 8 * 16 * one
    assert bytes_of(1024, checkpoint_every=32) <= 8 * 32 * one


@pytest.mark.parametrize("every", [0, -1, 2.0, True, "sqrt"])
def test_what_is_no_number_of_steps(every):
    with pytest.raises(ArgumentError, match=r"\[scan\] got checkpoint_every=.*square root"):
        cr.scan(lambda c, x: (c, None), cr.ones(2), cr.ones((3, 2)), checkpoint_every=every)
