"""Recording a function's operations instead of running them: a graph from Python code.

While a trace is active every operation becomes a node. A tensor from outside that the function
reads becomes an input of the graph (a parameter, a buffer, the random state); one that it assigns
becomes an output that is written back (see `Trace.reads`, `Trace.writes`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from .errors import TraceError, user_line
from .graph import NO_PARAMS, Dtype, Node, Operation, Shape
from .guards import Guard


class State(threading.local):
    """The state of the current thread: whether gradients are recorded, and the active trace."""

    def __init__(self) -> None:
        self.grad = True
        self.quiet = False  # NumPy's floating-point warnings are off already
        self.trace: Trace | None = None
        self.variables: tuple[Node, ...] = ()  # of the derivatives whose functions run now
        # Values of an optimizer's step for several parameters. They belong to a thread: another one
        # may be tracing a step of the same optimizer, whose values are unusable outside.
        self.shared: dict[Any, Any] = {}
        self.observer: Observer | None = None  # of the calls and the sweep of a training step
        self.pullbacks = 0  # how many functions have been run for a derivative


class Observer(Protocol):
    """What follows a training step, recorded or not: `diagnosis/probes.py`."""

    def called(self, module: Any, began: int, args: Sequence[Any], out: Any) -> None:
        """A call of the module has returned `out`; `began`: its `graph.moment`."""

    def projected(self, module: Any, suffix: str, projected: Any) -> None:
        """A recurrent layer adds this, (T, N, …), to what its steps compute from the state."""

    def pulled(self, node: Node, g: Any, shares: Sequence[Any]) -> None:
        """A reverse sweep is at this node: g = ∂loss/∂node; its inputs get these shares."""


class OptimizerSteps:
    """Counts the steps of optimizers that were not traced: gradients from before one are used."""

    count = 0


state = State()
optimizer_steps = OptimizerSteps()


@contextmanager
def outside() -> Iterator[None]:
    """A context in which tensors are made as if nothing were being traced."""
    before, state.trace = state.trace, None
    try:
        yield
    finally:
        state.trace = before


class Watcher(Protocol):
    """What follows a recording: `explanation/recorder.py`, `diagnosis/places.py`."""

    def computed(self, node: Node) -> None:
        """An operation became this node."""

    def entered(self, module: Any) -> None:
        """A module is called."""

    def left(self, module: Any) -> None:
        """Its call has ended."""

    def instead(self, module: Any) -> Callable[..., Any] | None:
        """What is called in its place, or None if it is called itself."""

    def sweep_began(self, outputs: Iterable[Node]) -> None:
        """A reverse sweep from these nodes begins."""

    def sweep_ended(self) -> None:
        """The sweep that began last has ended."""

    def reached(self, node: Node, g: Any) -> None:
        """The sweep is at this node, and g = ∂loss/∂node is complete."""

    def pulled(self, node: Node, shares: Sequence[Any]) -> None:
        """The node's rule has returned the shares of its inputs."""

    def repeated(self, node: Node, again: Node) -> None:
        """A node of a graph was computed once more, as another node."""

    def inside(self) -> Watcher | None:
        """What follows a recording inside of this one, such as a loop's body."""


class Trace:
    """One recording, used as a context. Afterwards its tables say which tensors were used.

    lasting         the graph will run many times, each time on the present values
    reads           tensors from outside that were read: owner, slot (its value, or its gradient),
                    and the input that stands for it
    writes          those that were assigned, and their new values
    gradients       tensors, their new gradients, and the inputs as which old ones were read, or
                    None
    without_grad    tensors that had no gradient yet when it was asked for
    roots           nodes that backward() was called on
    released        nodes that a backward() has used: see `backpropagation.sweep`
    unseen          tensors of an optimizer whose gradients nothing has read since backward()
    warned          those that a warning was about
    steps_optimizer whether an optimizer steps in it
    guards          whether a later recording would give the same graph
    arguments       tensors that are inputs, and so are not to be captured
    watcher         what is told of each node, module call and rule, for an explanation; or None
    """

    def __init__(self, lasting: bool = False) -> None:
        self.lasting = lasting
        self.reads: dict[tuple[int, str], tuple[Any, str, Node]] = {}
        self.writes: dict[int, tuple[Any, Node]] = {}
        self.gradients: dict[int, tuple[Any, Any, Node | None]] = {}
        self.without_grad: dict[int, Any] = {}
        self.roots: set[Node] = set()
        self.released: set[Node] = set()
        self.unseen: dict[int, Any] = {}
        self.warned: set[int] = set()
        self.steps_optimizer = False
        self.guards: list[Guard] = []
        self.arguments: dict[int, Any] = {}
        self.watcher: Watcher | None = None
        self.outer: Trace | None = None

    def __enter__(self) -> Trace:
        self.outer, state.trace = state.trace, self
        outer = self.outer
        if self.watcher is None and outer is not None and outer.watcher is not None:
            self.watcher = outer.watcher.inside()
        return self

    def __exit__(self, *_: object) -> None:
        state.trace = self.outer
        if self.outer is not None:  # the outer recording depends on the same
            self.outer.guards += self.guards

    def input(self, shape: Shape, dtype: Dtype, requires_grad: bool = False) -> Node:
        """A new input of the graph."""
        return Node(None, (), NO_PARAMS, shape, dtype, None, requires_grad, None, self)

    def apply(
        self, op: Operation, inputs: tuple[Node, ...], params: Mapping[str, Any], grad: bool
    ) -> Node:
        """The node of an operation; shapes and dtypes are checked here."""
        shape, dtype = op.infer(*inputs, **params)
        node = Node(op, inputs, params, shape, dtype, None, grad, user_line(), self)
        if self.watcher is not None:
            self.watcher.computed(node)
        return node

    def instead(self, module: Any) -> Callable[..., Any] | None:
        """As `Watcher.instead`; of an inner recording, such as a loop's body, the outer one's."""
        trace: Trace | None = self
        while trace is not None and trace.watcher is None:
            trace = trace.outer
        return None if trace is None or trace.watcher is None else trace.watcher.instead(module)

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
                "expected one of the two, so that it is one variable",
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
            "expected a value of this trace",
            "return it from the compiled function instead of storing it, or assign it in place "
            "to a tensor made outside",
            node.source if node else None,
        )

    def write(self, tensor: Any, node: Node) -> None:
        """Assign to the tensor; the graph reads its former value."""
        self._expect_one_way(tensor)
        self.capture(tensor, "value", tensor)
        self.writes[id(tensor)] = (tensor, node)

    def hides(self, tensor: Any) -> bool:
        """Whether the tensor may have another value when the graph runs."""
        trace: Trace | None = self
        while trace is not None:
            if trace.owns(tensor):
                return False
            if id(tensor) in trace.writes or trace.lasting:
                return True
            trace = trace.outer
        return False
