"""Gradients that stay with a compiled step: multiplied by clipping's factor when they are read."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import RangeError
from chainrule.nn import functional

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 40)).astype(np.float32)
Y = RNG.integers(0, 50, 16)


def network():
    """Its first weight is too large for a copy at each step, its biases are small."""
    cr.random.seed(1)
    model = nn.Sequential(nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 50))
    return model, optim.Adam(model.named_parameters(), lr=0.05)


def step_of(model, optimizer, norm=0.1, compiled=True):
    def step(x, y):
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        found = nn.utils.clip_grad_norm_(model.parameters(), norm)
        optimizer.step()
        return loss, found

    return cr.compile(step) if compiled else step


def slopes(model):
    return [p.grad.numpy().copy() for p in model.parameters()]


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", [1e-3, 1e9], ids=["clipped", "as they are"])
def test_they_are_those_of_eager_mode(norm):
    model, optimizer = network()
    other, its = network()
    step, eager = step_of(model, optimizer, norm), step_of(other, its, norm, compiled=False)
    for k in range(6):
        rows = slice(k % 2 * 8, 16)  # batches of two sizes: two programs
        step(X[rows], Y[rows])
        eager(X[rows], Y[rows])
        if k % 3 == 2:
            close(slopes(model), slopes(other))
            assert model[0].weight.grad is model[0].weight.grad


def test_they_are_not_written_by_a_step():
    model, optimizer = network()
    text = step_of(model, optimizer).plan(X, Y)
    adam = [line for line in text.splitlines() if "elementwise" in line and "[60,40]" in line]
    assert adam[-1].count("float32[60,40]") == 3, adam  # two means and the weight


def test_what_was_seen_stays():
    model, optimizer = network()
    step = step_of(model, optimizer)
    weight, seen = model[0].weight, []
    for _ in range(4):
        step(X, Y)
        seen.append((weight.grad, weight.grad.numpy().copy()))
    for tensor, values in seen:
        np.testing.assert_array_equal(tensor.numpy(), values)
    assert not np.array_equal(seen[0][1], seen[1][1])


@pytest.mark.parametrize("looks", [False, True])
def test_after_an_error_they_are_those_from_before(looks):
    model, optimizer = network()
    step = step_of(model, optimizer)
    step(X, Y)
    alone, its = network()
    step_of(alone, its)(X, Y)
    if looks:
        slopes(model)
    with pytest.raises(RangeError):
        step(2 * X, np.full(16, 50))
    for found, expected in zip(slopes(model), slopes(alone), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_after_many_steps_in_one_call_they_are_those_of_the_last():
    model, optimizer = network()
    step = step_of(model, optimizer)
    alone, its = network()
    single = step_of(alone, its)
    step(X, Y)
    step.repeat(3, [np.tile(X, (3, 1)), np.tile(Y, 3)])
    for _ in range(4):
        single(X, Y)
    for found, expected in zip(slopes(model), slopes(alone), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_numbers_that_are_not_finite_are_those_of_eager_mode():
    model, optimizer = network()
    other, its = network()
    x = X.copy()
    x[0, 0] = np.inf
    with np.errstate(all="ignore"):
        step_of(other, its, compiled=False)(x, Y)
    step_of(model, optimizer)(x, Y)
    for found, expected in zip(slopes(model), slopes(other), strict=True):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


TABLE = np.ones(5, np.float32)
ONES = np.ones((40, 40), np.float32)


def scaled_by(factor):
    """A step whose gradient of p, 1 everywhere, is multiplied by a factor."""
    p, table = nn.Parameter(ONES), cr.Tensor(TABLE)

    @cr.compile
    def step(x, k, s):
        (p * x * x).sum().backward()
        found = table[k].detach()
        p.grad = p.grad * factor(s)
        return found

    return p, step


def test_one_that_was_multiplied_by_an_argument_is_not_changed_with_it():
    p, step = scaled_by(lambda s: s)
    half = np.array(0.5, np.float32)
    for _ in range(3):
        step(ONES, np.array([1]), half)
    half[...] = 7
    assert p.grad.numpy().tolist() == (0.5 * ONES).tolist()
    for _ in range(3):
        step(ONES, np.array([1]), np.array(0.5, np.float32))
    with pytest.raises(RangeError):
        step(ONES, np.array([9]), half)
    assert p.grad.numpy().tolist() == (0.5 * ONES).tolist()


def test_one_that_was_multiplied_by_a_tensor_is_not_changed_with_it():
    """The scale of a loss, say, that another step adapts."""
    scale = cr.Tensor(np.float32(0.5))
    p, step = scaled_by(lambda s: scale)

    @cr.compile
    def adapt():
        scale[...] = scale * 0.5

    for k in range(1, 4):
        step(ONES, np.array([1]), np.float32(0))
        adapt()
        assert k == 2 or p.grad.numpy()[0, 0] == 0.5**k


def test_one_that_was_multiplied_by_a_moving_tensor_has_its_last_value():
    """As fit moves a schedule's settings, several steps in one call."""
    scale, p = cr.Tensor(np.float32(0.5)), nn.Parameter(ONES)

    @cr.compile
    def step(x):
        (p * x * x).sum().backward()
        p.grad = p.grad * scale
        return x.sum()

    step(ONES)
    moves = [(scale, np.array([3, 4], np.float32))]
    assert step.repeat(2, [np.tile(ONES, (2, 1))], moves) is not None
    assert p.grad.numpy()[0, 0] == 4


@pytest.mark.parametrize("factor", [None, 0.5])
def test_one_that_is_assigned_too_is_not_changed_with_that(factor):
    """A momentum that is the gradient then, and that another step sets to 0."""
    p, v, table = nn.Parameter(ONES), cr.Tensor(0 * ONES), cr.Tensor(TABLE)

    @cr.compile
    def step(x, k):
        (p * x * x).sum().backward()
        found = table[k].detach()
        v[...] = 0.5 * v + p.grad
        p.grad = v * 1 if factor is None else v * (factor * (x * x).mean())
        return found

    @cr.compile
    def reset():
        v[...] = v * 0

    for _ in range(3):
        step(ONES, np.array([1]))
        reset()
    assert p.grad.numpy()[0, 0] == (factor or 1)
    step(ONES, np.array([1]))
    v[...] = 0.0
    with pytest.raises(RangeError):
        step(ONES, np.array([9]))
    assert p.grad.numpy()[0, 0] == (factor or 1)


@pytest.mark.parametrize("factor", [lambda g: g, lambda g: g * (1 / g.max())])
def test_one_that_is_an_argument_is_not_changed_with_it(factor):
    p = nn.Parameter(np.ones((40, 40), np.float32))
    optimizer = optim.SGD([p], lr=0.1)

    @cr.compile
    def step(x):
        loss = (p * x).sum()
        loss.backward()
        p.grad = factor(p.grad)
        optimizer.step()
        return loss

    x = np.full((40, 40), 3, np.float32)
    expected = factor(cr.Tensor(x)).numpy()
    for _ in range(2):
        step(x)
    x[...] = 5
    np.testing.assert_array_equal(p.grad.numpy(), expected)
