"""Rows of a table replaced: values as in NumPy, in place where that is legal, and checked first."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, ops, optim
from chainrule.backends.native.plan import stages, verify
from chainrule.backends.native.plan.kinds import REDUCTION
from chainrule.backends.native.processor import Target
from chainrule.backends.program import lower
from chainrule.errors import PlanError, RangeError
from chainrule.recording import record
from chainrule.trace import Trace

TARGET = Target("x86_64-unknown-linux-gnu", "x86-64-v3", "+avx2,+fma")
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
DTYPES = ["float16", "float32", "float64", *INTEGERS, "bool"]


def by_loop(table, rows, values):
    """In plain Python."""
    out = table.copy()
    for row, value in zip(rows.tolist(), values, strict=True):
        if 0 <= row < len(table):
            out[row] = value
    return out


SHAPES = [(7,), (1, 3), (7, 3), (40, 2, 5)]
CASES = [(dtype, "int64", (7, 3)) for dtype in DTYPES]
CASES += [("float32", kind, SHAPES[k % 4]) for k, kind in enumerate([*INTEGERS, "int32", "int8"])]


@pytest.mark.parametrize(("dtype", "kind", "shape"), CASES)
def test_rows_are_put_in_order(dtype, kind, shape):
    rng = np.random.default_rng(0)
    table, values = (rng.integers(0, 2, (n, *shape[1:])).astype(dtype) for n in (shape[0], 50))
    rows = rng.integers(-2 if np.dtype(kind).kind == "i" else 0, shape[0] + 2, 50).astype(kind)
    arguments = [*map(cr.Tensor, (table, rows, values))]
    compiled = cr.compile(ops.put_rows)
    found = compiled(*arguments).numpy()
    assert " numpy" not in compiled.plan(*arguments)
    np.testing.assert_array_equal(found, by_loop(table, rows, values))
    np.testing.assert_array_equal(ops.put_rows.evaluate(table, rows, values), found)


@settings(max_examples=50)
@given(st.lists(st.integers(-2, 5), max_size=12), st.integers(0, 4))
def test_any_rows_against_a_loop(places, size):
    rows = np.array(places, np.int64)
    table, values = np.zeros((size, 2), np.float32), np.arange(2.0 * len(rows)).reshape(-1, 2)
    values = values.astype(np.float32)
    expected = by_loop(table, rows, values)
    np.testing.assert_array_equal(ops.put_rows.evaluate(table, rows, values), expected)


# ── in place ─────────────────────────────────────────────────────────────────────────────────────

ROWS, COLUMNS = 300, 8
START = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
ONE, TWO = np.array([3, 250, 3, 17]), np.array([17, 0, 299, 250])


def double(table, i, j):
    table[i] = 2.0 * table[i]


def exchange(table, i, j):
    table[i] = table[j]


def first_rows(table, i, j):  # read where others may have been put
    table[i] = table[: i.shape[0]] + 1.0


def backwards(table, i, j):
    table[i] = cr.flip(table, axis=0)[: i.shape[0]]


def twice(table, i, j):
    table[i] = 1.0
    table[j] = table[i] + 5.0


def read_after(table, i, j):
    table[i] = 7.0
    return table[j] + table.sum()


def read_before(table, i, j):
    before = table[j] * 1.0
    table[i] = 7.0
    return before


def both(table, i, j):
    whole = table * 1.0
    table[i] = 7.0
    return whole.sum(axis=0)


def all_rows(table, i, j):
    table[cr.arange(ROWS)] = cr.flip(table, axis=0)


def columns(table, i, j):
    table[:, i % COLUMNS] = 1.0


def elements(table, i, j):
    table[i, j % COLUMNS] = -1.0


IN_PLACE = [double, exchange, read_before, both, backwards, all_rows, first_rows]
COPIED = [read_after, twice, columns, elements]


@pytest.mark.parametrize("change", IN_PLACE + COPIED)
def test_a_step_that_assigns_rows_is_as_without_compiling(change):
    eager, compiled = (cr.Tensor(START.copy()) for _ in range(2))
    step = cr.compile(lambda i, j: change(compiled, i, j))
    for i, j in ((ONE, TWO), (TWO, ONE), (ONE - ROWS, TWO)):
        i, j = cr.Tensor(i), cr.Tensor(j)
        expected, found = change(eager, i, j), step(i, j)
        if expected is not None:
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
        np.testing.assert_array_equal(compiled.numpy(), eager.numpy())
    plan = step.plan(cr.Tensor(ONE), cr.Tensor(TWO))
    if change in IN_PLACE:
        assert re.search(rf"put_rows(, \d+ parts)?: b\d+: float32\[{ROWS},{COLUMNS}\] over", plan)
        assert "copy" not in plan
    assert " numpy" not in plan


def test_an_index_outside_leaves_all_as_it_was():
    tables = [cr.Tensor(START.copy()) for _ in range(2)]

    @cr.compile
    def step(i, j):
        tables[0][i] = tables[0][i] + 1.0
        tables[1][j] = tables[0][i] * tables[1][j]

    step(ONE, TWO)
    before = [t.numpy().copy() for t in tables]
    for i, j, outside in ((ONE, TWO + 100, 399), (ONE * -2, TWO, -500)):
        with pytest.raises(RangeError, match=f"index {outside} for an axis of size 300"):
            step(i, j)
        for t, b in zip(tables, before, strict=True):
            np.testing.assert_array_equal(t.numpy(), b)
    step(ONE, TWO)


def test_rows_that_were_checked_once_are_looked_up_without_failing():
    """One that is outside is found before anything is written over."""
    layer = nn.Embedding(500, 4)
    optimizer = optim.Adam(layer.parameters(), lr=0.1)

    @cr.compile
    def step(rows):
        loss = cr.square(layer(rows)).sum()
        loss.backward()
        optimizer.step()
        return loss

    rows = np.array([[3, 499, 3], [0, 1, 2]])
    step(rows)
    state = optimizer.state["0"]
    before = [t.numpy().copy() for t in (layer.weight, state["exp_avg"], state["step"])]
    with pytest.raises(RangeError, match="500"):
        step(rows + 1)
    for t, old in zip((layer.weight, state["exp_avg"], state["step"]), before, strict=True):
        np.testing.assert_array_equal(t.numpy(), old)
    step(rows)


def test_numbers_that_shrink_to_denormals_become_zero():
    small = cr.Tensor(np.full((ROWS, 2), 2e-38, np.float32))

    @cr.compile
    def step(i):
        small[i] = small[i] * 0.5

    step(np.array([5]))
    assert small.numpy()[5].tolist() == [0.0, 0.0]


# ── plans ────────────────────────────────────────────────────────────────────────────────────────


def plan_of(values):
    """The plan of a step that puts rows of its first input; `values` from it, rows and others."""

    def body(tensors):
        return [ops.put_rows(tensors[0], tensors[1], values(*tensors)), tensors[0].sum(axis=0)]

    specs = [((ROWS, COLUMNS), np.dtype("float32"), False), ((4,), np.dtype("int64"), False)]
    specs.append(((4, COLUMNS), np.dtype("float32"), False))
    graph = record(body, specs, Trace(lasting=True)).graph
    return stages.plan(lower(graph, {0: 0}), TARGET)


PLANS = {  # the values, whether they can be put in place, and what breaks if they are
    "other values": (lambda table, rows, values: values, True, ""),
    "rows taken before": (lambda table, rows, values: table[rows] * 2.0, True, ""),
    "rows at other indices": (lambda table, rows, values: table[:4], False, "in place"),
    "rows from the end": (lambda table, rows, values: cr.flip(table, axis=0)[:4], True, ""),
}


@pytest.mark.parametrize("name", PLANS)
def test_rows_are_put_in_place_where_that_is_legal(name):
    values, legal, rule = PLANS[name]
    plan = plan_of(values)
    put = plan.program.outputs[0]
    assert (plan.updates.over.get(put) == 0) == legal
    over = replace(plan.updates, over={**plan.updates.over, put: 0}, commits=())
    verified = plan.program, plan.storage, plan.tasks, over
    if legal:
        verify.verify_updates(*verified)
        late = sorted(plan.tasks, key=lambda task: task.kind is REDUCTION)  # of the old table
        with pytest.raises(PlanError, match="the rule 'in place'"):
            verify.verify_updates(plan.program, plan.storage, late, over)
        return
    with pytest.raises(PlanError, match=f"the rule '{rule}'"):
        verify.verify_updates(*verified)
