"""The variables of Python functions, and the functions that these call, as far as they show it."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..wrapping import Wrapper

MISSING = object()
MOST_BYTES = 1 << 16  # of a closed-over array whose contents are compared at each call
_OURS = __name__.partition(".")[0] + "."  # how the names of this library's modules begin
_WRAPPED = (staticmethod, classmethod)


@dataclass(frozen=True)
class Snapshot:
    """A NumPy array that a function closes over, and what it held: a constant of the program."""

    holder: Any
    bytes: bytes


def seen_as(value: Any) -> Any:
    """The value, or for an array (which can change and stay the same object) its contents too."""
    if type(value) is np.ndarray and value.nbytes <= MOST_BYTES:
        return Snapshot(value, value.tobytes())
    return value


@dataclass
class Variable:
    """A closure cell, a global or a default: how to look at it, how to set it, what it held.

    at        (the globals, its name) or (the cell,), to look at many at once; () for a default
    watched   else only what the object in it holds is looked at
    """

    name: str
    look: Callable[[], Any]
    put: Callable[[Any], None]
    value: Any
    at: tuple[Any, ...]
    watched: bool = True

    @property
    def place(self) -> Any:
        """What is the same for the same variable of two functions."""
        return (*map(id, self.at[:1]), *self.at[1:]) or id(self)


@functools.lru_cache(1024)
def mentioned(kind: type, names: frozenset[str]) -> frozenset[str]:
    """The names, and those that the methods among them mention, and so on."""
    found, waiting = set(names), list(names)
    while waiting:
        method = _method(kind, waiting.pop())
        more = set() if method is None else set(names_of(method.__code__, texts=True)) - found
        found |= more
        waiting += more
    return frozenset(found)


def methods_of(kind: type, names: Iterable[str]) -> Iterator[types.FunctionType]:
    """The methods of these names that a class outside of this library has."""
    for name in sorted(names):
        method = _method(kind, name)
        if method is not None and not is_ours(module_of(method)):
            yield method


def functions_of(value: Any) -> Iterator[types.FunctionType]:
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
            waiting += _inside(value)
        elif callable(value) and not isinstance(value, type):
            waiting += [*_inside(value), _method(type(value), "__call__")]


def _method(kind: type, name: str) -> types.FunctionType | None:
    """The function in Python that is a class's method of this name. No descriptor is asked."""
    found = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
    found = getattr(found, "__func__", None) if isinstance(found, _WRAPPED) else found
    return found if isinstance(found, types.FunctionType) else None


def module_of(function: types.FunctionType) -> Any:
    """The name of the module that it is written in; `__module__` may be what a wrapper copied."""
    return function.__globals__.get("__name__")


def is_ours(module: Any) -> bool:
    """Whether a module of this name is one of this library."""
    return str(module).startswith(_OURS)


def _is_held(value: Any) -> bool:
    """Whether a function that is not looked at itself holds something to be called."""
    return callable(value) and (isinstance(value, Wrapper) or not is_ours(type(value).__module__))


def bound_to(function: Any) -> list[Any]:
    """The objects that a call of it uses: what is wrapped, what a method or partial is bound to."""
    found: list[Any] = []
    waiting, seen = [function], set()
    while waiting:
        value = waiting.pop()
        if id(value) not in seen:
            seen.add(id(value))
            found += _inside(value)
            waiting += _inside(value)
    return found


def _inside(value: Any) -> list[Any]:
    """What a callable object has been made from."""
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


def variables_of(functions: Iterable[types.FunctionType]) -> list[Variable]:
    """What these functions, and functions of their modules, refer to from outside."""
    seen: set[Any] = set()
    return [v for f in functions for v in outer_variables(f, seen, set())]


def outer_variables(
    function: types.FunctionType, seen: set[Any], mentioned: set[str], whole: bool = True
) -> Iterator[Variable]:
    """The variables of a function, and of functions of its module that it refers to.

    mentioned   gets all names and texts in their code
    whole       also globals and defaults; else what is wrapped, as by a decorator, alone
    """
    if (id(function), whole) in seen:
        return
    seen.add((id(function), whole))
    mentioned.update(names_of(function.__code__, texts=True))
    space = function.__globals__
    whole = whole and not is_ours(space.get("__name__"))
    cells = _cells(function)
    others = [*_globals(function), *_defaults(function)] if whole else []
    for k, variable in enumerate([*cells, *others]):
        variable.watched = whole
        if whole or _is_held(variable.value):
            yield variable
        for inner in functions_of(variable.value):
            near = k < len(cells) or inner.__globals__ is space
            yield from outer_variables(inner, seen, mentioned, near)


def _cells(function: types.FunctionType) -> list[Variable]:
    return [
        _variable(name, lambda c=cell: _content(c), lambda v, c=cell: _fill(c, v), (cell,))
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        )
    ]


def _globals(function: types.FunctionType) -> list[Variable]:
    space = function.__globals__
    return [
        _variable(
            name,
            lambda n=name: space.get(n, MISSING),
            lambda v, n=name: space.__setitem__(n, v),
            (space, name),
        )
        for name in names_of(function.__code__)
        if name in space
    ]


def _defaults(function: types.FunctionType) -> list[Variable]:
    looks = [lambda d=k: _default(function, d) for k in range(len(function.__defaults__ or ()))]
    named = [
        lambda n=name: (function.__kwdefaults__ or {}).get(n)
        for name in function.__kwdefaults__ or ()
    ]
    return [_variable("a default", look, lambda v: None) for look in [*looks, *named]]


def _default(function: Any, k: int) -> Any:
    values = function.__defaults__ or ()
    return values[k] if k < len(values) else MISSING


def _variable(
    name: str, look: Callable[..., Any], put: Callable[..., None], at: tuple[Any, ...] = ()
) -> Variable:
    return Variable(name, lambda: seen_as(look()), put, seen_as(look()), at)


def names_of(code: types.CodeType, texts: bool = False) -> list[str]:
    """The names (and texts) that a function's code uses, that of functions inside it too."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += names_of(constant, texts)
        elif texts and isinstance(constant, str):
            names.append(constant)
    return list(dict.fromkeys(names))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return MISSING


def _fill(cell: Any, value: Any) -> None:
    if value is MISSING:
        del cell.cell_contents
    else:
        cell.cell_contents = value
