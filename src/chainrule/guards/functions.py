"""Inspecting Python code: which functions a call runs, and which names they use."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any

from ..wrapping import Wrapper

_LIBRARY = __name__.partition(".")[0] + "."  # how the names of this library's modules begin
_WRAPPED = (staticmethod, classmethod)
# Instructions that name a global.
_OF_GLOBALS = {
    "LOAD_GLOBAL",
    "LOAD_NAME",
    "LOAD_FROM_DICT_OR_GLOBALS",
    "STORE_GLOBAL",
    "DELETE_GLOBAL",
}


def called_functions(value: Any) -> Iterator[types.FunctionType]:
    """The functions in Python that a call of the value runs, as far as it shows them."""
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, types.FunctionType):
            yield value
        elif isinstance(value, types.MethodType):
            waiting.append(value.__func__)
        elif isinstance(value, (functools.partial, Wrapper)):
            waiting += _parts(value)
        elif callable(value) and not isinstance(value, type):
            waiting += [*_parts(value), _method(type(value), "__call__")]


def bound_objects(function: Any) -> list[Any]:
    """The objects that a call of it uses: what is wrapped, what a method or partial is bound to."""
    objects: list[Any] = []
    waiting, seen = [function], set()
    while waiting:
        value = waiting.pop()
        if id(value) not in seen:
            seen.add(id(value))
            parts = _parts(value)
            objects += parts
            waiting += parts
    return objects


def _parts(value: Any) -> list[Any]:
    """The objects that a callable was made from."""
    if isinstance(value, Wrapper):
        return value.inside()
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, (types.FunctionType, type)):
        return []
    wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
    return [] if wrapped is None else [wrapped]


@functools.lru_cache(1024)
def reachable_names(kind: type, names: frozenset[str]) -> frozenset[str]:
    """The names, those that the class's methods of these names use, and so on."""
    reached, waiting = set(names), list(names)
    while waiting:
        method = _method(kind, waiting.pop())
        more = set() if method is None else set(names_in(method.__code__, strings=True)) - reached
        reached |= more
        waiting += more
    return frozenset(reached)


def custom_methods(kind: type, names: Iterable[str]) -> Iterator[types.FunctionType]:
    """The methods of these names that a class has, except those of this library."""
    for name in sorted(names):
        method = _method(kind, name)
        if method is not None and not in_library(module_of(method)):
            yield method


def _method(kind: type, name: str) -> types.FunctionType | None:
    """A class's method of this name if it is a function in Python. No descriptor is asked."""
    value = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
    value = getattr(value, "__func__", None) if isinstance(value, _WRAPPED) else value
    return value if isinstance(value, types.FunctionType) else None


def module_of(function: types.FunctionType) -> Any:
    """The name of the module that defines it; `__module__` may be what a wrapper copied."""
    return function.__globals__.get("__name__")


def in_library(module: Any) -> bool:
    """Whether a module of this name belongs to this library."""
    return str(module).startswith(_LIBRARY)


def names_in(code: types.CodeType, strings: bool = False) -> list[str]:
    """The names (and strings) that a function's code uses, with those of functions inside it."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += names_in(constant, strings)
        elif strings and isinstance(constant, str):
            names.append(constant)
    return list(dict.fromkeys(names))


@functools.lru_cache(4096)
def globals_in(code: types.CodeType) -> tuple[str, ...]:
    """The names that a function's code looks up in its module, with those of functions inside it.

    `names_in` has attributes too: a global `b` is not what `model.b` reads.
    """
    names = [i.argval for i in dis.get_instructions(code) if i.opname in _OF_GLOBALS]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += globals_in(constant)
    return tuple(dict.fromkeys(names))
