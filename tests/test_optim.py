"""Parameters and what changes them: optimizers, schedules, moving averages, clipping."""

import copy
import math
import pickle
import types

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim, trace
from chainrule.errors import ArgumentError, TraceError


def test_clipping_and_penalties():
    p, q = (nn.Parameter([v]) for v in (3.0, 4.0))
    ((p * p + q * q) / 2).sum().backward()
    assert nn.utils.clip_grad_norm_([p, q], 1.0).item() == pytest.approx(5)
    assert p.grad.item() == pytest.approx(0.6, rel=1e-6)
    nn.utils.clip_grad_value_([p, q], 0.7)
    assert q.grad.item() == pytest.approx(0.7)
    assert nn.utils.l1_penalty([p, q]).item() == 7
    assert nn.utils.l2_penalty([p, q]).item() == 12.5
    w = cr.Tensor([[3.0, 4.0], [0.3, 0.4]])
    nn.utils.max_norm_(w, 1.0)
    np.testing.assert_allclose(w.numpy(), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    nn.utils.vector_to_parameters(cr.Tensor([1.0, 2.0]), [p, q])
    assert nn.utils.parameters_to_vector([p, q]).tolist() == [1, 2]


OPTIMIZERS = [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Lion]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_row_sparse_updates_touch_only_their_rows(kind):
    start = np.arange(10.0, dtype=np.float32).reshape(5, 2)
    tables = [nn.Parameter(start), nn.Parameter(start)]
    rows = cr.Tensor([3, 1, 3])
    for k, table in enumerate(tables):
        optimizer = kind([table], lr=0.1)
        picked = cr.take(table, rows, axis=0)
        if k:
            picked = cr.one_hot(rows, 5) @ table  # a dense gradient of the same value
        (picked * picked).sum().backward()
        assert isinstance(table.grad, cr.Tensor if k else cr.RowSparse)
        optimizer.step()
    sparse, dense = (t.numpy() for t in tables)
    np.testing.assert_allclose(sparse[[1, 3]], dense[[1, 3]], rtol=1e-6)
    np.testing.assert_array_equal(sparse[[0, 2, 4]], start[[0, 2, 4]])


def test_optimizer_state_continues_by_name():
    def run(steps, state=None):
        net = nn.Linear(3, 1)
        net.load_state_dict({"weight": np.ones((1, 3)), "bias": np.zeros(1)})
        optimizer = optim.Adam(net.named_parameters(), lr=0.1)
        if state:
            net.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        for _ in range(steps):
            (net(cr.ones((2, 3))) ** 2).mean().backward()
            optimizer.step()
        return net.state_dict(), optimizer.state_dict()

    whole, (model, state) = run(10), run(6)
    assert "weight/exp_avg" in state
    continued = run(4, (model, state))
    np.testing.assert_array_equal(whole[0]["weight"], continued[0]["weight"])
    with pytest.raises(ArgumentError, match="load_state_dict"):
        optim.SGD(nn.Linear(3, 1).parameters()).load_state_dict(state)


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


class Scaled(optim.SGD):
    """An optimizer with an attribute of its own, which a step mentions."""

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
        lambda o: setattr(o, "steps", cr.Tensor(5.0, dtype=cr.float64)),
        lambda o: setattr(o, "state", {n: {**s} for n, s in o.state.items()}),
        lambda o: o.state["0"].update(momentum_buffer=cr.Tensor([5.0])),
        lambda o: o.param_groups[0].__setitem__("momentum", 0.0),
    ],
    ids=["attribute", "array", "vars", "object", "steps", "state", "slot", "momentum"],
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
        ends.append((p.item(), optimizer.steps.item()))
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
    with pytest.raises(TraceError, match="Scaled, whose step changes its attributes"):
        hidden()
    assert p.item() == 1


def test_changes_are_counted_when_they_are_done(monkeypatch):
    """Or another thread could look before there is anything to see, and not look again."""
    optimizer, seen = Scaled([nn.Parameter([1.0])], lr=1.0), []

    class Changes:
        @property
        def count(self):
            return 0

        @count.setter
        def count(self, value):
            seen.append((vars(optimizer).get("scale"), [*optimizer.state]))

    monkeypatch.setattr(trace, "changes", Changes())
    optimizer.scale = 3.0
    optimizer.state["more"] = {}
    del optimizer.scale
    assert seen == [(3.0, ["0"]), (3.0, ["0", "more"]), (None, ["0", "more"])]


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
        ("lr", -0.1, "got lr -0.1; 0 or more, finite"),
        ("lr", math.nan, "got lr nan"),
        ("lr", 10**400, "0 or more, finite"),
        ("lr", "0.1", "got lr '0.1'; a number"),
        ("lr", None, "something like 1.0"),
        ("lr", True, "a number"),
        ("lr", cr.ones(2), "a number"),
        ("betas", 0.5, "two numbers"),
        ("betas", (0.5,), "two numbers"),
        ("betas", (0.5, 2.0), "0 to below 1"),
        ("betas", ("a", "b"), "numbers"),
        ("maximize", 1, "something like False"),
        ("rate", 0.1, "got the setting 'rate'; lr, betas"),
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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optim.SGD([]), "no parameters"),
        (lambda: optim.SGD([nn.Parameter([1.0])], lr=-1), "lr -1"),
        (lambda: optim.Adam([nn.Parameter([1.0])], lr=math.nan), "lr nan"),
        (lambda: optim.Adam([nn.Parameter([1.0])], betas=(1.0, 0.9)), "betas"),
        (lambda: optim.SGD([cr.ones(1)]), "no parameters that require"),
        (lambda: optim.Adam([nn.Parameter([1.0])], betas=(0.9,)), "two numbers"),
        (lambda: optim.Adam([nn.Parameter([1.0])], learning_rate=1), "here it is lr"),
        (lambda: optim.SGD([nn.Parameter([1.0])], momentm=1), "did you mean momentum"),
        (lambda: optim.SGD([3]), "int among the parameters"),
        (lambda: optim.SGD([nn.Parameter([1.0])], nesterov=True), "nesterov"),
        (lambda: nn.Dropout(2), "p 2"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups"),
        (lambda: nn.MultiheadAttention(6, 4), "4 heads"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_moving_average():
    p = nn.Parameter([0.0])
    average = optim.EMA([p], decay=0.5)
    with cr.no_grad():
        p += 4.0
    average.update()
    with average.applied():
        assert p.item() == 2
    assert p.item() == 4
    assert p.requires_grad


def test_schedules_say_what_they_follow():
    kinds = {k: getattr(optim, k) for k in optim.__all__ if hasattr(getattr(optim, k), "per")}
    assert {k for k, kind in kinds.items() if kind.per == "step"} == {"OneCycleLR", "WarmupCosine"}
    assert {kind.per for kind in kinds.values()} == {"step", "epoch"}
    assert {"ReduceLROnPlateau", "StepLR", "CosineAnnealingLR"} < kinds.keys()


def test_a_frozen_parameter_stays_one():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    names = [n for n, _ in net.named_parameters()]
    buffers = [n for n, _ in net.named_buffers()]
    for p in net.parameters():
        p.requires_grad = False
    for other in (net, copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert [n for n, _ in other.named_parameters()] == names
        assert [n for n, _ in other.named_buffers()] == buffers
        assert list(other.state_dict()) == list(net.state_dict())
        assert str(other.summary((4, 2))).count("(0 trained, 19 frozen)") == 1
    for p in net.parameters():
        p.requires_grad = True
    assert all(p.requires_grad for p in net.parameters())
    assert len(net.freeze().parameters()) == len(names)
    assert not any(p.requires_grad for p in net.parameters())


def test_parameters_are_remembered_wherever_they_stand():
    class Listed(nn.Module):
        def __init__(self):
            self.direct = nn.Parameter([1.0])
            self.many = []
            self.many.append(nn.Parameter([2.0]))
            self.named = {"a": nn.Parameter([3.0]), "plain": cr.ones(1)}

    m = Listed()
    m.direct.requires_grad = False  # before anybody has asked for the parameters
    assert [n for n, _ in m.named_parameters()] == ["direct", "many.0", "named.a"]
    m.freeze()
    assert [n for n, _ in m.named_parameters()] == ["direct", "many.0", "named.a"]
    assert [n for n, _ in m.named_buffers()] == ["named.plain"]


def test_a_target_network_follows_though_it_is_frozen():
    source, target = nn.Linear(2, 1), nn.Linear(2, 1).freeze()
    with cr.no_grad():
        for t, s in zip(target.parameters(), source.parameters(), strict=True):
            t[...] = s
    np.testing.assert_array_equal(target.weight.numpy(), source.weight.numpy())
    assert not target.weight.requires_grad


@pytest.mark.parametrize("compiled", [False, True])
def test_optimizers_leave_frozen_parameters_as_they_are(compiled):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net(cr.ones((4, 2))).sum().backward()  # the layer that is frozen now has an old gradient
    net[0].freeze()
    optimizer = optim.SGD(net.parameters(), lr=0.1, weight_decay=0.5)
    before = net.state_dict()

    def step():
        net(cr.ones((4, 2))).sum().backward()
        optimizer.step()

    run = cr.compile(step) if compiled else step
    run()
    after = net.state_dict()
    assert [np.array_equal(after[k], before[k]) for k in before] == [True, True, False, False]
    net.unfreeze()
    run()
    assert not np.array_equal(net[0].weight.numpy(), before["0.weight"])


def test_what_was_computed_is_no_parameter():
    class Keeps(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            self.hidden = self.layer(x)
            return self.hidden

    m = Keeps()
    m(cr.ones((1, 2)))
    names = ["layer.weight", "layer.bias"]
    assert [n for n, _ in m.named_parameters()] == names
    assert list(m.state_dict()) == names
    assert not list(m.named_buffers())
    with pytest.raises(ArgumentError, match=r"got h, float32\[1,2\], which is computed.*detach"):
        optim.SGD([("h", m.hidden)])


@pytest.mark.parametrize("value", [np.zeros((2, 2)), cr.zeros((2, 2)), 0.0, [[0.0, 0.0]] * 2])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_parameter_is_not_replaced_by_what_is_none(value, frozen):
    m = nn.Sequential(nn.Linear(2, 2))
    if frozen:
        m.freeze()
    with pytest.raises(ArgumentError, match=r"m\.weight\[\.\.\.\] = value; or .*Parameter"):
        m[0].weight = value
    m[0].weight = nn.Parameter(cr.zeros((2, 2)))
    m[0].bias = None
    assert [n for n, _ in m.named_parameters()] == ["0.weight"]
    with cr.no_grad():
        m[0].weight += 1.0
    assert m[0].weight.numpy().tolist() == [[1.0, 1.0], [1.0, 1.0]]
