"""Every transform of functions inside every other, two and three deep, against the plain result.

Along a line, φ(t) = f(x + t v), every transform here is a small calculation with φ's derivatives:
a gradient times v is φ', a Hessian between v and v is φ''. Those of φ come from Cauchy's integral
formula, by f written again with NumPy for complex numbers; so nothing of chainrule is in what is
expected.
"""

import functools
import itertools
import math
import threading

import numpy as np
import pytest

import chainrule as cr

V = np.array([0.6, -0.8])  # the direction
X = np.array([0.3, 0.5])
ORDER = 6  # three Hessians

rng = np.random.default_rng(3)
W1, B1, W2 = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(3, 2))
IMAGES, KERNEL = rng.normal(size=(2, 1, 3, 3, 1)), rng.normal(size=(2, 2, 1, 2))
INPUTS, A = rng.normal(size=(3, 2)), 0.7


# ── the functions, and the same with NumPy ───────────────────────────────────────────────────────


class MLP:
    """A callable with attributes that are called like those of compiled functions."""

    def __init__(self):
        self._function = self._used = self._fast = self.parts = lambda x: 1 / 0
        self._steps, self._lock = 2.0, threading.Lock()

    def __call__(self, x):
        with self._lock:
            return (cr.tanh(cr.sin(x @ W1 + B1) @ W2) ** self._steps).sum()


def mlp_by_hand(x):
    return (np.tanh(np.sin(x @ W1 + B1) @ W2) ** 2).sum()


def convolution(x):
    image = x[0] * IMAGES[0] + x[1] * IMAGES[1]
    return cr.exp(cr.sin(cr.convolution(image, cr.Tensor(KERNEL)))).mean()


def convolution_by_hand(x):
    image = x[0] * IMAGES[0] + x[1] * IMAGES[1]
    out = [
        (image[0, i : i + 2, j : j + 2, :, None] * KERNEL).sum((0, 1, 2))
        for i, j in itertools.product(range(2), range(2))
    ]
    return np.exp(np.sin(out)).mean()


def loop(x):
    def body(h, row):
        h = cr.tanh(A * h + x * row)
        return h, (h * h).sum()

    last, each = cr.scan(body, x, cr.Tensor(INPUTS))
    return last.sum() + each.sum()


def loop_by_hand(x):
    h, total = x, 0
    for row in INPUTS:
        h = np.tanh(A * h + x * row)
        total = total + (h * h).sum()
    return h.sum() + total


FUNCTIONS = {
    "mlp": (MLP(), mlp_by_hand),
    "convolution": (convolution, convolution_by_hand),
    "scan": (loop, loop_by_hand),
}


@functools.cache
def slopes(name):
    """φ and its derivatives at 0, in float64 to about 1e-12."""
    count, radius = 64, 0.25
    turns = np.exp(2j * np.pi * np.arange(count) / count)
    values = np.array([FUNCTIONS[name][1](X + radius * t * V) for t in turns])
    found = [(values * turns**-k).mean() for k in range(ORDER + 1)]
    return np.array([math.factorial(k) * c.real / radius**k for k, c in enumerate(found)])


# ── the transforms ───────────────────────────────────────────────────────────────────────────────
#
# Each makes a scalar function of x from another one. A function is known by two polynomials in the
# derivative D: p(D) φ, and q(D) φ through which no derivative goes.


def along(g):
    return (g * V).sum()


def scanned(f):
    def looped(x):
        def body(carry, _):
            total, same = carry
            return (0.5 * total + f(same), same), None

        return cr.scan(body, (cr.zeros((), dtype=cr.float64), x), length=2)[0][0]

    return looped


def wrapped(f):
    @functools.wraps(f)
    def doubled(x):
        return 2 * f(x)

    return doubled


def with_value(f):
    def both(x):
        value, slope = cr.value_and_grad(f)(x)
        return value + along(slope)

    return both


def pulled(f):
    def both(x):
        value, back = cr.vjp(f, x)
        return value + along(back(cr.ones((), dtype=cr.float64))[0])

    return both


def ruled(f):
    return cr.custom_vjp(f, lambda g, y, x: (g * cr.grad(f)(x),))


def half_recorded(f):
    return lambda x: f(x) + cr.no_grad()(f)(x)


ONE, D = np.polynomial.Polynomial([1.0]), np.polynomial.Polynomial([0.0, 1.0])


def linear(factor):
    return lambda p, q: (factor * p, 0 * q if factor.degree() else factor * q)


def valued(p, q):
    return p + D * p, q


TRANSFORMS = {
    "compile": (cr.compile, linear(ONE)),
    "grad": (lambda f: lambda x: along(cr.grad(f)(x)), linear(D)),
    "value_and_grad": (with_value, valued),
    "vjp": (pulled, valued),
    "jvp": (lambda f: lambda x: cr.jvp(f, x, cr.Tensor(V))[1], linear(D)),
    "jacobian": (lambda f: lambda x: along(cr.jacobian(f)(x)), linear(D)),
    "hessian": (lambda f: lambda x: along(cr.hessian(f)(x) @ V), linear(D * D)),
    "hvp": (lambda f: lambda x: along(cr.hvp(f, x, cr.Tensor(V))), linear(D * D)),
    "checkpoint": (cr.checkpoint, linear(ONE)),
    "custom_vjp": (ruled, linear(ONE)),
    "scan": (scanned, linear(1.5 * ONE)),
    "no_grad": (half_recorded, lambda p, q: (p, p + 2 * q)),
    "wraps": (wrapped, linear(2.0 * ONE)),
}


def check(name, nest):
    """The transforms of the nest, the last one innermost."""
    made, (p, q) = FUNCTIONS[name][0], (ONE, 0 * ONE)
    for transform in reversed(nest):
        make, change = TRANSFORMS[transform]
        made, (p, q) = make(made), change(p, q)
    terms = np.zeros(ORDER + 1)
    terms[: len((p + q).coef)] = (p + q).coef
    expected, size = (terms * slopes(name)).sum(), np.abs(terms * slopes(name)).sum()
    assert abs(made(cr.Tensor(X)).item() - expected) <= 1e-9 * (size + 1), (name, nest)


def backends(nest):
    """Only a compiled function depends on the backend."""
    return ("native", "reference") if "compile" in nest else ("native",)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("outer", TRANSFORMS)
def test_each_transform_of_each(outer, name, monkeypatch):
    check(name, (outer,))
    for inner in TRANSFORMS:
        for backend in backends((outer, inner)):
            monkeypatch.setenv("CHAINRULE_BACKEND", backend)
            check(name, (outer, inner))


@pytest.mark.parametrize("middle", TRANSFORMS)
@pytest.mark.parametrize("outer", TRANSFORMS)
def test_each_transform_of_each_of_each(outer, middle, monkeypatch):
    places, names = [*TRANSFORMS], [*FUNCTIONS]
    for inner in TRANSFORMS:
        nest = outer, middle, inner
        name = names[sum(map(places.index, nest)) % len(names)]  # each nest of one function
        for backend in backends(nest):
            monkeypatch.setenv("CHAINRULE_BACKEND", backend)
            check(name, nest)
