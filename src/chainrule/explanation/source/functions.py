"""The source of Python functions, with all that they use: modules, constants, other functions."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import keyword
import math
import re
import textwrap
import types
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ...errors import PACKAGE, ArgumentError, user_line
from ...guards.functions import globals_in, in_library
from .constants import LITERAL, array_literal, number_literal
from .layout import WIDTH, wrapped

_PLAIN = (bool, int, float, complex, str, bytes, types.NoneType)


def identifier(text: str, of: str) -> str:
    """A name in Python for a name of the user's; `of` stands before it where it has to."""
    normal = unicodedata.normalize("NFKC", text)  # as Python reads it
    plain = (c if c.isalnum() and f"_{c}".isidentifier() else "_" for c in normal)
    out = re.sub(r"_+", "_", "".join(plain)).strip("_") or "value"
    out = out if out.isidentifier() else f"{of}_{out}"
    return f"{out}_" if keyword.iskeyword(out) else out


class Functions:
    """Functions as they are written at the top of a module: `add` says how to call one.

    imports      lines
    assignments  lines
    texts        the functions, each with its definition
    names        of functions, modules and constants in the module, with what they are
    """

    def __init__(self, reserved: Mapping[str, Any]) -> None:
        """The names of `reserved`, and of Python's own functions, are kept for these."""
        self.imports: dict[str, None] = {"import numpy as np": None}
        self.assignments: list[str] = []
        self.texts: list[str] = []
        self.names: dict[str, Any] = {"np": np}
        self._reserved = {**vars(builtins), **reserved}

    def add(self, function: Any, name: str, operation: str) -> str:
        """The name under which the module has the function: `name` if it is one in Python and free.

        operation   whose meaning it is, for errors
        """
        waiting: list[tuple[Any, str]] = []
        out = self._named(function, identifier(name, "operation"), operation, waiting)
        while waiting:
            value, known = waiting.pop(0)
            definition = _definition(value, operation)
            renamed = {}
            for used, inner in _used(value, definition):
                new = self._named(inner, used, operation, waiting)
                if new != used:
                    renamed[used] = new
            self.texts.append(_text(definition, known, renamed))
        return out

    def _named(self, value: Any, name: str, operation: str, waiting: list[Any]) -> str:
        k, out = 1, name
        while {**self._reserved, **self.names}.get(out, value) is not value:
            k += 1
            out = f"{name}_{k}"
        if out in self.names:
            return out
        self.names[out] = value
        if isinstance(value, types.FunctionType):
            waiting.append((value, out))
        elif isinstance(value, types.ModuleType):
            if in_library(f"{value.__name__}.") or not _is_path(value.__name__):
                _refuse(operation, f"{name}, which is {value.__name__}")
            short = value.__name__ == out
            self.imports[f"import {value.__name__}" + ("" if short else f" as {out}")] = None
        elif isinstance(value, (np.ufunc, np.generic, np.ndarray)) or _is_plain(value):
            text = f"{out} = {_value_text(value, name, operation)}"
            self.assignments += wrapped(text) if isinstance(value, (tuple, list)) else [text]
        else:
            module = getattr(value, "__module__", None)
            own = getattr(value, "__qualname__", None)
            if (
                not module
                or own is None
                or not own.isidentifier()
                or not _is_path(module)
                or in_library(f"{module}.")
                or not callable(value)
            ):
                _refuse(operation, f"{name}, a value of type {type(value).__name__}")
            alias = "" if own == out else f" as {out}"
            self.imports[f"from {module} import {own}{alias}"] = None
        return out


def _is_path(module: str) -> bool:
    """Whether a module's name can stand in an import."""
    return all(part.isidentifier() for part in module.split("."))


def _is_plain(value: Any) -> bool:
    if type(value) in (tuple, list):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, [*value, *value.values()]))
    return type(value) in _PLAIN


def _value_text(value: Any, name: str, operation: str) -> str:
    if isinstance(value, np.ufunc):
        return ufunc_text(value, operation)
    if isinstance(value, np.ndarray):
        if value.size > 32 * LITERAL:
            _refuse(operation, f"{name}, an array of {value.size} elements")
        return array_literal(value)
    if isinstance(value, np.generic):
        return f"np.{value.dtype.name}({number_literal(value)})"
    if isinstance(value, float) and not math.isfinite(value):
        return number_literal(value)
    return repr(value)


def ufunc_text(value: np.ufunc, operation: str) -> str:
    """A function of NumPy's."""
    if getattr(np, value.__name__, None) is not value:
        _refuse(operation, f"{value.__name__}, which NumPy does not have")
    return f"np.{value.__name__}"


def _refuse(operation: str, arrived: str) -> NoReturn:
    raise ArgumentError(
        "explain",
        f"got an operation {operation} whose meaning uses {arrived}",
        "expected a function in Python of NumPy, numbers, small arrays and other such functions",
        "pass it to the operation as an input or a parameter",
        user_line(),
    )


# ── where a function is defined ──────────────────────────────────────────────────────────────────


class _Definition(NamedTuple):
    """A function's syntax tree, and the text of the file that has it."""

    node: ast.FunctionDef | ast.Lambda
    source: str


@functools.lru_cache(64)
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _definition(function: types.FunctionType, operation: str) -> _Definition:
    try:
        source = "".join(inspect.findsource(function)[0])
        tree = _parsed(source)
    except (OSError, SyntaxError):
        _refuse(operation, f"{function.__name__}, whose source cannot be read")
    if function.__code__.co_name == "<lambda>":
        lambdas = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda)]
        candidates = [n for n in lambdas if _may_be(n, function.__code__)]
        if candidates:
            return _Definition(min(candidates, key=_length), source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and _is_def(node, function):
            decorated = node.decorator_list and not function.__code__.co_filename.startswith(
                PACKAGE
            )
            if decorated or hasattr(function, "__wrapped__"):
                _refuse(operation, f"{function.__name__}, which has a decorator")
            return _Definition(node, source)
    _refuse(operation, f"{function.__name__}, which is not in its file any more")


def _is_def(node: ast.FunctionDef, function: types.FunctionType) -> bool:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return node.name == function.__code__.co_name and first == function.__code__.co_firstlineno


def _may_be(node: ast.Lambda, code: types.CodeType) -> bool:
    """Whether all that the code does is within this lambda: others may be in the line."""
    first = (node.body.lineno, node.body.col_offset)
    last = (node.body.end_lineno or 0, node.body.end_col_offset or 0)
    places = [p for p in code.co_positions() if None not in p and p[:2] != p[2:] and p[3]]
    return node.lineno == code.co_firstlineno and all(
        first <= (line, column) and (end, end_column) <= last
        for line, end, column, end_column in places
    )


def _length(node: ast.Lambda) -> tuple[int, int]:
    """How long the lambda's body is."""
    body = node.body
    return (body.end_lineno or 0) - body.lineno, (body.end_col_offset or 0) - body.col_offset


def _used(function: types.FunctionType, definition: _Definition) -> Iterator[tuple[str, Any]]:
    """The names from outside that the function and its defaults use, with their values."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents
    arguments = definition.node.args
    texts = [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    names = list(globals_in(code))
    for text, value in zip(texts, values, strict=True):
        if isinstance(text, ast.Name):
            yield text.id, value
        else:
            names += [n.id for n in ast.walk(text) if isinstance(n, ast.Name)]
    for name in dict.fromkeys(names):
        if name in function.__globals__:
            yield name, function.__globals__[name]


# ── its text ─────────────────────────────────────────────────────────────────────────────────────


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Name(self._names.get(node.id, node.id), node.ctx), node)


def _text(definition: _Definition, name: str, renamed: dict[str, str]) -> str:
    """The definition under this name, without annotations and decorators."""
    node, source = definition.node, definition.source
    if isinstance(node, ast.Lambda):
        if renamed:
            node = _Renamed(renamed).visit(ast.parse(ast.unparse(node), mode="eval")).body
            assert isinstance(node, ast.Lambda)
            body = ast.unparse(node.body)
        else:
            body = ast.get_source_segment(source, node.body) or ""
            body = f"({body})" if "\n" in body else body
        return f"def {name}({ast.unparse(node.args)}):\n    return {body}"
    lines = source.split("\n")[node.lineno - 1 : node.end_lineno]
    text = textwrap.dedent("\n".join(lines))
    tree = ast.parse(text)
    if renamed:
        text = ast.unparse(_Renamed(renamed).visit(tree))
        tree = ast.parse(text)
    lines = text.split("\n")
    inner = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for part in sorted(inner, key=lambda n: -n.lineno):
        indent = " " * part.col_offset
        header = f"{indent}def {name if part is tree.body[0] else part.name}"
        arguments = ast.unparse(_without_annotations(part.args))
        short = len(header) + len(arguments) < WIDTH - 4
        new = (
            [f"{header}({arguments}):"]
            if short
            else [f"{header}(", f"{indent}    {arguments}", f"{indent}):"]
        )
        first = part.body[0]
        line = lines[first.lineno - 1].encode()  # columns count bytes
        if line[: first.col_offset].strip():  # the body stands behind the header, in its line
            new[-1] += f" {line[first.col_offset :].decode()}"
            lines[part.lineno - 1 : first.lineno] = new
        else:
            lines[part.lineno - 1 : _header_end(part, lines)] = new
    return "\n".join(lines)


def _header_end(part: ast.FunctionDef, lines: list[str]) -> int:
    """The number of the line that ends with the header's colon."""
    first = part.body[0].lineno
    for k in range(first - 1, part.lineno - 1, -1):
        if lines[k - 1].split("#")[0].rstrip().endswith(":"):
            return k
    return part.lineno


def _without_annotations(arguments: ast.arguments) -> ast.arguments:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for a in [*every, arguments.vararg, arguments.kwarg]:
        if a is not None:
            a.annotation = None
    return arguments
