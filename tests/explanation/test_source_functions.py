"""The user's own operations in emitted source: their meaning as it is written, with all it uses."""

import functools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError
from sources import agrees, agrees_with_eager, emitted, run

RATE = 0.5
TABLE = (1.0, 0.25)
WEIGHTS = np.array([0.5, 2.0])


def x():
    return cr.Tensor(np.random.default_rng(0).normal(size=(3, 2)))


cube, fourth = cr.defop("cube", lambda x: x**3, lambda x: 3 * x * x), cr.defop("fourth", lambda x: x**4, lambda x: 4 * x**3)  # fmt: skip # noqa: E501


def test_one_of_two_lambdas_in_a_line():
    source = agrees_with_eager(lambda x: (cube(x) * fourth(x)).sum(), x())
    assert "def cube(x):\n    return x**3\n" in source
    assert "def fourth(x):\n    return x**4\n" in source


def scaled(values, factor):
    """A function that another one uses."""
    return values * factor * TABLE[1]


def test_a_function_with_all_that_it_uses():
    shift = 0.1

    def decayed(x: np.ndarray, rate: float = RATE) -> np.ndarray:
        # a comment stays
        parts: list[np.ndarray] = [np.exp(-rate * x)]
        return scaled(parts[0], math.tau) + shift + WEIGHTS[0]

    decay = cr.defop("decay", decayed, lambda x, rate: -rate * math.tau * 0.25 * cr.exp(-rate * x))
    source = agrees_with_eager(lambda x: (decay(x, rate=2.0) ** 2).sum(), x())
    for text in (
        "import math",
        "shift = 0.1",
        "WEIGHTS = np.array([0.5, 2], np.float64)",
        "def decay(x, rate=RATE):",
        "    # a comment stays",
        "def scaled(values, factor):",
        "RATE = 0.5",
        "TABLE = (1.0, 0.25)",
    ):
        assert text in source


def test_defaults_keep_the_values_that_they_had():
    def build(k):
        return cr.defop(
            f"power{k}",
            lambda x, power=k, *, scale=2 * RATE: scale * x**power,
            lambda x: k * x ** (k - 1),
        )

    second, third = build(2), build(3)
    source = agrees_with_eager(lambda x: (second(x) + third(x)).sum(), x())
    assert {"k = 3", "k_2 = 2"} <= {*source.splitlines()}


# fmt: off
def short(x): y = np.sin(x) * 3; return y  # noqa: E702
def long(ä,
         shift=(0.5,)): return (ä * shift[0] +
                                helped(ä))
def helped(x): return x * x


# fmt: on
def test_definitions_whose_body_stands_behind_the_header():
    sine = cr.defop("mysin", short, lambda x: 3 * cr.cos(x))
    other = cr.defop("other", long, lambda x: 0.5 + 2 * x)
    source = agrees_with_eager(lambda x: (sine(x) * other(x)).sum(), x())
    assert "def mysin(x): y = np.sin(x) * 3; return y" in source


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("my-op", "my_op"),
        ("class", "class_"),
        ("mk2.0", "mk2_0"),
        ("2x", "operation_2x"),
        ("x²", "x2"),
        ("range", "range_2"),
        ("arrays", "arrays_2"),
        ("loss_and_gradients", "loss_and_gradients_2"),
        ("a\n:b", "a_b"),
        ("sigmoid!", "sigmoid_2"),
    ],
)
def test_operations_whose_names_are_none_in_python(name, written):
    def meaning(x):
        return x * 2

    double = cr.defop(name, meaning, lambda x: 2 + 0 * x)
    source = agrees_with_eager(lambda x: (double(x) * cr.sigmoid(x)).sum(), x())
    assert f"def {written}(x):" in source


def test_a_function_of_numpy():
    root = cr.defop("cube_root", np.cbrt, lambda y: 1 / (3 * y * y))
    source = agrees_with_eager(lambda x: root(x).sum(), x())
    assert "np.cbrt(x)" in source


def test_two_functions_of_one_name_are_two():
    def build(name, power):
        def part(x):
            return x**power

        return cr.defop(name, lambda x: part(x) * 2, lambda x: 2 * power * x ** (power - 1))

    second, third = build("second", 2), build("third", 3)
    agrees_with_eager(lambda x: (second(x) + third(x)).sum(), x())


def test_a_name_of_ours_is_no_obstacle():
    def sigmoid(x):
        return x * 2

    def convolution(x):
        return sigmoid(x) + 1

    twice = cr.defop("twice", lambda x: convolution(x), lambda x: 2 + 0 * x)
    agrees_with_eager(lambda x: (twice(x) * cr.sigmoid(x)).sum(), x())


def test_parameters_and_several_inputs():
    def mixed(a, b, shape, axis):
        return (a @ b).sum(axis=axis).reshape(shape)

    mix = cr.defop(
        "mix",
        mixed,
        lambda g, b, a_shape: cr.broadcast_to(g[:, None] @ b.sum(axis=1)[None], a_shape),
        lambda g, a, b_shape: cr.broadcast_to((a * g[:, None]).sum(axis=0)[:, None], b_shape),
        kind="other",
        shape=lambda a, b, shape, axis: (shape, a.dtype),
        arguments="a b",
    )
    y = cr.Tensor(np.random.default_rng(1).normal(size=(2, 4)))
    agrees_with_eager(lambda a, b: (mix(a, b, shape=(3,), axis=1) ** 2).sum(), x(), y)


CONSTANT = 3.0


def test_a_constant_of_the_users_stays_as_it_is():
    triple = cr.defop("triple", lambda x: x * CONSTANT, lambda x: 3 + 0 * x)
    table = cr.Tensor(np.random.default_rng(1).normal(size=(3, 2)))
    agrees_with_eager(lambda x: (triple(x) * np.asarray(table)).sum(), x())


def decorated(function):
    @functools.wraps(function)
    def inner(*xs):
        return function(*xs)

    return inner


@decorated
def doubled(x):
    return 2 * x


class Scale:
    def __call__(self, x):
        return 2 * x


SCALE, LARGE = Scale(), np.zeros(5000)


@pytest.mark.parametrize(
    ("meaning", "arrived"),
    [
        (doubled, "doubled, which has a decorator"),
        (lambda x: SCALE(x), "SCALE, a value of type Scale"),
        (lambda x: x + LARGE[0], "LARGE, an array of 5000 elements"),
        (lambda x: cr.exp(cr.Tensor(x)).numpy() * 0 + 2 * x, "cr, which is chainrule"),
        (eval("lambda x: 2 * x"), "<lambda>, whose source cannot be read"),
        (Scale(), "Scale"),
    ],
)
def test_what_cannot_be_brought_along_is_an_error(meaning, arrived):
    double = cr.defop("double", meaning, lambda x: 2 + 0 * x)
    with pytest.raises(ArgumentError, match=r"\[explain\] got .*operation double") as caught:
        emitted(lambda x: double(x).sum(), x())
    assert arrived in str(caught.value)


def test_what_numpy_has_not_is_an_error():
    w = cr.Tensor(np.ones(3, np.float32)).astype(cr.bfloat16)
    w.requires_grad = True
    with pytest.raises(ArgumentError, match=r"got values of dtype bfloat16; expected .*; convert"):
        emitted(lambda: (w * w).sum().astype(cr.float32))


def test_half_precision_is_computed():
    w = cr.Tensor(np.ones(3, np.float16), requires_grad=True)
    loss, gradients = run(*emitted(lambda: (w * w).sum()))
    agrees(loss, np.float16(3))
    agrees(gradients["w"], np.full(3, 2, np.float16))


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────


def test_a_product_with_more_axes_than_the_graph_has_is_turned():
    w, r = (cr.Tensor(np.random.default_rng(k).normal(size=(3, 3))) for k in range(2))
    w.requires_grad = True

    def f(r):
        y = cr.sin(r @ w.T)
        total = cr.reshape(y, (1, 1, 3, 3))[:, :, :1].sum(axis=1)
        return (cr.tanh(y + cr.reshape(total, (1, 3))) ** 2).mean()

    source, arrays = emitted(f, r)
    f(r).backward()
    agrees(run(source, arrays)[1]["w"], w.grad.numpy())


def test_a_sum_with_a_column_is_no_column():
    w, v = (cr.Tensor(x().numpy(), requires_grad=True) for _ in range(2))
    r = cr.Tensor([2.0, 3.0], dtype=cr.float64)

    def product(r):
        return ((w[:, :1] + v[:, 0].reshape((3, 1))) @ r.reshape((1, 2))).sum()

    source, arrays = emitted(product, r)
    agrees(run(source, arrays)[0], product(r).detach().numpy())
    w = cr.Tensor([[1.0], [2.0], [3.0]], requires_grad=True, dtype=cr.float64)
    v = cr.Tensor([1.0, 2.0, 3.0], requires_grad=True, dtype=cr.float64)
    source, arrays = emitted(lambda r: ((w + v.reshape((3, 1))) @ r.reshape((1, 2))).sum(), r)
    agrees(run(source, arrays)[0], np.array(60.0))  # (2 + 4 + 6) (2 + 3)
