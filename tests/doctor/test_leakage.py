"""Inputs that tell the targets of the training, and not those held out."""

from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis import Change
from chainrule.doctor.faults.leakage import _information, leakage_faults

ROWS = 100


def facts(x, y, held_out, targets):
    return SimpleNamespace(
        training=SimpleNamespace(
            data=(x.astype(np.float32), y), valid=(held_out.astype(np.float32), targets)
        ),
        score=SimpleNamespace(task="classes" if y.dtype.kind == "i" else "numbers"),
    )


def drawn(shape=(3,), classes=4, seed=0):
    """(inputs, targets) to train on and held out, which have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    sets = [(rng.normal(size=(n, *shape)), rng.integers(0, classes, n)) for n in (ROWS, 40)]
    return sets[0][0], sets[0][1], sets[1][0], sets[1][1]


def test_what_a_column_tells():
    x = np.array([[3.0, 0.0, 3.0], [1.0, 0.0, 2.0], [2.0, 0.0, 4.0], [4.0, 0.0, 1.0]])
    y = np.array([[5.0], [1.0], [1.0], [5.0]])
    # in the order of the columns y is 1 1 5 5, with one step of 4; 5 1 1 5, with two; 5 1 5 1, with
    # three; in its own order it has one; 2 ∑ (y - 3)² = 32
    assert _information(x, y).tolist() == [
        1.0,
        1 - (32 - 16) / (32 - 16),
        1 - (48 - 16) / (32 - 16),
    ]


@pytest.mark.parametrize("shape", [(3,), (5, 5, 1), (6, 2)])
def test_a_target_among_the_inputs_is_found(shape):
    x, y, held_out, targets = drawn(shape)
    x.reshape(ROWS, -1)[:, 1] = y
    (fault,) = leakage_faults(facts(x, y, held_out, targets))
    assert (fault.kind, fault.place, fault.certain) == ("label_leakage", "data.inputs", True)
    assert fault.changes == (Change("drop", "data.inputs", 1),)
    assert fault.cause.startswith("column 1 of the inputs alone explains 100%")


def test_a_number_among_the_inputs_is_found():
    x, _, held_out, _ = drawn()
    y, targets = (np.random.default_rng(n).normal(size=(n, 1)) for n in (ROWS, 40))
    x[:, 2] = 100 - 7 * y[:, 0]
    (fault,) = leakage_faults(facts(x, y, held_out, targets))
    assert "column 2" in fault.cause


@pytest.mark.parametrize(
    "case", ["nothing tells", "it tells both", "one target", "few rows", "two targets", "in order"]
)
def test_what_is_no_leak(case):
    x, y, held_out, targets = drawn()
    if case not in ("nothing tells", "in order"):
        x[:, 0] = y
    if case == "in order":  # in which a constant column leaves the rows
        y = np.sort(y)
        x[:, 0] = held_out[:, 0] = 1
    if case == "it tells both":  # a good feature
        held_out[:, 0] = targets
    if case == "one target":
        y = np.zeros_like(y)
        x[:, 0] = y
    if case == "two targets":  # for each row
        y, targets = (np.stack([a, a + 0.5], axis=1) for a in (y, targets))
    if case == "few rows":
        x, y = x[:40], y[:40]
    assert list(leakage_faults(facts(x, y, held_out, targets))) == []


def test_without_the_leak_the_network_learns_the_rest():
    """Column 2 is the class in the rows that are trained on only; column 0 tells it nearly."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    x[:, 0] += 3 * y
    x[:400, 2] = 20 * y[:400]
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    before = x.copy()
    diagnosis = cr.diagnose(
        model,
        (x[:400], y[:400]),
        valid=(x[400:], y[400:]),
        loss="cross_entropy",
        optimizer=optim.Adam(model.parameters(), 0.01),
        seconds=4,
    )
    finding = next(f for f in diagnosis.findings if f.kind == "label_leakage")
    assert finding.remedies[-1].text == "set column 2 of the inputs to 0, held-out rows too"
    *_, line = finding.remedies[-1].code
    assert line == "x[:, 2] = 0  # of held-out rows too"
    assert finding.remedies[-1].trial.after > 0.85 > diagnosis.score + 0.1
    assert np.array_equal(x, before)
