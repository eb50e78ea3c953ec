"""Emitted source: run with NumPy alone, it gives the loss, the gradients and the step of eager."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional
from sources import agrees, agrees_with_eager, emitted, in_float64, run


@pytest.fixture(autouse=True)
def seed():
    cr.random.seed(0)


def normal(*shape):
    return cr.random.normal(shape, dtype=cr.float64)


def classes(count, *shape):
    return cr.random.integers(0, count, shape)


class Attend(nn.Module):
    """Attention whose weights are asked for, with a mask."""

    def __init__(self):
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x):
        mask = cr.Tensor(~np.tri(x.shape[1], dtype=bool))  # where attending is not allowed
        return self.attention(x, x, x, attn_mask=mask)[0]


class Recurrent(nn.Module):
    def __init__(self, layer):
        self.layer, self.head = layer, nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Bag(nn.Module):
    def __init__(self, **settings):
        self.table, self.head = nn.Embedding(11, 4, **settings), nn.Linear(4, 3)

    def forward(self, i):
        return self.head(self.table(i).mean(axis=1))


squash = cr.defop("squash", lambda x: x / np.sqrt(1 + x * x), lambda x: (1 + x * x) ** -1.5)


class Squash(nn.Module):
    def forward(self, x):
        return squash(x)


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 3, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 3),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


NETWORKS = {  # a network of three classes, and the shape of its input
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)), (5, 3)),
    "lenet": (lenet, (5, 12, 12, 1)),
    "lstm": (lambda: Recurrent(nn.LSTM(3, 4)), (5, 12, 3)),
    "gru": (lambda: Recurrent(nn.GRU(3, 4, num_layers=2)), (5, 4, 3)),
    "rnn": (lambda: Recurrent(nn.RNN(3, 4)), (5, 4, 3)),
    "transformer": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1), nn.Flatten(), nn.Linear(32, 3)
        ),
        (5, 4, 8),
    ),
    "attention": (lambda: nn.Sequential(Attend(), nn.Flatten(), nn.Linear(32, 3)), (5, 4, 8)),
    "batch norm": (
        lambda: nn.Sequential(
            nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 3)
        ),
        (5, 3),
    ),
    "images normalized": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 4, 3, groups=2, stride=2, padding=1, bias=False),
            nn.GroupNorm(2, 4),
            nn.SiLU(),
            nn.BatchNorm2d(4),
            nn.Flatten(),
            nn.Linear(64, 3),
        ),
        (5, 7, 7, 4),
    ),
    "a user's operation": (
        lambda: nn.Sequential(nn.Linear(3, 4), Squash(), nn.Linear(4, 3)),
        (5, 3),
    ),
    "dropout": (
        lambda: nn.Sequential(
            nn.Linear(3, 8), nn.LayerNorm(8), nn.Dropout(0.5), nn.Softplus(), nn.Linear(8, 3)
        ),
        (5, 3),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_and_a_step_of_adam(name):
    build, shape = NETWORKS[name]
    model = in_float64(build())
    optimizer = optim.Adam(model.parameters())
    agrees_with_eager(
        lambda x, y: functional.cross_entropy(model(x), y),
        normal(*shape),
        classes(3, 5),
        model=model,
        optimizer=optimizer,
    )


def test_attention_is_two_functions():
    """With masks of both kinds, and from the derivative of the derivative."""
    model = in_float64(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0))
    allowed = cr.Tensor(np.tri(4, dtype=bool))
    added = cr.Tensor(np.random.default_rng(0).normal(size=(4, 4)))
    x = normal(2, 4, 8)
    for mask in (None, allowed, added):
        source = agrees_with_eager(
            lambda x, mask=mask: (model(x, src_mask=mask) ** 3).mean(), x, model=model
        )
        assert "def attention(" in source
        assert "def attention_derivative(" in source

    def attend(q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    q, k, v = normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 2)
    agrees_with_eager(lambda q, k, v: (attend(q, k, v) ** 2).sum(), q, k, v)
    k, v = k.detach(), v.detach()
    agrees_with_eager(
        lambda q: (cr.grad(lambda z: (attend(z, k, v) ** 2).sum())(q) ** 2).sum(), q.detach()
    )


def test_statistics_that_only_the_update_needs():
    norm, head = nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2)
    model = in_float64(nn.Sequential(norm, head))
    source = agrees_with_eager(lambda x: (model(x) ** 2).mean(), normal(5, 3), model=model)
    assert "batchnorm1d_0, mean, variance = standardise(" in source


def test_a_network_in_single_precision():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 3))
    adam = optim.Adam(model.parameters(), eps=1e-4)
    agrees_with_eager(
        lambda x, y: functional.cross_entropy(model(x), y),
        cr.random.normal((5, 3)),
        classes(3, 5),
        model=model,
        optimizer=adam,
    )


def test_a_checkpoint_of_a_network_is_computed_again():
    model = in_float64(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    again = cr.checkpoint(model)
    agrees_with_eager(lambda x: (again(x) ** 2).mean(), normal(5, 3), model=model)


# ── optimizers ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "build",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.RMSprop(p, lr=0.01),
        lambda p: optim.Adam(p, lr=0.01),
        lambda p: optim.AdamW(p, lr=0.01),
        lambda p: optim.Adagrad(p, lr=0.01),
    ],
)
def test_a_second_step_of_an_optimizer(build, sparse):
    if sparse:
        model, x = in_float64(Bag()), classes(11, 6, 4)
    else:
        model, x = in_float64(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))), None
        x = normal(6, 3)
    y = classes(3, 6)

    def loss(x, y):
        return functional.cross_entropy(model(x), y)

    optimizer = build(model.parameters())
    loss(x, y).backward()
    optimizer.step()
    agrees_with_eager(loss, x, y, model=model, optimizer=optimizer)


def test_groups_of_parameters_keep_their_settings_apart():
    one, two = in_float64(nn.Linear(3, 4)), in_float64(nn.Linear(4, 1))
    model = nn.Sequential(one, nn.Tanh(), two)
    groups = [
        {"params": one.parameters(), "lr": 0.1},
        {"params": two.parameters(), "lr": 0.01, "betas": (0.8, 0.9)},
    ]
    optimizer, x = optim.Adam(groups), normal(5, 3)
    (one(x) ** 2).mean().backward()
    optimizer.step()  # the count of steps of the second group begins later
    source, arrays = emitted(lambda x: (model(x) ** 2).mean(), x, optimizer=optimizer)
    _, _, updated = run(source, arrays)
    (model(x) ** 2).mean().backward()
    optimizer.step()
    for name, p in model.named_parameters():
        agrees(updated[name], p.numpy(), name)
    assert float(updated["step"]) == 2
    assert float(updated["step_2"]) == 1


def test_a_training_step_says_what_it_updates():
    model = in_float64(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        loss = (model(x) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        return loss

    x = normal(5, 3)
    source, arrays = emitted(step, x)
    _, gradients, updated = run(source, arrays)
    step(x)
    for name, p in model.named_parameters():
        agrees(updated[name], p.numpy(), name)
        agrees(gradients[name], p.grad.numpy(), name)
    assert "    lr = 0.1\n" in source  # a setting is a number in the source
    assert "lr" not in arrays


# ── losses ───────────────────────────────────────────────────────────────────────────────────────

LOSSES = {
    "cross_entropy, smoothed": lambda x, y, t: functional.cross_entropy(x, y, label_smoothing=0.1),
    "cross_entropy, ignored": lambda x, y, t: functional.cross_entropy(x, y, ignore_index=1),
    "cross_entropy, weighted": lambda x, y, t: functional.cross_entropy(
        x, y, weight=cr.Tensor(np.array([0.2, 1.0, 3.0])), label_smoothing=0.1
    ),
    "cross_entropy, of probabilities": lambda x, y, t: functional.cross_entropy(x, cr.softmax(t)),
    "binary_cross_entropy": lambda x, y, t: functional.binary_cross_entropy(
        cr.sigmoid(x), cr.sigmoid(t)
    ),
    "binary_cross_entropy_with_logits": lambda x, y, t: functional.binary_cross_entropy_with_logits(
        x, cr.sigmoid(t)
    ),
    "mse_loss": lambda x, y, t: functional.mse_loss(x, t),
    "l1_loss": lambda x, y, t: functional.l1_loss(x, t),
    "huber_loss": lambda x, y, t: functional.huber_loss(x, t, delta=0.3),
    "smooth_l1_loss": lambda x, y, t: functional.smooth_l1_loss(x, t),
    "kl_div": lambda x, y, t: functional.kl_div(
        cr.log_softmax(x), cr.softmax(t), reduction="batchmean"
    ),
    "nll_loss": lambda x, y, t: functional.nll_loss(cr.log_softmax(x), y),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss(name):
    y, t = classes(3, 6), normal(6, 3).numpy()
    agrees_with_eager(lambda x: LOSSES[name](x, y, cr.Tensor(t)), normal(6, 3))


def test_labels_that_are_ignored_may_change():
    """The source holds for labels other than those of the sample."""
    x, y = normal(4, 3), cr.Tensor(np.array([0, -100, 2, 1]))
    source, arrays = emitted(lambda x, y: functional.cross_entropy(x, y), x, y)
    for labels in ([2, 2, -100, 0], [-100, -100, -100, -100]):
        arrays["y"] = np.array(labels)
        loss, gradients = run(source, arrays)
        t = torch.tensor(x.numpy(), requires_grad=True)
        expected = torch.nn.functional.cross_entropy(t, torch.tensor(labels), reduction="sum")
        expected = expected / max(1, sum(label >= 0 for label in labels))
        expected.backward()
        agrees(loss, expected.detach().numpy())
        agrees(gradients["x"], t.grad.numpy())


# ── functions ────────────────────────────────────────────────────────────────────────────────────

FUNCTIONS = {
    "sum": lambda x: x.sum(),
    "one element": lambda x: x[1, 2],
    "broadcast": lambda x: (x[:, None] + x[None]).sum() + (x[0, 0] * cr.ones((2, 3))).sum(),
    "reductions": lambda x: (
        cr.prod(x, axis=1).sum() + cr.max(x, axis=0).sum() + cr.std(x) + cr.mean(x, axis=0)[1]
    ),
    "scans": lambda x: (
        (cr.cumulative_sum(x, axis=0) ** 2).mean() + cr.cumulative_prod(x, axis=1).mean()
    ),
    "sort": lambda x: cr.sort(x, axis=1)[:, 1].sum() + cr.sort(x, axis=0, descending=True)[0, 0],
    "norm": lambda x: cr.norm(x) + cr.norm(x, axis=1).sum(),
    "masks": lambda x: cr.where((x > 0) & (x < 1) | (x == 2), x, x * x).sum(),
    "whole numbers": lambda x: (
        x * (cr.argmax(x, axis=1) % 2 + 1).astype(cr.float64)[:, None]
    ).sum(),
    "take": lambda x: (x[cr.Tensor(np.array([0, -1, 0]))] ** 2).sum() + cr.take(x, 1, axis=1).sum(),
    "scan": lambda x: cr.scan(lambda h, row: (cr.tanh(h * row), h.sum()), x[0], x)[1].sum(),
    "scan, backwards": lambda x: cr.scan(
        lambda h, row: (cr.tanh(h * row + x[1]), None), x[0], x, reverse=True
    )[0].sum(),
    "scan in a scan": lambda x: cr.scan(
        lambda h, row: (cr.scan(lambda g, r: (g * r, g), h, x)[0] + row, None), x[0], x
    )[0].sum(),
    "scan in chunks": lambda x: cr.scan(
        lambda h, row: (cr.tanh(h * row), h), x[0], x, checkpoint_every=2
    )[1].sum(),
    "checkpoint": lambda x: cr.checkpoint(lambda z: cr.sin(z) * cr.exp(z))(x).sum(),
    "custom_vjp": lambda x: (
        cr.custom_vjp(lambda z: z * 2, lambda g, y, z: (g * cr.cos(z),))(x) ** 2
    ).sum(),
    "grad": lambda x: (cr.grad(lambda z: (cr.sin(z) * z).sum())(x) ** 2).sum(),
    "grad of grad": lambda x: cr.hessian(lambda z: (cr.sin(z) ** 3).sum())(x[0]).sum(),
    "grad of scan": lambda x: (
        cr.grad(lambda z: cr.scan(lambda h, r: (cr.tanh(h * r), None), z[0], z)[0].sum())(x) ** 2
    ).sum(),
    "constants": lambda x: (
        (x @ cr.Tensor(np.arange(300.0).reshape(3, 100) / 100)).sum()
        + (x * cr.Tensor(np.array([[1.0, -2.5, 0.1]]))).sum()
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function(name):
    agrees_with_eager(lambda x: FUNCTIONS[name](x), normal(5, 3))


# ── alone ────────────────────────────────────────────────────────────────────────────────────────

ALONE = """
import sys

sys.modules["chainrule"] = None  # importing it is an error
import numpy as np
from network import loss_and_gradients

loss, gradients = loss_and_gradients(**np.load("arrays.npz"))
np.savez("found.npz", loss=loss, **gradients)
assert not any(name.startswith("chainrule.") for name in sys.modules)
"""


def test_a_file_runs_in_a_process_without_this_library(tmp_path):
    model = in_float64(lenet())
    source, arrays = emitted(lambda x: (model(x) ** 2).mean(), normal(2, 12, 12, 1))
    (tmp_path / "network.py").write_text(source)
    (tmp_path / "alone.py").write_text(ALONE)
    np.savez(tmp_path / "arrays.npz", **arrays)
    subprocess.run([sys.executable, "alone.py"], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npz")
    loss, gradients = run(source, arrays)
    agrees(found["loss"], loss)
    for name in gradients:
        agrees(found[name], gradients[name])
