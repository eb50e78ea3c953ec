"""How groups are shared out: where threads meet, and that it is often enough."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.backends.native.plan.cuts import UNIT
from chainrule.backends.native.run import team
from sharing import in_turn, meetings, plan_of, units

RATE = 0.1


def network(sizes, rows):
    """(function, arrays, updates): a step of gradient descent on a perceptron, arrays to arrays."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], rows)
    weights = []
    for a, b in itertools.pairwise(sizes):
        weights += [(rng.normal(size=(b, a)) * a**-0.5).astype(np.float32), np.zeros(b, np.float32)]

    def loss(x, y, weights):
        for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            x = cr.relu(x @ w.mT + b)
        return nn.functional.cross_entropy(x @ weights[-2].mT + weights[-1], y)

    def step(t):
        x, y, *weights = t
        slopes = cr.grad(lambda *w: loss(x, y, w), argnums=tuple(range(len(weights))))(*weights)
        new = [w - RATE * g for w, g in zip(weights, slopes, strict=True)]
        return [*new, loss(x, y, weights)]

    return step, [x, y, *weights], {k: 2 + k for k in range(len(weights))}


def count_of_meetings(sizes):
    return sum(meetings(plan_of(*network(sizes, 64))))


def test_how_often_threads_meet_does_not_depend_on_the_depth():
    assert count_of_meetings([64] * 31 + [10]) == count_of_meetings([64] * 11 + [10]) <= 8


def test_a_chain_of_layers_needs_no_meeting():
    def forward(t):
        x, *weights = t
        for w in weights:
            x = cr.relu(x @ w.mT)
        return [x]

    arrays = [np.ones((64, 64), np.float32)] * 13
    plan = plan_of(forward, arrays, {})
    assert units(plan) == [4] * 12
    assert not any(meetings(plan))


def test_threads_meet_before_other_rows_are_read():
    big = [np.ones((256, 256), np.float32)] * 2
    plan = plan_of(lambda t: [(y := cr.relu(t[0] @ t[1])).mT @ y], big, {})
    assert meetings(plan) == [False, True]
    plan = plan_of(lambda t: [cr.flip(cr.relu(t[0] @ t[1]), axis=0) + t[0]], big, {})
    assert meetings(plan) == [False, True]


def test_what_is_too_short_is_not_shared_out():
    assert set(units(plan_of(*network([2, 16, 16, 2], 32)))) == {1}


def test_weights_that_other_threads_have_read_are_claimed():
    """x, y, then weights and biases; the bias of a thread's rows is read by all in a product."""
    plan = plan_of(*network([64] * 4 + [10], 64))
    claimed = {b for task in plan.tasks for b in plan.claims(task)}
    assert {2, 4, 6} <= claimed <= set(range(2, 10))
    decay = [np.ones((1024, 512), np.float32)] * 2
    plan = plan_of(lambda t: [t[0] * 0.9 + t[1]], decay, {0: 0})
    shared = [(task.shared, plan.claims(task)) for task in plan.tasks]
    assert shared == [(True, ())]  # each thread has read its own rows


def test_nothing_at_all_in_a_step_that_is_shared_out():
    arrays = [np.ones((200, 200), np.float32), np.ones((64, 0), np.float32)]
    assert max(units(plan_of(lambda t: [(t[0] @ t[0]).sum(), t[1] * 2], arrays, {}))) > 1


NETWORKS = {
    "deep": ([64] * 9 + [10], 64),
    "uneven": ([150, 170, 133, 7], 301),
    "wide": ([300, 260, 10], 200),
    "few rows": ([128, 256, 128, 10], 16),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_meet_often_enough(name, threads, monkeypatch):
    step = network(*NETWORKS[name])
    alone = in_turn(*step, 1, list, monkeypatch)
    assert all(np.isfinite(a).all() for a in alone)
    for order in (list, lambda r: [*reversed(r)]):
        found = in_turn(*step, threads, order, monkeypatch)
        for a, b in zip(alone, found, strict=True):
            np.testing.assert_array_equal(a, b)


ALONG = {  # loops along an axis, which other threads need not see
    "cumulative": lambda x, axis: cr.recurrence(x, cr.cumulative_sum(x, axis=axis), axis=axis),
    "argsort": lambda x, axis: cr.argsort(x, axis=axis) / 100,
    "argmax": lambda x, axis: cr.argmax(ALONG["cumulative"](x, axis), axis, keepdims=True) / 100,
}


@pytest.mark.parametrize("name", ALONG)
@pytest.mark.parametrize("shape", [(2, 500, 66), (530, 97), (41, 2, 700), (1, 1200, 50)])
def test_loops_along_an_axis_are_shared(name, shape, monkeypatch):
    """The bits are those of one thread, whoever comes first, and rows need no meeting."""
    arrays = [np.random.default_rng(0).normal(size=shape).astype(np.float32) / 2]
    for axis in range(len(shape)):

        def function(t, axis=axis):
            return [cr.exp(-cr.square(ALONG[name](cr.tanh(t[0]), axis) * 2))]

        plan = plan_of(function, arrays, {})
        assert any(task.shared for task in plan.tasks if str(task.kind) == name)
        if shape[0] > 2 * UNIT and axis:
            assert not any(meetings(plan))
        alone = in_turn(function, arrays, {}, 1, list, monkeypatch)
        for threads, order in ((2, list), (3, lambda r: [*reversed(r)])):
            found = in_turn(function, arrays, {}, threads, order, monkeypatch)
            np.testing.assert_array_equal(found[0], alone[0])


def test_rows_that_are_put_are_shared(monkeypatch):
    """Some twice, over the table: the last stays, whoever comes first."""
    rng = np.random.default_rng(0)
    rows, table = rng.integers(-1, 501, 3000), rng.normal(size=(500, 40)).astype(np.float32)
    arrays = [table, rows, rng.normal(size=(3000, 40)).astype(np.float32)]

    def function(t):
        return [ops.put_rows(t[0], t[1], cr.take(t[0], t[1] % 500, axis=0) + t[2])]

    plan = plan_of(function, arrays, {0: 0})
    assert any(task.shared for task in plan.tasks if str(task.kind) == "put_rows")
    alone = in_turn(function, arrays, {0: 0}, 1, list, monkeypatch)
    np.testing.assert_array_equal(alone[0], function([*map(cr.Tensor, arrays)])[0].numpy())
    for threads, order in ((2, list), (3, lambda r: [*reversed(r)])):
        found = in_turn(function, arrays, {0: 0}, threads, order, monkeypatch)
        np.testing.assert_array_equal(found[0], alone[0])


@pytest.mark.parametrize("in_place", [True, False])
def test_distinct_rows_are_put_by_parts(in_place, monkeypatch):
    """Some not at all; over the table, or over a copy, whose rows have to be there before."""
    rng = np.random.default_rng(0)
    rows, table = rng.permutation(9000)[:3000] - 40, rng.normal(size=(8900, 24)).astype(np.float32)
    arrays = [table, rows, rng.normal(size=(3000, 24)).astype(np.float32)]
    expected = table.copy()
    inside = (rows >= 0) & (rows < 8900)
    expected[rows[inside]] = arrays[2][inside]

    def function(t):
        return [ops.put_rows(t[0], t[1], t[2], distinct=True)]

    updates = {0: 0} if in_place else {}
    (task,) = plan_of(function, arrays, updates).tasks
    assert task.cut.units == -(-3000 // UNIT)
    for threads, order in ((1, list), (2, list), (3, lambda r: [*reversed(r)])):
        found = in_turn(function, arrays, updates, threads, order, monkeypatch)
        np.testing.assert_array_equal(found[0], expected)


def test_long_loops_without_parts_are_done_by_different_threads(monkeypatch):
    arrays = [np.random.default_rng(k).normal(size=2000).astype(np.float32) for k in range(3)]

    def function(t):
        orders = [cr.argsort(cr.exp(x)) for x in t]
        return [cr.take(x, order) for x, order in zip(t, orders, strict=True)]

    plan = plan_of(function, arrays, {})
    sorting = [task for task in plan.tasks if str(task.kind) == "argsort"]
    assert [task.owner for task in sorting] == [0, 1, 2]
    assert str(plan).count("argsort, thread 3: ") == 1
    assert sum(meetings(plan)) == 1
    for threads, order in ((1, list), (2, lambda r: [*reversed(r)]), (3, list), (4, list)):
        found = in_turn(function, arrays, {}, threads, order, monkeypatch)
        for x, ordered in zip(arrays, found, strict=True):
            np.testing.assert_array_equal(ordered, np.sort(x))


def paced(pace, seconds, calls):
    """How many of the calls all threads did, where they take so long together, and alone."""
    together = 0
    for _ in range(calls):
        chosen = pace.choose()
        together += chosen
        pace.note(chosen, seconds[0] if chosen else seconds[1])
    return together


def test_the_faster_way_is_found_and_left_when_it_is_not():
    pace = team.Pace()
    assert paced(pace, (1.0, 2.0), 1000) > 950
    assert paced(pace, (3.0, 2.0), 10_000) < 1500
    assert paced(pace, (1.0, 2.0), 100_000) > 80_000


def test_one_slow_call_does_not_change_the_way():
    pace = team.Pace()
    paced(pace, (1.0, 2.0), 20)
    pace.note(pace.choose(), 50.0)
    assert paced(pace, (1.0, 2.0), 100) > 90
