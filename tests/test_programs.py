"""The programs of recipes (benchmarks/programs) against PyTorch."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import interop, nn
from programs import initial, losses, network, optimizers, torch_programs, training
from programs.program import Program
from recipes import IMAGES, TABLE, load

F = torch.nn.functional


def images_torch():
    layers = torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(36, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)

    def step(t, x, y):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + 0.05 * t)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x.permute(0, 3, 1, 2)), y)
        (loss + 0.01 * model[4].weight.square().sum()).backward()
        optimizer.step()
        return loss

    names = {"0": "0.0", "4": "3"}
    return model, step, names, lambda x: model(x.permute(0, 3, 1, 2))


def table_torch():
    layers = torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.BatchNorm1d(6, eps=1e-3)
    model = torch.nn.Sequential(*layers, torch.nn.Linear(6, 1), torch.nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), 0.02, eps=1e-5)

    def step(t, x, y):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy(model(x)[:, 0], y.to(x.dtype))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
        return loss

    return model, step, {"0": "0.0", "2": "1", "3": "3.0"}, model


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize(("recipe", "theirs"), [(IMAGES, images_torch), (TABLE, table_torch)])
def test_training_follows_pytorch(monkeypatch, recipe, theirs, backend):
    """Also the last batch, which has fewer rows, and several steps in one native call."""
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    model, step, names, predict = theirs()
    program = Program(recipe, load)
    built = program.build(5)
    weights = interop.torch.to_torch(built.model.layers)
    back = {ours: name for name, ours in names.items()}
    named = {f"{back[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v for k, v in weights.items()}
    model.load_state_dict(named)
    random, expected, t = np.random.default_rng(1005), [], 0
    data, batch = program.arrays, recipe["batch"]
    for _ in range(recipe["epochs"]):
        order, total = random.permutation(37), 0.0
        for k in range(0, 37, batch):
            rows = order[k : k + batch]
            loss = step(t, torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows]))
            total, t = total + float(loss.detach()) * len(rows), t + 1
        expected.append(total / 37)
    outcome = training.train(program, 5)
    np.testing.assert_allclose(outcome.losses, expected, rtol=2e-5)
    assert (outcome.steps, outcome.nonfinite_step, outcome.truncated) == (t, None, False)
    with torch.no_grad():
        out = predict(torch.from_numpy(data.x_test)) if model.eval() else None
    np.testing.assert_allclose(outcome.test_outputs, out.numpy(), rtol=1e-4, atol=1e-5)


def test_the_same_weights_in_both_libraries():
    """The network is that of `images_torch`, in the form of a collection's build.py."""
    model, *_ = images_torch()
    steps = [torch.nn.Module() for _ in range(4)]
    steps[0].op, steps[3].op = model[0], model[4]
    stored = torch.nn.Module()
    stored.steps = torch.nn.ModuleList(steps)
    built = Program(IMAGES, load).build()
    torch_programs.copy_weights(stored, built)
    x = built.arrays.x_test
    ours, theirs = built.model(x).numpy(), model(torch.from_numpy(x).permute(0, 3, 1, 2))
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_first_rows():
    rows = [r.tolist() for r in training.first_rows(5, 2, 3, False, np.random.default_rng(0))]
    assert rows == [[0, 1], [2, 3], [0, 1]]
    few = [r.tolist() for r in training.first_rows(2, 4, 2, False, np.random.default_rng(0))]
    assert few == [[0, 1], [0, 1]]


def test_a_loss_that_is_not_finite_ends_the_training():
    wild = {**IMAGES, "optimizer": {"name": "sgd", "lr": 1e30}, "loss": {"name": "mse"}}
    outcome = training.train(Program(wild, load))
    assert outcome.nonfinite_step == outcome.steps <= 3
    assert np.isnan(outcome.outputs).all()
    assert outcome.test_outputs.shape == (13, 3)


def test_a_training_that_takes_too_long_is_truncated():
    outcome = training.train(Program(TABLE, load), limit=0.0)
    assert outcome.truncated
    assert len(outcome.losses) == 1


def test_the_paths_of_parameters_begin_with_the_layer_of_the_recipe():
    built = Program(IMAGES, load).build()
    paths = [name for name, _ in built.model.named_parameters()]
    assert paths == [f"layers.{n}" for n in ("0.0.weight", "0.0.bias", "3.weight", "3.bias")]
    assert built.penalties == {"layers.3.weight": 0.01}


# ── layers ───────────────────────────────────────────────────────────────────────────────────────


def outputs(layers, x, train=False):
    model, _ = network.network(layers, x.shape[1:])
    (model.train if train else model.eval)()
    return model, model(x).numpy()


def test_an_lstm_follows_pytorch():
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    model, out = outputs([{"type": "lstm", "size": 5, "bidirectional": True}], x)
    theirs = torch.nn.LSTM(2, 5, batch_first=True, bidirectional=True)
    theirs.load_state_dict(
        {n: torch.tensor(p.numpy()) for n, p in model.layers[0].named_parameters()}
    )
    np.testing.assert_allclose(out, theirs(torch.from_numpy(x))[0].detach().numpy(), atol=1e-6)
    weights = dict(model.layers[0].named_parameters())
    states = weights["weight_hh_l0_reverse"].numpy().reshape(4, 5, 5)
    np.testing.assert_allclose(states @ states.transpose(0, 2, 1), [np.eye(5)] * 4, atol=1e-5)
    assert weights["bias_ih_l0"].numpy().tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10


def test_faults_of_evaluation():
    x = np.full((4, 3), 2.0, np.float32)
    dropped = [{"type": "dropout", "rate": 0.5, "test_rate": 0.25}]
    np.testing.assert_array_equal(outputs(dropped, x)[1], np.full((4, 3), 1.5))
    assert set(np.unique(outputs(dropped, x, train=True)[1])) <= {0.0, 4.0}
    frozen = [{"type": "batchnorm", "frozen_statistics": True}]
    model, out = outputs(frozen, x, train=True)
    np.testing.assert_array_equal(out, np.zeros((4, 3)))
    assert model.layers[0].running_mean.numpy().tolist() == [0.0] * 3


def test_activations():
    x = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    alone = {
        name: outputs([{"type": "activation", "activation": name}], x)[1]
        for name in network.ACTIVATIONS
    }
    t = torch.from_numpy(x)
    expected = {
        "linear": t,
        "relu": t.relu(),
        "sigmoid": t.sigmoid(),
        "tanh": t.tanh(),
        "exponential": t.exp(),
        "elu": F.elu(t),
        "selu": F.selu(t),
        "softmax": t.softmax(1),
        "softmax_over_batch": t.softmax(0),
    }
    assert alone.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(alone[name], values.numpy(), rtol=1e-6, err_msg=name)


def test_an_image_as_output_is_flattened_channels_first():
    x = np.arange(2 * 2 * 3 * 2, dtype=np.float32).reshape(2, 2, 3, 2)
    _, out = outputs([{"type": "activation", "activation": "linear"}], x)
    np.testing.assert_array_equal(out, np.moveaxis(x, -1, 1).reshape(2, 12))


SPREADS = {
    "glorot_uniform": (2 / 250) ** 0.5,
    "glorot_normal": (2 / 250) ** 0.5,
    "he_uniform": (2 / 50) ** 0.5,
    "he_normal": (2 / 50) ** 0.5,
    "uniform(0.3)": 0.3 / 3**0.5,
    "normal(0.3)": 0.3,
    "trunc_normal(0.3)": 0.3 * 0.8796,  # of a normal distribution that ends at two of its spreads
    "constant(0.3)": 0.0,
    "zeros": 0.0,
}


def test_initial_weights():
    assert {text.partition("(")[0] for text in SPREADS} == set(initial.NAMES)
    cr.random.seed(0)
    for text, spread in SPREADS.items():
        t = cr.zeros((200, 50))
        initial.fill(t, text, 50, 200)
        values = t.numpy()
        assert values.std() == pytest.approx(spread, rel=0.03, abs=1e-6), text
        assert values.mean() == pytest.approx(0.3 if "const" in text else 0, abs=0.02), text
        if "uniform" in text:
            assert abs(values).max() == pytest.approx(3**0.5 * spread, rel=0.01), text
        if "trunc" in text:
            assert abs(values).max() <= 0.6


# ── losses, with PyTorch in float64 ──────────────────────────────────────────────────────────────

ODDS, TWO, SIGNED = (4, 3), (4, 1), (4, 2)
CLASSES, BINARY = torch.tensor([0, 2, 1, 2]), torch.tensor([0, 1, 1, 0])
FLOATS = torch.tensor([[0.2, 1.5], [0.0, -1.0], [3.0, 0.5], [1.0, 0.3]], dtype=torch.float64)
STEPS = torch.tensor([[0, 2, -1], [1, -1, -1]])


def one_hot(y, k):
    return F.one_hot(y, k).double()


def log_of_share(p):
    return (p / p.sum(-1, keepdim=True)).log()


def binary(p, y):
    return F.binary_cross_entropy(p, y, reduction="none")


LOSSES = [
    ({"name": "cce_probs"}, ODDS, CLASSES, lambda p, y: F.nll_loss(log_of_share(p), y)),
    ({"name": "cce_log"}, ODDS, CLASSES, lambda p, y: F.nll_loss(p.log(), y)),
    ({"name": "cce_clip"}, ODDS, CLASSES, lambda p, y: F.nll_loss(p.log(), y)),
    ({"name": "cce_logits"}, ODDS, CLASSES, F.cross_entropy),
    ({"name": "cce_logits"}, SIGNED, FLOATS, F.cross_entropy),
    (
        {"name": "cce_logits", "reduction": "sum"},
        ODDS,
        CLASSES,
        lambda p, y: F.cross_entropy(p, y, reduction="sum"),
    ),
    (
        {"name": "cce_logits", "reduction": "sum_over_rows"},
        ODDS,
        CLASSES,
        lambda p, y: F.cross_entropy(p, y, reduction="sum") / 3,
    ),
    (
        {"name": "cce_logits", "reduction": "broadcast"},
        ODDS,
        CLASSES,
        lambda p, y: sum(F.cross_entropy(p, y.roll(k)) for k in range(4)) / 4 / 3,
    ),
    (
        {"name": "cce_logits"},
        (2, 3, 3),
        STEPS,
        lambda p, y: F.cross_entropy(p.flatten(0, 1), y.flatten(), ignore_index=-1),
    ),
    (
        {"name": "cce_probs", "reduction": "sum"},
        (2, 3, 3),
        STEPS,
        lambda p, y: F.nll_loss(
            log_of_share(p).flatten(0, 1), y.flatten(), ignore_index=-1, reduction="sum"
        ),
    ),
    ({"name": "bce_probs"}, TWO, BINARY, lambda p, y: binary(p, y[:, None].double()).mean()),
    (
        {"name": "bce_logits"},
        TWO,
        BINARY,
        lambda p, y: F.binary_cross_entropy_with_logits(p, y[:, None].double()),
    ),
    ({"name": "bce_one_hot"}, ODDS, CLASSES, lambda p, y: binary(p, one_hot(y, 3)).mean()),
    ({"name": "bce_one_hot_log"}, ODDS, CLASSES, lambda p, y: binary(p, one_hot(y, 3)).mean()),
    (
        {"name": "bce_one_hot_log", "clip": 0.4},
        ODDS,
        CLASSES,
        lambda p, y: -torch.where(one_hot(y, 3) > 0, p, 1 - p).clamp(min=0.4).log().mean(),
    ),
    ({"name": "mse"}, SIGNED, FLOATS, F.mse_loss),
    ({"name": "mse"}, ODDS, CLASSES, lambda p, y: F.mse_loss(p, one_hot(y, 3))),
    ({"name": "mae"}, SIGNED, FLOATS, F.l1_loss),
    (
        {"name": "mse", "reduction": "sum"},
        SIGNED,
        FLOATS,
        lambda p, y: F.mse_loss(p, y, reduction="sum"),
    ),
    (
        {"name": "mae", "reduction": "broadcast"},
        TWO,
        FLOATS[:, :1],
        lambda p, y: sum(F.l1_loss(p, y.roll(k, 0)) for k in range(4)) / 4,
    ),
    ({"name": "neg_y_log"}, SIGNED, FLOATS, lambda p, y: -(y * p.log()).sum()),
]


@pytest.mark.parametrize(("spec", "shape", "y", "expected"), LOSSES)
def test_losses(spec, shape, y, expected):
    p = torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p = (0.1 + 0.8 * p).requires_grad_()
    value = expected(p, y)
    value.backward()
    function = losses.loss(spec)
    ours, slope = cr.value_and_grad(lambda p: function(p, cr.Tensor(y.numpy())))(
        cr.Tensor(p.detach().numpy())
    )
    np.testing.assert_allclose(float(ours), float(value.detach()), rtol=1e-12)
    np.testing.assert_allclose(slope.numpy(), p.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_every_loss_is_tested():
    names = {*losses.LOG_PROBABILITIES, *losses.PER_ELEMENT}
    assert names == {spec["name"] for spec, *_ in LOSSES}


def test_logits_of_any_size():
    """Also for targets that are no probabilities, as a wrong loss has them."""
    p = torch.tensor([[-200.0], [-1.0], [0.0], [30.0]], requires_grad=True)
    y = torch.tensor([[0.0], [2.0], [-3.0], [1.0]])
    value = F.binary_cross_entropy_with_logits(p, y)
    value.backward()
    function = losses.loss({"name": "bce_logits"})
    ours, slope = cr.value_and_grad(lambda p: function(p, cr.Tensor(y.numpy())))(
        cr.Tensor(p.detach().numpy())
    )
    assert float(ours) == pytest.approx(float(value.detach()), rel=1e-6)
    np.testing.assert_allclose(slope.numpy(), p.grad.numpy(), rtol=1e-6)


def test_protected_and_unprotected_logarithms():
    p, y = cr.Tensor([[0.0, 1.0]]), cr.Tensor([0])
    found = {name: float(losses.loss({"name": name})(p, y)) for name in losses.LOG_PROBABILITIES}
    assert found["cce_probs"] == pytest.approx(-np.log(1e-7), rel=1e-6)
    assert found["cce_clip"] == pytest.approx(-np.log(1e-32), rel=1e-6)
    assert found["cce_log"] == np.inf


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_ascent_is_descent_of_the_negative_loss(name):
    def trained(ascent, sign):
        model = nn.Linear(3, 1)
        model.load_state_dict({"weight": np.ones((1, 3)), "bias": np.zeros(1)})
        optimizer = optimizers.optimizer({"name": name, "lr": 0.1, "ascent": ascent}, model)
        for _ in range(3):
            (sign * cr.sum(model(cr.Tensor([[1.0, 2.0, 3.0]])) ** 2)).backward()
            optimizer.step()
        return model.weight.numpy()

    np.testing.assert_array_equal(trained(True, 1.0), trained(False, -1.0))
    assert (trained(True, 1.0) != trained(False, 1.0)).any()


def test_augmented_images():
    x = np.zeros((2, 4, 6, 1), np.float32)
    spec = {"noise": 0.5, "probability": 1.0, "erase_probability": 0.0, "erase_area": [0.25, 0.25]}
    noisy = training.augmented(x, spec, np.random.default_rng(0))
    expected = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 1, 4, 6))
    np.testing.assert_allclose(noisy[..., 0], expected[:, 0], rtol=1e-6)
    spec.update(probability=0.0, erase_probability=1.0)
    erased = training.augmented(x, spec, np.random.default_rng(0))
    rows, columns = np.nonzero(erased[0, ..., 0])
    assert (rows.max() - rows.min(), columns.max() - columns.min()) == (1, 2)  # 2 × 3 of 4 × 6
    assert erased.sum() == 2 * 6
