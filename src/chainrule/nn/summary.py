"""What a model consists of, as a table: shapes, parameters and operations of every module."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tree
from ..compile.cost import counted
from ..dtypes import float32
from ..errors import ArgumentError, ChainruleError
from ..graph import Graph, spec_text
from ..recording import record
from ..tensor import Tensor, as_tensor, no_grad
from ..trace import Trace

if TYPE_CHECKING:
    from .module import Module


@dataclass(frozen=True)
class Row:
    """One module; what it has and does includes the modules inside."""

    path: str
    kind: str  # its class
    depth: int
    shape: tuple[int, ...] | None  # of its (first) output; None: it was not called, or gave none
    parameters: int
    operations: int  # of all its calls
    calls: int


@dataclass(frozen=True)
class Summary:
    """The modules of a model and the totals; str() is a table.

    parameters   how many numbers are trained or frozen
    trainable    how many are trained
    bytes        of parameters and buffers
    operations   floating-point operations of one forward of these inputs (see compile/cost.py)
    """

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    bytes: int
    operations: int

    def __str__(self) -> str:
        table = [("layer", "output", "parameters", "operations")]
        for row in self.rows:
            name = f"{row.path} ({row.kind})" if row.path else row.kind
            calls = f" × {row.calls}" if row.calls > 1 else ""
            table.append(
                (
                    "  " * row.depth + name + calls,
                    "-" if row.shape is None else str(row.shape),
                    f"{row.parameters:,}",
                    f"{row.operations:,}",
                )
            )
        a, b, c, d = (max(len(line[k]) for line in table) for k in range(4))
        lines = [f"{w:<{a}}  {x:<{b}}  {y:>{c}}  {z:>{d}}" for w, x, y, z in table]
        rule = "─" * len(lines[0])
        frozen = self.parameters - self.trainable
        return "\n".join(
            [
                lines[0],
                rule,
                *lines[1:],
                rule,
                f"parameters  {self.parameters:,} ({self.trainable:,} trained, {frozen:,} frozen)",
                f"memory      {self.bytes:,} bytes of parameters and buffers",
                f"operations  {self.operations:,} forward for these inputs",
            ]
        )


@dataclass
class _Calls:
    """What was seen of a module: the nodes made by each call, and the shape of the first output."""

    begun: list[int]
    spans: list[tuple[int, int]]
    shape: tuple[int, ...] | None = None


def summarise(model: Module, inputs: Sequence[Any]) -> Summary:
    """Trace the model on the inputs and count; the model is left as it was."""
    shapes = [x for x in inputs if _is_shape(x)]
    modules = [m for _, m in model.named_modules()]
    before = [dict(vars(m)) for m in modules]
    seen = [_Calls([], []) for _ in modules]

    def run(given: list[Tensor]) -> list[Tensor]:
        rest = iter(given)
        out = model(*(next(rest) if _is_shape(x) else x for x in inputs))
        return [as_tensor(t) for t in tree.flatten(out)[0] if isinstance(t, (Tensor, np.ndarray))]

    trace = Trace()
    try:
        for module, calls in zip(modules, seen, strict=True):
            _watch(module, calls, lambda: trace.input((), float32).serial)
        with no_grad():
            graph = record(run, [(s, float32, False) for s in shapes], trace, "summary").graph
    except ChainruleError:
        raise
    except Exception as error:
        given = ", ".join(_text(x) for x in inputs) or "no inputs"
        raise ArgumentError(
            "summary",
            f"got {given}, where {type(model).__name__} says: {error}".replace(";", ","),
            "what its forward takes",
            "give example arrays, or their shapes as tuples",
        ) from error
    finally:
        for module, attributes in zip(modules, before, strict=True):
            vars(module).clear()
            vars(module).update(attributes)
    return _summary(model, dict(zip(map(id, modules), seen, strict=True)), graph)


def _watch(module: Module, calls: _Calls, now: Callable[[], int]) -> None:
    """Note when each call of the module begins and ends, and what comes out."""
    forward = module.forward

    def begin(*args: Any, **kwargs: Any) -> Any:
        calls.begun.append(now())
        return forward(*args, **kwargs)

    def end(_: Module, args: Any, output: Any) -> None:
        calls.spans.append((calls.begun.pop(), now()))
        if calls.shape is None:
            leaves = tree.flatten(output)[0]
            calls.shape = next((t.shape for t in leaves if isinstance(t, Tensor)), None)

    vars(module)["forward"] = begin
    module.register_forward_hook(end)


def _summary(model: Module, seen: dict[int, _Calls], graph: Graph) -> Summary:
    each = sorted((inner.serial, n) for node in graph.nodes for inner, n in counted(node))
    serials = [serial for serial, _ in each]
    sums = [0, *itertools.accumulate(n for _, n in each)]
    rows = []
    for depth, path, m in model._modules():
        calls = seen[id(m)]
        done = sum(
            sums[bisect_left(serials, b)] - sums[bisect_left(serials, a)] for a, b in calls.spans
        )
        count = sum(t.size for t in m.parameters())
        rows.append(Row(path, type(m).__name__, depth, calls.shape, count, done, len(calls.spans)))
    return Summary(
        tuple(rows),
        rows[0].parameters,
        sum(t.size for t in model.parameters() if t.requires_grad),
        sum(t.size * t.dtype.itemsize for _, t, _ in model._tensors()),
        sums[-1],
    )


def _is_shape(x: Any) -> bool:
    return type(x) is tuple and all(type(n) is int for n in x)


def _text(x: Any) -> str:
    return spec_text(x) if isinstance(x, (Tensor, np.ndarray)) else repr(x)
