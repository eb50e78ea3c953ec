"""What a loss is, read from its values alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from chainrule.doctor.loss_reading import LossReading, read_loss

T = functional
CLASSES = np.random.default_rng(0).integers(0, 4, 40)
NUMBERS = np.random.default_rng(1).normal(size=(40, 1)).astype(np.float32)
LABELS = np.random.default_rng(2).integers(0, 2, (40, 3)).astype(np.float32)
BINARY = np.random.default_rng(3).integers(0, 2, 40)


def hot(y, like):
    return T.one_hot(y, like.shape[1]).to(like.dtype)


def column(y, like):
    return y.to(like.dtype)[:, None]


CASES = {
    "scores": (lambda p, y: T.cross_entropy(p, y), 4, CLASSES, ("cross_entropy", "logits", "mean")),
    "probabilities": (
        lambda p, y: T.nll_loss(torch.log(p / p.sum(1, keepdim=True)), y),
        *(4, CLASSES, ("cross_entropy", "probabilities", "mean", False, False)),
    ),
    "protected": (
        lambda p, y: T.nll_loss(torch.log(p.clamp(1e-7, 1)), y),
        *(4, CLASSES, ("cross_entropy", "probabilities", "mean")),
    ),
    "sum of rows": (
        lambda p, y: T.cross_entropy(p, y, reduction="sum"),
        *(4, CLASSES, ("cross_entropy", "logits", "sum")),
    ),
    "mean over classes": (
        lambda p, y: -(hot(y, p) * p.log_softmax(1)).sum(0).mean(),
        *(4, CLASSES, ("cross_entropy", "logits", "sum_over_rows")),
    ),
    "every target": (
        lambda p, y: -(hot(y, p)[:, None] * p.log_softmax(1)).mean(),
        *(4, CLASSES, ("cross_entropy", "logits", "mean", True)),
    ),
    "one unit": (
        lambda p, y: T.binary_cross_entropy(p, column(y, p)),
        *(1, BINARY, ("binary_cross_entropy", "probabilities", "mean")),
    ),
    "one score": (
        lambda p, y: T.binary_cross_entropy_with_logits(p, column(y, p)),
        *(1, BINARY, ("binary_cross_entropy", "logits", "mean")),
    ),
    "labels": (
        lambda p, y: T.binary_cross_entropy(p, y),
        *(3, LABELS, ("binary_cross_entropy", "probabilities", "mean")),
    ),
    "labels of classes": (
        lambda p, y: T.binary_cross_entropy(p, hot(y, p)),
        *(4, CLASSES, ("binary_cross_entropy", "probabilities", "mean")),
    ),
    "squares": (lambda p, y: T.mse_loss(p, y), 1, NUMBERS, ("mse", "numbers", "mean")),
    "squares of classes": (
        lambda p, y: T.mse_loss(p, hot(y, p)),
        *(4, CLASSES, ("mse", "numbers", "mean")),
    ),
    "sum of squares": (
        lambda p, y: T.mse_loss(p, y, reduction="sum"),
        *(1, NUMBERS, ("mse", "numbers", "sum")),
    ),
    "squares of all pairs": (
        lambda p, y: ((p - y[:, 0]) ** 2).mean(),
        *(1, NUMBERS, ("mse", "numbers", "mean", True)),
    ),
    "sizes": (lambda p, y: T.l1_loss(p, y), 1, NUMBERS, ("mae", "numbers", "mean")),
    "another": (lambda p, y: (p - y).cosh().mean(), 1, NUMBERS, ("", "", "")),
}


def read(loss, outputs, targets):
    def value(outputs, y):
        return float(loss(torch.tensor(outputs), torch.tensor(y)))

    return read_loss(value, outputs, targets)


@pytest.mark.parametrize(("loss", "units", "targets", "expected"), CASES.values(), ids=CASES)
def test_a_loss_is_known_by_its_values(loss, units, targets, expected):
    assert read(loss, (units,), targets) == LossReading(*expected)


def test_each_step_of_a_sequence_counts_as_a_row():
    tags = np.random.default_rng(4).integers(0, 4, (40, 5))

    def loss(p, y):
        return T.cross_entropy(p.transpose(1, 2), y)

    assert read(loss, (5, 4), tags) == LossReading("cross_entropy", "logits", "mean")
    values = np.random.default_rng(5).normal(size=(40, 5, 2)).astype(np.float32)
    found = read(lambda p, y: T.mse_loss(p, y), (5, 2), values)
    assert found == LossReading("mse", "numbers", "mean")


def test_the_wrong_sign_is_read():
    found = read(lambda p, y: -T.cross_entropy(p, y), (4,), CLASSES)
    assert (found.name, found.negative) == ("cross_entropy", True)


def test_softmax_that_a_loss_applies_twice_is_read():
    found = read(lambda p, y: T.cross_entropy(p.softmax(1), y), (4,), CLASSES)
    assert (found.name, found.takes) == ("cross_entropy", "softened logits")
