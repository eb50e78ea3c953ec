"""The outer variables of Python functions: closure cells, globals and defaults."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..wrapping import Wrapper
from .functions import called_functions, globals_in, in_library, names_in
from .snapshots import MISSING, ArraySnapshot, comparable, same


@dataclass
class Variable:
    """A closure cell, a global or a default, and its value when a function was recorded.

    read       gives the value that it has now, as `comparable` does
    write      assigns it
    location   (the globals, its name) or (the cell,), to read many at once; () for a default
    compared   whether its value is compared at each call, or only what the object in it contains
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    value: Any
    location: tuple[Any, ...]
    compared: bool = True

    @property
    def key(self) -> Any:
        """Equal for the same variable of two functions."""
        return (*map(id, self.location[:1]), *self.location[1:]) or id(self)

    def unchanged(self) -> bool:
        """Whether it has the same value."""
        return same(self.read(), self.value)

    def restore(self) -> None:
        """Give the variable its value back, unless it has it."""
        if not self.unchanged():
            snapshot = isinstance(self.value, ArraySnapshot)
            self.write(self.value.owner if snapshot else self.value)


def variables_of(functions: Iterable[types.FunctionType]) -> list[Variable]:
    """The outer variables of these functions, and of functions of their modules that they use."""
    seen: set[Any] = set()
    return [v for f in functions for v in outer_variables(f, seen, set())]


def outer_variables(
    function: types.FunctionType, seen: set[Any], names: set[str], whole: bool = True
) -> Iterator[Variable]:
    """The variables of a function, and of functions of its module that it refers to.

    seen    functions that need no second look, by identity and `whole`; gets these too
    names   gets all names and strings in their code
    whole   also globals and defaults; else only what the function wraps, as a decorator does
    """
    if (id(function), whole) in seen:
        return
    seen.add((id(function), whole))
    names.update(names_in(function.__code__, strings=True))
    namespace = function.__globals__
    whole = whole and not in_library(namespace.get("__name__"))
    cells = _cells(function)
    others = [*_globals(function), *_defaults(function)] if whole else []
    for k, variable in enumerate([*cells, *others]):
        variable.compared = whole
        if whole or _is_custom_callable(variable.value):
            yield variable
        for inner in called_functions(variable.value):
            near = k < len(cells) or inner.__globals__ is namespace
            yield from outer_variables(inner, seen, names, near)


def _is_custom_callable(value: Any) -> bool:
    """Whether it is a callable that is not this library's own, or one that wraps such."""
    return callable(value) and (
        isinstance(value, Wrapper) or not in_library(type(value).__module__)
    )


def _cells(function: types.FunctionType) -> list[Variable]:
    return [
        _variable(name, lambda c=cell: _content(c), lambda v, c=cell: _fill(c, v), (cell,))
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        )
    ]


def _globals(function: types.FunctionType) -> list[Variable]:
    namespace = function.__globals__
    return [
        _variable(
            name,
            lambda n=name: namespace.get(n, MISSING),
            lambda v, n=name: namespace.__setitem__(n, v),
            (namespace, name),
        )
        for name in globals_in(function.__code__)
        if name in namespace
    ]


def _defaults(function: types.FunctionType) -> list[Variable]:
    """The defaults of its arguments. They are not restored: code inside rarely changes them."""
    reads = [lambda d=k: _default(function, d) for k in range(len(function.__defaults__ or ()))]
    by_name = [
        lambda n=name: (function.__kwdefaults__ or {}).get(n)
        for name in function.__kwdefaults__ or ()
    ]
    return [_variable("a default", read, lambda v: None) for read in [*reads, *by_name]]


def _default(function: Any, k: int) -> Any:
    values = function.__defaults__ or ()
    return values[k] if k < len(values) else MISSING


def _variable(
    name: str, read: Callable[..., Any], write: Callable[..., None], location: tuple[Any, ...] = ()
) -> Variable:
    return Variable(name, lambda: comparable(read()), write, comparable(read()), location)


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
