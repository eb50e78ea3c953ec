"""Whether targets are classes or numbers: what the network gives for them says it, no dtype."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor.facts import gather
from chainrule.doctor.faults import faults_of
from chainrule.doctor.faults.class_numbers import class_number_faults
from chainrule.doctor.loss_reading import LossReading, read_loss
from chainrule.doctor.measured.data import of_data
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.score import score_for, task_of

ENTROPY, SQUARES = LossReading("cross_entropy", "logits"), LossReading("mse", "numbers")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4)).astype(np.float32)
SIGNAL = X @ np.array([3, 2, -1, 0.5]) + X[:, 0] * X[:, 1]


@pytest.mark.parametrize(
    ("y", "outputs", "loss", "task"),
    [
        ([0, 1, 2], (3,), ENTROPY, "classes"),
        ([0.0, 1.0, 2.0], (3,), ENTROPY, "classes"),  # as floats
        ([[0], [1], [2]], (3,), ENTROPY, "classes"),
        ([[0, 1], [1, 2]], (2, 3), ENTROPY, "classes"),  # places of a sequence
        ([0, 1, 1], (1,), SQUARES, "classes"),
        ([False, True], (), SQUARES, "classes"),
        ([[0, 1], [1, 0]], (2,), SQUARES, "labels"),
        ([[0.0], [1.0]], (1,), SQUARES, "labels"),
        ([0, 1, 2], (1,), SQUARES, "numbers"),
        ([[0, 2], [1, 0]], (2,), SQUARES, "numbers"),
        ([200000, 310000], (1,), SQUARES, "numbers"),
        ([-1, 1], (1,), SQUARES, "numbers"),
        ([0.0, 1.0, 2.0], (), SQUARES, "numbers"),
        ([0.5, 1.0], (1,), SQUARES, "numbers"),
    ],
)
def test_the_task(y, outputs, loss, task):
    y = np.array(y)
    assert task_of(y, y, outputs, loss) == task


def test_the_best_constant_of_many_classes_takes_little_memory():
    y = np.array([3, 3, 60_000])
    assert score_for(y, y, (60_001,)).of_constant(y, y).tolist() == [1, 1, 0]


def test_logarithms_of_rates_are_scored_as_counts():
    y = np.array([[1.0], [2.0], [3.0], [6.0]])
    score = score_for(y, y, (1,), LossReading("poisson", "logarithms of rates"))
    assert score(np.log(y), y) == pytest.approx(1.0)
    assert score.of_constant(y, y).mean() == pytest.approx(0.0)


TARGETS = {
    "prices": (200_000 + 50_000 * SIGNAL).astype(int),
    "ages": np.clip(45 + 10 * SIGNAL, 0, 99).astype(int),
    "grades": np.clip(np.round(3 + 0.5 * SIGNAL), 1, 5),
}


def facts_of(x, y, loss=nn.functional.mse_loss, epochs=10):
    """Of a regression by a small network."""
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))
    adam, y = optim.Adam(model.named_parameters(), lr=0.01), y.reshape(-1, 1)
    cut = len(x) * 2 // 3
    data, valid = (x[:cut], y[:cut]), (x[cut:], y[cut:])
    return gather(ModuleTraining(model, loss, adam, data, valid, 32, epochs))


@pytest.mark.parametrize("name", TARGETS)
def test_whole_numbers_are_numbers(name):
    facts = facts_of(X, TARGETS[name])
    kinds = {f.kind for f in faults_of(facts)}
    assert facts.score.name == "R²"
    assert "targets_not_scaled" in kinds
    assert not kinds & {"loss_wrong", "label_encoding_wrong"}
    assert "rarest_class" not in {m.name for m in of_data(facts)}


def test_prices_as_whole_numbers_are_scaled():
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
    data, optimizer = (X, TARGETS["prices"][:, None]), optim.Adam(model.parameters(), lr=3e-3)
    diagnosis = cr.diagnose(model, data, loss="mse", optimizer=optimizer, seconds=1)
    assert [f.kind for f in diagnosis.findings] == ["targets_not_scaled"]


def test_a_poisson_loss_fits_counts():
    y = RNG.poisson(np.exp(X[:, :1] + 0.5)).astype(np.float32)
    facts = facts_of(X, y, nn.functional.poisson_nll_loss)
    assert facts.loss.name == "poisson"
    assert facts.outcome.score > 0.4
    assert "loss_wrong" not in {f.kind for f in faults_of(facts)}


def test_targets_that_outputs_are_compared_with_all_of_are_read_at_any_size():
    """(p (N, 1) - y (N,))² is a mean over N × N pairs, also of prices, which are all far from 0."""
    y = TARGETS["prices"].astype(np.float64)
    for targets, coupled in ((y, True), (y[:, None], False)):
        found = read_loss(lambda p, t: float(((p - t) ** 2).mean()), (1,), targets)
        assert (found.name, found.coupled) == ("mse", coupled)


def test_a_loss_of_outputs_without_an_axis_of_units_is_read():
    y = RNG.integers(0, 2, 60)

    def loss(p, t):
        return float(np.mean(np.logaddexp(0, p) - t * p))

    found = read_loss(loss, (), y)
    assert (found.name, found.takes) == ("binary_cross_entropy", "logits")
    assert score_for(y, y, (), found).logits


# ── numbers of classes ───────────────────────────────────────────────────────────────────────────


def class_numbers(x, y):
    """The faults of a regression on these numbers."""
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    x = ((x - x.mean(0)) / np.maximum(x.std(0), 1e-9)).astype(np.float32)
    return list(class_number_faults(facts_of(x, y, epochs=20)))


def clouds(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 8, 600)
    return 2 * rng.normal(size=(8, 4))[y] + rng.normal(size=(600, 4)), y


@pytest.mark.parametrize("kind", [int, np.float32])
def test_numbers_of_digits_are_no_amounts(kind):
    digits = cr.data.load("digits")
    (fault,) = class_numbers(digits.x.reshape(len(digits.x), -1)[:700], digits.y[:700].astype(kind))
    assert (fault.kind, fault.place, fault.certain) == ("loss_wrong", "loss", True)
    assert fault.cause.startswith("the targets 0 to 9 are classes")


def test_numbers_of_clouds_are_no_amounts():
    for seed in range(3):
        assert class_numbers(*clouds(seed))


@pytest.mark.parametrize("name", ["iris", "counts", "grades", "noise", "zeros", "rings"])
def test_amounts_and_classes_in_order_are_no_fault(name):
    rng = np.random.default_rng(3)
    iris, ring, angle = cr.data.load("iris"), rng.integers(0, 8, 600), rng.uniform(0, 6.3, 600)
    rings = np.stack([(ring + 1) * np.cos(angle), (ring + 1) * np.sin(angle)], 1)
    x, y = {
        "iris": (iris.x, iris.y),
        "counts": (X, rng.poisson(np.exp(0.5 * SIGNAL.clip(-4, 4)))),
        "grades": (X, TARGETS["grades"]),
        "noise": (X, rng.integers(0, 8, 600)),
        "zeros": (X, np.where(X[:, 0] > -0.3, 0, rng.poisson(3, 600) + 1)),
        "rings": (rings, ring),
    }[name]
    assert class_numbers(x, y) == []


def test_an_output_for_each_class_is_tried_and_does_better():
    digits = cr.data.load("digits")
    x, y = digits.x.reshape(len(digits.x), -1)[:900] / 16, digits.y[:900]
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    data, optimizer = (x, y[:, None]), optim.Adam(model.parameters(), lr=3e-3)
    diagnosis = cr.diagnose(model, data, loss="mse", optimizer=optimizer, seconds=3)
    first = diagnosis.findings[0]
    assert first.kind == "loss_wrong"
    assert "10 outputs in layer 2" in first.remedies[0].text
    assert first.remedies[0].trial.after > 0.9
    scope = {"model": model, "optim": optim, "nn": nn, "x": x, "y": y[:, None]}
    *lines, loss = first.remedies[0].code
    exec("\n".join(lines), scope)
    assert loss == 'loss="cross_entropy"'
    fit = {"loss": "cross_entropy", "optimizer": scope["optimizer"], "progress": False}
    history = cr.fit(model, (x, scope["y"]), epochs=1, **fit)
    assert history["loss"][0] < np.log(10)


@pytest.mark.parametrize(("low", "high"), [(1, 2), (-1, 1), (0.0, 2.0)])
@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_two_values_before_a_sigmoid_are_coded_as_0_and_1(low, high, loss):
    y = np.where(SIGNAL > 0, high, low)[:, None].astype(np.float32)
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    training = ModuleTraining(model, LOSSES[loss], optimizer, (X, y), (X, y), 32, 10)
    (fault,) = [f for f in faults_of(gather(training)) if f.kind == "label_encoding_wrong"]
    assert f"the targets are {low:g} and {high:g}" in fault.cause
    assert fault.certain == (loss == "bce")
    assert set(np.unique(training.changed(fault.changes).data[1])) == {0, 1}


def own_entropy(p, y):
    """Of the user, without a check of the targets."""
    p = cr.clip(p, 1e-7, 1 - 1e-7)
    return -(y * cr.log(p) + (1 - y) * cr.log(1 - p)).mean()


@pytest.mark.parametrize(("low", "high"), [(1, 2), (-1, 1), (0, 255)])
def test_two_values_before_a_loss_of_logits_are_labels(low, high):
    y = np.where(SIGNAL > 0, high, low)[:, None].astype(np.float32)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss = torch.nn.BCEWithLogitsLoss()
    found = cr.interop.torch.diagnose(model, (X, y), loss=loss, optimizer=optimizer, epochs=10)
    assert (found.metric, found.findings[0].kind) == ("accuracy", "label_encoding_wrong")
    remedy = found.findings[0].remedies[0]
    assert remedy.text == f"targets of 0 and 1 in place of {low} and {high}"
    assert remedy.trial.after > 0.9


LOSSES = {"bce": own_entropy, "mse": nn.functional.mse_loss}


@pytest.mark.parametrize("last", [nn.Identity, nn.Tanh])
def test_two_values_are_numbers_before_another_output(last):
    y = np.where(SIGNAL > 0, 1.0, -1.0)[:, None].astype(np.float32)
    model = nn.Sequential(nn.Linear(4, 1), last())
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    training = ModuleTraining(model, LOSSES["mse"], optimizer, (X, y), (X, y), 32, 1)
    assert "label_encoding_wrong" not in {f.kind for f in faults_of(gather(training))}
