"""A model as a table: shapes, parameters and operations of every module."""

from __future__ import annotations

import itertools
import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .. import tree
from ..compile.cost import counted
from ..dtypes import float32
from ..errors import ArgumentError, ChainruleError
from ..graph import Graph, spec_text
from ..recording import record
from ..tensor import Tensor, as_tensor, no_grad
from ..trace import Trace


class Observable(Protocol):
    """A module, as a summary uses it."""

    @property
    def forward(self) -> Callable[..., Any]: ...

    def __call__(self, *args: Any) -> Any: ...

    def register_forward_hook(self, hook: Callable[..., Any]) -> object: ...

    def parameters(self) -> list[Tensor]: ...


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
    """The calls of a module while the model was traced.

    starts   serial numbers of nodes: of the calls that have not ended yet
    spans    of each call: its start, and the first serial number after it
    shape    of the first output
    """

    starts: list[int]
    spans: list[tuple[int, int]]
    shape: tuple[int, ...] | None = None


def summarise(
    modules: Sequence[tuple[int, str, Observable]],
    tensors: Sequence[Tensor],
    inputs: Sequence[Any],
) -> Summary:
    """Trace a model on the inputs and count; the model is left as it was.

    modules   depth, path and module: the model first, then all modules inside
    tensors   the model's parameters and buffers
    """
    model = modules[0][2]
    shapes = [x for x in inputs if _is_shape(x)]
    before = [dict(vars(m)) for _, _, m in modules]
    observed = [_Calls([], []) for _ in modules]

    def run(handles: list[Tensor]) -> list[Tensor]:
        rest = iter(handles)
        out = model(*(next(rest) if _is_shape(x) else x for x in inputs))
        return [as_tensor(t) for t in tree.flatten(out)[0] if isinstance(t, (Tensor, np.ndarray))]

    trace = Trace()
    try:
        for (_, _, module), calls in zip(modules, observed, strict=True):
            _observe(module, calls, lambda: trace.input((), float32).serial)
        with no_grad():
            graph = record(run, [(s, float32, False) for s in shapes], trace, "summary").graph
    except ChainruleError:
        raise
    except Exception as error:
        arrived = ", ".join(_text(x) for x in inputs) or "no inputs"
        raise ArgumentError(
            "summary",
            f"got {arrived}, where {type(model).__name__} says: {error}".replace(";", ","),
            "expected what its forward takes",
            "give example arrays, or their shapes as tuples",
        ) from error
    finally:
        for (_, _, module), attributes in zip(modules, before, strict=True):
            vars(module).clear()
            vars(module).update(attributes)
    count = _operations(graph)
    rows = [_row(*place, calls, count) for place, calls in zip(modules, observed, strict=True)]
    return Summary(
        tuple(rows),
        rows[0].parameters,
        sum(t.size for t in model.parameters() if t.requires_grad),
        sum(t.size * t.dtype.itemsize for t in tensors),
        count(0, sys.maxsize),
    )


def _observe(module: Observable, calls: _Calls, now: Callable[[], int]) -> None:
    """Note when each call of the module begins and ends, and what comes out."""
    forward = module.forward

    def begin(*args: Any, **kwargs: Any) -> Any:
        calls.starts.append(now())
        return forward(*args, **kwargs)

    def end(_: object, args: Any, output: Any) -> None:
        calls.spans.append((calls.starts.pop(), now()))
        if calls.shape is None:
            leaves = tree.flatten(output)[0]
            calls.shape = next((t.shape for t in leaves if isinstance(t, Tensor)), None)

    vars(module)["forward"] = begin
    module.register_forward_hook(end)


def _operations(graph: Graph) -> Callable[[int, int], int]:
    """A function that counts the operations of the nodes from one serial number to another."""
    each = sorted((inner.serial, n) for node in graph.nodes for inner, n in counted(node))
    serials = [serial for serial, _ in each]
    sums = [0, *itertools.accumulate(n for _, n in each)]
    return lambda start, end: sums[bisect_left(serials, end)] - sums[bisect_left(serials, start)]


def _row(
    depth: int, path: str, module: Observable, calls: _Calls, count: Callable[[int, int], int]
) -> Row:
    operations = sum(count(start, end) for start, end in calls.spans)
    parameters = sum(t.size for t in module.parameters())
    kind = type(module).__name__
    return Row(path, kind, depth, calls.shape, parameters, operations, len(calls.spans))


def _is_shape(x: Any) -> bool:
    return type(x) is tuple and all(type(n) is int for n in x)


def _text(x: Any) -> str:
    return spec_text(x) if isinstance(x, (Tensor, np.ndarray)) else repr(x)
