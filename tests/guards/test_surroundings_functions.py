"""Functions that a compiled function calls: what they read from outside is seen too."""

import functools
import logging
import operator
import sys
from types import SimpleNamespace

import pytest

import chainrule as cr
from chainrule.errors import TraceError

compile_module = sys.modules["chainrule.compile"]


class WithGlobal(cr.nn.Module):
    """Its forward reads a global."""

    def forward(self, x):
        return x * FACTOR


class Reads:
    """Its methods read a global, and an attribute."""

    k = 1.0

    def __call__(self, x):
        return (x * x * FACTOR * self.k).sum()

    def method(self, x):
        return (x * FACTOR * self.k).sum()

    @staticmethod
    def static(x):
        return (x * FACTOR).sum()


def by_global(x):
    return (x * x * FACTOR).sum()


def by_object(o, x):
    return (x * x * o.k * FACTOR).sum()


class Rate:
    """A descriptor that fails on the class itself."""

    def __get__(self, owner, kind=None):
        return {RATED: 2.0}[owner]


class Rated:
    """Has such a descriptor."""

    rate = Rate()

    def __call__(self, x):
        return (x * FACTOR).sum() * self.rate


FACTOR = 1.0
READS = Reads()
RATED = Rated()
COMPILED = cr.compile(READS.method)
MODULE = WithGlobal()
slope = cr.grad(by_global)


@pytest.mark.parametrize("backend_name", ["native", "reference"])
@pytest.mark.parametrize(
    "function",
    [
        MODULE,
        lambda x: MODULE(x),
        READS,
        READS.method,
        lambda x: READS.method(x),
        lambda x: READS.static(x),
        lambda x: Reads.static(x),
        cr.grad(by_global),
        lambda x: slope(x),
        cr.grad(READS),
        cr.grad(READS.method),
        cr.grad(functools.partial(by_object, READS)),
        functools.partial(by_object, READS),
        lambda x: cr.compile(by_global)(x),
        lambda x: COMPILED(x),
        lambda x: RATED(x),
    ],
)
def test_what_functions_inside_read_is_seen(function, backend_name, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
    compiled = cr.compile(function)
    x = cr.Tensor([2.0])
    for factor in (3.0, 4.0):
        for k in (1.0, 5.0):
            monkeypatch.setattr(READS, "k", k)
            monkeypatch.setitem(globals(), "FACTOR", factor)
            assert compiled(x).tolist() == function(x).tolist()


def test_a_partial_function_of_itself():
    def f(*arguments):
        return arguments[-1] * 2

    h = functools.partial(f)
    h.__setstate__((f, (h,), {}, {}))
    assert cr.compile(lambda x: h(x))(cr.Tensor([1.0])).item() == 2


def test_a_global_that_forward_changes_is_refused(monkeypatch):
    class Net(cr.nn.Module):
        def forward(self, x):
            global FACTOR
            FACTOR += 1
            return x * FACTOR

    m, x = Net(), cr.Tensor([1.0])
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    for _ in range(2):
        with pytest.raises(TraceError, match=r"changes FACTOR from 1\.0 to 2\.0"):
            cr.compile(lambda x: m(x))(x)
        assert FACTOR == 1


def test_a_global_of_forward_that_changes_while_it_is_traced_is_seen(monkeypatch):
    """By another thread, when forward has read it; here by a hook."""
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    m, x = WithGlobal(), cr.Tensor([1.0])
    once = iter([5.0])

    def change(module, args, out):
        monkeypatch.setitem(globals(), "FACTOR", next(once, FACTOR))

    m.register_forward_hook(change)
    f = cr.compile(lambda x: m(x))
    with pytest.raises(TraceError, match=r"FACTOR from 1\.0 to 5\.0"):
        f(x)
    monkeypatch.setitem(globals(), "FACTOR", 5.0)
    assert f(x).item() == 5


class Parts:
    """A loss whose settings lie one level deeper."""

    def __init__(self):
        self.settings, self.inner = {"w": 1.0}, SimpleNamespace(scale=2.0)

    def __call__(self, p, y=None):
        return (p * self.settings["w"] * self.inner.scale).sum()


@pytest.mark.parametrize("how", ["outside", "static", "used"])
def test_settings_of_an_object_are_seen_however_it_is_reached(how):
    loss, x = Parts(), cr.Tensor([1.0])
    f = {
        "outside": lambda: cr.compile(lambda x: loss(x)),
        "static": lambda: functools.partial(cr.compile(lambda loss, x: loss(x)), loss),
        "used": lambda: compile_module.Compiled(functools.partial(Parts.__call__, loss), [loss]),
    }[how]()
    assert f(x).item() == 2
    loss.settings["w"] = 3.0
    assert f(x).item() == 6
    loss.inner.scale = 5.0
    assert f(x).item() == 15


@pytest.mark.parametrize(
    "function",
    [
        abs,
        operator.neg,
        functools.partial(operator.mul, 2.0),
        functools.partial(abs),
        functools.lru_cache(lambda x: x * 2),
        operator.methodcaller("__neg__"),
        operator.attrgetter("T"),
    ],
)
def test_functions_that_are_not_pythons(function):
    x = cr.Tensor([[1.0, -2.0]])
    assert cr.compile(function)(x).tolist() == function(x).tolist()


def test_a_step_that_logs_is_compiled_once():
    log = logging.getLogger("a step")

    @cr.compile
    def f(x):
        log.info("traced")
        return x * 2

    for level in (logging.INFO, logging.ERROR, logging.DEBUG):
        log.isEnabledFor(level)
        assert f(cr.Tensor([1.0])).item() == 2
    assert [len(steps) for steps in f._steps.values()] == [1]


BIASES: list[float] = []


def test_a_global_with_the_name_of_an_attribute_may_change():
    """It is not read: `own.BIASES` is an attribute."""
    own = SimpleNamespace(BIASES=cr.Tensor([2.0]))

    @cr.compile
    def f(x):
        return x * own.BIASES

    for k in range(3):
        BIASES.append(k)
        assert f(cr.Tensor([1.0])).item() == 2
    assert [len(steps) for steps in f._steps.values()] == [1]


def test_a_global_that_a_class_inside_reads_is_seen(monkeypatch):
    @cr.compile
    def f(x):
        class Scaled:
            by = FACTOR

        return x * Scaled.by + sum(BIASES[k] for k in range(len(BIASES)))

    monkeypatch.setitem(globals(), "BIASES", [1.0])
    assert f(cr.Tensor([1.0])).item() == FACTOR + 1
    BIASES.append(3.0)
    assert f(cr.Tensor([1.0])).item() == FACTOR + 4
    monkeypatch.setitem(globals(), "FACTOR", FACTOR + 1)
    assert f(cr.Tensor([1.0])).item() == FACTOR + 4
