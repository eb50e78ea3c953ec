"""Random networks and random programs: their emitted source gives what eager mode does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional
from fuzzing import Program
from sources import agrees, agrees_with_eager, dense, emitted, in_float64, run

LAYERS = {
    "linear": lambda n: nn.Linear(n, n),
    "no bias": lambda n: nn.Linear(n, n, bias=False),
    "relu": lambda n: nn.ReLU(),
    "leaky": lambda n: nn.LeakyReLU(0.1),
    "elu": lambda n: nn.ELU(),
    "tanh": lambda n: nn.Tanh(),
    "sigmoid": lambda n: nn.Sigmoid(),
    "gelu": lambda n: nn.GELU(),
    "silu": lambda n: nn.SiLU(),
    "softmax": lambda n: nn.Softmax(-1),
    "layer norm": lambda n: nn.LayerNorm(n),
    "batch norm": lambda n: nn.BatchNorm1d(n),
    "dropout": lambda n: nn.Dropout(0.4),
    "residual": lambda n: Residual(nn.Sequential(nn.Linear(n, n), nn.Tanh())),
    "shared": lambda n: Twice(nn.Linear(n, n)),
}
LOSSES = {
    "cross_entropy": lambda x, y, t: functional.cross_entropy(x, y),
    "smoothed": lambda x, y, t: functional.cross_entropy(x, y, label_smoothing=0.2, ignore_index=0),
    "mse": lambda x, y, t: functional.mse_loss(x, t),
    "sum": lambda x, y, t: functional.mse_loss(x, t, reduction="sum"),
    "huber": lambda x, y, t: functional.huber_loss(x, t),
    "bce": lambda x, y, t: functional.binary_cross_entropy_with_logits(x, cr.sigmoid(t)),
}


class Residual(nn.Module):
    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Twice(nn.Module):
    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return self.inner(cr.tanh(self.inner(x)))


@settings(max_examples=60)
@given(
    layers=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=5),
    loss=st.sampled_from(sorted(LOSSES)),
    width=st.integers(1, 4),
    rows=st.integers(2, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_random_network(layers, loss, width, rows, seed):
    cr.random.seed(seed)
    parts = [nn.Linear(3, width), *(LAYERS[name](width) for name in layers), nn.Linear(width, 3)]
    model = in_float64(nn.Sequential(*parts))
    x = cr.random.normal((rows, 3), dtype=cr.float64)
    y = cr.random.integers(0, 3, (rows,))
    t = cr.Tensor(np.random.default_rng(seed).normal(size=(rows, 3)))
    # What is a rounding error of 0 must not become a large step, as it would by a small eps.
    optimizer = optim.Adam(model.parameters(), lr=0.01, eps=1e-2)
    agrees_with_eager(lambda x: LOSSES[loss](model(x), y, t), x, model=model, optimizer=optimizer)


@pytest.mark.parametrize("seed", range(60))
def test_a_random_program(seed):
    program = Program(seed)
    body = program.chain(program.pick(1, 2, 3), 0)
    s, _ = program.start()
    x = cr.Tensor(program.inputs[0])

    def loss(x):
        y = body(s, x)
        return (y * y).mean() + sum((s[k] ** 2).sum() for k in ("w", "v", "table"))

    found, gradients, *updated = run(*emitted(loss, x))
    expected = loss(x)
    expected.backward()
    agrees(found, expected.numpy())
    assert {*gradients} == {"s.w", "s.v", "s.table"}
    for k in ("w", "v", "table"):
        agrees(gradients[f"s.{k}"], dense(s[k].grad), k)
    if updated:
        agrees(updated[0]["s.buffer"], s["buffer"].numpy())
