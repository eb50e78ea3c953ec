"""What the probes of a training show: with numbers made up, and in short trainings.

Longer than other files: the rules are tests of one table of made-up numbers.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis.history import findings_of_history
from chainrule.train.loop.history import GradientFlow, History

LN_3 = 1.0986, 0.0  # of a guess among three classes, and the least
STEPS = 40


@dataclass
class Made:
    """Made-up probes."""

    values: dict = field(default_factory=dict)
    by_step: dict = field(default_factory=dict)
    steps: list = field(default_factory=lambda: list(range(STEPS)))
    ratio: float | None = None


def history(probes, share=0.0, stopped="epochs", epochs=4, first=None, steps=400, guess=LN_3):
    """A training that went this share of the way from a guess to a loss of 0."""
    losses = np.linspace(LN_3[0] if first is None else first, LN_3[0] * (1 - share), epochs)
    rows = [{"loss": loss, "step": steps * (k + 1) // epochs} for k, loss in enumerate(losses)]
    made = History(rows, None, stopped, GradientFlow(), guess)
    made.probes = probes
    if probes.ratio is not None:
        made.gradients = GradientFlow(
            ["0 Linear", "2 Linear"], list(range(STEPS)), [[probes.ratio, 1.0]] * STEPS
        )
    return made


def shown(*args, **settings):
    """Kind, place and level of the findings, without those of the losses."""
    findings = findings_of_history(history(*args, **settings))
    return [(f.kind, f.place, f.level) for f in findings if f.kind != "underfitting"]


def rising(low, high):
    return [low] * (STEPS // 2) + [high] * (STEPS // 2)


def way(*gains, ratio, size):
    """Probes of layers with these gains, the last of which gets inputs of this size; the gradient
    of the first layer's weights is `ratio` times that of the last."""
    outputs = {
        "mean": {"1": [0.6 * size] * STEPS, "2": [0.0] * STEPS},
        "spread": {"1": [0.8 * size] * STEPS, "2": [0.5] * STEPS},
        "gain": {str(k): [gain] * STEPS for k, gain in enumerate(gains)},
    }
    return Made({**MOVING, **outputs}, ratio=ratio)


MOVING = {"update_ratio": {"0": [0.01] * STEPS, "2": [0.02] * STEPS}}
CASES = {
    "healthy": (Made(MOVING), []),
    "half dead": (Made({"dead": {"1": [0.5] * STEPS}}), []),
    "dead": (Made({"dead": {"1": [0.3] * STEPS, "3": [0.95] * STEPS}}), [("dead_relu", "3")]),
    "dying": (
        Made({"dead": {"1": rising(0.1, 0.8), "3": rising(0.1, 0.7)}}),
        [("dying_units", "1")],
    ),
    "dead and dying": (
        Made({"dead": {"1": rising(0.1, 1.0), "3": [1.0] * STEPS}}),
        [("dead_relu", "3"), ("dying_units", "1")],
    ),
    "not known": (Made({what: {"1": [math.nan] * STEPS} for what in ("dead", "saturated")}), []),
    "saturated": (
        Made({"saturated": {"1": [0.5] * STEPS, "3": [0.95] * STEPS}}),
        [("saturated_activation", "3")],
    ),
    "saturating": (
        Made({"saturated": {"1": rising(0.05, 0.8)}}),
        [("saturated_activation", "1")],
    ),
    "weights that grow": (
        Made({**MOVING, "weight_norm": {"0": rising(2.0, 40.0), "2": rising(1.0, 14.0)}}),
        [("lr_too_high", "optimizer.lr")],
    ),
    "a head that begins near 0": (
        Made({**MOVING, "weight_norm": {"0": [2.0] * STEPS, "2": rising(0.01, 2.0)}}),
        [],
    ),
    "a head that begins near 0 and explodes": (
        Made({**MOVING, "weight_norm": {"0": [2.0] * STEPS, "2": rising(0.01, 40.0)}}),
        [("lr_too_high", "optimizer.lr")],
    ),
    "one layer stands still": (
        Made({"update_ratio": {"0": [1e-5] * STEPS, "2": [2e-2] * STEPS, "4": [9e-4] * STEPS}}),
        [("unbalanced_layers", "0")],
    ),
    "a frozen layer": (
        Made({"update_ratio": {"0": [math.nan] * STEPS, "2": [0.02] * STEPS, "4": [0.01] * STEPS}}),
        [],
    ),
    "a dead layer and a normal one": (
        Made({"update_ratio": {"0": [0.0] * STEPS, "2": [0.02] * STEPS}}),
        [],
    ),
    "small steps": (  # 400 × 1e-4
        Made({"update_ratio": {"0": [1e-4] * STEPS, "2": [1e-4] * STEPS}}),
        [("lr_too_low", "optimizer.lr")],
    ),
    "vanishing by depth": (way(*[0.1] * 5, ratio=0.01, size=0.005), [("vanishing_gradient", "0")]),
    "three layers": (way(*[0.01] * 3, ratio=0.01, size=0.005), []),
    "residuals": (way(*[0.1] * 5, ratio=0.1, size=1.0), []),
    "exploding by depth": (way(*[5.0] * 5, ratio=4.0, size=50.0), [("exploding_gradient", "0")]),
    "gains that cancel out": (way(1e-3, 1e-2, 100, 1000, ratio=0.01, size=0.005), []),
    "vanishing over time": (
        Made(MOVING, {"rnn": [[10.0 ** ((k - 11) / 2) for k in range(12)]] * STEPS}),
        [("vanishing_gradient", "rnn")],
    ),
    "exploding over time": (
        Made(MOVING, {"rnn": [[10.0**-k for k in range(12)]] * STEPS}),
        [("exploding_gradient", "rnn")],
    ),
    "no gradient in padding": (
        Made(MOVING, {"rnn": [[1.0] * 20 + [0.0] * 5] * STEPS}),
        [],
    ),
    "one layer of two, both ways": (
        Made(
            MOVING,
            {
                "rnn l0": [[1.0] * 12] * STEPS,
                "rnn l1": [[10.0 ** (k - 11) for k in range(12)]] * STEPS,
                "rnn l1_reverse": [[10.0**-k for k in range(12)]] * STEPS,
            },
        ),
        [("vanishing_gradient", "rnn")],
    ),
    "sequences of no gradient": (Made(MOVING, {"rnn": [[0.0] * 12, [], [math.nan]] * 10}), []),
    "few time steps": (Made(MOVING, {"rnn": [[1e-9, 1.0]] * STEPS}), []),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_named_where_little_was_learned(name):
    probes, expected = CASES[name]
    assert shown(probes) == [(*e, "warning") for e in expected]
    assert shown(probes, share=0.3) == [(*e, "notice") for e in expected]
    assert shown(probes, share=0.6) == [], "a training that has learned its data has no fault"
    few = Made(probes.values, probes.by_step, probes.steps[:5], probes.ratio)
    assert shown(few) == [], "too few steps were measured"
    for finding in findings_of_history(history(probes)):
        assert finding.evidence
        assert finding.remedies


def test_a_young_training_is_not_judged():
    probes = CASES["dead"][0]
    assert shown(probes, stopped="", epochs=2) == []
    assert shown(probes, stopped="", epochs=3) == [("dead_relu", "3", "warning")]


def test_small_steps_and_forgotten_ones_are_judged_at_the_end():
    for name in ("small steps", "vanishing over time"):
        assert shown(CASES[name][0], stopped="") == []
    hopeless = Made(MOVING, {"rnn": [[10.0 ** (k - 30) for k in range(31)]] * STEPS})
    assert shown(hopeless, stopped="") == [("vanishing_gradient", "rnn", "warning")]


def test_what_healthy_trainings_show_too_at_first_is_no_warning_after_few_steps():
    forgets = CASES["vanishing over time"][0]
    assert shown(forgets, steps=300) == [("vanishing_gradient", "rnn", "warning")]
    short = ("too_few_epochs", "epochs", "notice")
    assert shown(forgets, steps=296) == [("vanishing_gradient", "rnn", "notice"), short]
    for ratio, expected in ((8e-4, [("lr_too_low", "optimizer.lr", "warning")]), (9e-4, [short])):
        ratios = Made({"update_ratio": {"0": [ratio] * STEPS}})
        assert shown(ratios, steps=80) == expected, "what 300 steps come to is 0.24 or 0.27"
    assert shown(forgets, steps=80, stopped="interrupted")[1:] == []


def test_small_steps_are_a_notice_if_the_loss_of_a_guess_is_unknown():
    """The network may have been trained before."""
    for name in ("small steps", "vanishing over time"):
        found = findings_of_history(history(CASES[name][0], share=0.1, guess=None))
        assert [(f.kind, f.level) for f in found] == [(CASES[name][1][0][0], "notice")]
    found = findings_of_history(history(CASES["dead"][0], share=0.1, guess=None))
    assert [(f.kind, f.level) for f in found] == [("dead_relu", "warning")]


def test_an_output_at_the_end_of_its_range_is_a_notice():
    """It may be the probability of something rare."""
    ends = {"saturated": {"1": [0.1] * STEPS, "3": [0.99] * STEPS}}
    means = {"mean": dict.fromkeys("0123", [math.nan] * STEPS)}
    assert shown(Made({**ends, **means})) == [("saturated_activation", "3", "notice")]
    means["mean"]["4"] = [0.0] * STEPS
    assert shown(Made({**ends, **means})) == [("saturated_activation", "3", "warning")]


def test_the_numbers_are_those_of_the_probes():
    def one(name, **settings):
        findings = findings_of_history(history(CASES[name][0], **settings))
        return next(f for f in findings if f.kind != "underfitting")

    dying = one("dying")
    assert dying.evidence == {"dead": {"1": 0.8}}
    assert dying.cause.startswith("80% of the units of layer 1 are 0 for every row")
    assert "10% at first" in dying.cause
    assert one("weights that grow").evidence == {"growth": {"0": 20.0}}
    small = one("small steps")
    assert small.evidence == {"way": pytest.approx(0.04), "steps": 400}
    deep = one("vanishing by depth")
    assert (
        "5 layers, one after the other, make the gradient 1e-5 times as large: each 0.1"
        in deep.cause
    )
    back = one("vanishing over time")
    assert back.evidence == {"first": pytest.approx(10**-5.5), "since": 6, "steps": 12}
    assert "of 12 time steps those before step 6 get less than a thousandth" in back.cause
    assert one("exploding over time").evidence == {"last": 1e-11, "largest": 1, "steps": 12}


def test_a_first_loss_far_above_a_guess_is_no_low_rate():
    probes = CASES["small steps"][0]
    large = findings_of_history(history(probes, share=-3.0, first=20.0))[0]
    assert (large.kind, large.place) == ("init_too_large", "")
    assert "the loss of the first epoch, 20, is far above that of a guess, 1.1" in large.cause
    assert large.remedies[0].text == "standardise the inputs and targets"


def test_a_first_loss_of_rare_classes_is_far_above_a_guess_though_outputs_are_small():
    x, _ = blobs()
    rare = (np.arange(len(x)) % 30 == 0).astype(np.int64)  # a guess has 0.15, a fair coin 0.69
    for times, kind in ((1.0, "lr_too_low"), (60.0, "init_too_large")):
        model = spoiled(lambda n, p, f=times: f * p if "weight" in n else None, network())
        slow = optim.Adam(model.named_parameters(), lr=1e-6)
        assert fitted(model, (x, rare), epochs=4, optimizer=slow).findings[0].kind == kind


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ({"loss": 50.0, "inputs": 900.0}, "inputs_not_scaled"),
        ({"loss": 50.0, "inputs": 0.9, "targets": 70.0}, "targets_not_scaled"),
        ({"loss": 1.2, "targets": 70.0}, "targets_not_scaled"),  # their mean is 0
        ({"loss": 1.2, "inputs": 900.0}, None),  # a normalization comes first
        ({"inputs": 900.0}, None),  # batch normalization
        ({"loss": 50.0, "inputs": 1.1, "targets": 1.0}, None),
        ({}, None),
    ],
)
def test_raw_inputs_and_targets_come_before_the_rate(first, expected):
    for name in ("weights that grow", "small steps"):
        made = history(CASES[name][0])
        made.first = first
        kinds = [f.kind for f in findings_of_history(made) if f.kind != "underfitting"]
        assert kinds == [expected or CASES[name][1][0][0]]
        learned = history(CASES[name][0], share=0.6)
        learned.first = first
        assert findings_of_history(learned) == []


def test_raw_inputs_that_the_first_loss_hides_come_before_states_that_forget():
    raw, short = (
        "inputs_not_scaled",
        [("inputs_not_scaled", "notice"), ("too_few_epochs", "notice")],
    )
    forgets, plain = [("vanishing_gradient", "warning")], ["rnn LSTM", "head Linear"]
    for layers, steps, ends, expected in (
        (plain, 400, True, [(raw, "warning")]),
        (plain, 80, True, short),
        (["norm LayerNorm", *plain], 400, True, forgets),
        (plain, 400, False, forgets),  # no unit has ends of a range that would hide them
    ):
        made = history(CASES["vanishing over time"][0], steps=steps)
        made.first = {"loss": 1.2, "inputs": 900.0}
        made.gradients = GradientFlow(layers, [0], [[1.0] * len(layers)])
        made.probes.values["saturated"] = {"rnn": [0.0] * steps} if ends else {}
        found = [(f.kind, f.level) for f in findings_of_history(made)]
        assert [f for f in found if f[0] != "underfitting"] == expected


def test_weights_of_0_are_no_fault_of_the_rate():
    zero = {"weight_norm": {"0": [0.0] * STEPS}, "dead": {"1": [1.0] * STEPS}}
    assert shown(Made(zero)) == [("init_symmetric", "0", "warning")]
    assert shown(Made({"weight_norm": {"0": [0.0, *[0.5] * (STEPS - 1)]}})) == []


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_remedy_for_a_recurrent_layer_fits_its_kind(kind):
    made = history(CASES["vanishing over time"][0])
    made.gradients = GradientFlow([f"rnn {kind}", "head Linear"], [0], [[1.0, 1.0]])
    (finding,) = [f for f in findings_of_history(made) if f.kind == "vanishing_gradient"]
    assert finding.remedies[0].text == "orthogonal recurrent weights"
    assert ("LSTM or GRU in place" in finding.advice) == (kind == "RNN")


def test_a_long_way_in_small_steps_is_long():
    ratios = {"update_ratio": {"0": [1e-4] * STEPS}}
    assert shown(Made(ratios), steps=2400) == [("lr_too_low", "optimizer.lr", "warning")]
    assert shown(Made(ratios), steps=2600) == []


def test_a_plateau_is_a_loss_that_stays_while_gradients_are_noise():
    for signal, flat, expected in ((0.05, True, 1), (0.2, True, 0), (0.05, False, 0)):
        values = {**MOVING, "signal": {"0": [math.nan] * 19 + [signal] * 21}}
        made = history(Made(values), epochs=9)
        for k, row in enumerate(made.epochs):
            row["loss"] = 0.8 if flat else 0.95 - 0.02 * k
        found = [f for f in findings_of_history(made) if f.kind == "plateau"]
        assert len(found) == expected
        assert all(f.level == "notice" for f in found)


def test_nothing_is_said_twice():
    """A dead layer has no gradient and makes no steps."""
    values = {
        "dead": {"1": [1.0] * STEPS},
        "update_ratio": {"0": [0.0] * STEPS, "2": [1e-4] * STEPS},
    }
    made = history(Made(values))
    made.gradients = GradientFlow(["0 Linear", "2 Linear"], list(range(30)), [[0.0, 0.1]] * 30)
    assert [f.kind for f in findings_of_history(made)] == ["dead_relu", "underfitting"]
    made.probes = Made()
    assert [f.kind for f in findings_of_history(made)] == ["no_gradient", "underfitting"]


def test_a_refused_step_of_a_training_that_has_learned_is_a_notice():
    for share, count, level in ((0.9, 1, "notice"), (0.9, 4, "warning"), (0.1, 1, "warning")):
        made = history(Made(), share)
        made.refused = [
            {"step": k + 1, "reason": "a loss of nan", "rate": 0.1} for k in range(count)
        ]
        refused = next(f for f in findings_of_history(made) if f.kind == "steps_refused")
        assert refused.level == level
        assert refused.evidence == {"steps": list(range(1, count + 1))}


# ── short trainings ──────────────────────────────────────────────────────────────────────────────


def blobs(rows=240, size=8, classes=3):
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, rows)
    centres = rng.normal(size=(classes, size))
    return (2 * centres[y] + rng.normal(size=(rows, size))).astype(np.float32), y


def fitted(model, data=None, epochs=10, optimizer=None, **settings):
    return cr.fit(
        model,
        blobs() if data is None else data,
        loss="cross_entropy",
        epochs=epochs,
        optimizer=optimizer or optim.Adam(model.named_parameters(), lr=5e-3),
        batch_size=16,
        progress=False,
        **settings,
    )


def network(activation=nn.ReLU, depth=2, width=24, frozen=False):
    cr.random.seed(1)
    layers = [nn.Linear(8, width), activation()]
    if frozen:
        layers[0].freeze()
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def spoiled(change, model):
    for name, p in model.named_parameters():
        new = change(name, p.numpy())
        if new is not None:
            model.load_state_dict({**model.state_dict(), name: new.astype(np.float32)})
    return model


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
@pytest.mark.parametrize("optimizer", [optim.Adam, optim.SGD])
def test_healthy_networks_have_no_findings(activation, optimizer):
    model = network(activation)
    rate = 5e-3 if optimizer is optim.Adam else 0.1
    made = fitted(model, optimizer=optimizer(model.named_parameters(), lr=rate))
    assert made.findings == []


FAULTS = {
    "dead": (
        lambda: spoiled(lambda n, p: p - 9 if n == "0.bias" else None, network()),
        5e-3,
        ("dead_relu", "1"),
    ),
    "saturated": (
        lambda: spoiled(lambda n, p: 60 * p if "weight" in n else None, network(nn.Tanh)),
        5e-3,
        ("saturated_activation", "1"),
    ),
    "a rate far too high": (network, 30.0, ("lr_too_high", "optimizer.lr")),
    "a rate far too low": (network, 1e-6, ("lr_too_low", "optimizer.lr")),
    "a deep network of sigmoids": (
        lambda: network(nn.Sigmoid, 12),
        5e-3,
        ("vanishing_gradient", "0"),
    ),
}


@pytest.mark.filterwarnings("ignore:.fit.")
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(name, compiled):
    build, rate, expected = FAULTS[name]
    model = build()
    optimizer = optim.Adam(model.named_parameters(), lr=rate)
    first = fitted(model, epochs=5, optimizer=optimizer, compile=compiled).findings[0]
    assert (first.kind, first.place, first.level) == (*expected, "warning")


def test_fit_names_the_data_that_is_not_scaled():
    x, y = blobs()
    model = network()
    with pytest.warns(UserWarning, match=r"^\[fit\] inputs_not_scaled at data.inputs: raw inputs"):
        made = fitted(model, (1000 * x, y), optimizer=optim.SGD(model.parameters(), lr=0.03))
    assert made.first["inputs"] == pytest.approx(1000 * np.sqrt((x**2).mean()), rel=0.2)
    assert not any(f.place == "optimizer.lr" for f in made.findings)
    numbers = (x, 500 + 100 * x[:, :1])
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    with pytest.warns(UserWarning, match=r"^\[fit\] targets_not_scaled at data.targets"):
        cr.fit(model, numbers, loss="mse", epochs=3, progress=False)


def test_raw_inputs_before_a_batch_normalization_are_no_finding():
    x, y = blobs()
    model = nn.Sequential(nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3))
    made = cr.fit(model, (1000 * x, y), loss="cross_entropy", epochs=2, progress=False)
    assert made.first.keys() == {"inputs"}
    assert [f.kind for f in made.findings if f.level == "warning"] == []


def test_fit_warns_of_a_sure_finding_that_the_loss_shows_too():
    model = network()
    optimizer = optim.Adam(model.named_parameters(), lr=30.0)
    with pytest.warns(UserWarning, match=r"^\[fit\] lr_too_high at optimizer.lr"):
        fitted(model, epochs=5, optimizer=optimizer)


def test_a_loss_of_the_wrong_sign_has_no_lower_bound():
    def opposite(prediction, target):
        return -nn.functional.cross_entropy(prediction, target)

    model = network()
    rate = optim.Adam(model.named_parameters(), lr=0.02)
    made = cr.fit(model, blobs(), loss=opposite, optimizer=rate, epochs=10, progress=False)
    assert [(f.kind, f.level) for f in made.findings] == [("gradient_ascent", "warning")]
    density = [(5.0, -30.0, -45.0, -52.0, -55.0, -56.0), (-1.0, -4.0, -6.0, -7.0, -8.0, -9.0)]
    for losses in density:
        assert History([{"loss": loss} for loss in losses], None, "epochs").findings == []


@pytest.mark.filterwarnings("ignore:.fit. these parameters are not trained")
def test_fit_warns_of_units_that_are_dead():
    model = FAULTS["dead"][0]()
    with pytest.warns(UserWarning, match=r"^\[fit\] dead_relu at layer 1: units that are 0"):
        fitted(model)


SHORT = {  # model, inputs, targets, settings
    "two epochs": lambda x, y: (network(), x, y, {"epochs": 2}),
    "eight rows": lambda x, y: (network(), x[:8], y[:8], {"epochs": 20, "batch_size": 8}),
    "a frozen layer": lambda x, y: (network(frozen=True), x, y, {"epochs": 2}),
    "a vocabulary that is rarely used": lambda x, y: (
        nn.Sequential(nn.Embedding(5000, 8), nn.Flatten(), nn.Linear(64, 3)),
        np.abs(x * 20).astype(np.int64),
        y,
        {"epochs": 2},
    ),
    "a transformer": lambda x, y: (
        nn.Sequential(
            nn.Linear(2, 16),
            nn.TransformerEncoderLayer(16, 2, 32, 0.0),
            nn.Flatten(),
            nn.Linear(64, 3),
        ),
        x.reshape(-1, 4, 2),
        y,
        {"epochs": 2},
    ),
    **{
        f"{kind.__name__} over 50 steps": lambda x, y, kind=kind: (
            Last(kind, 1.0),
            np.repeat(x[:, None, :2], 50, 1),
            y,
            {"epochs": 3},
        )
        for kind in (nn.RNN, nn.GRU, nn.LSTM)
    },
}


@pytest.mark.parametrize("name", SHORT)
def test_a_short_training_with_the_default_optimizer_is_not_blamed(name):
    model, x, y, settings = SHORT[name](*blobs())
    made = cr.fit(model, (x, y), loss="cross_entropy", progress=False, **settings)
    assert made.probes.steps[-1] >= 12 - 1
    assert [f.kind for f in made.findings if f.level == "warning"] == []


def test_a_trained_network_that_is_trained_on_is_not_blamed():
    model = network()
    fitted(model)
    for loss in ("cross_entropy", lambda p, y: nn.functional.cross_entropy(p, y)):
        slow = optim.Adam(model.named_parameters(), lr=1e-5)
        made = cr.fit(model, blobs(), loss=loss, optimizer=slow, epochs=3, progress=False)
        assert [f.kind for f in made.findings if f.level == "warning"] == []


def test_a_cut_path_is_named_by_the_parameters_behind_it():
    class Cut(nn.Module):
        def __init__(self):
            self.hidden, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.head(nn.functional.relu(self.hidden(x)).detach())

    with pytest.warns(UserWarning, match="these parameters are not trained") as said:
        made = fitted(Cut(), epochs=2)
    assert len(said) == 1, "it is said in the first steps, not again at the end"
    (cut,) = [f for f in made.findings if f.level == "warning"]
    assert (cut.kind, cut.place) == ("untrained_parameters", "hidden.weight")
    assert cut.evidence["parameters"] == ["hidden.weight", "hidden.bias"]
    assert cut.cause.startswith("no gradient reached it: detach")
    assert cut.cause.endswith("; likewise 1 more")
    assert History.from_dict(made.to_dict()).untrained == made.untrained


def test_a_loss_times_0_trains_nothing():
    def nothing(prediction, target):
        return 0.0 * nn.functional.cross_entropy(prediction, target) + 1.0

    with pytest.warns(UserWarning, match="these parameters are not trained"):
        made = cr.fit(network(), blobs(), loss=nothing, epochs=3, progress=False)
    (finding,) = [f for f in made.findings if f.level == "warning"]
    assert finding.kind == "untrained_parameters"
    assert len(finding.evidence["parameters"]) == 6


class Last(nn.Module):
    """A recurrent layer and a linear one of its last step."""

    def __init__(self, kind, scale):
        cr.random.seed(0)
        self.rnn, self.head = kind(2, 16), nn.Linear(16, 3)
        weight = self.rnn.weight_hh_l0
        self.rnn.load_state_dict(
            {**self.rnn.state_dict(), "weight_hh_l0": weight.numpy() * np.float32(scale)}
        )

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.filterwarnings("ignore:.fit.")
def test_a_recurrent_layer_forgets_the_first_steps():
    """The class is in the first of 60 steps."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(96, 60, 2)).astype(np.float32), rng.integers(0, 3, 96)
    x[:, 0, 0] = y
    found = fitted(Last(nn.RNN, 0.5), (x, y)).findings
    (finding,) = [f for f in found if f.kind == "vanishing_gradient"]
    assert finding.place == "rnn"
    assert finding.evidence["steps"] == 60
    assert 40 < finding.evidence["since"] <= 60
