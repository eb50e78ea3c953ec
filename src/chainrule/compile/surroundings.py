"""What a compiled function sees besides its arguments: Python's variables and attributes.

A step is traced with the values that they had. If one of them is another object at a later call, or
another number, the function is traced again. A function that changes one of them itself is refused,
because it would change it only while it is traced; everything is put back as it was.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import PACKAGE, TraceError
from ..graph import spec_text
from ..tensor import Tensor

_CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType, type)
_PLAIN = (bool, int, float, complex, str, bytes, np.generic)
_MISSING = object()
MOST_BYTES = 1 << 16  # of a closed-over array whose contents are compared at each call


def same(a: Any, b: Any) -> bool:
    """Whether two Python values are the same to a trace: one object, or one plain value."""
    if a is b:
        return True
    if isinstance(a, Snapshot) or isinstance(b, Snapshot):
        return type(a) is type(b) and a.holder is b.holder and a.bytes == b.bytes
    return type(a) is type(b) and isinstance(a, _PLAIN) and repr(a) == repr(b)


@dataclass(frozen=True)
class Snapshot:
    """A NumPy array that a function closes over, and what it held: a constant of the program."""

    holder: Any
    bytes: bytes


def _seen(value: Any) -> Any:
    """The value, or for an array (which can change and stay the same object) its contents too."""
    if type(value) is np.ndarray and value.nbytes <= MOST_BYTES:
        return Snapshot(value, value.tobytes())
    return value


@dataclass
class Variable:
    """A closure cell, a global or a default: how to look at it, how to set it, what it held."""

    name: str
    look: Callable[[], Any]
    put: Callable[[Any], None]
    value: Any


class Surroundings:
    """The outer variables of a function and, one level deep, what the objects in them hold."""

    def __init__(self, function: Callable[..., Any], arguments: list[Any]) -> None:
        self._variables: list[Variable] = []
        self._holders: list[tuple[str, Any, dict[Any, Any]]] = []
        seen: set[int] = set()
        for variable in _variables(function, set()):
            if not isinstance(variable.value, _CODE):
                self._variables.append(variable)
            self._enter(variable.name, variable.value, seen)
        bound: list[Any] = []
        own: list[Any] = []
        if isinstance(function, functools.partial):
            bound = [*function.args, *function.keywords.values()]
        elif not isinstance(function, _CODE):
            own = [function]
        for value in [getattr(function, "__self__", None), *own, *bound, *arguments]:
            self._enter(type(value).__name__, value, seen)

    def _enter(self, name: str, value: Any, seen: set[int]) -> None:
        holds = isinstance(value, (dict, list)) or (
            hasattr(value, "__dict__") and not isinstance(value, (*_CODE, Tensor))
        )
        # A module of nn counts its changes itself (see nn.module).
        if holds and id(value) not in seen and not hasattr(value, "named_parameters"):
            seen.add(id(value))
            self._holders.append((name, value, dict(_items(value))))

    def hold(self) -> bool:
        """Whether everything is still as it was."""
        for variable in self._variables:
            now = variable.look()
            if not same(now, variable.value):
                return False
        for _, holder, before in self._holders:
            now = dict(_items(holder))
            if now.keys() != before.keys():
                return False
            if any(v is not before[k] and not same(v, before[k]) for k, v in now.items()):
                return False
        return True

    def restore(self) -> None:
        """Put everything back as it was."""
        for variable in self._variables:
            if not same(variable.look(), variable.value):
                value = variable.value
                variable.put(value.holder if isinstance(value, Snapshot) else value)
        for _, holder, before in self._holders:
            if isinstance(holder, list):
                holder[:] = before.values()
            else:
                inner = holder if isinstance(holder, dict) else vars(holder)
                inner.clear()
                inner.update(before)

    def expect_unchanged(self) -> None:
        """Raise TraceError, with everything put back, if the function changed something."""
        changes = [(v.name, v.value, v.look()) for v in self._variables]
        for name, holder, before in self._holders:
            now = dict(_items(holder))
            inner = "{}.{}" if hasattr(holder, "__dict__") else "{}[{!r}]"
            changes += [
                (inner.format(name, k), before.get(k, _MISSING), now.get(k, _MISSING))
                for k in {**before, **now}
            ]
        for where, before, after in changes:
            if same(before, after):
                continue
            self.restore()
            place = after._node.source if isinstance(after, Tensor) and after._node else None
            raise TraceError(
                "compile",
                f"got a function that changes {where} from {_text(before)} to {_text(after)}",
                "Python's own variables change only while it is traced, not at each call",
                "keep it in a tensor made outside and assign that in place (x[...] = value)",
                place,
            )


def _text(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    if isinstance(value, Tensor):
        return ("a traced " if value._value is None else "a ") + spec_text(value)
    if isinstance(value, Snapshot):
        return "an array"
    return repr(value) if isinstance(value, _PLAIN) else f"a {type(value).__name__}"


def _items(holder: Any) -> list[tuple[Any, Any]]:
    if isinstance(holder, dict):
        return list(holder.items())
    return list(enumerate(holder)) if isinstance(holder, list) else list(vars(holder).items())


def _variables(function: Callable[..., Any], seen: set[int]) -> Iterator[Variable]:
    """The closure cells and globals that a function, and functions of its module, refer to."""
    function = function.func if isinstance(function, functools.partial) else function
    function = getattr(function, "__func__", function)
    if not isinstance(function, types.FunctionType):
        function = type(function).__call__ if callable(function) else function
    code = getattr(function, "__code__", None)
    if code is None or id(function) in seen:
        return
    seen.add(id(function))
    space = function.__globals__
    found: list[Variable] = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        found.append(_variable(name, lambda c=cell: _content(c), lambda v, c=cell: _fill(c, v)))
    for name in _names(code):
        if name in space:
            found.append(
                _variable(
                    name,
                    lambda n=name: space.get(n, _MISSING),
                    lambda v, n=name: space.__setitem__(n, v),
                )
            )
    for k in range(len(function.__defaults__ or ())):
        found.append(
            _variable("a default", lambda d=k: (function.__defaults__ or ())[d], lambda v: None)
        )
    for name in function.__kwdefaults__ or {}:
        found.append(
            _variable(name, lambda n=name: (function.__kwdefaults__ or {}).get(n), lambda v: None)
        )
    enclosed = len(code.co_freevars)  # a decorator keeps what it wraps in a cell
    for k, variable in enumerate(found):
        inner = variable.value
        if not code.co_filename.startswith(PACKAGE):
            yield variable
        near = k < enclosed or getattr(inner, "__globals__", None) is space
        if isinstance(inner, types.FunctionType) and near:
            yield from _variables(inner, seen)


def _variable(name: str, look: Callable[..., Any], put: Callable[..., None]) -> Variable:
    return Variable(name, lambda: _seen(look()), put, _seen(look()))


def _names(code: types.CodeType) -> list[str]:
    """The global names that a function's code uses, that of functions inside it too."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return list(dict.fromkeys(names))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _MISSING


def _fill(cell: Any, value: Any) -> None:
    if value is _MISSING:
        del cell.cell_contents
    else:
        cell.cell_contents = value
