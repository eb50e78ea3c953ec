"""What the report says of a run; the rates that find_lr tries; pictures in a page."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError
from chainrule.train.findings import Guess, findings
from chainrule.train.history import GradientFlow, History
from chainrule.train.tasks.images import png


def history(norms=((1.0, 1.0),), valid=(), loss=None):
    layers = [f"{k} Linear" for k in range(len(norms[0]))]
    flow = GradientFlow(layers, list(range(len(norms))), [list(n) for n in norms])
    loss = [1.0] * len(valid) if loss is None else loss
    rows = [{"loss": a, "valid_loss": b} for a, b in zip(loss, valid, strict=True)]
    return History(rows, None, "epochs", flow)


STEADY = [(0.5, 0.4)] * 40
GUESS = Guess("accuracy", 0.5)
GOOD = ({"accuracy": 0.97}, 100, GUESS)
CASES = {
    "healthy": (history(STEADY), [], GOOD, "good", "reach every layer"),
    "vanishing": (history([(1e-6, 0.1)] * 20), [], GOOD, "warning", "vanish"),
    "bursting": (history([*STEADY, (90.0, 3.0), *STEADY]), [], GOOD, "warning", "burst"),
    "ever smaller": (
        history([(10.0**-k, 10.0**-k) for k in np.linspace(0, 6, 200)]), [], GOOD, "good", "reach"),
    "dead": (history([(0.1, 0.0, 0.1)] * 20), [], GOOD, "warning", "1 Linear gets no"),
    "by heart": (history(STEADY, [0.5, 0.4, 0.3, 0.5, 0.7]), [], GOOD, "notice", "by heart"),
    "a little worse than best": (
        history(STEADY, [9.0, 0.4, 0.3, 0.3, 0.35]), [], GOOD, "good", "reach"),
    "still better": (history(STEADY, [0.5, 0.4]), [], GOOD, "notice", "still getting better"),
    "untrained": (
        history(STEADY), ["layer.bias: forward does not use it"], GOOD, "warning", "layer.bias"),
    "a guess": (history(STEADY), [], ({"accuracy": 0.52}, 100, GUESS), "warning", "than a guess"),
    "by chance": (
        history(STEADY), [], ({"accuracy": 0.575}, 80, Guess("accuracy", 0.525)), "warning",
        "than a guess"),
    "above chance": (
        history(STEADY), [], ({"accuracy": 0.575}, 8000, Guess("accuracy", 0.5)), "good", "reach"),
    "balanced": (
        history(STEADY), [], ({"accuracy": 0.8, "f1": 0.75}, 900, Guess("f1", 0.47)), "good",
        "reach"),
    "small burst": (
        history([*STEADY, (0.003, 0.004), *[(1e-5, 1e-5)] * 30, (1.2, 0.9)]), [], GOOD, "notice",
        "burst"),
    "worse than the mean": (
        history(STEADY), [], ({"r2": -0.3}, 100, Guess("r2", 0.0)), "warning", "a guess"),
    "nan": (history(STEADY), [], ({"r2": math.nan}, 100, Guess("r2", 0.0)), "warning", "a guess"),
    "text": (history(STEADY), [], ({"bits_per_character": 2.0}, 100, None), "good", "reach"),
    "few rows": (history(STEADY), [], ({"accuracy": 0.97}, 5, GUESS), "notice", "Only 5 test rows"),
    "one row": (
        history(STEADY), [], ({"r2": math.nan}, 1, Guess("r2", 0.0)), "notice", "Only 1 test row"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_finding_and_no_other(name):
    made, untrained, test, level, title = CASES[name]
    (found,) = findings(made, untrained, *test)
    assert found["level"] == level
    assert title in found["title"]
    assert (found["remedy"] != "") == (level != "good")


def test_a_burst_that_moves_the_loss_is_a_warning():
    norms = [*[(1e-5, 1e-5)] * 30, (1.2, 0.9), *[(1e-5, 1e-5)] * 5]
    made = history(norms, [0.5, 0.4, 0.35, 0.35])
    for loss, level in (([1.0, 0.2, 0.21, 0.2], "notice"), ([1.0, 0.2, 0.9, 0.9], "warning")):
        for k, row in enumerate(made.epochs):
            row.update(loss=loss[k], step=12 * (k + 1))
        (found,) = findings(made, [], *GOOD)
        assert (found["title"], found["level"]) == ("The gradient burst", level)


def test_the_remedy_for_a_guess_fits_the_classes():
    for imbalanced in (True, False):
        guess = Guess("accuracy", 0.87, imbalanced)
        (found,) = findings(history(STEADY), [], {"accuracy": 0.87}, 900, guess)
        assert ("--class-weight balanced" in found["remedy"]) == imbalanced
        assert "train longer" not in found["remedy"]


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
    # w - 3 is multiplied by 1 - 2 r a step: it shrinks up to r = 1 and then grows
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
    made = cr.fit(model, data, loss="mse", optimizer=optimizer, schedule=halved,
                  schedule_per="step", batch_size=32, epochs=2, progress=False)  # fmt: skip
    assert made["lr"] == [0.5, 0.125], "two steps an epoch: 1, 1/2 and then 1/4, 1/8"


def test_lists_of_numbers_are_rows():
    model, _ = quadratic()
    assert cr.train.predict(model, [[1.0], [2.0]]).shape == (2, 1)
