"""Graphs inside are optimised; what a loop computes without need is dropped."""

import re
from itertools import pairwise

import numpy as np
import pytest

import chainrule as cr
from looping import LENGTHS, body, counts, expect_same, f64, operations, optimised, scans


def recurrent(w, u, h, xs, reverse=False):
    return cr.scan(lambda h, x: ((n := cr.tanh(h @ w + x @ u)), n * n), h, xs, reverse=reverse)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_recurrent_loop(length, reverse):
    args = f64(3, 3), f64(2, 3), f64(4, 3), f64(length, 4, 2)
    expect_same(lambda *a: recurrent(*a, reverse=reverse), *args)


def test_results_that_nothing_reads():
    def f(a, b, xs):
        def step(carry, x):
            p, q, r = carry
            return (p * x, q + p * b, r + q), (p, x + q, a * x, q)

        (_, q, _), (_, y, _, _) = cr.scan(step, (a, b, a), xs)
        return q, y

    args = f64(3), f64(3), f64(4, 3)
    (scan,) = scans(optimised(f, *args))
    assert counts(scan) == (1, 2, 1, 1)  # b; p and q; xs; x + q
    expect_same(f, *args)


def test_a_carry_of_itself_alone_is_dropped():
    step = lambda c, x: ((c[0] * 2, c[1] + x), None)  # noqa: E731
    (scan,) = scans(optimised(lambda a, xs: cr.scan(step, (a, a), xs)[0][1], f64(3), f64(4, 3)))
    assert counts(scan) == (0, 1, 1, 0)


def test_what_goes_in_or_out_twice():
    def f(a, xs):
        def step(c, x):
            y = c * x[0] + x[1] * a
            return y, (y, y, y + a)

        last, (p, q, r) = cr.scan(step, a, (xs, xs))
        return last, p + q, r

    args = f64(3), f64(4, 3)
    (scan,) = scans(optimised(f, *args))
    assert counts(scan) == (1, 1, 1, 2)
    expect_same(f, *args)


def test_what_no_step_changes():
    def f(a, b, xs):
        def step(carry, x):
            c, still = carry
            return (c * still + x, still), (x, still, c)

        (c, still), ys = cr.scan(step, (a, b), xs)
        return c, still, *ys

    args = f64(3), f64(3), f64(4, 3)
    (scan,) = scans(optimised(f, *args))
    assert counts(scan) == (1, 1, 1, 1)
    expect_same(f, *args)


def test_xs_of_the_same_rows_are_constants():
    def f(a, b):
        rows = (cr.broadcast_to(v, (4, 3)) for v in (b, a.sum()))
        return cr.scan(lambda c, x: (c * x[0], c + x[1]), a, tuple(rows))

    args = f64(3), f64(3)
    (scan,) = scans(optimised(f, *args))
    assert counts(scan) == (2, 1, 0, 1)
    expect_same(f, *args)


def test_xs_of_one_number_are_none():
    """The cotangent of a sum."""
    f = cr.grad(lambda a, xs: cr.scan(lambda c, x: (c * x, c * c), a, xs)[1].sum(), (0, 1))
    _, backward = scans(optimised(f, f64(3), f64(4, 3)))
    assert counts(backward) == (0, 1, 2, 1)  # incoming carries, xs; no cotangents of ys
    expect_same(f, f64(3), f64(4, 3), order=1)


@pytest.mark.parametrize("length", [0, 1])
def test_loops_of_no_step_or_one_are_none(length):
    f = lambda c, xs: cr.scan(lambda c, x: (c * cr.sin(x), (c, x + 1)), c, xs)  # noqa: E731
    args = f64(3), f64(length, 3)
    assert not scans(optimised(f, *args))
    expect_same(f, *args)


def test_bodies_are_optimised():
    def f(a, xs):
        def step(c, x):
            return c + cr.exp(x) * (cr.exp(x) / 1.0), None

        return cr.scan(step, a, xs)[0]

    (scan,) = scans(optimised(f, f64(3), f64(4, 3)))
    assert body(scan) == ["exp", "multiply", "add"]
    checkpoint = optimised(cr.checkpoint(lambda x: cr.exp(x) * cr.exp(x)), f64(3))
    assert operations(checkpoint) == ["exp", "multiply"]


def test_a_custom_derivative_leaves_no_graph_inside():
    clipped = cr.custom_vjp(lambda x, y: (x * y, x + y), lambda g, out, x, y: (g[0] * y, g[1] * x))
    args = f64(3), f64(3)
    assert operations(optimised(clipped, *args)) == ["multiply", "add"]
    expect_same(clipped, *args, order=1)


@pytest.mark.parametrize("reverse", [False, True])
def test_loops_inside_loops(reverse):
    def f(w, c, xs):
        def outer(c, rows):
            d, ys = cr.scan(lambda d, x: (cr.tanh(d @ w + x), d * x), c, rows, reverse=reverse)
            return d * 0.5, (ys, d)

        return cr.scan(outer, c, xs)

    expect_same(f, f64(3, 3), f64(2, 3), f64(3, 4, 2, 3))


def test_the_random_state_is_carried():
    generator = cr.random.Generator(3)

    @cr.compile
    def compiled(x):
        return cr.scan(
            lambda c, _: (c + generator.normal((2,)), generator.normal((2,))), x, length=3
        )

    x = cr.Tensor(np.zeros(2, np.float32))
    (last, ys), state = compiled(x), generator.state.tolist()
    generator = cr.random.Generator(3)
    draws = [generator.normal((2,)).numpy() for _ in range(6)]
    np.testing.assert_array_equal(ys.numpy(), draws[1::2])
    np.testing.assert_allclose(last.numpy(), sum(draws[::2]), rtol=1e-6)
    assert generator.state.tolist() == state


def test_stages_of_a_loop_are_shown_where_they_change_it(monkeypatch, capsys):
    monkeypatch.setenv("CHAINRULE_SHOW", "graph")
    loop = lambda w, c, xs: cr.scan(lambda c, x: (cr.tanh(c @ w + x), c), c, xs)[0].sum()  # noqa: E731
    cr.compile(cr.grad(loop, (0, 1, 2)))(f64(3, 3), f64(2, 3), f64(4, 2, 3))
    shown = re.findall(r"── (\w+) ──\n(.*?)\n(?=──|\Z)", capsys.readouterr().err, re.S)
    assert [name for name, _ in shown[:5]] == ["traced", "fold", "simplify", "join", "share"]
    assert {"inner", "unused", "saved", "totals"} < {name for name, _ in shown}
    assert all(before != after for (_, before), (_, after) in pairwise(shown[4:]))
    assert all(text.count("    graph(") == 2 for _, text in shown)
