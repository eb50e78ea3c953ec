"""The room of guards: what counts as a change, what a guard is asked and when."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import TraceError
from chainrule.guards.counting import CountedAttributes, CountedDict, changes
from chainrule.guards.identity import IdentityCheck
from chainrule.guards.snapshots import Snapshot, same
from chainrule.guards.variables import variables_of
from chainrule.trace import state

CHANGES = {
    "set": lambda d: d.__setitem__("a", 1),
    "delete": lambda d: d.__delitem__("a"),
    "or": lambda d: d.__ior__({"b": 1}),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("a"),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("b", 1),
    "update": lambda d: d.update(b=1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_a_counted_dict_is_counted(name):
    counted, plain = CountedDict(a=0), {"a": 0}
    before = changes.count
    assert (counted["a"], [*counted], len(counted)) == (0, ["a"], 1)
    assert changes.count == before
    assert CHANGES[name](counted) == CHANGES[name](plain)
    assert counted == plain
    assert changes.count > before


def test_no_method_that_changes_a_dict_is_missing():
    reading = {"copy", "fromkeys", "get", "items", "keys", "values"}
    methods = {name for name in vars(dict) if not name.startswith("_")} - reading
    assert {*methods, "__setitem__", "__delitem__", "__ior__"} <= vars(CountedDict).keys()


def test_attributes_count_unless_they_stay_the_same_object():
    o, value = CountedAttributes(), object()
    o.a = value
    before = changes.count
    o.a = value
    assert changes.count == before
    o.a = object()
    assert changes.count > before
    before = changes.count
    del o.a
    assert changes.count > before


class Answer:
    """A guard whose answer a test sets; it counts the questions."""

    __slots__ = ("asked", "expected", "same", "snapshots", "variables")  # not compared

    def __init__(self, snapshots=(), variables=()):
        self.snapshots, self.variables = snapshots, variables
        self.same, self.asked, self.expected = True, 0, 0

    def expect_unchanged(self):
        self.expected += 1
        if not self.same:
            raise TraceError("test", "got a change", "expected none", "answer otherwise")

    def unchanged(self):
        self.asked += 1
        return self.same


def recorded_with(guard):
    """A compiled function with the guard, and the traces of it."""
    traces = np.zeros(1 << 16)  # too large to be compared

    @cr.compile
    def f(x):
        traces[0] += 1
        state.trace.guards.append(guard)
        return x * 2

    return f, traces


def test_a_guard_is_asked_only_after_a_change_was_counted():
    guard = Answer()
    f, traces = recorded_with(guard)
    x = cr.Tensor([1.0])
    for _ in range(5):
        f(x)
    assert (guard.expected, guard.asked, traces[0]) == (1, 0, 1)
    changes.note()
    for _ in range(5):
        f(x)
    assert (guard.asked, traces[0]) == (1, 1)
    changes.note()
    guard.same, guard.expected = False, 0
    with pytest.raises(TraceError, match="got a change"):
        f(x)
    guard.same = True
    f(x)  # the step that there is still fits
    assert (guard.expected, traces[0]) == (1, 2)


def test_snapshots_and_variables_of_a_guard_are_compared_at_each_call():
    settings, factor = {"a": 1}, 1.0

    def reads():
        return factor

    guard = Answer([Snapshot("settings", settings)], variables_of([reads]))
    f, traces = recorded_with(guard)
    x = cr.Tensor([1.0])
    f(x)
    f(x)
    settings["a"] = 2
    guard.snapshots = [Snapshot("settings", settings)]
    f(x)
    assert traces[0] == 2
    factor = 2.0
    guard.variables = variables_of([reads])
    f(x)
    f(x)
    assert (guard.asked, traces[0]) == (0, 3)


class Plain:
    """An object with an attribute."""

    def __init__(self):
        self.a = 1


def changed_dict():
    d = {"a": 1, "b": [2]}
    return d, lambda: d.update(a=2)


def grown_list():
    items = [1, 2]
    return items, lambda: items.append(3)


def added_attribute():
    o = Plain()
    return o, lambda: setattr(o, "b", 2)


def exchanged_attributes():
    o = Plain()
    return o, lambda: setattr(o, "__dict__", {"a": 2})


def changed_array():
    held = {"x": np.zeros(3)}
    return held, lambda: held["x"].__setitem__(0, 1)


@pytest.mark.parametrize(
    "case", [changed_dict, grown_list, added_attribute, exchanged_attributes, changed_array]
)
def test_the_quick_comparison_sees_what_the_slow_one_sees(case):
    owner, change = case()
    snapshot = Snapshot("it", owner)
    check = IdentityCheck([], [snapshot])
    assert check.passes()
    assert snapshot.unchanged()
    change()
    assert not check.passes()
    assert not snapshot.unchanged()


def test_restored_owners_have_their_old_values():
    owners = [{"a": 1}, [1, 2], Plain()]
    snapshots = [Snapshot("it", owner) for owner in owners]
    owners[0]["b"], owners[2].b = 2, 3
    owners[1].clear()
    for snapshot in snapshots:
        assert not snapshot.unchanged()
        snapshot.restore()
        assert snapshot.unchanged()


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1, True),
        (1, True, False),
        (1, 1.0, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        ("a", "".join(["a"]), True),
        ([], [], False),
        (np.float32(2), np.float32(2), True),
        (np.float32(2), np.float64(2), False),
    ],
)
def test_plain_values_are_the_same_by_value_and_others_by_identity(a, b, equal):
    assert same(a, b) is equal
    assert same(a, a)
