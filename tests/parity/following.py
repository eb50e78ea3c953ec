"""Training one of our networks and PyTorch's, step by step, from the same weights."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim

T = torch.nn
F, G = nn.functional, T.functional
STEPS = 50
torch.set_num_threads(1)  # on a busy machine its threads mostly wait for each other


def channels_first(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def take_over(ours, theirs):
    """Copy PyTorch's parameters and buffers into our module; convolutions change their layout."""
    layouts = {}
    for path, module in theirs.named_modules():
        if isinstance(module, (T.Conv1d, T.Conv2d, T.Conv3d)):
            layouts[f"{path}.weight"] = lambda w: np.moveaxis(np.moveaxis(w, 0, -1), 0, -2)
        if isinstance(module, (T.ConvTranspose1d, T.ConvTranspose2d, T.ConvTranspose3d)):
            layouts[f"{path}.weight"] = lambda w: np.moveaxis(np.moveaxis(w, 0, -1), 0, -2)
    state = {}
    for name, value in theirs.state_dict().items():
        array = value.numpy()
        state[name] = layouts.get(name, lambda w: w)(array).copy()
    ours.load_state_dict(state)


def follow(
    ours,
    theirs,
    batches,
    loss,
    their_loss,
    make=None,
    their_make=None,
    schedules=None,
    prepare=torch.from_numpy,
    clip=None,
    copy=take_over,
):
    """Train both; the losses of every step agree.

    copy   gives our module the parameters of PyTorch's
    """
    copy(ours, theirs)
    optimizer = (make or (lambda ps: optim.SGD(ps, lr=0.05)))(ours.parameters())
    other = (their_make or (lambda ps: torch.optim.SGD(ps, lr=0.05)))(theirs.parameters())
    schedule, their_schedule = (
        s(o) if s else None
        for s, o in zip(schedules or (None, None), (optimizer, other), strict=True)
    )

    @cr.compile
    def step(x, y):
        value = loss(ours(x), y)
        value.backward()
        if clip:
            nn.utils.clip_grad_norm_(ours.parameters(), clip)
        optimizer.step()
        return value

    found, expected = [], []
    for k in range(STEPS):
        x, y = batches[k % len(batches)]
        found.append(float(step(x, y)))
        other.zero_grad()
        value = their_loss(theirs(prepare(x)), torch.from_numpy(y))
        value.backward()
        if clip:
            T.utils.clip_grad_norm_(theirs.parameters(), clip)
        other.step()
        expected.append(value.item())
        if schedule is not None:
            assert schedule.get_last_lr() == pytest.approx(their_schedule.get_last_lr(), rel=1e-9)
            schedule.step()
            their_schedule.step()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert len(step._steps) == 1, "one program for all steps"


def points(n=4, size=16, features=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(size, features)).astype(np.float32), rng.integers(0, classes, size))
        for _ in range(n)
    ]


def mlp():
    torch.manual_seed(0)
    theirs = T.Sequential(T.Linear(6, 16), T.Tanh(), T.Linear(16, 8), T.ReLU(), T.Linear(8, 4))
    ours = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    return ours, theirs


def images(size=12, channels=1, n=3, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(8, size, size, channels)).astype(np.float32), rng.integers(0, 4, 8))
        for _ in range(n)
    ]


class FlattenFirst(T.Module):
    """Flatten channels last, as our layout does."""

    def forward(self, x):
        return torch.flatten(torch.movedim(x, 1, -1), 1)
