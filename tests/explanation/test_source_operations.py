"""Each row of the table of operations has an expression, and it gives what the operation means."""

import numpy as np
import pytest

from chainrule import ops
from chainrule.explanation.source import helpers
from chainrule.explanation.source.constants import constant, number
from chainrule.explanation.source.expressions import as_whole, name, stripped
from chainrule.explanation.source.functions import Functions
from chainrule.explanation.source.operations import EMISSIONS, WRITTEN, expression
from chainrule.graph import Node
from test_table import TAKES, small

POOL = {"window": (2,), "stride": (2,), "dilation": (1,), "padding": ((1, 0),)}
HEADS = ((2, 3, 2, 4), (2, 5, 2, 4), (2, 5, 2, 3))  # queries, keys, values
CASES = {  # of rows that have none in the table: several results
    "max_pool": [(((2, 5, 3),), POOL), (((1, 4, 4, 2),), {
        "window": (3, 2), "stride": (1, 1), "dilation": (1, 2), "padding": ((1, 1), (0, 1))})],
    "standardise": [(((4, 3),), {"axis": (0,), "eps": 1e-5}),
                    (((4, 3), (4, 1)), {"axis": (1,), "eps": 1e-3})],
    "attention": [(HEADS, {"causal": False, "scale": 0.5}),
                  ((*HEADS, (1, 1, 3, 5)), {"causal": True, "scale": 0.7})],
    "attention_derivative": [
        (((2, 3, 2, 3), (2, 3, 2, 1), (2, 3, 2, 1), *HEADS), {"causal": True, "scale": 0.5})],
}  # fmt: skip
DTYPES = [np.dtype(t) for t in (np.float64, np.float32, np.int64, np.int8, np.uint8, np.bool_)]


def leaf(array):
    return Node(None, (), {}, array.shape, array.dtype)


def computed(node, operands, arrays):
    """What the node's expression gives on arrays that are named as the operands are."""
    functions = Functions(vars(helpers))
    text = expression(node, operands, functions)
    whole = as_whole(text, node.shape, node.dtype) if not isinstance(node.dtype, tuple) else text
    space = dict(arrays)
    parts = [*functions.imports, *functions.assignments, *functions.texts]
    exec("\n".join(parts), space)
    with np.errstate(all="ignore"):
        return eval(whole.text, space)


def agree(found, expected):
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
        return
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    bound = 1e-5 if expected.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=bound, atol=bound)


def test_no_operation_is_missing():
    assert {*EMISSIONS} | WRITTEN == {*ops.TABLE.values()}
    assert not {*EMISSIONS} & WRITTEN


@pytest.mark.parametrize("name_", [n for n in ops.TABLE if ops.TABLE[n] in EMISSIONS])
def test_an_expression_gives_what_the_operation_means(name_):
    op, done = ops.TABLE[name_], 0
    for case, params in [*op.cases, *CASES.get(name_, ())]:
        for dtype in DTYPES if op.cases else DTYPES[:1]:
            if dtype.kind not in TAKES.get(name_, "biuf"):
                continue
            arrays = small(op, case, dtype)
            shape, result = op.infer(*arrays, **params)
            inputs = tuple(map(leaf, arrays))
            node = Node(op, inputs, params, shape, result)
            names = [f"a{k}" for k in range(len(arrays))]
            with np.errstate(all="ignore"):
                expected = op.evaluate(*arrays, **params)
            operands = [name(n, a.shape) for n, a in zip(names, arrays, strict=True)]
            agree(computed(node, operands, zip(names, arrays, strict=True)), expected)
            done += 1
    assert done


@pytest.mark.parametrize("name_", [n for n in ops.TABLE if ops.TABLE[n] in EMISSIONS])
def test_operands_may_be_smaller_than_the_graph_says(name_):
    """Where the operands repeat along an axis, or have axes of size 1 in front."""
    op = ops.TABLE[name_]
    for case, params in [*op.cases, *CASES.get(name_, ())]:
        dtype = next(d for d in DTYPES if d.kind in TAKES.get(name_, "biuf"))
        for axis in range(3):
            arrays, operands, values = [], [], {}
            for k, array in enumerate(small(op, case, dtype)):
                size = array.shape
                if axis < array.ndim and array.size and not isinstance(case[k], np.ndarray):
                    part = np.take(array, [0], axis)
                else:
                    part = array
                part = part.reshape(stripped(part.shape))
                arrays.append(np.broadcast_to(part, size))
                operands.append(name(f"a{k}", part.shape))
                values[f"a{k}"] = part
            shape, result = op.infer(*arrays, **params)
            node = Node(op, tuple(map(leaf, arrays)), params, shape, result)
            with np.errstate(all="ignore"):
                expected = op.evaluate(*map(np.array, arrays), **params)
            agree(computed(node, operands, values), expected)


@pytest.mark.parametrize("value", [0, 1, 2, 0.5, -1])
@pytest.mark.parametrize("name_", [n for n in ops.TABLE if ops.TABLE[n].cases])
def test_an_operand_may_be_a_number(name_, value):
    """Which takes the dtype of the arrays that it meets."""
    op = ops.TABLE[name_]
    for case, params in op.cases:
        for dtype in (d for d in DTYPES[:3] if d.kind in TAKES.get(name_, "biuf")):
            for which in range(len(case)):
                arrays = small(op, case, dtype)
                kind = arrays[which].dtype
                if np.array(value).astype(kind) != value:
                    continue
                if value == 0 and kind.kind == "i" and name_ in ("floor_divide", "remainder"):
                    continue  # so is a division by 0
                if name_ == "power" and kind.kind == "i" and value < 0:
                    continue  # a whole number to a negative power is an error
                if isinstance(case[which], np.ndarray):
                    continue  # indices
                values = {f"a{k}": a for k, a in enumerate(arrays)}
                operands = [name(n, a.shape) for n, a in values.items()]
                arrays[which] = np.full_like(arrays[which], value)
                operands[which] = number(arrays[which].dtype.type(value))
                shape, result = op.infer(*arrays, **params)
                node = Node(op, tuple(map(leaf, arrays)), params, shape, result)
                with np.errstate(all="ignore"):
                    expected = op.evaluate(*arrays, **params)
                agree(computed(node, operands, values), expected)


CONSTANTS = {
    "np.arange(4)": np.arange(4),
    "np.arange(4)[:, None]": np.repeat(np.arange(4)[:, None], 3, 1),
    "np.arange(7, 1, -2)": np.arange(7, 1, -2),
    "np.arange(3, dtype=np.uint8)": np.arange(3, dtype=np.uint8),
    "np.tri(3, 4, dtype=bool)": np.tri(3, 4, dtype=bool),
    "np.tri(3, 4, -2, dtype=bool)": np.tri(3, 4, -2, dtype=bool),
    "np.eye(3, dtype=np.float32)": np.eye(3, dtype=np.float32),
    "0.5": np.full((2, 3), 0.5),
    "-0.0": np.array(-0.0),
    "1 / 3": np.array(1 / 3, np.float32),
    "1 / 0.9": np.array(1 / 0.9),
    "0.123456789": np.array(0.123456789),
    "np.inf": np.full((2, 2), np.inf),
    "-np.inf": np.array(-np.inf, np.float32),
    "np.nan": np.full((2, 2), np.nan),
    "True": np.ones((2, 2), bool),
    "18446744073709551615": np.array(2**64 - 1, np.uint64),
    "np.array([[1, 2.5], [0.1, -3]], np.float32)": np.array([[1, 2.5], [0.1, -3]], np.float32),
    "np.zeros((0, 3), np.float64)": np.zeros((0, 3)),
    "np.array([True, False, True], bool)": np.array([True, False, True]),
}


@pytest.mark.parametrize("text", CONSTANTS)
def test_a_constant_reads_as_it_is_made(text):
    value = CONSTANTS[text]
    e = constant(value)
    assert e.text == text
    whole = eval(as_whole(e, value.shape, value.dtype).text, {"np": np})
    assert np.asarray(whole).dtype == value.dtype or not value.shape
    np.testing.assert_array_equal(np.asarray(whole, value.dtype), value)


def test_a_large_constant_is_no_text():
    assert constant(np.random.default_rng(0).normal(size=(20, 20))) is None
