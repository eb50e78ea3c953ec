"""Graphs: immutable nodes, their order, how they print, and what makes one legal.

A node is one value: the result of an operation on other nodes, or a leaf (`op is None`: an input or
a constant). Nodes number themselves as they are made, and a node is always made after its inputs;
so sorting by number is a topological order, with no recursion, however deep the graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import numpy as np

from .errors import GraphError, type_of_source

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]
Shape = tuple[int, ...]
NO_PARAMS: Mapping[str, Any] = {}  # of a leaf, or of an operation without parameters


class Spec(Protocol):
    """Anything with a shape and a dtype: a node, a tensor, an array."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...


class ShapeRule:
    """A shape and dtype rule of `shapes.py`, and what eager mode has to know about it.

    infer    (input specs, parameters) -> (shape, dtype), or an error in the form of `errors.py`
    dtypes   the dtypes that its first input may have; empty: any
    strict   eager mode runs it too, because NumPy would accept what it refuses
    """

    __slots__ = ("dtypes", "infer", "strict")

    def __init__(
        self,
        infer: Callable[..., tuple[Any, Any]],
        dtypes: frozenset[Dtype] = frozenset(),
        strict: bool = False,
    ) -> None:
        self.infer, self.dtypes, self.strict = infer, dtypes, strict

    def __call__(self, *specs: Spec, **params: Any) -> tuple[Any, Any]:
        return self.infer(*specs, **params)


class Operation:
    """One row of the table in `ops.py`.

    name      as it prints
    kind      zero, linear, bilinear, elementwise or other: what its derivative looks like
    rule      its shape and dtype rule, whose parts are `infer`, `dtypes` and `strict`
    evaluate  (input arrays, parameters) -> array: the meaning, in NumPy
    arguments names of the inputs, in order
    cases     inputs and parameters on which the row is checked: ((shape, ...), {parameter: value})
    """

    __slots__ = (
        "_saved",
        "arguments",
        "cases",
        "differentiable",
        "dtypes",
        "evaluate",
        "infer",
        "joint",
        "kind",
        "name",
        "needs",
        "pulls",
        "saves",
        "strict",
    )

    def __init__(
        self,
        name: str,
        kind: str,
        rule: ShapeRule,
        evaluate: Callable[..., Any],
        arguments: tuple[str, ...],
        cases: Sequence[tuple[tuple[Any, ...], dict[str, Any]]] = (),
    ) -> None:
        self.name, self.kind, self.evaluate = name, kind, evaluate
        self.infer, self.dtypes, self.strict = rule.infer, rule.dtypes, rule.strict
        self.arguments, self.cases = arguments, tuple(cases)
        # Set by `derivative_rows.install`: how each input's cotangent is computed (or `joint`: all
        # at once), and the needs of its rule: inputs by position (-1: all), and the output.
        self.differentiable = False
        self.saves = False  # whether a rule needs an input or the output
        self.pulls: tuple[Callable[..., Any] | None, ...] = ()
        self.joint: Callable[..., Any] | None = None
        self.needs: tuple[tuple[tuple[int, ...], bool], ...] = ()
        self._saved: dict[tuple[int, int], tuple[tuple[int, ...], bool]] = {}

    def __call__(self, x: Any, *rest: Any, **params: Any) -> Any:
        """Apply the operation to tensors (see `tensor.Tensor._bind`)."""
        return x._bind(self, (x, *rest), params)

    def saved(self, wanted: int, count: int) -> tuple[tuple[int, ...], bool]:
        """The values to save for a derivative by the wanted inputs (bit k: the k-th of `count`).

        Returns the positions of inputs, and whether to save the output.
        """
        saved = self._saved.get((wanted, count))
        if saved is None:
            needs = [n for k, n in enumerate(self.needs) if self.joint or wanted >> k & 1]
            inputs = {k for n, _ in needs for k in n}
            positions = tuple(range(count)) if -1 in inputs else tuple(sorted(inputs))
            saved = self._saved[wanted, count] = positions, any(output for _, output in needs)
        return saved

    def __repr__(self) -> str:
        return self.name


_serial = itertools.count()


class _Released(tuple["Node", ...]):
    """In place of a node's inputs: `backward` has used and released the values it saved."""


RELEASED = _Released()


class Node:
    """One value of a graph. Immutable, except for `value`: see `tensor/` on what is saved.

    After `backward` a node that saved values has RELEASED in place of its inputs.
    """

    __slots__ = (
        "__weakref__",
        "dtype",
        "hooks",
        "inputs",
        "op",
        "owner",
        "params",
        "requires_grad",
        "serial",
        "shape",
        "source",
        "trace",
        "value",
    )

    def __init__(
        self,
        op: Operation | None,
        inputs: tuple[Node, ...],
        params: Mapping[str, Any],
        shape: Any,
        dtype: Any,
        value: Any = None,
        requires_grad: bool = False,
        source: type_of_source | None = None,
        trace: Any = None,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.params = params
        self.shape = shape
        self.dtype = dtype
        self.value = value
        self.requires_grad = requires_grad
        self.source = source
        self.trace = trace
        self.owner: Any = None  # a leaf's tensor (weak): where backward() leaves the gradient
        self.hooks: Any = None
        self.serial = next(_serial)

    @property
    def is_leaf(self) -> bool:
        """Not computed; or assigned to a tensor whose gradient `backward` keeps."""
        return self.op is None or self.owner is not None

    def __repr__(self) -> str:
        name = self.op.name if self.op is not None else "leaf"
        return f"<{name} {spec_text(self)}>"


def moment() -> int:
    """A serial number between those of the nodes made before and after."""
    return next(_serial)


def spec_text(spec: Spec) -> str:
    """`float32[2,3]`."""
    if isinstance(spec.dtype, tuple):
        pairs = zip(spec.shape, spec.dtype, strict=True)
        return "(" + ", ".join(f"{d}[{','.join(map(str, s))}]" for s, d in pairs) + ")"
    return f"{spec.dtype}[{','.join(map(str, spec.shape))}]"


def topological(outputs: Iterable[Node], only_grad: bool = False) -> list[Node]:
    """Every node that the outputs depend on, inputs before users.

    With `only_grad`, only through nodes that require a gradient.
    """
    seen: set[Node] = set()
    stack = [n for n in outputs if n.requires_grad or not only_grad]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for i in node.inputs:
                if i not in seen and (i.requires_grad or not only_grad):
                    stack.append(i)
    return sorted(seen, key=_by_serial)


def _by_serial(node: Node) -> int:
    return node.serial


class Graph:
    """A function as a graph: inputs (leaves) and outputs."""

    __slots__ = ("_nodes", "inputs", "outputs")

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._nodes: list[Node] | None = None

    @property
    def nodes(self) -> list[Node]:
        """The nodes that the outputs depend on, inputs before users."""
        if self._nodes is None:
            self._nodes = topological(self.outputs)
        return self._nodes

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __str__(self) -> str:
        return "\n".join(lines(self))


def lines(graph: Graph, indent: str = "") -> Iterator[str]:
    """The graph, one assignment per line, with inner graphs indented."""
    names: dict[Node, str] = {}
    count = itertools.count()
    for k, node in enumerate(graph.inputs):
        names[node] = f"in{k}"
    args = ", ".join(f"{names[n]}: {spec_text(n)}" for n in graph.inputs)
    yield f"{indent}graph({args}):"
    for node in graph.nodes:
        if node in names:
            continue
        if node.op is None:
            names[node] = _constant_text(node)
            continue
        names[node] = f"v{next(count)}"
        plain = {k: v for k, v in node.params.items() if not isinstance(v, Graph)}
        call = ", ".join([names[i] for i in node.inputs] + [f"{k}={v}" for k, v in plain.items()])
        yield f"{indent}  {names[node]}: {spec_text(node)} = {node.op.name}({call})"
        for inner in (v for v in node.params.values() if isinstance(v, Graph)):
            yield from lines(inner, indent + "    ")
    yield f"{indent}  return {', '.join(names[o] for o in graph.outputs)}"


def _constant_text(node: Node) -> str:
    if node.value is not None and np.size(node.value) == 1:
        return f"{np.asarray(node.value).item()}"
    return f"constant<{spec_text(node)}>"


def verify(graph: Graph, known: AbstractSet[Node] = frozenset()) -> AbstractSet[Node]:
    """Raise `GraphError` unless the graph is legal; returns its nodes, and those of graphs inside.

    known   nodes already verified: they are skipped

    Legal: every leaf is one of the inputs or has a constant of its own shape and dtype; every
    node's shape and dtype are what its operation infers from its inputs; inputs come before users.
    The same goes for graphs in parameters.
    """
    inputs = set(graph.inputs)
    if len(inputs) != len(graph.inputs):
        raise _illegal("an input that is listed twice", "distinct leaves as inputs")
    nodes = set(graph.nodes)
    for node in graph.nodes:
        if node.op is None:
            if node in inputs:
                continue
            if node.value is None:
                raise _illegal(
                    f"the leaf {node}, no input and no constant",
                    "every leaf to be an input or a constant",
                )
            if node.value.shape != node.shape or node.value.dtype != node.dtype:
                raise _illegal(f"a constant {spec_text(node.value)} in {node}", "them to agree")
            continue
        for inner in node.params.values():
            if isinstance(inner, Graph):
                nodes |= verify(inner, known)
        if node in known:
            continue
        for i in node.inputs:
            if i.serial >= node.serial:
                raise _illegal(f"{node} before one of its inputs", "inputs made first")
        shape, dtype = node.op.infer(*node.inputs, **node.params)
        if shape != node.shape or dtype != node.dtype:
            raise _illegal(f"{node} where {node.op} gives {dtype}{shape}", "them to agree")
    return nodes


def _illegal(arrived: str, needed: str) -> GraphError:
    return GraphError(
        "verify",
        f"got a graph with {arrived}",
        f"expected {needed}",
        "report it: a pass or a rule has a defect",
    )
