"""Operations and the rules of the table as formulas, in the names of the values."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import derivatives, ops
from ...graph import Graph, Node, Operation
from ..formula import formula
from ..handbook import LONGEST, row_formulas
from ..numbers import number_text

_SHORTER = {  # of a formula with the names of values
    r"permute_dims\(([^(),]+)ᵀ\)": r"\1",
    r"permute_dims\(([^(),]+)\)": r"\1ᵀ",
    r"reshape\(([^(),]+)\)": r"\1",
    r"broadcast_to\(([^(),]+)\)": r"\1 for each",
    r" [−+] 0(?=[ )]|$)": "",
    r"^1 / 1$": "1",
    r"\[\S+ = 0 and ([\d.]*[1-9][\d.]*) = 0: 1, else \1\]": r"\1",  # of a power
}
_PARAMETER = re.compile(r", \w+=(\((?:[^()]|\([^()]*\))*\)|[^(),]+)")


def written(node: Node, names: Sequence[str]) -> str:
    """An operation as a formula of these names of its inputs."""
    assert node.op is not None
    if node.op is ops.slice:
        return names[0] + _slice_text(node)
    if node.op is ops.item:
        return f"{names[0]}[{node.params['index']}]"
    if node.op is ops.equal:
        return " == ".join(names)
    if node.params:
        return f"{node.op.name}({', '.join(names)})"
    text = formula(Graph([], [node]), dict(zip(node.inputs, names, strict=True)))
    return text.removesuffix(" / 1")


def constant_text(value: Any) -> str:
    """A constant of equal numbers as this number, rows of 0, 1, 2 as (0…2); or an empty text."""
    if isinstance(value, tuple):
        return ""
    array = np.asarray(value)
    if array.size and np.all(array == array.flat[0]):
        return number_text(int(array.flat[0]) if array.dtype.kind == "b" else array.flat[0], 6)
    if array.size and np.all(array == np.arange(array.shape[-1])):
        return f"(0…{array.shape[-1] - 1})"
    return ""


def _slice_text(node: Node) -> str:
    """[0:8, :] of a slice of these parameters."""
    parts = []
    ends = zip(*(node.params[k] for k in ("start", "stop", "step")), strict=True)
    for size, (start, stop, step) in zip(node.inputs[0].shape, ends, strict=True):
        whole = (start, stop, step) == (0, size, 1)
        parts.append(":" if whole else f"{start}:{stop}" + (f":{step}" if step != 1 else ""))
    return f"[{', '.join(parts)}]"


def is_turned(node: Node) -> bool:
    """Whether the operation swaps the last two axes."""
    last = len(node.shape) - 1
    return node.op is ops.permute_dims and node.params["axes"][-2:] == (last, last - 1)


def rule_text(op: Operation, k: int, names: Mapping[str, str]) -> str:
    """The rule for an input of the operation.

    names   of its arguments, of its output as y, and of ∂loss/∂y as g
    """
    g = names["g"]
    text, is_factor = _rule_of(op, k)
    if text is None:
        return f"{g}, by the rule of {op.name}"
    text = re.sub(r"\b[a-z]\w*\b", lambda m: names.get(m[0], m[0]), text, flags=re.ASCII)
    for pattern, instead in _SHORTER.items():
        text = re.sub(pattern, instead, text)
    if not is_factor:
        return text
    if text in ("1", "−1"):
        return g if text == "1" else f"−{g}"
    if g == "∂loss/∂loss":
        return text
    return f"{g} · ({text})" if re.search(r" [−+/] ", text) else f"{g} · {text}"


@functools.cache
def _rule_of(op: Operation, k: int) -> tuple[str | None, bool]:
    """The rule for an input as a formula or None if it is long; whether it is a factor of g.

    Shapes and axes are left out: the table is run on others.
    """
    row = derivatives.TABLE.get(op.name)
    if row is None or row.op is not op or not row.rules:
        return None, False
    by = op.arguments[k] if op.arguments != ("*xs",) else f"x{k + 1}"
    text = dict(row_formulas(row)).get(by)
    if text is None:
        return None, False
    pointwise = op in ops.POINTWISE or op.kind == "elementwise"
    while (shorter := _PARAMETER.sub("", text)) != text:
        text = shorter
    return (text, pointwise) if len(text) <= LONGEST // 2 else (None, False)
