"""Every small change of the table of derivatives is noticed.

Each rule of `derivatives.py` is changed in one place at a time (a sign, a constant, a name, a
comparison, a dropped term …), put into the table, and checked as the table is checked: by
`check_row` and by the hand-computed examples of `test_table.py`. A change that goes unnoticed must
stand in `ARGUED` with the reason why it changes nothing.
"""

from __future__ import annotations

import ast
import copy
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from planting import planted
from test_table import BY_HAND

from chainrule import checking, derivatives
from chainrule.rows import Row

ARGUED: dict[str, str] = {}

# ── the rules as syntax ──────────────────────────────────────────────────────────────────────────

MODULE = ast.parse(inspect.getsource(derivatives))
BUILDERS = ("row", "joint", "zero", "elsewhere", "_add")
FUNCTIONS = {
    s.name: s for s in MODULE.body if isinstance(s, ast.FunctionDef) and s.name not in BUILDERS
}
ROWS = {
    s.value.args[0].attr: s
    for s in MODULE.body
    if isinstance(s, ast.Expr)
    and isinstance(s.value, ast.Call)
    and isinstance(s.value.func, ast.Name)
    and s.value.func.id in ("row", "joint")
    and isinstance(s.value.args[0], ast.Attribute)
}


def uses(tree: ast.AST) -> set[str]:
    """The named rules that the code reaches, by itself or through others."""
    found: set[str] = set()
    todo = [tree]
    while todo:
        for node in ast.walk(todo.pop()):
            if isinstance(node, ast.Name) and node.id in FUNCTIONS and node.id not in found:
                found.add(node.id)
                todo.append(FUNCTIONS[node.id])
    return found


AFFECTED = {
    **{name: [op for op, s in ROWS.items() if name in uses(s)] for name in FUNCTIONS},
    **{op: [op] for op in ROWS},
}


def rows_of(changed: ast.stmt, ops: list[str]) -> list[Row]:
    """The rows of these operations, with one function or one row as changed."""
    made: list[Row] = []

    def row(op: Any, *rules: Any, **columns: Any) -> None:
        made.append(replace(derivatives.TABLE[op.name], rules=rules))

    def joint(op: Any, rule: Any) -> None:
        made.append(replace(derivatives.TABLE[op.name], joint=rule))

    functions = {**FUNCTIONS}
    if isinstance(changed, ast.FunctionDef):
        functions[changed.name] = changed
    rows = [ROWS[op] if isinstance(changed, ast.FunctionDef) else changed for op in ops]
    body = ast.Module([*functions.values(), *rows], [])
    space = {**vars(derivatives), "row": row, "joint": joint}
    exec(compile(ast.fix_missing_locations(body), "<mutant>", "exec"), space)
    return made


# ── the changes ──────────────────────────────────────────────────────────────────────────────────

OTHER_OPERATOR: dict[type, list[Any]] = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult], ast.FloorDiv: [ast.Mult],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.Lt],
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.Gt],
}  # fmt: skip
OTHER_FUNCTION = {
    "sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh", "exp": "ops.expm1",
    "sqrt": "square", "square": "sqrt", "sign": "ops.abs", "hypot": "ops.maximum",
    "sigmoid": "ops.tanh", "log": "ops.log1p", "floor_divide": "ops.divide", "max": "min",
    "ops.sum": "ops.max", "ops.cumulative_prod": "ops.cumulative_sum",
    "ops.cumulative_sum": "ops.cumulative_prod", "ops.bitwise_and": "ops.bitwise_or",
    "math.sqrt": "math.exp", "ops.scatter_add": "ops.take", "ops.take": "ops.scatter_add",
}  # fmt: skip


@dataclass
class Mutant:
    """One changed row or function: what was changed, and the code with the change."""

    name: str
    code: ast.stmt
    ops: list[str]


def other_nodes(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    """What may stand in the place of the node."""
    match node:
        case ast.BinOp(left, op, right):
            for other in OTHER_OPERATOR.get(type(op), []):
                yield ast.BinOp(left, other(), right)
            if not isinstance(op, (ast.Add, ast.Mult)):
                yield ast.BinOp(right, op, left)
            yield left
            yield right
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
        case ast.Compare(left, [op], [right]):
            for other in OTHER_OPERATOR.get(type(op), []):
                yield ast.Compare(left, [other()], [right])
        case ast.Constant(value) if type(value) in (int, float):
            yield ast.Constant(value + 1)
            if value:
                yield ast.Constant(type(value)(0))
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Attribute(value, "mT"):
            yield value
        case ast.Call(func, args, keywords):
            if ast.unparse(func) in OTHER_FUNCTION:
                other = ast.parse(OTHER_FUNCTION[ast.unparse(func)], mode="eval").body
                yield ast.Call(other, args, keywords)
            if args and not isinstance(args[0], ast.Starred):
                yield args[0]
            for k in range(len(args) - 1):
                swapped = [*args[:k], args[k + 1], args[k], *args[k + 2 :]]
                yield ast.Call(func, swapped, keywords)
        case ast.Tuple(elements, ast.Load()):
            for k in range(len(elements) - 1):
                swapped = [*elements[:k], elements[k + 1], elements[k], *elements[k + 2 :]]
                yield ast.Tuple(swapped, ast.Load())
        case ast.Name(name, ast.Load()) if name in names:
            for other in names:
                if other != name:
                    yield ast.Name(other, ast.Load())
        case ast.Lambda(args, body):
            yield ast.Lambda(args, ast.UnaryOp(ast.USub(), body))
        case ast.Return(value) if value is not None:
            yield ast.Return(ast.UnaryOp(ast.USub(), value))
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)


def places(node: ast.AST, names: list[str]) -> Iterator[tuple[ast.AST, str, int | None, list[str]]]:
    """Every (parent, field, position) below the node that may change, and the names known there."""
    if isinstance(node, (ast.Lambda, ast.FunctionDef)):
        names = [a.arg for a in node.args.args]
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "args") and not isinstance(node, ast.Call):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("row", "joint") and field != "args":
                continue  # the columns for the checker stay
        for k, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                yield node, field, k if isinstance(value, list) else None, names
                yield from places(child, names)


def mutants() -> Iterator[Mutant]:
    """Every change of every row and every named rule."""
    for name, code in {**FUNCTIONS, **ROWS}.items():
        seen: dict[str, int] = {ast.unparse(code): 0}
        told: dict[str, int] = {}
        for parent, field, k, names in list(places(code, [])):
            value = getattr(parent, field)
            old = value if k is None else value[k]
            if isinstance(old, ast.Call) and old.func in ("row", "joint"):
                continue
            for new in other_nodes(old, names):
                if k is None:
                    setattr(parent, field, new)
                else:
                    value[k] = new
                text = ast.unparse(code)
                if text not in seen:
                    seen[text] = 1
                    title = f"{name}: {ast.unparse(old)} → {ast.unparse(new)}"
                    told[title] = told.get(title, 0) + 1
                    number = f" ({told[title]})" if told[title] > 1 else ""
                    yield Mutant(title + number, copy.deepcopy(code), AFFECTED[name])
                if k is None:
                    setattr(parent, field, old)
                else:
                    value[k] = old


def noticed(mutant: Mutant) -> bool:
    """Whether a check fails, or cannot even be run."""
    try:
        rows = rows_of(mutant.code, mutant.ops)
        for row in rows:
            with planted(row):
                if checking.check_row(row).failure:
                    return True
                for example in BY_HAND.get(row.op.name, ()):
                    example()
    except Exception:
        return True
    return False


# ── the test ─────────────────────────────────────────────────────────────────────────────────────


def test_unchanged_rules_pass() -> None:
    for name, code in {**FUNCTIONS, **ROWS}.items():
        for row in rows_of(code, AFFECTED[name]):
            with planted(row):
                assert not checking.check_row(row).failure
                for example in BY_HAND.get(row.op.name, ()):
                    example()
