"""What the losses, the gradient norms and the test of a training show."""

import itertools
import json
import math
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import files, nn, optim
from chainrule.diagnosis.history import Guess
from chainrule.diagnosis.history import findings_of_run as findings
from chainrule.diagnosis.kinds import KINDS
from chainrule.train.loop.history import GradientFlow, History


def history(norms=((1.0, 1.0),), valid=(), loss=None, guess=None, best=None, untrained=()):
    layers = [f"{k} Linear" for k in range(len(norms[0]))]
    flow = GradientFlow(layers, list(range(len(norms))), [list(n) for n in norms])
    loss = [1.0] * len(valid) if loss is None else loss
    rows = [
        {"loss": a, "step": 400 * (k + 1), **({"valid_loss": b} if valid else {})}
        for k, (a, b) in enumerate(itertools.zip_longest(loss, valid))
    ]
    return History(rows, best, "epochs", flow, guess, untrained=list(untrained))


STEADY = [(0.5, 0.4)] * 40
GUESS = Guess("accuracy", 0.5)
GOOD = ({"accuracy": 0.97}, 100, GUESS)
LN_3 = (1.0986, 0.0)  # three classes of the same size
CASES = {
    "healthy": (history(STEADY), GOOD, "good", ""),
    "vanishing": (
        history([(1e-6, 0.1)] * 20),
        GOOD,
        "warning",
        "vanishing_gradient at layer 0",
    ),
    "bursting": (
        history([*STEADY, (90.0, 3.0), *STEADY]),
        GOOD,
        "warning",
        "exploding_gradient at layer 0",
    ),
    "ever smaller": (
        history([(10.0**-k, 10.0**-k) for k in np.linspace(0, 6, 200)]),
        GOOD,
        "good",
        "",
    ),
    "dead": (history([(0.1, 0.0, 0.1)] * 20), GOOD, "warning", "no_gradient at layer 1"),
    "by heart": (
        history(STEADY, [0.5, 0.4, 0.3, 0.5, 0.7], [0.6, 0.3, 0.1, 0.05, 0.02], LN_3),
        GOOD,
        "notice",
        "overfitting at the model",
    ),
    "by heart, of an unknown loss": (
        history(STEADY, [0.5, 0.4, 0.3, 0.5, 0.7], [0.6, 0.3, 0.1, 0.05, 0.02]),
        GOOD,
        "notice",
        "overfitting at the model",
    ),
    "by heart, with smoothed classes": (  # the least loss is 0.39
        history(STEADY, [0.5, 0.45, 0.6, 0.8, 0.9], [0.7, 0.5, 0.43, 0.41, 0.4], (1.0986, 0.39)),
        GOOD,
        "notice",
        "overfitting at the model",
    ),
    "hardly learned": (
        history(STEADY, [1.08, 1.06, 1.1, 1.2, 1.3], [1.13, 1.08, 1.03, 1.0, 0.97], LN_3),
        GOOD,
        "notice",
        "no_generalisation at the model",
    ),
    "not learned": (
        history(STEADY, [1.1] * 3, [1.2, 1.11, 1.097], LN_3),
        GOOD,
        "notice",
        "underfitting at the model",
    ),
    "not learned, while the validation loss rises": (
        history(STEADY, [1.1, 1.1, 1.2, 1.3, 1.4], [1.2, 1.11, 1.1, 1.1, 1.097], LN_3),
        GOOD,
        "notice",
        "underfitting at the model",
    ),
    "climbing": (
        history(STEADY, [86, 400, 310, 305, 298], [90, 350, 320, 310, 300]),
        GOOD,
        "warning",
        "lr_too_high at optimizer.lr",
    ),
    "climbing without validation": (
        history(STEADY, loss=[86, 100, 300]),
        GOOD,
        "warning",
        "lr_too_high at optimizer.lr",
    ),
    "rose again": (
        history(STEADY, loss=[1.0, 0.2, 0.21, 0.7]),
        GOOD,
        "notice",
        "lr_too_high at optimizer.lr",
    ),
    "noise": (history(STEADY, loss=[0.7, 0.69, 0.695, 0.71]), GOOD, "good", ""),
    "the last epoch is better than a bad one": (
        history(STEADY, [0.3, 0.29, 0.4, 0.35], [0.5, 0.4, 0.39, 0.39]),
        GOOD,
        "good",
        "",
    ),
    "a negative loss that stays": (
        history(STEADY, [-5.0, -5.02], [-5.0, -5.02]),
        GOOD,
        "good",
        "",
    ),
    "the first epoch is the best": (
        history(STEADY, [0.3, 0.302, 0.301, 0.303, 0.304], [0.5, 0.4, 0.39, 0.39, 0.38], LN_3),
        GOOD,
        "notice",
        "plateau at the model",
    ),
    "the first epoch is the best by far": (
        history(STEADY, [0.3, 0.4, 0.5, 0.6, 0.7], [0.5, 0.2, 0.1, 0.05, 0.02], LN_3),
        GOOD,
        "notice",
        "overfitting at the model",
    ),
    "false alarms": (
        history(STEADY),
        (*GOOD, np.array([[800, 98], [1, 12]]), ["no", "fraud"]),
        "warning",
        "classes_confused at class fraud",
    ),
    "misses": (
        history(STEADY),
        (*GOOD, np.array([[890, 2], [20, 12]]), ["no", "fraud"]),
        "warning",
        "classes_confused at class fraud",
    ),
    "never named": (
        history(STEADY),
        (*GOOD, np.array([[890, 0], [20, 0]]), ["no", "fraud"]),
        "warning",
        "classes_confused at class fraud",
    ),
    "few mistakes": (
        history(STEADY),
        (*GOOD, np.array([[95, 3], [1, 1]]), ["no", "fraud"]),
        "good",
        "",
    ),
    "guesses alone": (
        history(STEADY),
        (
            {"accuracy": 0.95},
            900,
            Guess("accuracy", 0.97, True),
            np.array([[850, 30], [15, 5]]),
            ["no", "fraud"],
        ),
        "warning",
        "no_better_than_guess at the model",
    ),
    "few rows of a class, told apart": (  # 6 gained and 1 lost against the guess: z = 1.9
        history(STEADY),
        (
            {"accuracy": 0.985},
            337,
            Guess("accuracy", 327 / 337, True),
            np.array([[326, 1], [4, 6]]),
            ["no", "fraud"],
        ),
        "good",
        "",
    ),
    "few rows of a class, by chance": (  # 4 gained and 3 lost
        history(STEADY),
        (
            {"accuracy": 330 / 337},
            337,
            Guess("accuracy", 329 / 337, True),
            np.array([[326, 3], [4, 4]]),
            ["no", "fraud"],
        ),
        "warning",
        "no_better_than_guess at the model",
    ),
    "validation rows of another scale": (
        history(
            STEADY, [5e6, 4.95e6, 4.92e6, 4.91e6, 4.9e6], [1.0, 0.5, 0.1, 0.01, 0.003], (1.02, 0.0)
        ),
        GOOD,
        "notice",
        "no_generalisation at the model",
    ),
    "vanishing to nothing": (
        history([(0.0, 0.0, 1e-20, 1e-9, 0.1)] * 20),
        GOOD,
        "warning",
        "vanishing_gradient at layer 0",
    ),
    "small before a normalization": (history([(1e-6, 0.1, 0.1)] * 20), GOOD, "good", ""),
    "nothing left to learn": (history([(0.1, 0.2)] * 20 + [(0.0, 1e-9)] * 40), GOOD, "", ""),
    "two dead layers": (
        history([(0.1, 0.0, 0.0, 0.1)] * 20),
        GOOD,
        "warning",
        "no_gradient at layer 1",
    ),
    "a little worse than best": (history(STEADY, [9.0, 0.4, 0.3, 0.3, 0.35]), GOOD, "good", ""),
    "still better": (history(STEADY, [0.5, 0.4]), GOOD, "notice", "too_few_epochs at epochs"),
    "still better, but learned": (
        history(STEADY, [0.5, 0.4], [0.9, 0.1], LN_3),
        GOOD,
        "good",
        "",
    ),
    "untrained": (
        history(STEADY, untrained=["layer.bias: forward does not use it"]),
        GOOD,
        "warning",
        "untrained_parameters at layer.bias",
    ),
    "a guess": (
        history(STEADY),
        ({"accuracy": 0.52}, 100, GUESS),
        "warning",
        "no_better_than_guess at the model",
    ),
    "by chance": (
        history(STEADY),
        ({"accuracy": 0.575}, 80, Guess("accuracy", 0.525)),
        "warning",
        "no_better_than_guess at the model",
    ),
    "above chance": (
        history(STEADY),
        ({"accuracy": 0.575}, 8000, Guess("accuracy", 0.5)),
        "good",
        "",
    ),
    "balanced": (
        history(STEADY),
        ({"accuracy": 0.8, "f1": 0.75}, 900, Guess("f1", 0.47)),
        "good",
        "",
    ),
    "small burst": (
        history([*STEADY, (0.003, 0.004), *[(1e-5, 1e-5)] * 30, (1.2, 0.9)]),
        GOOD,
        "notice",
        "exploding_gradient at layer 0",
    ),
    "worse than the mean": (
        history(STEADY),
        ({"r2": -0.3}, 100, Guess("r2", 0.0)),
        "warning",
        "no_better_than_guess at the model",
    ),
    "nan": (
        history(STEADY),
        ({"r2": math.nan}, 100, Guess("r2", 0.0)),
        "warning",
        "no_better_than_guess at the model",
    ),
    "text": (history(STEADY), ({"bits_per_character": 2.0}, 100, None), "good", ""),
    "few rows": (
        history(STEADY),
        ({"accuracy": 0.97}, 5, GUESS),
        "notice",
        "few_test_rows at data.test",
    ),
    "below a guess, by chance": (  # ± 0.082
        history(STEADY),
        ({"accuracy": 0.45}, 100, GUESS),
        "warning",
        "no_better_than_guess at the model",
    ),
    "too few rows to tell": (
        history(STEADY),
        ({"accuracy": 0.6}, 10, GUESS),
        "notice",
        "few_test_rows at data.test",
    ),
    "all right, and a guess nearly so": (
        history(STEADY),
        ({"accuracy": 1.0}, 25, Guess("accuracy", 0.96)),
        "notice",
        "few_test_rows at data.test",
    ),
    "one row": (
        history(STEADY),
        ({"r2": math.nan}, 1, Guess("r2", 0.0)),
        "notice",
        "few_test_rows at data.test",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_finding_and_no_other(name):
    made, test, level, title = CASES[name]
    shown = findings(made, *test)
    assert [(f.level, f.title.partition(":")[0]) for f in shown] == [(level, title)] * bool(title)
    for finding in shown:
        assert finding.remedies
        assert all(remedy.text and remedy.trial is None for remedy in finding.remedies)
        assert finding.evidence


def test_what_is_said_of_the_losses_is_what_they_were():
    loss, valid = [0.6, 0.3, 0.1, 0.05, 0.02], [0.5, 0.4, 0.3, 0.5, 0.7]
    for best, said in ((3, "the weights are those of epoch 3"), (5, "of epoch 5"), (None, "")):
        (shown,) = findings(history(STEADY, valid, loss, LN_3, best), *GOOD)
        assert "was 0.3 after epoch 3 and is 0.7 after epoch 5" in shown.cause
        assert shown.cause.endswith(said)
        assert shown.evidence == {"least": 0.3, "epoch": 3, "valid_loss": 0.7, "loss": 0.02}
    (shown,) = findings(CASES["hardly learned"][0], *GOOD)
    assert "training loss is 0.97 and the best constant prediction gets 1.099" in shown.cause
    assert "smaller network" not in shown.advice
    (shown,) = findings(CASES["false alarms"][0], *CASES["false alarms"][1])
    assert "98 of the 110 test rows predicted as fraud" in shown.cause
    assert shown.evidence == {"false_alarms": 98, "rows": 110, "classes": 1}


def test_a_burst_that_moves_the_loss_is_a_warning():
    norms = [*[(1e-5, 1e-5)] * 30, (1.2, 0.9), *[(1e-5, 1e-5)] * 5]
    made = history(norms, [0.5, 0.4, 0.35, 0.35])
    for loss, kinds in (
        ([1.0, 0.2, 0.21, 0.2], []),
        ([1.0, 0.9, 0.88, 0.87], ["exploding_gradient"]),
        ([1.0, 0.2, 0.9, 0.9], ["exploding_gradient", "lr_too_high"]),
    ):
        for k, row in enumerate(made.epochs):
            row.update(loss=loss[k], step=12 * (k + 1))
        shown = findings(made, *GOOD)
        assert [f.kind for f in shown] == kinds
        for burst in shown[:1]:
            level = "warning" if "lr_too_high" in kinds else "notice"
            assert (burst.place, burst.level) == ("0", level)
            assert burst.evidence["step"] == 31
            assert burst.evidence["norm"] == pytest.approx(1.5)


def test_the_remedy_for_a_guess_fits_the_classes():
    for imbalanced in (True, False):
        guess = Guess("accuracy", 0.87, imbalanced)
        (shown,) = findings(history(STEADY), {"accuracy": 0.87}, 900, guess)
        assert ("--class-weight balanced" in shown.advice) == imbalanced


def test_the_remedy_where_no_epoch_was_better_than_the_first():
    for best, epochs, says in ((1, 5, True), (2, 5, False), (1, 4, False), (None, 5, False)):
        made = history(STEADY, [0.7] * epochs, [0.7] * epochs, best=best)
        shown = findings(made, {"accuracy": 0.4}, 900, GUESS)[0]
        assert shown.kind == "no_better_than_guess"
        assert ("no epoch was better than the first" in shown.advice) == says
        assert "--lr" in shown.advice


def test_a_finding_reads_as_its_text():
    (finding,) = findings(history([(1e-6, 0.1234567)] * 20), *GOOD)
    assert str(finding) == finding.text
    assert repr(finding) == f"Finding({finding.text})"
    assert "1e-6 in layer 0 Linear and 0.123 in layer 1 Linear" in str(finding)


def test_the_worst_is_first():
    # of 20 cats 13 are missed, of 6 dogs all; 14 of 34 said to be birds are none
    table = np.array([[7, 1, 12], [1, 0, 5], [0, 0, 20]])
    made = history(STEADY, [0.5, 0.4], [0.5, 0.4])
    test = {"accuracy": 27 / 46}, 46, Guess("accuracy", 0.2), table, ["cats", "dogs", "birds"]
    misses, better = findings(made, *test, "image")
    assert misses.place == "class dogs"
    assert misses.cause.startswith("6 of the 6 test images of dogs are predicted as other")
    assert misses.cause.endswith("this holds for 2 of 3 classes")
    assert "more images" in misses.advice
    assert better.kind == "too_few_epochs"
    table = np.array([[14, 0, 36], [0, 0, 5], [4, 0, 4]])  # 41 of 45 alarms; all of 5 missed
    test = {"accuracy": 0.28}, 67, Guess("accuracy", 0.1), table, ["cats", "dogs", "birds"]
    assert [f.place for f in findings(made, *test)[:2]] == ["class dogs", "class birds"]
    (few,) = findings(history(STEADY), {"accuracy": 0.97}, 5, GUESS, unit="image")
    assert few.sentence.startswith("5 test images: a few images more or less right")


def test_a_class_may_have_any_name():
    table = np.array([[890, 2], [20, 12]])
    test = {"accuracy": 0.97}, 924, GUESS, table, ["{no}", "{0} %s"]
    (shown,) = findings(history(STEADY), *test)
    assert "test rows of {0} %s are predicted" in shown.cause


def test_one_layer_and_no_probes_are_no_trouble():
    assert findings(History(), *GOOD) == []
    assert findings(history([(1e-9,)] * 5), *GOOD) == []


def test_each_kind_is_in_the_vocabulary_and_every_text_has_a_form():
    for made, test, _, _ in CASES.values():
        for finding in findings(made, *test):
            assert KINDS[finding.kind] == finding.meaning
            assert not re.search(r"[.:;] *$", finding.cause)
            assert finding.sentence[0] == finding.cause[0].upper()
            assert finding.text.endswith(f"Try: {finding.advice}.")
            assert json.loads(files.to_json(files.with_nulls(finding.to_dict())))["kind"]


def deep(activation, layers=14):
    cr.random.seed(0)
    parts = [part for _ in range(layers) for part in (nn.Linear(8, 8), activation())]
    return nn.Sequential(*parts, nn.Linear(8, 3))


def test_fit_says_that_gradients_vanish():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 8)).astype(np.float32), rng.integers(0, 3, 60)
    settings = {"loss": "cross_entropy", "epochs": 3, "progress": False}
    with pytest.warns(UserWarning, match=r"^\[fit\] vanishing_gradient at layer 0: the first"):
        made = cr.fit(deep(nn.Sigmoid), data, **settings)
    assert made.gradients.norms[-1][0] < 1e-9
    assert [f.level for f in made.findings if f.kind == "vanishing_gradient"] == ["warning"]
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    made = cr.fit(model, data, **settings)
    assert not any(f.kind == "vanishing_gradient" for f in made.findings)


def test_the_history_says_that_the_loss_climbs():
    """y = 3 x + noise for x = 1 and a weight that starts at 0: SGD bursts above a rate of 1."""
    x = np.ones((64, 1), np.float32)
    y = 3 * x + np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
    model = nn.Linear(1, 1, bias=False)
    model.load_state_dict({"weight": np.zeros((1, 1), np.float32)})
    optimizer = optim.SGD(model.named_parameters(), lr=1.05)  # beyond 1 it diverges
    made = cr.fit(
        model, (x, y), loss="mse", optimizer=optimizer, epochs=6, batch_size=64, progress=False
    )
    assert [(f.kind, f.level) for f in made.findings] == [("lr_too_high", "warning")]
    assert made["loss"][-1] > made["loss"][0]
    assert made.guess[0] == pytest.approx(float(np.var(y)), rel=1e-6)
