"""Recording what a function does instead of doing it: how a graph is made from Python code.

While a trace is active every operation becomes a node. A tensor from outside that the function
reads becomes an input of the graph (a parameter, a buffer, the random state); one that it assigns
becomes an output that is written back (see `Trace.reads`, `Trace.writes`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .errors import TraceError, user_line
from .graph import Dtype, Node, Operation, Shape
from .guards import Guard


class State(threading.local):
    """What holds for the current thread: is recording on, and into which trace."""

    def __init__(self) -> None:
        self.grad = True
        self.quiet = False  # NumPy's floating-point warnings are off already
        self.trace: Trace | None = None
        self.variables: tuple[Node, ...] = ()  # of the derivatives whose functions run now
        # What an optimizer's step has calculated for several parameters. Another thread may be
        # tracing a step of the same optimizer, whose values are unusable outside.
        self.shared: dict[Any, Any] = {}
        self.pullbacks = 0  # how many functions have been run for a derivative


class Updates:
    """Counts the steps of optimizers that were not traced: gradients from before one are used."""

    count = 0


state = State()
updates = Updates()
_NONE: Mapping[str, Any] = {}


@contextmanager
def outside() -> Iterator[None]:
    """Inside, tensors are made as if nothing were being traced."""
    before, state.trace = state.trace, None
    try:
        yield
    finally:
        state.trace = before


class Trace:
    """One recording. Use as a context; then its tables say what the function touched.

    lasting   the graph will run again and again, on other values of what it reads
    """

    def __init__(self, lasting: bool = False) -> None:
        self.lasting = lasting
        self.reads: dict[tuple[int, str], tuple[Any, str, Node]] = {}
        self.writes: dict[int, tuple[Any, Node]] = {}
        # tensor, its gradient, and (if it was there before and only read) the node it was read as
        self.gradients: dict[int, tuple[Any, Any, Node | None]] = {}
        self.without_grad: dict[int, Any] = {}  # tensors seen to have no gradient yet
        self.roots: set[Node] = set()  # what backward() was called on
        self.released: set[Node] = set()  # what a backward() has used: see `reverse.sweep`
        # Tensors of an optimizer whose gradients backward() has left and nothing has read since.
        self.unseen: dict[int, Any] = {}
        self.told: set[int] = set()  # those that a warning was about
        self.updates = False  # whether an optimizer's step is in it
        self.guards: list[Guard] = []
        self.arguments: dict[int, Any] = {}  # what was passed in: not to be captured besides
        self.outer: Trace | None = None

    def __enter__(self) -> Trace:
        self.outer, state.trace = state.trace, self
        return self

    def __exit__(self, *_: object) -> None:
        state.trace = self.outer
        if self.outer is not None:  # what an inner part depends on, the whole does
            self.outer.guards += self.guards

    def input(self, shape: Shape, dtype: Dtype, requires_grad: bool = False) -> Node:
        """A new input of the graph."""
        return Node(None, (), _NONE, shape, dtype, None, requires_grad, None, self)

    def apply(
        self, op: Operation, inputs: tuple[Node, ...], params: Mapping[str, Any], grad: bool
    ) -> Node:
        """The node of an operation; shapes and dtypes are checked here."""
        shape, dtype = op.infer(*inputs, **params)
        return Node(op, inputs, params, shape, dtype, None, grad, user_line(), self)

    def owns(self, tensor: Any) -> bool:
        """Whether the tensor was made, or computed, inside this trace."""
        return tensor._node is not None and tensor._node.trace is self

    def node_of(self, tensor: Any) -> Node:
        """The node that stands for the tensor in this trace; an outside tensor is captured."""
        if self.owns(tensor):
            node: Node = tensor._node
            return node
        written = self.writes.get(id(tensor))
        if written is not None:
            return written[1]
        if tensor._value is None:
            self._expect_outer(tensor._node)
        return self.capture(tensor, "value", tensor)

    def capture(self, owner: Any, slot: str, tensor: Any) -> Node:
        """An input that is read, at each call, from the owner's slot: its value or its gradient."""
        if (id(owner), slot) in self.reads:
            return self.reads[id(owner), slot][2]
        grad = tensor.requires_grad
        if grad:
            self._expect_one_way(owner)
        node = self.input(tensor.shape, tensor.dtype, grad)
        if grad and slot == "value" and tensor._node.is_leaf:
            node.owner = weakref.ref(owner)
            node.hooks = tensor._node.hooks
        self.reads[id(owner), slot] = (owner, slot, node)
        return node

    def _expect_one_way(self, tensor: Any) -> None:
        if id(tensor) in self.arguments:
            raise TraceError(
                "compile",
                f"got the tensor {tensor.dtype}{tensor.shape} both as an argument and from outside",
                "one way in, so that it is one variable",
                "use it as an argument, or leave it out of the arguments",
                user_line(),
            )

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
            "return it from the compiled function instead of storing it; make what is to last "
            "outside and assign it in place",
            node.source if node else None,
        )

    def write(self, tensor: Any, node: Node) -> None:
        """The tensor is assigned; its former value is what the graph reads."""
        self._expect_one_way(tensor)
        self.capture(tensor, "value", tensor)
        self.writes[id(tensor)] = (tensor, node)

    def hides(self, tensor: Any) -> bool:
        """Whether the tensor's value now is not the one that it will have when the graph runs."""
        trace: Trace | None = self
        while trace is not None:
            if trace.owns(tensor):
                return False
            if id(tensor) in trace.writes or trace.lasting:
                return True
            trace = trace.outer
        return False
