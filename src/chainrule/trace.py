"""Recording what a function does instead of doing it: how a graph is made from Python code.

While a trace is active every operation becomes a node. A tensor from outside that the function
reads becomes an input of the graph (a parameter, a buffer, the random state); one that it assigns
becomes an output that is written back (see `Trace.reads`, `Trace.writes`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any

from .errors import TraceError, user_line
from .graph import Dtype, Node, Operation, Shape


class State(threading.local):
    """What holds for the current thread: is recording on, and into which trace."""

    def __init__(self) -> None:
        self.grad = True
        self.quiet = False  # NumPy's floating-point warnings are off already
        self.trace: Trace | None = None


class Changes:
    """Counts the assignments to attributes of modules, everywhere: a sign to look again."""

    def __init__(self) -> None:
        self.count = 0


state = State()
changes = Changes()
_NONE: Mapping[str, Any] = {}


class Trace:
    """One recording. Use as a context; then `reads` and `writes` say what it touched."""

    def __init__(self) -> None:
        self.reads: dict[tuple[int, str], tuple[Any, str, Node]] = {}
        self.writes: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self.grads: dict[int, tuple[Any, Any]] = {}  # tensor, the gradient it got
        self.without_grad: dict[int, Any] = {}  # tensors seen to have none yet
        self.guards: list[Any] = []  # with holds(): whether what was traced would be traced again
        self.made: set[Node] = set()  # leaves for tensors that were made while tracing
        self.outer: Trace | None = None

    def __enter__(self) -> Trace:
        self.outer, state.trace = state.trace, self
        return self

    def __exit__(self, *_: object) -> None:
        state.trace = self.outer

    def input(self, shape: Shape, dtype: Dtype, requires_grad: bool = False) -> Node:
        """A new input of the graph."""
        return Node(None, (), _NONE, shape, dtype, None, requires_grad, None, self)

    def apply(
        self, op: Operation, inputs: tuple[Node, ...], params: Mapping[str, Any], grad: bool
    ) -> Node:
        """The node of an operation; shapes and dtypes are checked here."""
        shape, dtype = op.infer(*inputs, **params)
        return Node(op, inputs, params, shape, dtype, None, grad, user_line(), self)

    def node_of(self, tensor: Any) -> Node:
        """The node that stands for the tensor in this trace; an outside tensor is captured."""
        node = tensor._node
        if node is not None and node.trace is self and tensor._value is None:
            return node
        key = (id(tensor), "value")
        written = self.writes.get(key)
        if written is not None:
            return written[2]
        if tensor._value is None:
            self._expect_outer(node)
        return self.capture(tensor, "value", tensor)

    def capture(self, owner: Any, slot: str, tensor: Any) -> Node:
        """An input that is read, at each call, from the owner's slot: its value or its gradient."""
        if (id(owner), slot) in self.reads:
            return self.reads[id(owner), slot][2]
        grad = tensor.requires_grad
        node = self.input(tensor.shape, tensor.dtype, grad)
        if grad and slot == "value" and tensor._node.op is None:
            node.owner = weakref.ref(owner)
            node.hooks = tensor._node.hooks
        if tensor._node is not None and tensor._node.trace is self:
            self.made.add(node)
        self.reads[id(owner), slot] = (owner, slot, node)
        return node

    def _expect_outer(self, node: Node | None) -> None:
        trace = self.outer
        while trace is not None:
            if node is not None and node.trace is trace:
                return
            trace = trace.outer
        raise TraceError(
            "trace",
            "got a traced value after its trace had ended",
            "a value of this trace is needed",
            "return it from the compiled function instead of storing it",
            node.source if node else None,
        )

    def write(self, tensor: Any, node: Node) -> None:
        """The tensor is assigned; its former value is what the graph reads."""
        self.capture(tensor, "value", tensor)
        self.writes[id(tensor), "value"] = (tensor, "value", node)
