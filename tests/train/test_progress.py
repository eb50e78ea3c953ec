"""What is seen of a run: the norms of gradients, warnings of what is not trained, progress."""

import functools
import io
import json
import math
import re
import types
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import DataLoader
from chainrule.nn import functional
from chainrule.train import Callback
from chainrule.train.loop import history, progress
from chainrule.train.loop.early_stopping import EarlyStopping
from chainrule.train.loop.history import GradientFlow, History

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 50)
V = (RNG.normal(size=(20, 5)).astype(np.float32), RNG.integers(0, 3, 20))
fit = functools.partial(cr.fit, loss="cross_entropy", progress=False)


def network(seed=0):
    cr.random.seed(seed)
    return nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )


class Again:
    """Batches without a length."""

    def __iter__(self):
        return iter([(X[k : k + 10], Y[k : k + 10]) for k in range(0, 50, 10)])


# Gradients that are looked at


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_gradient_norms_are_spread_evenly(steps, cut):
    flow = GradientFlow(["layer"])
    for step in range(steps):
        if step == cut:
            values = json.loads(json.dumps(History(gradients=flow).to_dict()))
            flow = History.from_dict(values).gradients
        if flow.wants(step):
            flow.add(step, {"layer": float(step)}, ["layer"])
        assert len(flow.steps) <= history.MOST_PROBES
    assert flow.steps == list(range(0, steps, flow.every)), "whether there was a cut or not"
    assert flow.norms == [[float(s)] for s in flow.steps]
    assert len(flow.steps) >= min(steps, history.MOST_PROBES // 2)


def test_the_norms_are_those_before_clipping():
    model = network()
    found = fit(model, [(X, Y)], epochs=1, clip_norm=1e-3)
    twin = network()
    functional.cross_entropy(twin(cr.Tensor(X)), cr.Tensor(Y)).backward()
    assert found.gradients.layers == ["0 Linear", "1 BatchNorm1d", "4 Linear"]
    expected = [
        math.sqrt(sum(float((p.grad.numpy().astype(np.float64) ** 2).sum()) for p in layer))
        for layer in (
            [twin[0].weight, twin[0].bias],
            [twin[1].weight, twin[1].bias],
            [twin[4].weight, twin[4].bias],
        )
    ]
    np.testing.assert_allclose(found.gradients.norms, [expected], rtol=1e-5)


class Odd(nn.Module):
    """A parameter for each reason why one is not trained."""

    def __init__(self):
        self.good, self.cut = nn.Linear(5, 3), nn.Linear(5, 3)
        self.unused, self.zero = nn.Parameter(cr.ones(2)), nn.Parameter(cr.ones(3))
        self.late, self.frozen = nn.Parameter(cr.ones(3)), nn.Linear(3, 3).freeze()

    def forward(self, x):
        out = self.good(x) + self.cut(x).detach() + self.zero * 0.0 + self.late
        return self.frozen(out)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_what_is_not_trained_is_said_once_with_the_reason(compiled, accumulate):
    model = Odd()
    optimizer = optim.Adam([(n, p) for n, p in model.named_parameters() if n != "late"])
    with pytest.warns(UserWarning, match="are not trained") as caught:
        fit(model, (X, Y), optimizer=optimizer, epochs=2, compile=compiled, accumulate=accumulate)
    assert len(caught) == 1
    assert caught[0].filename == __file__, "the line that called cr.fit"
    told = dict(line.strip().split(": ", 1) for line in str(caught[0].message).split("\n")[1:])
    assert {name: re.split(" \\(|: ", told[name])[0] for name in told} == {
        "cut.weight": "no gradient reached it",
        "cut.bias": "no gradient reached it",
        "unused": "forward does not use it",
        "zero": "its gradient is 0 everywhere",
        "late": "the optimizer does not have it",
    }


def test_a_healthy_model_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for compiled in (True, False):
            model = network()
            model[0].freeze()
            before = model[0].weight.numpy().copy()
            fit(model, (X, Y), compile=compiled, epochs=1)
            np.testing.assert_array_equal(model[0].weight.numpy(), before)


# Progress


def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_many_fast_epochs_make_few_lines(monkeypatch, capsys):
    now, lines = clock(monkeypatch), progress.Lines()
    run = types.SimpleNamespace(
        epoch=0,
        epochs=10_000,
        step=0,
        elapsed=0.0,
        early_stopping=EarlyStopping("loss", True, None, restore_best=False),
        history=History(),
    )
    for epoch in range(1, 10_001):
        now[0] += 0.01
        run.epoch, run.step, run.elapsed = epoch, 3 * epoch, now[0] - 100
        run.history.epochs = [{"epoch": epoch, "loss": 1 / epoch, "lr": 1e-3, "seconds": 0.01}]
        run.history.stopped = "epochs" if epoch == 10_000 else ""
        lines.on_epoch(run)
    lines.on_end(run)
    out, err = capsys.readouterr()
    said = err.splitlines()
    assert out == ""
    assert 45 <= len(said) <= 53, "one each 2 of 100 seconds, the first, the last, the closing"
    assert said[0] == "epoch 1/10000  loss 1.000"
    assert said[-2:] == ["epoch 10000/10000  loss 0.0001000", "10000 epochs, 30000 steps, 1:40"]


def vanishing(seconds):
    """A run whose gradient vanishes, seen at a time."""
    flow = GradientFlow(["0 Linear", "2 Linear"], list(range(30)), [[1e-7, 0.1]] * 30)
    return types.SimpleNamespace(
        epoch=1,
        epochs=9,
        batch=0,
        batches=None,
        loss=0.5,
        elapsed=seconds,
        history=History([{"epoch": 1, "loss": 0.5, "lr": 1e-3, "seconds": 1.0}], gradients=flow),
    )


WARNED = "warning: vanishing_gradient at layer 0: the first layers, or steps, get"


def test_a_warning_is_a_line_once(monkeypatch, capsys):
    now, lines = clock(monkeypatch), progress.Lines()
    for step in range(1000):
        now[0] += 0.01
        lines.on_step(vanishing(0.01 * step))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"{WARNED} hardly any gradient"]


def test_the_newest_warning_is_on_the_screen(monkeypatch):
    now, screen, stream = clock(monkeypatch), progress.Screen(), io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    run = vanishing(0.0)
    screen.on_begin(run)
    for burst in (False, True):
        if burst:
            run.history.gradients.norms = [[1e-7, 0.1]] * 25 + [[1.0, 99.0]] + [[1e-7, 0.1]] * 4
        for _ in range(5):
            now[0] += 1.0
            screen.on_step(run)
        assert WARNED in stream.getvalue()
        assert ("exploding_gradient at layer 2" in stream.getvalue()) == burst
    screen._live.stop()


def test_looking_for_warnings_takes_a_hundredth_of_the_time(monkeypatch):
    now, looks = clock(monkeypatch), []

    class Slow(History):
        @property
        def findings(self):
            looks.append(now[0])
            now[0] += 0.1
            return []

    warnings_seen, run = progress.Warnings(), types.SimpleNamespace(history=Slow())
    began = now[0]
    while now[0] < began + 100:
        now[0] += 0.01
        warnings_seen.look(run)
    assert 9 <= len(looks) <= 10, "0.1 of 10 seconds"


def test_lines_of_a_real_run(capsys):
    fit(
        network(),
        (X, Y),
        valid=V,
        epochs=3,
        metrics="accuracy",
        progress=True,
        patience=3,
        restore_best=True,
    )
    out, err = capsys.readouterr()
    first, *rest, closing = err.splitlines()
    last = rest[-1]
    kept = closing.rpartition("weights of epoch ")[2]
    assert last.startswith(f"epoch {kept}/3  ")
    assert out == ""
    assert first.startswith("epoch 1/3  loss ")
    assert all(f"  {word} " in last for word in ("loss", "valid loss", "valid accuracy"))
    assert closing.startswith("3 epochs, 6 steps, 0:0")
    assert "weights of epoch" in closing
    fit(network(), (X, Y), epochs=1, progress=False)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("data", [DataLoader((X, Y), 5), Again()])
def test_the_screen_shows_the_run(monkeypatch, data):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress, "REDRAW", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    assert isinstance(progress.progress_for(True), progress.Screen)

    class Stops(Callback):
        def on_epoch(self, run):
            if run.epoch == 2:
                run.stop("[/odd] reason")

    fit(network(), data, epochs=4, progress=True, callbacks=[Stops()])
    shown = terminal.getvalue()
    for word in ("epoch 1/4", "loss ", "gradient norms by layer: 0 ", "· 4 ", "[/odd] reason"):
        assert word in shown, word
    assert ("left" in shown) == hasattr(data, "__len__")
    assert ("so far" in shown) or hasattr(data, "__len__")


def test_the_time_left_is_that_of_steps_that_compile_nothing(monkeypatch):
    screen = progress.Screen()
    monkeypatch.setattr(screen, "_draw", lambda run: None)
    run = types.SimpleNamespace(epochs=10, epoch=0, batches=4, batch=0, elapsed=0.0)

    def after(seconds, epoch, batch, event):
        run.elapsed, run.epoch, run.batch = run.elapsed + seconds, epoch, batch
        event(run)
        return screen._left(run, progress.share_done(run))

    assert after(20, 0, 1, screen.on_step) == "0:20 so far", "the first step compiles"
    assert after(1, 0, 2, screen.on_step) == "0:38 left", "38 steps of a second"
    assert after(1, 0, 3, screen.on_step) == "0:37 left"
    after(10, 1, 0, screen.on_epoch)  # the first evaluation compiles too
    assert after(2, 1, 2, screen.on_step) == "0:34 left"
    assert after(4, 2, 0, screen.on_epoch) == "0:48 left", "32 steps of 1.5 seconds on average"


@pytest.mark.parametrize("best", [2, 3])
def test_the_last_lines_are_of_the_weights_that_are_kept(capsys, best):
    losses = {1: 0.5, 2: 0.3, 3: 0.3 + 0.1 * (best == 2) - 0.1 * (best == 3)}
    rows = [{"epoch": k, "loss": v} for k, v in losses.items()]
    run = types.SimpleNamespace(
        epoch=3,
        epochs=3,
        step=9,
        elapsed=1.0,
        early_stopping=EarlyStopping("loss", True, None, restore_best=True),
        history=History(rows, best, "epochs"),
    )
    lines = progress.Lines()
    lines.on_begin(run)
    lines.on_epoch(run)
    lines.on_end(run)
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith(f"epoch {best}/3  loss ")
    assert len(said) == 2 + (best == 2)


def test_gradient_norms_are_cut_in_the_middle():
    layers = [f"layers.{k} Linear" for k in range(12)]
    norms = [10.0**-k for k in range(12)]
    whole = progress.norms_text(layers, norms, 999)
    assert whole.count(" · ") == 11
    cut = progress.norms_text(layers, norms, 79)
    assert len(cut) <= 79
    assert cut.startswith("gradient norms by layer: 0 1.0e+00 · "), (
        "without what all have in common"
    )
    assert cut.endswith("… · 10 1.0e-10 · 11 1.0e-11")


NUMBERS = {
    0.98333: "0.9833",
    1.0: "1.000",
    0.0: "0.000",
    19123.4: "19120",
    7839.0131: "7839",
    9.99996: "10.00",
    0.00012345: "0.0001234",
    12.3456: "12.35",
    -3.2e-5: "-3.200e-05",
    2.5e8: "2.500e+08",
    math.nan: "nan",
    None: "–",
}


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_have_four_digits(value):
    assert progress.short_number(value) == NUMBERS[value]


def test_one_is_not_many():
    assert (progress.counted(1, "row"), progress.counted(0, "row")) == ("1 row", "0 rows")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
