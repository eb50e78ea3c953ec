"""How good predictions are: beside values computed by hand."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor.score import score_for


def test_r2_is_one_minus_the_error_over_the_variance_of_the_rows():
    y = np.array([[1.0], [2.0], [3.0], [6.0]])  # mean 3, squares 4 + 1 + 0 + 9 = 14
    out = np.array([[1.0], [2.0], [2.0], [4.0]])  # errors 0, 0, 1, 4
    assert score_for(y, y)(out, y) == pytest.approx(1 - 5 / 14)


def test_r2_is_the_same_for_targets_in_other_units():
    draw = np.random.default_rng(0)
    y = draw.normal(40, 20, (50, 2))
    out = y + draw.normal(0, 5, y.shape)
    score = score_for(y, y)
    assert score((out - 40) / 20, (y - 40) / 20) == pytest.approx(score(out, y))
    assert abs(score(np.zeros_like(y), (y - y.mean(0)) / 20)) < 1e-12  # their mean


def test_balanced_accuracy_is_the_mean_over_the_classes():
    y = np.array([0] * 9 + [1])
    out = np.zeros((10, 2))
    out[:, 0] = 1
    score = score_for(y, y, (2,))
    assert (score.name, score(out, y)) == ("balanced accuracy", 0.5)


def test_targets_outside_of_the_outputs_range_need_more_than_scaling():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(400, 4)).astype("float32")
    y = (40 + 20 * x[:, :1] - 10 * x[:, 1:2]).astype("float32")
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    diagnosis = cr.diagnose(model, (x, y), loss="mse", optimizer=optimizer, seconds=6)
    for attempt in diagnosis.trials:  # targets below 0, where a sigmoid has no outputs
        linear = "no activation in place of sigmoid" in attempt.text
        assert linear or attempt.trial.after < 0.95, attempt
    assert any("no activation" in f.remedies[0].text for f in diagnosis.findings)


@pytest.mark.parametrize(
    ("y", "valid", "outputs", "expected"),
    [
        ([0, 1, 1, 2], [1, 1, 0, 2], (3,), [1, 1, 0, 0]),  # the class 1
        ([[0], [1], [1]], [[1], [0]], (1,), [1, 0]),
        ([[0, 1], [1, 1]], [[1, 0], [1, 1]], (2, 2), [1, 0, 1, 1]),  # each place of a sequence
        ([[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]], (2,), [0.5, 1]),  # labels 0 and 1
        ([[1.5], [2.5]], [[1.0], [3.0]], (1,), [0, 0]),  # 1 − 1/1 with the mean 2
        ([1, 3], [1, 3], (1,), [0, 0]),
    ],
)
def test_the_best_constant(y, valid, outputs, expected):
    y, valid = np.array(y), np.array(valid)
    score = score_for(y, valid, outputs)
    score = type(score)(score.task, "R²" if score.task == "numbers" else "accuracy", score.classes)
    assert score.of_constant(y, valid).tolist() == expected


def test_ignored_targets_do_not_count():
    y = np.array([0, 1, -100, 1])
    out = np.array([[2.0, 1], [2, 1], [2, 1], [1, 2]])  # right, wrong, ignored, right
    assert score_for(y, y, (2,))(out, y) == pytest.approx(2 / 3)
    rare = np.array([0] * 8 + [1, -100])
    score = score_for(rare, rare, (2,))
    assert score.name == "balanced accuracy"
    assert score(np.tile([1.0, 0], (10, 1)), rare) == 0.5
