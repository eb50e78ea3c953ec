"""accumulate: which loss functions may be computed in pieces, by float64 gradients in NumPy."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError
from chainrule.train import Callback, fit

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(11, 3)).astype(np.float32), RNG.normal(size=(11, 2)).astype(np.float32)
MASK = (RNG.random((11, 1)) > 0.5).astype(np.float32)
START = RNG.normal(size=(3, 2)).astype(np.float32)


def square(p, y):
    return (p - y) ** 2


REFUSED = {
    "sum": lambda p, y: square(p, y).sum(),
    "root of the mean": lambda p, y: cr.sqrt(square(p, y).mean()),
    "masked mean": lambda p, y: (square(p, y[:, :2]) * y[:, 2:]).sum() / y[:, 2:].sum(),
    "over the batch": lambda p, y: square(p, y).mean() + square(p.mean(axis=0), p).mean(),
}
TAKEN = {
    "mean": lambda p, y: square(p, y).mean(),
    "sum over the columns": lambda p, y: square(p, y).sum(axis=-1).mean(),
    "sum over the rows": lambda p, y: square(p, y).sum() / len(p),
    "with a constant": lambda p, y: square(p, y).mean() + 3.0,
    "random": lambda p, y: (square(p, y) * cr.random.uniform(p.shape)).mean(),
}


def trained(loss, data=(X, Y), **settings):
    model = nn.Linear(3, 2, bias=False)
    model.load_state_dict({"weight": START.T if model.weight.shape == (2, 3) else START})
    cr.random.seed(0)
    fit(
        model,
        [data],
        loss=loss,
        optimizer=optim.SGD(model.named_parameters(), lr=0.1),
        **{"epochs": 1, "progress": False, **settings},
    )
    weight = model.state_dict()["weight"]
    return weight if weight.shape == START.shape else weight.T


@pytest.mark.parametrize("pieces", [2, 3, 40])
@pytest.mark.parametrize("name", REFUSED)
def test_a_loss_that_pieces_do_not_add_up_to_is_refused(name, pieces):
    data = (X, np.concatenate([Y, MASK], axis=1)) if name == "masked mean" else (X, Y)
    with pytest.raises(ArgumentError, match=rf"got accumulate={pieces} and .*a mean over the rows"):
        trained(REFUSED[name], data, accumulate=pieces)
    trained(REFUSED[name], data)


@pytest.mark.parametrize("pieces", [2, 3, 40])
@pytest.mark.parametrize("name", TAKEN)
def test_a_mean_over_the_rows_is_taken_and_has_the_gradient_of_the_whole(name, pieces):
    found = trained(TAKEN[name], accumulate=pieces)
    if name == "random":
        return
    x, y, w = (a.astype(np.float64) for a in (X, Y, START))
    by = y.size if name in ("mean", "with a constant") else len(y)
    np.testing.assert_allclose(found, w - 0.1 * 2 * x.T @ (x @ w - y) / by, rtol=1e-4, atol=1e-6)


def test_a_run_that_goes_on_in_pieces_is_asked_too(tmp_path):
    class Stops(Callback):
        def on_epoch(self, run):
            run.stop()

    settings = {"checkpoint": tmp_path, "epochs": 3}
    trained(REFUSED["sum"], callbacks=[Stops()], **settings)
    with (
        pytest.warns(UserWarning, match="accumulate is 2 now"),
        pytest.raises(ArgumentError, match="got accumulate=2 and"),
    ):
        trained(REFUSED["sum"], accumulate=2, resume=True, **settings)
