"""Schedules beside PyTorch's: one after the other, side by side, and rates set by hand."""

import math

import pytest
import torch

import chainrule as cr
from chainrule import nn, optim

S = torch.optim.lr_scheduler
RATES = (0.5, 2.0)  # of two groups of parameters
KINDS = {
    "StepLR": lambda m, o: m.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [2, 5, 5, 9], 0.3),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 4, 1e-3),
    "CosineAnnealingLR short": lambda m, o: m.CosineAnnealingLR(o, 1, 0.1),
    "LinearLR": lambda m, o: m.LinearLR(o, 0.1, 1.0, 4),
    "LinearLR down": lambda m, o: m.LinearLR(o, 1.0, 0.2, 6),
    "LambdaLR": lambda m, o: m.LambdaLR(o, lambda t: 1 / (1 + t)),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.3, 30),
}


def pair():
    """The same optimizer, ours and PyTorch's, each with its schedules."""
    ours = optim.SGD([{"params": [nn.Parameter([1.0])], "lr": r} for r in RATES], momentum=0.9)
    theirs = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": r} for r in RATES], momentum=0.9
    )
    return (optim, ours), (S, theirs)


def sequence(first, second, module, optimizer):
    a, b = first(module, optimizer), second(module, optimizer)
    for k in range(15):
        optimizer.step()  # or PyTorch warns of the order
        yield
        (a if k < 5 else b).step()


def together(first, second, module, optimizer):
    a, b = first(module, optimizer), second(module, optimizer)
    for _ in range(15):
        optimizer.step()
        yield
        a.step()
        b.step()


def later(first, second, module, optimizer):
    a = first(module, optimizer)
    for _ in range(5):
        optimizer.step()
        yield
        a.step()
    b = second(module, optimizer)
    for _ in range(10):
        optimizer.step()
        yield
        b.step()


def by_hand(first, second, module, optimizer):
    optimizer.param_groups[1]["lr"] = 1.5  # before there is a schedule: where it starts
    a = first(module, optimizer)
    for k in range(12):
        optimizer.step()
        yield
        a.step()
        if k == 3:
            optimizer.param_groups[0]["lr"] = 0.07
        if k == 7:
            a = second(module, optimizer)


def path(plan, first, second, side):
    """The rates, initial rates and momenta of both groups, step by step."""
    for _ in plan(KINDS[first], KINDS[second], *side):
        yield [g[n] for g in side[1].param_groups for n in ("lr", "initial_lr", "momentum")]


@pytest.mark.parametrize("plan", [sequence, together, later, by_hand])
@pytest.mark.parametrize("first", KINDS)
def test_two_schedules(first, plan):
    for second in KINDS:
        ours, theirs = pair()
        found = path(plan, first, second, ours)
        for k, expected in enumerate(path(plan, first, second, theirs)):
            if min(expected) < 0:  # of a cosine, when the other one is below its eta_min
                with pytest.raises(cr.errors.ArgumentError, match="got lr -"):
                    next(found)
                break
            message = f"{first}, {second}, step {k}"
            assert next(found) == pytest.approx(expected, rel=1e-9, abs=1e-15), message


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau(mode, threshold_mode):
    """Factors of a fifth down to where eps holds them."""
    (_, ours), (_, theirs) = pair()
    a, b = (
        module.ReduceLROnPlateau(o, mode, 0.2, 1, 0.01, threshold_mode, 1, 1e-6, 1e-4)
        for module, o in ((optim, ours), (S, theirs))
    )
    metrics = [3, 2, 2, 1.995, 1.985, 1.9, math.nan, *([1.9] * 40), 0.5, -1, -1.005, -3]
    for k, metric in enumerate(metrics):
        a.step(metric)
        b.step(metric)
        found, expected = ([g["lr"] for g in o.param_groups] for o in (ours, theirs))
        assert found == pytest.approx(expected, rel=1e-12), k
    assert min(found) > 1e-6, "the last reductions were left out"


@pytest.mark.parametrize("name", KINDS)
def test_a_schedule_goes_on_where_it_was(name):
    """From its state and the optimizer's, whatever the rates of the new ones are."""

    def made(rate):
        optimizer = optim.Adam([nn.Parameter([1.0])], lr=rate)
        return optimizer, KINDS[name](optim, optimizer)

    optimizer, schedule = made(0.5)
    paths, other = [[], []], None
    for k in range(12):
        if k == 6:
            saved = optimizer.state_dict(), schedule.state_dict()
            other = made(0.25)
            for part, state in zip(other, saved, strict=True):
                part.load_state_dict(state)
        for path, (o, s) in zip(paths, ((optimizer, schedule), other or made(1.0)), strict=True):
            group = o.param_groups[0]
            path.append((group["lr"], group["betas"], group["initial_lr"]))
            s.step()
    assert paths[0][6:] == paths[1][6:]


def test_a_schedule_after_loading_starts_from_the_initial_rate():
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    optim.StepLR(optimizer, 1, 0.5).step()
    fresh = optim.SGD([nn.Parameter([1.0])], lr=0.1)
    fresh.load_state_dict(optimizer.state_dict())
    assert fresh.param_groups[0]["lr"] == 0.5
    assert optim.LambdaLR(fresh, lambda t: 2.0).get_last_lr() == [2.0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: optim.LinearLR(o, 0.0), "got start_factor 0.0"),
        (lambda o: optim.LinearLR(o, 0.5, 2.0), "end_factor 2.0"),
        (lambda o: optim.LinearLR(o, total_iters=0), "total_iters 0"),
        (lambda o: optim.ReduceLROnPlateau(o, threshold_mode="share"), "threshold_mode 'share'"),
        (
            lambda o: optim.StepLR(o, 1).load_state_dict({"last_epoch": 1, "base_lrs": [1, 2]}),
            "state of 2 groups",
        ),
    ],
)
def test_bad_schedules(make, words):
    with pytest.raises(cr.errors.ArgumentError, match=words):
        make(optim.SGD([nn.Parameter([1.0])], lr=1.0))
