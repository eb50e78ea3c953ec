"""grad, vjp, jvp, jacobian, hessian, hvp: against closed forms and float64 differences."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import ArgumentError, DtypeError, GradientError, ShapeError


def f64(x):
    return cr.Tensor(x, dtype=cr.float64)


FOUR_DEEP = {
    # f, and its fourth derivative by hand
    "sin": (cr.sin, np.sin),
    "exp(2x)": (lambda x: cr.exp(2 * x), lambda x: 16 * np.exp(2 * x)),
    "x^5": (lambda x: x**5, lambda x: 120 * x),
    "1/x": (lambda x: 1 / x, lambda x: 24 / x**5),
    "log": (cr.log, lambda x: -6 / x**4),
    "x sin x": (lambda x: x * cr.sin(x), lambda x: x * np.sin(x) - 4 * np.cos(x)),
    "tanh": (
        cr.tanh,
        lambda x: (t := np.tanh(x), (1 - t * t) * (16 * t - 24 * t**3))[1],
    ),
    "sqrt": (cr.sqrt, lambda x: -15 / 16 * x**-3.5),
}


@pytest.mark.parametrize("name", FOUR_DEEP)
@pytest.mark.parametrize("x", [0.3, 1.7])
def test_four_derivatives_deep(name, x):
    f, fourth = FOUR_DEEP[name]
    d = cr.grad(cr.grad(cr.grad(cr.grad(f))))
    assert d(f64(x)).item() == pytest.approx(fourth(x), rel=1e-12)


def network(w1, b1, w2, x):
    return (cr.tanh(x @ w1 + b1) @ w2).sum()


def test_hessian_of_a_small_network_agrees_with_differences():
    rng = np.random.default_rng(0)
    x, b1, w2 = rng.normal(size=(5, 3)), rng.normal(size=4), rng.normal(size=(4, 2))
    w1 = rng.normal(size=(3, 4))

    def loss(w):
        return network(w, b1, w2, x)

    found = cr.hessian(loss)(f64(w1)).numpy()

    def gradient(w):  # the chain rule by hand, in NumPy
        h = np.tanh(x @ w + b1)
        return x.T @ ((np.ones((5, 2)) @ w2.T) * (1 - h * h))

    step = 1e-6
    for i, j in np.ndindex(*w1.shape):
        e = np.zeros_like(w1)
        e[i, j] = step
        column = (gradient(w1 + e) - gradient(w1 - e)) / (2 * step)
        np.testing.assert_allclose(found[:, :, i, j], column, rtol=1e-7, atol=1e-8)
    v = rng.normal(size=w1.shape)
    product = cr.hvp(loss, (f64(w1),), (f64(v),))[0].numpy()
    np.testing.assert_allclose(product, np.tensordot(found, v, 2), rtol=1e-12)


def test_derivative_is_with_respect_to_the_argument_alone():
    x = f64(3.0)
    assert cr.grad(lambda y: y * x)(x).item() == 3  # the x outside is a constant
    assert cr.grad(lambda x: x * cr.grad(lambda y: x + y)(f64(1.0)))(x).item() == 1
    assert cr.grad(lambda x: x * cr.grad(lambda y: x * y)(f64(1.0)))(x).item() == 6


def test_gradients_reach_parameters_through_grad():
    w = cr.Tensor([2.0, 3.0], requires_grad=True)
    inner = cr.grad(lambda x: (w * x * x).sum())(cr.Tensor([1.0, 1.0]))
    (inner * inner).sum().backward()  # (2 w x)² -> 8 w x²
    assert w.grad.tolist() == [16, 24]
    assert not cr.grad(lambda x: (x * x).sum())(cr.Tensor([1.0])).requires_grad


def test_plain_arguments_give_plain_results():
    x = f64([1.0, 2.0])
    results = [
        *cr.value_and_grad(lambda x: (x * x).sum())(x),
        cr.vjp(cr.sin, x)[0],
        *cr.jvp(cr.sin, (x,), (x,)),
        cr.hvp(lambda x: (x * x).sum(), (x,), (x,))[0],
        cr.jacobian(cr.sin)(x),
        cr.hessian(lambda x: (x * x).sum())(x),
    ]
    assert not any(t.requires_grad for t in results)


def test_nested_structures():
    params = {"w": [f64(2.0), f64(3.0)], "b": (f64(1.0),)}
    value, g = cr.value_and_grad(lambda p: p["w"][0] * p["w"][1] + p["b"][0] * 5)(params)
    assert value.item() == 11
    assert g["w"][0].item() == 3
    assert g["w"][1].item() == 2
    assert g["b"][0].item() == 5
    a, b = cr.grad(lambda x, y: x * y, argnums=(0, 1))(f64(2.0), f64(7.0))
    assert (a.item(), b.item()) == (7, 2)
    gradient, extra = cr.grad(lambda x: (x * x, "extra"), has_aux=True)(f64(2.0))
    assert (gradient.item(), extra) == (4, "extra")


def test_an_argument_that_is_not_used_has_gradient_zero():
    with pytest.warns(UserWarning, match="does not use its argument 0") as caught:
        assert cr.grad(lambda x: f64(1.0))(f64(2.0)).item() == 0
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="does not use its argument 1"):
        cr.grad(lambda x, y: x, argnums=(0, 1))(f64(2.0), f64(1.0))
    assert cr.jacobian(lambda x: cr.ones(3, dtype=cr.float64))(f64([1.0, 2.0])).shape == (3, 2)


@given(st.integers(0, 2**32 - 1))
def test_jvp_and_vjp_are_transposes(seed):
    rng = np.random.default_rng(seed)
    x, v, u = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3,))

    def f(x):
        return cr.logsumexp(cr.sin(x) * x, axis=1) + cr.max(x, axis=1) * cr.prod(x, axis=1)

    _, forward = cr.jvp(f, (f64(x),), (f64(v),))
    _, back = cr.vjp(f, f64(x))
    (reverse,) = back(f64(u))
    assert (forward.numpy() @ u) == pytest.approx((reverse.numpy() * v).sum(), rel=1e-10, abs=1e-12)


def test_jacobian_by_hand():
    j = cr.jacobian(lambda x: cr.stack([x[0] * x[1], cr.sin(x[2]), x.sum()]))(f64([2.0, 3.0, 0.5]))
    np.testing.assert_allclose(j.numpy(), [[3, 2, 0], [0, 0, math.cos(0.5)], [1, 1, 1]], rtol=1e-15)


def test_errors():
    with pytest.raises(ShapeError, match=r"\[grad\].*one floating scalar"):
        cr.grad(lambda x: x)(f64([1.0, 2.0]))
    with pytest.raises(DtypeError, match=r"\[grad\] got an argument int64"):
        cr.grad(lambda x: x)(cr.Tensor(1))
    with pytest.raises(GradientError, match=r"\[vjp\] got a cotangent"):
        cr.vjp(lambda x: x * 2, f64([1.0, 2.0]))[1](f64([1.0]))
    wrong = cr.custom_vjp(lambda x: x * x, lambda g, y, x: (g * x,))
    with pytest.raises(GradientError, match=r"\[check_gradients\].*central differences"):
        cr.check_gradients(wrong, f64([1.0, 2.0]))


def test_check_gradients_accepts_what_is_right():
    cr.check_gradients(
        network, *(np.random.default_rng(1).normal(size=s) for s in ((3, 4), (4,), (4, 2), (5, 3)))
    )
    cr.check_gradients(lambda p: cr.exp(p["a"]) * p["b"], {"a": f64([1.0, 2.0]), "b": f64(3.0)})


def test_a_second_derivative_that_is_zero_is_no_mistake():
    assert cr.grad(cr.grad(lambda x: 2 * x))(f64(1.0)).item() == 0
    assert cr.hessian(lambda x: 2 * x.sum())(f64([1.0, 2.0])).numpy().tolist() == [[0, 0], [0, 0]]


LEAVING = {
    "float": lambda x: x * float(x),
    "int": lambda x: x * int(x),
    "item": lambda x: x * x.item(),
    "numpy": lambda x: x * cr.Tensor(x.numpy()),
    "NumPy's asarray": lambda x: x * np.asarray(x),
    "tolist": lambda x: x * x.tolist(),
    "math": lambda x: x * math.sin(x),
    "of what was computed": lambda x: x * math.exp(cr.sin(x)),
    "Tensor": lambda x: x * cr.Tensor(x),
    "a list": lambda x: (x * cr.Tensor([x, x])).sum(),
    "bool": lambda x: x if x else -x,
}


@pytest.mark.parametrize("name", LEAVING)
@pytest.mark.parametrize(
    "transform",
    [
        cr.grad,
        cr.value_and_grad,
        cr.jacobian,
        cr.hessian,
        lambda f: lambda x: cr.vjp(f, x),
        lambda f: lambda x: cr.jvp(f, x, x),
        lambda f: lambda x: cr.hvp(f, x, x),
    ],
)
def test_a_value_that_leaves_while_it_is_differentiated(name, transform):
    with pytest.raises(GradientError, match=r"derivative would stop here.*detach\(\)"):
        transform(LEAVING[name])(f64(3.0))


def test_values_may_leave_where_no_derivative_goes():
    w, seen = cr.Tensor(2.0, cr.float64, requires_grad=True), []

    def f(x):
        seen.append(float(w) + float(w * w))  # no variable of this derivative
        seen.append(x.detach().item())
        with cr.no_grad():
            seen.append((x * x).item())
        assert f"{x} {x:.1f}" == f"{x!r} 3.0"
        assert 3.0 in x.reshape(1)
        return x * x if x > 1 else x

    x = f64(3.0)
    assert cr.grad(f)(x).item() == 6
    assert seen == [6, 3, 9]
    value, back = cr.vjp(f, x)
    assert float(value) == 9
    assert float(back(f64(1.0))[0]) == 6
    with pytest.raises(GradientError, match="would stop"):  # the outer derivative goes through it
        cr.grad(lambda x: cr.grad(lambda y: y * float(x))(f64(1.0)))(x)
    with pytest.raises(GradientError, match="would stop"):
        cr.grad(lambda x: x * float(x))(x)
    assert float(w * w) == 4, "an error leaves nothing behind"


def test_one_tensor_is_one_argument():
    x, t = f64([1.0, 2.0]), f64([1.0, 0.5])

    def f(x):
        return (x**3).sum()

    value, along = cr.jvp(f, x, t)
    assert (value.item(), along.item()) == (9, 3 * 1 + 12 * 0.5)
    assert cr.hvp(f, x, t).tolist() == [6, 6]
    assert cr.hvp(f, (x,), (t,))[0].tolist() == [6, 6]
    for transform in (cr.jvp, cr.hvp):
        with pytest.raises(ArgumentError, match=r"one tensor as arguments and several as tangents"):
            transform(f, x, (t,))
        with pytest.raises(ArgumentError, match=r"one tensor as tangents and several as arguments"):
            transform(f, (x,), t)


def test_what_is_differentiated():
    layer = cr.nn.Linear(1, 1)
    with pytest.raises(DtypeError, match=r"module Linear.*loss\.backward\(\)"):
        cr.grad(lambda m: m(cr.ones((1, 1))).sum())(layer)
    x = cr.Tensor(2.0, requires_grad=True)
    with pytest.raises(ArgumentError, match=r"\[grad\] got a tensor.*y\.backward\(\)"):
        cr.grad(x * x, x)
    for make in (cr.jacobian, cr.hessian, lambda y: cr.vjp(y, x), lambda y: cr.jvp(y, x, x)):
        with pytest.raises(ArgumentError, match="got a tensor float32"):
            make(x * x)


@pytest.mark.parametrize("transform", [cr.grad, cr.value_and_grad, cr.jacobian, cr.hessian])
@pytest.mark.parametrize("argnums", ["x", "", None, True, 1.0, [0.5], ["x"], {0: 1}])
def test_argnums_that_are_no_places_are_named(transform, argnums):
    name = transform.__name__
    with pytest.raises(ArgumentError, match=rf"\[{name}\] got argnums=.* counted from 0"):
        transform(lambda x: x.sum(), argnums=argnums)


def test_a_hessian_is_by_one_argument():
    with pytest.raises(ArgumentError, match=r"\[hessian\] got argnums=\(0, 1\)"):
        cr.hessian(lambda x, y: (x * y).sum(), (0, 1))


@pytest.mark.parametrize("transform", [cr.jvp, cr.hvp])
def test_tangents_that_do_not_fit_are_named(transform):
    x, name = f64([1.0, 2.0]), transform.__name__
    for tangent in (cr.ones(2), cr.ones(3, dtype=cr.float64)):
        words = rf"\[{name}\] got tangents float.*; expected one like each argument: float64\[2\];"
        with pytest.raises(ShapeError, match=words):
            transform(lambda x: (x * x).sum(), x, tangent)
    with pytest.raises(ShapeError, match=rf"\[{name}\] got tangents of another structure"):
        transform(lambda x: (x * x).sum(), (x,), (x, x))
    with pytest.raises(ArgumentError, match=rf"\[{name}\] got NoneType as tangents"):
        transform(lambda x: (x * x).sum(), (x,), None)
    with pytest.raises(ArgumentError, match=rf"\[{name}\] got int"):
        transform(3, x, x)
