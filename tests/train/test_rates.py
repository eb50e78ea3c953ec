"""The rates that find_lr tries; what a loss gives for a constant; pictures in a page."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError
from chainrule.train.charts.pixels import png
from chainrule.train.evaluation.objective import Objective


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
