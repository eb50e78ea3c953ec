"""Every operation in the page's JavaScript beside its meaning in NumPy."""

from typing import Any

import numpy as np
import pytest
from computing import Computer, given

import chainrule as cr
from chainrule import ops
from chainrule.dtypes import DTYPES
from chainrule.explanation.page.contents import described_node
from chainrule.graph import Node, Operation

CONTROL = {"call", "custom", "scan"}  # in the page they run their graph
_POOL = {"window": (2, 2), "stride": (2, 1), "dilation": (1, 2), "padding": ((0, 1), (1, 1))}
_HEADS = [(2, 3, 2, 4), (2, 5, 2, 4), (2, 5, 2, 3)]
_ATTENDED = [(2, 3, 2, 3), (2, 3, 2, 1), (2, 3, 2, 1), *_HEADS]
MASK = np.random.default_rng(1).random((2, 2, 3, 5)) < 0.6
MASK[0, 0, 1] = False  # a row without any key
# Cases of the operations that have none in their table.
MORE: dict[str, list[Any]] = {
    "max_pool": [(((2, 5, 4, 3),), _POOL)],
    "standardise": [
        (((3, 4, 2),), {"axis": (0, 1), "eps": 1e-5}),
        (((3, 4), (1, 4)), {"axis": (0,), "eps": 1e-3}),
        (((3, 4), (3, 1)), {"axis": (1,), "eps": 1e-3}),
    ],
    "attention": [
        (_HEADS, {"causal": False, "scale": 0.5}),
        (_HEADS, {"causal": True, "scale": 0.3}),
        ([*_HEADS, MASK, (1, 2, 3, 1)], {"causal": False, "scale": 0.5}),
    ],
    "attention_derivative": [
        (_ATTENDED, {"causal": True, "scale": 0.5}),
        ([*_ATTENDED, MASK], {"causal": False, "scale": 0.5}),
    ],
}
SPECIAL = np.array([0.0, -0.0, 1, -1, 0.5, -2.5, 3.5, 1e-30, -1e30, np.inf, -np.inf, np.nan])
# Relative to the largest element of the result.
CLOSE = {"float64": 1e-12, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


@pytest.fixture(scope="module")
def computer(browser):
    return Computer(browser)


def test_every_operation_is_there(computer):
    assert {*computer.run("return Object.keys(chainrule.operations)")} | CONTROL == {*ops.TABLE}


def inputs_of(op: Operation, case: Any, dtype: Any, rng: Any) -> list[Any]:
    """Numbers of the dtype in the case's shapes."""
    names = op.arguments if len(op.arguments) == len(case) else ["xs"] * len(case)
    out = []
    for name, entry in zip(names, case, strict=True):
        if isinstance(entry, np.ndarray):
            out.append(entry if entry.dtype.kind in "biu" else entry.astype(dtype))
        elif name == "condition":
            out.append(rng.random(entry) < 0.5)
        elif dtype.kind in "fV":
            out.append(rng.normal(size=entry).astype(dtype))
        else:
            positive = dtype.kind in "bu" or op.name in ("floor_divide", "remainder")
            low = 0 if op.name == "power" or "shift" in op.name else 1 if positive else -4
            out.append(rng.integers(low, 5, entry).astype(dtype))
    return out


def elementwise(op: Operation, dtype: Any) -> list[Any]:
    """The special numbers, each with each."""
    if op.name == "power":
        return [np.array([0, 1, 2.5, np.inf, np.nan]).astype(dtype)] * 2
    special = SPECIAL.astype(dtype)
    n = len(special)
    pairs = [np.repeat(special, n), np.tile(special, n)]
    return pairs[: len(op.arguments)] if len(op.arguments) < 3 else [pairs[0] > 0, *pairs]


def cases() -> list[tuple[str, Operation, list[Any], dict[str, Any]]]:
    """(label, operation, inputs, parameters) for each operation, case and dtype that it takes."""
    out = []
    rng = np.random.default_rng(0)
    for op in ops.TABLE.values():
        if op.name in CONTROL or op.name == "item":
            continue
        for dtype in DTYPES:
            drawn = [
                (inputs_of(op, case, dtype, rng), params)
                for case, params in (*op.cases, *MORE.get(op.name, ()))
            ]
            if op in ops.POINTWISE and dtype.kind in "fV" and op.name != "astype":
                with np.errstate(all="ignore"):
                    drawn.append((elementwise(op, dtype), {}))
            for inputs, params in drawn:
                try:
                    op.infer(*inputs, **params)
                except cr.errors.ChainruleError:
                    continue  # not of this dtype
                out.append((f"{op.name} {dtype}", op, inputs, params))
    return out


@pytest.fixture(scope="module")
def results(computer):
    """What each case gives, in Python and in the page."""
    with np.errstate(all="ignore"):
        expected = [op.evaluate(*inputs, **params) for _, op, inputs, params in CASES]
    nodes = []
    for _, op, inputs, params in CASES:
        shape, dtype = op.infer(*inputs, **params)
        nodes.append(
            (described_node(Node(op, (), params, shape, dtype), {}), [*map(given, inputs)])
        )
    computed = computer.run(
        """return argument.map(([node, inputs]) => attempt(() =>
            bytes(chainrule.evaluated(node, inputs.map(chainrule.decoded)))))""",
        nodes,
    )
    return dict(enumerate(zip(expected, computed, strict=True)))


CASES = cases()


@pytest.mark.parametrize("name", [n for n in ops.TABLE if n not in CONTROL and n != "item"])
def test_an_operation_is_as_in_numpy(results, name):
    of_name = [k for k, (_, op, _, _) in enumerate(CASES) if op.name == name]
    assert of_name
    for k in of_name:
        label, _, inputs, params = CASES[k]
        expected, computed = results[k]
        both = (expected, computed) if isinstance(expected, tuple) else ([expected], [computed])
        for theirs, ours in zip(*both, strict=True):
            assert not isinstance(ours, dict), (label, ours)
            # In these NumPy gives 0 or -0 by dtype.
            signs = name not in ("maximum", "minimum", "sign", "nextafter")
            compare(f"{label} {inputs} {params}", np.asarray(theirs), ours, signs)


def compare(label: str, theirs: Any, ours: Any, signs: bool) -> None:
    if theirs.dtype.kind in "biu":
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(theirs, ours, label)
        return
    close = CLOSE[str(theirs.dtype)]
    wide = theirs.astype(np.float64)
    np.testing.assert_allclose(ours, wide, close, close, True, label)
    zero = (wide == 0) & (ours == 0) & signs
    np.testing.assert_array_equal(np.signbit(wide[zero]), np.signbit(ours[zero]), label)
