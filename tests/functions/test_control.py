"""Loops, recomputation, custom derivatives, new operations."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import checking
from chainrule.errors import ArgumentError, ChainruleError, GradientError, ShapeError, TraceError


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
    g = cr.grad(lambda xs: cr.scan(body, {"sum": f64(0.0), "n": cr.Tensor(0)}, xs)[0]["sum"])(
        f64([1.0, 2.0])
    )
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
    with pytest.raises(ArgumentError, match=r"\[scan\] got a body of type NoneType"):
        cr.scan(None, f64(0.0), f64([1.0]))
    for name, wrong in (("length", [-1, 2.5, "2", True]), ("checkpoint_every", [0, 2.5, True])):
        for value in wrong:
            for run in (cr.scan, cr.compile(cr.scan)):
                with pytest.raises(ArgumentError, match=rf"\[scan\] got {name}="):
                    run(lambda c, x: (c, None), f64(0.0), **{"length": 2, name: value})
    twos = cr.scan(lambda c, x: (c * 2, None), f64(1.0), length=np.int64(3))
    assert twos[0].item() == 8
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
    with pytest.raises(
        GradientError, match=r"\[custom_vjp\] its rule gave Tensor; expected a tuple"
    ):
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


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (
            lambda: cr.defop("f", np.sin, lambda z: z),
            "a rule for x of f that names z; expected",
        ),
        (
            lambda: cr.defop("f", lambda x, n: x, lambda x1: x1),
            "names x1; expected .*n, x,",
        ),
        (lambda: cr.defop("f", np.sin), "give a derivative for each input, or kind='zero'"),
        (lambda: cr.defop("tanh", np.tanh, lambda y: 1 - y * y), "got the name 'tanh'"),
        (lambda: cr.defop("f", np.add, lambda: 1, arguments="a b"), "1 rules for 2 inputs"),
        (lambda: cr.defop("f", np.sin, dict), "arguments cannot be read"),
    ],
)
def test_defop_checks_its_rules_when_defined(define, message):
    with pytest.raises(ArgumentError, match=rf"^\[defop\] .*{message}") as caught:
        define()
    assert "at test_control.py" in str(caught.value)


def test_defop_parameters_and_names():
    def decay(x, rate=1.0):
        """Falls."""
        return np.exp(-rate * x)

    op = cr.defop("falling", decay, lambda y, rate: -rate * y)
    assert (op.__name__, op.__doc__) == ("falling", "Falls.")
    cr.check_gradients(lambda x: op(x, rate=2.0), f64([0.5, 1.0]))
    with pytest.raises(ArgumentError, match=r'\[falling\] got 2 inputs; expected 1: x; .*"x1 x2"'):
        op(f64(1.0), 2.0)
    sized = cr.defop(
        "sized",
        lambda a: a + 0,
        lambda g, a_shape, a_dtype: g.reshape(a_shape),
        kind="other",
        arguments="a",
    )
    assert cr.grad(lambda x: sized(x).sum())(f64([1.0, 2.0])).tolist() == [1, 1]
    flat = cr.defop("flat", np.sign, kind="zero")
    assert not flat(cr.Tensor(2.0, requires_grad=True)).requires_grad


def test_defop_cannot_change_or_share_its_inputs():
    def doubled(x):
        x *= 2
        return x

    x = f64([1.0, 2.0])
    with pytest.raises(ArgumentError, match=r"\[doubled\].*read-only"):
        cr.defop("doubled", doubled, lambda: 2.0)(x)
    assert x.tolist() == [1, 2]
    same = cr.defop("same", lambda x: x, lambda: 1.0)(x)
    assert not np.shares_memory(same.numpy(), x.numpy())


def test_defop_defects_name_the_operation():
    x = cr.Tensor(np.ones((2, 3)), requires_grad=True)
    for rule, got in ((lambda x: x[:, :2], r"float64\[2,2\]"), (lambda x: None, "NoneType")):
        bad = cr.defop("bent", lambda x: x + 1, rule)
        with pytest.raises(GradientError, match=rf"^\[bent\] its rule for x gave {got}"):
            bad(x).sum().backward()
    for shape in (lambda: ((), float), lambda x: x.shape, lambda x: 1 / 0):
        bad = cr.defop("sizes", np.sin, lambda g: g, kind="other", shape=shape)
        for call in (bad, cr.compile(bad)):
            with pytest.raises(ChainruleError, match=r"^\[sizes\] its shape rule failed on .*64"):
                call(f64([1.0]))


def test_custom_vjp_refuses_what_it_would_not_give_a_gradient():
    w = cr.Tensor(2.0, requires_grad=True)
    scaled = cr.custom_vjp(lambda x: x * w, lambda g, y, x: (g * 2,))
    with pytest.raises(GradientError, match=r"\[custom_vjp\].*float32\[\] from outside.*pass it"):
        scaled(cr.Tensor(1.0))
    with cr.no_grad():
        assert scaled(cr.Tensor(1.0)).item() == 2
    fixed = cr.custom_vjp(lambda x: x * w.detach(), lambda g, y, x: (g * 2,))
    assert cr.grad(fixed)(cr.Tensor(1.0)).item() == 2


def test_custom_vjp_errors_say_to_fix_the_rule():
    x = f64([1.0, 2.0])
    for rule, got in (
        (lambda g, y, x: (g.sum(),), r"float64\[\] for argument 0"),
        (lambda g, y, x: (1.0,), "float for argument 0"),
        (lambda g, y, x: ((g, g),), "2 cotangents for argument 0"),
        (lambda g, y, x: g, "Tensor"),
    ):
        bad = cr.custom_vjp(lambda x: x * 2, rule)
        with pytest.raises(
            GradientError, match=rf"\[custom_vjp\] its rule gave {got}.*fix the rule"
        ):
            cr.grad(lambda x, bad=bad: bad(x).sum())(x)


def test_wrapped_functions_keep_their_names():
    def block(x):
        """A block."""
        return x * 2

    for made in (cr.checkpoint(block), cr.custom_vjp(block, lambda g, y, x: (g * 2,))):
        assert (made.__name__, made.__doc__) == ("block", "A block.")


def test_check_gradients_refuses_what_it_cannot_check():
    x = f64([1.0, 2.0])
    for f, arguments, message in (
        (lambda n: n * 2.0, (cr.Tensor([1, 2]),), r"no floating argument \(int64\[2\]\); expected"),
        (lambda: cr.ones(2), (), "no floating argument .none at all"),
        (lambda x: x > 1, (x,), r"no floating result \(bool\[2\]\)"),
        (lambda x: x[:0], (x,), "no floating result"),
        (lambda x: x * cr.random.uniform((2,)), (x,), "is not deterministic.*seed the random"),
        (lambda t: (x * x).sum(), (x,), "a result that none of the arguments changes"),
        (lambda t: (t * 2).astype(cr.float32), (x,), r"float32\[2\] from float64 arguments"),
    ):
        with pytest.raises(GradientError, match=rf"\[check_gradients\].*{message}") as caught:
            cr.check_gradients(f, *arguments)
        assert "at test_control.py" in str(caught.value)


def test_check_gradients_takes_functions_that_are_flat_around_the_arguments():
    cr.check_gradients(cr.relu, f64([-3.0, -0.1]))
    cr.check_gradients(lambda x: cr.clip(x, 0.0, 1.0), f64([5.0]))
    cr.check_gradients(cr.floor, f64([1.5]))


def test_check_gradients_says_what_it_compared():
    wrong = cr.custom_vjp(lambda x: x * x, lambda g, y, x: (g * x,))
    with pytest.raises(GradientError, match=r"⟨v, Jᵀu⟩ of random v and u.*difference 2e-06") as e:
        cr.check_gradients(wrong, f64([1.0, 2.0]))
    assert "at test_control.py" in str(e.value)


def test_errors_inside_a_loop_name_the_operation_and_its_line():
    def body(c, k):
        return c, cr.asarray(2) ** k  # the line in the body

    with pytest.raises(ArgumentError, match=r"\[power\].*\n  at test_control.*line in the body"):
        cr.scan(body, f64(0.0), cr.Tensor([1, -1]))


@pytest.mark.parametrize(
    ("body", "got"),
    [
        (lambda c, x: c + x, "a Tensor"),
        (lambda c, x: (c, x, x), "3 values"),
        (lambda c, x: None, "a NoneType"),
    ],
)
def test_scan_says_what_its_body_returns(body, got):
    with pytest.raises(cr.ChainruleError, match=rf"the body gave {got}; .*return \(carry, y\)"):
        cr.scan(body, cr.zeros(()), cr.ones(3))


@pytest.mark.parametrize("rule", [lambda g: (g,), lambda g, y, x, z: (g,), lambda *, g: (g,)])
def test_a_rule_of_other_arguments_says_which_it_gets(rule):
    double = cr.custom_vjp(lambda x: x * 2, rule)
    with pytest.raises(GradientError, match=r"\[custom_vjp\] got the rule .* def rule\(g, y, x0\)"):
        cr.grad(lambda x: double(x).sum())(cr.ones(3))


@pytest.mark.parametrize("given", [(3, lambda g, y, x: (g,)), (lambda x: x, None)])
def test_a_rule_is_a_function_with_a_function(given):
    with pytest.raises(ArgumentError, match=r"\[custom_vjp\] got .* expected a function"):
        cr.custom_vjp(*given)
