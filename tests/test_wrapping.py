"""Functions made from other functions: what they take over, how they are copied, what they see."""

import copy
import functools
import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError

X = np.array([1.0, 2.0], np.float32)
TRANSFORMS = {
    "compile": cr.compile,
    "grad": cr.grad,
    "value_and_grad": cr.value_and_grad,
    "jacobian": cr.jacobian,
    "hessian": cr.hessian,
    "checkpoint": cr.checkpoint,
    "custom_vjp": lambda f: cr.custom_vjp(f, lambda g, y, x: (g * 5 * x,)),
}


def own_names():
    """The names of everything that an object made by a transform has."""
    made = cr.compile(cr.grad(lambda x: x.sum()))
    found = {"__wrapped__", "__name__", "__doc__", "row", "parts", "inside", "graph"}
    for kind in type(made).__mro__:
        found |= set(getattr(kind, "__slots__", ())) - {"__dict__", "__weakref__"}
    return sorted(found)


class Cubes:
    """A callable with attributes of all names that ours have."""

    def __init__(self):
        for name in own_names():
            setattr(self, name, lambda *args: 1 / 0)
        self.scale = 3.0

    def __call__(self, x):
        return (self.scale * x**3).sum()


def as_lists(result):
    return [as_lists(r) for r in result] if isinstance(result, tuple) else result.tolist()


@pytest.mark.parametrize("outer", TRANSFORMS)
def test_a_callable_may_have_attributes_of_any_name(outer):
    plain = TRANSFORMS[outer](lambda x: (3.0 * x**3).sum())
    x = cr.Tensor(X)
    made = TRANSFORMS[outer](Cubes())
    assert as_lists(made(x)) == as_lists(plain(x))
    assert as_lists(cr.compile(made)(x)) == as_lists(plain(x))


def test_a_module_may_keep_a_lock():
    class Locked(nn.Module):
        def __init__(self):
            self.inner, self._lock = nn.Linear(2, 2), threading.Lock()

        def forward(self, x):
            with self._lock:
                return self.inner(x)

    model = Locked()
    np.testing.assert_array_equal(cr.compile(model)(X), model.inner(cr.Tensor(X)))


def decorated(f):
    @functools.wraps(f)
    def twice(*args):
        return 2 * f(*args)

    return twice


class Decorated:
    """A decorator that is an object, whose own attributes are called like ours."""

    def __init__(self, f):
        self._function, self._steps, self.factor = f, 2, 1.0
        functools.update_wrapper(self, f)

    def __call__(self, *args):
        return self._steps * self.factor * self._function(*args)


@pytest.mark.parametrize("decorator", [decorated, Decorated])
@pytest.mark.parametrize("inner", ["compile", "checkpoint", "custom_vjp"])
def test_a_decorator_around_a_transform_is_not_lost(decorator, inner):
    f = TRANSFORMS[inner](lambda x: (x**3).sum())
    wrapped = decorator(f)
    assert wrapped(cr.Tensor(X)).item() == cr.compile(wrapped)(X).item() == 18
    slope = cr.compile(cr.grad(wrapped))(X).tolist()
    assert slope == ([10.0, 20.0] if inner == "custom_vjp" else [6.0, 24.0])


def test_what_a_decorator_reads_is_seen_through_every_wrapper():
    outer = Decorated(cr.checkpoint(lambda x: x.sum()))
    f = cr.compile(cr.value_and_grad(cr.compile(outer)))
    assert f(X)[0].item() == 6
    outer.factor = 10.0
    assert f(X)[0].item() == 60


@pytest.mark.parametrize("outer", [n for n in TRANSFORMS if n not in ("grad", "hessian")])
@pytest.mark.parametrize("inner", ["compile", "checkpoint"])
def test_the_object_of_a_wrapped_method_is_seen(outer, inner):
    class Scaled:
        def __init__(self):
            self.scale = 2.0

        def method(self, x):
            return (self.scale * x).sum()

    thing = Scaled()
    f = cr.compile(TRANSFORMS[outer](TRANSFORMS[inner](thing.method)))
    before, thing.scale = f(X), 4.0
    after = f(X)
    before, after = (r[0] if isinstance(r, tuple) else r for r in (before, after))
    assert after.tolist() == (2 * before).tolist()


def test_settings_that_are_like_a_module_are_seen():
    settings = SimpleNamespace(scale=2.0, named_parameters=None)
    f = cr.compile(lambda x: (settings.scale * x).sum())
    assert f(X).item() == 6
    settings.scale = 4.0
    assert f(X).item() == 12


class Keeps(nn.Module):
    """A module that keeps functions made of its own methods."""

    def __init__(self):
        self.inner = nn.Linear(2, 1)
        self.step = cr.compile(self.loss)
        self.again = cr.compile(self.whole)
        self.checkpointed = cr.checkpoint(self.loss)
        self.slope = cr.compile(cr.grad(self.loss))
        self.rule = cr.custom_vjp(self.plain, self.backward)

    def forward(self, x):
        return self.inner(x)

    def loss(self, x):
        return self(x).sum()

    @cr.compile
    def whole(self, x):
        return self(x).sum()

    def plain(self, x):
        return (x * self.inner.weight.detach()[0]).sum()

    def backward(self, g, y, x):
        return (g * self.inner.weight.detach()[0],)

    def all(self, x):
        x = cr.Tensor(x)
        found = self.step(x), self.again(x), self.whole(x), self.checkpointed(x), self.slope(x)
        return [f.numpy().copy() for f in (*found, self.rule(x), cr.grad(self.rule)(x))]


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copied_module_calls_its_own_methods(way):
    model = Keeps()
    before = model.all(X)
    other = COPIES[way](model)
    with cr.no_grad():
        other.inner.weight *= 2
        other.inner.bias *= 2
    for one, two in zip(model.all(X), other.all(X), strict=True):
        np.testing.assert_allclose(two, 2 * one, rtol=1e-6)
    for one, two in zip(before, model.all(X), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("way", COPIES)
def test_a_function_is_copied_with_the_module_that_keeps_it(way):
    step = COPIES[way](Keeps().step)
    model = step.parts[0].__self__
    assert model.step is step
    with cr.no_grad():
        model.inner.weight *= 0
        model.inner.bias *= 0
    assert step(X).item() == 0


@cr.compile
def at_the_top(x):
    return (x * x).sum()


slope = cr.grad(at_the_top)


def test_functions_that_have_a_name_are_pickled_by_it():
    assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top
    assert pickle.loads(pickle.dumps(slope))(cr.Tensor(X)).tolist() == [2.0, 4.0]
    assert pickle.loads(pickle.dumps(Keeps.whole)) is Keeps.whole


def test_a_function_without_a_name_cannot_be_pickled():
    with pytest.raises(ArgumentError, match=r"\[pickle\] got .*<lambda>.*def at the top"):
        pickle.dumps(cr.compile(lambda x: x))


def test_a_shallow_copy_is_another_function():
    twin = copy.copy(at_the_top)
    assert twin is not at_the_top
    assert twin(X).item() == 5


def test_a_transform_of_a_function_is_a_method_like_it():
    class Thing:
        scale = 3.0

        def loss(self, x):
            return (self.scale * x**2).sum()

        slope = cr.grad(loss, argnums=1)

    assert Thing().slope(cr.Tensor(X)).tolist() == [6.0, 12.0]


def test_arguments_may_be_called_self():
    f = cr.compile(lambda self, x: self * x)
    assert f(self=X, x=X).tolist() == [1.0, 4.0]
    assert cr.grad(lambda x, self: (self * x).sum())(cr.Tensor(X), self=cr.Tensor(X)).tolist() == [
        1.0,
        2.0,
    ]
