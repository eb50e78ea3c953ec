"""Emitted source against PyTorch in float64: the loss, all gradients and a step of Adam.

Each network is written once more, as functions of PyTorch on the same parameters, masks and data.
"""

import math

import numpy as np
import pytest
import torch
from test_source import NETWORKS, Bag, classes, lenet, normal
from torch.nn import functional as t

import chainrule as cr
from chainrule import optim
from chainrule.nn import functional
from sources import agrees, emitted, in_float64, run


def linear(p, path, x):
    return t.linear(x, p[f"{path}.weight"], p.get(f"{path}.bias"))


def images(p, x):
    """Ours have channels last, in kernels and in images."""

    def convolved(path, x, padding):
        return t.conv2d(x, p[f"{path}.weight"].permute(3, 2, 0, 1), p[f"{path}.bias"], 1, padding)

    x = t.avg_pool2d(convolved("0", x.permute(0, 3, 1, 2), 2).tanh(), 2)
    x = t.max_pool2d(convolved("3", x, 0).tanh(), 2).permute(0, 2, 3, 1).flatten(1)
    return linear(p, "9", linear(p, "7", x).relu())


def recurrent(layer):
    def logits(p, x):
        own = {k.removeprefix("layer."): v for k, v in p.items() if k.startswith("layer.")}
        return linear(p, "head", torch.func.functional_call(layer, own, (x,))[0][:, -1])

    return logits


def transformer(p, x):
    """Two heads of four; the masks are those of the dropouts."""

    def dropped(mask, x):
        return torch.where(p[mask], x / 0.9, 0)

    def normalized(path, x):
        return t.layer_norm(x, (8,), p[f"{path}.weight"], p[f"{path}.bias"])

    own = "0.self_attn"
    parts = t.linear(x, p[f"{own}.in_proj_weight"], p[f"{own}.in_proj_bias"]).chunk(3, -1)
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in parts)
    weights = dropped(f"{own}.mask", (q @ k.mT / math.sqrt(4)).softmax(-1))
    y = linear(p, f"{own}.out_proj", (weights @ v).transpose(1, 2).flatten(2))
    x = normalized("0.norm1", x + dropped("0.dropout.mask", y))
    y = dropped("0.dropout.mask_2", linear(p, "0.linear1", x).relu())
    y = dropped("0.dropout.mask_3", linear(p, "0.linear2", y))
    return linear(p, "2", normalized("0.norm2", x + y).flatten(1))


def batch_normalized(p, x):
    y = t.batch_norm(linear(p, "0", x), None, None, p["1.weight"], p["1.bias"], training=True)
    return linear(p, "3", t.gelu(y))


def dropout(p, x):
    y = t.layer_norm(linear(p, "0", x), (8,), p["1.weight"], p["1.bias"])
    return linear(p, "4", t.softplus(torch.where(p["2.mask"], y * 2, 0)))


def squashed(p, x):
    y = linear(p, "0", x)
    return linear(p, "2", y / (1 + y * y).sqrt())


torch.manual_seed(0)
PYTORCH = {
    "mlp": lambda p, x: linear(p, "2", linear(p, "0", x).relu()),
    "lenet": images,
    "lstm": recurrent(torch.nn.LSTM(3, 4, batch_first=True)),
    "gru": recurrent(torch.nn.GRU(3, 4, num_layers=2, batch_first=True)),
    "transformer": transformer,
    "batch norm": batch_normalized,
    "dropout": dropout,
    "a user's operation": squashed,
    "embedding": lambda p, i: linear(p, "head", t.embedding(i, p["table.weight"]).mean(1)),
}


# The gradient of a key's bias is 0; by a small eps its rounding would become a large step.
ADAM = {"lr": 1e-2, "eps": 1e-4}


def compare(model, loss, expected_loss, *args):
    """The program of `loss` and the same in PyTorch: `expected_loss` of all arrays by name."""
    source, arrays = emitted(loss, *args, optimizer=optim.Adam(model.parameters(), **ADAM))
    found, gradients, updated = run(source, arrays)
    theirs = {k: torch.tensor(v) for k, v in arrays.items() if "/" not in k}
    parameters = {k: theirs[k].requires_grad_() for k in gradients}
    adam = torch.optim.Adam(parameters.values(), **ADAM)
    expected = expected_loss(theirs)
    expected.backward()
    agrees(found, expected.detach().numpy())
    adam.step()
    for name, p in parameters.items():
        agrees(gradients[name], p.grad.numpy(), name)
        agrees(updated[name], p.detach().numpy(), name)


@pytest.mark.parametrize("name", PYTORCH)
def test_a_network_agrees_with_pytorch(name):
    cr.random.seed(0)
    build, shape = NETWORKS.get(name, (Bag, (5, 4)))
    model = in_float64(build())
    x = classes(11, *shape) if name == "embedding" else normal(*shape)
    settings = {"label_smoothing": 0.1, "ignore_index": 1}
    compare(
        model,
        lambda x, y: functional.cross_entropy(model(x), y, **settings),
        lambda p: t.cross_entropy(PYTORCH[name](p, p["x"]), p["y"], **settings),
        x,
        cr.Tensor(np.array([0, 2, 1, 1, 2])),
    )


def test_a_penalty_on_a_gradient_agrees_with_pytorch():
    model = in_float64(lenet())

    def penalty(x):
        return (cr.grad(lambda z: (model(z) ** 2).sum())(x) ** 2).sum()

    def expected(p):
        x = p["x"].requires_grad_()
        (slope,) = torch.autograd.grad((images(p, x) ** 2).sum(), x, create_graph=True)
        return (slope**2).sum()

    compare(model, penalty, expected, normal(2, 12, 12, 1))
