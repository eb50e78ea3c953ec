"""Metrics against scikit-learn; evaluate and predict."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

import chainrule as cr
from chainrule import nn
from chainrule.data import DataLoader
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn import functional
from chainrule.train import Callback, evaluate, predict
from chainrule.train.evaluation.metrics import (
    METRICS,
    accuracy,
    auc,
    confusion,
    f1,
    mae,
    metrics_by_name,
    r2,
    rmse,
)

CLOSE = functools.partial(pytest.approx, rel=1e-9, abs=1e-12)


@st.composite
def labelled(draw, classes):
    """Scores (N, C), coarse so that some tie, and class numbers."""
    count, size, seed = draw(classes), draw(st.integers(1, 60)), draw(st.integers(0, 10**6))
    random = np.random.default_rng(seed)
    levels = draw(st.sampled_from([2, 5, 10**6]))
    scores = random.integers(-levels, levels, (size, count)) / levels
    return scores.astype(np.float32), random.integers(0, count, size)


@given(labelled(st.integers(2, 6)))
def test_classes(case):
    scores, target = case
    count = scores.shape[1]
    labels = list(range(count))
    predicted = np.array([int(np.flatnonzero(row == row.max())[0]) for row in scores])
    assert accuracy(scores, target) == CLOSE(reference.accuracy_score(target, predicted))
    assert f1(scores, target) == CLOSE(
        reference.f1_score(target, predicted, average="macro", zero_division=0)
    )
    expected = reference.confusion_matrix(target, predicted, labels=labels)
    np.testing.assert_array_equal(confusion(scores, target, count), expected)


@given(labelled(st.just(2)), st.booleans(), st.booleans())
def test_two_classes_by_one_score(case, column, as_float):
    scores, target = case
    one = scores[:, 0]
    goal = target.astype(np.float32) if as_float else target
    given_ = (one[:, None], goal[:, None]) if column else (one, goal)
    predicted = [int(v > 0) for v in one]
    assert accuracy(*given_) == CLOSE(reference.accuracy_score(target, predicted))
    assert f1(*given_) == CLOSE(
        reference.f1_score(target, predicted, average="macro", zero_division=0)
    )
    assert accuracy(one[:, None], goal) == accuracy(one, goal), "a column of scores, flat targets"
    assert f1(one[:, None], goal) == f1(one, goal)


@given(labelled(st.just(2)))
def test_area_under_the_curve(case):
    scores, target = case
    difference = scores[:, 1] - scores[:, 0]
    if len(set(target.tolist())) < 2:
        assert math.isnan(auc(scores, target))
        return
    expected = reference.roc_auc_score(target, difference)
    assert auc(scores, target) == CLOSE(expected)
    assert auc(difference, target) == CLOSE(expected)
    assert auc(difference[:, None], target[:, None].astype(np.float32)) == CLOSE(expected)
    assert auc(difference[:, None], target) == CLOSE(expected)


@given(st.integers(2, 60), st.integers(0, 10**6), st.sampled_from([1e-3, 1.0, 1e4]))
def test_regression(size, seed, scale):
    random = np.random.default_rng(seed)
    target = (random.normal(size=size) * scale + scale).astype(np.float32)
    guess = (target + random.normal(size=size) * scale).astype(np.float32)
    for p, t in ((guess, target), (guess[:, None], target), (guess, target[:, None])):
        assert r2(p, t) == pytest.approx(reference.r2_score(target, guess), rel=1e-6, abs=1e-6)
        assert mae(p, t) == pytest.approx(reference.mean_absolute_error(target, guess), rel=1e-5)
        assert rmse(p, t) == pytest.approx(
            reference.root_mean_squared_error(target, guess), rel=1e-5
        )


@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 10**6))
def test_regression_of_several_columns(size, columns, seed):
    random = np.random.default_rng(seed)
    target = random.normal(size=(size, columns)) + 100 * np.arange(columns)
    guess = target + random.normal(size=(size, columns))
    assert r2(guess, target) == pytest.approx(reference.r2_score(target, guess), rel=1e-9)
    assert mae(guess, target) == pytest.approx(reference.mean_absolute_error(target, guess))
    expected = math.sqrt(reference.mean_squared_error(target, guess))
    assert rmse(guess, target) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_of_no_rows(name):
    """NaN, which is better than nothing else, and no warning."""
    for scores, target in ((0, 0), ((0, 1), 0), ((0, 2), 0), ((0, 3), (0, 3))):
        assert math.isnan(METRICS[name](np.zeros(scores), np.zeros(target)))


def test_scores_and_targets_of_other_dtypes():
    scores = np.array([[255, 0], [0, 255], [10, 20]], np.uint8)
    assert auc(scores, np.array([0, 1, 1])) == 1.0
    with pytest.raises(ArgumentError, match=r"from 0\.0 to 1\.7"):
        f1(np.zeros((2, 3)), np.array([0.0, 1.7]))


@pytest.mark.parametrize("name", ["accuracy", "f1", "auc"])
@pytest.mark.parametrize(
    ("loss", "target"),
    [
        ("mse", np.linspace(-2, 2, 6, dtype=np.float32)[:, None]),
        ("bce_with_logits", np.full((6, 3), 0.25, np.float32)),
        ("mse", np.array([-1, 1, 1, -1, 1, -1], np.float32)),
        ("mse", np.array([0, 1, 4, 0, 1, 0], np.float32)[:, None]),
    ],
)
def test_targets_that_are_no_classes_are_refused(name, loss, target):
    """Nothing would hit them, or only by chance: an accuracy of 0 of a model that is right."""
    model = nn.Linear(2, 3 if target.shape[-1:] == (3,) else 1)
    if target.ndim == 1:
        target = target[:, None]
    with pytest.raises(ArgumentError, match=r"classes 0 to 1; for measurements use"):
        cr.fit(model, (np.ones((6, 2), np.float32), target), loss=loss, metrics=name)


def test_values_at_the_edges():
    ones = np.ones(4, np.float32)
    assert accuracy(np.zeros(3), np.zeros(3)) == 1, "0 is no"
    assert f1(np.array([[1.0, 0.0, 0.0]]), np.array([0])) == 1, "two never occur"
    assert f1(np.array([[1.0, 0.0]]), np.array([1])) == 0
    assert math.isnan(r2(ones, ones)), "nothing varies"
    assert math.isnan(r2(np.ones((2, 2)), np.array([[1.0, 5.0], [2.0, 5.0]])))
    assert r2(np.array([1.5, 1.5]), np.array([1.0, 2.0])) == 0, "as good as the mean"
    assert auc(np.zeros(4), np.array([0, 1, 1, 0])) == 0.5
    assert auc(np.array([-np.inf, 0, np.inf]), np.array([0, 1, 1])) == 1
    assert mae(ones, ones) == rmse(ones, ones) == 0
    assert rmse(np.full(3, 3e38, np.float32), np.zeros(3, np.float32)) == pytest.approx(3e38)
    assert accuracy(np.zeros((2, 5, 3)), np.zeros((2, 5), int)) == 1, "a class for each character"


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("prediction", "target"),
    [((6,), (6, 2)), ((6, 2), (2, 6)), ((6, 1), (5,)), ((1,), (6,)), ((6, 3, 2), (6,))],
)
def test_shapes_are_not_broadcast(name, prediction, target):
    with pytest.raises(ShapeError, match=r"\[metric\] got predictions .* and targets"):
        METRICS[name](np.zeros(prediction), np.zeros(target, int))


def test_what_a_metric_does_not_take():
    with pytest.raises(ShapeError, match="auc is for two classes"):
        auc(np.zeros((4, 3)), np.zeros(4, int))
    for wrong in (-100, 3):
        with pytest.raises(ArgumentError, match=f"{wrong}.*; expected classes 0 to 2"):
            f1(np.zeros((4, 3)), np.array([0, 1, 2, wrong]))


def test_metrics_by_name_and_as_functions():
    def half(prediction, target):
        return 0.5

    found = metrics_by_name(
        ["accuracy", half, lambda p, t: 1, lambda p, t: 2, functools.partial(half)]
    )
    assert list(found) == ["accuracy", "half", "<lambda>", "<lambda>_2", "metric"]
    assert found["<lambda>_2"](None, None) == 2
    assert list(metrics_by_name("f1")) == ["f1"]
    assert list(metrics_by_name(half)) == ["half"]
    assert metrics_by_name(()) == {}


# evaluate and predict

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 50)


def network():
    cr.random.seed(0)
    model = nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    )
    model[1].running_mean[...] = 0.3
    return model


def state(model):
    out = {name: value.tobytes() for name, value in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    return out, modes, cr.random.default.state.numpy().tobytes()


def by_formula(model, x):
    s = model.state_dict()
    h = x @ s["0.weight"].T + s["0.bias"]
    h = (h - s["1.running_mean"]) / np.sqrt(s["1.running_var"] + 1e-5)
    h = np.maximum(h * s["1.weight"] + s["1.bias"], 0)
    return h @ s["4.weight"].T + s["4.bias"]


@pytest.mark.parametrize("size", [1, 7, 25, 50, 256])
def test_using_a_model_leaves_it_as_it_was(size):
    model = network()
    model[3].eval()
    before = state(model)
    scores = predict(model, X, batch_size=size)
    assert type(scores) is np.ndarray
    np.testing.assert_allclose(scores, by_formula(model, X), rtol=1e-5, atol=1e-6)
    found = evaluate(model, (X, Y), loss="cross_entropy", metrics="accuracy", batch_size=size)
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    assert found["loss"] == pytest.approx(-logs[np.arange(50), Y].mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((scores.argmax(-1) == Y).mean())
    assert state(model) == before
    assert before[1] == [True, True, True, True, False, True]


def test_a_model_that_draws_when_it_is_used_does_not_disturb_training():
    class Noisy(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(5, 3)

        def forward(self, x):
            return self.layer(x + cr.random.normal(x.shape))

    runs = []
    for valid in (None, (X, Y)):
        cr.random.seed(0)
        model = Noisy()
        cr.fit(model, (X, Y), loss="cross_entropy", valid=valid, epochs=2, progress=False)
        runs.append(model.state_dict())
    for name, value in runs[0].items():
        np.testing.assert_array_equal(value, runs[1][name])
    drawn = cr.random.default.state.numpy()
    evaluate(model, (X, Y), loss="cross_entropy")
    np.testing.assert_array_equal(cr.random.default.state.numpy(), drawn)


def test_the_mode_comes_back_after_an_error():
    class Fails(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(5, 3)

        def forward(self, x):
            raise RuntimeError("of its own")

    model = Fails()
    model.layer.eval()
    with pytest.raises(RuntimeError, match="of its own"):
        predict(model, X)
    assert [m.training for m in model.modules()] == [True, False]


DATA = {
    "arrays": lambda: (X, Y),
    "tensors": lambda: (cr.Tensor(X), cr.Tensor(Y)),
    "a loader": lambda: DataLoader((X, Y), 16),
    "a shuffled loader": lambda: DataLoader((X, Y), 16, shuffle=True, seed=3),
    "one batch": lambda: [(X, Y)],
    "two batches": lambda: [(X[:20], Y[:20]), (X[20:], Y[20:])],
    "a generator": lambda: ((X[k : k + 15], Y[k : k + 15]) for k in range(0, 50, 15)),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_of_any_form(kind):
    model = network()
    expected = {
        "loss": float(functional.cross_entropy(model.eval()(cr.Tensor(X)), cr.Tensor(Y))),
        "accuracy": float((model(cr.Tensor(X)).numpy().argmax(-1) == Y).mean()),
    }
    data = DATA[kind]()
    found = evaluate(model, data, loss=nn.CrossEntropyLoss(), metrics=["accuracy"])
    assert found == pytest.approx(expected, rel=1e-5)
    if isinstance(data, DataLoader):
        assert data.epoch == 0


class Parts(nn.Module):
    def forward(self, x):
        return {"twice": x[0] * 2, "rest": (x[1],)}


def test_trees_of_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(10, 3)

        def forward(self, x):
            return self.layer(cr.concat([x["a"], x["b"][0]], axis=-1))

    model, x = Two(), {"a": X, "b": [X * 2]}
    expected = np.concatenate([X, X * 2], 1) @ model.layer.weight.numpy().T + (
        model.layer.bias.numpy()
    )
    np.testing.assert_allclose(predict(model, x, batch_size=16), expected, rtol=1e-5, atol=1e-6)
    both = predict(Parts(), (X, Y), batch_size=16)
    np.testing.assert_array_equal(both["twice"], X * 2)
    np.testing.assert_array_equal(both["rest"][0], Y)
    found = evaluate(model, (x, Y), metrics="accuracy", batch_size=16)
    assert found == {"accuracy": pytest.approx((expected.argmax(-1) == Y).mean())}


def test_the_loss_is_weighted_as_it_is_in_one_batch():
    """Batches with few targets that count do not count as much as the others."""
    y = np.where(np.arange(50) < 10, Y, np.where(np.arange(50) == 49, Y, -100))
    model, loss = network().eval(), nn.CrossEntropyLoss(weight=cr.Tensor([0.2, 1.0, 4.0]))
    expected = float(loss(model(cr.Tensor(X)), cr.Tensor(y)))
    for size in (1, 9, 50):
        found = evaluate(model, (X, y), loss=loss, batch_size=size)
        assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert math.isnan(evaluate(model, (X, np.full(50, -100)), loss=loss)["loss"])


@pytest.mark.parametrize(("last", "loss"), [(nn.Identity, "bce_with_logits"), (nn.Sigmoid, "bce")])
def test_probabilities_are_halved_at_a_half(last, loss):
    cr.random.seed(2)
    model = nn.Sequential(nn.Linear(5, 1), last())
    target = (X[:, :1] > 0).astype(np.float32)
    logits = X @ model[0].weight.numpy().T + model[0].bias.numpy()
    hits = ((logits > 0) == (target > 0)).mean()
    assert 0 < hits < 1
    assert evaluate(model, (X, target), loss, "accuracy")["accuracy"] == pytest.approx(hits)

    class Looks(Callback):
        def on_epoch(self, run):
            found = ((model(cr.Tensor(X)).numpy() > (0.5 if loss == "bce" else 0)) == target).mean()
            assert run.history.epochs[-1]["valid_accuracy"] == pytest.approx(found)
            run.stop("seen")

    found = cr.fit(
        model,
        (X, target),
        loss=loss,
        valid=(X, target),
        metrics="accuracy",
        progress=False,
        callbacks=[Looks()],
    )
    assert found.stopped == "seen"


# How predictions and targets are read, by the loss

IGNORED = np.where(np.arange(50) % 3 == 0, -100, Y)


def scored():
    """A network's scores, and what evaluate gives for targets in another form."""
    model = network()
    names = ["accuracy", "f1"]
    return predict(model, X), lambda x, y, loss: evaluate(model, (x, y), loss, names)


@pytest.mark.parametrize("soft", [False, True])
def test_one_hot_and_soft_targets_are_classes_for_cross_entropy(soft):
    scores, found = scored()
    predicted = [max(range(3), key=row.__getitem__) for row in scores.tolist()]
    hot = np.eye(3)[Y] * 0.7 + 0.1 if soft else np.eye(3)[Y]
    expected = {
        "accuracy": reference.accuracy_score(Y, predicted),
        "f1": reference.f1_score(Y, predicted, average="macro"),
    }
    got = found(X, hot, nn.CrossEntropyLoss(label_smoothing=0.1))
    assert {name: got[name] for name in expected} == CLOSE(expected)


def test_one_hot_targets_of_two_classes_have_an_area_under_the_curve():
    cr.random.seed(0)
    model, target = nn.Linear(5, 2), (X[:, 0] > 0).astype(int)
    scores = predict(model, X)
    expected = reference.roc_auc_score(target, scores[:, 1] - scores[:, 0])
    assert evaluate(model, (X, np.eye(2)[target]), "cross_entropy", "auc")["auc"] == CLOSE(expected)


def test_several_labels_are_compared_one_by_one():
    model, target = network(), (RNG.random((50, 3)) > 0.5).astype(np.float32)
    hits = ((predict(model, X) > 0) == (target > 0)).mean()
    assert evaluate(model, (X, target), "bce_with_logits", "accuracy")["accuracy"] == CLOSE(hits)


@pytest.mark.parametrize("ignored", [-100, 2])
def test_targets_that_do_not_count_for_the_loss_do_not_for_metrics(ignored):
    scores, found = scored()
    y = np.where(IGNORED == -100, ignored, Y)
    kept = [k for k in range(50) if y[k] != ignored]
    predicted = [int(np.argmax(scores[k])) for k in kept]
    got = found(X, y, nn.CrossEntropyLoss(ignore_index=ignored))
    assert got["accuracy"] == CLOSE(reference.accuracy_score(y[kept], predicted))
    assert got["f1"] == CLOSE(
        reference.f1_score(y[kept], predicted, average="macro", zero_division=0)
    )
    assert math.isnan(found(X, np.full(50, -100), "cross_entropy")["accuracy"])


@pytest.mark.parametrize("loss", ["mse", None, lambda p, t: cr.mean((p - t) ** 2)])
def test_probabilities_are_halved_whatever_the_loss(loss):
    cr.random.seed(2)
    model = nn.Sequential(nn.Linear(5, 1), nn.Sigmoid())
    target = (X[:, :1] > 0).astype(np.float32)
    hits = np.mean([(p > 0.5) == (t > 0) for p, t in zip(predict(model, X), target, strict=True)])
    assert evaluate(model, (X, target), loss, "accuracy")["accuracy"] == CLOSE(hits)
    positive = evaluate(model, (X, target), "bce_with_logits", "accuracy")["accuracy"]
    assert positive == CLOSE(target.mean()), "of logits all are above 0"


def test_trees_of_predictions_come_to_a_metric_of_ones_own_whole():
    class Three(nn.Module):
        def forward(self, x):
            return x, {"half": x[:, :2]}, x.sum()

    def sizes(prediction, target):
        return prediction[0].shape[0] + prediction[1]["half"].shape[1] / 10 + len(prediction[2])

    found = evaluate(Three(), (X, Y), metrics=sizes, batch_size=20)
    assert found == {"sizes": 50 + 0.2 + 3}
    with pytest.raises(ArgumentError, match="predictions in several arrays"):
        evaluate(Three(), (X, Y), metrics="accuracy")


def test_nested_lists_are_data():
    model = network()
    expected = evaluate(model, (X, Y), "cross_entropy", "accuracy")
    lists = (X.tolist(), Y.tolist())
    assert evaluate(model, lists, "cross_entropy", "accuracy") == expected
    assert evaluate(model, list(lists), "cross_entropy", "accuracy") == expected
    with pytest.raises(ShapeError, match="inputs whose lists have unequal lengths"):
        evaluate(model, ([[1.0, 2.0], [1.0]], [0, 1]), "cross_entropy")


def test_targets_of_the_soft_margin_are_one_and_minus_one():
    cr.random.seed(2)
    model = nn.Linear(5, 1)
    target = np.where(X[:, :1] > 0, 1.0, -1.0)
    hits = np.mean([(p > 0) == (t > 0) for p, t in zip(predict(model, X), target, strict=True)])
    found = evaluate(model, (X, target), "soft_margin_loss", "accuracy")
    assert found["accuracy"] == CLOSE(hits)
