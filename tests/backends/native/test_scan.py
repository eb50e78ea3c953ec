"""Loops with a body as machine code, against the same loops in NumPy and written out."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, tree
from chainrule.backends import native
from chainrule.backends.native.compilation import Compilation
from chainrule.backends.native.plan import stages, verify
from chainrule.backends.native.plan.bodies import turns_of
from chainrule.backends.native.plan.rewrites import rewritten
from chainrule.backends.native.plan.segments import Native
from chainrule.backends.native.plan.storage import storage_of
from chainrule.backends.native.plan.threads import meet_between_turns
from chainrule.backends.native.processor import host
from chainrule.backends.program import lower
from chainrule.errors import PlanError, RangeError
from chainrule.recording import record
from chainrule.trace import Trace

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _nothing_in_numpy(caplog, monkeypatch):
    """A loop that falls back to NumPy says so."""
    monkeypatch.setattr(native, "_noticed", set())
    with caplog.at_level(logging.INFO, "chainrule"):
        yield
    assert not [r for r in caplog.records if "scan" in r.getMessage()]


def same(function, *arguments, rtol=1e-12):
    """The function compiled on this backend and on the other gives the same."""
    found = tree.flatten(cr.compile(function)(*arguments))[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_BACKEND", "reference")
        expected = tree.flatten(cr.compile(function)(*arguments))[0]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=rtol, atol=rtol)


def f64(*shape):
    return cr.Tensor(RNG.normal(size=shape))


STEPS = {
    "tanh": lambda c, x, w: (cr.tanh(c @ w + x), c),
    "passes the carry on": lambda c, x, w: (c, x * c),
    "swaps": lambda c, x, w: (x, c),
    "the same twice": lambda c, x, w: ((n := cr.sin(c + x)), (n, n, c)),
    "a constant of its own": lambda c, x, w: (c * cr.Tensor(np.arange(3.0)), x.sum()),
    "stacks nothing": lambda c, x, w: (c + x @ w, None),
    "stacks a constant": lambda c, x, w: (c - x, w),
    "a softmax": lambda c, x, w: (cr.softmax(c + x, axis=-1) @ w, c.max(axis=0)),
    "a sum that staged": lambda c, x, w: (c + (x @ w).sum(), c[::-1]),
}


@pytest.mark.parametrize("length", [0, 1, 2, 5])
@pytest.mark.parametrize("name", STEPS)
def test_it_equals_the_loop_in_numpy(name, length):
    step = STEPS[name]
    arguments = f64(2, 3), f64(length, 2, 3), f64(3, 3)
    for reverse in (False, True):

        def loop(c, xs, w, reverse=reverse):
            return cr.scan(lambda c, x: step(c, x, w), c, xs, reverse=reverse)

        def gradients(c, xs, w, loop=loop):
            def loss(*arguments):
                leaves = tree.flatten(loop(*arguments))[0]
                used = sum((t * 0).sum() for t in arguments)  # so each has a gradient
                return used + sum(((t + 0.5) ** 2).sum() for t in leaves)

            return cr.grad(loss, (0, 1, 2))(c, xs, w)

        same(loop, *arguments)
        same(gradients, *arguments)


def test_loops_in_loops_to_the_second_order():
    def inner(c, x, w):
        return cr.scan(lambda c, x: (cr.tanh(c * w + x), c * x), c, x)

    def outer(c, xs, w):
        def body(c, x):
            c, ys = inner(c, x, w)
            return c, ys.sum(0)

        return cr.scan(body, c, xs, reverse=True)

    arguments = f64(2), f64(3, 4, 2), f64(2)
    same(outer, *arguments)

    def hessian_product(c, xs, w):
        def slope(w):
            first = cr.grad(lambda w: sum((t * t).sum() for t in outer(c, xs, w)))(w)
            return (first * first).sum()

        return cr.grad(slope)(w)

    same(hessian_product, *arguments)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_bodies(data):
    """Bodies of random operations on carries, rows and constants of two shapes."""
    functions = [cr.sin, cr.tanh, lambda t: t * 0.5, lambda t: cr.flip(t, axis=0), cr.sigmoid]
    pairs = [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: cr.maximum(a, b)]
    carries = data.draw(st.integers(1, 3), "carries")
    length = data.draw(st.integers(0, 4), "turns")
    reverse = data.draw(st.booleans(), "reverse")
    plan = data.draw(
        st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), max_size=8)
    )
    picks = data.draw(st.lists(st.integers(0, 99), min_size=carries, max_size=carries + 3))

    def loop(c, xs, w):
        def body(c, x):
            known = [*c, *x, w]
            for f, a, b in plan:
                a, b = known[a % len(known)], known[b % len(known)]
                kinds = len(functions) + len(pairs) + 1
                if f % kinds < len(functions):
                    known.append(functions[f % kinds](a))
                elif f % kinds < kinds - 1:
                    known.append(pairs[f % kinds - len(functions)](a, b))
                else:
                    known.append(
                        cr.tanh(
                            a @ w[:, : a.shape[-1]] @ cr.ones((a.shape[-1], 3), dtype=cr.float64)
                        )
                    )
            chosen = [known[k % len(known)] for k in picks]
            return chosen[:carries], chosen[carries:]

        return cr.scan(body, c, xs, reverse=reverse)

    arguments = [f64(3, 3) for _ in range(carries)], [f64(length, 3, 3)], f64(3, 3)
    same(loop, *arguments, rtol=1e-9)

    def gradients(c, xs, w):
        def loss(w):
            return (w * 0).sum() + sum((t * 1.5).sum() for t in tree.flatten(loop(c, xs, w))[0])

        return cr.grad(loss)(w)

    same(gradients, *arguments, rtol=1e-8)


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_have_the_same_bits_on_any_number_of_threads(
    layer, all_threads, monkeypatch
):
    from chainrule.backends.native.run import team

    cr.random.seed(0)
    model = layer(24, 40, num_layers=2, bidirectional=True)
    x = cr.Tensor(RNG.normal(size=(33, 9, 24)).astype(np.float32))
    lengths = cr.Tensor(RNG.integers(0, 10, 33))

    def step(x):
        out, _ = model(x, lengths=lengths)
        (out * out).mean().backward()
        return out, [p.grad for p in model.parameters()]

    found = []
    for threads in (1, 2):
        monkeypatch.setenv("CHAINRULE_THREADS", str(threads))
        team.threads.cache_clear()
        compiled = cr.compile(step)
        for _ in range(3):
            out = tree.flatten(compiled(x))[0]
        found.append([t.numpy().tobytes() for t in out])
    assert found[0] == found[1]


def test_an_index_outside_its_axis_in_a_turn():
    table = cr.Tensor(np.arange(4.0))

    @cr.compile
    def loop(indices):
        return cr.scan(lambda c, i: (c + table[i], c), cr.Tensor(0.0, dtype=cr.float64), indices)

    assert loop(cr.Tensor([1, 3, 0]))[0].item() == 4
    with pytest.raises(RangeError, match="4"):
        loop(cr.Tensor([1, 4, 0]))
    assert loop(cr.Tensor([1, 3, 0]))[0].item() == 4


def test_random_numbers_differ_from_turn_to_turn():
    def loop(x):
        return cr.scan(
            lambda c, x: (c + cr.random.normal((3,)), cr.random.uniform((2,))), x, None, 4
        )

    cr.random.seed(1)
    eager = loop(cr.zeros(3))
    cr.random.seed(1)
    compiled = cr.compile(loop)(cr.zeros(3))
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    assert len(np.unique(compiled[1].numpy())) == 8


def code(length, scale=1.0):
    """LLVM IR of a loop."""

    def loop(tensors):
        return [cr.scan(lambda c, x: (cr.tanh(c * scale + x), c), *tensors)[0]]

    specs = [((3,), np.dtype(np.float64), False), ((length, 3), np.dtype(np.float64), False)]
    program = rewritten(lower(record(loop, specs, Trace(lasting=False)).graph))
    return program, Compilation(program, host()).llvm()


def test_code_does_not_grow_with_the_length():
    short, long = code(4)[1], code(1000)[1]
    assert len(long) - len(short) < 100


def test_loops_with_other_constants_in_the_body_are_other_code():
    one, other = code(4), code(4, 2.0)
    assert one[1] != other[1]
    assert one[0].key() != other[0].key()


def storage_of_loop():
    """The loop of `code`, b2, and its results."""
    program = code(4)[0]
    return program, storage_of(program, lambda body: stages.plan(body, host(), True))


def with_loop(storage, **fields):
    (b,) = (b for b, buffer in storage.buffers.items() if buffer.body is not None)
    return replace(storage, buffers={**storage.buffers, b: replace(storage.buffers[b], **fields)})


def body_with(storage, **fields):
    (body,) = (buffer.body for buffer in storage.buffers.values() if buffer.body is not None)
    return with_loop(storage, body=replace(body, **fields))


BREAKAGES = {
    "no plan": lambda s: with_loop(s, body=None),
    "too little memory": lambda s: with_loop(s, shape=(8,)),
    "another program": lambda s: body_with(s, program=code(4)[0]),
    "a body in two calls": lambda s: body_with(s, segments=(Native("a", ()), Native("b", ()))),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_loop_is_caught_by_name(name):
    program, storage = storage_of_loop()
    verify.verify_storage(program, storage)
    with pytest.raises(PlanError, match="the rule 'body'"):
        verify.verify_storage(program, BREAKAGES[name](storage))


def threads_meet(step, shapes, turns=8):
    """Whether threads meet within a turn, and between two, of the loop that is recorded."""

    def loop(tensors):
        return tree.flatten(cr.scan(lambda c, x: step(c, x, tensors[2]), *tensors[:2]))[0]

    carry, row, constant = shapes
    specs = [(s, np.dtype(np.float32), False) for s in (carry, (turns, *row), constant)]
    program = rewritten(lower(record(loop, specs, Trace(lasting=False)).graph))
    plan = stages.plan(program, host())
    (task,) = (task for task in plan.tasks if task.kind.name == "scan")
    assert task.cut.every
    turn = turns_of(task.group.main, plan.storage)
    return bool(turn.body.meetings.before), meet_between_turns(turn.body, turn.carried)


MEETINGS = {  # of a step of 32 rows: (within a turn, between turns)
    "a cell": (lambda c, x, w: ((n := cr.tanh(c @ w + x)), n), (False, False)),
    "a cell that gives its old state": (lambda c, x, w: (cr.tanh(c @ w + x), c), (False, False)),
    "rows upside down": (
        lambda c, x, w: (cr.tanh(cr.flip(c, axis=0) @ w + x), None),
        (False, True),
    ),
    "a mean over rows": (lambda c, x, w: (cr.tanh(c @ w + x - c.mean(0)), None), (True, True)),
    "two layers": (lambda c, x, w: (cr.tanh(cr.tanh(c @ w) @ w + x), None), (False, False)),
    "the product of two states": (lambda c, x, w: (c @ (c.mT @ c) + x, None), (True, True)),
}


@pytest.mark.parametrize("name", MEETINGS)
def test_where_threads_meet_in_a_loop(name):
    step, meetings = MEETINGS[name]
    assert threads_meet(step, [(32, 256), (32, 256), (256, 256)]) == meetings
