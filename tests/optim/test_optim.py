"""Parameters and what changes them: optimizers, schedules, moving averages, clipping."""

import copy
import math
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError


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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optim.SGD([]), "no parameters"),
        (lambda: optim.SGD([nn.Parameter([1.0])], lr=-1), "lr -1"),
        (lambda: optim.Adam([nn.Parameter([1.0])], lr=math.nan), "lr nan"),
        (lambda: optim.Adam([nn.Parameter([1.0])], betas=(1.0, 0.9)), "betas"),
        (lambda: optim.SGD([cr.ones(1)]), "no parameters that require"),
        (lambda: optim.Adam([nn.Parameter([1.0])], betas=(0.9,)), "two numbers"),
        (lambda: optim.Adadelta([nn.Parameter([1.0])], rho=1.1), "rho 1.1; expected 0 to 1; 0.9"),
        (lambda: optim.RMSprop([nn.Parameter([1.0])], alpha=2), "alpha 2; expected 0 to 1; 0.99"),
        (lambda: optim.Adam([nn.Parameter([1.0])], learning_rate=1), "here it is lr"),
        (lambda: optim.Adam([nn.Parameter([1.0])], lr=None), "got lr None; expected a number"),
        (lambda: optim.Adam([nn.Parameter([1.0])], lr=cr.Tensor([0.5])), "a number"),
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


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda o: optim.LambdaLR(o, 0.5), "lr_lambda=0.5; expected one function"),
        (lambda o: optim.LambdaLR(o, [math.exp]), "expected one function"),
        (lambda o: optim.MultiStepLR(o, 3), "milestones=3; expected whole numbers"),
        (lambda o: optim.MultiStepLR(o, [1.5]), r"milestones=\[1.5\]; expected whole numbers"),
        (lambda o: optim.MultiStepLR(o, ["a"]), r"milestones=\['a'\]; expected whole numbers"),
        (lambda o: optim.ReduceLROnPlateau(o).step(None), "the metric None; expected a number"),
        (lambda o: optim.ReduceLROnPlateau(o).step("a"), "the metric 'a'; expected a number"),
    ],
)
def test_what_a_schedule_does_not_take(made, words):
    optimizer = optim.SGD([nn.Parameter(cr.ones(1))], lr=1.0)
    with pytest.raises(ArgumentError, match=words):
        made(optimizer)
    assert optimizer.param_groups[0]["lr"] == 1.0


def test_milestones_of_an_iterator_count():
    optimizer = optim.SGD([nn.Parameter(cr.ones(1))], lr=1.0)
    schedule = optim.MultiStepLR(optimizer, iter([np.int64(2), 1]), gamma=0.5)
    for rate in (0.5, 0.25, 0.25):
        schedule.step()
        assert schedule.get_last_lr() == [rate]


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
