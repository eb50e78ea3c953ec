"""`cr.diagnose`: what it finds, what it says, and wrong arguments."""

import json
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis import Change
from chainrule.doctor import Diagnosis
from chainrule.doctor.changes import alike
from chainrule.doctor.diagnose import sets
from chainrule.doctor.scheduled import ScheduledTraining
from chainrule.doctor.score import score_for

SECONDS = 12.0


def blobs(rows=400, scale=1.0):
    """Two classes that a straight line separates."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, rows)
    x = rng.normal(size=(rows, 2)) + 4 * y[:, None] - 2
    return (scale * x).astype(np.float32), y


def network():
    cr.random.seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def diagnosed(lr, **settings):
    model = network()
    optimizer = optim.SGD(model.named_parameters(), lr=lr)
    settings = {"loss": "cross_entropy", "epochs": 4, "seconds": SECONDS, **settings}
    return cr.diagnose(model, settings.pop("data", blobs()), optimizer=optimizer, **settings)


@pytest.fixture(scope="module")
def slow():
    """A rate with which nothing is learned."""
    return diagnosed(1e-6)


def test_a_healthy_training_has_no_finding():
    diagnosis = diagnosed(0.1)
    assert diagnosis.findings == ()
    assert diagnosis.remedy is None
    assert diagnosis.score > 0.95
    assert str(diagnosis).startswith("Nothing found: accuracy ")


def test_a_rate_that_is_too_low(slow):
    kinds = {finding.kind for finding in slow.findings}
    assert kinds & {"lr_too_low", "optimizer_unsuited"}
    assert slow.remedy.trial.after > slow.score + 0.1
    assert slow.rows == 80
    assert slow.metric == "accuracy"


def regression():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    return x, np.stack([np.sin(2 * x[:, 0]), x[:, 1] * x[:, 2]], 1).astype(np.float32)


def regression_network():
    cr.random.seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 2))


def diverges(rate, x, y):
    """Whether 60 full-batch steps of gradient descent end above the first loss."""
    model = regression_network()
    optimizer = optim.SGD(model.parameters(), rate)

    @cr.compile
    def step():
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [float(step()) for _ in range(60)]
    return not losses[-1] <= losses[0]


def test_a_rate_that_is_100_times_too_high():
    """The doctor names it, and the critical rate, within a factor of 2 of where steps diverge."""
    x, y = regression()
    low, high = 0.01, 100.0
    for _ in range(12):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if diverges(middle, x, y) else (middle, high)
    model = regression_network()
    diagnosis = cr.diagnose(
        model,
        (x, y),
        loss="mse",
        optimizer=optim.SGD(model.named_parameters(), 100 * high),
        epochs=20,
        seconds=SECONDS,
    )
    (finding,) = [f for f in diagnosis.findings if f.kind == "lr_too_high"]
    critical = finding.evidence["critical_rate"]
    assert finding.place == "optimizer.lr"
    assert f"; the critical rate at the first weights is {critical:.3g}" in finding.cause
    assert 1 / 2 <= critical / high <= 2
    (measured,) = [m for m in diagnosis.measured if m.name == "critical_rate"]
    assert measured.value == critical
    assert "times exceeded" in measured.remark
    assert "critical rate" in str(diagnosis)


def test_the_text_names_findings_remedy_and_trials(slow):
    lines = str(slow).splitlines()
    count = len(slow.findings)
    assert lines[0].startswith(f"{count} finding")
    for number, finding in enumerate(slow.findings, 1):
        assert any(f.startswith(f"{number}. {finding.kind} at {finding.place}: ") for f in lines)
    assert any(line.strip().startswith("remedy  ") for line in lines)
    table = lines.index(next(line for line in lines if line.startswith("tried ")))
    end = lines.index("", table)
    scores = [float(s.split()[0]) for s in lines[table + 1 : end] if s.split()[0][0].isdigit()]
    assert scores == sorted(scores, reverse=True)
    assert any("none: the training as it is" in line for line in lines[table:end])
    assert lines[end + 1].startswith("measured ")
    assert max(map(len, lines)) <= 96


def test_the_same_as_html_and_as_data(slow):
    html = slow._repr_html_()
    assert html.count("<article") == len(slow.findings) + (slow.together is not None)
    assert all(f"<code>{finding.kind}</code>" in html for finding in slow.findings)
    data = json.loads(json.dumps(slow.to_dict(), allow_nan=False))
    assert [f["kind"] for f in data["findings"]] == [f.kind for f in slow.findings]
    assert data["findings"][0]["remedies"][0]["text"] == slow.findings[0].remedies[0].text
    assert len(data["trials"]) == len(slow.trials)


def test_a_training_that_breaks_says_when():
    diagnosis = diagnosed(1e12)
    assert "the loss is not finite in epoch 1" in str(diagnosis).splitlines()[0]
    assert diagnosis.remedy.trial.after > 0.9


def test_neither_model_nor_random_numbers_change():
    model = network()
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    state = cr.random.default.state
    cr.diagnose(model, blobs(100), loss="cross_entropy", epochs=1, seconds=0.5)
    assert all((p.numpy() == before[name]).all() for name, p in model.named_parameters())
    assert np.array_equal(cr.random.default.state, state)


def test_nothing_is_imported_for_it_before_it_is_used():
    code = "import sys, chainrule; assert 'chainrule.doctor' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert isinstance(cr.doctor.Diagnosis, type)
    assert cr.doctor.Diagnosis is Diagnosis


def test_a_loader_has_batches_and_order():
    x, y = blobs(100)
    seen = []

    def loss(prediction, target):
        seen.append(target.shape[0])
        return nn.functional.cross_entropy(prediction, target)

    loader = cr.data.DataLoader((x, y), batch_size=16)
    diagnosis = cr.diagnose(network(), loader, valid=loader, loss=loss, epochs=1, seconds=0.1)
    assert diagnosis.rows == 100
    assert 16 in seen


def test_rows_keep_their_order_where_some_are_held_out():
    x = np.arange(50.0)[:, None]
    (trained, _), (valid, _) = sets((x, x), None)
    assert (np.diff(trained[:, 0]) > 0).all()
    assert (np.diff(valid[:, 0]) > 0).all()
    assert sorted([*trained[:, 0], *valid[:, 0]]) == x[:, 0].tolist()
    assert len(valid) == 10


# ── schedules ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_a_schedule_is_that_of_fit(per):
    """The weights after the training are those of `fit`: the data is one batch, so the order is."""
    x, y = blobs(32)
    made = {
        "step": lambda o, steps: optim.WarmupCosine(o, 2, steps),
        "epoch": lambda o, steps: optim.ExponentialLR(o, 0.5),
    }[per]
    model = network()
    optimizer = optim.SGD(model.named_parameters(), lr=0.5)
    training = ScheduledTraining(
        model, nn.CrossEntropyLoss(), optimizer, (x, y), (x, y), 32, 6, scheduling=made
    )
    trained = training.run(score_for(y, y, (2,))).model
    other = network()
    optimizer = optim.SGD(other.named_parameters(), lr=0.5)
    cr.fit(
        other,
        (x, y),
        loss="cross_entropy",
        optimizer=optimizer,
        schedule=made(optimizer, 6),
        epochs=6,
        progress=False,
    )
    for (name, p), (_, q) in zip(trained.named_parameters(), other.named_parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


# ── wrong arguments ──────────────────────────────────────────────────────────────────────────────


def other_optimizer():
    return optim.Adam(network().named_parameters())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": 3}, "expected a Module of chainrule.nn"),
        ({"data": np.ones((9, 2))}, r"expected \(x, y\)"),
        ({"data": (np.ones((9, 2)), np.zeros(8, int))}, "9 inputs and 8 targets"),
        ({"data": ((np.ones((9, 2)), np.ones(9)), np.zeros(9, int))}, "inputs of data in 2 parts"),
        ({"data": (np.full((9, 2), np.nan), np.zeros(9, int))}, "got nan in the inputs"),
        ({"data": (np.array(["a"] * 9), np.zeros(9, int))}, "expected an array of numbers"),
        ({"data": (np.ones((4, 2)), np.zeros(4, int))}, "got 4 rows"),
        ({"valid": 5}, "got valid of type int"),
        ({"loss": "cross"}, "got the loss 'cross'"),
        ({"optimizer": optim.Adam}, "got optimizer Adam"),
        ({"optimizer": other_optimizer()}, "none of this model's parameters"),
        ({"data": cr.data.DataLoader(blobs()), "batch_size": 8}, "leave out batch_size"),
        (
            {"data": cr.data.DataLoader(blobs(), augment=lambda x, y, draws: (x, y))},
            "leave out augment",
        ),
        ({"epochs": 0}, "got epochs 0"),
        ({"epochs": 2.5}, "got epochs 2.5"),
        ({"batch_size": 0}, "got batch_size 0"),
        ({"batch_size": 4000}, "got batch_size 4000 for 320 rows"),
        ({"clip_norm": -1.0}, "got clip_norm -1.0"),
        ({"seconds": 0}, "got seconds 0"),
        ({"seconds": "9"}, "got seconds '9'"),
        ({"schedule": 3}, "got a schedule of type int"),
        ({"schedule": lambda o, n: None}, "got a schedule that is NoneType"),
        ({"schedule": lambda o, n: optim.ReduceLROnPlateau(o)}, "ReduceLROnPlateau"),
        ({"learning_rate": 1}, "learning_rate"),
    ],
)
def test_wrong_arguments(settings, says):
    settings = {"model": network(), "data": blobs(), "loss": "cross_entropy", **settings}
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        cr.diagnose(settings.pop("model"), settings.pop("data"), **settings)
    assert str(caught.value).startswith("[diagnose] ")


def test_data_by_position_is_answered():
    with pytest.raises(TypeError, match="the data is one argument"):
        cr.diagnose(network(), *blobs(), loss="cross_entropy")


def test_numbers_beyond_float32_are_refused():
    x = np.full((40, 2), 1e300)
    model = nn.Linear(2, 2)
    with pytest.raises(cr.errors.ChainruleError, match=r"\[diagnose\] got 1e\+300 in row 0"):
        cr.diagnose(model, (x, np.arange(40) % 2), loss="cross_entropy", seconds=1)


def test_inputs_without_columns_are_scaled():
    class Line(nn.Module):
        def __init__(self):
            self.h = nn.Linear(1, 16)
            self.out = nn.Linear(16, 2)

        def forward(self, x):
            return self.out(cr.relu(self.h(x.reshape((-1, 1)))))

    draw = np.random.default_rng(0)
    x = draw.uniform(2e4, 9e4, 400).astype("float32")
    cr.random.seed(0)
    model = Line()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    data = x, (x > 5e4).astype(int)
    diagnosis = cr.diagnose(model, data, loss="cross_entropy", optimizer=optimizer, seconds=4)
    assert "inputs_not_scaled" in [finding.kind for finding in diagnosis.findings]


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_layers_in_containers_are_exchanged(kind):
    class Held(nn.Module):
        def __init__(self):
            layers = [nn.Linear(2, 8), nn.Sigmoid(), nn.Linear(8, 2)]
            self.layers = dict(zip("abc", layers, strict=True)) if kind is dict else kind(layers)

        def forward(self, x):
            layers = self.layers.values() if kind is dict else self.layers
            for layer in layers:
                x = layer(x)
            return x

    x = np.random.default_rng(0).normal(size=(60, 2)).astype("float32")
    data = (x[:40], np.arange(40) % 2), (x[40:], np.arange(20) % 2)
    model = Held()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    training = ScheduledTraining(model, nn.CrossEntropyLoss(), optimizer, *data, 8, 1)
    place = "layers.b" if kind is dict else "layers.1"
    changed = training.changed([Change("activation", place, "relu")]).model
    assert [type(m) for m in changed.modules() if not m.parameters()] == [nn.ReLU]
    assert [type(m) for m in model.modules() if not m.parameters()] == [nn.Sigmoid]


def test_many_columns_are_scaled_together_if_they_are_of_one_kind():
    draw = np.random.default_rng(0)
    pixels = draw.uniform(0, 16, (100, 64))
    pixels[:, 0] = 0
    assert alike(pixels)
    assert not alike(pixels * np.logspace(0, 3, 64))
    assert not alike(pixels[:, :49])
    assert alike(draw.uniform(size=(5, 8, 8, 1)))
