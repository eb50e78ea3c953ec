"""Tensor: the array that users have. Eager execution, recording, tracing, assignment.

A `Tensor` is a `Handle` (see `handle.py`) with `operators`, conversions (`values`) and `gradients`
(`grad_mode`: whether operations are recorded). This file has how an operation is done: run by
NumPy, and recorded where a gradient is wanted, or made a node while tracing. Recording saves an
array only where some row of the table of derivatives names it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..convert import to_array
from ..dtypes import FLOATING, is_bfloat16, is_floating
from ..errors import (
    ArgumentError,
    ChainruleError,
    GradientError,
    ShapeError,
    TraceError,
    user_line,
)
from ..graph import NO_PARAMS, Array, Dtype, Node, Operation, Shape, spec_text
from ..handle import constant_node
from ..sparse import RowSparse
from ..trace import Trace, state
from .grad_mode import enable_grad as enable_grad
from .grad_mode import is_grad_enabled as is_grad_enabled
from .grad_mode import no_grad as no_grad
from .grad_mode import quiet as quiet
from .gradients import Gradients
from .operators import Operators
from .values import Values

_new = object.__new__


class Tensor(Gradients, Values, Operators):
    """An n-dimensional array of one dtype that remembers, if asked, how it was computed.

    data             a Python number, nested lists, a NumPy array or another tensor
    dtype            one of chainrule's dtypes; floats become float32, whole numbers int64
    requires_grad    record what is computed from this tensor, so that `backward` reaches it

    The data is copied unless it is read-only, so that it cannot change behind a recorded graph.
    """

    __slots__ = ()
    __array_priority__ = 1000
    __array_ufunc__ = None  # NumPy's operators defer to ours

    # Methods that are functions, `x.sum(axis=0)` for `sum(x, axis=0)`: see functions/methods.py.
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
            self._node = constant_node(self._value)
        if requires_grad:
            self.requires_grad = True

    # ── device and transposes ─────────────────────────────────────────────────────────────────────

    @property
    def device(self) -> str:
        """Where it is: always "cpu"."""
        return "cpu"

    def to_device(self, device: str, /, *, stream: Any = None) -> Tensor:
        """The tensor itself: the only device is "cpu"."""
        if device != "cpu" or stream is not None:
            raise ArgumentError(
                "to_device", f"got {device!r}, stream {stream}", 'expected "cpu"', "leave it out"
            )
        return self

    @property
    def mT(self) -> Tensor:  # noqa: N802 - the Array API's name
        """The last two axes exchanged."""
        n = len(self.shape)
        if n < 2:
            raise ShapeError("mT", f"got {spec_text(self)}", "expected two axes", "reshape it")
        return self._bind(ops.permute_dims, (self,), {"axes": (*range(n - 2), n - 1, n - 2)})

    @property
    def T(self) -> Tensor:  # noqa: N802 - the Array API's name
        """The matrix transposed."""
        if len(self.shape) != 2:
            raise ShapeError(
                "T", f"got {spec_text(self)}", "expected two axes", "use mT or permute_dims"
            )
        return self.mT

    def __iter__(self) -> Iterator[Tensor]:
        for k in range(len(self)):
            yield self[k]

    def __format__(self, spec: str) -> str:
        return format(self.detach().item(), spec) if spec else str(self)

    # ── assignment ───────────────────────────────────────────────────────────────────────────────

    def _assign(self, new: Tensor) -> None:
        """Make this handle refer to `new`'s value. A leaf that requires a gradient stays one."""
        if new.shape != self.shape or new.dtype != self.dtype:
            raise ShapeError(
                "assign",
                f"got {spec_text(new)}",
                f"expected {spec_text(self)}",
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
                "expected no assignment: the former value is part of the graph",
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
            after = trace.apply(ops.alias, (after,), NO_PARAMS, True)
            after.owner, after.hooks = weakref.ref(self), node.hooks
        if local:
            self._value, self._node = None, after
        else:
            trace.write(self, after)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._assign(self._updated(key, value))

    # ── operations ─────────────────────────────────────────────────────────────────

    def _full(self, shape: Shape, number: Any) -> Tensor:
        """A constant of this tensor's dtype: the number everywhere."""
        return constant(shape, number, self.dtype)

    @staticmethod
    def _from(x: Any) -> Tensor:
        return as_tensor(x)

    def _bind(self, op: Operation, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        """Apply the operation: run and record it, or, while tracing, make its node."""
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
            if op.strict or (op.dtypes and values[0].dtype not in op.dtypes):
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
                    if out.dtype in FLOATING:
                        result._node = _recorded(op, inputs, params, out.shape, out.dtype, out)
                    break
        return result


@np.errstate(all="ignore")  # inf and NaN are results here, not surprises
def _quietly(evaluate: Callable[..., Any], values: list[Array], params: Mapping[str, Any]) -> Any:
    return evaluate(*values, **params)


def _recorded(
    op: Operation, inputs: tuple[Tensor, ...], params: Any, shape: Any, dtype: Any, out: Any
) -> Node:
    """The node of an operation that was run; the arrays that its rules name are saved in it."""
    nodes, wanted = [], 0
    for k, t in enumerate(inputs):
        node = t._node
        if node is None:
            value = t._value
            node = t._node = Node(None, (), NO_PARAMS, value.shape, value.dtype)
        elif node.requires_grad:
            wanted |= 1 << k
        nodes.append(node)
    saved, save_output = op.saved(wanted, len(nodes))
    for k in saved:
        nodes[k].value = inputs[k]._value
    value = out if save_output else None
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
    """Whether the k-th output does: of a graph, if the graph's own output does."""
    graph = None if op is ops.custom else params.get("graph")
    return is_floating(dtype) and (graph is None or graph.outputs[k].requires_grad)


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
    """The error in the project's form: of the shape rule if it has one, else of the operation."""
    if isinstance(error, ChainruleError):
        return error.located(user_line())
    for t in inputs:
        if t._value is None:
            return TraceError(
                op.name,
                f"got a traced {spec_text(t)} after its trace had ended",
                "expected a value",
                "return it from the compiled function instead of storing it",
                user_line(),
            )
    try:
        op.infer(*inputs, **params)
    except ChainruleError as better:
        return better.located(user_line())
    got = " and ".join(spec_text(t) for t in inputs)
    return ArgumentError(
        op.name,
        f"got {got}: {error}",
        "expected values it can compute",
        "look at them with numpy()",
        user_line(),
    )


def _unexpected(op: Operation, expected: Any, out: Array) -> ShapeError:
    shape, dtype = expected
    return ShapeError(
        op.name,
        f"its NumPy meaning gave {spec_text(out)}",
        f"expected {dtype}{shape}, as its shape rule says",
        "fix one of the two",
        user_line(),
    )


make = Tensor._of_value  # make(array)
wrap = Tensor._of_node  # wrap(node)


# ── constants and conversion ────────────────────────────────────────────────────────────────


def as_tensor(x: Any) -> Tensor:
    """The tensor itself, or a tensor made from x."""
    if type(x) is Tensor:
        return x
    if isinstance(x, RowSparse):
        return x.to_dense()
    if isinstance(x, (list, tuple)) and state.grad and any(_recorded_inside(x)):
        raise GradientError(
            "asarray",
            "got a list of tensors that require a gradient",
            "expected one tensor, so that the gradient can flow back",
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


def constant(shape: Shape, number: Any, dtype: Dtype) -> Tensor:
    """A constant of a graph: one number everywhere, stored once."""
    trace = state.trace
    if trace is None:  # 0 and -0 are equal but not the same, so they are not looked up
        return make(_constant(shape, number, dtype) if number else _spread(shape, number, dtype))
    value = _scalar(number, dtype).reshape((1,) * len(shape))
    node = Node(None, (), NO_PARAMS, value.shape, dtype, value, False, None, trace)
    if shape != value.shape:
        node = trace.apply(ops.broadcast_to, (node,), {"shape": shape}, False)
    return wrap(node)


def _scalar(number: Any, dtype: Dtype) -> Array:
    try:
        return np.asarray(number, dtype)
    except (OverflowError, ValueError, TypeError) as error:
        raise ArgumentError(
            "constant",
            f"got {number!r} for {dtype}: {error}",
            "expected a number that fits",
            "use a tensor of a wider dtype",
        ) from None


def _spread(shape: Shape, number: Any, dtype: Dtype) -> Array:
    """One number everywhere, stored once: strides of 0, read-only."""
    value = _scalar(number, dtype)
    if is_bfloat16(dtype):  # it has no buffer to build a view on
        return np.broadcast_to(value, shape)
    value.flags.writeable = False
    return np.ndarray(shape, dtype, value, 0, (0,) * len(shape))


_constant = functools.lru_cache(1024, typed=True)(_spread)
