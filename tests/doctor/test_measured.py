"""What is measured of a training, beside numbers computed by hand or by PyTorch in float64.

Longer than other files: all measurements are tests of one table, in both libraries.
"""

import json
import math

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor.facts import gather
from chainrule.doctor.measured import MEANINGS, Measurement, measured_of
from chainrule.doctor.measured.data import of_data
from chainrule.doctor.measured.network import of_network
from chainrule.doctor.measured.steps import of_steps
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.pytorch.modules import TorchTraining
from chainrule.nn import functional as F  # noqa: N812 - the usual name

RNG = np.random.default_rng(0)


def training(model, x, y, loss=F.mse_loss, batch=16, optimizer=None, valid=None, **more):
    optimizer = optimizer or optim.SGD(model.named_parameters(), 0.01)
    x, y = (a.astype(np.float32) if a.dtype.kind == "f" else a for a in (x, y))
    return ModuleTraining(model, loss, optimizer, (x, y), valid or (x, y), batch, 1, **more)


def by_name(measurements):
    return {m.name: m for m in measurements}


def network(f):
    return by_name(of_network(gather(f)))


def data(x, y, loss=F.cross_entropy, valid=None, **settings):
    units = 1 if loss is F.mse_loss else int(y.max()) + 1
    t = training(nn.Linear(x.shape[1], units), x, y, loss, valid=valid, **settings)
    return by_name(of_data(gather(t)))


def steps(t, seconds=5.0):
    return by_name(of_steps(gather(t), seconds))


# ── curvature and gradients, of both libraries ───────────────────────────────────────────────────


def both():
    """The same network of both libraries in float64, 40 rows, and the loss of flat parameters."""
    x, y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)
    ).double()
    ours = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    for a, b in ((ours[0], theirs[0]), (ours[2], theirs[2])):
        a.weight = nn.Parameter(b.weight.detach().numpy().copy())
        a.bias = nn.Parameter(b.bias.detach().numpy().copy())
    sgd = optim.SGD(ours.named_parameters(), 0.1)
    torch_sgd = torch.optim.SGD(theirs.parameters(), 0.1)
    loss = torch.nn.CrossEntropyLoss()
    trainings = [
        ModuleTraining(ours, F.cross_entropy, sgd, (x, y), (x, y), 8, 1),
        TorchTraining(theirs, loss, torch_sgd, (x, y), (x, y), 8, 1),
    ]
    sizes = [p.numel() for p in theirs.parameters()]

    def of(flat, rows=slice(None)):
        w, b, v, c = (
            part.reshape(p.shape)
            for part, p in zip(flat.split(sizes), theirs.parameters(), strict=True)
        )
        return loss(torch.tanh(torch.tensor(x[rows]) @ w.T + b) @ v.T + c, torch.tensor(y[rows]))

    return trainings, of, torch.cat([p.detach().ravel() for p in theirs.parameters()])


def test_the_sharpness_is_that_of_the_dense_hessian():
    trainings, loss, flat = both()
    true = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))[-1]
    for t in trainings:
        value, error = t.sharpness(512, 5.0)
        assert error <= 0.01 * value
        assert value == pytest.approx(float(true), rel=0.01)


def test_the_gradients_of_batches_are_those_of_pytorch():
    trainings, loss, flat = both()
    flat.requires_grad_()
    rows = np.random.default_rng(0).permutation(40)[:24].reshape(4, 6)
    expected = [torch.autograd.grad(loss(flat, part), flat)[0].numpy() for part in rows]
    for t in trainings:
        np.testing.assert_allclose(t.gradients(4, 6), expected, rtol=1e-6)


def test_a_hessian_that_cannot_be_computed_has_no_value():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            if torch.is_grad_enabled():
                raise RuntimeError("no second derivative")
            return g * 2

    class Model(torch.nn.Linear):
        def forward(self, x):
            return Once.apply(super().forward(x))

    model, x = Model(2, 1), RNG.normal(size=(20, 2)).astype(np.float32)
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    t = TorchTraining(model, torch.nn.MSELoss(), sgd, (x, x[:, :1]), (x, x[:, :1]), 8, 1)
    assert math.isnan(t.sharpness(20, 1.0)[0])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (lambda p: optim.SGD(p, 0.1), 2 / 4),
        (lambda p: optim.SGD(p, 0.1, momentum=0.5), 3 / 4),
        (lambda p: optim.SGD(p, 0.1, momentum=0.5, nesterov=True), 3 / 8),
        (lambda p: optim.SGD(p, 0.1, weight_decay=1.0), 2 / 5),
        (lambda p: optim.SGD(p, 0.1, maximize=True), None),
        (lambda p: optim.Adam(p), None),
    ],
)
def test_the_critical_rate_by_the_optimizer(optimizer, expected):
    """The loss (w x)² with x = ±√2 has the sharpness 4."""
    x, model = np.tile([[math.sqrt(2)], [-math.sqrt(2)]], (20, 1)), nn.Linear(1, 1, bias=False)
    t = training(model, x, 0 * x, optimizer=optimizer(model.named_parameters()))
    found = gather(t).critical_rate
    assert found == (expected and pytest.approx(expected, rel=1e-3))


@pytest.mark.parametrize(
    ("rate", "remark"), [(4.0, "8 times exceeded"), (0.1, ""), (1e-4, "times as large")]
)
def test_the_rate_beside_the_critical_one(rate, remark):
    """The loss (w x)² with x = ±√2 has the sharpness 4, and so the critical rate ½."""
    x = np.tile([[math.sqrt(2)], [-math.sqrt(2)]], (20, 1))
    model = nn.Linear(1, 1, bias=False)
    t = training(model, x, 0 * x, optimizer=optim.SGD(model.named_parameters(), rate))
    critical = steps(t)["critical_rate"]
    assert critical.value == pytest.approx(0.5, rel=1e-3)
    assert remark in critical.remark
    assert bool(remark) == bool(critical.remark)


def test_a_sum_over_the_rows_is_measured_on_a_batch():
    """Of a sum the sharpness grows with the rows: 4 · 16 for 16 of them."""
    x = np.tile([[math.sqrt(2)], [-math.sqrt(2)]], (20, 1))
    t = training(nn.Linear(1, 1, bias=False), x, 0 * x, lambda p, y: ((p - y) ** 2).sum())
    assert steps(t)["sharpness"].value == pytest.approx(64, rel=1e-3)


@pytest.mark.parametrize(("size", "known"), [(100, True), (500_000, False)])
def test_the_curvature_of_large_outputs_is_left_out(size, known):
    class Wide(nn.Module):
        def __init__(self):
            self.head, self.wide = nn.Linear(1, 1), nn.Identity()

        def forward(self, x):
            return self.wide(cr.broadcast_to(self.head(x), (len(x), size)))[:, :1]

    x = RNG.normal(size=(10, 1))
    assert (gather(training(Wide(), x, x)).sharpness is not None) == known


@pytest.mark.parametrize(("noise", "noisy"), [(0.1, False), (2000.0, True)])
def test_gradients_of_targets_that_are_noise(noise, noisy):
    x = np.ones((512, 1))
    y = x + noise * np.random.default_rng(1).normal(size=x.shape)
    found = steps(training(nn.Linear(1, 1, bias=False), x, y, batch=1))["gradient_noise_scale"]
    assert (found.value > 100) == bool(found.remark) == noisy


# ── the initial loss, one batch ──────────────────────────────────────────────────────────────────


def zeros(model):
    with cr.no_grad():
        for p in model.parameters():
            p[...] = 0
    return model


def test_the_initial_loss_of_classes():
    x, y = RNG.normal(size=(64, 3)), np.repeat([0, 1], [48, 16])
    found = steps(training(zeros(nn.Linear(3, 2)), x, y, F.cross_entropy))["initial_loss"]
    assert found.value == pytest.approx(math.log(2))
    assert found.expected == "0.693, the logarithm of 2 classes (0.562 by their frequencies)"
    assert found.remark == ""
    x *= 1000
    found = steps(training(nn.Linear(3, 2), x, y, F.cross_entropy))["initial_loss"]
    assert found.remark.startswith("far above")


def test_the_initial_loss_of_classes_that_the_input_shows():
    y = RNG.integers(0, 2, 64)
    model = nn.Linear(2, 2, bias=False)
    with cr.no_grad():
        model.weight[...] = 10 * np.eye(2, dtype=np.float32)
    found = steps(training(model, np.eye(2)[y], y, F.cross_entropy))["initial_loss"]
    assert found.remark == "far below: a trained network, or the input has the target in it"


@pytest.mark.parametrize(("mean", "remark"), [(0.0, ""), (40.0, "far above: the mean of the")])
def test_the_initial_loss_of_numbers(mean, remark):
    x = RNG.normal(size=(64, 3))
    y = np.tile([[1.0], [-1.0]], (32, 1)) + mean
    found = steps(training(zeros(nn.Linear(3, 1)), x, y))["initial_loss"]
    assert found.value == pytest.approx(1 + mean**2)
    assert found.expected == "1, the variance of the targets"
    assert found.remark.startswith(remark)


@pytest.mark.parametrize("contradicts", [False, True])
def test_a_batch_is_learned_by_heart_unless_it_contradicts_itself(contradicts):
    x = np.eye(16)
    y = np.tile([0, 1], 8)
    x = np.repeat(x[:8], 2, 0) if contradicts else x
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))
    t = training(model, x, y, F.cross_entropy, optimizer=optim.Adam(model.named_parameters(), 0.01))
    found = steps(t)["batch_by_heart"]
    assert found.value == (0.5 if contradicts else 1.0)
    assert bool(found.remark) == contradicts


def test_without_time_nothing_long_is_measured():
    x = RNG.normal(size=(64, 3))
    assert not {"gradient_noise_scale", "batch_by_heart"} & {
        *steps(training(nn.Linear(3, 3), x, x), 0)
    }


# ── the network ──────────────────────────────────────────────────────────────────────────────────


class Function(nn.Module):
    def __init__(self, function):
        self.first, self.function = nn.Linear(3, 2), function

    def forward(self, x):
        return self.function(self.first, x)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda f, x: f(x * 0), "output_spread"),
        (lambda f, x: f(cr.reshape(x.T, x.shape)), "row_order"),
        (lambda f, x: f(x - cr.mean(x, axis=0)), "row_order"),
        (lambda f, x: f(x), None),
    ],
)
def test_outputs_that_ignore_the_input_or_see_other_rows(function, name):
    x = RNG.normal(size=(40, 3)) + 1
    found = network(training(Function(function), x, x[:, :2]))
    remarks = {k for k, m in found.items() if m.remark and k != "untrained_parameters"}
    assert remarks == {name} - {None}


def test_a_loss_that_depends_on_the_order_of_the_rows():
    x = RNG.normal(size=(40, 3))

    def loss(p, y):
        return ((p - y) ** 2 * cr.arange(len(p), dtype=cr.float32)[:, None]).mean()

    found = network(training(nn.Linear(3, 3), x, x, loss))["row_order"]
    assert (found.place, found.remark) == (
        "loss",
        "the loss of a batch depends on the order of its rows",
    )


class Parts(nn.Module):
    def __init__(self):
        self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)
        self.cut = nn.Linear(3, 2, bias=False)

    def forward(self, x):
        return self.used(x) + cr.stop_gradient(self.cut(x))


class TorchParts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
        self.cut = torch.nn.Linear(3, 2, bias=False)

    def forward(self, x):
        assert self.unused.weight.shape == (2, 3)
        return self.used(x) + self.cut(x).detach()


def test_parameters_that_nothing_trains():
    x = RNG.normal(size=(40, 3)).astype(np.float32)
    ours, theirs = Parts(), TorchParts()
    sgd = optim.SGD([(n, p) for n, p in ours.named_parameters() if n != "used.bias"], 0.1)
    torch_sgd = torch.optim.SGD([p for n, p in theirs.named_parameters() if n != "used.bias"], 0.1)
    reasons = [
        ModuleTraining(ours, F.mse_loss, sgd, (x, x[:, :2]), (x, x[:, :2]), 8, 1).untrained(),
        TorchTraining(
            theirs, torch.nn.MSELoss(), torch_sgd, (x, x[:, :2]), (x, x[:, :2]), 8, 1
        ).untrained(),
    ]
    assert reasons[0] == reasons[1]
    assert {name: why.split()[0] for name, why in reasons[0].items()} == {
        "used.bias": "the",
        "unused.weight": "forward",
        "unused.bias": "forward",
        "cut.weight": "no",
    }
    found = network(training(ours, x, x[:, :2], optimizer=sgd))["untrained_parameters"]
    assert (found.value, found.place) == (4, "used")
    assert "unused.weight, unused.bias: forward does not use it" in found.remark
    assert found.items[-1].startswith("cut.weight: no gradient reached it")


def normalized(*layers, batch=16):
    x = RNG.normal(size=(40, 3))
    found = network(training(nn.Sequential(*layers), x, x, batch=batch))
    return {k: (m.place, m.items) for k, m in found.items() if m.remark}


def test_what_does_not_fit_a_batch_normalization():
    assert normalized(nn.Linear(3, 3), nn.BatchNorm1d(3)) == {
        "bias_before_norm": ("0", ("layer 0",))
    }
    assert normalized(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)) == {}
    assert normalized(nn.Linear(3, 3), nn.ReLU(), nn.BatchNorm1d(3)) == {}
    assert normalized(nn.Linear(3, 3), nn.LayerNorm(3)) == {}
    assert normalized(nn.Dropout(0.1), nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)) == {
        "dropout_before_norm": ("0", ("layer 0",))
    }
    assert normalized(nn.BatchNorm1d(3), nn.Dropout(0.1), nn.Linear(3, 3)) == {}


@pytest.mark.parametrize("batch", [1, 16])
def test_batch_normalization_of_one_image(batch):
    x = RNG.normal(size=(40, 4, 4, 2))
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 2))
    found = network(training(model, x, x[:, 0, 0], batch=batch))["batch_norm_rows"]
    assert (found.place, found.value) == ("0", batch)
    assert bool(found.remark) == (batch == 1)


class Called(nn.Module):
    def __init__(self):
        self.first, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(F.relu(self.first(x)))


def test_a_bias_counts_although_an_activation_is_a_call():
    x = RNG.normal(size=(40, 3))
    assert not network(training(Called(), x, x))["bias_before_norm"].remark


# ── inputs and targets ───────────────────────────────────────────────────────────────────────────


def test_classes_and_columns_that_are_as_they_should_be():
    found = data(RNG.normal(size=(200, 4)), np.arange(200) % 4)
    assert {m.remark for m in found.values()} == {""}
    assert found["rarest_class"].value == 0.25
    assert found["rarest_class"].items == ("0: 50", "1: 50", "2: 50", "3: 50")


def test_a_rare_class():
    found = data(RNG.normal(size=(200, 4)), np.repeat([0, 1], [190, 10]))["rarest_class"]
    assert (found.value, found.remark) == (0.05, "class 1 is rare")


def test_columns_that_tell_nothing_new():
    x = RNG.normal(size=(200, 6))
    x[:, 1] = 7
    x[:, 4] = 3 * x[:, 0] - x[:, 2] + 5
    found = data(x, np.arange(200) % 2)
    assert found["constant_columns"].items == ("column 1",)
    assert found["constant_columns"].remark == "column 1 is always the same"
    assert found["dependent_columns"].items == ("column 4",)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.mse_loss])
def test_a_column_that_varies_in_one_row_of_many(loss):
    x = RNG.normal(size=(3000, 3)).astype(np.float32)
    x[:, 0] = np.arange(3000) == np.random.default_rng(0).permutation(3000)[-1]
    y = np.arange(3000) % 2 if loss is F.cross_entropy else x[:, 1:2] + x[:, 2:]
    assert {m.remark for m in data(x, y, loss).values()} == {""}


def test_columns_of_truth_values():
    x = RNG.integers(0, 2, (200, 3)).astype(bool)
    x[:, 1] = True
    model = Function(lambda f, x: f(cr.astype(x, cr.float32)))
    sgd = optim.SGD(model.named_parameters(), 0.1)
    y = np.arange(200) % 2
    t = ModuleTraining(model, F.cross_entropy, sgd, (x, y), (x, y), 16, 1)
    assert by_name(of_data(gather(t)))["constant_columns"].items == ("column 1",)


def test_the_columns_of_a_category_are_no_sum_of_each_other_but_equal_ones_are():
    category = np.eye(3)[RNG.integers(0, 3, 200)]
    x = np.concatenate([RNG.normal(size=(200, 2)), category], 1)
    assert not data(x, np.arange(200) % 2)["dependent_columns"].items
    x = np.concatenate([x, category[:, :1]], 1)
    assert data(x, np.arange(200) % 2)["dependent_columns"].items == ("column 5",)


def test_pixels_may_be_constant():
    x = RNG.normal(size=(400, 64))
    x[:, :9] = 0
    found = data(x, np.arange(400) % 2)["constant_columns"]
    assert (found.value, found.remark) == (9, "")


def test_a_column_that_holds_the_answer():
    y = RNG.integers(0, 3, 300)
    x = RNG.normal(size=(300, 3))
    x[:, 2] = y + 0.01 * RNG.normal(size=300)
    found = data(x[:200], y[:200], valid=(x[200:].astype(np.float32), y[200:]))["telling_columns"]
    assert found.items == ("column 2",)
    assert "column 2 alone explains 100.0% of the targets, of held-out rows too" in found.remark
    easy = np.stack([y, 2 - y], 1) + 0.01 * RNG.normal(size=(300, 2))
    valid = easy[200:].astype(np.float32), y[200:]
    assert not data(easy[:200], y[:200], valid=valid)["telling_columns"].items


def test_a_column_that_holds_the_number():
    y = RNG.normal(size=(300, 1))
    x = np.concatenate([RNG.normal(size=(300, 2)), 5 - 2 * y], 1)
    assert data(x, y, F.mse_loss)["telling_columns"].items == ("column 2",)
    x[:, 2] += RNG.normal(size=300)
    assert not data(x, y, F.mse_loss)["telling_columns"].items


# ── all together ─────────────────────────────────────────────────────────────────────────────────


def test_all_have_a_meaning_and_nothing_changes_the_training():
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 3))
    x, y = RNG.normal(size=(300, 3)), np.arange(300) % 3
    t = training(model, x, y, F.cross_entropy)
    facts = gather(t)
    before = {name: a.copy() for name, a in model.state_dict().items()}
    drawn = cr.random.default.state
    found = measured_of(facts, 5.0)
    names = [m.name for m in found]
    assert len(names) == len({*names})
    assert {*names} == {*MEANINGS}
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())
    assert np.array_equal(cr.random.default.state, drawn)
    json.dumps([m.to_dict() for m in found])


def test_a_training_of_pytorch_is_measured_too():
    x, y = RNG.normal(size=(300, 3)).astype(np.float32), np.arange(300) % 3
    layers = [torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.2)]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(4, 3))
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    t = TorchTraining(model, torch.nn.CrossEntropyLoss(), sgd, (x, y), (x, y), 16, 1)
    before = {name: v.clone() for name, v in model.state_dict().items()}
    found = by_name(measured_of(gather(t), 5.0))
    assert {*found} == {*MEANINGS}
    assert found["bias_before_norm"].items == ("layer 0",)
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert not sgd.state


def test_a_measurement_as_data():
    assert Measurement("constant_columns", 1, "none", "data.inputs", "odd", ("a",)).to_dict() == {
        "name": "constant_columns",
        "value": 1,
        "expected": "none",
        "place": "data.inputs",
        "remark": "odd",
        "items": ["a"],
    }


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


def test_the_scores_of_a_constant_and_of_the_training_rows():
    """Held out are 24 rows of class 0 and 16 of class 1; a rate of 0 leaves the constant 0."""
    y = np.repeat([0, 1], 40)
    x = np.where(y == 1, 1.0, -1.0)[:, None].astype(np.float32)
    held_out = np.r_[16:40, 64:80]
    for rate, fit, odd in ((1e-9, 0.5, True), (0.5, 1.0, False)):
        model = nn.Linear(1, 2)
        model.weight = nn.Parameter(np.zeros((2, 1), np.float32))
        model.bias = nn.Parameter(np.array([1.0, 0.0], np.float32))
        sgd = optim.SGD(model.named_parameters(), rate)
        valid = x[held_out], y[held_out]
        found = steps(training(model, x, y, F.cross_entropy, optimizer=sgd, valid=valid), 0.0)
        constant, trained = found["score_of_a_constant"], found["score_in_training"]
        assert constant.value == pytest.approx(24 / 40)
        assert trained.value == pytest.approx(fit)
        assert ("no better than a guess" in constant.remark) == odd
        assert not trained.remark


# ── parameters that are not trained ──────────────────────────────────────────────────────────────


def of_columns():
    """The class is the sign of column 1, and column 0 is noise."""
    x = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    return x, (x[:, 1] > 0).astype(int)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("theirs", [False, True])
def test_a_layer_that_is_not_trained_is_found_and_trained(frozen, theirs):
    """Frozen, the first layer takes the noise alone; trained, it takes the other column too."""
    first = np.array([[1.0, 0.0]], np.float32)
    if theirs:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Linear(1, 2))
        with torch.no_grad():
            model[0].weight[...] = torch.from_numpy(first)
        model[0].requires_grad_(not frozen)
        adam = torch.optim.Adam(model[1].parameters(), 0.05)
        loss, diagnose = torch.nn.CrossEntropyLoss(), cr.interop.torch.diagnose
    else:
        cr.random.seed(0)
        model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 2))
        model[0].weight = nn.Parameter(first)
        if frozen:
            model[0].freeze()
        adam = optim.Adam(model[1].parameters(), 0.05)
        loss, diagnose = "cross_entropy", cr.diagnose
    diagnosis = diagnose(model, of_columns(), loss=loss, optimizer=adam, epochs=10, seconds=3)
    finding = next(f for f in diagnosis.findings if f.kind == "untrained_parameters")
    assert finding.place == "0"
    assert finding.remedies[-1].text == "train the parameters of layer 0"
    assert finding.remedies[-1].trial.after > 0.9 > 0.7 > diagnosis.score
    assert ("frozen" in finding.cause) == frozen
    measured = next(m for m in diagnosis.measured if m.name == "untrained_parameters")
    assert measured.value == 2
    assert all(p.requires_grad != frozen for p in model[0].parameters())
    if not theirs:
        made = "optimizer = optim.Adam(model.parameters(), lr=0.05)"
        assert finding.remedies[-1].code == ("model[0].unfreeze()", made)
