"""The guard of fit: a refused step changes nothing, and training goes on."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import DataLoader
from chainrule.diagnosis.guard import CALIBRATION, MOST, RECOVERS, Guard
from chainrule.errors import GradientError
from chainrule.train import Callback
from chainrule.train.evaluation.objective import Objective
from chainrule.train.loop.step import make_step

ROWS, COUNT = 16, 40
EXPLODES, OVERFLOWS = 1e4, 1e36
REFUSES = pytest.mark.filterwarnings("ignore:.fit. steps_refused")


def data(count=COUNT, bad=()):
    """Batches of a task that can be learned; bad: factors of some batches, by number from 0."""
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(6, 3))
    out = []
    for k in range(count):
        x = draw.normal(size=(ROWS, 6))
        y = np.argmax(x @ directions + draw.normal(size=(ROWS, 3)), axis=1)
        out.append(((x * dict(bad).get(k, 1.0)).astype(np.float32), y))
    return out


class Scale(nn.Module):
    """What it returns is x, unless that is large: then it overflows on the way."""

    def forward(self, x):
        return cr.asarray(x) * 1e5 * 1e-5


def network():
    cr.random.seed(0)
    parts = Scale(), nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
    return nn.Sequential(*parts)


def normalized():
    cr.random.seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def state(model, optimizer):
    drawn = {"random": cr.random.default.state.numpy()}
    values = optimizer.state_dict() | model.state_dict() | drawn
    return {name: np.array(value) for name, value in values.items()}


def expect_equal(some, others):
    assert some.keys() == others.keys()
    for name, value in some.items():
        np.testing.assert_array_equal(value, others[name], name)


class States(Callback):
    """The states after each step."""

    def __init__(self):
        self.after = []

    def on_step(self, run):
        self.after.append(state(run.model, run.optimizer))


def fit(model, batches, optimizer=None, **settings):
    optimizer = optimizer or optim.Adam(model.named_parameters(), lr=1e-2)
    settings = {"epochs": 1, "progress": False, "loss": "cross_entropy"} | settings
    return cr.fit(model, batches, optimizer=optimizer, **settings), optimizer


SETTINGS = pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"clip_norm": 0.5}], ids=str)
COMPILED = pytest.mark.parametrize("compiled", [True, False])


@COMPILED
@SETTINGS
@pytest.mark.parametrize("build", [network, normalized])
def test_a_run_without_refusals_is_the_same_to_the_bit(build, settings, compiled):
    runs = []
    for guard in (True, False):
        model = build()
        history, optimizer = fit(model, data(), compile=compiled, guard=guard, **settings)
        assert history.refused == []
        runs.append((state(model, optimizer), history["loss"], history.gradients.norms))
    assert runs[0][1:] == runs[1][1:]
    expect_equal(runs[0][0], runs[1][0])


OPTIMIZERS = {
    "SGD": lambda m: optim.SGD(m.named_parameters(), lr=0.1, momentum=0.9),
    "Adam": lambda m: optim.Adam(m.named_parameters(), lr=1e-2, amsgrad=True),
    "AdamW": lambda m: optim.AdamW(m.named_parameters(), lr=1e-2),
    "RMSprop": lambda m: optim.RMSprop(m.named_parameters(), lr=1e-3),
}


KINDS = [(name, {}) for name in OPTIMIZERS] + [
    ("Adam", {"accumulate": 2}),
    ("Adam", {"clip_norm": 0.5}),
]


@COMPILED
@REFUSES
@pytest.mark.parametrize(("name", "settings"), KINDS, ids=str)
@pytest.mark.parametrize(
    ("factor", "reason"), [(EXPLODES, "a gradient of norm "), (OVERFLOWS, "a loss of nan")]
)
def test_a_refused_step_changes_nothing(factor, reason, name, settings, compiled):
    states, model = States(), network()
    history, _ = fit(
        model,
        data(24, {20: factor}),
        OPTIMIZERS[name](model),
        callbacks=[states],
        compile=compiled,
        **settings,
    )
    (refused,) = history.refused
    assert refused["step"] == 21
    assert refused["reason"].startswith(reason)
    expect_equal(states.after[19], states.after[20])
    weights = "1.weight"
    assert (states.after[21][weights] != states.after[20][weights]).any()
    assert np.isfinite(history["loss"]).all()


@COMPILED
@REFUSES
def test_buffers_stay_finite(compiled):
    """Batch normalization of 1e36 has a variance that overflows, and a finite output."""
    states, model = States(), normalized()
    history, _ = fit(model, data(24, {20: 1e37}), callbacks=[states], compile=compiled)
    assert [row["step"] for row in history.refused] == [21]
    expect_equal(states.after[19], states.after[20])


@REFUSES
def test_many_steps_in_one_call_are_the_same_as_one_at_a_time():
    x, y = (
        np.concatenate(part) for part in zip(*data(60, {20: OVERFLOWS, 21: EXPLODES}), strict=True)
    )
    runs = []
    for callbacks in ([], [States()]):
        model = network()
        history, optimizer = fit(model, DataLoader((x, y), ROWS), callbacks=callbacks)
        assert [row["step"] for row in history.refused] == [21, 22]
        runs.append((state(model, optimizer), history.refused))
    assert runs[0][1] == runs[1][1]
    expect_equal(runs[0][0], runs[1][0])


@COMPILED
@REFUSES
def test_the_rate_is_halved_and_recovers(compiled):
    """As a run without the refused batches, whose rate is set by hand."""
    model = network()
    history, optimizer = fit(model, data(COUNT, {20: EXPLODES, 21: OVERFLOWS}), compile=compiled)
    assert [row["rate"] for row in history.refused] == [0.01, 0.005]
    by_hand = state(model, optimizer)

    class Rates(Callback):
        factor = 1.0

        def on_step(self, run):
            self.factor = 0.25 if run.step == 20 else min(self.factor * 2 ** (1 / RECOVERS), 1.0)
            run.optimizer.param_groups[0]["lr"] = 0.01 * self.factor

    model, batches = network(), data()
    del batches[20:22]
    _, optimizer = fit(model, batches, callbacks=[Rates()], compile=compiled, guard=False)
    expect_equal(
        {k: v for k, v in by_hand.items() if not k.endswith("/lr")},
        {k: v for k, v in state(model, optimizer).items() if not k.endswith("/lr")},
    )


@COMPILED
def test_many_refusals_in_a_row_are_an_error_with_a_report(compiled):
    model = network()
    bad = dict.fromkeys(range(30, 60), OVERFLOWS)
    x, y = (np.concatenate(part) for part in zip(*data(60, bad), strict=True))
    initial = model.state_dict()
    says = (
        r"got a loss of nan at step 31 \(epoch 1\): multiply gave -?inf from .* in the forward "
        r"pass, sample \d+, .*; expected finite numbers; the weights are the initial ones again; .*"
        r"\n  in 0 \(Scale\)\n  at test_fit_guard.py:\d+: return cr"
    )
    with pytest.raises(GradientError, match=says) as caught:
        fit(model, DataLoader((x, y), ROWS), compile=compiled)
    report = caught.value.report
    assert (report.operation, report.layer, report.phase) == ("multiply", "0 (Scale)", "forward")
    assert abs(x[(30 + MOST - 1) * ROWS + report.sample]).max() > 1e34  # the last that was tried
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, initial[name])


class Spoils(Callback):
    """After the first epoch all batches are bad."""

    def __init__(self, batches):
        self.batches = batches

    def on_epoch(self, run):
        self.batches[:] = data(len(self.batches), dict.fromkeys(range(3), OVERFLOWS))


def test_an_epoch_of_refusals_is_an_error():
    batches = data(3)
    says = r"a loss of nan at step 4 \(epoch 2\): multiply gave .*those after epoch 1"
    with pytest.raises(GradientError, match=says):
        fit(network(), batches, epochs=9, callbacks=[Spoils(batches)])


@REFUSES
def test_a_run_that_is_resumed_has_the_same_bits(tmp_path):
    bad = {20: OVERFLOWS, 22: EXPLODES, 29: EXPLODES}

    class Stop(Callback):
        def on_step(self, run):
            if run.step == 24:
                run.stop("test")

    whole = network()
    history, optimizer = fit(whole, data(COUNT, bad))
    part = network()
    fit(part, data(COUNT, bad), callbacks=[Stop()], checkpoint=tmp_path / "c")
    resumed = network()
    again, other = fit(resumed, data(COUNT, bad), checkpoint=tmp_path / "c", resume=True)
    assert again.refused == history.refused
    assert [row["step"] for row in again.refused] == [21, 23, 30]
    expect_equal(state(whole, optimizer), state(resumed, other))


class Words(nn.Module):
    def __init__(self):
        self.table, self.head = nn.Embedding(4000, 8), nn.Linear(8, 3)

    def forward(self, x):
        tokens, factor = x
        return self.head(self.table(tokens).mean(axis=1) * factor)


@COMPILED
@REFUSES
@pytest.mark.parametrize("catch_up", [False, True])
def test_rows_of_a_table_stay(catch_up, compiled):
    cr.random.seed(0)
    draw, model, states = np.random.default_rng(0), Words(), States()
    batches = [
        (
            (draw.integers(0, 4000, (ROWS, 5)), np.full((ROWS, 1), 1e38 if k == 20 else 1, "f")),
            draw.integers(0, 3, ROWS),
        )
        for k in range(24)
    ]
    with cr.no_grad():
        model.table.weight[...] = model.table.weight * 10
    optimizer = optim.Adam(model.named_parameters(), catch_up=catch_up)
    history, _ = fit(model, batches, optimizer, callbacks=[states], compile=compiled)
    assert [row["step"] for row in history.refused] == [21]
    expect_equal(states.after[19], states.after[20])


def test_the_guard_of_a_table_goes_through_no_table():
    """A refused step puts no rows; it does not choose between two tables."""
    texts = []
    for guard in (True, False):
        model = Words()
        optimizer = optim.Adam(model.named_parameters())
        step = make_step(
            model, Objective("cross_entropy"), optimizer, guard=Guard() if guard else None
        )
        x = np.zeros((ROWS, 5), np.int64), np.ones((ROWS, 1), np.float32)
        texts.append(step.program(x, np.zeros(ROWS, np.int64)))
    tables = [sum("float32[4000,8] =" in line for line in t.splitlines()) for t in texts]
    assert tables[0] == tables[1]


@COMPILED
@REFUSES
def test_windows_of_sequences(compiled):
    class Reader(nn.Module):
        def __init__(self):
            self.memory, self.head = nn.LSTM(3, 8), nn.Linear(8, 1)

        def forward(self, x, state=None):
            out, state = self.memory(cr.asarray(x) * 1e5 * 1e-5, state)
            return self.head(out), state

    cr.random.seed(0)
    x = np.random.default_rng(0).normal(size=(4, 60, 3)).astype(np.float32)
    y = np.cumsum(x[..., :1], axis=1) / 10
    x[:, 35] = 1e36
    states, model = States(), Reader()
    history, _ = fit(
        model, (x, y), loss="mse", tbptt=5, batch_size=4, callbacks=[states], compile=compiled
    )
    assert [row["step"] for row in history.refused] == [8]
    expect_equal(states.after[6], states.after[7])


def test_without_the_guard_the_first_loss_that_is_not_finite_is_an_error():
    with pytest.raises(GradientError, match=r"got a loss of nan at step 21 \(epoch 1\); expected"):
        fit(network(), data(24, {20: OVERFLOWS}), guard=False)


def test_a_refusal_is_told():
    with pytest.warns(
        UserWarning, match=r"steps_refused at optimizer.* Step 21: a loss of nan; the weig"
    ):
        history, _ = fit(network(), data(24, {20: OVERFLOWS}))
    assert history.findings[0].kind == "steps_refused"
    assert type(history).from_dict(history.to_dict()).refused == history.refused


def test_layers_that_are_unfrozen_are_no_explosion():
    class Unfreeze(Callback):
        def on_step(self, run):
            if run.step == 20:
                run.model.unfreeze()

    model = network()
    with cr.no_grad():
        model[4].weight[...] = model[4].weight * 300
    model[1].freeze()
    model[4].freeze()
    model[4].bias.requires_grad = True
    history, _ = fit(
        model, data(), optim.SGD(model.named_parameters(), lr=1e-4), callbacks=[Unfreeze()]
    )
    total = np.sqrt(np.nansum(np.square(history.gradients.norms), axis=1))
    assert total[20] > 40 * total[CALIBRATION:20].max()
    assert history.refused == []
