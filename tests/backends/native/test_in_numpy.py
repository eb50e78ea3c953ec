"""What the native backend has no code for: it runs in NumPy, and a notice says so."""

import logging

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.backends import native
from chainrule.backends.native.plan.halves import widened
from chainrule.backends.native.plan.kinds import KINDS, NUMPY, kind_of
from chainrule.backends.program import lower
from chainrule.dtypes import DTYPES, FLOATS, INTEGERS, UNSIGNED
from chainrule.errors import DtypeError
from chainrule.graph import Graph, Node

NATIVE = {op.name: op for kind in KINDS for op in kind.operations if op.cases}

# As in the table of docs/how-a-step-runs.md, "What is not native yet".
IN_NUMPY = {
    "remainder": FLOATS,
    "floor_divide": FLOATS,
    **dict.fromkeys(("abs", "sign", "power", "floor", "ceil", "trunc"), INTEGERS),
    **dict.fromkeys(("matmul", "convolution", "convolution_weight"), INTEGERS),
    "negative": UNSIGNED,
    "any": INTEGERS + FLOATS,
}


def runs_in_numpy(op, dtypes, shapes, params):
    """Whether the operation does, on inputs of these dtypes; not if it refuses them."""
    inputs = [Node(None, (), {}, s, d) for s, d in zip(shapes, dtypes, strict=True)]
    try:
        node = Node(op, tuple(inputs), params, *op.infer(*inputs, **params))
    except DtypeError:
        return False
    program = widened(lower(Graph(inputs, [node])))
    return any(kind_of(kernel) is NUMPY for kernel in program.kernels)


@pytest.mark.parametrize("name", NATIVE)
def test_the_dtypes_that_run_in_numpy(name):
    op = NATIVE[name]
    inputs, params = op.cases[0]
    shapes = [np.shape(x) if isinstance(x, np.ndarray) else x for x in inputs]

    def dtypes(dtype):
        """Indices and states keep theirs, a condition is a bool."""
        of_inputs = [x.dtype if isinstance(x, np.ndarray) else dtype for x in inputs]
        return [np.dtype(bool), *of_inputs[1:]] if op is ops.where else of_inputs

    in_numpy = {d for d in DTYPES if runs_in_numpy(op, dtypes(d), shapes, params)}
    assert in_numpy == set(IN_NUMPY.get(name, ()))


def test_real_numbers_become_integers_in_numpy():
    for source in DTYPES:
        targets = {d for d in DTYPES if runs_in_numpy(ops.astype, [source], [(3,)], {"dtype": d})}
        assert targets == (set(INTEGERS) if source in FLOATS else set())


def test_one_notice_names_an_operation_that_runs_in_numpy(monkeypatch, caplog, capsys):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    monkeypatch.setattr(native, "_noticed", set())
    caplog.set_level(logging.INFO, "chainrule")
    x = cr.Tensor([[2.0, 1.0], [3.0, 5.0]])

    for _ in range(2):  # a program each
        cr.compile(lambda x: cr.tanh(x) % 2)(x)
    cr.compile(lambda x: x % 2)(cr.Tensor([1.0], dtype=cr.float16))
    cr.compile(lambda x: x.astype(cr.int64))(x)
    cr.compile(lambda x: x @ x)(x)
    assert [(r.name, r.levelno) for r in caplog.records] == [("chainrule", logging.INFO)] * 2
    assert [r.getMessage() for r in caplog.records] == [
        f"{what} runs in NumPy within a compiled step: the native backend has no code for it yet"
        for what in (
            "remainder of float32",
            "astype of float32 to int64",
        )
    ]
    assert capsys.readouterr().err == ""
