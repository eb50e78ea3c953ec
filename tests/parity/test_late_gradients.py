"""Parameters without a gradient in some steps: each has its own step count, as in PyTorch."""

import numpy as np
import pytest
import torch
from test_training import OPTIMIZERS

import chainrule as cr
from chainrule import nn, optim

STEPS = 60
TABLE = {
    **OPTIMIZERS,
    "SGD dampening decay": {"lr": 0.05, "momentum": 0.8, "dampening": 0.5, "weight_decay": 0.1},
    "Adagrad decay": {"lr": 0.05, "lr_decay": 0.5, "initial_accumulator_value": 0.1},
    "NAdam decay": {"lr": 3e-3, "momentum_decay": 0.1, "weight_decay": 0.1},
}


def used(k):
    """Which of four parameters the loss of step k depends on: always, late, rarely, in turns."""
    return True, k >= 25, k % 7 == 3, (k // 10) % 2 == 1


def losses(parameters, k):
    return [
        ((j + 1.5 + k % 3) * p + p * p).sum()
        for j, (p, use) in enumerate(zip(parameters, used(k), strict=True))
        if use
    ]


def their_path(kind, settings, start):
    parameters = [torch.nn.Parameter(torch.tensor(row)) for row in start]
    groups = [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 2e-3}]
    optimizer = getattr(torch.optim, kind)(groups, **settings)
    for k in range(STEPS):
        parameters[0].requires_grad_(k % 13 != 5)  # frozen now and then
        optimizer.zero_grad()
        kept = [loss for loss in losses(parameters, k) if loss.requires_grad]
        if kept:
            sum(kept).backward()
        optimizer.step()
        yield [p.detach().numpy().copy() for p in parameters]


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_step_without_a_gradient_does_not_count(name, compiled):
    kind, settings = name.split()[0], TABLE[name]
    start = np.random.default_rng(0).normal(size=(4, 3))
    parameters = [nn.Parameter(row) for row in start]
    groups = [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 2e-3}]
    optimizer = getattr(optim, kind)(groups, **settings)

    def step(k):
        optimizer.zero_grad()
        kept = [loss for loss in losses(parameters, k) if loss.requires_grad]
        if kept:
            sum(kept[1:], start=kept[0]).backward()
        optimizer.step()

    programs = {}
    for k, expected in enumerate(their_path(kind, settings, start)):
        parameters[0].requires_grad = k % 13 != 5
        run = step
        if compiled:  # one program for each set of parameters and constant of the loss
            run = programs.setdefault((used(k), k % 3), cr.compile(lambda k=k: step(k)))
            run()
        else:
            run(k)
        for p, q in zip(parameters, expected, strict=True):
            np.testing.assert_allclose(p.numpy(), q, rtol=1e-6, atol=1e-9)


def test_rows_that_are_read_late():
    """A table's rows share its step count, as in PyTorch's SparseAdam."""
    start = np.random.default_rng(0).normal(size=(40, 3))
    ours, theirs = nn.Parameter(start), torch.nn.Parameter(torch.tensor(start))
    other = nn.Parameter([1.0])
    a = optim.Adam([other, ours], lr=0.1, eps=1e-20)  # SparseAdam adds eps to another root
    b = torch.optim.SparseAdam([theirs], lr=0.1, eps=1e-20)
    for k in range(STEPS):
        rows = np.array([k % 5, 7, k % 5])
        a.zero_grad()
        loss = (other * other).sum()
        if k > 20:
            loss = loss + (cr.take(ours, cr.Tensor(rows), axis=0) ** 2).sum()
            b.zero_grad()
            read = torch.nn.functional.embedding(torch.tensor(rows), theirs, sparse=True)
            (read**2).sum().backward()
            b.step()
        loss.backward()
        assert k <= 20 or isinstance(ours.grad, cr.RowSparse)
        a.step()
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_parameters_that_move_together_share_their_count():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 1))
    optimizer = optim.Adam(net.named_parameters(), lr=0.1)

    def counts():
        return {n.partition(".")[0]: id(s["step"]) for n, s in optimizer.state.items()}

    @cr.compile
    def step():
        optimizer.zero_grad()
        net(cr.ones((4, 2))).sum().backward()
        optimizer.step()

    step()
    assert len(set(counts().values())) == 1
    net[1].freeze()
    for _ in range(3):
        step()
    assert len(step._steps) == 1
    assert len(set(counts().values())) == 2
    net.unfreeze()
    step()
    assert len(set(counts().values())) == 2
    numbers = {n: s["step"].item() for n, s in optimizer.state.items()}
    assert numbers == {n: 2 if n.startswith("1") else 5 for n in numbers}
    saved, ends = optimizer.state_dict(), []
    for fresh in (False, True):
        twin = optim.Adam(net.named_parameters(), lr=0.1) if fresh else optimizer
        twin.load_state_dict(saved)
        assert len({id(s["step"]) for s in twin.state.values()}) == 2
        before = net.state_dict()
        net(cr.ones((4, 2))).sum().backward()
        twin.step()
        ends.append(net.state_dict())
        net.load_state_dict(before)
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name])


def test_two_steps_in_one_program():
    """The second one moves some of the parameters that share a count: they are counted twice."""
    ends = []
    for compiled in (False, True):
        p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
        optimizer = optim.Adam([p, q], lr=0.1)

        def both(p=p, q=q, optimizer=optimizer):
            optimizer.zero_grad()
            (p * p + q * q).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            (p * p * p).sum().backward()
            optimizer.step()

        run = cr.compile(both) if compiled else both
        for _ in range(4):
            run()
        assert [s["step"].item() for s in optimizer.state.values()] == [8, 4]
        ends.append((p.item(), q.item()))
    np.testing.assert_allclose(*ends, rtol=1e-6)


def test_a_state_of_one_count_for_all_is_taken():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.Adam([p, q])
    old = {k: v for k, v in optimizer.state_dict().items() if not k.endswith("/step")}
    optimizer.load_state_dict({**old, "steps": np.float64(7)})
    assert [s["step"].item() for s in optimizer.state.values()] == [7, 7]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", ["SGD dampening", "SGD nesterov", "RMSprop centered"])
def test_momentum_that_is_0_for_some_steps(name, compiled):
    """Its buffer waits, as in PyTorch."""
    kind, settings = name.split()[0], OPTIMIZERS[name]
    p, q = nn.Parameter([1.0, 2.0]), torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    ours, theirs = (
        getattr(optim, kind)([p], **settings),
        getattr(torch.optim, kind)([q], **settings),
    )

    def step():
        (p * p).sum().backward()
        ours.step()

    run = cr.compile(step) if compiled else step
    for k in range(30):
        momentum = 0.0 if 5 <= k % 15 < 9 else 0.9
        ours.param_groups[0]["momentum"] = theirs.param_groups[0]["momentum"] = momentum
        run()
        theirs.zero_grad()
        (q * q).sum().backward()
        theirs.step()
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-7)
