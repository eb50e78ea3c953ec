"""Trainings whose held-out rows are those that are trained on, as the four of XOR."""

from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor.facts import Facts

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([0, 1, 1, 0])


def facts_of(data, valid):
    training = SimpleNamespace(data=data, valid=valid)
    return Facts(training, None, None, None, None, None)


def diagnose(model, optimizer, epochs):
    settings = {"loss": "cross_entropy", "optimizer": optimizer, "epochs": epochs, "batch_size": 4}
    return cr.diagnose(model, (X, Y), valid=(X, Y), seconds=3, **settings)


def xor(activation):
    cr.random.seed(0)
    return nn.Sequential(nn.Linear(2, 8), activation(), nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("held", "same"),
    [
        ([0, 1, 2, 3], True),
        ([3, 1, 0, 2, 2], True),
        ([0, 1, 2], False),  # a sample of what is trained on
    ],
)
def test_rows_are_the_same_in_any_order(held, same):
    facts = facts_of((np.tile(X, (3, 1)), np.tile(Y, 3)), (X[held], Y[held]))
    assert (facts.same_rows, facts.few_rows) == (same, not same)
    apart = np.zeros(4), np.array([0.0, 0, 0, 1])  # 0.25 ± 0.22
    assert facts.is_chance(*apart) is not same


def test_targets_without_the_noise_of_the_training_leave_rows_the_same():
    assert facts_of((X, Y + 0.1), (X, Y)).same_rows


def test_other_rows_are_not_the_same():
    assert not facts_of((X, Y), (X + 1, Y)).same_rows
    more = np.vstack([X, X + 1]), np.tile(Y, 2)
    assert not facts_of((X, Y), more).same_rows


def test_xor_with_a_rate_that_is_far_too_low():
    model = xor(nn.Sigmoid)
    diagnosis = diagnose(model, optim.Adam(model.parameters(), lr=1e-3), 100)
    assert "lr_too_low" in {f.kind for f in diagnosis.findings}
    assert diagnosis.remedy.trial.after == 1.0
    assert "too few" not in str(diagnosis)


def test_xor_with_equal_units():
    model = xor(nn.ReLU)
    with cr.no_grad():
        for p in model.parameters():
            p[...] = 0.5
    diagnosis = diagnose(model, optim.Adam(model.parameters(), lr=0.01), 300)
    assert [f.kind for f in diagnosis.findings] == ["init_symmetric"]
    assert diagnosis.remedy.trial.after == 1.0
    assert diagnosis.verdict == ""


def test_xor_that_is_learned_is_healthy():
    model = xor(nn.Tanh)
    diagnosis = diagnose(model, optim.Adam(model.parameters(), lr=0.03), 300)
    assert (diagnosis.findings, diagnosis.score) == ((), 1.0)
    assert "no better than a guess" not in str(diagnosis)
    assert "on 4 rows, the same that are trained on" in str(diagnosis)
