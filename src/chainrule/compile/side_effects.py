"""Refusing functions that change Python's variables or attributes while they are recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import TraceError
from ..graph import spec_text
from ..guards import Guard
from ..guards.snapshots import MISSING, ArraySnapshot, is_plain
from ..guards.surroundings import Surroundings
from ..tensor import Tensor


def expect_none(surroundings: Surroundings, guards: Iterable[Guard]) -> None:
    """Raise TraceError, with everything restored, if the recorded function changed something."""
    for where, before, after in surroundings.changes():
        surroundings.restore()
        source = after._node.source if isinstance(after, Tensor) and after._node else None
        raise TraceError(
            "compile",
            f"got a function that changes {where} from {_describe(before)} to {_describe(after)}",
            "expected no change: it happens only while it is traced, not at each call",
            "keep it in a tensor made outside and assign that in place (x[...] = value)",
            source,
        )
    for guard in guards:
        guard.expect_unchanged()


def _describe(value: Any) -> str:
    if value is MISSING:
        return "nothing"
    if isinstance(value, Tensor):
        return ("a traced " if value._value is None else "a ") + spec_text(value)
    if isinstance(value, ArraySnapshot):
        return "an array"
    return repr(value) if is_plain(value) else f"a {type(value).__name__}"
