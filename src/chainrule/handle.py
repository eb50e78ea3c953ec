"""Handle: the mutable part of a tensor, and what any code may ask of it.

A tensor is a mutable handle on an immutable value. In eager mode it has a NumPy array, and, where a
gradient is wanted, the node that recorded how the array was computed. While tracing it has a node
alone. `Tensor` is the only class of handles that is ever made. This file needs neither operations
nor derivatives, so that the modules below `tensor/` can recognise a tensor.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .dtypes import is_floating
from .errors import DtypeError, GradientError, TraceError, user_line
from .graph import NO_PARAMS, Array, Dtype, Node, Shape, spec_text, topological
from .hints import missing
from .trace import state

_new = object.__new__


class _Lending:
    begun = False  # whether there has been a compiled step in whose memory tensors stay


lending = _Lending()


class Handle:
    """A value, the node that recorded it, and the gradient that `backward` left."""

    __slots__ = ("__weakref__", "_grad", "_lender", "_node", "_unseen", "_value")

    _value: Any
    _node: Node | None
    _grad: Any
    _lender: Any  # the compiled step that has the other three, while they are empty
    # Of an optimizer's parameter: the optimizers' count of steps when backward() left a gradient
    # that nothing has read since, or WARNED - count after a warning, or SEEN; of others None.
    _unseen: Any

    @classmethod
    def _of_value(cls, value: Array) -> Self:
        """A tensor around an array, with no copy and no history."""
        result = _new(cls)
        result._value = value
        result._grad = None
        result._node = None
        if state.trace is not None:
            result._node = constant_node(value)
        return result

    @classmethod
    def _of_node(cls, node: Node) -> Self:
        """The tensor that stands for a node of a trace."""
        result = _new(cls)
        result._value = None
        result._grad = None
        result._node = node
        return result

    def _new_handle(self) -> Self:
        """Another handle on the same value and node."""
        result = _new(type(self))
        result._value, result._node, result._grad = self._value, self._node, None
        return result

    if not TYPE_CHECKING:  # a type checker is to know which attributes there are

        def __getattr__(self, name: str) -> Any:
            if name in ("_lender", "_unseen"):  # it was never a compiled step's, or an optimizer's
                return None
            if name in ("_value", "_node", "_grad"):  # a compiled step has them: ask for them back
                self._lender.recall(self)
                return getattr(self, name)
            raise missing("Tensor", name)

    # ── shape and dtype ───────────────────────────────────────────────────────────────────────────

    @property
    def shape(self) -> Shape:
        """Its sizes, one per axis."""
        value = self._value
        return value.shape if value is not None else self._node.shape  # type: ignore

    @property
    def dtype(self) -> Dtype:
        """The type of its elements: a NumPy dtype."""
        value = self._value
        return value.dtype if value is not None else self._node.dtype  # type: ignore

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    # ── whether it is recorded ───────────────────────────────────────────────────────────────────

    @property
    def requires_grad(self) -> bool:
        """Whether computations from it are recorded for `backward`. Set it on leaves only."""
        node = self._node
        if state.trace is not None and id(self) in state.trace.writes:
            node = state.trace.writes[id(self)][1]
        return node is not None and node.requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted == self.requires_grad:
            return
        if state.trace is not None and state.trace.hides(self):
            raise TraceError(
                "requires_grad",
                f"got {wanted} for the outside tensor {spec_text(self)} inside a compiled function",
                "expected the trained tensors to be settled before the call",
                "set it outside",
                user_line(),
            )
        if self._node is not None and not self._node.is_leaf:
            raise GradientError(
                "requires_grad",
                f"got {wanted} for a computed tensor {spec_text(self)}",
                "expected a leaf",
                "use detach() for a tensor without history",
                self._node.source,
            )
        if wanted and not is_floating(self.dtype):
            raise DtypeError(
                "requires_grad",
                f"got {spec_text(self)}",
                "expected a floating dtype",
                "convert with astype(x, float32) first",
            )
        if self._value is None:
            raise TraceError(
                "requires_grad",
                "got a traced tensor",
                "expected a tensor with a value",
                "set it outside of the compiled function",
            )
        value = self._value
        self._store(value, self._leaf(value) if wanted else None)

    def _leaf(self, value: Array, hooks: Any = None) -> Node:
        """A new leaf for this tensor: `backward` leaves the gradient in it."""
        node = Node(None, (), NO_PARAMS, value.shape, value.dtype, value, True, None, state.trace)
        node.owner = weakref.ref(self)
        node.hooks = hooks
        return node

    @property
    def is_leaf(self) -> bool:
        """Whether it was not computed from tensors that require a gradient."""
        return self._node is None or self._node.is_leaf or not self._node.requires_grad

    def _is_input(self) -> bool:
        """Whether it stands for an argument of the function that is being traced."""
        node = self._node
        return (
            node is not None and node.trace is not None and node.op is None and node.value is None
        )

    # ── its value ────────────────────────────────────────────────────────────────────────────────

    def _concrete(self, what: str, leaves: bool = True) -> Array:
        """Its array; an error where there is none, or where a derivative would silently stop.

        leaves   the value leaves chainrule; False: it only decides what is done next
        """
        trace = state.trace
        if trace is not None and self._value is not None and trace.hides(self):
            raise TraceError(
                what,
                f"got {spec_text(self)}, whose value the compiled step reads again at each call",
                "expected a value that stays the same",
                "read it outside and pass it as a plain argument, or calculate with the tensor",
                user_line(),
            )
        if self._value is None:
            raise TraceError(
                what,
                f"got a traced {spec_text(self)}",
                "expected a value, which there is only when the compiled step, or the loop, runs",
                "choose with cr.where, loop with cr.scan, or do it outside of the compiled step",
                user_line(),
            )
        if leaves and state.variables:
            self._expect_constant(what)
        return self._value

    def _expect_constant(self, what: str) -> None:
        """Raise if a derivative that is being taken goes through this tensor."""
        node = self._node
        if not state.grad or node is None or not node.requires_grad:
            return
        if not set(state.variables).isdisjoint(topological([node], only_grad=True)):
            raise GradientError(
                what,
                f"got {spec_text(self)}, which depends on a variable of the derivative",
                "expected a tensor all the way: the derivative would stop here",
                "calculate with cr's functions (cr.sin, not math.sin), or call detach() first "
                "to stop it on purpose",
                user_line(),
            )

    def _store(self, value: Any, node: Node | None) -> None:
        """Set value and node, which a compiled step in another thread may be taking."""
        self._value, self._node = value, node
        if lending.begun and self._lender is not None:
            self._lender.store(self, _value=value, _node=node)

    def _store_gradient(self, g: Any) -> None:
        self._grad = g
        if lending.begun and self._lender is not None:
            self._lender.store(self, _grad=g)


def constant_node(value: Array) -> Node:
    """The node in the present trace of a tensor that is made inside it."""
    return Node(None, (), NO_PARAMS, value.shape, value.dtype, value, False, None, state.trace)
