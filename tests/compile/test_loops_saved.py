"""What is the same at each step is computed once; what a loop has computed, not again."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError
from looping import body, counts, expect_same, f64, gradients, operations, optimised, scans


def test_what_depends_on_constants_moves_out():
    def f(w, b, xs):
        def step(c, x):
            scale = cr.exp(w).T  # a view of what moves
            return cr.tanh(c @ scale + x + cr.sigmoid(b)[None, :]), cr.sin(b.reshape(1, 3))

        return cr.scan(step, xs[0], xs)

    args = f64(3, 3), f64(3), f64(4, 2, 3)
    graph = optimised(f, *args)
    (scan,) = scans(graph)
    assert {"exp", "sigmoid", "sin"} <= set(operations(graph))
    assert not {"exp", "sigmoid", "sin"} & set(body(scan))
    assert counts(scan) == (2, 1, 1, 0)
    expect_same(f, *args)


def test_views_of_constants_stay():
    def f(w, xs):
        return cr.scan(lambda c, x: (c @ w.T[:, ::-1] + x, None), xs[0], xs)[0]

    (scan,) = scans(optimised(f, f64(3, 3), f64(4, 2, 3)))
    assert scan.inputs[0].op is None
    assert {"permute_dims", "flip"} <= set(body(scan))


def test_what_is_the_same_in_an_inner_loop_moves_out_of_both():
    def f(w, xs):
        def outer(c, rows):
            return cr.scan(lambda c, x: (c * cr.exp(w) + x * cr.sin(rows[0]), None), c, rows)[0], c

        return cr.scan(outer, w, xs)

    args = f64(3), f64(4, 2, 3)
    (scan,) = scans(optimised(f, *args))
    (inner,) = scans(scan.params["graph"])
    assert (body(scan).count("exp"), body(scan).count("sin")) == (0, 1)
    assert not {"exp", "sin"} & set(body(inner))
    expect_same(f, *args)


@pytest.mark.parametrize("length", [0, 2])
def test_a_loop_without_steps_refuses_nothing(length):
    f = lambda n, xs: cr.scan(lambda c, x: (c + 6 // n, None), n, xs)[0]  # noqa: E731
    args = cr.Tensor(np.zeros(2, np.int64)), cr.Tensor(np.zeros((length, 2), np.int64))
    if length:
        with pytest.raises(ArgumentError, match="divided by 0"):
            cr.compile(f)(*args)
    else:
        assert cr.compile(f)(*args).tolist() == [0, 0]


def gates(c, h, x, w):
    i, f, g, o = cr.split(x + h @ w.T, 4, axis=-1)
    c = cr.sigmoid(f) * c + cr.sigmoid(i) * cr.tanh(g)
    return c, cr.sigmoid(o) * cr.tanh(c)


def own_lstm(w, c, h, xs):
    def step(state, x):
        c, h = gates(*state, x, w)
        return (c, h), h

    return cr.scan(step, (c, h), xs)[1]


LSTM = f64(16, 4), f64(2, 4), f64(2, 4), f64(5, 2, 16)


def test_the_derivative_of_an_lstm_reads_what_the_loop_computed():
    f = cr.grad(lambda *args: own_lstm(*args).sum(), (0, 1, 2, 3))
    forward, backward = scans(optimised(f, *LSTM))
    assert body(forward).count("matmul") == 1
    assert body(forward).count("sigmoid") + body(forward).count("tanh") == 5
    assert not {"sigmoid", "tanh"} & set(body(backward))
    assert counts(forward) == (1, 2, 1, 7)  # incoming c and h, three gates, g, tanh c
    expect_same(own_lstm, *LSTM)


def test_the_derivative_of_a_gru_saves_no_more_than_it_must():
    def f(w, h, xs):
        def step(h, x):
            a, b = x + h @ w, h @ w
            r, z = cr.sigmoid(a[:, :3]), cr.sigmoid(a[:, 3:6])
            n = cr.tanh(x[:, 6:] + r * b[:, 6:])
            h = (1 - z) * n + z * h
            return h, h

        return cr.scan(step, h, xs)[1]

    args = f64(3, 9), f64(2, 3), f64(4, 2, 9)
    forward, backward = scans(optimised(cr.grad(lambda *a: f(*a).sum(), (0, 1, 2)), *args))
    assert counts(forward)[3] == 5  # incoming h, r, z, n, the part of h w in n
    assert not {"sigmoid", "tanh"} & set(body(backward))
    expect_same(f, *args)


def test_a_choice_is_saved_as_bits():
    def f(w, c, xs):
        return cr.scan(lambda c, x: (cr.relu(c @ w + x), None), c, xs)[0]

    forward, _ = scans(optimised(gradients(f, 3), f64(3, 3), f64(2, 3), f64(4, 2, 3)))
    assert sorted(str(d) for d in forward.dtype[1:]) == ["bool", "float64"]  # and incoming c
    expect_same(f, f64(3, 3), f64(2, 3), f64(4, 2, 3))


def test_the_second_derivative_reads_from_both_loops():
    def f(c, xs):
        return cr.scan(lambda c, x: (cr.tanh(c * x), None), c, xs)[0].sum()

    g = cr.grad(lambda c, xs: cr.grad(f)(c, xs).sum(), (0, 1))
    args = f64(3), f64(4, 3)
    assert [body(s).count("tanh") for s in scans(optimised(g, *args))] == [1, 0, 0, 0]
    expect_same(f, *args)


def test_a_checkpoint_is_computed_again():
    def f(w, c, xs):
        block = cr.checkpoint(lambda c, x: cr.tanh(cr.sin(c @ w) + x))
        return cr.scan(lambda c, x: (block(c, x), None), c, xs)[0]

    args = f64(3, 3), f64(2, 3), f64(4, 2, 3)
    forward, backward = scans(optimised(gradients(f, 3), *args))
    assert body(forward) == ["matmul", "sin", "add", "tanh"]
    assert counts(forward)[3] == 1  # incoming c
    assert {"tanh", "cos"} <= set(body(backward))
    expect_same(f, *args)


def test_the_results_of_a_checkpoint_are_not():
    def f(w, c, xs):
        block = cr.checkpoint(lambda c, x: cr.tanh(c @ w + x))
        return cr.scan(lambda c, x: (cr.square(cr.sin(block(c, x))), None), c, xs)[0]

    args = f64(3, 3), f64(2, 3), f64(4, 2, 3)
    forward, backward = scans(optimised(gradients(f, 3), *args))
    assert counts(forward)[3] == 3  # incoming c, the result of the checkpoint, its sine
    assert "sin" not in body(backward)
    expect_same(f, *args)
