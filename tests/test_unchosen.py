"""Gradients of where: what was not chosen has none, though its derivative is infinite or NaN."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

# A function, a place, and its derivatives there to order 3: those of the branch that is chosen.
PIECEWISE = {
    "exp": (lambda x: cr.where(x <= 0, cr.exp(x), 1 + x), 1000.0, [1, 0, 0]),
    "sqrt": (lambda x: cr.where(x > 0, cr.sqrt(x), x), -4.0, [1, 0, 0]),
    "the second one": (lambda x: cr.where(x <= 0, x, cr.sqrt(x)), -4.0, [1, 0, 0]),
    "a product": (lambda x: cr.where(x > 0, x * cr.log(x), 0.0 * x), 0.0, [0, 0, 0]),
    "a quotient": (
        lambda x: cr.where(abs(x) > 1e-3, cr.sin(x) / x, 1 - x * x / 6),
        0.0,
        [0, -1 / 3, 0],
    ),
    "a power": (lambda x: cr.where(x > 0, x**0.5, x), 0.0, [1, 0, 0]),
    "two in one": (
        lambda x: cr.where(x > 0, cr.where(x > 1, cr.log(x - 1) * x, 2 * x), x**3),
        1.0,
        [2, 0, 0],
    ),
    "two in one, both not chosen": (
        lambda x: cr.where(x > 0, cr.where(x > 1, cr.log(x - 1) * x, 1 / x), x**3),
        -2.0,
        [12, -12, 6],
    ),
    "used twice": (
        lambda x: cr.where(x > 0, (lambda h: h + h * x)(cr.log(x)), x * x),
        0.0,
        [0, 2, 0],
    ),
    "used outside": (
        lambda x: (lambda h: cr.where(x > 1, cr.log(h), h))(x - 1) + x,
        1.0,
        [2, 0, 0],
    ),
    "another dtype": (
        lambda x: cr.where(x > 0, cr.log(x.astype("float32")).astype("float64"), x),
        0.0,
        [1, 0, 0],
    ),
    "a chosen inf": (lambda x: cr.where(x >= 0, cr.sqrt(x), x), 0.0, [math.inf]),
    "a chosen NaN": (lambda x: cr.where(x <= 0, cr.sqrt(x), x), -1.0, [math.nan] * 3),
}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("name", PIECEWISE)
def test_only_the_chosen_branch_counts(name, backend, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    f, at, expected = PIECEWISE[name]
    x = cr.Tensor(np.array(at))
    derivative = f
    for wanted in expected:
        derivative = cr.grad(derivative)
        for run in (derivative, cr.compile(derivative)):
            np.testing.assert_allclose(run(x).item(), wanted, rtol=1e-12)
    for run in (f, cr.compile(f)):
        _, tangent = cr.jvp(run, (x,), (cr.ones_like(x),))
        np.testing.assert_allclose(tangent.item(), expected[0], rtol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
def test_each_element_of_arrays(compiled):
    """Beside reductions, broadcasting and parameters that both branches share."""
    x = np.linspace(-2, 2, 9).reshape(3, 3)
    w, b = nn.Parameter(np.array([[1.0], [2.0], [-1.0]])), nn.Parameter(np.array(0.5))

    def step():
        h = w * cr.Tensor(x)
        y = cr.where(h > 0, cr.log(h) * b, h * h)
        (y.sum(axis=1) ** 2).sum().backward()

    (cr.compile(step) if compiled else step)()
    h = w.numpy() * x
    on = h > 0
    safe = np.where(on, h, 1.0)
    total = np.where(on, np.log(safe) * 0.5, h * h).sum(axis=1, keepdims=True)
    slope = 2 * total * np.where(on, 0.5 / safe, 2 * h)
    np.testing.assert_allclose(w.grad.numpy(), (slope * x).sum(axis=1, keepdims=True), rtol=1e-12)
    expected = (2 * total * np.where(on, np.log(safe), 0.0)).sum()
    np.testing.assert_allclose(b.grad.numpy(), expected, rtol=1e-12)


def test_a_hook_on_what_was_not_chosen_sees_0():
    x, seen = cr.Tensor([0.0, 2.0], requires_grad=True), []
    h = cr.log(x)
    h.register_hook(lambda g: seen.append(g.tolist()))
    inner = h * h
    inner.register_hook(lambda g: seen.append(g.tolist()))
    cr.where(x > 0, inner, x).sum().backward()
    assert seen == [[0.0, 1.0], [0.0, pytest.approx(2 * math.log(2.0))]]
    assert x.grad.tolist() == [1.0, pytest.approx(math.log(2.0))]


def test_what_was_clean_is_not_selected_again():
    """A ReLU before a matrix product costs one where, as before."""
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    text = cr.compile(cr.grad(lambda x: net(x).sum())).graph(cr.ones((2, 3)))
    assert text.count("= where(") == 1
