"""What is measured of gradients, of units, and of what lies between layers."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis import Change
from chainrule.doctor.facts import gather
from chainrule.doctor.faults import faults_of
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.pytorch.modules import TorchTraining
from chainrule.doctor.words import in_words
from chainrule.nn import functional as F  # noqa: N812 - the usual name

RNG = np.random.default_rng(0)


def training(model, x, y, loss=F.mse_loss, lr=1e-3, batch=16, **more):
    optimizer = optim.SGD(model.named_parameters(), lr)
    x, y = x.astype(np.float32), y.astype(np.float32) if y.dtype.kind == "f" else y
    return ModuleTraining(model, loss, optimizer, (x, y), (x, y), batch, 1, **more)


class Last(nn.Module):
    def __init__(self):
        self.recurrent = nn.RNN(2, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


def test_the_gradient_by_step_is_that_of_pytorch():
    model, x, y = Last(), RNG.normal(size=(20, 6, 2)), RNG.normal(size=(20, 1))
    theirs, head = torch.nn.RNN(2, 3, batch_first=True).double(), torch.nn.Linear(3, 1).double()
    for module, ours in ((theirs, model.recurrent), (head, model.head)):
        state = {name: torch.tensor(p.numpy()).double() for name, p in ours.named_parameters()}
        module.load_state_dict(state)
    t = torch.tensor(x.astype(np.float32)).double().requires_grad_()
    loss = ((head(theirs(t)[0][:, -1]) - torch.tensor(y.astype(np.float32))) ** 2).mean()
    loss.backward()
    expected = t.grad.square().mean((0, 2)).sqrt().numpy()
    (layer,) = training(model, x, y).observe().of_kind("recurrent")
    np.testing.assert_allclose(layer.by_step, expected, rtol=1e-4)


@pytest.mark.parametrize(("value", "symmetric"), [(0.1, True), (None, False)])
def test_a_recurrent_layer_whose_units_are_equal_is_symmetric(value, symmetric):
    model = Last()
    with cr.no_grad():
        for p in model.recurrent.parameters() if value else ():
            p[...] = value
    facts = gather(training(model, RNG.normal(size=(20, 6, 2)), RNG.normal(size=(20, 1))))
    kinds = {f.kind for f in faults_of(facts)}
    assert ("init_symmetric" in kinds) == symmetric


def stack(factor):
    """Three linear layers of one unit, whose weights are the factor."""
    layers = [nn.Linear(1, 1, bias=False) for _ in range(3)]
    with cr.no_grad():
        for layer in layers:
            layer.weight[...] = factor
    return nn.Sequential(*layers)


def test_the_growth_of_the_gradient_is_the_product_of_the_weights_between():
    x = RNG.normal(size=(40, 1))
    facts = gather(training(stack(9.0), x, x))
    assert facts.growth == pytest.approx(81, rel=1e-4)
    assert "exploding_gradient" in {f.kind for f in faults_of(facts)}
    assert gather(training(stack(1.0), x, x)).growth == pytest.approx(1, rel=1e-4)


def test_a_gradient_that_small_weights_lose_vanishes_though_all_weights_get_little_of_it():
    layers = [nn.Linear(4, 4, bias=False) for _ in range(6)]
    with cr.no_grad():
        for layer in layers:
            layer.weight[...] = 0.05 * np.eye(4, dtype=np.float32)
    x = RNG.normal(size=(40, 4))
    facts = gather(training(nn.Sequential(*layers), x, x))
    assert facts.gradient_ratio == pytest.approx(1, rel=0.1)
    assert facts.growth == pytest.approx(0.05**5, rel=1e-3)
    assert "vanishing_gradient" in {f.kind for f in faults_of(facts)}


def test_units_that_are_dead_from_the_start_are_counted_in_the_worst_layer():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
    with cr.no_grad():
        model[2].bias[...] = np.array([-99, -99, -99, 99], np.float32)
    facts = gather(training(model, RNG.uniform(size=(40, 2)), RNG.normal(size=(40, 1))))
    assert facts.dead_at_start == 0.75


def test_stuck_tanh_are_found_by_their_outputs():
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Tanh(), nn.Linear(2, 1))
    with cr.no_grad():
        model[0].weight[...] = np.array([[0.1], [100.0]], np.float32)
    x = np.repeat([[1.0], [-1.0]], 20, 0)
    ((layer, share),) = gather(training(model, x, x)).saturated
    assert (layer.path, share) == ("1", 0.5)


class Between(nn.Module):
    def __init__(self, function):
        self.first, self.second, self.function = nn.Linear(3, 8), nn.Linear(8, 1), function

    def forward(self, x):
        return self.second(self.function(self.first(x)))


@pytest.mark.parametrize(("function", "missing"), [(F.relu, False), (lambda x: x, True)])
def test_a_function_between_layers_counts_though_no_module_shows_it(function, missing):
    model = Between(function)
    facts = gather(training(model, RNG.normal(size=(40, 3)), RNG.normal(size=(40, 1))))
    kinds = {f.kind for f in faults_of(facts)}
    assert ("missing_hidden_activation" in kinds) == missing


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_order_of_the_rows_matters_only_if_it_stays(shuffle):
    x, y = RNG.normal(size=(60, 2)), np.repeat([0, 1, 2], 20)
    facts = gather(training(nn.Linear(2, 3), x, y, F.cross_entropy, shuffle=shuffle))
    assert ("data_not_shuffled" in {f.kind for f in faults_of(facts)}) != shuffle


def test_a_recurrent_layer_begins_again_with_orthogonal_weights_of_each_gate():
    x = RNG.normal(size=(20, 4, 2))
    model = nn.Sequential(nn.LSTM(2, 3))
    before = training(model, x, x)
    after = before.changed([Change("initialisation", "0", "glorot_uniform")])
    w = after.model[0].weight_hh_l0.numpy().reshape(4, 3, 3)
    np.testing.assert_allclose(w @ w.transpose(0, 2, 1), np.tile(np.eye(3), (4, 1, 1)), atol=1e-5)
    assert not after.model[0].bias_hh_l0.numpy().any()
    assert before.model[0].bias_hh_l0.numpy().any()


def test_layers_of_one_shape_do_not_begin_equal():
    x = RNG.normal(size=(20, 3))
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    changes = [Change("initialisation", path, "he_uniform") for path in ("0", "2")]
    one, two = (training(model, x, x).changed(changes).model for _ in range(2))
    assert not np.allclose(one[0].weight.numpy(), one[2].weight.numpy())
    np.testing.assert_array_equal(one[0].weight.numpy(), two[0].weight.numpy())


@pytest.mark.parametrize(
    ("rate", "around"), [(3e-3, {3e-5, 3e-4, 0.03, 0.3}), (3e-4, {3e-6, 3e-5, 0.003, 0.03})]
)
def test_rates_have_few_digits(rate, around):
    x = RNG.normal(size=(20, 3))
    facts = gather(training(nn.Linear(3, 3), x, x, lr=rate))
    facts.critical_rate = None
    assert {c.value for f in faults_of(facts) for c in f.changes if c.what == "rate"} == around


@pytest.mark.parametrize(("batch", "large"), [(64, True), (32, False)])
def test_a_batch_of_the_usual_size_is_not_too_large(batch, large):
    x = RNG.normal(size=(100, 3))
    facts = gather(training(nn.Linear(3, 3), x, x, batch=batch))
    assert ("batch_too_large" in {f.kind for f in faults_of(facts)}) == large


class Ended(nn.Module):
    def __init__(self, function):
        self.head, self.function = nn.Linear(3, 4), function

    def forward(self, x):
        return self.function(self.head(x))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (F.softmax, "Softmax"),
        (F.sigmoid, "Sigmoid"),
        (F.tanh, "Tanh"),
        (F.relu, "ReLU"),
        (lambda x: x, ""),
        (lambda x: 2 * x, ""),
    ],
)
def test_an_activation_of_the_output_is_known_though_it_is_a_call(function, name):
    x, y = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 4))
    assert gather(training(Ended(function), x, y)).called == name


def test_softmax_in_the_model_s_forward_is_a_double_softmax_whose_loss_is_exchanged():
    x, y = RNG.normal(size=(40, 3)), RNG.integers(0, 4, 40)
    facts = gather(training(Ended(F.softmax), x, y, F.cross_entropy))
    (fault,) = [f for f in faults_of(facts) if f.kind == "double_softmax"]
    assert fault.changes == (Change("loss", "loss", "cce_probs"),)


def test_a_quarter_of_the_critical_rate_is_tried_if_the_rate_is_far_below():
    """Of mean (w x − y)² with ∑ x² / N = 1 the second derivative is 2: the critical rate is 1."""
    x = np.where(np.arange(64)[:, None] % 2, 1.0, -1.0)
    for rate, tried in ((1e-5, True), (0.03, False), (20.0, True)):
        model = filled(nn.Linear(1, 1, bias=False), -0.5)  # worse than a constant
        facts = gather(training(model, x, 5 * x, lr=rate))
        rates = {c.value: f.kind for f in faults_of(facts) for c in f.changes if c.what == "rate"}
        kind = "lr_too_high" if rate > 1 else "lr_too_low"
        assert (rates.get(0.2) == kind) == tried  # 0.25 as one digit


def test_a_cause_has_no_infinite_score():
    x = RNG.normal(size=(40, 3))
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    for rate in (1e30, 5.0):
        facts = gather(training(model, x, x, lr=rate))
        (cause,) = [f.cause for f in faults_of(facts) if f.kind == "regularisation_too_strong"]
        assert "inf" not in cause


# ── first weights ────────────────────────────────────────────────────────────────────────────────


def faults_of_weights(model, columns, loss=F.mse_loss):
    x = RNG.normal(size=(40, columns))
    y = RNG.normal(size=(40, 1)) if loss is F.mse_loss else RNG.integers(0, 3, 40)
    return {f.kind: f for f in faults_of(gather(training(model, x, y, loss)))}


def filled(layer, value):
    with cr.no_grad():
        layer.weight[...] = value
    return layer


@pytest.mark.parametrize("value", [1e-3, 0.2, 1.0, 3.0])
def test_one_weight_is_small_or_large_by_chance(value):
    kinds = faults_of_weights(filled(nn.Linear(1, 1), value), 1)
    assert not kinds.keys() & {"init_too_small", "init_too_large", "init_symmetric"}


@pytest.mark.parametrize(("value", "kind"), [(0.001, "init_too_small"), (1.0, "init_too_large")])
def test_weights_that_are_all_the_same_number_have_a_size(value, kind):
    """Of 64 inputs and one unit: 1/√(3 · 64) = 0.0722, √(2 / 64) = 0.177."""
    fault = faults_of_weights(filled(nn.Linear(64, 1), value), 64)[kind]
    times = value / (0.0722 if value < 0.01 else 0.1768)
    assert fault.cause.startswith(f"the weights are {times:.2g} times as large as usual")


def test_weights_of_0_are_said_to_be_that():
    fault = faults_of_weights(filled(nn.Linear(4, 1), 0.0), 4)["init_too_small"]
    assert fault.cause.startswith("all weights of the layer are 0; the outputs")


def test_equal_units_that_get_other_gradients_do_not_stay_equal():
    """Those of a logistic regression, and those before weights that differ."""
    model = filled(nn.Linear(4, 3), 0.0)
    assert "init_symmetric" not in faults_of_weights(model, 4, F.cross_entropy)
    hidden, out = filled(nn.Linear(4, 8), 0.1), nn.Linear(8, 3)
    fault = faults_of_weights(nn.Sequential(hidden, nn.Tanh(), out), 4, F.cross_entropy)
    assert not fault["init_symmetric"].certain
    model = nn.Sequential(hidden, nn.Tanh(), filled(out, 0.1))
    assert faults_of_weights(model, 4, F.cross_entropy)["init_symmetric"].certain


def test_small_weights_that_differ_are_not_equal():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    for layer in (model[0], model[2]):
        filled(layer, 1e-8 * RNG.normal(size=layer.weight.shape).astype(np.float32))
    kinds = faults_of_weights(model, 4, F.cross_entropy)
    assert "init_symmetric" not in kinds
    assert "init_too_small" in kinds


# ── weight decay ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("library", [nn, torch.nn])
@pytest.mark.parametrize(
    ("decays", "place"),
    [((0.0, 0.0, 1.0), "4"), ((0.5, 0.5, 0.0), "optimizer"), ((1.0,), "optimizer")],
)
def test_weight_decay_that_one_layer_alone_has_is_placed_there(library, decays, place):
    layers = [library.Linear(*size) for size in ((4, 8), (8, 8), (8, 1))]
    model = library.Sequential(layers[0], library.Tanh(), layers[1], library.Tanh(), layers[2])
    groups = [
        {"params": [*layer.parameters()], "weight_decay": decay}
        for layer, decay in zip(layers, decays, strict=False)
    ]
    if len(decays) == 1:
        groups[0]["params"] = [*model.parameters()]
    x, y = (RNG.normal(size=(64, n)).astype(np.float32) for n in (4, 1))
    if library is nn:
        t = ModuleTraining(model, F.mse_loss, optim.Adam(groups, 1e-3), (x, y), (x, y), 16, 1)
    else:
        adam = torch.optim.Adam(groups, 1e-3)
        t = TorchTraining(model, torch.nn.MSELoss(), adam, (x, y), (x, y), 16, 1)
    facts = gather(t)
    (fault,) = [f for f in faults_of(facts) if f.kind == "regularisation_too_strong"]
    assert fault.place == place
    (change,) = fault.changes
    assert {g["weight_decay"] for g in t.changed([change]).optimizer.param_groups} == {0.0}
    assert in_words([change], facts) == f"no weight decay (now {max(decays):g})"
