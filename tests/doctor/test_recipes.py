"""The training of a recipe: that of `chainrule train`, in the form that the doctor takes."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.diagnosis import Change
from chainrule.doctor.recipes import repaired, training_of
from chainrule.errors import ArgumentError
from chainrule.train import Recipe
from chainrule.train.runs.tasks import kind_of
from chainrule.train.runs.training import completed
from commands import table, write_csv


def began(recipe):
    """The task and the network as a run begins, from what runs are made of."""
    task = kind_of(recipe.source).load(recipe)
    cr.random.seed(recipe.seed or 0)
    return task, task.network(completed(recipe, task))


def outputs(model, x):
    with cr.no_grad():
        return model.eval()(x).numpy()


@pytest.fixture
def csv(tmp_path):
    return str(write_csv(tmp_path / "table.csv", table()))


@pytest.mark.parametrize("target", ["y", "z"])
def test_a_table_with_categories(csv, target):
    recipe = Recipe(source=csv, target=target, drop=["when"], seed=3)
    task, network = began(recipe)
    training = training_of(recipe).training
    for part, (x, y) in ((task.train, training.data), (task.valid, training.valid)):
        np.testing.assert_array_equal(y.reshape(-1), part[1])
        got = outputs(training.model, x)
        np.testing.assert_allclose(
            got.reshape(len(x), -1), outputs(network, part[0]).reshape(len(x), -1), rtol=1e-6
        )
    assert np.abs(training.data[0].mean(0)).max() < 1e-4


def test_a_code_that_is_scaled_away_is_the_nearest_category(csv):
    training = training_of(Recipe(source=csv, target="y", drop=["when"])).training
    x = training.data[0].copy()
    x[:, -1] *= 100
    assert np.isfinite(outputs(training.model, x)).all()


def test_images_are_standardised_before():
    recipe = Recipe(source="digits", seed=1)
    task, network = began(recipe)
    training = training_of(recipe).training
    x, y = training.valid
    assert abs(training.data[0].mean()) < 0.1
    assert 0.5 < training.data[0].std() < 1.5
    np.testing.assert_array_equal(y, task.valid[1])
    np.testing.assert_allclose(
        outputs(training.model, x), outputs(network, task.valid[0]), atol=1e-5
    )
    paths = dict(training.model.named_modules())
    assert all(
        type(paths[p]) is type(m) for p, m in network.named_modules() if type(m) is nn.Linear
    )


def test_the_rates_are_those_of_the_recipe():
    recipe = training_of(Recipe(source="iris", lr=0.02, epochs=2, batch_size=35, schedule="cosine"))
    training = recipe.training
    assert training.settings["lr"] == 0.02
    assert (training.batch, training.epochs, training.clip_norm) == (35, 2, 1.0)
    optimizer = training.fork().optimizer
    schedule = training.scheduling(optimizer, 6)  # 3 steps per epoch, none for the warm-up
    rates = []
    for _ in range(6):
        rates.append(schedule.get_last_lr()[0])
        schedule.step()
    np.testing.assert_allclose(rates, [0.01 * (1 + np.cos(np.pi * k / 6)) for k in range(6)])
    assert training_of(Recipe(source="iris", schedule="constant")).training.scheduling is None


def test_a_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be " * 200)
    with pytest.raises(ArgumentError, match="expected a table or images"):
        training_of(Recipe(source=str(tmp_path / "a.txt")))


def test_notes():
    assert any("15 validation rows are few" in n for n in training_of(Recipe(source="iris")).notes)
    assert training_of(Recipe(source="digits", augment="none")).notes == []
    notes = training_of(Recipe(source="digits", model="cnn", augment="full")).notes
    assert notes == ["the images are not changed at random: augment is left out"]


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (Change("rate", "optimizer.lr", 0.1), {"lr": 0.1}),
        (
            Change("optimizer", "optimizer", ("adam", 0.2)),
            {"optimizer": "adam", "lr": 0.2, "weight_decay": 0.0},
        ),
        (Change("decay", "optimizer.weight_decay", 0.0), {"weight_decay": 0.0}),
        (Change("batch", "batch", 16), {"batch_size": 16}),
        (Change("epochs", "epochs", 40), {"epochs": 40, "patience": 40}),
        (Change("remove", "layers.2"), {"dropout": 0.0}),
        (Change("loss", "loss", "mse"), {"loss": "mse"}),
        (Change("activation", "layers.1", "tanh"), {}),
        (Change("insert", "layers.0", "batchnorm"), {}),
        (Change("loss", "loss", "bce_logits"), {}),
    ],
)
def test_changes_that_a_recipe_has_settings_for(change, settings):
    recipe = Recipe(source="iris", lr=1.0, dropout=0.5, loss="mae", weight_decay=0.3, epochs=4)
    new, others = repaired(recipe, [change])
    assert {n: v for n, v in vars(new).items() if v != getattr(recipe, n)} == settings
    assert others == ([] if settings else [change])
