"""Nested lists, tuples and dicts of values, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

Structure = Hashable


class _Leaf:
    def __repr__(self) -> str:
        return "*"


LEAF = _Leaf()


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves in order, and a hashable structure to put leaves back into. None is no leaf."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    kind = type(tree)
    if kind is tuple or kind is list or (isinstance(tree, tuple) and hasattr(tree, "_fields")):
        return (kind, tuple([_flatten(t, leaves) for t in tree]))
    if kind is dict:
        return (kind, tuple([(k, _flatten(tree[k], leaves)) for k in tree]))
    if tree is None:
        return None
    leaves.append(tree)
    return LEAF


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The structure with these leaves."""
    return _unflatten(structure, iter(leaves))


def _unflatten(structure: Any, leaves: Any) -> Any:
    if structure is LEAF:
        return next(leaves)
    if structure is None:
        return None
    kind, parts = structure
    if kind is dict:
        return {k: _unflatten(s, leaves) for k, s in parts}
    inner = [_unflatten(s, leaves) for s in parts]
    if kind is list:
        return inner
    return tuple(inner) if kind is tuple else kind(*inner)


def leaves_like(structure: Structure, tree: Any) -> list[Any] | None:
    """The leaves of a tree in the structure's order, dict keys by name; None if it differs."""
    leaves: list[Any] = []
    return leaves if _collect(structure, tree, leaves) else None


def _collect(structure: Any, tree: Any, leaves: list[Any]) -> bool:
    if structure is LEAF:
        leaves.append(tree)
        return not isinstance(tree, (dict, list, tuple)) and tree is not None
    if structure is None:
        return tree is None
    kind, parts = structure
    if kind is dict:
        if type(tree) is not dict or tree.keys() != {k for k, _ in parts}:
            return False
        return all(_collect(s, tree[k], leaves) for k, s in parts)
    if not isinstance(tree, (list, tuple)) or len(tree) != len(parts):
        return False
    return all(_collect(s, t, leaves) for s, t in zip(parts, tree, strict=True))


def map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """The function applied to each leaf (and the leaves at its place in the other trees)."""
    leaves, structure = flatten(tree)
    others = [flatten(t)[0] for t in rest]
    return unflatten(structure, [function(*ls) for ls in zip(leaves, *others, strict=True)])
