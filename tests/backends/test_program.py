"""Programs: what makes one legal, graphs inside operations, and the keys of their code."""

import dataclasses

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops, optim
from chainrule.backends.native.plan.rewrites import rewritten
from chainrule.backends.program import PROGRAM_RULES, lower, verify_program, with_frees
from chainrule.errors import ProgramError, RangeError
from chainrule.graph import Node
from chainrule.recording import record
from chainrule.trace import Trace


def program_of(function, *shapes, updates=None):
    """The program of a function of float32 arrays."""
    specs = [(s, np.dtype(np.float32), False) for s in shapes]
    return lower(record(function, specs, Trace(lasting=True)).graph, updates)


def step():
    """As `test_the_step_that_breakages_are_planted_into` prints it."""

    def body(tensors):
        x, y = tensors
        grown = cr.exp(x)
        scaled = grown * 3.0
        return [(scaled + y) * scaled, grown]

    return program_of(body, (4,), (4,), updates={0: 0})


def loop(rate=0.5, function=cr.tanh, shape=(3,)):
    """A program of one loop."""

    def body(tensors):
        carry, ys = cr.scan(lambda c, x: (function(c * rate) + x, c), tensors[0], tensors[1])
        return [carry, ys]

    return program_of(body, shape, (5, *shape))


def change(program, k, **fields):
    """The program with another k-th kernel."""
    kernels = list(program.kernels)
    kernels[k] = dataclasses.replace(kernels[k], **fields)
    return dataclasses.replace(program, kernels=tuple(kernels))


def test_what_is_lowered_is_legal():
    for program in (step(), loop()):
        verify_program(program)
        verify_program(rewritten(program))


def test_the_step_that_breakages_are_planted_into():
    assert str(step()) == (
        "program(2 inputs, 1 constants):\n"
        "  b2: float32[1] = constant 3.0\n"
        "  b3: float32[4] = exp(b0)\n"
        "  b4: float32[4] = broadcast_to(b2)\n"
        "  b5: float32[4] = multiply(b3, b4)  frees b4\n"
        "  b6: float32[4] = add(b5, b1)\n"
        "  b7: float32[4] = multiply(b6, b5)  frees b6, b5\n"
        "  return b7, b3\n"
        "  update b7 -> b0"
    )


def other_node(kernel, **fields):
    """A node like the kernel's, but for these fields."""
    node = kernel.node
    old = {name: getattr(node, name) for name in ("op", "inputs", "params", "shape", "dtype")}
    return Node(**(old | fields))


def in_body(program, breakage):
    """The breakage, in the body of a loop."""
    at = next(k for k, kernel in enumerate(program.kernels) if kernel.body is not None)
    return change(program, at, body=breakage(program.kernels[at].body))


BREAKAGES = {
    "read before it is written": ("read after write", lambda p: change(p, 2, reads=(3, 7))),
    "an output that nothing writes": (
        "read after write",
        lambda p: dataclasses.replace(p, kernels=p.kernels[:-1]),
    ),
    "kernels in another order": (
        "read after write",
        lambda p: dataclasses.replace(p, kernels=p.kernels[::-1]),
    ),
    "written twice": ("written once", lambda p: change(p, 3, writes=5)),
    "a constant written": ("written once", lambda p: change(p, 1, writes=2)),
    "an input written in place": ("written once", lambda p: change(p, 3, writes=0)),
    "read after it is freed": ("no read after free", lambda p: change(p, 3, frees=(5,))),
    "freed twice": ("freed once", lambda p: change(p, 2, frees=(4, 4))),
    "freed by a kernel that does not read it": ("freed once", lambda p: change(p, 3, frees=(4,))),
    "an input freed": ("never freed", lambda p: change(p, 3, frees=(1,))),
    "a constant freed": ("never freed", lambda p: change(p, 1, frees=(2,))),
    "an output freed": ("never freed", lambda p: change(p, 2, frees=(4, 3))),
    "never freed": ("freed at all", lambda p: change(p, 4, frees=(6,))),
    "a buffer beyond the last": ("numbering", lambda p: dataclasses.replace(p, buffers=6)),
    "too few buffers for the inputs": ("numbering", lambda p: dataclasses.replace(p, buffers=2)),
    "a shape that its operation does not give": (
        "inferred",
        lambda p: change(p, 0, node=other_node(p.kernels[0], shape=(5,))),
    ),
    "a dtype that its operation does not give": (
        "inferred",
        lambda p: change(p, 3, node=other_node(p.kernels[3], dtype=np.dtype(np.float64))),
    ),
    "another operation than its node's": ("kernel and node", lambda p: change(p, 0, op=ops.sqrt)),
    "other parameters than its node's": (
        "kernel and node",
        lambda p: change(p, 1, params={"shape": (1,)}),
    ),
    "an input of another shape": ("kernel and node", lambda p: change(p, 2, reads=(3, 2))),
    "an input too few": ("kernel and node", lambda p: change(p, 2, reads=(3,))),
    "an update by what is no output": (
        "update",
        lambda p: dataclasses.replace(p, updates=((5, 0),)),
    ),
    "an update of what is no input": (
        "update",
        lambda p: dataclasses.replace(p, updates=((7, 2),)),
    ),
    "an input replaced twice": (
        "update",
        lambda p: dataclasses.replace(p, updates=((7, 0), (3, 0))),
    ),
}
NESTED = {
    "a graph that is not lowered": (
        "body",
        lambda p: change(p, 0, body=None),
    ),
    "a body with fewer results": (
        "body",
        lambda p: in_body(p, lambda b: with_frees(dataclasses.replace(b, outputs=b.outputs[:1]))),
    ),
    "the body of a loop over another shape": (
        "body",
        lambda p: in_body(p, lambda b: loop(shape=(7,)).kernels[0].body),
    ),
    "freed twice inside": (
        "freed once",
        lambda p: in_body(p, lambda b: change(b, -1, frees=b.kernels[-1].frees * 2)),
    ),
}


def expect_caught(rule, broken):
    with pytest.raises(ProgramError) as caught:
        verify_program(broken)
    text = str(caught.value)
    assert text.startswith("[verify] got a program that "), text
    assert (
        f"against the rule {rule!r}; expected {PROGRAM_RULES.expected[rule]}; report it: " in text
    )


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_planted_breakage_is_caught(name):
    rule, breakage = BREAKAGES[name]
    expect_caught(rule, breakage(step()))


@pytest.mark.parametrize("name", NESTED)
def test_a_breakage_planted_into_a_loop_is_caught(name):
    rule, breakage = NESTED[name]
    expect_caught(rule, breakage(loop()))


def test_an_update_of_another_shape_is_caught():
    program = program_of(lambda t: [t[0].sum(), t[0] * 2], (4,))
    verify_program(dataclasses.replace(program, updates=((program.outputs[1], 0),)))
    expect_caught("update", dataclasses.replace(program, updates=((program.outputs[0], 0),)))


def test_each_rule_can_fire():
    assert {
        rule for rule, _ in (*BREAKAGES.values(), *NESTED.values())
    } == PROGRAM_RULES.expected.keys()


def test_lowering_and_rewrites_verify_in_tests(monkeypatch):
    program = step()
    broken = change(program, 0, node=other_node(program.kernels[0], shape=(5,)))
    with pytest.raises(ProgramError):
        rewritten(broken)
    monkeypatch.setenv("CHAINRULE_VERIFY", "0")
    rewritten(broken)


# ── graphs inside operations ─────────────────────────────────────────────────────────────────────


def test_a_loop_prints_its_body_as_a_program():
    lines = str(loop()).splitlines()
    assert lines[0] == "program(2 inputs, 0 constants):"
    assert " = scan(b0, b1)" in lines[1]
    assert lines[2] == "    program(2 inputs, 1 constants):"
    assert lines[3] == "      b2: float32[1] = constant 0.5"
    assert lines[-1].startswith("  return b")


def test_a_body_in_a_body():
    def body(tensors):
        inner = cr.checkpoint(lambda c: cr.sin(c) * 2)
        return [cr.scan(lambda c, x: (inner(c) + x, None), tensors[0], tensors[1])[0]]

    program = program_of(body, (3,), (5, 3))
    verify_program(program)
    outer = program.kernels[0].body
    inner = next(kernel.body for kernel in outer.kernels if kernel.body is not None)
    assert str(inner.kernels[0]) == "b2: float32[3] = sin(b0)"
    assert "\n          b2: float32[3] = sin(b0)\n" in str(program)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({}, {"function": cr.sinh}),
        ({}, {"rate": 0.25}),  # nothing hands a body's constants over at run time
        ({}, {"shape": (4,)}),
    ],
    ids=["operation", "constant", "shape"],
)
def test_programs_that_differ_inside_a_graph_have_different_keys(a, b):
    assert loop(**a).key() != loop(**b).key()
    assert loop(**a).key() == loop(**a).key()


def test_a_key_is_the_same_in_another_trace_and_tells_programs_apart():
    def custom(scale):
        rule = cr.custom_vjp(lambda x: cr.exp(x) * scale, lambda g, y, x: (g * y,))
        return program_of(lambda t: [rule(t[0])], (4,))

    assert custom(2.0).key() == custom(2.0).key(), "a derivative's rule is no part of it"
    assert custom(2.0).key() != custom(3.0).key()
    keys = {
        program_of(function, shape).key()
        for function in (lambda t: [cr.exp(t[0])], lambda t: [cr.sum(t[0], axis=0)], lambda t: t)
        for shape in ((4,), (5,))
    }
    assert len(keys) == 6
    scaled = [program_of(lambda t, s=s: [t[0] * s], (4,)).key() for s in (2.0, 3.0)]
    assert scaled[0] == scaled[1], "constants are read from memory"


# ── programs that a backend has rewritten ────────────────────────────────────────────────────────


def test_a_product_that_is_computed_later_finds_its_operands(monkeypatch):
    """It is computed where it is transposed: what it reads must not have been freed before."""

    def body(tensors):
        doubled = tensors[0] * 2
        product = doubled @ tensors[1]
        return [doubled.sum(), product.T * 1.5]

    program = rewritten(program_of(body, (3, 4), (4, 5)))
    verify_program(program)
    reads = {b: k for k, kernel in enumerate(program.kernels) for b in kernel.reads}
    for k, kernel in enumerate(program.kernels):
        assert all(reads[b] == k for b in kernel.frees)


@pytest.mark.parametrize("length", [cr.norm, lambda x: cr.sqrt((x * x).sum())], ids=["norm", "sum"])
def test_the_error_of_a_step_is_the_same_behind_a_rewritten_kernel(length, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")

    @cr.compile
    def take(x, i):
        size = length(x)
        return cr.take(x, i + (size * 0).astype(cr.int64), axis=0).sum() + size

    x = cr.ones((100, 100))
    assert float(take(x, cr.Tensor([1]))) == 200
    with pytest.raises(RangeError, match="got index 1000 for an axis of size 100"):
        take(x, cr.Tensor([1000]))


def test_a_network_is_verified_with_all_rewrites():
    model = nn.Sequential(nn.Linear(64, 80), nn.ReLU(), nn.Dropout(0.5), nn.Linear(80, 10))
    optimizer = optim.Adam(model.parameters())

    def train(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    compiled = cr.compile(train)
    compiled(cr.ones((128, 64)), cr.zeros((128,), dtype=cr.int64))
    program = next(iter(compiled._steps.values()))[0].program
    verify_program(program)
    after = rewritten(program)
    verify_program(after)
    assert len({k.node for k in after.kernels} - {k.node for k in program.kernels}) > 4
