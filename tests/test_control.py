"""Loops, recomputation, custom derivatives, new operations."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import checking
from chainrule.errors import ArgumentError, GradientError, ShapeError, TraceError


def f64(x):
    return cr.Tensor(np.asarray(x, np.float64))


RNG = np.random.default_rng(0)


def recurrent(w, u, h, xs, reverse=False):
    """A small recurrent network; returns the last state and all states."""
    return cr.scan(lambda h, x: ((n := cr.tanh(h @ w + x @ u)), n * n), h, xs, reverse=reverse)


def unrolled(w, u, h, xs, reverse=False):
    out = []
    for t in reversed(range(len(xs))) if reverse else range(len(xs)):
        h = cr.tanh(h @ w + xs[t] @ u)
        out.append(h * h)
    return h, cr.stack(out[::-1] if reverse else out)


ARGS = [f64(RNG.normal(size=s)) for s in ((3, 3), (2, 3), (4, 3), (5, 4, 2))]


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_equals_the_loop(reverse):
    for a, b in zip(recurrent(*ARGS, reverse), unrolled(*ARGS, reverse), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())

    def loss(loop):
        def f(*args):
            h, ys = loop(*args, reverse)
            return (h * 2).sum() + cr.sin(ys).sum()

        return f

    for a, b in zip(
        cr.grad(loss(recurrent), (0, 1, 2, 3))(*ARGS),
        cr.grad(loss(unrolled), (0, 1, 2, 3))(*ARGS),
        strict=True,
    ):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_scan_to_the_second_order():
    cr.check_gradients(recurrent, *ARGS, order=2)
    small = [f64(RNG.normal(size=s)) for s in ((2, 2), (1, 2), (1, 2), (3, 1, 1))]

    def loss(loop):
        return lambda w: loop(w, *small[1:])[1].sum()

    a, b = (cr.hessian(loss(loop))(small[0]).numpy() for loop in (recurrent, unrolled))
    np.testing.assert_allclose(a, b, rtol=1e-10)
    product = cr.grad(lambda x: cr.scan(lambda c, v: (c * v + c, None), f64(1.0), x)[0])
    ones = np.array([[0, 4, 3], [4, 0, 2], [3, 2, 0]])  # of (1 + x₁)(1 + x₂)(1 + x₃) at 1, 2, 3
    np.testing.assert_allclose(cr.jacobian(product)(f64([1.0, 2.0, 3.0])).numpy(), ones)


def test_scan_carries_structures_and_integers():
    def body(carry, x):
        return {"sum": carry["sum"] + x, "n": carry["n"] + 1}, (carry["n"], x * x)

    carry, (n, squares) = cr.scan(body, {"sum": f64(0.0), "n": cr.Tensor(0)}, f64([1.0, 2.0, 4.0]))
    assert carry["sum"].item() == 7
    assert carry["n"].item() == 3
    assert n.tolist() == [0, 1, 2]
    assert squares.tolist() == [1, 4, 16]
    g = cr.grad(
        lambda xs: cr.scan(body, {"sum": f64(0.0), "n": cr.Tensor(0)}, xs)[0]["sum"]
    )(f64([1.0, 2.0]))  # fmt: skip
    assert g.tolist() == [1, 1]


def test_scan_of_length_zero_and_without_xs():
    carry, ys = cr.scan(lambda c, x: (c + x, c), f64(5.0), f64(np.zeros(0)))
    assert carry.item() == 5
    assert ys.shape == (0,)
    assert cr.scan(lambda c, _: (c * 2, None), f64(1.0), length=10)[0].item() == 1024


def test_random_numbers_inside_scan_differ_from_step_to_step():
    gen = cr.random.Generator(3)
    _, noise = cr.scan(lambda c, _: (c, gen.normal((2,))), f64(0.0), length=4)
    again = cr.random.Generator(3)
    expected = [again.normal((2,)).numpy() for _ in range(4)]
    np.testing.assert_array_equal(noise.numpy(), expected)
    np.testing.assert_array_equal(gen.bits(3).numpy(), again.bits(3).numpy())


def test_scan_errors():
    with pytest.raises(ShapeError, match=r"\[scan\] the body gave the carry float64\[2\]"):
        cr.scan(lambda c, x: (cr.stack([c, c]), None), f64(0.0), f64([1.0]))
    with pytest.raises(ShapeError, match=r"\[scan\] got lengths"):
        cr.scan(lambda c, x: (c, None), f64(0.0), (f64([1.0]), f64([1.0, 2.0])))
    p = cr.Tensor(1.0, requires_grad=True)
    with pytest.raises(TraceError, match=r"\[scan\].*backward"):
        cr.scan(lambda c, x: ((p * x).backward(), (c, None))[1], f64(0.0), f64([1.0]))
    with pytest.raises(TraceError, match=r"\[item\].*cr\.where"):
        cr.scan(lambda c, x: (c if x > 0 else -c, None), f64(0.0), f64([1.0]))


def test_checkpoint_gives_the_same_and_keeps_only_its_inputs():
    w = cr.Tensor(RNG.normal(size=(3, 3)), requires_grad=True)
    x = cr.Tensor(RNG.normal(size=(4, 3)), requires_grad=True)

    def block(x):
        return cr.tanh(cr.exp(cr.sin(x @ w)))

    block(x).sum().backward()
    expected = x.grad.numpy(), w.grad.numpy()
    loss = cr.checkpoint(block)(x).sum()
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), expected[0])
    np.testing.assert_array_equal(w.grad.numpy(), expected[1])
    cr.check_gradients(lambda x, w: cr.checkpoint(lambda x: cr.tanh(x @ w))(x), f64(x), f64(w))


def test_checkpoint_draws_the_same_random_numbers_again():
    gen = cr.random.Generator(7)
    x = cr.Tensor(np.ones(64), requires_grad=True)
    y = cr.checkpoint(lambda x: x * gen.bernoulli(0.5, x.shape))(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert gen.state.tolist() == [7, 1]


def test_custom_vjp_replaces_the_rule():
    clipped = cr.custom_vjp(lambda x, y: x * y, lambda g, out, x, y: (cr.clip(g * y, -1, 1), None))
    x, y = f64(3.0), f64(50.0)
    value, (gx, gy) = cr.value_and_grad(clipped, (0, 1))(x, y)
    assert (value.item(), gx.item(), gy.item()) == (150, 1, 0)
    bad = cr.custom_vjp(lambda x: x, lambda g, out, x: g)
    with pytest.raises(GradientError, match=r"\[custom_vjp\] its rule gave Tensor; a tuple of 1"):
        cr.grad(bad)(x)


def test_defop_is_checked_like_the_table():
    cube = cr.defop("cube", lambda x: x**3, lambda x: 3 * x * x)
    assert cube([1.0, 2.0]).tolist() == [1, 8]
    assert cr.grad(cr.grad(cube))(f64(2.0)).item() == 12
    assert checking.check_row(cube.row).failure == ""
    wrong = cr.defop("wrong", lambda x: x**3, lambda x: 2 * x * x)
    assert "wrong" in checking.check_row(wrong.row).failure
    two = cr.defop("ratio", lambda a, b: a / b, lambda x2: 1 / x2, lambda x2, y: -y / x2)
    assert checking.check_row(two.row).failure == ""
    assert two(cr.ones((2, 1)), cr.ones(3)).shape == (2, 3)
    compiled = cr.compile(lambda x: cube(x).sum())
    assert compiled(f64([1.0, 2.0])).item() == 9
    with pytest.raises(ArgumentError, match=r"\[defop\]"):
        cr.defop("bad", abs, lambda x: x, kind="odd")
