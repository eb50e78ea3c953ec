"""fit: the same numbers as a loop written by hand, also in pieces; the data and models it takes."""

import functools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile import Compiled
from chainrule.data import DataLoader
from chainrule.nn import functional
from chainrule.train import Callback
from chainrule.train.evaluation.objective import Objective
from chainrule.train.loop import trainer
from running import RNG, V, X, Y, fit, network


def everything(model, optimizer):
    """All that a step changes, as bytes."""
    state = {**model.state_dict(), **optimizer.state_dict()}
    state["random"] = cr.random.default.state.numpy()
    return {name: (np.asarray(v).shape, np.asarray(v).tobytes()) for name, v in state.items()}


FACTOR = 1.0


def squares(p, y):
    """A loss that reads a global."""
    return ((p - y) ** 2).mean() * FACTOR


class Squares:
    """A loss with a setting, that reads a global too."""

    k = 1.0

    def __call__(self, p, y):
        return squares(p, y) * self.k


class Pulled(optim.SGD):
    """An optimizer with an additional setting and array."""

    k = 1.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.array = np.ones(1)

    def _update(self, group, p, g, s):
        return super()._update(group, p, g * self.k * float(self.array[0]) * FACTOR, s)


CHANGES = {
    "a loss's setting": lambda loss, optimizer: setattr(loss, "k", 2.0),
    "a global": lambda loss, optimizer: globals().update(FACTOR=2.0),
    "an optimizer's attribute": lambda loss, optimizer: setattr(optimizer, "k", 2.0),
    "an optimizer's array": lambda loss, optimizer: optimizer.array.fill(2.0),
}


@pytest.mark.parametrize("backend_name", ["native", "reference"])
@pytest.mark.parametrize("loss", [Squares, lambda: squares], ids=["object", "function"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_callback_changes_is_seen(name, loss, backend_name, monkeypatch):
    """By the next step, whatever the loss and the optimizer are made of."""
    monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
    ends = []
    for by_fit in (True, False):
        monkeypatch.setitem(globals(), "FACTOR", 1.0)
        cr.random.seed(0)
        model, one = network(), loss()
        optimizer = Pulled(model.parameters(), lr=0.05)
        y = Y.astype(np.float32)[:, None] * np.ones((1, 3), np.float32)
        change = functools.partial(CHANGES[name], one, optimizer)
        if by_fit:

            class Changes(Callback):
                def on_epoch(self, run, change=change):
                    if run.epoch == 2:
                        change()

            data = DataLoader((X, y), 32, shuffle=False)
            fit(model, data, loss=one, optimizer=optimizer, epochs=4, callbacks=[Changes()])
        else:
            for epoch in range(4):
                for k in range(0, len(X), 32):
                    one(model(cr.Tensor(X[k : k + 32])), cr.Tensor(y[k : k + 32])).backward()
                    optimizer.step()
                if epoch == 1:
                    change()
        ends.append(np.concatenate([p.numpy().ravel() for p in model.parameters()]))
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5, atol=1e-6)


# The loop

SCHEDULES = {
    "none": (lambda o: None, "epoch"),
    "StepLR": (lambda o: optim.StepLR(o, 1, 0.5), "epoch"),
    "StepLR per step": (lambda o: optim.StepLR(o, 5, 0.5), "step"),
    "CosineAnnealingLR": (lambda o: optim.CosineAnnealingLR(o, 3), "epoch"),
    "LinearLR per step": (lambda o: optim.LinearLR(o), "step"),
    "WarmupCosine": (lambda o: optim.WarmupCosine(o, 3, 12), "step"),
    "WarmupCosine per epoch": (lambda o: optim.WarmupCosine(o, 1, 3), "epoch"),
    "OneCycleLR": (lambda o: optim.OneCycleLR(o, 0.05, 12), "step"),
}
OPTIMIZERS = {
    "SGD": lambda m: optim.SGD(m.named_parameters(), lr=0.1, momentum=0.9),
    "Adam": lambda m: optim.Adam(m.named_parameters(), lr=0.01),
    "AdamW": lambda m: optim.AdamW(m.parameters(), lr=0.01, weight_decay=0.1),
}


def by_hand(model, optimizer, schedule, per, clip, epochs=3):
    loader = DataLoader((X, Y), batch_size=16, shuffle=True, seed=4)
    for _ in range(epochs):
        total = 0.0
        for x, y in loader:
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            total += float(loss) * len(y)
            if schedule is not None and per == "step":
                schedule.step()
        if schedule is not None and per == "epoch":
            schedule.step()
    return total / 50


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("name", "kind", "clip"),
    [(name, "Adam", 0.5) for name in SCHEDULES] + [("none", kind, None) for kind in OPTIMIZERS],
)
def test_fit_is_the_loop_written_by_hand(name, kind, clip, compiled):
    make, per = SCHEDULES[name]
    model = network()
    optimizer = OPTIMIZERS[kind](model)
    loss = by_hand(model, optimizer, make(optimizer), per, clip)
    expected = everything(model, optimizer)
    model = network()
    optimizer = OPTIMIZERS[kind](model)
    schedule = make(optimizer)
    default = getattr(schedule, "per", "epoch")
    found = fit(
        model,
        (X, Y),
        optimizer=optimizer,
        epochs=3,
        batch_size=16,
        seed=4,
        schedule=schedule,
        schedule_per=None if per == default else per,
        clip_norm=clip,
        compile=compiled,
    )
    assert everything(model, optimizer) == expected
    assert found["loss"][-1] == pytest.approx(loss, rel=1e-12)
    assert (found.stopped, len(found), found["step"]) == ("epochs", 3, [4, 8, 12])
    assert found.best_epoch == 3
    assert all(m.training for m in model.modules())


class Watches(Callback):
    """Wants to see each step, so that no two are one call."""

    def __init__(self):
        self.losses = []

    def on_step(self, run):
        self.losses.append(run.loss)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(n, "Adam") for n in SCHEDULES] + [("StepLR per step", k) for k in OPTIMIZERS],
)
def test_many_steps_at_once_are_the_same_steps(name, kind, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    calls = []
    repeat = Compiled.repeat
    monkeypatch.setattr(Compiled, "repeat", lambda *a: calls.append(a[1]) or repeat(*a))
    monkeypatch.setattr(trainer, "AT_ONCE", 60.0)  # seconds: a slow step makes no difference
    ends = []
    for callbacks in ([], [Watches()]):
        make, per = SCHEDULES[name]
        model = network(5)
        optimizer = OPTIMIZERS[kind](model)
        found = fit(
            model,
            (X, Y),
            optimizer=optimizer,
            epochs=3,
            batch_size=16,
            seed=4,
            schedule=make(optimizer),
            schedule_per=per,
            callbacks=callbacks,
            clip_norm=1.0,
        )
        ends.append((everything(model, optimizer), found["loss"], found["lr"]))
        ends[-1] += (found.gradients.norms, optimizer.param_groups[0]["lr"])
    assert ends[0] == ends[1]
    assert sum(calls) >= 5, "most steps were one call"


def test_looking_at_more_changes_nothing():
    """Validation, metrics, callbacks, checkpoints and warnings take no part in the numbers."""
    model, loader = network(), DataLoader((X, Y), 16, shuffle=True, seed=4)
    optimizer = OPTIMIZERS["Adam"](model)
    by_hand(model, optimizer, None, "epoch", None)
    expected = everything(model, optimizer)
    model = network()
    model.unused = nn.Parameter(cr.ones(2))
    optimizer = OPTIMIZERS["Adam"](model)
    with pytest.warns(UserWarning, match="unused: forward does not use it"):
        found = fit(
            model,
            loader,
            optimizer=optimizer,
            epochs=3,
            metrics=["accuracy", "f1"],
            valid=V,
            callbacks=[Callback()],
        )
    state = everything(model, optimizer)
    assert {name: state[name] for name in expected} == expected
    assert found.names() == [
        "epoch",
        "step",
        "loss",
        "lr",
        "valid_loss",
        "valid_accuracy",
        "valid_f1",
        "seconds",
    ]


def test_metrics_without_validation_are_of_the_training_data():
    model, loader = network(), DataLoader((X, Y), 16, shuffle=True)
    found = fit(model, loader, epochs=2, metrics="accuracy")
    hits = (model.eval()(cr.Tensor(X)).numpy().argmax(-1) == Y).mean()
    assert found["accuracy"][-1] == pytest.approx(hits)
    assert loader.epoch == 0, "the loader of the user is as it was"


BATCHES = [(X[k : k + 10], Y[k : k + 10]) for k in range(0, 50, 10)]


class Again:
    """Batches without a length."""

    def __iter__(self):
        return iter(BATCHES)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("as_valid", [False, True])
def test_a_list_of_batches_is_batches(count, as_valid):
    x, y = (np.concatenate(part) for part in zip(*BATCHES[:count], strict=True))
    runs = []
    for data in (BATCHES[:count], DataLoader((x, y), 10), [list(b) for b in BATCHES[:count]]):
        model = network()
        optimizer = OPTIMIZERS["Adam"](model)
        train, valid = ((X, Y), data) if as_valid else (data, None)
        found = fit(model, train, valid=valid, optimizer=optimizer, epochs=2)
        runs.append((everything(model, optimizer), found["loss"], as_valid and found["valid_loss"]))
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize(("make", "epochs"), [(Again, 3), (lambda: (b for b in BATCHES), 1)])
def test_any_iterable_of_batches(make, epochs):
    expected, model = network(), network()
    fit(expected, BATCHES, epochs=epochs)
    cr.random.seed(0)
    model = network()
    fit(model, make(), valid=make(), epochs=epochs)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, expected.state_dict()[name])


def test_inputs_may_be_trees():
    class Two(nn.Module):
        def __init__(self):
            self.table, self.layer = nn.Embedding(4, 3), nn.Linear(8, 3)

        def forward(self, x):
            numbers, codes = x
            return self.layer(cr.concat([numbers, self.table(codes)], axis=-1))

    data = ((X, RNG.integers(0, 4, 50)), Y)
    found = fit(Two(), data, valid=data, epochs=4, optimizer=None, metrics="accuracy")
    assert found["loss"][-1] < found["loss"][0]
    assert found["valid_loss"][-1] < found["valid_loss"][0]


def test_a_gradient_from_before_is_not_used():
    model = Pair()
    model(cr.Tensor(X)).sum().backward()
    (model.b.sum() * 7).backward()
    before = model.b.numpy().copy()
    with pytest.warns(UserWarning, match=r"\n  b: forward"):
        fit(model, (X, X), loss="mse", epochs=1)
    np.testing.assert_array_equal(model.b.numpy(), before)


class Pair(nn.Module):
    def __init__(self):
        self.a, self.b = nn.Parameter(cr.full(5, 0.5)), nn.Parameter(cr.ones(5))

    def forward(self, x):
        return x * self.a


# Accumulating


def signs(y):
    return np.where(y > 0, 1.0, -1.0)


def probabilities(y):
    e = np.exp(y)
    return e / e.sum(-1, keepdims=True)


N = 13
NUMBERS = RNG.normal(size=(N, 3))
CLASSES = RNG.integers(0, 3, N)
FEW = np.where(np.isin(np.arange(N), [2, 3]), CLASSES, -100)  # most pieces have none that counts
WEIGHT = cr.Tensor(np.array([0.1, 2.0, 5.0]))
LAST = {"log": nn.LogSoftmax, "sigmoid": nn.Sigmoid, "": nn.Identity}
LOSSES = {
    "cross_entropy": ("cross_entropy", CLASSES, ""),
    "ignored": (nn.CrossEntropyLoss(), FEW, ""),
    "another index": (nn.CrossEntropyLoss(ignore_index=1), CLASSES, ""),
    "weighted": (nn.CrossEntropyLoss(weight=WEIGHT), CLASSES, ""),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.2), CLASSES, ""),
    "all of it": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.2), FEW, ""),
    "partial": (functools.partial(functional.cross_entropy, weight=WEIGHT), FEW, ""),
    "soft targets": ("cross_entropy", probabilities(NUMBERS), ""),
    "nll": (nn.NLLLoss(weight=WEIGHT), FEW, "log"),
    "bce_with_logits": ("bce_with_logits", (NUMBERS > 0) * 1.0, ""),
    "pos_weight": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), (NUMBERS > 0) * 1.0, ""),
    "bce": ("bce", (NUMBERS > 0) * 1.0, "sigmoid"),
    "mse": ("mse", NUMBERS, ""),
    "mae": ("mae", NUMBERS, ""),
    "huber": (nn.HuberLoss(delta=0.3), NUMBERS, ""),
    "smooth_l1": (nn.SmoothL1Loss(beta=0.3), NUMBERS, ""),
    "kl_div": ("kl_div", probabilities(NUMBERS), "log"),
    "poisson": ("poisson_nll_loss", np.abs(NUMBERS), ""),
    "soft_margin": ("soft_margin_loss", signs(NUMBERS), ""),
    "hinge_embedding": ("hinge_embedding_loss", signs(NUMBERS), ""),
    "one's own": (lambda p, t: ((p - t) ** 4).sum(axis=-1).mean(), NUMBERS, ""),
}


def test_every_loss_of_two_tensors_is_in_the_table():
    two = {
        "cosine_embedding_loss",
        "gaussian_nll_loss",
        "margin_ranking_loss",
        "triplet_margin_loss",
    }
    used = {Objective(row[0]).name for row in LOSSES.values()}
    assert set(nn.losses.__all__) - two == used & set(nn.losses.__all__)


@pytest.mark.parametrize("pieces", [2, 5, 20])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-6)])
def test_pieces_give_the_gradient_of_the_whole(name, dtype, rtol, pieces):
    loss, target, last = LOSSES[name]
    x = cr.Tensor(np.linspace(-1, 1, N * 4).reshape(N, 4) ** 3, dtype=dtype)
    y = cr.Tensor(target, dtype=dtype) if target.dtype.kind == "f" else cr.Tensor(target)
    results = []
    for accumulate in (1, pieces):
        cr.random.seed(3)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), LAST[last]())
        for module in model.modules():
            for key, value in list(vars(module).items()):
                if isinstance(value, cr.Tensor):
                    setattr(module, key, nn.Parameter(value.detach().astype(dtype)))
        before = model.state_dict()
        found = fit(
            model,
            [(x, y)],
            loss=loss,
            epochs=1,
            accumulate=accumulate,
            optimizer=optim.SGD(model.parameters(), lr=1.0),
            compile=pieces != 5,
        )
        gradients = {k: before[k] - v for k, v in model.state_dict().items()}
        results.append((found["loss"][0], gradients, found.gradients.norms[0]))
    (loss1, whole, norms1), (loss2, pieced, norms2) = results
    assert loss2 == pytest.approx(loss1, rel=rtol)
    np.testing.assert_allclose(norms2, norms1, rtol=max(rtol, 1e-6))
    for key, g in whole.items():
        assert np.abs(g).max() > 0
        np.testing.assert_allclose(pieced[key], g, rtol=rtol, atol=10 * rtol * np.abs(g).max())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_row_sparse_gradients_in_pieces(kind, compiled):
    codes = RNG.integers(0, 500, (11, 4))
    codes[codes == 7] = 8
    results = []
    for accumulate in (1, 4):
        cr.random.seed(3)
        model = nn.Sequential(nn.Embedding(500, 5), nn.Flatten(), nn.Linear(20, 3))
        table = model.state_dict()["0.weight"]
        fit(
            model,
            [(codes, Y[:11])],
            epochs=2,
            optimizer=OPTIMIZERS[kind](model),
            accumulate=accumulate,
            clip_norm=0.1,
            compile=compiled,
        )
        assert isinstance(next(iter(model.parameters())).grad, cr.RowSparse)
        results.append(model.state_dict())
        np.testing.assert_array_equal(results[-1]["0.weight"][7], table[7])
        assert (results[-1]["0.weight"] != table).any(axis=1).sum() == len(np.unique(codes))
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, rtol=1e-5, atol=1e-6)


# Models that return more than one tensor


class Coder(nn.Module):
    def __init__(self):
        self.down, self.up = nn.Linear(5, 2), nn.Linear(2, 5)

    def forward(self, x):
        code = self.down(x)
        return self.up(code), {"code": code}, (code * code).sum()


@pytest.mark.parametrize("compiled", [True, False])
def test_a_loss_of_ones_own_takes_what_the_model_returns(compiled):
    def loss(out, target):
        return ((out[0] - target) ** 2).mean() + 0.1 * (out[1]["code"] ** 2).mean()

    cr.random.seed(0)
    model = Coder()
    w, b, v, c = (
        model.state_dict()[k] for k in ("down.weight", "down.bias", "up.weight", "up.bias")
    )
    code = X @ w.T + b
    expected = np.square(code @ v.T + c - X).mean() + 0.1 * np.square(code).mean()
    found = fit(
        model,
        [(X, X)],
        loss=loss,
        valid=(X, X),
        epochs=1,
        compile=compiled,
        metrics={"rows": lambda out, t: len(out[1]["code"])},
    )
    assert found["loss"] == [pytest.approx(expected, rel=1e-5)]
    assert found["valid_loss"][0] < found["loss"][0]
    assert found["valid_rows"] == [50]


def test_a_last_batch_of_one_row_can_be_left_out():
    model = network()
    found = fit(model, (X[:33], Y[:33]), batch_size=16, drop_last=True, epochs=3)
    assert found["step"] == [2, 4, 6]
    plain = nn.Linear(5, 3)
    assert fit(plain, (X[:33], Y[:33]), batch_size=16, epochs=1)["step"] == [3], "it can be trained"


def test_nested_lists_train_as_arrays_do():
    models = []
    for data in ((X, Y), (X.tolist(), Y.tolist())):
        models.append(network())
        fit(models[-1], data, epochs=2)
    for a, b in zip(*(m.state_dict().values() for m in models), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_are_told_in_a_line_and_drawn():
    found = fit(network(), (X, Y), epochs=3)
    last = dict(zip(found.gradients.layers, found.gradients.norms[-1], strict=True))
    low, high = min(last, key=last.get), max(last, key=last.get)
    assert repr(found.gradients) == (
        "GradientFlow(6 steps; norms at the last one: "
        f"{last[low]:.2g} ({low}) to {last[high]:.2g} ({high}))"
    )
    picture = found.plot("gradients")._repr_html_()
    assert "Norm of the gradient, by layer" in picture
    assert "4 Linear, step 5: " in picture
