"""When fit ends and which weights it keeps; when callbacks are called; what is better."""

import json
import math

import numpy as np
import pytest

from chainrule import optim
from chainrule.train import Callback
from chainrule.train.loop.early_stopping import EarlyStopping
from running import V, X, Y, fit, network

# Stopping early


def scripted(values, name):
    left = iter([0.0, *values])  # the first is asked for before the first step

    def metric(prediction, target):
        return next(left)

    metric.__name__ = name
    return metric


class Weights(Callback):
    """Remembers the weights after each epoch."""

    def on_begin(self, run):
        self.after = [run.model.state_dict()]

    def on_epoch(self, run):
        self.after.append(run.model.state_dict())


NAN, INF = math.nan, math.inf
STOPS = [  # values, patience, name; after which epoch it ends and why, which is the best
    ([5, 4, 3, 3.5, 4, 3], 2, "rmse", 5, "patience", 3),
    ([5, 4, 3, 4, 2, 4, 1], 2, "mae", 7, "epochs", 7),
    ([5, 6, 7, 1, 1, 1], 1, "rmse", 2, "patience", 1),
    ([1, 2, 3, 2, 2, 9], 2, "accuracy", 5, "patience", 3),
    ([1, 2, 3, 2, 2, 9], 3, "score", 6, "epochs", 6),
    ([NAN, NAN, 3, NAN, NAN, 1], 2, "rmse", 2, "patience", None),
    ([NAN, NAN, 3, NAN, NAN, 1], 3, "rmse", 6, "epochs", 6),
    ([NAN, 0.5, NAN, 0.4, 0.6, NAN], 3, "score", 6, "epochs", 5),
    ([INF, 8, INF, -INF, 1, 1], 2, "rmse", 6, "patience", 4),
    ([3, 2, NAN, NAN, NAN, 1], None, "rmse", 6, "epochs", 6),
    ([3, 2, 4, 5, 6, 7], None, "rmse", 6, "epochs", 2),
]


@pytest.mark.parametrize(("values", "patience", "name", "ends", "why", "best"), STOPS)
@pytest.mark.parametrize("validated", [True, False])
def test_it_stops_in_time_and_takes_the_best_weights(
    values, patience, name, ends, why, best, validated
):
    weights, model = Weights(), network()
    found = fit(
        model,
        (X, Y),
        valid=V if validated else None,
        epochs=len(values),
        patience=patience,
        restore_best=True,
        monitor=f"valid_{name}" if validated else name,
        mode="max" if name == "score" else None,
        metrics=[scripted(values, name)],
        callbacks=[weights],
    )
    assert (len(found), found.stopped, found.best_epoch) == (ends, why, best)
    kept = weights.after[ends if best is None else best]
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, kept[key])


def test_of_equal_values_the_least_loss_is_the_best():
    rows = [(0.5, 0.9), (0.7, 0.8), (0.6, 0.1), (0.7, 0.6), (0.7, 0.7), (0.7, 0.5), (0.7, 0.4)]
    stopping = EarlyStopping("valid_accuracy", False, 2, restore_best=True)
    improved, waited = [], []
    for k, (accuracy, loss) in enumerate(rows):
        row = {"loss": 0.0, "valid_loss": loss, "valid_accuracy": accuracy}
        improved.append(stopping.improved(row, {"epoch": np.array(k)}))
        waited.append(stopping.waited)
    assert improved == [True, True, False, True, False, True, True]
    assert stopping.weights == {"epoch": 6}
    assert waited == [0, 0, 1, 0, 1, 0, 0]
    again = EarlyStopping("valid_accuracy", False, 2, restore_best=True)
    again.load_state(json.loads(json.dumps(stopping.state())), stopping.weights)
    for loss, better in ((0.4, False), (0.39, True)):
        row = {"loss": 0.0, "valid_loss": loss, "valid_accuracy": 0.7}
        assert again.improved(row, {}) == better


def test_the_weights_stay_the_last_ones_if_asked():
    weights, model = Weights(), network()
    found = fit(
        model,
        (X, Y),
        epochs=9,
        patience=2,
        restore_best=False,
        monitor="score",
        valid=None,
        mode="max",
        metrics=[scripted([3, 2, 1, 4], "score")],
        callbacks=[weights],
    )
    assert (found.stopped, len(found), found.best_epoch) == ("patience", 3, 1)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, weights.after[3][key])


def test_a_plateau_lowers_the_rate_by_what_is_monitored():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=0)
    found = fit(
        model,
        (X, Y),
        optimizer=optimizer,
        schedule=schedule,
        epochs=5,
        monitor="valid_score",
        mode="max",
        metrics=[scripted([1, 2, 2, 1, 3], "score")],
        valid=V,
    )
    assert found["lr"] == [1.0, 1.0, 1.0, 0.5, 0.25]


# Callbacks


class Log(Callback):
    def __init__(self, stop_at=None, event="on_step"):
        self.calls, self.stop_at, self.event = [], stop_at, event

    def _note(self, event, run):
        self.calls.append((event, run.epoch, run.batch, run.step))
        if event == self.event and run.step == self.stop_at:
            run.stop("enough")
            run.stop("too late")

    def on_begin(self, run):
        self._note("on_begin", run)

    def on_step(self, run):
        assert math.isfinite(run.loss)
        self._note("on_step", run)

    def on_epoch(self, run):
        assert run.history.epochs[-1]["epoch"] == run.epoch
        self._note("on_epoch", run)

    def on_end(self, run):
        self._note("on_end", run)


def test_when_callbacks_are_called():
    log = Log(stop_at=3)
    found = fit(network(), (X, Y), epochs=5, callbacks=[log])
    assert log.calls == [
        ("on_begin", 0, 0, 0),
        ("on_step", 0, 1, 1),
        ("on_step", 0, 2, 2),
        ("on_epoch", 1, 0, 2),
        ("on_step", 1, 1, 3),
        ("on_end", 1, 1, 3),
    ]
    assert (found.stopped, len(found)) == ("enough", 1)
    log = Log(stop_at=0, event="on_begin")
    assert len(fit(network(), (X, Y), epochs=5, callbacks=[log])) == 0
    log = Log(stop_at=2, event="on_epoch")
    assert len(fit(network(), (X, Y), epochs=5, callbacks=[log])) == 1


def test_callbacks_are_told_of_the_end_when_it_fails():
    class Fails(Log):
        def on_step(self, run):
            raise RuntimeError("of its own")

    log = Fails()
    with pytest.raises(RuntimeError, match="of its own"):
        fit(network(), (X, Y), callbacks=[log])
    assert [c[0] for c in log.calls] == ["on_begin", "on_end"]


# What is better, by name or as it is said


@pytest.mark.parametrize(
    ("name", "mode", "best"),
    [
        ("accuracy", None, 2),
        ("rmse", None, 3),
        ("my_error", None, 3),
        ("own_loss", None, 3),
        ("score", "min", 3),
        ("score", "max", 2),
        ("accuracy", "min", 3),
    ],
)
def test_the_best_epoch_and_the_plateau_go_the_same_way(name, mode, best):
    """Values 2, 5, 1: the rate falls after the epoch that was not better."""
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    found = fit(
        model,
        (X, Y),
        optimizer=optimizer,
        epochs=3,
        restore_best=True,
        monitor=name,
        mode=mode,
        schedule=optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0),
        metrics=[scripted([2, 5, 1], name)],
    )
    assert found.best_epoch == best
    assert found["lr"] == [1.0, 1.0, 1.0 if best == 2 else 0.5]
