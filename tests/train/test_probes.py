"""`History.probes`, against NumPy in float64."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.native.run import team
from chainrule.train import Callback

RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 96)
SEQUENCES = RNG.standard_normal((32, 12, 5)).astype(np.float32)


def fit(model, x, y, **settings):
    """A run over the rows in their order, in batches of 32."""
    settings = {"epochs": 1, "progress": False, "loss": "cross_entropy"} | settings
    batches = cr.data.DataLoader((x, y), 32, shuffle=False)
    return cr.fit(model, batches, **settings)


def first(history, measure, path):
    return history.probes.values[measure][path][0]


def weights(model):
    return {name: a.astype(np.float64) for name, a in model.state_dict().items()}


def two_layers(activation, width=16):
    cr.random.seed(0)
    return nn.Sequential(nn.Linear(6, width), activation, nn.Linear(width, 3))


def softmax_minus_target(scores, targets):
    """∂(mean cross-entropy)/∂scores."""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True) - np.eye(scores.shape[1])[targets]) / len(targets)


class Each(Callback):
    """Keeps the weights before and after each step."""

    each_step = True

    def __init__(self, model):
        self.weights = [weights(model)]

    def on_step(self, run):
        self.weights.append(weights(run.model))


@pytest.mark.parametrize("compiled", [True, False])
def test_updates_activations_and_gains_of_two_layers(compiled):
    model = two_layers(nn.Tanh())
    steps = Each(model)
    history = fit(model, X, Y, callbacks=[steps], compile=compiled)
    probes = history.probes
    assert probes.steps == [0, 1, 2]
    for k, (before, after) in enumerate(zip(steps.weights, steps.weights[1:], strict=False)):
        rows, targets = X[32 * k : 32 * k + 32].astype(np.float64), Y[32 * k : 32 * k + 32]
        for path in "0", "2":
            w = before[f"{path}.weight"]
            change, norm = after[f"{path}.weight"] - w, np.linalg.norm(w)
            assert np.isclose(probes.values["weight_norm"][path][k], norm, rtol=1e-5)
            ratio = np.linalg.norm(change) / norm
            assert np.isclose(probes.values["update_ratio"][path][k], ratio, rtol=1e-3)
        h = np.tanh(rows @ before["0.weight"].T + before["0.bias"])
        scores = h @ before["2.weight"].T + before["2.bias"]
        assert np.isclose(probes.values["mean"]["1"][k], h.mean(), atol=1e-6)
        assert np.isclose(probes.values["spread"]["1"][k], h.std(), rtol=1e-5)
        assert np.isclose(probes.values["spread"]["2"][k], scores.std(), rtol=1e-5)
        d_scores = softmax_minus_target(scores, targets)
        d_h = d_scores @ before["2.weight"]
        d_inner = d_h * (1 - h**2)
        gain = np.linalg.norm(d_h) / np.linalg.norm(d_scores)
        assert np.isclose(probes.values["gain"]["2"][k], gain, rtol=1e-4)
        gain = np.linalg.norm(d_inner) / np.linalg.norm(d_h)
        assert np.isclose(probes.values["gain"]["1"][k], gain, rtol=1e-4)
    assert np.isnan(probes.values["gain"]["0"]).all(), "data has no gradient"
    assert np.isnan(probes.values["mean"]["0"]).all(), "its output goes to an activation"


def test_saturated_and_dead_shares():
    model = two_layers(nn.Tanh())
    with cr.no_grad():
        model[0].weight[...] = 100 * model[0].weight
    w = weights(model)
    h = np.tanh(X[:32].astype(np.float64) @ w["0.weight"].T + w["0.bias"])
    history = fit(model, X, Y)
    assert first(history, "saturated", "1") == np.float32((np.abs(h) > 0.98).mean()) > 0.9

    model = two_layers(nn.Sigmoid())
    with cr.no_grad():
        model[0].bias[:4] = 9.0
    assert np.isclose(first(fit(model, X, Y), "saturated", "1"), 0.25, atol=0.02)

    model = two_layers(nn.ReLU())
    with cr.no_grad():
        model[0].bias[:4] = -100.0
    assert first(fit(model, X, Y), "dead", "1") == 0.25


def test_a_unit_that_was_on_in_the_last_five_steps_is_not_dead():
    x, y = np.zeros((320, 6), np.float32), np.tile(Y[:32], 10)
    x[40, 0] = 1.0  # in the second batch
    model = two_layers(nn.ReLU())
    with cr.no_grad():
        model[0].weight[...] = 0.0
        model[0].weight[0, 0] = 1.0
        model[0].bias[...] = 1.0
        model[0].bias[:2] = 0.0
    optimizer = optim.SGD(model.parameters(), lr=1e-30)
    with pytest.warns(UserWarning, match="vanish|dead|constant"):
        history = fit(model, x, y, optimizer=optimizer)
    dead = np.array(history.probes.values["dead"]["1"]) * 16
    assert dead.tolist() == [2.0] + [1.0] * 5 + [2.0] * 4


def test_large_layers_are_estimated_from_samples():
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(6, 300), nn.ReLU(), nn.Linear(300, 300), nn.Linear(300, 3))
    before = weights(model)
    history = fit(model, X[:32], Y[:32], optimizer=optim.SGD(model.parameters(), lr=0.1))
    after = weights(model)
    w, change = before["2.weight"], after["2.weight"] - before["2.weight"]
    assert np.isclose(first(history, "weight_norm", "2"), np.linalg.norm(w), rtol=0.1)
    ratio = np.linalg.norm(change) / np.linalg.norm(w)
    assert np.isclose(first(history, "update_ratio", "2"), ratio, rtol=0.4)


def test_a_sample_of_weights_is_not_of_one_column():
    """The first columns belong to inputs that are always 0: their weights do not move."""
    x = np.concatenate([np.zeros((32, 16), np.float32), np.tile(X[:32], (1, 128))], axis=1)
    model = nn.Sequential(nn.Linear(784, 256), nn.Tanh(), nn.Linear(256, 3))
    history = fit(model, x, Y[:32], optimizer=optim.Adam(model.parameters(), lr=1e-3))
    size = first(history, "weight_norm", "0") / np.sqrt(784 * 256 + 256)
    assert np.isclose(first(history, "update_ratio", "0"), 1e-3 / size, rtol=0.1)


class Last(nn.Module):
    """The scores of the last state of a recurrent layer."""

    def __init__(self, memory, width):
        self.memory, self.head = memory, nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.memory(x)[0][:, -1])


@pytest.mark.parametrize("compiled", [True, False])
def test_by_step_of_an_rnn_is_a_product_of_jacobians(compiled):
    cr.random.seed(0)
    model = Last(nn.RNN(5, 7), 7)
    w = weights(model)
    x, targets = SEQUENCES.astype(np.float64), Y[:32]
    w_ih, w_hh = w["memory.weight_ih_l0"], w["memory.weight_hh_l0"]
    bias = w["memory.bias_ih_l0"] + w["memory.bias_hh_l0"]
    states = [np.zeros((32, 7))]
    for t in range(12):
        states.append(np.tanh(x[:, t] @ w_ih.T + states[-1] @ w_hh.T + bias))
    scores = states[-1] @ w["head.weight"].T + w["head.bias"]
    d = softmax_minus_target(scores, targets) @ w["head.weight"]
    norms = []
    for t in reversed(range(12)):  # ∂loss/∂aₜ = (1 - hₜ²) W_hhᵀ ∂loss/∂aₜ₊₁, and so on back
        d = d * (1 - states[t + 1] ** 2)
        norms.append(np.linalg.norm(d[:4]))
        d = d @ w_hh
    history = fit(model, SEQUENCES, targets, compile=compiled)
    assert np.allclose(history.probes.by_step["memory"][0], norms[::-1], rtol=1e-4)
    hidden = np.stack(states[1:], axis=1)
    assert np.isclose(first(history, "spread", "memory"), hidden.std(), rtol=0.1)


def test_layers_and_directions_have_sequences_of_their_own():
    model = Last(nn.LSTM(5, 4, num_layers=2, bidirectional=True), 8)
    with pytest.warns(UserWarning, match="weight_hh_l1_reverse"):
        probes = fit(model, SEQUENCES, Y[:32]).probes
    names = ["memory l0", "memory l0_reverse", "memory l1", "memory l1_reverse"]
    assert list(probes.by_step) == names
    assert all(len(probes.by_step[name][0]) == 12 for name in names)
    last = probes.by_step["memory l1_reverse"][0]
    assert last[-1] > 0
    assert not any(last[:-1]), "the head reads its first step alone"


@pytest.mark.parametrize("compiled", [True, False])
def test_signal_is_that_of_the_last_twenty_gradients(compiled):
    class Gradients(Callback):
        each_step = True

        def on_step(self, run):
            seen.append(run.model[2].weight.grad.numpy().astype(np.float64).ravel())

    seen = []
    model = two_layers(nn.Tanh(), 4)
    settings = {"optimizer": optim.SGD(model.parameters(), lr=1e-2), "callbacks": [Gradients()]}
    signal = fit(model, X, Y, epochs=9, compile=compiled, **settings).probes.values["signal"]["2"]
    assert np.isnan(signal[:19]).all()
    for k in range(19, 27):
        last = np.stack(seen[k - 19 : k + 1])
        assert np.isclose(signal[k], (last.mean(0) ** 2 / last.var(0, ddof=1)).mean(), rtol=1e-4)


def test_gradients_that_do_not_vary_have_no_ratio_to_their_noise():
    model = two_layers(nn.Tanh())
    optimizer = optim.SGD(model.parameters(), lr=1e-30)
    probes = fit(model, X[:32], Y[:32], epochs=21, optimizer=optimizer).probes
    assert np.isnan(probes.values["signal"]["0"]).all()


def test_eager_and_compiled_steps_measure_the_same():
    for model in (
        lambda: two_layers(nn.ReLU()),
        lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
    ):
        found = []
        for compiled in True, False:
            cr.random.seed(0)
            found.append(fit(model(), X, Y, compile=compiled, epochs=8).probes.values)
        compiled, eager = found
        assert compiled.keys() == eager.keys()
        for measure, paths in compiled.items():
            for path, values in paths.items():
                same = np.allclose(values, eager[measure][path], 1e-3, 1e-6, equal_nan=True)
                assert same, (measure, path)


class Residual(nn.Module):
    """Products that are added: a stored product would be rounded once more."""

    def __init__(self):
        self.first, self.act, self.norm = nn.Linear(6, 6), nn.SiLU(), nn.LayerNorm(6)
        self.gate, self.glu, self.slope = nn.Linear(6, 12), nn.GLU(), nn.PReLU()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = x + self.act(self.first(x))
        x = x + self.slope(self.norm(x))
        return self.head(x + self.glu(self.gate(x)))


NETWORKS = {
    "residual": (Residual, X),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 3)),
        X,
    ),
    "gru": (lambda: Last(nn.GRU(5, 4, num_layers=2), 4), np.tile(SEQUENCES, (3, 1, 1))),
    "image": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, 3),
        ),
        RNG.standard_normal((96, 4, 4, 3)).astype(np.float32),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_have_the_bits_of_a_run_without_probes(name):
    make, x = NETWORKS[name]
    runs = []
    for settings in {}, {"probes": False}, {"probes": False, "guard": False}:
        cr.random.seed(0)
        model = make()
        history = fit(model, x, Y, epochs=3, **settings)
        runs.append([a.tobytes() for a in model.state_dict().values()])
    assert runs[0] == runs[1] == runs[2]
    assert history.probes.steps == []
    assert history.probes.values == {}


class Tied(nn.Module):
    """Words are read and written by one table, after an activation."""

    def __init__(self, activation):
        self.table, self.act = nn.Embedding(20, 6), activation

    def forward(self, x):
        return self.act(self.table(x)).mean(1) @ self.table.weight.T


class Twice(nn.Module):
    """A table that is read with an activation and without one."""

    def __init__(self):
        self.table, self.act, self.head = nn.Embedding(20, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head((self.act(self.table(x)) + self.table(x)).sum(1))


class Averaged(nn.Module):
    """A mean over time of an activation, which is added up where it is computed."""

    def __init__(self):
        self.first, self.act, self.head = nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.act(self.first(x)).mean(1))


class OfWeights(nn.Module):
    """An activation of a weight."""

    def __init__(self):
        self.first, self.act = nn.Linear(6, 3, bias=False), nn.ReLU()

    def forward(self, x):
        return x @ self.act(self.first.weight).T


WORDS = RNG.integers(0, 20, (96, 5))
ROUNDED = {
    "tied relu": (lambda: Tied(nn.ReLU()), WORDS),
    "tied gelu": (lambda: Tied(nn.GELU()), WORDS),
    "twice": (Twice, WORDS),
    "averaged": (Averaged, np.tile(SEQUENCES, (3, 1, 1))),
    "of weights": (OfWeights, X),
}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", ROUNDED)
def test_probes_and_guard_change_weights_by_rounding_at_most(name, compiled):
    """Sums of compiled steps may have another order; eager ones have not."""
    make, x = ROUNDED[name]
    runs = []
    for settings in {}, {"probes": False}, {"probes": False, "guard": False}:
        cr.random.seed(0)
        model = make()
        fit(model, x, Y, epochs=3, compile=compiled, accumulate=2, **settings)
        runs.append(list(model.state_dict().values()))
    for others in runs[1:]:
        for a, b in zip(runs[0], others, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 if compiled else 0)


def test_one_thread_and_two_measure_the_same_bits(monkeypatch):
    found = []
    for count in "1", "2":
        monkeypatch.setenv("CHAINRULE_THREADS", count)
        team.threads.cache_clear()
        cr.random.seed(0)
        model = nn.Sequential(nn.Linear(6, 300), nn.ReLU(), nn.Linear(300, 300), nn.Linear(300, 3))
        found.append(fit(model, X, Y, epochs=3).probes)
    monkeypatch.undo()
    team.threads.cache_clear()
    assert found[0].steps
    assert found[0] == found[1]


def test_a_run_that_was_interrupted_measures_what_a_whole_one_does(tmp_path):
    def run(folder, epochs, resume=False):
        cr.random.seed(0)
        model = Last(nn.GRU(5, 4), 4)
        x = np.tile(SEQUENCES, (3, 1, 1))
        return fit(model, x, Y, epochs=epochs, checkpoint=folder, resume=resume).probes

    whole = run(tmp_path / "whole", 140)
    run(tmp_path / "parts", 135)
    parts = run(tmp_path / "parts", 140, resume=True)
    assert whole.steps == list(range(0, 420, 2)), "every second one, since there were 400"
    assert whole == parts
    assert whole.by_step == parts.by_step
    assert run(tmp_path / "parts", 140, resume=True) == whole, "read from a finished run"


def test_pieces_of_a_batch_measure_as_the_batch_does():
    found = []
    for pieces in 1, 4:
        cr.random.seed(0)
        model = Last(nn.LSTM(5, 4), 4)
        found.append(fit(model, SEQUENCES, Y[:32], accumulate=pieces).probes)
    whole, pieces = found
    assert np.allclose(whole.by_step["memory"][0], pieces.by_step["memory"][0], rtol=1e-4)
    for measure in "weight_norm", "update_ratio":
        assert np.isclose(*(p.values[measure]["memory"][0] for p in found), rtol=1e-3)


def test_refused_steps_are_not_measured():
    x = np.tile(X, (4, 1))
    x[7 * 32 : 8 * 32] *= 1e6
    with pytest.warns(UserWarning, match="refused"):
        history = fit(two_layers(nn.ReLU()), x, np.tile(Y, 4))
    assert [row["step"] for row in history.refused] == [8]
    assert history.probes.steps == [k for k in range(12) if k != 7]


def test_what_has_no_gradient_has_no_update():
    class Partly(nn.Module):
        def __init__(self):
            self.table, self.frozen = nn.Embedding(20, 4), nn.Linear(4, 4).freeze()
            self.act, self.head = nn.ReLU(), nn.Linear(4, 3)

        def forward(self, x):
            h = self.act(self.frozen(self.table(x)))
            with cr.no_grad():
                self.act(h)  # a second call is not measured
            return self.head(h.mean(axis=1))

    tokens = RNG.integers(0, 20, (32, 7))
    values = fit(Partly(), tokens, Y[:32]).probes.values
    for path in "table", "frozen":
        assert np.isnan(values["update_ratio"][path]).all()
    assert values["update_ratio"]["head"][0] > 0
    assert values["gain"]["frozen"][0] > 0, "cotangents pass through it"


def test_a_layer_that_thaws_is_measured_from_then_on():
    model = two_layers(nn.ReLU())
    model[0].freeze()

    class Thaw(Callback):
        def on_epoch(self, run):
            run.model.unfreeze()

    values = fit(model, X, Y, epochs=2, callbacks=[Thaw()]).probes.values
    missing = [bool(np.isnan(v)) for v in values["update_ratio"]["0"]]
    assert missing == [True] * 3 + [False] * 3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes(dtype):
    def run(model, x):
        return fit(model, x, Y, optimizer=optim.SGD(model.parameters(), lr=0.1)).probes.values

    model = two_layers(nn.Tanh())
    for layer in model[0], model[2]:
        layer.weight = nn.Parameter(layer.weight.astype(dtype))
        layer.bias = nn.Parameter(layer.bias.astype(dtype))
    full, values = run(two_layers(nn.Tanh()), X), run(model, cr.Tensor(X).astype(dtype))
    for measure in "weight_norm", "spread", "gain":
        for path, expected in full[measure].items():
            assert np.allclose(values[measure][path][:1], expected[:1], 0.05, equal_nan=True)


def test_windows_of_sequences_measure_each_window():
    class Reads(nn.Module):
        def __init__(self):
            self.memory, self.head = nn.GRU(5, 4), nn.Linear(4, 3)

        def forward(self, x, state=None):
            h, state = self.memory(x, state)
            return self.head(h), state

    targets = RNG.integers(0, 3, (32, 12))
    history = fit(Reads(), SEQUENCES, targets, tbptt=5, epochs=2)
    lengths = [len(norms) for norms in history.probes.by_step["memory"]]
    assert lengths == [5, 5, 2, 5, 5, 2]


def test_a_parameter_without_elements():
    class Empty(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 1)
            self.none = nn.Parameter(np.zeros((0, 3), np.float32))

        def forward(self, x):
            return self.layer(x) + self.none.sum()

    x = np.ones((8, 3), np.float32)
    history = cr.fit(Empty(), (x, x[:, :1]), loss="mse", epochs=1, progress=False)
    assert [*history.probes.values["weight_norm"]] == ["layer"]
