"""Tensor: what users hold. Operators, promotion, broadcasting made explicit, eager execution.

A tensor is a mutable handle on an immutable value. In eager mode it holds a NumPy array, and, where
a gradient is asked for, the node that recorded how the array came about. While tracing it holds a
node alone. Recording keeps an array only where some row of the table of derivatives names it.

Longer than most files here: what a handle is and how an operation on it is done are one mechanism.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import ops
from .convert import to_array
from .dtypes import bool_, float32, int64, is_bfloat16, is_floating, is_integer
from .errors import (
    ArgumentError,
    ChainruleError,
    DtypeError,
    GradientError,
    ShapeError,
    TraceError,
    user_line,
    warn,
)
from .graph import Array, Dtype, Node, Operation, Shape, spec_text, topological
from .guards.counting import Opaque
from .hints import missing
from .operators import Operators
from .reverse import Retain, retained, spent, sweep
from .sparse import RowSparse
from .trace import Trace, state, updates

_NONE: Mapping[str, Any] = {}
_new = object.__new__


class _Lending:
    begun = False  # whether there has been a compiled step with which tensors stay


lending = _Lending()
SEEN = -1
TOLD = -2
_warned: dict[Any, Any] = {}  # lines that have been warned of


class Tensor(Operators, Opaque):
    """An n-dimensional array of one dtype that remembers, if asked, how it was computed.

    data             a Python number, nested lists, a NumPy array or another tensor
    dtype            one of chainrule's dtypes; floats become float32, whole numbers int64
    requires_grad    record what is computed from this tensor, so that `backward` reaches it

    The data is copied unless it is read-only, so that it cannot change behind a recorded graph.
    """

    __slots__ = ("__weakref__", "_grad", "_lender", "_node", "_unseen", "_value")
    __array_priority__ = 1000
    __array_ufunc__ = None  # NumPy's operators hand over to ours

    _value: Any
    _node: Node | None
    _grad: Any
    _lender: Any  # the compiled step that the other three are with, while they are empty
    # Of an optimizer's parameter: the optimizers' count of steps when backward() left a gradient
    # that nothing has read since, or TOLD - count after a warning, or SEEN; of others None.
    _unseen: Any

    # Methods that are the function of the same name, `x.sum(axis=0)` for `sum(x, axis=0)`:
    # functions/__init__.py puts them here.
    sum: ClassVar[Callable[..., Tensor]]
    mean: ClassVar[Callable[..., Tensor]]
    prod: ClassVar[Callable[..., Tensor]]
    max: ClassVar[Callable[..., Tensor]]
    min: ClassVar[Callable[..., Tensor]]
    any: ClassVar[Callable[..., Tensor]]
    all: ClassVar[Callable[..., Tensor]]
    var: ClassVar[Callable[..., Tensor]]
    std: ClassVar[Callable[..., Tensor]]
    argmax: ClassVar[Callable[..., Tensor]]
    argmin: ClassVar[Callable[..., Tensor]]
    reshape: ClassVar[Callable[..., Tensor]]
    astype: ClassVar[Callable[..., Tensor]]
    squeeze: ClassVar[Callable[..., Tensor]]
    flatten: ClassVar[Callable[..., Tensor]]
    exp: ClassVar[Callable[..., Tensor]]
    log: ClassVar[Callable[..., Tensor]]
    sqrt: ClassVar[Callable[..., Tensor]]
    tanh: ClassVar[Callable[..., Tensor]]
    sigmoid: ClassVar[Callable[..., Tensor]]
    __getitem__: ClassVar[Callable[..., Tensor]]
    _updated: ClassVar[Callable[..., Tensor]]
    __array_namespace__: ClassVar[Callable[..., Any]]

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False) -> None:
        self._value = to_array(data, dtype)
        self._grad = None
        self._node = None
        if state.trace is not None:
            self._node = _constant_of(self._value)
        if requires_grad:
            self.requires_grad = True

    # ── what it is ───────────────────────────────────────────────────────────────────────────────

    @property
    def shape(self) -> Shape:
        """Its sizes, one an axis."""
        value = self._value
        return value.shape if value is not None else self._node.shape  # type: ignore

    @property
    def dtype(self) -> Dtype:
        """What its elements are: a NumPy dtype."""
        value = self._value
        return value.dtype if value is not None else self._node.dtype  # type: ignore

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def device(self) -> str:
        """Where it is: always "cpu"."""
        return "cpu"

    def to_device(self, device: str, /, *, stream: Any = None) -> Tensor:
        """The tensor itself: the only device is "cpu"."""
        if device != "cpu" or stream is not None:
            raise ArgumentError(
                "to_device", f"got {device!r}, stream {stream}", '"cpu" alone', "leave it out"
            )
        return self

    @property
    def requires_grad(self) -> bool:
        """Whether what is computed from it is recorded for `backward`. Set it on leaves only."""
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
                "what is trained is settled before",
                "set it outside",
                user_line(),
            )
        if self._node is not None and not self._node.is_leaf:
            raise GradientError(
                "requires_grad",
                f"got {wanted} for a computed tensor {spec_text(self)}",
                "a leaf is needed",
                "use detach() for a tensor without history",
                self._node.source,
            )
        if wanted and not is_floating(self.dtype):
            raise DtypeError(
                "requires_grad",
                f"got {spec_text(self)}",
                "a floating dtype is needed",
                "convert with astype(x, float32) first",
            )
        if self._value is None:
            raise TraceError(
                "requires_grad",
                "got a traced tensor",
                "a tensor with a value is needed",
                "set it outside of the compiled function",
            )
        value = self._value
        self._store(value, self._leaf(value) if wanted else None)

    def _leaf(self, value: Array, hooks: Any = None) -> Node:
        node = Node(None, (), _NONE, value.shape, value.dtype, value, True, None, state.trace)
        node.owner = weakref.ref(self)
        node.hooks = hooks
        return node

    @property
    def is_leaf(self) -> bool:
        """Whether it was given, not computed from tensors that require a gradient."""
        return self._node is None or self._node.is_leaf or not self._node.requires_grad

    @property
    def mT(self) -> Tensor:  # noqa: N802 - the Array API's name
        """The last two axes exchanged."""
        n = len(self.shape)
        if n < 2:
            raise ShapeError("mT", f"got {spec_text(self)}", "two axes are needed", "reshape it")
        return self._bind(ops.permute_dims, (self,), {"axes": (*range(n - 2), n - 1, n - 2)})

    @property
    def T(self) -> Tensor:  # noqa: N802 - the Array API's name
        """The matrix transposed."""
        if len(self.shape) != 2:
            raise ShapeError(
                "T", f"got {spec_text(self)}", "two axes are needed", "use mT or permute_dims"
            )
        return self.mT

    # ── values ───────────────────────────────────────────────────────────────────────────────────

    def _known(self, what: str, leaves: bool = True) -> Array:
        """Its array; an error where there is none, or where a derivative would stop unseen.

        leaves   the value goes on outside of chainrule, and not only into a decision
        """
        trace = state.trace
        if trace is not None and self._value is not None and trace.hides(self):
            raise TraceError(
                what,
                f"got {spec_text(self)}, whose value the compiled step reads anew at each call",
                "a value that stays the same",
                "read it outside and pass it as a plain argument, or calculate with the tensor",
                user_line(),
            )
        if self._value is None:
            raise TraceError(
                what,
                f"got a traced {spec_text(self)}",
                "its value is known only when the compiled step runs",
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
                f"got {spec_text(self)}, which depends on what is differentiated by",
                "a tensor is needed all the way: the derivative would stop here",
                "calculate with cr's functions (cr.sin, not math.sin), or say detach() first "
                "to stop it on purpose",
                user_line(),
            )

    def numpy(self) -> Array:
        """Its value as a read-only NumPy array (copy it to write)."""
        view = self._known("numpy").view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        value = self.numpy()
        if dtype is not None and dtype != value.dtype:
            if copy is False:
                raise ArgumentError(
                    "asarray", f"got {value.dtype} for {dtype}, copy=False", "no copy", "allow one"
                )
            return value.astype(dtype)
        return value.copy() if copy else value

    def __dlpack__(
        self,
        /,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any:
        value = self.numpy()
        if (max_version or (0,))[0] < 1:  # the older protocol cannot say "not to be written"
            if copy is None:
                copy = True
            elif not copy:  # asked for on purpose
                value = self._known("__dlpack__")
        return value.__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def item(self) -> Any:
        """Its one element as a Python number."""
        value = self._known("item")
        if value.size != 1:
            raise ShapeError(
                "item",
                f"got {spec_text(self)}",
                "one element is needed",
                "index it, or use numpy()",
            )
        return value.item()

    def tolist(self) -> Any:
        """Its value as nested Python lists."""
        return self._known("tolist").tolist()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                "bool",
                f"got {spec_text(self)}",
                "one element is needed, true or false",
                "use x.all() or x.any(), or cr.where to choose for each",
                user_line(),
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if not is_integer(self.dtype):
            raise DtypeError(
                "index", f"got {spec_text(self)}", "an integer is needed", "use int(x) to round"
            )
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len", "got a scalar", "an axis is needed", "use size instead")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        for k in range(len(self)):
            yield self[k]

    def __contains__(self, x: Any) -> bool:
        return bool((self._known("in", leaves=False) == np.asarray(x)).any())

    def __repr__(self) -> str:
        if self._value is None:
            return f"Tensor(traced {spec_text(self)})"
        value = self._value.astype(np.float32) if is_bfloat16(self.dtype) else self._value
        text = np.array2string(value, separator=", ", prefix="Tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        plain = self.size and self.dtype in (float32, int64, bool_)
        if not self.size:
            text = f"{text}, shape={self.shape}"
        return f"Tensor({text}{'' if plain else f', dtype={self.dtype}'}{grad})"

    def __format__(self, spec: str) -> str:
        return format(self.detach().item(), spec) if spec else str(self)

    def __reduce__(self) -> Any:
        return Tensor, (self._known("pickle"), None, self.requires_grad and self.is_leaf)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return Tensor(self._known("deepcopy").copy(), None, self.requires_grad and self.is_leaf)

    if not TYPE_CHECKING:  # a type checker is to know which attributes there are

        def __getattr__(self, name: str) -> Any:
            if name in ("_lender", "_unseen"):  # it has never been with a step, or an optimizer
                return None
            if name in ("_value", "_node", "_grad"):  # a compiled step has them: ask for them back
                self._lender.recall(self)
                return getattr(self, name)
            raise missing("Tensor", name)

    # ── gradients ────────────────────────────────────────────────────────────────────────────────

    def _is_input(self) -> bool:
        """Whether it stands for an argument of the function that is being traced."""
        node = self._node
        return (
            node is not None and node.trace is not None and node.op is None and (node.value is None)
        )

    @property
    def grad(self) -> Any:
        """∂loss/∂self from the last `backward`: a tensor, or `RowSparse` for a gathered table."""
        trace = state.trace
        if trace is None or trace.owns(self):
            found = self._grad
            if found is None and self._node is not None:
                self._expect_gradient(self._node)
            elif found is not None and self._unseen is not None:
                self._unseen = SEEN
            return found
        trace.unseen.pop(id(self), None)
        if id(self) in trace.gradients:
            return trace.gradients[id(self)][1]
        before = self._grad
        if before is None:
            trace.without_grad[id(self)] = self
            return None
        handle: Any
        if isinstance(before, RowSparse):
            indices = wrap(trace.capture(self, "grad.indices", before.indices))
            values = wrap(trace.capture(self, "grad.values", before.values))
            handle, node = RowSparse(indices, values, before.shape), values._node
        else:
            node = trace.capture(self, "grad", before)
            handle = wrap(node)
        trace.gradients[id(self)] = (self, handle, node)
        return handle

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None and not isinstance(value, (Tensor, RowSparse)):
            raise DtypeError(
                "grad", f"got {type(value).__name__}", "a tensor or None", "use cr.zeros_like(x)"
            )
        shape, dtype = self.shape, self.dtype  # a look that a compiled step notices
        if value is not None and (value.shape != shape or value.dtype != dtype):
            raise ShapeError(
                "grad", f"got {spec_text(value)}", f"{spec_text(self)} is needed", "reshape it"
            )
        if state.trace is None or state.trace.owns(self):
            if self._unseen is not None:
                self._unseen = SEEN
            self._put_gradient(value)
        else:
            state.trace.unseen.pop(id(self), None)
            state.trace.gradients[id(self)] = (self, value, None)

    def _expect_gradient(self, node: Node) -> None:
        """Raise, or warn, where there is no gradient because there cannot be one."""
        if self._is_input():
            raise TraceError(
                "grad",
                f"got .grad of the argument {spec_text(self)}",
                "only tensors from outside have one here",
                "leave it out of the arguments and use it from outside, or use cr.grad",
                user_line(),
            )
        if node.requires_grad and not node.is_leaf and not retained(node):
            warn(
                f"[grad] got .grad of {spec_text(self)}, which is computed and keeps no gradient: "
                "it is None; call retain_grad() on it before backward()",
                _warned,
            )

    def _leave(self, g: Any, fresh: bool, unseen: bool) -> bool:
        """Leave the gradient of a sweep here.

        fresh    it replaces the one that is here
        unseen   remember that nothing has read it
        Returns whether to warn: nothing has used what it replaces, and since the last step of an
        optimizer that has not been said.
        """
        trace = state.trace
        if trace is not None and not trace.owns(self):
            lost = fresh and id(self) in trace.unseen and id(self) not in trace.told
            if lost:
                trace.told.add(id(self))
            self.grad = g
            if unseen and self._unseen is not None:
                trace.unseen[id(self)] = self
            return lost
        known, now, lost = self._unseen, updates.count, False
        if known is not None:
            lost = fresh and known == now and self._grad is not None
            told = fresh and (lost or known == TOLD - now)
            self._unseen = TOLD - now if told else now if unseen else SEEN
        self._put_gradient(g)
        return lost

    def _put_gradient(self, g: Any) -> None:
        self._grad = g
        if lending.begun and self._lender is not None:
            self._lender.store(self, _grad=g)

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
        was not computed from keeps the gradient that it has, as in PyTorch.

        gradient      ∂loss/∂self, like self; may be left out for a scalar, where it is 1
        retain_graph  keep what the graph has stored, so that another backward() can go through it;
                      without a value as create_graph
        create_graph  record this sweep too, so that the gradients can be differentiated
        accumulate    add to the gradients that are there instead of replacing them
        """
        retain_graph = create_graph if retain_graph is None else retain_graph
        node = state.trace.node_of(self) if state.trace else self._node
        if node is None or not node.requires_grad:
            raise GradientError(
                "backward",
                f"got {spec_text(self)}, computed from nothing that requires a gradient",
                "a recorded tensor is needed",
                "set requires_grad=True on a leaf, and leave no_grad() before computing (the loss "
                "that a compiled step returns has no history: call backward() inside)",
                user_line(),
            )
        if gradient is None:
            if self.size != 1:
                raise ShapeError(
                    "backward",
                    f"got {spec_text(self)}",
                    "a scalar is needed, or gradient=",
                    "reduce the loss with mean() or sum() first",
                    node.source,
                )
            gradient = self._full(self.shape, 1.0)
        else:
            gradient = as_tensor(gradient)
            if gradient.shape != self.shape or gradient.dtype != self.dtype:
                raise ShapeError(
                    "backward",
                    f"got gradient {spec_text(gradient)}",
                    f"{spec_text(self)} is needed",
                    "reshape or convert it",
                )
        if state.trace is not None:
            state.trace.roots.add(node)
        release = not retain_graph and not state.variables  # a derivative goes through it later
        released = None if state.trace is None else state.trace.released
        with _grad_mode(create_graph), quiet():
            found = sweep({node: gradient._twin()}, _holder(create_graph), None, release, released)
            shares: dict[int, tuple[Tensor, Any]] = {}
            for end, g in found.items():  # a tensor assigned on the way has several leaves
                keeper = end if end.is_leaf else retained(end)
                owner = keeper.owner() if keeper and keeper.owner is not None else None
                if owner is not None:
                    before = shares.get(id(owner))
                    shares[id(owner)] = (owner, g if before is None else before[1] + g)
            lost = False
            for owner, g in shares.values():
                before = owner.grad if accumulate else None
                if isinstance(before, RowSparse) and _from_outside(owner):
                    before = before.to_dense()  # it would grow, and be compiled again, each time
                new = g._twin() if before is None else before + g
                lost |= owner._leave(new, fresh=not accumulate, unseen=not create_graph)
        if lost:
            warn_of_lost()

    def retain_grad(self) -> None:
        """Let `backward` leave a gradient in this tensor too, though it is computed."""
        node = self._node
        if node is None or not node.requires_grad:
            raise GradientError(
                "retain_grad",
                f"got {spec_text(self)}, which requires no gradient",
                "a recorded tensor is needed",
                "set requires_grad=True on what it is computed from",
                user_line(),
            )
        if not node.is_leaf and not retained(node):
            if node.hooks is None:
                node.hooks = []
            node.hooks.append(Retain(weakref.ref(self)))

    def register_hook(self, hook: Callable[[Tensor], Any]) -> Callable[[], None]:
        """Call `hook(gradient)` when `backward` reaches this tensor; what it returns replaces it.

        Returns a function that takes the hook away again.
        """
        node = self._node
        if state.trace is not None and not state.trace.owns(self):
            raise TraceError(
                "register_hook",
                f"got the outside tensor {spec_text(self)} inside a compiled function",
                "a hook on it is registered once, not at each call",
                "register it outside",
                user_line(),
            )
        if node is None or not node.requires_grad:
            raise GradientError(
                "register_hook",
                f"got {spec_text(self)}, which requires no gradient",
                "a recorded tensor is needed",
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

    def detach(self) -> Tensor:
        """The same value without history: gradients stop here."""
        if state.trace is not None:
            out: Tensor = ops.stop_gradient(self)
            return out
        return make(self._value)

    def _twin(self) -> Tensor:
        """A handle of its own on the same value and node."""
        result = _new(Tensor)
        result._value, result._node, result._grad = self._value, self._node, None
        return result

    def clone(self) -> Tensor:
        """A tensor of its own with the same value and history."""
        out: Tensor = ops.alias(self)
        return out

    # ── assignment ───────────────────────────────────────────────────────────────────────────────

    def _assign(self, new: Tensor) -> None:
        """Make this handle hold `new`. A leaf that requires a gradient stays one."""
        if new.shape != self.shape or new.dtype != self.dtype:
            raise ShapeError(
                "assign",
                f"got {spec_text(new)}",
                f"{spec_text(self)} is needed",
                "reshape or convert the new value",
            )
        trace = state.trace
        local = trace is None or trace.owns(self)
        node = self._node
        leaf = node is not None and node.requires_grad and node.owner is not None
        if leaf and state.grad:
            raise GradientError(
                "assign",
                f"got an assignment to the leaf {spec_text(self)} while recording",
                "its former value is part of the graph",
                "assign under no_grad(), or clone() it and assign to the clone",
                user_line(),
            )
        if trace is None:
            value = new._value
            after = self._leaf(value, node.hooks) if leaf and node else new._node
            self._store(value, after)
            return
        after = trace.node_of(new)
        if leaf:
            assert node is not None
            after = trace.apply(ops.alias, (after,), _NONE, True)
            after.owner, after.hooks = weakref.ref(self), node.hooks
        if local:
            self._value, self._node = None, after
        else:
            trace.write(self, after)

    def _store(self, value: Any, node: Node | None) -> None:
        """Fill the handle, which a compiled step in another thread may be taking."""
        self._value, self._node = value, node
        if lending.begun and self._lender is not None:
            self._lender.store(self, _value=value, _node=node)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._assign(self._updated(key, value))

    # ── how an operation is done ─────────────────────────────────────────────────────────────────

    def _full(self, shape: Shape, number: Any) -> Tensor:
        """A constant of this tensor's dtype: the number everywhere."""
        return full(shape, number, self.dtype)

    def _bind(self, op: Operation, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        """Do the operation: run it and record it, or, while tracing, make its node."""
        for x in inputs:
            if type(x) is not Tensor:
                like = [t for t in inputs if type(t) is Tensor][-1]
                inputs = tuple(
                    t if type(t) is Tensor else like._full(like.shape, t) for t in inputs
                )
                break
        if state.trace is not None:
            return _traced(state.trace, op, inputs, params)
        try:
            values = [t._value for t in inputs]
            expected = None
            if op.strict or (op.kinds and values[0].dtype.kind not in op.kinds):
                expected = op.infer(*inputs, **params)
            if state.quiet:
                out = op.evaluate(*values, **params)
            else:
                out = _quietly(op.evaluate, values, params)
        except Exception as error:
            raise _explained(op, inputs, params, error) from None
        if type(out) is tuple:
            return record_outputs(op, inputs, params, out)
        if type(out) is not np.ndarray:
            out = np.asarray(out)
        if expected is not None and expected != (out.shape, out.dtype):
            raise _unexpected(op, expected, out)
        result = _new(Tensor)
        result._value = out
        result._grad = None
        result._node = None
        if op.differentiable and state.grad:
            for t in inputs:
                node = t._node
                if node is not None and node.requires_grad:
                    if is_floating(out.dtype):
                        result._node = _recorded(op, inputs, params, out.shape, out.dtype, out)
                    break
        return result


@np.errstate(all="ignore")  # inf and NaN are results here, not surprises
def _quietly(evaluate: Callable[..., Any], values: list[Array], params: Mapping[str, Any]) -> Any:
    return evaluate(*values, **params)


def _recorded(
    op: Operation, inputs: tuple[Tensor, ...], params: Any, shape: Any, dtype: Any, out: Any
) -> Node:
    """The node of an operation that was run; the arrays that its rules name are kept in it."""
    nodes, wanted = [], 0
    for k, t in enumerate(inputs):
        node = t._node
        if node is None:
            value = t._value
            node = t._node = Node(None, (), _NONE, value.shape, value.dtype)
        elif node.requires_grad:
            wanted |= 1 << k
        nodes.append(node)
    kept, keep_output = op.kept(wanted, len(nodes))
    for k in kept:
        nodes[k].value = inputs[k]._value
    value = out if keep_output else None
    return Node(op, tuple(nodes), params, shape, dtype, value, True, user_line())


def record_outputs(
    op: Operation, inputs: tuple[Tensor, ...], params: Any, outs: tuple[Array, ...]
) -> tuple[Tensor, ...]:
    """An operation with several outputs: one node for the tuple, one `item` node for each."""
    if not (state.grad and any(t.requires_grad for t in inputs)):
        return tuple(make(o) for o in outs)
    shape, dtype = tuple(o.shape for o in outs), tuple(o.dtype for o in outs)
    whole = _recorded(op, inputs, params, shape, dtype, outs)
    results = []
    for k, o in enumerate(outs):
        result = make(o)
        if _output_requires_grad(op, params, k, o.dtype):
            index = {"index": k}
            result._node = Node(ops.item, (whole,), index, o.shape, o.dtype, None, True)
        results.append(result)
    return tuple(results)


def _output_requires_grad(op: Operation, params: Mapping[str, Any], k: int, dtype: Dtype) -> bool:
    """Of an operation on a graph: whether the graph's own output does (a custom rule decides)."""
    return is_floating(dtype) and (op is ops.custom or params["graph"].outputs[k].requires_grad)


def _traced(trace: Trace, op: Operation, inputs: tuple[Tensor, ...], params: Any) -> Any:
    nodes = tuple(trace.node_of(t) for t in inputs)
    grad = state.grad and op.differentiable and any(n.requires_grad for n in nodes)
    try:
        node = trace.apply(op, nodes, params, grad)
    except ChainruleError as error:
        raise error.located(user_line()) from None
    if isinstance(node.dtype, tuple):
        items = [trace.apply(ops.item, (node,), {"index": k}, grad) for k in range(len(node.dtype))]
        for k, i in enumerate(items):
            i.requires_grad = grad and _output_requires_grad(op, params, k, i.dtype)
        return tuple(wrap(i) for i in items)
    node.requires_grad = grad and is_floating(node.dtype)
    return wrap(node)


def _explained(op: Operation, inputs: Any, params: Any, error: Exception) -> Exception:
    """The error in the project's form: the shape rule's if it has one, else the operation's own."""
    if isinstance(error, ChainruleError):
        return error.located(user_line())
    for t in inputs:
        if t._value is None:
            return TraceError(
                op.name,
                f"got a traced {spec_text(t)} after its trace had ended",
                "a value is needed",
                "return it from the compiled function instead of storing it",
                user_line(),
            )
    try:
        op.infer(*inputs, **params)
    except ChainruleError as better:
        return better.located(user_line())
    got = " and ".join(spec_text(t) for t in inputs)
    return ArgumentError(
        op.name, f"got {got}: {error}", "values it can compute", "check them", user_line()
    )


def _unexpected(op: Operation, expected: Any, out: Array) -> ShapeError:
    shape, dtype = expected
    return ShapeError(
        op.name,
        f"its NumPy meaning gave {spec_text(out)}",
        f"{dtype}{shape} is needed, as its shape rule says",
        "mend one of the two",
        user_line(),
    )


def make(value: Array) -> Tensor:
    """A tensor around an array, with no copy and no history."""
    result = _new(Tensor)
    result._value = value
    result._grad = None
    result._node = None
    if state.trace is not None:
        result._node = _constant_of(value)
    return result


def _constant_of(value: Array) -> Node:
    """What stands in the present trace for a tensor that is made inside it."""
    return Node(None, (), _NONE, value.shape, value.dtype, value, False, None, state.trace)


def wrap(node: Node) -> Tensor:
    """The tensor that stands for a node: of a trace, or kept by an eager recording."""
    result = _new(Tensor)
    result._value = None
    result._grad = None
    result._node = node
    return result


def _from_outside(owner: Tensor) -> bool:
    """Whether a trace reads the row-sparse gradient that a tensor has before it."""
    return state.trace is not None and (id(owner), "grad.indices") in state.trace.reads


def warn_of_lost() -> None:
    """Warn, once a line, that a gradient is replaced before anything has used it."""
    warn(
        "[backward] a second backward() before an optimizer's step replaces gradients that nothing "
        "has read: those of the first one are lost; to add them up, call "
        "backward(accumulate=True) from the second one on; to drop them, call zero_grad() between",
        _warned,
    )


def held(node: Node) -> Any:
    """A node of an eager recording as a tensor that goes on recording."""
    if node.value is None:
        raise spent(node)
    if isinstance(node.dtype, tuple):
        return _held_tuple(node)
    result = _new(Tensor)
    result._value = node.value
    result._grad = None
    result._node = node
    return result


def _held_tuple(node: Node) -> tuple[Tensor, ...]:
    out = []
    for k, value in enumerate(node.value):
        t = make(value)
        if is_floating(value.dtype):
            t._node = Node(ops.item, (node,), {"index": k}, value.shape, value.dtype, None, True)
        out.append(t)
    return tuple(out)


def bare(node: Node) -> Any:
    """A node of an eager recording as a tensor without history."""
    if node.value is None:
        raise spent(node)
    if isinstance(node.dtype, tuple):
        return tuple(make(v) for v in node.value)
    result = _new(Tensor)
    result._value = node.value
    result._grad = None
    result._node = None
    return result


def _holder(record: bool) -> Callable[[Node], Any]:
    trace = state.trace
    if trace is None:
        return held if record else bare
    return lambda node: trace_hold(trace, node)


def trace_hold(trace: Trace, node: Node) -> Any:
    """A node of a trace as a tensor; a tuple node as its items."""
    if isinstance(node.dtype, tuple):
        return tuple(
            wrap(trace.apply(ops.item, (node,), {"index": k}, node.requires_grad))
            for k in range(len(node.dtype))
        )
    return wrap(node)


# ── constants and conversion ────────────────────────────────────────────────────────────────


def as_tensor(x: Any) -> Tensor:
    """The tensor itself, or a tensor made of what was given."""
    if type(x) is Tensor:
        return x
    if isinstance(x, RowSparse):
        return x.to_dense()
    if isinstance(x, (list, tuple)) and state.grad and any(_recorded_inside(x)):
        raise GradientError(
            "asarray",
            "got a list of tensors that require a gradient",
            "one tensor, so that the gradient can flow back",
            "join them with cr.stack or cr.concat",
            user_line(),
        )
    return Tensor(x)


def _recorded_inside(data: Any) -> Iterator[bool]:
    for d in data:
        if isinstance(d, (list, tuple)):
            yield from _recorded_inside(d)
        else:
            yield type(d) is Tensor and d.requires_grad


def full(shape: Shape, number: Any, dtype: Dtype) -> Tensor:
    """A constant: one number everywhere, stored once."""
    trace = state.trace
    if trace is None:  # 0 and -0 are equal but not the same, so they are not looked up
        return make(_constant(shape, number, dtype) if number else _spread(shape, number, dtype))
    value = _scalar(number, dtype).reshape((1,) * len(shape))
    node = Node(None, (), _NONE, value.shape, dtype, value, False, None, trace)
    if shape != value.shape:
        node = trace.apply(ops.broadcast_to, (node,), {"shape": shape}, False)
    return wrap(node)


def _scalar(number: Any, dtype: Dtype) -> Array:
    try:
        return np.asarray(number, dtype)
    except (OverflowError, ValueError, TypeError) as error:
        raise ArgumentError(
            "constant", f"got {number!r} for {dtype}: {error}", "a number that fits", "convert it"
        ) from None


def _spread(shape: Shape, number: Any, dtype: Dtype) -> Array:
    """One number everywhere, stored once: strides of 0, read-only."""
    value = _scalar(number, dtype)
    if is_bfloat16(dtype):  # it has no buffer to build a view on
        return np.broadcast_to(value, shape)
    value.flags.writeable = False
    return np.ndarray(shape, dtype, value, 0, (0,) * len(shape))


_constant = functools.lru_cache(1024, typed=True)(_spread)


# ── whether to record ────────────────────────────────────────────────────────────────────────────


@contextmanager
def _grad_mode(on: bool) -> Iterator[None]:
    before, state.grad = state.grad, on
    try:
        yield
    finally:
        state.grad = before


@contextmanager
def quiet() -> Iterator[None]:
    """NumPy's floating-point warnings off, once for many operations."""
    before, state.quiet = state.quiet, True
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        state.quiet = before


def no_grad() -> Any:
    """Nothing inside is recorded: `with no_grad(): …`, or as a decorator."""
    return _grad_mode(False)


def enable_grad() -> Any:
    """Recording inside a `no_grad`: `with enable_grad(): …`, or as a decorator."""
    return _grad_mode(True)


def is_grad_enabled() -> bool:
    """Whether operations are recorded at present."""
    return state.grad
