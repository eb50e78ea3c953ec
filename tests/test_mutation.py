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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from chainrule import checking, derivatives
from chainrule.derivative_rows import Row
from planting import planted
from test_table import BY_HAND

SAME_SHAPE = (
    "the names have the same shape, dtype or length there, and nothing else is asked of them"
)
BROADCAST = "the operator after it broadcasts all the same"

ARGUED = {
    "repeated: zip(shape, like, strict=True) → zip(like, shape, strict=True)":
        "a != b is symmetric",
    "broadcast_to: repeated(x_shape, g.shape) → repeated(g.shape, x_shape)":
        "a != b is symmetric",
    "concat_rule: zip(start, shape, strict=True) → zip(shape, start, strict=True)":
        "a + n is symmetric",
    "power_base: 1.0 → 2.0":
        "at x₁ = x₂ = 0 the rule is x₂ = 0 times 0⁰ or 0¹, both finite; so are its derivatives",
    "abs: g * sign(x) → g / sign(x)": "the sign is 1 or -1 where it is chosen",
    **{f"atan2: hypot(x1, x2) → hypot(x2, x1){n}": "hypot is symmetric"
       for n in ("", " (2)", " (3)", " (4)")},
    "over_length: 1.0 → 2.0": "x is 0 there",
    "extremum: g → y": SAME_SHAPE,
    "prod_rule: ops.broadcast_to(g, shape=x.shape) → g": BROADCAST,
    "prod_rule: x → g (5)": BROADCAST,  # broadcast_to(g, shape=g.shape)
    "prod_rule: x → g": SAME_SHAPE,  # len(g.shape)
    "prod_rule: x → g (4)": SAME_SHAPE,  # g and x have the same sizes but on the reduced axes
    "earlier: return x → return -x":
        "x has no elements there",
    "recurrence_back: 0.0 → 1.0":
        "the first factor of a recurrence multiplies h₋₁ = 0, and no one reads it",
    "conv_input: stride → padding": SAME_SHAPE,  # len(stride)
    "conv_input: stride → input_dilation": SAME_SHAPE,
    "conv_input: stride → kernel_dilation": SAME_SHAPE,
    "put_values: rows → g": "equal elements of any dtype are in the order of their index",
    "put_values: 0 → 1": "equal elements are in the order of their index, whichever they are",
    "put_values: 1 → 2 (2)": "any number below 0 is outside",
    "put_values: numbers → rows": "both are int64 there",
    "fold: stride → dilation": SAME_SHAPE,  # len(stride)
}  # fmt: skip

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
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
}
OTHER_FUNCTION = {
    "sin": "cos",
    "cos": "sin",
    "sinh": "cosh",
    "cosh": "sinh",
    "exp": "ops.expm1",
    "sqrt": "square",
    "square": "sqrt",
    "sign": "ops.abs",
    "hypot": "ops.maximum",
    "sigmoid": "ops.tanh",
    "log": "ops.log1p",
    "floor_divide": "ops.divide",
    "max": "min",
    "ops.sum": "ops.max",
    "ops.cumulative_prod": "ops.cumulative_sum",
    "ops.cumulative_sum": "ops.cumulative_prod",
    "ops.bitwise_and": "ops.bitwise_or",
    "math.sqrt": "math.exp",
    "ops.scatter_add": "ops.take",
    "ops.take": "ops.scatter_add",
}
COMMUTATIVE = ("max", "ops.bitwise_and")


Known = dict[str, int]  # names, and the line from which on they are bound


@dataclass
class Mutant:
    """One changed row or function: what was changed, and the code with the change."""

    name: str
    code: ast.stmt
    ops: list[str]


def other_nodes(node: ast.AST, known: Known) -> Iterator[ast.AST]:
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
        case ast.Call(ast.Name("row"), [op, first, second], columns):
            for rules in (
                [second, first],
                [ast.Constant(None), second],
                [first, ast.Constant(None)],
            ):
                yield ast.Call(node.func, [op, *rules], columns)
        case ast.Call(ast.Name("row" | "joint")):
            pass
        case ast.Call(func, args, keywords):
            name = ast.unparse(func)
            if name in OTHER_FUNCTION:
                other = ast.parse(OTHER_FUNCTION[name], mode="eval").body
                yield ast.Call(other, args, keywords)
            if args and not isinstance(args[0], ast.Starred) and name != "tuple":
                yield args[0]
            for k in range(0 if name in COMMUTATIVE else len(args) - 1):
                swapped = [*args[:k], args[k + 1], args[k], *args[k + 2 :]]
                yield ast.Call(func, swapped, keywords)
        case ast.Tuple(elements, ast.Load()):
            for k in range(len(elements) - 1):
                swapped = [*elements[:k], elements[k + 1], elements[k], *elements[k + 2 :]]
                yield ast.Tuple(swapped, ast.Load())
        case ast.Name(name, ast.Load()) if name in known:
            for other, line in known.items():
                if other != name and line < node.lineno:
                    yield ast.Name(other, ast.Load())
        case ast.Lambda(args, body):
            yield ast.Lambda(args, ast.UnaryOp(ast.USub(), body))
        case ast.Return(value) if value is not None:
            yield ast.Return(ast.UnaryOp(ast.USub(), value))
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)


def places(node: ast.AST, known: Known) -> Iterator[tuple[ast.AST, str, int | None, Known]]:
    """Every (parent, field, position) below the node that may change, and the names known there."""
    if isinstance(node, (ast.Lambda, ast.FunctionDef)):
        known = {a.arg: 0 for a in node.args.args}
        for s in ast.walk(node):
            if isinstance(s, ast.Assign):
                targets = [n for t in s.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
                known = {n.id: s.lineno for n in targets} | known
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "args") and not isinstance(node, ast.Call):
            continue
        if field == "keywords" and ast.unparse(node).startswith(("row(", "joint(")):
            continue  # the columns for the checker stay
        for k, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                yield node, field, k if isinstance(value, list) else None, known
                yield from places(child, known)


def mutants() -> Iterator[Mutant]:
    """Every change of every row and every named rule."""
    for name, code in {**FUNCTIONS, **ROWS}.items():
        seen: dict[str, int] = {ast.unparse(code): 0}
        told: dict[str, int] = {}
        for parent, field, k, known in list(places(code, {})):
            value = getattr(parent, field)
            old = value if k is None else value[k]
            for new in other_nodes(old, known):
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


def noticed(mutant: Mutant) -> str:
    """What notices the change: the check, an example, an exception from either, or nothing."""
    try:
        for row in rows_of(mutant.code, mutant.ops):
            with planted(row):
                if checking.check_row(row).failure:
                    return "check"
                for example in BY_HAND.get(row.op.name, ()):
                    example()
    except AssertionError:
        return "example"
    except Exception:
        return "exception"
    return ""


# ── the tests ────────────────────────────────────────────────────────────────────────────────────


def test_the_rules_unchanged_pass() -> None:
    """So what is noticed below is the change."""
    for name, code in {**FUNCTIONS, **ROWS}.items():
        assert not noticed(Mutant(name, code, AFFECTED[name]))


def test_every_row_is_changed() -> None:
    rows = {name for name, row in derivatives.TABLE.items() if not row.reason}
    assert set(ROWS) == rows
    assert all(AFFECTED.values())
    whole = {
        "power",
        "slice",
        "pad",
        "concat",
        "prod",
        "norm",
        "max",
        "min",
        "cumulative_prod",
        "put_rows",
    }
    changed = {m.name.partition(":")[0] for m in mutants()}
    assert changed >= {*FUNCTIONS, *ROWS} - whole  # whose rows only name a function


def test_every_change_is_noticed() -> None:
    by: dict[str, list[str]] = {}
    for mutant in mutants():
        by.setdefault(noticed(mutant), []).append(mutant.name)
    survivors = set(by.pop("", []))
    counts = ", ".join(f"{len(found)} by {how}" for how, found in sorted(by.items()))
    print(
        f"\n{sum(map(len, by.values())) + len(survivors)} mutants; noticed: {counts}; "
        f"{len(ARGUED)} argued"
    )
    assert survivors - set(ARGUED) == set(), "changes that no check notices"
    assert set(ARGUED) - survivors == set(), "argued to change nothing, but noticed or not made"
