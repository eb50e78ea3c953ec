"""Settings and attributes of optimizers: what may change, and that compiled steps see it."""

import copy
import math
import threading
import types

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, TraceError
from chainrule.guards import counting


def test_optimizer_settings_change_without_compiling_again():
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=1.0)

    @cr.compile
    def step():
        p.sum().backward()
        optimizer.step()

    step()
    assert p.item() == 0
    optimizer.param_groups[0]["lr"] = 0.5
    step()
    assert p.item() == -0.5
    assert len(step._steps) == 1
    optimizer.param_groups[0]["weight_decay"] = 2.0
    step()
    assert p.item() == pytest.approx(-0.5 - 0.5 * (1 + 2 * -0.5))


SCHEDULES = {
    "StepLR": {"step_size": 2},
    "MultiStepLR": {"milestones": [1]},
    "ExponentialLR": {"gamma": 0.5},
    "CosineAnnealingLR": {"T_max": 4},
    "LinearLR": {},
    "LambdaLR": {"lr_lambda": lambda t: 0.5**t},
    "WarmupCosine": {"warmup": 1, "total": 9},
    "OneCycleLR": {"max_lr": 1.0, "total_steps": 9},
    "ReduceLROnPlateau": {},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_inside_a_compiled_step_is_named(name):
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.5, momentum=0.9)
    schedule = getattr(optim, name)(optimizer, **SCHEDULES[name])
    before = schedule.state_dict()

    @cr.compile
    def step():
        p.sum().backward()
        optimizer.step()
        schedule.step(*[p.sum()] * (name == "ReduceLROnPlateau"))

    words = rf"\[{name}\] got a step of {name} inside .* call schedule\.step\(\) after"
    with pytest.raises(TraceError, match=words):
        step()
    assert schedule.state_dict() == before


def test_a_setting_that_is_read_inside_a_compiled_step_is_named():
    optimizer = optim.Adam([nn.Parameter([1.0])])
    for name in ("lr", "betas"):
        with pytest.raises(TraceError, match=rf'\[Adam\] got group\["{name}"\], .* between'):
            cr.compile(lambda name=name: optimizer.param_groups[0][name])()


class Scaled(optim.SGD):
    """An optimizer with an additional attribute, which a step reads."""

    scale = 1.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.array = np.ones(1)

    def _update(self, group, p, g, s):
        return super()._update(group, p, g * self.scale * float(self.array[0]), s)


def test_attributes_of_an_optimizer_are_seen_by_a_compiled_step():
    p = nn.Parameter([1.0])
    optimizer = Scaled([p], lr=1.0)

    @cr.compile
    def step():
        p.sum().backward()
        optimizer.step()

    step()
    step()
    assert p.item() == -1
    optimizer.scale = 0.5
    step()
    assert p.item() == -1.5
    del optimizer.scale
    step()
    assert p.item() == -2.5


@pytest.mark.parametrize("backend_name", ["native", "reference"])
@pytest.mark.parametrize("within", [False, True], ids=["itself", "in an object"])
@pytest.mark.parametrize(
    "edit",
    [
        lambda o: setattr(o, "scale", 5.0),
        lambda o: o.array.fill(5.0),
        lambda o: vars(o).update(scale=5.0),
        lambda o: object.__setattr__(o, "scale", 5.0),
        lambda o: o.state["0"].update(step=cr.Tensor(5.0, dtype=cr.float64)),
        lambda o: setattr(o, "state", {n: {**s} for n, s in o.state.items()}),
        lambda o: o.state["0"].update(momentum_buffer=cr.Tensor([5.0])),
        lambda o: o.param_groups[0].__setitem__("momentum", 0.0),
    ],
    ids=["attribute", "array", "vars", "object", "step", "state", "slot", "momentum"],
)
def test_changes_of_an_optimizer_are_seen_by_a_compiled_step(
    edit, within, backend_name, monkeypatch
):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
    ends = []
    for compiled in (True, False):
        p = nn.Parameter([1.0])
        optimizer = Scaled([p], lr=np.float32(1), momentum=0.5)
        box = types.SimpleNamespace(optimizer=optimizer)

        def step(p=p, box=box):
            p.sum().backward()
            box.optimizer.step()

        if not within:

            def step(p=p, optimizer=optimizer):
                p.sum().backward()
                optimizer.step()

        step = cr.compile(step) if compiled else step
        step(), step()
        edit(optimizer)
        step(), step()
        ends.append((p.item(), optimizer.state["0"]["step"].item()))
    assert ends[0] == ends[1]


def test_a_step_that_changes_an_attribute_of_its_optimizer_is_refused():
    p = nn.Parameter([1.0])
    optimizer = Scaled([p], lr=1.0)
    box = (optimizer,)

    @cr.compile
    def step():
        p.sum().backward()
        optimizer.scale = 2.0
        optimizer.step()

    @cr.compile
    def hidden():
        p.sum().backward()
        box[0].step()
        box[0].scale = 2.0

    with pytest.raises(TraceError, match=r"optimizer.scale from nothing to 2.0"):
        step()
    assert "scale" not in vars(optimizer)
    for _ in range(2):
        with pytest.raises(TraceError, match="Scaled, whose step changes its attributes"):
            hidden()
        assert "scale" not in vars(optimizer)
    assert p.item() == 1


def test_changes_are_counted_when_they_are_done(monkeypatch):
    """Or another thread could look before there is anything to see, and not look again."""
    optimizer, seen = Scaled([nn.Parameter([1.0])], lr=1.0), []
    group = optimizer.param_groups[0]

    def note():
        held = vars(optimizer).get("scale"), len(optimizer.state), group["weight_decay"]
        seen.append((*held, group["maximize"]))

    monkeypatch.setattr(counting.changes, "note", note)
    optimizer.scale = 3.0
    optimizer.state["more"] = {}
    del optimizer.scale
    group["weight_decay"] = 0.5
    group["weight_decay"] = 0.25  # on as before: a compiled step reads it anyway
    group["maximize"] = True
    assert seen == [
        (3, 1, 0, False),
        (3, 2, 0, False),
        (None, 2, 0, False),
        (None, 2, 0.5, False),
        (None, 2, 0.25, True),
    ]


def test_no_count_comes_twice():
    counts = []

    def change():
        for _ in range(2000):
            counting.changes.note()
            counts.append(counting.changes.count)

    threads = [threading.Thread(target=change) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = counting.changes.count
    counting.changes.note()
    assert counting.changes.count not in {before, *counts}


FACTOR = 1.0


class Global(optim.Optimizer):
    """Its update reads a global."""

    def __init__(self, params):
        super().__init__(params, {"lr": 1.0})

    def _update(self, group, p, g, s):
        return p - FACTOR * g


def test_a_global_that_an_optimizer_reads_is_seen(monkeypatch):
    p = nn.Parameter([0.0])
    box = types.SimpleNamespace(optimizer=Global([p]))

    @cr.compile
    def step():
        p.sum().backward()
        box.optimizer.step()

    step()
    monkeypatch.setitem(globals(), "FACTOR", 4.0)
    step()
    assert p.item() == -5


def test_groups_have_momentum_of_their_own():
    p, q = (nn.Parameter([0.0]) for _ in range(2))
    groups = [{"params": [p], "momentum": 0.5}, {"params": [q]}]
    for kind in (optim.SGD, optim.RMSprop):
        optimizer = kind(groups, lr=1.0)
        assert "momentum_buffer" in optimizer.state["0"]
        assert "momentum_buffer" not in optimizer.state["1"]
        with pytest.raises(ArgumentError, match="a momentum for parameters that began with none"):
            optimizer.param_groups[1]["momentum"] = 0.5
        optimizer.param_groups[0]["momentum"] = 0.0
        optimizer.param_groups[0]["momentum"] = 0.5
    optimizer = optim.SGD(groups, lr=1.0)
    for _ in range(2):
        (p + q).sum().backward()
        optimizer.step()
    assert (p.item(), q.item()) == (-2.5, -2)


def test_a_tensor_as_rate_is_read_once():
    rate = cr.Tensor(0.5, dtype=cr.float64)
    optimizer = optim.SGD(
        [{"params": [nn.Parameter([1.0])]}, {"params": [nn.Parameter([1.0])]}], lr=rate
    )
    optimizer.param_groups[0]["lr"] = 0.25
    assert [g["lr"] for g in optimizer.param_groups] == [0.25, 0.5]
    assert rate.item() == 0.5


@pytest.mark.parametrize("rate", [np.float32(0.5), np.int64(1), cr.Tensor(0.5), 1])
def test_numbers_of_all_kinds_are_settings(rate):
    ends = []
    for compiled in (True, False):
        p = nn.Parameter([1.0])
        optimizer = optim.SGD([p], lr=rate)
        schedule = optim.StepLR(optimizer, step_size=1, gamma=0.5)

        def step(p=p, optimizer=optimizer):
            p.sum().backward()
            optimizer.step()

        step = cr.compile(step) if compiled else step
        for _ in range(3):
            step()
            schedule.step()
        optimizer.param_groups[0]["lr"] = rate
        step()
        ends.append(p.item())
    assert ends == [1 - 2.75 * float(rate)] * 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lr", -0.1, "got lr -0.1; expected 0 or more, finite"),
        ("lr", math.nan, "got lr nan"),
        ("lr", 10**400, "0 or more, finite"),
        ("lr", "0.1", "got lr '0.1'; expected a number"),
        ("lr", None, "got lr None; expected a number"),
        ("maximize", None, "a value like False"),
        ("lr", True, "a number"),
        ("lr", cr.ones(2), "a number"),
        ("betas", 0.5, "two numbers"),
        ("betas", (0.5,), "two numbers"),
        ("betas", (0.5, 2.0), "0 to below 1"),
        ("betas", ("a", "b"), "numbers"),
        ("maximize", 1, "a value like False"),
        ("rate", 0.1, "got the setting 'rate'; expected lr, betas"),
        ("params", [], "got the setting 'params'"),
    ],
)
def test_settings_are_checked_when_they_change(name, value, words):
    optimizer = optim.Adam([nn.Parameter([1.0])], lr=1.0)
    (group,) = optimizer.param_groups
    before = dict(group)
    with pytest.raises(ArgumentError, match=words):
        group[name] = value
    assert dict(group) == before


def test_a_setting_is_no_attribute():
    optimizer = optim.Adam([nn.Parameter([1.0])], lr=1.0)
    (group,) = optimizer.param_groups
    for owner in (optimizer, group):
        with pytest.raises(ArgumentError, match=r'group\["lr"\] = value'):
            owner.lr = 0.1
    with pytest.raises(AttributeError, match=r'here it is param_groups\[0\]\["lr"\]'):
        print(optimizer.lr)
    with pytest.raises(ArgumentError, match="build another optimizer"):
        optimizer.param_groups = ()
    with pytest.raises(ArgumentError, match="group"):
        group.params = ()
    assert group["lr"] == 1
    assert {group: 1}[group] == 1
    assert group != copy.copy(group)
    assert "0.001" in repr(optim.Adam([nn.Parameter([1.0])]).param_groups)
