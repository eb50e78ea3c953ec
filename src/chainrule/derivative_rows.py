"""Rows of the table of derivatives, and how a rule's arguments are read from a node."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .graph import Node, Operation

Rule = Callable[..., Any]
TensorOf = Callable[[Node], Any]  # a node's tensor, which rules calculate with
Fetch = Callable[[Any, Node, TensorOf], Any]


@dataclass(frozen=True)
class Interval:
    """Where an input is drawn from: low < |x| < high if `mirrored`, else low < x < high."""

    low: float
    high: float
    mirrored: bool = False


@dataclass(frozen=True)
class Row:
    """One row of the table.

    rules   one per input, None where there is no derivative in that input
    joint   instead: one rule that returns the cotangents of all inputs
    reason  instead: why there is no derivative
    on      where each input is drawn from, for the checker (one for all, or one per input)
    kinks   points at which the rule must equal the central difference nevertheless
    """

    op: Operation
    rules: tuple[Rule | None, ...] = ()
    joint: Rule | None = None
    reason: str = ""
    on: tuple[Interval, ...] = ()
    kinks: tuple[Any, ...] = ()


def install(row: Row) -> None:
    """Make the row the derivative of its operation."""
    op = row.op
    rules = (row.joint,) * len(op.arguments) if row.joint else row.rules
    op.needs = tuple(_needs(op, rule) for rule in rules)
    op.saves = any(inputs or output for inputs, output in op.needs)
    op._saved.clear()
    op.joint = _pull(op, row.joint) if row.joint else None
    op.pulls = tuple(None if r is None else _pull(op, r) for r in row.rules)
    op.differentiable = bool(row.rules or row.joint)


def _names(rule: Rule) -> list[str]:
    return list(inspect.signature(rule).parameters)


def _needs(op: Operation, rule: Rule | None) -> tuple[tuple[int, ...], bool]:
    """Which inputs (by position; -1: all) and whether the output the rule needs saved."""
    names = _names(rule) if rule else []
    inputs = tuple(k for k, name in enumerate(op.arguments) if name in names)
    return (-1,) if "xs" in names else inputs, "y" in names


def _fetcher(op: Operation, name: str) -> Fetch:
    """How to read the value that a rule's argument names from the node."""
    if name == "g":
        return lambda g, node, tensor_of: g
    if name == "y":
        return lambda g, node, tensor_of: tensor_of(node)
    if name == "xs":
        return lambda g, node, tensor_of: [tensor_of(i) for i in node.inputs]
    if name == "xs_wanted":
        return lambda g, node, tensor_of: [i.requires_grad for i in node.inputs]
    if name == "xs_shapes":
        return lambda g, node, tensor_of: [i.shape for i in node.inputs]
    if name in op.arguments:
        k = op.arguments.index(name)
        return lambda g, node, tensor_of: tensor_of(node.inputs[k])
    stem, _, what = name.rpartition("_")
    if stem in op.arguments and what in ("shape", "dtype"):
        k = op.arguments.index(stem)
        return lambda g, node, tensor_of: getattr(node.inputs[k], what)
    return lambda g, node, tensor_of: node.params[name]


def _pull(op: Operation, rule: Rule) -> Fetch:
    """(g, node, tensor_of) -> the cotangent that the rule gives at the node."""
    names = _names(rule)
    fetchers = [_fetcher(op, name) for name in names]
    scale = op.kind == "elementwise" and "g" not in names
    if len(fetchers) == 1:
        (one,) = fetchers
        if scale:
            return lambda g, node, tensor_of: g * rule(one(g, node, tensor_of))
        return lambda g, node, tensor_of: rule(one(g, node, tensor_of))
    if scale:
        return lambda g, node, tensor_of: g * rule(*[f(g, node, tensor_of) for f in fetchers])
    return lambda g, node, tensor_of: rule(*[f(g, node, tensor_of) for f in fetchers])
