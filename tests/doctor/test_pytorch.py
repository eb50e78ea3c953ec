"""The doctor measures and finds the same in a model of PyTorch as in the same one of chainrule."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as TF  # noqa: N812 - the usual name

from chainrule import interop, nn, optim
from chainrule.diagnosis import Change
from chainrule.doctor.facts import gather
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.pytorch.modules import TorchTraining
from chainrule.doctor.search import find
from chainrule.nn import functional as F  # noqa: N812

tnn = torch.nn
RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5)).astype(np.float32)
CLASSES = (X[:, 0] * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)
BINARY = (X[:, :1] + X[:, 1:2] > 0).astype(np.float32)
NUMBERS = X[:, :1] - 0.5 * X[:, 1:2]
IMAGES = RNG.normal(size=(60, 6, 6, 2)).astype(np.float32)
SEQUENCES = RNG.normal(size=(60, 7, 4)).astype(np.float32)
PAIRS = {  # losses: of chainrule, of PyTorch
    "scores": (lambda p, y: F.cross_entropy(p, y), tnn.CrossEntropyLoss()),
    "squares": (lambda p, y: F.mse_loss(p, y), tnn.MSELoss()),
    "binary": (lambda p, y: F.binary_cross_entropy(p, y), tnn.BCELoss()),
    "pairs": (lambda p, y: ((p - y[:, 0]) ** 2).mean(), lambda p, y: TF.mse_loss(p, y[:, 0])),
}


class Last(nn.LSTM):
    """The last output."""

    def forward(self, x):
        return super().forward(x)[0][:, -1]


class TorchLast(tnn.LSTM):
    """The last output."""

    def forward(self, x):
        return super().forward(x)[0][:, -1]


def layers(n, spec):
    """A layer of chainrule (n = 0) or PyTorch (n = 1)."""
    lib, (name, *sizes) = (nn, tnn)[n], spec
    if name == "Last":
        return (Last, TorchLast)[n](*sizes, **({"batch_first": True} if n else {}))
    if name == "Softmax":
        return tnn.Softmax(-1) if n else nn.Softmax()
    return getattr(lib, name)(*sizes)


def trainings(specs, loss, data, *, lr=1e-2, epochs=5, kind="Adam", fill=None, **settings):
    """The same training of both: ours, theirs."""
    torch.manual_seed(0)
    theirs = tnn.Sequential(*(layers(1, spec) for spec in specs))
    if fill is not None:
        with torch.no_grad():
            for p in theirs.parameters():
                p.fill_(fill)
    ours = nn.Sequential(*(layers(0, spec) for spec in specs))
    interop.torch.load_state_dict(ours, theirs.state_dict())
    x, y = data
    cut = len(x) * 2 // 3
    first = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x
    return (
        ModuleTraining(
            ours,
            PAIRS[loss][0],
            getattr(optim, kind)(ours.named_parameters(), lr, **settings),
            *((x[:cut], y[:cut]), (x[cut:], y[cut:]), 16, epochs),
        ),
        TorchTraining(
            theirs,
            PAIRS[loss][1],
            getattr(torch.optim, kind)(theirs.parameters(), lr, **settings),
            *((first[:cut], y[:cut]), (first[cut:], y[cut:]), 16, epochs),
        ),
    )


MLP = ("Linear", 5, 8), ("ReLU",), ("Linear", 8, 3)
NUMBER = ("Linear", 5, 8), ("Tanh",), ("Linear", 8, 1)
NETWORKS = {
    "classes": (MLP, "scores", (X, CLASSES)),
    "numbers": (NUMBER, "squares", (X, NUMBERS)),
    "every target": (NUMBER, "pairs", (X, NUMBERS)),
    "binary": ((*NUMBER, ("Sigmoid",)), "binary", (X, BINARY)),
    "images": (
        (
            *(("Conv2d", 2, 4, 3), ("BatchNorm2d", 4), ("ReLU",), ("MaxPool2d", 2)),
            *(("Flatten",), ("Linear", 16, 3)),
        ),
        "scores",
        (IMAGES, CLASSES[:60]),
    ),
    "sequences": ((("Last", 4, 6), ("Linear", 6, 3)), "scores", (SEQUENCES, CLASSES[:60])),
}


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


@pytest.fixture(params=NETWORKS)
def pair(request):
    return trainings(*NETWORKS[request.param])


def test_facts_are_the_same(pair):
    ours, theirs = map(gather, pair)
    assert ours.loss == theirs.loss
    assert ours.loss.name
    assert ours.score.name == theirs.score.name
    assert ours.score.logits == theirs.score.logits
    assert ours.output_place == theirs.output_place
    assert ours.activation_name == theirs.activation_name
    close(ours.gradient_ratio, theirs.gradient_ratio)
    close(ours.outcome.losses, theirs.outcome.losses)
    assert ours.outcome.steps == theirs.outcome.steps
    close(ours.outcome.score, theirs.outcome.score)
    close(ours.outcome.fit, theirs.outcome.fit)
    close(ours.dead_share, theirs.dead_share)
    close(ours.training.first_step(), theirs.training.first_step())


def test_layers_are_the_same(pair):
    ours, theirs = (t.observe() for t in pair)
    close(ours.loss, theirs.loss)
    close(ours.output, theirs.output)
    assert len(ours.layers) == len(theirs.layers)
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert (a.path, a.kind) == (b.path, b.kind)
        assert a.name.removeprefix("Torch") == b.name.removeprefix("Torch")
        if a.name != "Flatten":  # whose columns are in another order
            close(a.by_unit, b.by_unit)
            if a.upstream is not None:
                close(a.upstream, np.moveaxis(b.upstream, b.features, -1))
        assert (a.by_step is None) == (b.by_step is None) == (a.kind != "recurrent")
        if a.by_step is not None:
            close(a.by_step, b.by_step)
        assert (a.units is None) == (b.units is None)
        if a.units is not None:
            assert a.units.shape == b.units.shape
            close(np.sort(a.units, axis=1), np.sort(b.units, axis=1))
            close(np.sort(a.gradient.ravel()), np.sort(b.gradient.ravel()))


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_gradients_are_those_of_pytorch(pair):
    _, t = pair
    model = copy.deepcopy(t.model).train()
    x, y = map(torch.from_numpy, t.data)
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(t.loss(model(x), y), list(parameters.values()))
    expected = dict(zip(parameters, gradients, strict=True))
    for layer in t.observe().of_kind("weights"):
        close(layer.gradient, expected[f"{layer.path}.weight"].numpy())


def test_nothing_of_the_user_changes():
    _, t = trainings((*MLP[:2], ("Dropout", 0.5), MLP[2]), "scores", (X, CLASSES))
    t.model.eval()
    before = copy.deepcopy(t.model.state_dict())
    drawn, threads = torch.get_rng_state(), torch.get_num_threads()
    score = gather(t).score
    one, two = t.run(score, 3), t.run(score, 3)
    assert one.losses == two.losses != t.run(score, 4).losses
    assert one.model is not t.model
    for name, value in t.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not t.model.training
    assert not t.optimizer.state
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.get_num_threads() == threads
    assert all(p.grad is None for p in t.model.parameters())


def test_the_first_step_that_is_not_finite_is_counted():
    ours, theirs = trainings(
        NUMBER, "squares", (X * 1e4, NUMBERS * 1e4), lr=1e8, kind="SGD", epochs=20
    )
    for t in ours, theirs:
        outcome = t.run(gather(t).score)
        assert outcome.nonfinite == outcome.steps > 0
        assert outcome.score == -1.0


@pytest.mark.parametrize("n", [0, 1])
def test_another_seed_has_other_first_weights_of_the_same_distribution(n):
    """The same numbers in another order; biases, equal weights and trained ones stay."""
    specs = [("Linear", 5, 40), ("ReLU",), ("Linear", 40, 40), ("ReLU",), ("Linear", 40, 3)]
    t = trainings(specs, "scores", (X, CLASSES), epochs=1)[n]
    equal, trained = np.full((40, 40), 0.1, np.float32), np.zeros((3, 40), np.float32)
    trained[0] = RNG.normal(size=40)
    t.assign(dict(t.model.named_parameters())["2.weight"], equal)
    t.assign(dict(t.model.named_parameters())["4.weight"], trained)
    before = {name: t.array(p).copy() for name, p in t.model.named_parameters()}
    t._draw_again(np.random.default_rng(0))
    after = {name: t.array(p) for name, p in t.model.named_parameters()}
    for name in before:
        same = name != "0.weight"
        assert np.array_equal(before[name], after[name]) == same, name
    assert np.array_equal(np.sort(before["0.weight"].ravel()), np.sort(after["0.weight"].ravel()))


@pytest.mark.parametrize("n", [0, 1])
def test_the_last_batch_is_filled(n):
    t = trainings(MLP, "scores", (X, CLASSES), epochs=1)[n]
    seen = []

    class Steps:
        at_once = 2

        def __call__(self, x, y, count):
            seen.append((len(x), count))
            return [1.0] * count

    count = len(t.data[0])
    for batch, steps in (count // 2 - 1, 3), (count // 2, 2), (count + 1, 1):
        seen.clear()
        order = np.random.default_rng(0)
        losses = dataclasses.replace(t, batch=batch)._epoch(Steps(), order)
        assert len(losses) == steps
        assert sum(rows for rows, _ in seen) == steps * min(batch, count)


# ── changes ──────────────────────────────────────────────────────────────────────────────────────

DEEP = (
    *(("Linear", 5, 8), ("Sigmoid",), ("Linear", 8, 8), ("Sigmoid",)),
    *(("Dropout", 0.5), ("Linear", 8, 3)),
)
CHANGES = {
    "rate": ([Change("rate", "optimizer.lr", 0.1)], lambda t: t.settings["lr"] == 0.1),
    "optimizer": (
        [Change("optimizer", "optimizer", ("sgd", 0.5))],
        lambda t: (t.optimizer_name, t.settings["lr"]) == ("SGD", 0.5),
    ),
    "decay": (
        [Change("decay", "optimizer.weight_decay", 0.0)],
        lambda t: t.settings["weight_decay"] == 0,
    ),
    "batch": ([Change("batch", "batch", 8)], lambda t: t.batch == 8),
    "epochs": ([Change("epochs", "epochs", 2)], lambda t: t.epochs == 2),
    "activation": (
        [Change("activation", "1", "relu"), Change("activation", "3", "tanh")],
        lambda t: names(t) == ["Linear", "ReLU", "Linear", "Tanh", "Dropout", "Linear"],
    ),
    "after weights": (
        [Change("output_activation", "5", "softmax")],
        lambda t: names(t)[-2:] == ["Linear", "Softmax"],
    ),
    "norm and activation": (
        [Change("activation", "2", "relu"), Change("insert", "2", "batchnorm")],
        lambda t: names(t)[3:5] == ["LastNorm" if is_theirs(t) else "BatchNorm1d", "ReLU"],
    ),
    "remove": ([Change("remove", "4")], lambda t: "Dropout" not in names(t)),
    "initialisation": (
        [Change("initialisation", "0", "he_uniform")],
        lambda t: 0.55 < t.observe().layers[0].units.std() < 0.7,
    ),
    "outputs": ([Change("units", "5", 7)], lambda t: t.observe().output.shape[-1] == 7),
    "order of rows": ([Change("shuffle", "shuffle", False)], lambda t: not t.shuffle),
    "loss": (
        [Change("loss", "loss", "mse"), Change("output_activation", "5", "softmax")],
        lambda t: gather(t).loss.name == "mse",
    ),
    "inputs": (
        [Change("scale", "data.inputs", "standardise")],
        lambda t: np.allclose(t.data[0].std(0), 1, atol=1e-4),
    ),
}


def names(t):
    return [a.name for a in t.observe().layers]


def is_theirs(t):
    return isinstance(t, TorchTraining)


@pytest.mark.parametrize("change", CHANGES)
def test_changes(change):
    changes, is_made = CHANGES[change]
    for t in trainings(DEEP, "scores", (3 * X, CLASSES), weight_decay=1e-3):
        before = names(t), dict(t.settings), t.loss, t.data[0].std()
        changed = t.changed(changes)
        assert is_made(changed)
        outcome = changed.run(gather(t).score)
        assert outcome.nonfinite is None
        assert (names(t), dict(t.settings), t.loss, t.data[0].std()) == before


LOSSES = {
    "cce_logits": (3, CLASSES),
    "cce_probs": (3, CLASSES),
    "bce_probs": (1, BINARY),
    "bce_logits": (3, CLASSES),
    "mse": (3, CLASSES),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_that_are_set_are_the_same(loss):
    units, y = LOSSES[loss]
    out = np.random.default_rng(1).uniform(0.05, 0.95, (len(y), units)).astype(np.float32)
    pair = trainings(MLP, "scores", (X, CLASSES))
    ours, theirs = (t.changed([Change("loss", "loss", loss)]).loss_value(out, y) for t in pair)
    close(ours, theirs)


# ── findings ─────────────────────────────────────────────────────────────────────────────────────

FAULTY = {
    "gradient_ascent": lambda: trainings(
        MLP, "scores", (X, CLASSES), kind="SGD", maximize=True, lr=0.1
    ),
    "loss_shape_broadcast": lambda: trainings(NUMBER, "pairs", (X, NUMBERS), epochs=10),
    "init_symmetric": lambda: trainings(MLP, "scores", (X, CLASSES), fill=0.1),
    "output_activation_wrong": lambda: trainings(
        (*NUMBER, ("Softmax",)), "binary", (X, BINARY), epochs=10
    ),
    "inputs_not_scaled": lambda: trainings(NUMBER, "squares", (300 * X + 100, NUMBERS), epochs=20),
    "targets_not_scaled": lambda: trainings(NUMBER, "squares", (X, 100 * NUMBERS), epochs=20),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_findings_are_the_same(kind):
    """Without time for more than the likeliest change."""
    ours, theirs = (find(t, 0.0)[0] for t in FAULTY[kind]())
    assert [f.kind for f in ours] == [f.kind for f in theirs]
    assert kind == theirs[0].kind
    for a, b in zip(ours, theirs, strict=True):
        assert a.place == b.place
        assert [r.changes for r in a.remedies] == [r.changes for r in b.remedies]
