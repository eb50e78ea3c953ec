"""What a compiled function sees of its surroundings, and what it may not change in them."""

import copy
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import TraceError

step_module = sys.modules["chainrule.compile.step"]


class Scaled:
    """A plain object with tensors and settings."""

    def __init__(self):
        self.w = cr.Tensor([1.0])
        self.scale = 2.0
        self.parts = {"a": cr.Tensor([1.0])}

    def step(self, x):
        return x * self.w * self.scale * self.parts["a"]


def test_rebound_attributes_and_settings_are_seen():
    o = Scaled()
    parts = o.parts
    f, g = cr.compile(o.step), cr.compile(lambda x: x * parts["a"])
    x = cr.Tensor([1.0])
    assert (f(x).item(), g(x).item()) == (2, 1)
    o.w = cr.Tensor([10.0])
    assert f(x).item() == 20
    o.scale = 3.0
    assert f(x).item() == 30
    parts["a"] = cr.Tensor([5.0])
    assert g(x).item() == 5


def test_variables_that_change_kind_are_seen():
    w = cr.Tensor([5.0])
    f = cr.compile(lambda x: x * w)
    x = cr.Tensor([1.0])
    assert f(x).item() == 5
    w = 3.0
    assert f(x).item() == 3
    w = cr.Tensor([7.0])
    assert f(x).item() == 7


class Net:
    """A compiled method."""

    def __init__(self, value):
        self.w = cr.Tensor([value])

    @cr.compile
    def step(self, x):
        return x * self.w

    @cr.compile
    @staticmethod
    def twice(x):
        return x * 2


def test_compiled_methods_belong_to_their_object():
    a, b, x = Net(2.0), Net(3.0), cr.Tensor([1.0])
    assert (a.step(x).item(), b.step(x).item(), a.step(x).item()) == (2, 3, 2)
    assert a.twice(x).item() == 2
    assert "multiply" in a.step.graph(x)


OUTSIDE = cr.Tensor([2.0])
FROZEN = {
    "item": lambda x: x * OUTSIDE.item(),
    "if": lambda x: x if OUTSIDE > 0 else -x,
    "float": lambda x: x * float(OUTSIDE),
    "numpy": lambda x: x * OUTSIDE.numpy(),
    "array": lambda x: x * np.asarray(OUTSIDE),
    "Tensor": lambda x: x * cr.Tensor(OUTSIDE),
    "list": lambda x: x * cr.asarray([OUTSIDE, OUTSIDE]),
    "deepcopy": lambda x: x * copy.deepcopy(OUTSIDE),
    "nonzero": lambda x: cr.nonzero(OUTSIDE)[0],
    "in": lambda x: x * (2.0 in OUTSIDE),
}


@pytest.mark.parametrize("name", FROZEN)
def test_values_from_outside_are_not_frozen_into_a_program(name):
    with pytest.raises(TraceError, match=r"reads again at each call|there is only when"):
        cr.compile(FROZEN[name])(cr.Tensor([1.0]))


def test_values_made_inside_may_be_read():
    f = cr.compile(lambda x: x * cr.arange(3).numpy()[2] + float(cr.ones(())))
    assert f(cr.Tensor([1.0])).item() == 3


def test_a_function_that_changes_python_state_is_refused_and_undone():
    o, history, settings = Scaled(), [], {"t": 0}
    w, t = cr.Tensor([1.0]), 0
    before = dict(vars(o))

    def rebinds(x):
        nonlocal w
        w = w + x
        return w

    def counts(x):
        nonlocal t
        t += 1
        return x * t

    def stops(x):
        nonlocal w
        w = w + x
        raise RuntimeError("stop")

    x = cr.Tensor([1.0])
    for f, words in [
        (lambda x: setattr(o, "h", x * 2), r"changes o\.h from nothing to a traced float32\[1\]"),
        (lambda x: setattr(o, "scale", o.scale + 1), r"changes o\.scale from 2\.0 to 3\.0"),
        (lambda x: settings.update(t=settings["t"] + 1), r"changes settings\['t'\] from 0 to 1"),
        (lambda x: history.append(1), r"changes history\[0\] from nothing to 1"),
        (rebinds, r"changes w from a float32\[1\] to a traced float32\[1\]"),
        (counts, r"changes t from 0 to 1"),
    ]:
        with pytest.raises(TraceError, match=words):
            cr.compile(f)(x)
    with pytest.raises(RuntimeError, match="stop"):
        cr.compile(stops)(x)
    assert vars(o) == before
    assert (w.item(), t, history, settings) == (1.0, 0, [], {"t": 0})


def test_fixed_arguments_are_told_apart():
    f = cr.compile(lambda x, s: x * float(s))
    x = cr.Tensor([1.0])
    for s in (1, True, 1.0, 2.5, np.float32(2.0), -0.0, 0.0):
        assert f(x, s).item() == float(s)
        assert np.signbit(f(x, s).item()) == np.signbit(float(s))

    class Named:
        def __init__(self, w):
            self.w = w

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

    g = cr.compile(lambda x, o: x * o.w)
    assert g(x, Named(cr.Tensor([2.0]))).item() == 2
    assert g(x, Named(cr.Tensor([3.0]))).item() == 3


def test_a_captured_mask_is_not_frozen():
    mask = cr.Tensor([True, False])
    with pytest.raises(TraceError, match="reads again"):
        cr.compile(lambda x: x[mask])(cr.Tensor([1.0, 2.0]))


def test_state_behind_decorators_and_in_arrays_is_seen():
    rate, table = 2.0, np.array([1.0, 2.0], np.float32)

    @cr.compile
    @cr.no_grad()
    def f(x):
        return x * rate

    g = cr.compile(cr.grad(lambda x: (x * x * rate).sum()))
    h = cr.compile(lambda x: x * table)
    x = cr.Tensor([1.0, 1.0])
    assert (f(x).tolist(), g(x).tolist(), h(x).tolist()) == ([2, 2], [4, 4], [1, 2])
    rate = 3.0
    table[:] = 5
    assert (f(x).tolist(), g(x).tolist(), h(x).tolist()) == ([3, 3], [6, 6], [5, 5])


class Config:
    scale = 2.0


class Settings:
    def __init__(self, rate):
        self.rate = rate
        self.log = []


class Uses:
    def __init__(self):
        self.sub = Settings(1.0)
        self.table = {"t": 1.0}

    def step(self, x):
        return self.helped(x) * self.sub.rate

    def helped(self, x):
        return x * self.table["t"]


def test_settings_in_classes_and_nested_objects_are_seen():
    outer, nested, own = SimpleNamespace(inner=Settings(3.0)), {"a": {"b": 5.0}}, Uses()
    table = SimpleNamespace(data=np.ones(1, np.float32))
    x = cr.Tensor([1.0])
    f = cr.compile(lambda x: x * Config.scale)
    g = cr.compile(lambda x: x * outer.inner.rate)
    h = cr.compile(lambda x: x * nested["a"]["b"])
    k = cr.compile(own.step)
    n = cr.compile(lambda x: x * table.data)
    assert [c(x).item() for c in (f, g, h, k, n)] == [2, 3, 5, 1, 1]
    try:
        Config.scale = 4.0
        outer.inner.rate, nested["a"]["b"], table.data[0] = 7.0, 8.0, 9.0
        own.table["t"] = own.sub.rate = 3.0
        assert [c(x).item() for c in (f, g, h, k, n)] == [4, 7, 8, 9, 9]
    finally:
        Config.scale = 2.0


def test_what_a_step_does_not_mention_may_change():
    own, traced = Uses(), []
    own.sub.log.append(1)
    own.losses = []

    @cr.compile
    def f(x):
        traced.append(x)
        traced.clear()
        count[0] += 1
        return own.step(x)

    count = np.zeros(100_000)  # too large to be looked at: it counts the traces
    x = cr.Tensor([1.0])
    for loss in range(3):
        f(x)
        own.losses.append(loss)
    assert count[0] == 1


def test_a_class_changed_while_it_is_traced_is_restored():
    def f(x):
        Config.scale, Config.other = 5.0, 1
        return x

    with pytest.raises(TraceError, match=r"changes Config\.scale from 2\.0 to 5\.0"):
        cr.compile(f)(cr.Tensor([1.0]))
    assert Config.scale == 2.0
    assert not hasattr(Config, "other")


class Layer(cr.nn.Module):
    def __init__(self):
        self.cfg, self.flag, self.made = {"t": 1.0}, [True], Settings(1.0)
        self.table, self.losses = np.ones(1, np.float32), []

    def forward(self, x):
        return self.scaled(x) if self.flag[0] else x

    def scaled(self, x):
        return x * self.cfg["t"] * self.table * self.made.rate


def test_containers_in_a_module_are_seen():
    m, x = Layer(), cr.Tensor([1.0])
    f = cr.compile(lambda x: m(x))
    assert f(x).item() == 1
    m.cfg["t"] = 3.0
    assert f(x).item() == 3
    m.table[:] = 5.0
    assert f(x).item() == 15
    m.made.rate = 2.0
    assert f(x).item() == 30
    m.flag[0] = False
    assert f(x).item() == 1
    steps = sum(map(len, f._steps.values()))
    m.losses.append(1.0)  # forward does not mention it
    f(x)
    assert sum(map(len, f._steps.values())) == steps


def test_a_module_that_changes_its_containers_is_refused():
    class Counts(cr.nn.Module):
        def __init__(self):
            self.seen = {"n": 0}

        def forward(self, x):
            self.seen["n"] += 1
            return x

    with pytest.raises(TraceError, match="Counts whose forward changes its attributes"):
        cr.compile(Counts())(cr.Tensor([1.0]))


def test_a_module_inside_a_loop_is_looked_at_too():
    m, xs = Layer(), cr.ones((2, 1))
    f = cr.compile(lambda xs: cr.scan(lambda c, x: (c + m(x), None), cr.zeros(1), xs)[0])
    assert f(xs).item() == 2
    m.cfg["t"] = 3.0
    assert f(xs).item() == 6
    m.made = Settings(2.0)
    assert f(xs).item() == 12


class Rated:
    """A number, in a dict that can be exchanged."""

    def __init__(self, rate):
        self.rate = rate


def test_functions_dicts_and_defaults_that_are_replaced_are_seen():
    """A function in a variable, an object's dict, the order of a dict, defaults."""
    y = cr.Tensor([4.0, 9.0])
    act, rated, table = cr.sqrt, Rated(1.0), {"a": 1.0, "b": 2.0}

    def scaled(x, by=2.0):
        return (x * by).sum()

    by_function = cr.compile(lambda x: act(x).sum())
    by_object = cr.compile(lambda x: (x * rated.rate).sum())
    by_order = cr.compile(lambda x: (x * next(iter(table.values()))).sum())
    by_default = cr.compile(scaled)
    assert [float(f(y)) for f in (by_function, by_object, by_order, by_default)] == [5, 13, 13, 26]
    act = cr.square
    rated.__dict__ = {"rate": 2.0}
    table["a"] = table.pop("a")
    scaled.__defaults__ = ()
    assert [float(f(y)) for f in (by_function, by_object, by_order)] == [97, 26, 26]
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        by_default(y)


class Factor(cr.nn.Module):
    """Multiplies by an attribute."""

    p = 2.0

    def forward(self, x):
        return x * self.p


def test_a_deleted_attribute_of_a_module_is_seen():
    m = Factor()
    m.p = 3.0
    f, x = cr.compile(lambda x: m(x)), cr.Tensor([1.0])
    assert f(x).item() == 3
    del m.p
    assert f(x).item() == 2


def test_a_change_while_a_step_is_made_is_seen():
    """By another thread, after the function was traced and before the call has ended."""
    m = Factor()
    m.p = 1.0
    o = Scaled()

    @cr.compile
    def f(x):
        return m(x) * o.scale

    x = cr.Tensor([1.0])
    made = step_module._built

    def built(*args):
        m.p = 5.0
        o.scale = 7.0
        return made(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_module, "_built", built)
        f(x)
    assert [f(x).item() for _ in range(3)] == [35.0] * 3


def test_the_warning_names_what_varies():
    o, x = Scaled(), cr.Tensor([1.0])

    @cr.compile
    def f(x):
        return x * o.w

    for k in range(7):
        o.count = k
        f(x)
    o.count = 7
    with pytest.warns(UserWarning, match=r"compiled 8 times; o\.count varies; keep it in a tensor"):
        f(x)
