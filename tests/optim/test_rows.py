"""Optimizers on tables with row-sparse gradients, against the same steps in NumPy and PyTorch."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

torch = pytest.importorskip("torch")

ROWS, COLUMNS, STEPS, BATCH = 300, 3, 8, 20
RNG = np.random.default_rng(0)
START = RNG.normal(size=(ROWS, COLUMNS))
READ = [RNG.choice(ROWS, BATCH // 2).repeat(2) for _ in range(STEPS)]  # each row twice or more
READ[1][:3] = READ[0][:3] = 7
WEIGHTS = RNG.normal(size=(STEPS, BATCH, COLUMNS))


def trained(kind, compiled, dtype=np.float64, clip=None, **settings):
    """The table after some steps of the loss ∑ w · row²."""
    table = nn.Parameter(START.astype(dtype))
    optimizer = kind([table], **settings)

    def step(rows, weights):
        taken = cr.take(table, rows, axis=0)
        loss = (weights * taken * taken).sum()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_([table], clip)
        optimizer.step()
        return loss

    step = cr.compile(step) if compiled else step
    for rows, weights in zip(READ, WEIGHTS, strict=True):
        step(cr.Tensor(rows), cr.Tensor(weights.astype(dtype)))
    return table.numpy()


def dense(p, rows, weights):
    """The gradient as one array: each row's entries added."""
    g = np.zeros_like(p)
    np.add.at(g, rows, 2 * weights * p[rows])
    return g


def sgd(p, g, s, t, lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        s["v"] = momentum * s.get("v", 0) + g * (1 - dampening * (t > 1))
        g = g + momentum * s["v"] if nesterov else s["v"]
    return p - lr * g


def adagrad(p, g, s, t, lr=0.1, lr_decay=0.0, weight_decay=0.0):
    g = g + weight_decay * p
    s["sum"] = s.get("sum", 0) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["sum"]) + 1e-10)


def adam(p, g, s, t, lr=0.1, weight_decay=0.0, decoupled=False):
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["m"], s["v"] = 0.9 * s.get("m", 0) + 0.1 * g, 0.999 * s.get("v", 0) + 0.001 * g * g
    m, v = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)
    return p - lr * m / (np.sqrt(v) + 1e-8)


def adamw(p, g, s, t, lr=0.1, weight_decay=0.0):
    return adam(p, g, s, t, lr, weight_decay, decoupled=True)


CASES = {
    "plain": (optim.SGD, sgd, {}),
    "decayed": (optim.SGD, sgd, {"weight_decay": 0.1}),
    "momentum": (optim.SGD, sgd, {"momentum": 0.9}),
    "dampened": (optim.SGD, sgd, {"momentum": 0.9, "dampening": 0.3}),
    "nesterov": (optim.SGD, sgd, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adagrad": (optim.Adagrad, adagrad, {"lr_decay": 0.01, "weight_decay": 0.1}),
    "adam": (optim.Adam, adam, {}),
    "adam, decayed": (optim.Adam, adam, {"weight_decay": 0.1}),
    "adamw": (optim.AdamW, adamw, {"weight_decay": 0.1}),
}


def expected(function, clip=None, **settings):
    """The same in NumPy: only rows that were read change, and their state."""
    p, state = START.copy(), {}
    for t, (rows, weights) in enumerate(zip(READ, WEIGHTS, strict=True), 1):
        g = dense(p, rows, weights)
        if clip is not None:
            g *= min(1, clip / (np.sqrt((g * g).sum()) + 1e-6))
        own, before = np.unique(rows), {k: v.copy() for k, v in state.items()}
        new = function(p, g, state, t, lr=0.1, **settings)
        p[own] = new[own]
        for k, value in before.items():
            rest = np.setdiff1d(np.arange(ROWS), own)
            state[k][rest] = value[rest]
        for value in state.values() if not before else ():
            value[np.setdiff1d(np.arange(ROWS), own)] = 0
    return p


@pytest.mark.parametrize(
    ("name", "compiled", "clip"),
    [(name, compiled, None) for name in CASES for compiled in (False, True)]
    + [(name, False, 0.5) for name in CASES]
    + [("adam", True, 0.5)],
)
def test_rows_that_are_read_move_as_in_numpy(name, compiled, clip, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    kind, function, settings = CASES[name]
    found = trained(kind, compiled, clip=clip, lr=0.1, **settings)
    np.testing.assert_allclose(found, expected(function, clip, **settings), rtol=1e-9)
    read = np.unique(READ)
    rest = np.setdiff1d(np.arange(ROWS), read)
    np.testing.assert_array_equal(found[rest], START[rest])


def test_adam_moves_rows_as_sparse_adam_of_pytorch():
    table = torch.nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = torch.optim.SparseAdam([table], lr=0.1, eps=1e-20)  # which it adds elsewhere
    for rows, weights in zip(READ, WEIGHTS, strict=True):
        optimizer.zero_grad()
        taken = torch.nn.functional.embedding(torch.from_numpy(rows), table, sparse=True)
        (torch.from_numpy(weights) * taken * taken).sum().backward()
        optimizer.step()
    found = trained(optim.Adam, False, lr=0.1, eps=1e-20)
    np.testing.assert_allclose(found, table.detach().numpy(), rtol=1e-9)


def test_sums_of_a_row_do_not_lose_digits():
    """0.1 added one by one in float32 would be off by a percent."""
    table = nn.Parameter(np.zeros((500_000, 1), np.float32))
    rows = cr.Tensor(np.full(100_000, 3))
    (0.1 * cr.take(table, rows, axis=0)).sum().backward()
    _, rows, sums, ends = (t.numpy() for t in table.grad.by_row())
    assert rows[ends].tolist() == [3]
    np.testing.assert_allclose(sums[ends], 1e4, rtol=1e-6)
    assert nn.utils.clip_grad_norm_([table], 1.0).item() == pytest.approx(1e4, rel=1e-6)
    nn.utils.clip_grad_value_([table], 0.5)
    assert table.grad.shape == (500_000, 1)
    assert isinstance(table.grad, cr.RowSparse)
    assert table.grad.values.sum().item() == 0.5


@pytest.mark.parametrize("count", [0, 1, 5])
def test_entries_by_row(count):
    values = np.arange(2.0 * count).reshape(count, 2)
    g = cr.RowSparse(cr.Tensor(np.arange(count) % 3 - 1), cr.Tensor(values), (70_000, 2))
    summed = g.coalesced()
    np.testing.assert_array_equal(summed.to_dense().numpy(), g.to_dense().numpy())
    assert summed.indices.tolist() == sorted((np.arange(count) % 3 - 1) % 70_000)
