"""Targets by which no trial can be judged: all the same, or others than those held out."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor.facts import gather
from chainrule.doctor.faults.data import data_faults
from chainrule.doctor.modules import ModuleTraining

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4)).astype(np.float32)
F = nn.functional
VALID = RNG.normal(size=(200, 4)).astype(np.float32)


def classes(x, count):
    return np.clip(((x[:, 0] + 2) / 4 * count).astype(int), 0, count - 1)


def facts(y, targets, loss=F.cross_entropy, units=12, x=X, epochs=20):
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, units))
    adam = optim.Adam(model.named_parameters(), lr=0.01)
    return gather(ModuleTraining(model, loss, adam, (x, y), (VALID, targets), 32, epochs))


def named(f):
    return [(fault.kind, fault.cause) for fault in data_faults(f) if fault.certain]


@pytest.mark.parametrize(
    ("renumber", "pair"),
    [
        (lambda y: y + 1, "1 for 0, 2 for 1, 3 for 2, …"),
        (lambda y: (y + 5) % 6, "5 for 0, 0 for 1, 1 for 2, …"),
        (lambda y: np.array([0, 1, 2, 4, 3, 5])[y], "4 for 3, 3 for 4:"),
    ],
)
def test_held_out_classes_with_other_numbers(renumber, pair):
    f = facts(classes(X, 6), renumber(classes(VALID, 6)))
    ((kind, cause),) = named(f)
    assert kind == "label_encoding_wrong"
    assert pair in cause


@pytest.mark.parametrize("loss", [F.cross_entropy, F.binary_cross_entropy_with_logits])
def test_two_classes_the_other_way_round(loss):
    units = 2 if loss is F.cross_entropy else 1
    y, targets = (classes(a, 2) for a in (X, VALID))
    if units == 1:
        y, targets = y[:, None], targets[:, None]
        loss = lambda p, t: F.binary_cross_entropy_with_logits(p, t.astype("float32"))  # noqa: E731
    ((kind, cause),) = named(facts(y, 1 - targets, loss, units))
    assert (kind, "1 for 0, 0 for 1" in cause) == ("label_encoding_wrong", True)
    assert named(facts(y, targets, loss, units)) == []


@pytest.mark.parametrize("case", ["healthy", "noise", "parity"])
def test_classes_that_are_not_renumbered(case):
    y, targets = (classes(a, 6) for a in (X, VALID))
    if case == "noise":  # learned by heart
        y, targets = (RNG.integers(0, 6, len(a)) for a in (y, targets))
    if case == "parity":  # neighbours are of the other class
        y, targets = ((np.floor(8 * a).astype(int).sum(1)) % 2 for a in (X, VALID))
    assert named(facts(y, targets)) == []


def test_held_out_classes_that_are_not_trained():
    ((kind, cause),) = named(facts(classes(X, 3), classes(VALID, 3) + 3))
    assert kind == "label_encoding_wrong"
    assert "100% of the held-out rows are of classes that have no row" in cause


def test_held_out_targets_in_other_units():
    y, targets = (a[:, :1] + 3 for a in (X, VALID))
    ((kind, cause),) = named(facts(y * 1000, targets, F.mse_loss, 1))
    assert kind == "train_test_mismatch"
    assert cause.startswith("the targets of the training are 1")
    far = targets.copy()
    far[0] = 1e4  # one of 200
    assert named(facts(y, far, F.mse_loss, 1)) == []


@pytest.mark.parametrize(
    ("y", "loss", "units", "kind", "value"),
    [
        (np.zeros(600, int), "cross_entropy", 3, "constant_targets", "0"),
        (np.ones((600, 1), "f"), "binary_cross_entropy", 1, "constant_targets", "1"),
        (np.full((600, 1), 3.5, "f"), "mse", 1, "constant_targets", "3.5"),
        (np.full((600, 1), 350), "mse", 1, "constant_targets", "350"),
        (np.ones((600, 2), "f") * [1, 2], "mse", 2, "constant_targets", "the same"),
    ],
)
def test_targets_that_are_all_the_same(y, loss, units, kind, value):
    cr.random.seed(0)
    out = nn.Sigmoid() if loss == "binary_cross_entropy" else nn.Identity()
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, units), out)
    diagnosis = cr.diagnose(model, (X, y), loss=loss, epochs=2, seconds=1)
    (finding,) = diagnosis.findings
    assert finding.kind == kind
    assert finding.cause == f"all targets of the training are {value}: there is nothing to learn"
    assert diagnosis.trials == ()
    assert diagnosis.verdict == "Nothing was tried: repair this first."
    assert "guess" not in str(diagnosis)


@pytest.mark.parametrize(
    ("trained", "held_out", "word"), [(255, 1, "match"), (1, 255, "match_held_out")]
)
def test_of_two_sets_the_one_with_raw_inputs_is_changed(trained, held_out, word):
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
    adam = optim.Adam(model.named_parameters(), lr=0.01)
    sets = (trained * X, classes(X, 6)), (held_out * VALID, classes(VALID, 6))
    t = ModuleTraining(model, F.cross_entropy, adam, *sets, 32, 1)
    (fault,) = [f for f in data_faults(gather(t)) if f.kind == "train_test_mismatch"]
    assert fault.changes[0].what == word
    changed = t.changed(fault.changes)
    assert np.abs(changed.data[0]).mean() == pytest.approx(
        np.abs(changed.valid[0]).mean(), rel=1e-5
    )


def test_healthy_sets_of_few_rows_are_not_called_misaligned():
    """Neighbours among 50 rows are farther away than among 300."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        cr.random.seed(0)
        y, targets = rng.integers(0, 8, 50), rng.integers(0, 8, 300)
        centres = rng.normal(0, 2, (8, 4))
        x, held_out = (
            (centres[k] + rng.normal(size=(len(k), 4))).astype(np.float32) for k in (y, targets)
        )
        y = np.where(rng.random(50) < 0.3, rng.integers(0, 8, 50), y)
        model = nn.Sequential(nn.Linear(4, 8))
        adam = optim.Adam(model.named_parameters(), lr=0.01)
        t = ModuleTraining(model, F.cross_entropy, adam, (x, y), (held_out, targets), 32, 1)
        assert "labels_misaligned" not in {f.kind for f in data_faults(gather(t))}
