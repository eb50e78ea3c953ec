"""The Hessian's largest eigenvalue beside PyTorch's dense Hessian, and rates that diverge."""

import math

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis import critical_rate, sharpness
from chainrule.diagnosis.sharpness import largest_eigenvalue
from chainrule.nn import functional as F  # noqa: N812 - the usual name

RNG = np.random.default_rng(0)


def network(hidden=5, inputs=4, outputs=3, activation=nn.Tanh):
    """In float64."""
    model = nn.Sequential(nn.Linear(inputs, hidden), activation(), nn.Linear(hidden, outputs))
    for layer in (model[0], model[2]):
        layer.weight = nn.Parameter(RNG.normal(size=layer.weight.shape) / 2)
        layer.bias = nn.Parameter(RNG.normal(size=layer.bias.shape) / 2)
    return model


def dense_hessian(model, x, y, loss):
    """By PyTorch, of weights and biases in the order of the parameters."""
    values = [torch.tensor(p.numpy()) for p in model.parameters()]
    sizes = [v.numel() for v in values]

    def of(flat):
        w, b, v, c = (
            part.reshape(value.shape) for part, value in zip(flat.split(sizes), values, strict=True)
        )
        return loss(torch.tanh(torch.tensor(x) @ w.T + b) @ v.T + c, torch.tensor(y))

    flat = torch.cat([v.ravel() for v in values])
    return torch.autograd.functional.hessian(of, flat).numpy()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss"])
def test_it_is_that_of_the_dense_hessian(loss):
    model, x = network(), RNG.normal(size=(30, 4))
    y = RNG.integers(0, 3, 30) if loss == "cross_entropy" else RNG.normal(size=(30, 3))
    values = np.linalg.eigvalsh(dense_hessian(model, x, y, getattr(torch.nn.functional, loss)))
    assert values[0] < 0, "the test has negative curvature too"
    found = sharpness(
        lambda: getattr(F, loss)(model(cr.Tensor(x)), cr.Tensor(y)),
        model.parameters(),
        tolerance=1e-12,
    )
    assert found == pytest.approx(values[-1], rel=1e-10)


def test_the_usual_tolerance_is_kept_from_below():
    model, x, y = network(), RNG.normal(size=(30, 4)), RNG.normal(size=(30, 3))
    true = np.linalg.eigvalsh(dense_hessian(model, x, y, torch.nn.functional.mse_loss))[-1]
    found = sharpness(lambda: F.mse_loss(model(cr.Tensor(x)), cr.Tensor(y)), model.parameters())
    assert true * (1 - 1e-3) <= found <= true * (1 + 1e-9)


def test_of_part_of_the_parameters_it_is_that_of_their_block():
    model, x, y = network(), RNG.normal(size=(30, 4)), RNG.normal(size=(30, 3))
    hessian = dense_hessian(model, x, y, torch.nn.functional.mse_loss)[-18:, -18:]
    found = sharpness(
        lambda: F.mse_loss(model(cr.Tensor(x)), cr.Tensor(y)),
        model[2].parameters(),
        tolerance=1e-12,
    )
    assert found == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-10)


@pytest.mark.parametrize(
    "values", [[3.0, 1.0, -50.0], [2.0] * 6, [-1.0, -2.0], [0.0, 0.0], [7.0], [*range(1, 60), 61.0]]
)
def test_the_largest_and_not_the_farthest_eigenvalue(values):
    basis = np.linalg.qr(RNG.normal(size=(len(values),) * 2))[0]
    matrix = basis * values @ basis.T
    found, _ = largest_eigenvalue(lambda v: matrix @ v, len(values), tolerance=1e-10)
    assert found == pytest.approx(max(values), rel=1e-8, abs=1e-8)


def test_lanczos_without_orthogonalization_finds_no_other_value():
    """400 eigenvalues of many sizes and 100 products: rounding has spoiled orthogonality."""
    values = np.concatenate([np.geomspace(1e-6, 1, 398), [9.0, 10.0]])
    found, _ = largest_eigenvalue(lambda v: values * v, len(values), products=100, tolerance=0)
    assert found == pytest.approx(10, rel=1e-12)


def test_an_early_end_says_how_large_the_error_may_be():
    values = np.concatenate([np.geomspace(1e-6, 1, 398), [9.9, 10.0]])
    found, error = largest_eigenvalue(lambda v: values * v, len(values), products=3)
    assert found <= 10 <= found + error
    late, small = largest_eigenvalue(lambda v: values * v, len(values), seconds=0)
    assert late < found
    assert small > error


def test_what_is_not_finite_has_no_value():
    assert math.isnan(largest_eigenvalue(lambda v: v * np.inf, 3)[0])


def test_it_draws_and_assigns_nothing():
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 1))
    x, y = cr.random.normal((20, 4)), cr.random.normal((20, 1))
    before = {name: a.copy() for name, a in model.state_dict().items()}
    drawn = cr.random.default.state
    found = [sharpness(lambda: F.mse_loss(model(x), y), model.parameters()) for _ in range(2)]
    assert found[0] == found[1] > 0
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())
    assert np.array_equal(cr.random.default.state, drawn)
    assert all(p.grad is None for p in model.parameters())


# ── the critical rate ────────────────────────────────────────────────────────────────────────────

SETTINGS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.5, "dampening": 0.5},
    {"momentum": 0.9, "nesterov": True},
    {"weight_decay": 0.7},
    {"momentum": 0.9, "weight_decay": 0.7},
]


def diverges(lr, settings):
    """Whether SGD on w ↦ 3/2 w₁² + 1/8 w₂², whose sharpness is 3, ends far away."""
    w = nn.Parameter(np.array([1.0, 1.0]))
    optimizer = optim.SGD([w], lr, **settings)

    @cr.compile
    def step():
        optimizer.zero_grad()
        (cr.Tensor(np.array([1.5, 0.125])) * w * w).sum().backward()
        optimizer.step()
        return w * 1.0

    return not all(np.abs(step().numpy()).max() < 1e3 for _ in range(2000))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_steps_diverge_above_the_critical_rate_alone(settings):
    rate = critical_rate(3.0, **settings)
    assert not diverges(0.98 * rate, settings)
    assert diverges(1.02 * rate, settings)


def test_without_curvature_nothing_diverges():
    assert critical_rate(0.0) == critical_rate(-2.0) == math.inf


# ── full batches of real networks ────────────────────────────────────────────────────────────────


def losses_by_rate(model, loss):
    """A function from a rate to the losses of 60 steps of full-batch gradient descent."""
    start = [p.numpy().copy() for p in model.parameters()]
    optimizer = optim.SGD(model.parameters(), 1.0)

    @cr.compile
    def step():
        value = loss()
        value.backward()
        optimizer.step()
        return value

    def losses(rate):
        with cr.no_grad():
            for p, value in zip(model.parameters(), start, strict=True):
                p[...] = value
        optimizer.param_groups[0]["lr"] = rate
        return np.array([float(step()) for _ in range(60)])

    return losses


def lowest(rates, is_bad):
    """The rate between these two from which on training is bad, by bisection."""
    low, high = rates
    assert not is_bad(low)
    assert is_bad(high)
    for _ in range(12):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_bad(middle) else (middle, high)
    return high


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_regression_diverges_within_a_factor_of_2_of_the_critical_rate(activation, seed):
    cr.random.seed(seed)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 8)).astype(np.float32)
    y = np.stack([np.sin(x[:, 0]), x[:, 1] * x[:, 2], x.sum(1)], 1)
    model = nn.Sequential(nn.Linear(8, 32), activation(), nn.Linear(32, 3))

    def loss():
        return F.mse_loss(model(cr.Tensor(x)), cr.Tensor(y))

    critical = critical_rate(sharpness(loss, model.parameters()))
    losses = losses_by_rate(model, loss)
    real = lowest((critical / 10, critical * 100), lambda r: not losses(r)[-1] <= losses(r)[0])
    assert 1 / 2 <= real / critical <= 2


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_steps_of_a_classifier_raise_its_loss_within_a_factor_of_2(activation, seed):
    """Cross-entropy has small gradients far away, so that steps rarely grow without an end."""
    cr.random.seed(seed)
    x = np.random.default_rng(seed).normal(size=(300, 8)).astype(np.float32)
    y = np.argmax(x[:, :3], 1)
    model = nn.Sequential(nn.Linear(8, 32), activation(), nn.Linear(32, 3))

    def loss():
        return F.cross_entropy(model(cr.Tensor(x)), cr.Tensor(y))

    critical = critical_rate(sharpness(loss, model.parameters()))
    losses = losses_by_rate(model, loss)
    real = lowest((critical / 10, critical * 100), lambda r: not (np.diff(losses(r)) <= 0).all())
    assert 1 / 2 <= real / critical <= 2


# ── wrong arguments ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("loss", "arrived"),
    [
        (lambda p: p.sum(), "got a tensor"),
        (lambda p: lambda: p * 2, "got a function that returns a tensor (3,) float32"),
        (lambda p: lambda: cr.Tensor(2.0), "got a loss that reads none of the parameters"),
    ],
)
def test_what_is_no_loss_of_the_parameters(loss, arrived):
    p = nn.Parameter(np.ones(3, np.float32))
    with pytest.raises(cr.errors.ArgumentError, match=r"^\[sharpness\] ") as raised:
        sharpness(loss(p), [p])
    assert arrived.split()[1] in str(raised.value)


def test_frozen_parameters_have_no_curvature():
    x = cr.Tensor(np.array([[1.0], [2.0]], np.float32))
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.requires_grad = False
    with pytest.raises(cr.errors.ArgumentError, match="not frozen"):
        cr.diagnosis.sharpness(lambda: (layer(x) ** 2).mean(), layer.parameters())


@pytest.mark.parametrize(
    "settings",
    [{"momentum": -2}, {"momentum": 1}, {"dampening": 1}, {"weight_decay": -1}, {"sharpness": "a"}],
)
def test_settings_that_no_optimizer_has(settings):
    with pytest.raises(cr.errors.ArgumentError, match="critical_rate"):
        cr.diagnosis.critical_rate(**{"sharpness": 1.0, **settings})


@pytest.mark.parametrize("settings", [{"products": 0}, {"products": 1.5}, {"tolerance": 0}])
def test_products_and_tolerance(settings):
    layer = nn.Linear(1, 1)
    with pytest.raises(cr.errors.ArgumentError, match="sharpness"):
        cr.diagnosis.sharpness(lambda: layer.weight.sum(), layer.parameters(), **settings)
    with pytest.raises(cr.errors.ArgumentError, match="pass model"):
        cr.diagnosis.sharpness(lambda: layer.weight.sum(), layer)


def test_gradients_that_are_off_outside_are_on_inside():
    t = cr.Tensor([1.0, 2.0], requires_grad=True)
    with cr.no_grad():
        assert sharpness(lambda: (t**2).sum(), [t]) == pytest.approx(2.0)
