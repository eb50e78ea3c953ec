"""Tensors that a step captures: that its function reads from outside, by name and not as arguments.

Each is a slot of an owner: the tensor's own value, or its gradient.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from ..errors import TraceError
from ..graph import Node, spec_text
from ..recording import Recorded
from ..sparse import RowSparse
from ..tensor import Tensor
from ..trace import Trace
from . import locks
from .resident import value_and_node

_NEVER = object()


def expect_leaves(recorded: Recorded) -> None:
    """Raise `TraceError` if a captured tensor was computed outside, from what could be trained."""
    used = set(recorded.graph.nodes)
    for owner, slot, node in recorded.trace.reads.values():
        if slot == "value" and node in used and not owner.is_leaf:
            raise TraceError(
                "compile",
                f"got the captured tensor {spec_text(owner)}, which has a recorded history",
                "expected leaves and arguments",
                "compute it inside, pass it as an argument, or detach() it",
                owner._node.source,
            )


def specs(recorded: Recorded) -> list[Hashable]:
    """What the program depends on of each captured tensor.

    Of one that another thread has changed since, what no tensor ever equals.
    """
    return [_recorded_spec(*row) for row in recorded.trace.reads.values()]


def _recorded_spec(owner: Tensor, slot: str, node: Node) -> Hashable:
    spec = _spec(_tensor(owner, slot))
    return spec if spec is not None and spec[:2] == (node.shape, node.dtype) else _NEVER


def _tensor(owner: Tensor, slot: str) -> Tensor | None:
    """The tensor that is in the owner's slot now, if there is one."""
    if slot == "value":
        return owner
    gradient: Tensor | RowSparse | None = owner._grad
    if isinstance(gradient, RowSparse):
        parts = {"grad.indices": gradient.indices, "grad.values": gradient.values}
        return parts.get(slot)
    return gradient if slot == "grad" else None


def _spec(t: Tensor | None) -> tuple[Hashable, ...] | None:
    """Shape and dtype, and for a tensor that is trained, whether it is a leaf, and its hooks."""
    if t is None:
        return None
    value, node = value_and_node(t)
    if node is None or not node.requires_grad:
        return value.shape, value.dtype
    return value.shape, value.dtype, node.is_leaf, tuple(node.hooks or ())


def unchanged(recorded: Recorded, before: list[Hashable], resident: set[int]) -> bool:
    """Whether the captured tensors still have the specs from before.

    resident   identities of tensors that are with the step, and so are as it left them
    """
    for (owner, slot), spec in zip(recorded.reads, before, strict=True):
        if id(owner) in resident:
            continue
        t = _tensor(owner, slot)
        if t is None or _spec(t) != spec:
            return False
    return not any(t._grad is not None for t in recorded.trace.without_grad.values())


def current_tensors(recorded: Recorded, before: list[Hashable]) -> list[Tensor] | None:
    """The captured tensors, all of one moment; None if gradients no longer have these specs."""
    with locks.crossing:
        tensors: list[Any] = [_tensor(owner, slot) for owner, slot in recorded.reads]
        for t, spec, (_, slot) in zip(tensors, before, recorded.reads, strict=True):
            if slot != "value" and (t is None or _spec(t) != spec):
                return None
        if any(t._grad is not None for t in recorded.trace.without_grad.values()):
            return None
        return [t._new_handle() for t in tensors]


def reads_gradient(trace: Trace, t: Tensor) -> bool:
    """Whether the step reads the gradient that t had before, or depends on there being none."""
    slots = ((id(t), slot) for slot in ("grad", "grad.indices"))
    return id(t) in trace.without_grad or any(slot in trace.reads for slot in slots)


def is_trained(owner: Tensor) -> bool:
    """Whether it is a leaf that requires a gradient."""
    return owner.requires_grad and owner.is_leaf


def used_by(recorded: Recorded) -> list[int]:
    """Identities of tensors that no other step may use while it runs; none if it assigns none."""
    if not (recorded.writes or recorded.grads):
        return []
    owners = [owner for owner, _ in (*recorded.reads, *recorded.grads)]
    absent: Mapping[int, Any] = recorded.trace.without_grad
    return [*{id(t) for t in (*owners, *recorded.writes, *absent.values())}]
