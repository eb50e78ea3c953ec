"""Adam and AdamW on tables with catch_up: as with dense gradients, whenever rows are looked up."""

import gc
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError
from chainrule.optim.catch_up import later_steps
from chainrule.sparse import READERS

ROWS, COLUMNS, BATCH = 400, 3, 12


def batches(steps, seed=0):
    """Rows, some of them often and some hardly ever, and weights."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        rows = np.minimum(rng.exponential(60, BATCH).astype(int), ROWS - 1)
        yield rows, rng.normal(size=(BATCH, COLUMNS)) * 10.0 ** rng.integers(-9, 2, (BATCH, 1))


def start(dtype=np.float64):
    return np.random.default_rng(1).normal(size=(ROWS, COLUMNS)).astype(dtype)


def trained(kind, steps, compiled=False, rates=None, dtype=np.float64, **settings):
    """(table, optimizer): the loss is ∑ w · sin(row), so a gradient depends on the row's value."""
    table = nn.Parameter(start(dtype))
    optimizer = kind([table], catch_up=True, **settings)

    def step(rows, weights):
        loss = (weights * cr.sin(cr.take(table, rows, axis=0))).sum()
        loss.backward()
        optimizer.step()
        return loss

    step = cr.compile(step) if compiled else step
    for k, (rows, weights) in enumerate(batches(steps)):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = rates[k]
        step(cr.Tensor(rows), cr.Tensor(weights.astype(dtype)))
    return table, optimizer


def dense(steps, rates=None, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """The same in NumPy with all rows in each step."""
    p, m, v = start(), 0.0, 0.0
    for t, (rows, weights) in enumerate(batches(steps), 1):
        lr = lr if rates is None else rates[t - 1]
        g = np.zeros_like(p)
        np.add.at(g, rows, weights * np.cos(p[rows]))
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        p = p * (1 - lr * weight_decay)
        mean, square = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = p - lr * mean / (np.sqrt(square) + eps)
    return p, m, v


SETTINGS = {
    "adam": (optim.Adam, {}),
    "large eps": (optim.Adam, {"eps": 1e-4}),
    "adamw": (optim.AdamW, {"weight_decay": 0.1}),
    "slow": (optim.AdamW, {"betas": (0.95, 0.999), "weight_decay": 1.0}),
    "fast": (optim.AdamW, {"betas": (0.5, 0.9), "lr": 1e-2, "weight_decay": 0.5}),
    "no momentum": (optim.AdamW, {"betas": (0.0, 0.99), "weight_decay": 0.1}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_all_rows_are_where_the_dense_optimizer_has_them(name):
    """The drift over the skipped steps is off by less than 1e-5 of what rows have moved."""
    kind, settings = SETTINGS[name]
    table, optimizer = trained(kind, 120, **settings)
    expected, m, v = dense(120, **settings)
    lazy = table.numpy().copy()
    optimizer.flush()
    moved = np.abs(expected - start()).max()
    np.testing.assert_allclose(table.numpy(), expected, rtol=0, atol=1e-5 * moved)
    assert np.abs(lazy - expected).max() > 100 * np.abs(table.numpy() - expected).max()
    state = optimizer.state["0"]
    np.testing.assert_allclose(state["exp_avg"].numpy(), m, rtol=1e-4, atol=1e-300)
    np.testing.assert_allclose(state["exp_avg_sq"].numpy(), v, rtol=1e-4, atol=1e-300)


def test_adamw_is_dense_after_300_steps_in_machine_code(monkeypatch):
    """Dense steps in float32 themselves are further from the exact result: 6e-6."""
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    settings = {"lr": 1e-3, "weight_decay": 0.1}
    table, optimizer = trained(optim.AdamW, 300, compiled=True, dtype=np.float32, **settings)
    optimizer.flush()
    expected, _, _ = dense(300, **settings)
    error = np.linalg.norm(table.numpy() - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 1e-5


def test_compiled_and_eager_steps_are_the_same():
    for backend in ("reference", "native"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHAINRULE_BACKEND", backend)
            tables = [trained(optim.AdamW, 10, compiled)[0].numpy() for compiled in (False, True)]
            np.testing.assert_allclose(*tables, rtol=1e-12)


def test_a_lookup_sees_the_row_of_today():
    """In a function of its own too, which changes nothing."""
    table, optimizer = trained(optim.AdamW, 40, weight_decay=0.1)
    expected, _, _ = dense(40, weight_decay=0.1)
    look = cr.compile(lambda rows: cr.take(table, rows, axis=0))
    rows, before = np.array([[399, 3], [-1, 250]]), table.numpy().copy()
    for found in (look(rows), cr.take(table, rows, axis=0), table[cr.Tensor(rows)]):
        np.testing.assert_allclose(found.numpy(), expected[rows], rtol=1e-6)
    np.testing.assert_array_equal(table.numpy(), before)
    optimizer.flush()
    optimizer.flush()
    np.testing.assert_allclose(table.numpy(), expected, rtol=1e-6)


def test_what_is_assigned_to_a_row_stays():
    table, optimizer = trained(optim.AdamW, 40, weight_decay=0.0)
    with cr.no_grad():
        drift = optimizer.state["0"]["drift"].numpy()[7]
        table[7] = 100.0
    optimizer.flush()
    assert np.abs(table.numpy()[7] - 100.0).max() <= np.abs(drift).max()


def test_a_learning_rate_that_changes():
    """Skipped steps are taken at the rate of the row's last step."""
    rates = 1e-2 * np.linspace(1.0, 0.5, 200)
    table, optimizer = trained(optim.AdamW, 200, rates=rates, weight_decay=0.0)
    lazy = table.numpy().copy()
    optimizer.flush()
    expected, _, _ = dense(200, rates, weight_decay=0.0)
    errors = [np.abs(found - expected).max() for found in (table.numpy(), lazy)]
    assert errors[0] < 0.1 * errors[1]


def test_a_table_with_a_dense_gradient_in_between():
    """Of all its values: rows move from where they should be, once they are brought up to date."""
    tables = [nn.Parameter(start()) for _ in range(2)]
    late, plain = (optim.AdamW([t], catch_up=c) for t, c in zip(tables, (True, False), strict=True))
    for k, (rows, weights) in enumerate(batches(30)):
        rows, weights = cr.Tensor(rows), cr.Tensor(weights)
        chosen = cr.one_hot(rows, ROWS).astype("float64")
        late.zero_grad()
        if k == 20:
            late.flush()
        for table, taken in zip(
            tables, (cr.take(tables[0], rows, axis=0), chosen @ tables[1]), strict=True
        ):
            ((weights * taken).sum() + (table * table).sum() * (k == 20)).backward()
        late.step()
        plain.step()
    late.flush()
    np.testing.assert_allclose(tables[0].numpy(), tables[1].numpy(), rtol=0, atol=1e-7)


def test_saving_brings_rows_up_to_date_and_loading_continues():
    table, optimizer = trained(optim.AdamW, 30)
    saved = optimizer.state_dict()
    assert {key.rpartition("/")[2] for key in saved if key.startswith("0/")} == {
        *("exp_avg", "exp_avg_sq", "step")
    }
    again = nn.Parameter(table.numpy().copy())
    other = optim.AdamW([again], catch_up=True)
    other.load_state_dict(saved)
    for t, o in ((table, optimizer), (again, other)):
        for rows, weights in batches(10, seed=2):
            (cr.Tensor(weights) * cr.take(t, cr.Tensor(rows), axis=0)).sum().backward()
            o.step()
        o.flush()
    np.testing.assert_allclose(again.numpy(), table.numpy(), rtol=1e-9)


def test_later_steps_sum_what_falls():
    for betas in ((0.9, 0.999), (0.95, 0.999), (0.5, 0.9), (0.99, 0.9999), (0.1, 0.5)):
        steps, weights = later_steps(*betas)
        fall = betas[0] / math.sqrt(betas[1])
        assert len(steps) < 36
        assert (weights * fall**steps).sum() == pytest.approx(fall / (1 - fall), rel=1e-7)
        mean = (weights * steps * fall**steps).sum() * (1 - fall) ** 2 / fall
        assert mean == pytest.approx(1.0, rel=1e-6)


def test_an_optimizer_that_is_gone_is_not_asked():
    table, optimizer = trained(optim.Adam, 3)
    assert id(table) in READERS
    del optimizer
    gc.collect()
    assert cr.take(table, cr.Tensor([0]), axis=0).shape == (1, COLUMNS)
    key = id(table)
    del table
    gc.collect()
    assert key not in READERS


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (optim.Adam, {"weight_decay": 0.1}, "got catch_up with weight_decay"),
        (optim.AdamW, {"amsgrad": True}, "got catch_up with amsgrad"),
        (optim.Adam, {"betas": (0.9, 0.5)}, "expected the first below the square root"),
    ],
)
def test_settings_whose_skipped_steps_are_not_known_are_refused(kind, settings, message):
    with pytest.raises(ArgumentError, match=message):
        kind([nn.Parameter(start())], catch_up=True, **settings)
    with pytest.raises(ArgumentError, match="expected Adam or AdamW"):
        optim.RAdam([{"params": [nn.Parameter(start())], "catch_up": True}])


def test_max_norm_is_refused():
    layer = nn.Embedding(5, 2, max_norm=1.0)
    optimizer = optim.Adam(layer.parameters(), catch_up=True)
    with pytest.raises(ArgumentError, match="max_norm, and an optimizer with catch_up"):
        layer(cr.Tensor([1]))
    del optimizer


def test_fit_ends_with_all_rows_up_to_date():
    model = nn.Sequential(nn.Embedding(200, 3), nn.Flatten(), nn.Linear(6, 1))
    optimizer = optim.AdamW(model.named_parameters(), catch_up=True)
    rng = np.random.default_rng(0)
    data = rng.integers(0, 200, (64, 2)), rng.normal(size=(64, 1)).astype(np.float32)
    cr.fit(model, data, loss="mse", optimizer=optimizer, epochs=2, batch_size=8, progress=False)
    table = model[0].weight.numpy().copy()
    optimizer.flush()
    np.testing.assert_array_equal(model[0].weight.numpy(), table)
    assert "drift" in optimizer.state["0.weight"]
    assert "drift" not in optimizer.state["2.weight"]
