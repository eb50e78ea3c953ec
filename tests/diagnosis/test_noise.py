"""The gradient noise scale by hand, and where it is known."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.diagnosis import gradient_noise_scale
from chainrule.diagnosis.noise import noise_scale


def test_two_gradients_by_hand():
    """Mean (2, 0), deviations (±1, 0): tr Σ = 5 · 2 / 1 = 10, |G|² = 4 - 10 / (2 · 5) = 3."""
    assert noise_scale(np.array([[1.0, 0.0], [3.0, 0.0]]), 5) == pytest.approx(10 / 3)


def test_gradients_without_noise_or_without_signal():
    assert noise_scale(np.ones((4, 3)), 8) == 0
    assert noise_scale(np.array([[1.0, 0.0], [-1.0, 0.0]]), 8) == math.inf
    assert math.isnan(noise_scale(np.array([[np.inf], [1.0]]), 8))


@pytest.mark.parametrize("rows", [2, 16])
def test_of_many_batches_it_is_the_true_one(rows):
    """The gradient of ½ |w - x|² is w - x: its mean is w - E x, its covariance that of x."""
    x = np.random.default_rng(2).normal(size=(20_000, 3)) * [1.0, 2.0, 3.0]
    w = nn.Parameter(np.array([1.0, 2.0, -1.0]))
    batches = [(cr.Tensor(part),) for part in x.reshape(-1, rows, 3)[:400]]
    found = gradient_noise_scale(lambda x: ((w - x) ** 2).sum(-1).mean() / 2, [w], batches)
    assert found == pytest.approx((1 + 4 + 9) / (1 + 4 + 1), rel=0.2)
    assert w.grad is None


@pytest.mark.parametrize("rows", [(), (4,), (4, 5)])
def test_batches_that_tell_nothing(rows):
    w = nn.Parameter(np.ones(3))
    with pytest.raises(cr.errors.ArgumentError, match="expected two or more"):
        gradient_noise_scale(lambda x: (w * x).sum(), [w], [(np.ones((n, 3)),) for n in rows])


def test_rows_of_inputs_in_a_dict():
    draw = np.random.default_rng(3)
    x = draw.normal(size=(4, 10, 3)).astype("float32")
    y = draw.normal(size=(4, 10, 1)).astype("float32")
    layer = nn.Linear(3, 1)

    def loss(inputs, targets):
        return ((layer(cr.Tensor(inputs)) - cr.Tensor(targets)) ** 2).mean()

    scale = cr.diagnosis.gradient_noise_scale
    plain = scale(loss, layer.parameters(), [*zip(x, y, strict=True)])
    named = [({"a": a}, b) for a, b in zip(x, y, strict=True)]
    assert scale(lambda i, t: loss(i["a"], t), layer.parameters(), named) == plain


@pytest.mark.parametrize("batches", [[None, None], [(), ()], [(np.zeros((0, 3)),)] * 2, [3, 4]])
def test_batches_without_rows(batches):
    layer = nn.Linear(3, 1)
    with pytest.raises(cr.errors.ArgumentError, match="gradient_noise_scale"):
        cr.diagnosis.gradient_noise_scale(
            lambda *b: layer.weight.sum(), layer.parameters(), batches
        )
