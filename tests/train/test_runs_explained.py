"""Runs explained: the loss of training on test rows, with the names of a user's code."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, FileError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from commands import table, write_csv

RHYME = "one two three four five six seven\n" * 100
TEXT = {"hidden": [8], "embedding": 4, "length": 16, "batch_size": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("explained")
    write_csv(place / "table.csv", table())
    (place / "rhyme.txt").write_text(RHYME)
    recipes = {
        "classes": Recipe(source=str(place / "table.csv"), target="y", class_weight="balanced"),
        "numbers": Recipe(source=str(place / "table.csv"), target="z"),
        "digits": Recipe(source="digits"),
        "carried": Recipe(source=str(place / "rhyme.txt"), **TEXT),
        "windows": Recipe(source=str(place / "rhyme.txt"), **TEXT, carry=False),
    }
    for name, recipe in recipes.items():
        recipe.epochs = 1
        runs.train(recipe, place / name, progress=False)
    return place


def log_softmax(scores):
    scores = scores.astype("f8")
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def own_data(run):
    task = run._own_data()
    x, y = task.test
    with cr.no_grad():
        tensors = tuple(map(cr.Tensor, x)) if isinstance(x, tuple) else cr.Tensor(x)
        return task, run.model(tensors).numpy(), y


def test_a_classification_with_class_weights(folder):
    run = Run.open(folder / "classes")
    task, scores, y = own_data(run)
    counts = np.bincount(task.train[1])
    weight = (counts.sum() / (len(counts) * counts))[y]
    each = -log_softmax(scores)[np.arange(len(y)), y]
    explanation = run.explain(0, len(y))
    assert explanation.loss == pytest.approx((weight * each).sum() / weight.sum(), rel=1e-5)
    assert {"numbers", "categories", "target", "weight"} <= {*explanation.arrays()}
    assert {*explanation.gradients} == {name for name, _ in run.model.named_parameters()}


def test_a_regression(folder):
    run = Run.open(folder / "numbers")
    _, prediction, y = own_data(run)
    for k in (0, 5):
        assert run.explain(k).loss == pytest.approx(float((prediction[k] - y[k]) ** 2), rel=1e-5)


def test_images_with_label_smoothing(folder):
    run = Run.open(folder / "digits")
    _, scores, y = own_data(run)
    k = 7
    logs = log_softmax(scores[k])
    explanation, title = run.explained(k, 1)
    expected = -0.95 * logs[y[k]] - 0.05 * logs.mean()
    assert explanation.loss == pytest.approx(expected, rel=1e-5)
    assert title == f"digits, test image 7: {y[k]}, predicted {scores[k].argmax()}"
    assert run.explained(7, 2)[1] == "digits, test images 7 to 8"
    last = explanation._derivation.steps[-1].title
    assert last == "return cross_entropy(prediction, label, label_smoothing=0.05)"
    loss = cr.nn.functional.cross_entropy(
        run.model(cr.Tensor(run._own_data().test[0][k : k + 1])),
        cr.Tensor(y[k : k + 1]),
        label_smoothing=0.05,
    )
    loss.backward()
    for name, p in run.model.named_parameters():
        np.testing.assert_allclose(explanation.gradients[name], p.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", ["carried", "windows"])
def test_a_window_of_a_text(folder, kind):
    run = Run.open(folder / kind)
    explanation, title = run.explained(1, 1)
    assert title == f"{kind}, test window 1"
    text = run._own_data().vocabulary
    tokens, following = (explanation.arrays()[name] for name in ("tokens", "following"))
    assert tokens.shape == following.shape == (1, 16)
    assert text.decode(tokens[0]) in RHYME
    assert text.decode(following[0])[:-1] == text.decode(tokens[0])[1:]
    scores = run.model(cr.Tensor(tokens)).numpy()[0]
    logs = log_softmax(scores)[np.arange(16), following[0]]
    assert explanation.loss == pytest.approx(-logs.mean(), rel=1e-5)


def test_a_sample_that_is_not_there(folder):
    with pytest.raises(ArgumentError, match=r"got sample 16; expected samples from 0 to 15"):
        Run.open(folder / "classes").explain(16)


def test_data_that_has_changed(folder, tmp_path):
    runs.train(
        Recipe(source=str(write_csv(tmp_path / "t.csv", table())), target="z", epochs=1),
        tmp_path / "run",
        progress=False,
    )
    write_csv(tmp_path / "t.csv", table(seed=1))
    with pytest.raises(FileError, match="has changed since"):
        Run.open(tmp_path / "run").explain()
