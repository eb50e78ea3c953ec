"""Errors that answer a name of another library with the name it has here.

The names are one table, `names.py`. Here: errors for attributes that do not exist (`missing`), and
decorators for arguments. `check_arguments` looks before the call; `explain_arguments` costs nothing
until a call fails; `check_kinds` looks at the values of settings.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ..errors import CallError, user_line
from .names import ARGUMENTS, ATTRIBUTES, AXES, KEYWORDS

P = ParamSpec("P")
R = TypeVar("R")

_USUAL = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None)}
_KINDS: Mapping[str, tuple[Any, str]] = {
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "str": (str, "a text"),
    "bool": ((bool, np.bool_), "True or False"),
    "None": (type(None), "None"),
}


# ── attributes ───────────────────────────────────────────────────────────────────────────────────


def hide_modules(package: str, *public: str) -> None:
    """Remove the modules of a package, except the public ones, from its names.

    Other libraries have functions of such names: `cr.trace(x)` should say what it is called here.
    The modules are imported as before: `from chainrule.trace import state`.
    """
    space = vars(sys.modules[package])
    for name, value in [*space.items()]:
        inside = isinstance(value, ModuleType) and value.__name__ == f"{package}.{name}"
        if inside and name not in public:
            del space[name]


def missing(kind: str, name: str, of: str = "") -> AttributeError:
    """The error for a name that does not exist, with the name it has here.

    kind   where the name was looked up: a key of ATTRIBUTES
    of     its name in the message, if not its key
    """
    known = ATTRIBUTES[kind].get(name)
    hint = f"; here it is {known}" if known else ""
    return AttributeError(f"{of or kind} has no attribute {name!r}{hint}")


# ── arguments ────────────────────────────────────────────────────────────────────────────────────


def check_arguments(
    operation: str | None, positional: str, table: str = "", kinds: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function: a call with arguments that it does not take says what it takes.

    operation    its name, or None: the class of the first argument, for an `__init__`
    positional   what to try when there are too many by position, or one twice
    table        the key of ARGUMENTS with other libraries' names, if not the operation's
    kinds        whether a setting of another kind than its annotation is an error
    """
    hints = ARGUMENTS.get(table or operation or "", {})

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        names = [n for n in signature.parameters if n != "self"]
        expected = _kinds_of(signature)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            called = operation or type(args[0]).__name__
            try:
                arguments = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                unknown = next((k for k in kwargs if k not in names), None)
                if unknown is None:
                    arrived, advice = f"got arguments that do not fit ({error})", positional
                else:
                    advice = _instead_of(unknown, names)
                    advice = f"here it is {hints[unknown]}" if unknown in hints else advice
                    arrived = f"got the argument {unknown}"
                needed = f"expected {called}{bare(signature)}"
                raise CallError(called, arrived, needed, advice, user_line()) from None
            if kinds:
                _expect_kinds(called, signature, expected, arguments)
            return function(*args, **kwargs)

        return checked

    return decorate


def _instead_of(unknown: str, names: Sequence[str]) -> str:
    """What to try for an argument that is none of these."""
    near = get_close_matches(unknown, names, 1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(names)}"


def explain_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: its TypeError for arguments that it does not take says what it takes."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError:
            _expect_fitting(function, args, kwargs)
            raise

    return call


def expect_no_foreign_keyword(
    name: str, function: Callable[..., Any], kwargs: Mapping[str, Any]
) -> None:
    """Raise if a keyword is another library's and the function does not take it."""
    if KEYWORDS.keys() & kwargs.keys():
        parameters = inspect.signature(function).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            _expect_own_keywords(name, kwargs, parameters)


def _expect_own_keywords(
    name: str, kwargs: Mapping[str, Any], parameters: Mapping[str, Any]
) -> None:
    for key, value in kwargs.items():
        if key in KEYWORDS and key not in parameters:
            ours = AXES.get(key)
            advice = f"write {ours}=" if ours in parameters else KEYWORDS[key]
            raise CallError(
                name,
                f"got {key}={value!r}",
                f"expected {name}({', '.join(parameters)})",
                advice,
                user_line(),
            )


def _expect_fitting(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Raise if the arguments do not fit the signature."""
    signature, name = inspect.signature(function), function.__name__
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        parameters = signature.parameters
        _expect_own_keywords(name, kwargs, parameters)
        place = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
        extra = args[len(place) :]
        unknown = next((k for k in kwargs if k not in parameters), None)
        if unknown is not None:
            raise CallError(
                name,
                f"got the argument {unknown}",
                f"expected {name}{bare(signature)}",
                _instead_of(unknown, [*parameters]),
                user_line(),
            ) from None
        if not extra:
            return
        if [p.name for p in place] == ["shape"] and all(isinstance(n, int) for n in args):
            advice = f"put the sizes into a tuple: {name}({args!r})"
        else:
            advice = "pass the others by name"
        raise CallError(
            name,
            f"got {len(args)} arguments by position",
            f"expected {name}{bare(signature)}",
            advice,
            user_line(),
        ) from None


def bare(signature: inspect.Signature) -> inspect.Signature:
    """The signature without annotations and self."""
    none = inspect.Signature.empty
    parameters = [p for name, p in signature.parameters.items() if name != "self"]
    return inspect.Signature([p.replace(annotation=none) for p in parameters])


# ── kinds of settings ────────────────────────────────────────────────────────────────────────────


def check_kinds(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: a setting of another kind than its annotation is an error."""
    signature = inspect.signature(function)
    kinds, names = _kinds_of(signature), list(signature.parameters)
    first = min((names.index(name) for name in kinds), default=len(names))
    usual = {name: tuple(_USUAL[kind] for kind in kinds[name]) for name in kinds}
    placed = [usual.get(name, ()) for name in names[first:]]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > first:
            for value, types in zip(args[first:], placed, strict=False):
                if types and type(value) not in types:
                    by_name = dict(zip(names, args, strict=False))
                    _expect_kinds(function.__name__, signature, kinds, by_name)
        for name, value in kwargs.items():
            if name in usual and type(value) not in usual[name]:
                _expect_kinds(function.__name__, signature, kinds, kwargs)
        return function(*args, **kwargs)

    return checked if kinds else function


def _kinds_of(signature: inspect.Signature) -> dict[str, list[str]]:
    """The kinds that each setting may have, if its annotation is numbers, bools or texts only."""
    annotated = {n: str(p.annotation).split(" | ") for n, p in signature.parameters.items()}
    return {name: kinds for name, kinds in annotated.items() if _KINDS.keys() >= set(kinds)}


def _expect_kinds(
    operation: str,
    signature: inspect.Signature,
    kinds: Mapping[str, list[str]],
    arguments: Mapping[str, Any],
) -> None:
    for name, value in arguments.items():
        expected = kinds.get(name)
        if not expected or any(_is(value, kind) for kind in expected):
            continue
        raise CallError(
            operation,
            f"got {name}={value!r}",
            f"expected {' or '.join(_KINDS[k][1] for k in expected)}",
            f"the arguments are {operation}{bare(signature)}",
            user_line(),
        )


def _is(value: Any, kind: str) -> bool:
    """Whether the value is of the kind; True is no number, a tensor of one number is one."""
    if isinstance(value, bool):
        return kind == "bool"
    return isinstance(value, _KINDS[kind][0]) or (
        kind == "float" and getattr(value, "shape", None) == ()
    )
