"""Whether a loss cannot fall below 0, by the form of its graph."""

from __future__ import annotations

from ... import ops
from ...graph import Node
from ..derivation import MOVES, Derivation

# Of nn.functional: sums of -log p where p is a probability.
_ENTROPIES = ("cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits")
_NEVER = (ops.square, ops.abs, ops.exp, ops.sqrt)
_KEEPING = (ops.add, ops.multiply, ops.divide, ops.sum, *MOVES)  # not negative if inputs are not


def never_negative(derivation: Derivation) -> bool:
    """Whether the loss is a cross-entropy, or made of squares, absolute values and exponentials."""
    kinds = [step.kind for step in derivation.steps if derivation.loss in step.outputs]
    return any(kind in _ENTROPIES for kind in kinds) or _is_never_negative(derivation)


def _is_never_negative(derivation: Derivation) -> bool:
    waiting, seen = [derivation.loss], set[Node]()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node not in derivation.moving:
            if not (derivation.value(node) >= 0).all():
                return False
        elif node.op in _NEVER or (node.op is ops.multiply and len({*node.inputs}) == 1):
            continue
        elif node.op in _KEEPING:
            waiting += node.inputs
        else:
            return False
    return True
