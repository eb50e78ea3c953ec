"""Gradients of a tensor: `backward`, `.grad`, hooks, and the warning about lost gradients."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from .. import ops
from ..backpropagation import Retain, released_error, retained, sweep
from ..dtypes import is_floating
from ..errors import DtypeError, GradientError, ShapeError, TraceError, user_line, warn
from ..graph import Node, Shape, spec_text
from ..handle import Handle
from ..hints import explain_arguments
from ..sparse import RowSparse
from ..trace import Trace, optimizer_steps, state
from .grad_mode import quiet, set_grad_enabled

# What `_unseen` says of a gradient, where it is not a count of the optimizers' steps.
SEEN = -1  # something has read it
WARNED = -2  # minus the count: a warning about it has been given since that step
_warned: dict[Any, Any] = {}  # lines that have had a warning


class Gradients(Handle):
    """The gradient of a tensor, and the reverse sweep that fills it."""

    __slots__ = ()

    if TYPE_CHECKING:  # defined by Tensor

        def _full(self, shape: Shape, number: Any) -> Any: ...
        @staticmethod
        def _from(x: Any) -> Any: ...

    @property
    def grad(self) -> Any:
        """∂loss/∂self from the last `backward`: a tensor, or `RowSparse` for a gathered table."""
        trace = state.trace
        if trace is None or trace.owns(self):
            g = self._grad
            if g is None and self._node is not None:
                self._expect_gradient(self._node)
            elif g is not None and self._unseen is not None:
                self._unseen = SEEN
            return g
        trace.unseen.pop(id(self), None)
        if id(self) in trace.gradients:
            return trace.gradients[id(self)][1]
        before = self._grad
        if before is None:
            trace.without_grad[id(self)] = self
            return None
        handle: Any
        if isinstance(before, RowSparse):
            indices = self._of_node(trace.capture(self, "grad.indices", before.indices))
            values = self._of_node(trace.capture(self, "grad.values", before.values))
            handle, node = RowSparse(indices, values, before.shape), values._node
        else:
            node = trace.capture(self, "grad", before)
            handle = self._of_node(node)
        trace.gradients[id(self)] = (self, handle, node)
        return handle

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None and not isinstance(value, (Handle, RowSparse)):
            raise DtypeError(
                "grad",
                f"got {type(value).__name__}",
                "expected a tensor or None",
                "use cr.zeros_like(x)",
            )
        shape, dtype = self.shape, self.dtype  # a read that a compiled step notices
        if value is not None and (value.shape != shape or value.dtype != dtype):
            raise ShapeError(
                "grad", f"got {spec_text(value)}", f"expected {spec_text(self)}", "reshape it"
            )
        if state.trace is None or state.trace.owns(self):
            if self._unseen is not None:
                self._unseen = SEEN
            self._store_gradient(value)
        else:
            state.trace.unseen.pop(id(self), None)
            state.trace.gradients[id(self)] = (self, value, None)

    def _expect_gradient(self, node: Node) -> None:
        """Raise, or warn, where there is no gradient because there cannot be one."""
        if self._is_input():
            raise TraceError(
                "grad",
                f"got .grad of the argument {spec_text(self)}",
                "expected a tensor from outside: only those have one here",
                "leave it out of the arguments and use it from outside, or use cr.grad",
                user_line(),
            )
        if node.requires_grad and not node.is_leaf and not retained(node):
            warn(
                f"[grad] got .grad of {spec_text(self)}, which is computed and keeps no gradient: "
                "it is None; call retain_grad() on it before backward()",
                _warned,
            )

    def _receive_gradient(self, g: Any, fresh: bool, unseen: bool) -> bool:
        """Take the gradient of a sweep; returns whether one was lost that deserves a warning.

        fresh    it replaces the present gradient
        unseen   remember that nothing has read it

        A gradient is lost if it is replaced before anything has read it. There is one warning per
        optimizer step.
        """
        trace = state.trace
        if trace is not None and not trace.owns(self):
            lost = fresh and id(self) in trace.unseen and id(self) not in trace.warned
            if lost:
                trace.warned.add(id(self))
            self.grad = g
            if unseen and self._unseen is not None:
                trace.unseen[id(self)] = self
            return lost
        before, now, lost = self._unseen, optimizer_steps.count, False
        if before is not None:
            lost = fresh and before == now and self._grad is not None
            warned = fresh and (lost or before == WARNED - now)
            self._unseen = WARNED - now if warned else now if unseen else SEEN
        self._store_gradient(g)
        return lost

    @explain_arguments
    def backward(
        self,
        gradient: Any = None,
        *,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        accumulate: bool = False,
    ) -> None:
        """Fill `.grad` of every leaf that this tensor was computed from.

        Their gradients are fresh: they replace those of an earlier sweep. A leaf that this tensor
        was not computed from keeps its gradient, as in PyTorch.

        gradient      ∂loss/∂self, like self; may be left out for a scalar, where it is 1
        retain_graph  keep what the graph has stored, so that another backward() can go through it;
                      if left out, the same as create_graph
        create_graph  record this sweep too, so that the gradients can be differentiated
        accumulate    add to the present gradients instead of replacing them
        """
        retain_graph = create_graph if retain_graph is None else retain_graph
        node = state.trace.node_of(self) if state.trace else self._node
        if node is None or not node.requires_grad:
            raise GradientError(
                "backward",
                f"got {spec_text(self)}, computed from nothing that requires a gradient",
                "expected a recorded tensor",
                "set requires_grad=True on a leaf, and leave no_grad() before computing (the loss "
                "that a compiled step returns has no history: call backward() inside)",
                user_line(),
            )
        if gradient is None:
            if self.size != 1:
                raise ShapeError(
                    "backward",
                    f"got {spec_text(self)}",
                    "expected a scalar, or gradient=",
                    "reduce the loss with mean() or sum() first",
                    node.source,
                )
            gradient = self._full(self.shape, 1.0)
        else:
            gradient = self._from(gradient)
            if gradient.shape != self.shape or gradient.dtype != self.dtype:
                raise ShapeError(
                    "backward",
                    f"got gradient {spec_text(gradient)}",
                    f"expected {spec_text(self)}",
                    "reshape or convert it",
                )
        if state.trace is not None:
            state.trace.roots.add(node)
        release = not retain_graph and not state.variables  # a derivative goes through it later
        released = None if state.trace is None else state.trace.released
        with set_grad_enabled(create_graph), quiet():
            tensor_of = self._tensors_of_nodes(state.trace, create_graph)
            gradients = sweep({node: gradient._new_handle()}, tensor_of, None, release, released)
            lost = _deliver(gradients, accumulate, create_graph)
        if lost:
            warn_of_lost()

    def retain_grad(self) -> None:
        """Let `backward` leave a gradient in this tensor too, though it is computed."""
        node = self._node
        if node is None or not node.requires_grad:
            raise GradientError(
                "retain_grad",
                f"got {spec_text(self)}, which requires no gradient",
                "expected a recorded tensor",
                "set requires_grad=True on what it is computed from",
                user_line(),
            )
        if not node.is_leaf and not retained(node):
            if node.hooks is None:
                node.hooks = []
            node.hooks.append(Retain(weakref.ref(self)))

    def register_hook(self, hook: Callable[[Any], Any]) -> Callable[[], None]:
        """Call `hook(gradient)` when `backward` reaches this tensor; its result replaces it.

        Returns a function that removes the hook.
        """
        node = self._node
        if state.trace is not None and not state.trace.owns(self):
            raise TraceError(
                "register_hook",
                f"got the outside tensor {spec_text(self)} inside a compiled function",
                "expected a tensor of this function: a hook is registered once, not at each call",
                "register it outside",
                user_line(),
            )
        if node is None or not node.requires_grad:
            raise GradientError(
                "register_hook",
                f"got {spec_text(self)}, which requires no gradient",
                "expected a recorded tensor",
                "set requires_grad=True first",
                user_line(),
            )
        if node.hooks is None:
            node.hooks = []
        hooks = node.hooks
        hooks.append(hook)

        def remove() -> None:
            hooks[:] = [h for h in hooks if h is not hook]

        return remove

    def detach(self) -> Self:
        """The same value without history: gradients stop here."""
        if state.trace is not None:
            out: Self = ops.stop_gradient(self)
            return out
        return self._of_value(self._value)

    def clone(self) -> Self:
        """A new tensor with the same value and history."""
        out: Self = ops.alias(self)
        return out

    # ── nodes as the tensors that rules calculate with ───────────────────────────────────────────

    @classmethod
    def _tensors_of_nodes(cls, trace: Trace | None, record: bool) -> Callable[[Node], Any]:
        """The function that gives a sweep a node's tensor; for a node of a tuple, its items.

        trace    the present trace; None: the nodes are of an eager recording
        record   whether the tensors go on recording
        """
        if trace is None:
            return cls._recording if record else cls._plain
        return lambda node: cls._traced(trace, node)

    @classmethod
    def _recording(cls, node: Node) -> Any:
        """A node of an eager recording as a tensor that goes on recording."""
        if node.value is None:
            raise released_error(node)
        if isinstance(node.dtype, tuple):
            return tuple(cls._item(node, k, value) for k, value in enumerate(node.value))
        result = cls._of_node(node)
        result._value = node.value
        return result

    @classmethod
    def _item(cls, node: Node, index: int, value: Any) -> Self:
        result = cls._of_value(value)
        if is_floating(value.dtype):
            params = {"index": index}
            result._node = Node(ops.item, (node,), params, value.shape, value.dtype, None, True)
        return result

    @classmethod
    def _plain(cls, node: Node) -> Any:
        """A node of an eager recording as a tensor without history."""
        if node.value is None:
            raise released_error(node)
        if isinstance(node.dtype, tuple):
            return tuple(cls._of_value(v) for v in node.value)
        result = object.__new__(cls)
        result._value = node.value
        result._grad = None
        result._node = None
        return result

    @classmethod
    def _traced(cls, trace: Trace, node: Node) -> Any:
        """A node of a trace as a tensor."""
        if isinstance(node.dtype, tuple):
            return tuple(
                cls._of_node(trace.apply(ops.item, (node,), {"index": k}, node.requires_grad))
                for k in range(len(node.dtype))
            )
        return cls._of_node(node)


def _deliver(gradients: dict[Node, Any], accumulate: bool, create_graph: bool) -> bool:
    """Leave a sweep's gradients in their tensors; returns whether one was lost."""
    shares: dict[int, tuple[Any, Any]] = {}
    for end, g in gradients.items():  # a tensor that was assigned on the way has several leaves
        owned = end if end.is_leaf else retained(end)
        owner = owned.owner() if owned and owned.owner is not None else None
        if owner is not None:
            before = shares.get(id(owner))
            shares[id(owner)] = (owner, g if before is None else before[1] + g)
    lost = False
    for owner, g in shares.values():
        present = owner.grad if accumulate else None
        if isinstance(present, RowSparse) and _from_outside(owner):
            present = present.to_dense()  # it would grow, and be compiled again, each time
        new = g._new_handle() if present is None else present + g
        lost |= owner._receive_gradient(new, fresh=not accumulate, unseen=not create_graph)
    return lost


def _from_outside(owner: Any) -> bool:
    """Whether a trace reads the row-sparse gradient that a tensor had before it."""
    return state.trace is not None and (id(owner), "grad.indices") in state.trace.reads


def warn_of_lost() -> None:
    """Warn, once per line, that a gradient is replaced before anything has used it."""
    warn(
        "[backward] a second backward() before an optimizer's step replaces gradients that nothing "
        "has read: those of the first one are lost; to add them up, call "
        "backward(accumulate=True) from the second one on; to drop them, call zero_grad() between",
        _warned,
    )
