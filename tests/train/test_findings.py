"""What the report says of a run; the rates that find_lr tries; pictures in a page."""

import base64
import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError
from chainrule.train.charts.pixels import png
from chainrule.train.evaluation.objective import Objective
from chainrule.train.findings import Guess
from chainrule.train.findings import findings_of_run as findings
from chainrule.train.loop.history import GradientFlow, History


def history(norms=((1.0, 1.0),), valid=(), loss=None, guess=None, best=None):
    layers = [f"{k} Linear" for k in range(len(norms[0]))]
    flow = GradientFlow(layers, list(range(len(norms))), [list(n) for n in norms])
    loss = [1.0] * len(valid) if loss is None else loss
    rows = [
        {"loss": a, **({"valid_loss": b} if valid else {})}
        for a, b in itertools.zip_longest(loss, valid)
    ]
    return History(rows, best, "epochs", flow, guess)


STEADY = [(0.5, 0.4)] * 40
GUESS = Guess("accuracy", 0.5)
GOOD = ({"accuracy": 0.97}, 100, GUESS)
LN_3 = (1.0986, 0.0)  # three classes of the same size
CASES = {
    "healthy": (history(STEADY), [], GOOD, "good", "reach every layer"),
    "vanishing": (history([(1e-6, 0.1)] * 20), [], GOOD, "warning", "vanish"),
    "bursting": (history([*STEADY, (90.0, 3.0), *STEADY]), [], GOOD, "warning", "exploded"),
    "ever smaller": (
        history([(10.0**-k, 10.0**-k) for k in np.linspace(0, 6, 200)]),
        [],
        GOOD,
        "good",
        "reach",
    ),
    "dead": (history([(0.1, 0.0, 0.1)] * 20), [], GOOD, "warning", "1 Linear gets no"),
    "by heart": (
        history(STEADY, [0.5, 0.4, 0.3, 0.5, 0.7], [0.6, 0.3, 0.1, 0.05, 0.02], LN_3),
        [],
        GOOD,
        "notice",
        "overfits",
    ),
    "by heart, of an unknown loss": (
        history(STEADY, [0.5, 0.4, 0.3, 0.5, 0.7], [0.6, 0.3, 0.1, 0.05, 0.02]),
        [],
        GOOD,
        "notice",
        "overfits",
    ),
    "by heart, with smoothed classes": (  # the least loss is 0.39
        history(STEADY, [0.5, 0.45, 0.6, 0.8, 0.9], [0.7, 0.5, 0.43, 0.41, 0.4], (1.0986, 0.39)),
        [],
        GOOD,
        "notice",
        "overfits",
    ),
    "hardly learned": (
        history(STEADY, [1.08, 1.06, 1.1, 1.2, 1.3], [1.13, 1.08, 1.03, 1.0, 0.97], LN_3),
        [],
        GOOD,
        "notice",
        "does not generalize to the validation data",
    ),
    "not learned": (
        history(STEADY, [1.1] * 3, [1.2, 1.11, 1.097], LN_3),
        [],
        GOOD,
        "notice",
        "has hardly learned the training data",
    ),
    "not learned, while the validation loss rises": (
        history(STEADY, [1.1, 1.1, 1.2, 1.3, 1.4], [1.2, 1.11, 1.1, 1.1, 1.097], LN_3),
        [],
        GOOD,
        "notice",
        "has hardly learned the training data",
    ),
    "climbing": (
        history(STEADY, [86, 400, 310, 305, 298], [90, 350, 320, 310, 300]),
        [],
        GOOD,
        "warning",
        "training loss rises",
    ),
    "climbing without validation": (
        history(STEADY, loss=[86, 100, 300]),
        [],
        GOOD,
        "warning",
        "training loss rises",
    ),
    "rose again": (history(STEADY, loss=[1.0, 0.2, 0.21, 0.7]), [], GOOD, "notice", "rose again"),
    "noise": (history(STEADY, loss=[0.7, 0.69, 0.695, 0.71]), [], GOOD, "good", "reach"),
    "the last epoch is better than a bad one": (
        history(STEADY, [0.3, 0.29, 0.4, 0.35], [0.5, 0.4, 0.39, 0.39]),
        [],
        GOOD,
        "good",
        "reach",
    ),
    "a negative loss that stays": (
        history(STEADY, [-5.0, -5.02], [-5.0, -5.02]),
        [],
        GOOD,
        "good",
        "reach",
    ),
    "the first epoch is the best": (
        history(STEADY, [0.3, 0.302, 0.301, 0.303, 0.304], [0.5, 0.4, 0.39, 0.39, 0.38], LN_3),
        [],
        GOOD,
        "notice",
        "No epoch was better than the first",
    ),
    "the first epoch is the best by far": (
        history(STEADY, [0.3, 0.4, 0.5, 0.6, 0.7], [0.5, 0.2, 0.1, 0.05, 0.02], LN_3),
        [],
        GOOD,
        "notice",
        "overfits",
    ),
    "false alarms": (
        history(STEADY),
        [],
        (*GOOD, np.array([[800, 98], [1, 12]]), ["no", "fraud"]),
        "warning",
        "False alarms: fraud",
    ),
    "misses": (
        history(STEADY),
        [],
        (*GOOD, np.array([[890, 2], [20, 12]]), ["no", "fraud"]),
        "warning",
        "Misses: fraud",
    ),
    "never named": (
        history(STEADY),
        [],
        (*GOOD, np.array([[890, 0], [20, 0]]), ["no", "fraud"]),
        "warning",
        "Misses: fraud",
    ),
    "few mistakes": (
        history(STEADY),
        [],
        (*GOOD, np.array([[95, 3], [1, 1]]), ["no", "fraud"]),
        "good",
        "reach",
    ),
    "guesses alone": (
        history(STEADY),
        [],
        (
            {"accuracy": 0.95},
            900,
            Guess("accuracy", 0.97, True),
            np.array([[850, 30], [15, 5]]),
            ["no", "fraud"],
        ),
        "warning",
        "It does worse than a guess",
    ),
    "few rows of a class, told apart": (  # 6 gained and 1 lost against the guess: z = 1.9
        history(STEADY),
        [],
        (
            {"accuracy": 0.985},
            337,
            Guess("accuracy", 327 / 337, True),
            np.array([[326, 1], [4, 6]]),
            ["no", "fraud"],
        ),
        "good",
        "reach",
    ),
    "few rows of a class, by chance": (  # 4 gained and 3 lost
        history(STEADY),
        [],
        (
            {"accuracy": 330 / 337},
            337,
            Guess("accuracy", 329 / 337, True),
            np.array([[326, 3], [4, 4]]),
            ["no", "fraud"],
        ),
        "warning",
        "It does hardly better than a guess",
    ),
    "validation rows of another scale": (
        history(
            STEADY, [5e6, 4.95e6, 4.92e6, 4.91e6, 4.9e6], [1.0, 0.5, 0.1, 0.01, 0.003], (1.02, 0.0)
        ),
        [],
        GOOD,
        "notice",
        "does not generalize to the validation data",
    ),
    "vanishing to nothing": (
        history([(0.0, 0.0, 1e-20, 1e-9, 0.1)] * 20),
        [],
        GOOD,
        "warning",
        "vanish",
    ),
    "small before a normalization": (history([(1e-6, 0.1, 0.1)] * 20), [], GOOD, "good", "reach"),
    "two dead layers": (
        history([(0.1, 0.0, 0.0, 0.1)] * 20),
        [],
        GOOD,
        "warning",
        "1 Linear, 2 Linear get no",
    ),
    "a little worse than best": (
        history(STEADY, [9.0, 0.4, 0.3, 0.3, 0.35]),
        [],
        GOOD,
        "good",
        "reach",
    ),
    "still better": (history(STEADY, [0.5, 0.4]), [], GOOD, "notice", "still getting better"),
    "untrained": (
        history(STEADY),
        ["layer.bias: forward does not use it"],
        GOOD,
        "warning",
        "layer.bias",
    ),
    "a guess": (history(STEADY), [], ({"accuracy": 0.52}, 100, GUESS), "warning", "than a guess"),
    "by chance": (
        history(STEADY),
        [],
        ({"accuracy": 0.575}, 80, Guess("accuracy", 0.525)),
        "warning",
        "than a guess",
    ),
    "above chance": (
        history(STEADY),
        [],
        ({"accuracy": 0.575}, 8000, Guess("accuracy", 0.5)),
        "good",
        "reach",
    ),
    "balanced": (
        history(STEADY),
        [],
        ({"accuracy": 0.8, "f1": 0.75}, 900, Guess("f1", 0.47)),
        "good",
        "reach",
    ),
    "small burst": (
        history([*STEADY, (0.003, 0.004), *[(1e-5, 1e-5)] * 30, (1.2, 0.9)]),
        [],
        GOOD,
        "notice",
        "exploded",
    ),
    "worse than the mean": (
        history(STEADY),
        [],
        ({"r2": -0.3}, 100, Guess("r2", 0.0)),
        "warning",
        "a guess",
    ),
    "nan": (history(STEADY), [], ({"r2": math.nan}, 100, Guess("r2", 0.0)), "warning", "a guess"),
    "text": (history(STEADY), [], ({"bits_per_character": 2.0}, 100, None), "good", "reach"),
    "few rows": (history(STEADY), [], ({"accuracy": 0.97}, 5, GUESS), "notice", "Only 5 test rows"),
    "below a guess, by chance": (  # ± 0.082
        history(STEADY),
        [],
        ({"accuracy": 0.45}, 100, GUESS),
        "warning",
        "It does no better than a guess",
    ),
    "too few rows to tell": (
        history(STEADY),
        [],
        ({"accuracy": 0.6}, 10, GUESS),
        "notice",
        "Too few test rows to tell it from a guess",
    ),
    "all right, and a guess nearly so": (
        history(STEADY),
        [],
        ({"accuracy": 1.0}, 25, Guess("accuracy", 0.96)),
        "notice",
        "Only 25 test rows",
    ),
    "one row": (
        history(STEADY),
        [],
        ({"r2": math.nan}, 1, Guess("r2", 0.0)),
        "notice",
        "Only 1 test row",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_finding_and_no_other(name):
    made, untrained, test, level, title = CASES[name]
    (found,) = findings(made, untrained, *test)
    assert found["level"] == level
    assert title in found["title"]
    assert (found["remedy"] != "") == (level != "good")


def test_what_is_said_of_the_losses_is_what_they_were():
    loss, valid = [0.6, 0.3, 0.1, 0.05, 0.02], [0.5, 0.4, 0.3, 0.5, 0.7]
    for best, told in ((3, "The weights are those of epoch 3."), (5, "of epoch 5."), (None, "")):
        (found,) = findings(history(STEADY, valid, loss, LN_3, best), [], *GOOD)
        assert "was 0.3 after epoch 3 and is 0.7 after epoch 5" in found["cause"]
        assert found["cause"].endswith(told)
    (found,) = findings(*CASES["hardly learned"][:2], *GOOD)
    assert "training loss is 0.97 and the best constant prediction gets 1.099" in found["cause"]
    assert "smaller network" not in found["remedy"]
    (found,) = findings(*CASES["false alarms"][:2], *CASES["false alarms"][2])
    assert "98 of the 110 test rows predicted as fraud" in found["cause"]


def test_a_burst_that_moves_the_loss_is_a_warning():
    norms = [*[(1e-5, 1e-5)] * 30, (1.2, 0.9), *[(1e-5, 1e-5)] * 5]
    made = history(norms, [0.5, 0.4, 0.35, 0.35])
    for loss, level in (([1.0, 0.2, 0.21, 0.2], "notice"), ([1.0, 0.2, 0.9, 0.9], "warning")):
        for k, row in enumerate(made.epochs):
            row.update(loss=loss[k], step=12 * (k + 1))
        found, *more = findings(made, [], *GOOD)
        assert [f["title"] for f in more] == ["The training loss rose again"] * (loss[3] > 0.5)
        assert (found["title"], found["level"]) == ("The gradient exploded", level)


def test_the_remedy_for_a_guess_fits_the_classes():
    for imbalanced in (True, False):
        guess = Guess("accuracy", 0.87, imbalanced)
        (found,) = findings(history(STEADY), [], {"accuracy": 0.87}, 900, guess)
        assert ("--class-weight balanced" in found["remedy"]) == imbalanced
        assert "train longer" not in found["remedy"]


def test_the_remedy_where_no_epoch_was_better_than_the_first():
    for best, epochs, says in ((1, 5, True), (2, 5, False), (1, 4, False), (None, 5, False)):
        made = history(STEADY, [0.7] * epochs, [0.7] * epochs, best=best)
        found = findings(made, [], {"accuracy": 0.4}, 900, GUESS)[0]
        assert found["title"] == "It does worse than a guess"
        assert ("learning rate may be too high" in found["remedy"]) == says
        assert not says or "--lr" in found["remedy"]


def test_the_worst_is_first():
    # of 20 cats 13 are missed, of 6 dogs all; 14 of 34 said to be birds are none
    table = np.array([[7, 1, 12], [1, 0, 5], [0, 0, 20]])
    made = history(STEADY, [0.5, 0.4], [0.5, 0.4])
    test = {"accuracy": 27 / 46}, 46, Guess("accuracy", 0.2), table, ["cats", "dogs", "birds"]
    misses, better = findings(made, [], *test, "image")
    assert misses["title"] == "Misses: dogs"
    assert misses["cause"].startswith("6 of the 6 test images of dogs are predicted as other")
    assert misses["cause"].endswith("this holds for 2 of 3 classes.")
    assert misses["remedy"].startswith("More images of that class")
    assert better["title"] == "It was still getting better"
    table = np.array([[14, 0, 36], [0, 0, 5], [4, 0, 4]])  # 41 of 45 alarms; all of 5 missed
    test = {"accuracy": 0.28}, 67, Guess("accuracy", 0.1), table, ["cats", "dogs", "birds"]
    titles = [found["title"] for found in findings(made, [], *test)]
    assert titles[:2] == ["Misses: dogs", "False alarms: birds"]
    (few,) = findings(history(STEADY), [], {"accuracy": 0.97}, 5, GUESS, unit="image")
    assert few["title"] == "Only 5 test images"


def test_one_layer_and_no_probes_are_no_trouble():
    assert findings(History(), [], *GOOD)[0]["level"] == "good"
    assert findings(history([(1e-9,)] * 5), [], *GOOD)[0]["level"] == "good"


@pytest.mark.parametrize("shape", [(5, 7, 1), (4, 3, 3)])
def test_png_is_read_back_by_another_reader(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    head, _, data = png(pixels).partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    np.testing.assert_array_equal(np.asarray(image).reshape(shape), pixels)


LOSSES = {
    "cross_entropy": ("cross_entropy", np.repeat([0, 1, 2], [6, 3, 1])),
    "weighted": (
        nn.CrossEntropyLoss(weight=cr.Tensor([0.5, 1.0, 3.0])),
        np.repeat([0, 1, 2], [6, 3, 1]),
    ),
    "ignored": (nn.CrossEntropyLoss(ignore_index=2), np.array([0, 0, 1, 2, 2, 2])),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), np.repeat([0, 1, 2], [6, 3, 1])),
    "soft": ("cross_entropy", np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]], np.float32)),
    "mse": ("mse", np.array([[1.0, 5.0], [2.0, 4.0], [6.0, 0.0]], np.float32)),
    "mae": ("mae", np.array([1.0, 2.0, 6.0], np.float32)),
    "bce_with_logits": ("bce_with_logits", np.array([1.0, 0.0, 0.0, 0.0], np.float32)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_guess_of_a_loss_is_what_training_a_constant_comes_to(name):
    """Descent over one output for all rows ends at the best of them."""
    loss, y = LOSSES[name]
    objective = Objective(loss)
    width = 3 if y.dtype.kind == "i" else y.shape[1:]
    constant = nn.Parameter(np.zeros(width, np.float32))
    optimizer = optim.Adam([constant], lr=0.05)
    for _ in range(300):
        output = cr.zeros((len(y), *constant.shape)) + constant
        value = objective.mean(output, cr.Tensor(y))
        value.backward()
        optimizer.step()
    guess, least = objective.guess(y)
    tolerance = 0.03 if name == "weighted" else 0.005
    assert guess == pytest.approx(float(value), rel=tolerance)
    assert 0 <= least < guess


def test_a_guess_that_is_not_known():
    assert Objective("huber").guess(np.ones(3, np.float32)) is None
    assert Objective("cross_entropy").guess((np.ones(3), np.ones(3))) is None
    assert Objective(lambda prediction, target: prediction.sum()).guess(np.ones(3)) is None
    assert Objective("cross_entropy").guess(np.full(3, -100)) is None, "all are ignored"


def deep(activation, layers=14):
    cr.random.seed(0)
    parts = [part for _ in range(layers) for part in (nn.Linear(8, 8), activation())]
    return nn.Sequential(*parts, nn.Linear(8, 3))


def test_fit_says_that_gradients_vanish():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 8)).astype(np.float32), rng.integers(0, 3, 60)
    settings = {"loss": "cross_entropy", "epochs": 3, "progress": False}
    with pytest.warns(UserWarning, match=r"^\[fit\] Gradients vanish towards the input: 0 Linear"):
        made = cr.fit(deep(nn.Sigmoid), data, **settings)
    assert made.gradients.norms[-1][0] < 1e-9
    assert [f["level"] for f in made.findings if "vanish" in f["title"]] == ["warning"]
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    assert not any("vanish" in f["title"] for f in cr.fit(model, data, **settings).findings)


def test_the_history_says_that_the_loss_climbs():
    model, (x, y) = quadratic()
    optimizer = optim.SGD(model.named_parameters(), lr=1.05)  # beyond 1 it diverges
    made = cr.fit(
        model, (x, y), loss="mse", optimizer=optimizer, epochs=6, batch_size=64, progress=False
    )
    assert [f["title"] for f in made.findings] == ["The training loss rises"]
    assert made["loss"][-1] > made["loss"][0]
    assert made.guess[0] == pytest.approx(float(np.var(y)), rel=1e-6)


def quadratic():
    """y = 3 x + noise for x = 1 and a weight that starts at 0: SGD bursts above a rate of 1."""
    x = np.ones((64, 1), np.float32)
    noise = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
    model = nn.Linear(1, 1, bias=False)
    model.load_state_dict({"weight": np.zeros((1, 1), np.float32)})
    return model, (x, 3 * x + noise)


def test_find_lr_puts_everything_back():
    model, data = quadratic()
    optimizer = optim.SGD(model.named_parameters(), lr=0.25, momentum=0.9)
    cr.random.seed(5)
    state = cr.random.default.state.tolist()
    found = cr.train.find_lr(model, data, loss="mse", optimizer=optimizer)
    assert model.weight.tolist() == [[0.0]]
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert cr.random.default.state.tolist() == state
    assert optimizer.state_dict()["weight/step"] == 0
    assert not optimizer.state_dict()["weight/momentum_buffer"].any()
    assert len(found.rates) == len(found.losses)
    steps = np.diff(np.log(found.rates))
    np.testing.assert_allclose(steps, steps[0])
    assert found.rates[0] == pytest.approx(1e-6)
    assert "svg" in str(found.plot())


def test_find_lr_stops_where_the_loss_bursts_and_suggests_less():
    model, data = quadratic()
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    found = cr.train.find_lr(
        model, data, loss="mse", optimizer=optimizer, low=1e-3, high=1e3, steps=200
    )
    assert found.rates[-1] < 1e3
    assert all(map(math.isfinite, found.losses))
    # w - 3 is multiplied by 1 - 2 r per step: it shrinks up to r = 1 and then grows
    assert 0.01 < found.suggestion < 1.0


def test_find_lr_refuses_what_makes_no_range():
    model, data = quadratic()
    for wrong in ({"low": 0.0}, {"low": 1.0, "high": 0.1}, {"steps": 2}):
        with pytest.raises(ArgumentError, match="find_lr"):
            cr.train.find_lr(model, data, loss="mse", **wrong)


def test_what_is_printed_of_a_history_and_of_rates_is_short():
    model, data = quadratic()
    made = cr.fit(model, data, loss="mse", epochs=30, progress=False)
    assert len(repr(made)) < 200
    assert f"loss {made['loss'][-1]:.4g}" in repr(made)
    assert "<svg" in made._repr_html_()
    assert len(repr(cr.train.find_lr(model, data, loss="mse"))) < 100


def test_the_rate_of_an_epoch_is_that_of_its_last_step():
    model, data = quadratic()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    halved = optim.ExponentialLR(optimizer, 0.5)
    made = cr.fit(
        model,
        data,
        loss="mse",
        optimizer=optimizer,
        schedule=halved,
        schedule_per="step",
        batch_size=32,
        epochs=2,
        progress=False,
    )
    assert made["lr"] == [0.5, 0.125], "two steps per epoch: 1, 1/2 and then 1/4, 1/8"


def test_lists_of_numbers_are_rows():
    model, _ = quadratic()
    assert cr.train.predict(model, [[1.0], [2.0]]).shape == (2, 1)
