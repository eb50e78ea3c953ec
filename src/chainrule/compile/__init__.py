"""Compiling a step: trace it, optimise the graph of the whole of it, let a backend run it."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops, tree
from ..backends import reference
from ..backends.program import lower
from ..errors import ArgumentError, TraceError
from ..graph import Array, Graph, spec_text
from ..recording import Recorded, record
from ..sparse import RowSparse
from ..tensor import Tensor, as_tensor, make, record_outputs
from ..trace import changes, state
from .passes import optimise

MANY_SHAPES = 8  # after so many recompilations of one function a warning names what varies


@dataclass
class Step:
    """One compilation: what to feed, what runs, and where the results go."""

    run: Callable[[Sequence[Array]], list[Array]]
    recorded: Recorded
    traced: Graph
    graph: Graph  # after the passes
    specs: list[tuple[Any, Any, bool]]  # of the captured tensors, as they were when traced
    results: int
    structure: Any
    grads: list[tuple[Tensor, Any]]  # tensor, and how many outputs its gradient takes (or None)
    reachable: list[bool]  # the results that can be differentiated from outside
    names: list[tuple[Callable[[], Any], Any]]  # variables that held tensors, and which
    seen: int  # the count of changes at which the guards were last found to hold


class Compiled:
    """A function that is traced once per shapes of its arguments and then runs as one program."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._steps: dict[Any, list[Step]] = {}
        functools.update_wrapper(self, function)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.trace is not None:  # inside another trace it is part of that graph
            return self._function(*args, **kwargs)
        leaves, structure = tree.flatten((args, kwargs))
        fixed: list[Any] = []
        tensors: list[Tensor] = []
        for leaf in leaves:
            if isinstance(leaf, (Tensor, np.ndarray)):
                t = as_tensor(leaf)
                tensors.append(t)
                fixed.append((t.shape, t.dtype, t.requires_grad))
            else:
                fixed.append(_Fixed(leaf))
        key = (structure, tuple(fixed), state.grad)
        step = next((s for s in self._steps.get(key, ()) if _fits(s)), None)
        if step is None:
            step = self._compile(key, structure, leaves, tensors)
        return _run(step, tensors)

    def _compile(self, key: Any, structure: Any, leaves: list[Any], tensors: list[Tensor]) -> Step:
        out_tree: Any = None

        def body(inputs: list[Tensor]) -> list[Tensor]:
            nonlocal out_tree
            given = iter(inputs)
            filled = [
                next(given) if isinstance(leaf, (Tensor, np.ndarray)) else leaf for leaf in leaves
            ]
            args, kwargs = tree.unflatten(structure, filled)
            out, out_tree = tree.flatten(self._function(*args, **kwargs))
            return [as_tensor(t) for t in out]

        made = record(body, [(t.shape, t.dtype, t.requires_grad) for t in tensors])
        step = _finish(made, out_tree, _variables(self._function))
        self._steps.setdefault(key, []).append(step)
        count = sum(len(s) for s in self._steps.values())
        if count == MANY_SHAPES:
            warnings.warn(_varying(self._function, list(self._steps)), stacklevel=3)
        return step

    def graph(self, *args: Any, **kwargs: Any) -> str:
        """The graph that these arguments have, after all passes, as text. Nothing is run."""
        leaves, structure = tree.flatten((args, kwargs))
        tensors = [as_tensor(x) for x in leaves if isinstance(x, (Tensor, np.ndarray))]
        probe = Compiled(self._function)
        return str(probe._compile(("graph",), structure, leaves, tensors).graph)


class _Fixed:
    """An argument that is no tensor: part of the key, by type and value (1, 1.0, True differ)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            raise ArgumentError(
                "compile", f"got an argument of type {type(value).__name__}",
                "tensors, arrays, hashable values and lists, tuples, dicts of them",
                "pass tensors, or close over the object",
            ) from None  # fmt: skip
        self.value = value

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Fixed)
            and type(other.value) is type(self.value)
            and (repr(other.value) == repr(self.value) if isinstance(self.value, float)
                 else other.value == self.value)
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.value)


def _slot(owner: Any, slot: str) -> Any:
    """The tensor that stands in the owner's slot now (None: there is none)."""
    if slot == "value":
        return owner
    held = owner._grad
    for name in slot.split(".")[1:]:
        held = getattr(held, name, None)
    return held if isinstance(held, Tensor) else None


def _fits(step: Step) -> bool:
    """Whether the captured tensors are still as they were when the step was traced."""
    made = step.recorded
    if any(look_up() is not tensor for look_up, tensor in step.names):
        return False
    if step.seen != changes.count:
        if not all(guard.holds() for guard in made.trace.guards):
            return False
        step.seen = changes.count
    for (owner, slot), (shape, dtype, grad) in zip(made.reads, step.specs, strict=True):
        t = _slot(owner, slot)
        if t is None or t.shape != shape or t.dtype != dtype or t.requires_grad != grad:
            return False
    return all(t._grad is None for t in made.trace.without_grad.values())


def _variables(function: Callable[..., Any]) -> list[tuple[Callable[[], Any], Any]]:
    """The function's outer variables that hold tensors: given another tensor, it is traced anew."""
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return []
    cells = getattr(function, "__closure__", None) or ()
    looks: list[Callable[[], Any]] = [functools.partial(_content, c) for c in cells]
    looks += [functools.partial(function.__globals__.get, name) for name in code.co_names]
    found = [(look_up, look_up()) for look_up in looks]
    return [(look_up, held) for look_up, held in found if isinstance(held, Tensor)]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _finish(made: Recorded, structure: Any, names: list[tuple[Callable[[], Any], Any]]) -> Step:
    trace = made.trace
    for owner, slot in made.reads:
        if slot == "value" and owner._node is not None and owner._node.op is not None:
            raise TraceError(
                "compile",
                f"got the captured tensor {spec_text(owner)}, which has a recorded history",
                "leaves and arguments are needed",
                "compute it inside, pass it as an argument, or detach() it",
                owner._node.source,
            )
    outputs = list(made.graph.outputs)
    grads: list[tuple[Tensor, Any]] = []
    for tensor, value in trace.grads.values():
        if isinstance(value, RowSparse):
            outputs += [trace.node_of(value.indices), trace.node_of(value.values)]
            grads.append((tensor, value.shape))
        else:
            grads.append((tensor, None if value is None else ()))
            if value is not None:
                outputs.append(trace.node_of(value))
    graph = Graph(made.graph.inputs, outputs)
    captured = {id(o): k for k, (o, slot) in enumerate(made.reads) if slot == "value"}
    first = len(graph.inputs) - len(made.reads)
    updates = {made.results + k: first + captured[id(w)] for k, w in enumerate(made.writes)}
    shown = os.environ.get("CHAINRULE_SHOW", "").split(",")
    if "graph" in shown:
        _show("traced", graph)
    optimised = optimise(graph, _show if "graph" in shown else None)
    program = lower(optimised, updates)
    if "program" in shown:
        print(program, file=sys.stderr)
    specs = []
    for owner, slot in made.reads:
        t = _slot(owner, slot)
        specs.append((t.shape, t.dtype, t.requires_grad))
    # A step that called backward() has used its history; anything else can be differentiated.
    reachable = [o.requires_grad and not trace.grads for o in outputs[: made.results]]
    return Step(
        reference.build(program), made, Graph(graph.inputs, outputs[: made.results]), optimised,
        specs, made.results, structure, grads, reachable, names,
        changes.count,
    )  # fmt: skip


def _show(name: str, graph: Graph) -> None:
    print(f"── {name} ──\n{graph}", file=sys.stderr)


def _run(step: Step, tensors: Sequence[Tensor]) -> Any:
    made = step.recorded
    captured = [_slot(owner, slot) for owner, slot in made.reads]
    out = step.run([t._value for t in [*tensors, *captured]])
    results: list[Any] = [make(v) for v in out[: step.results]]
    if any(step.reachable):  # recorded as one node, whose derivative does the graph again
        params = {"graph": step.traced}
        again = record_outputs(ops.call, (*tensors, *captured), params, tuple(out[: step.results]))
        pairs = zip(again, results, step.reachable, strict=True)
        results = [a if wanted else r for a, r, wanted in pairs]
    rest = iter(out[step.results :])
    for owner in made.writes:
        value = next(rest)
        leaf = owner.requires_grad
        owner._value = value
        owner._node = owner._leaf(value, owner._node.hooks) if leaf else None
    for tensor, shape in step.grads:
        if shape is None:
            tensor._grad = None
        elif shape:
            indices, values = make(next(rest)), make(next(rest))
            tensor._grad = RowSparse(indices, values, shape)
        else:
            tensor._grad = make(next(rest))
    return tree.unflatten(step.structure, results)


def _varying(function: Callable[..., Any], keys: list[Any]) -> str:
    """Which argument's shape changes from call to call."""
    columns = zip(*(k[1] for k in keys), strict=False)
    varying = [k for k, column in enumerate(columns) if len(set(column)) > 1]
    name = getattr(function, "__name__", "function")
    which = ", ".join(map(str, varying)) or "captured tensors"
    return (
        f"[compile] {name} was compiled {MANY_SHAPES} times; leaf {which} of its arguments "
        "varies; pad it to a fixed shape, or call the function without compile"
    )


def compile(function: Callable[..., Any]) -> Compiled:
    """Trace the function once per shapes of its arguments and run the whole of it as one program.

    Tensors that the function reads from outside (parameters, buffers, the random state) are read
    anew at each call, and those that it assigns are assigned: the result is what the function
    itself gives. Python code inside runs only while tracing; a value that Python decides by must
    be an argument that is no tensor.
    """
    if not callable(function):
        raise ArgumentError(
            "compile", f"got {type(function).__name__}", "a function", "use it as a decorator"
        )
    return Compiled(function)
