"""What a compiled function sees besides its arguments: Python's variables and attributes.

A step is traced with the values that they had. If one of them is another object at a later call, or
another number, the function is traced again; if the function leaves a traced tensor in one of them,
that is an error, because the tensor means nothing once the trace has ended.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import TraceError
from ..graph import spec_text
from ..tensor import Tensor

_CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType, type)
_PLAIN = (bool, int, float, complex, str, bytes, np.generic)
_MISSING = object()


def same(a: Any, b: Any) -> bool:
    """Whether two Python values are the same to a trace: one object, or one plain value."""
    if a is b:
        return True
    return type(a) is type(b) and isinstance(a, _PLAIN) and repr(a) == repr(b)


class Surroundings:
    """The outer variables of a function and, one level deep, what the objects in them hold."""

    def __init__(self, function: Callable[..., Any], arguments: list[Any]) -> None:
        self._looks: list[tuple[Callable[[], Any], Any]] = []
        self._inner: list[tuple[Any, dict[Any, Any]]] = []
        seen: set[int] = set()
        for name, look_up in _variables(function, set()):
            value = look_up()
            if not isinstance(value, _CODE):
                self._looks.append((look_up, value))
            self._enter(name, value, seen)
        for value in [getattr(function, "__self__", None), *arguments]:
            self._enter("argument", value, seen)

    def _enter(self, name: str, value: Any, seen: set[int]) -> None:
        holds = type(value) in (dict, list) or (
            hasattr(value, "__dict__") and not isinstance(value, (*_CODE, Tensor))
        )
        if holds and id(value) not in seen and not hasattr(value, "named_parameters"):
            seen.add(id(value))
            self._inner.append((value, dict(_items(value))))

    def hold(self) -> bool:
        """Whether everything is still as it was."""
        for look_up, value in self._looks:
            now = look_up()
            if now is not value and not same(now, value):
                return False
        for owner, before in self._inner:
            now = dict(_items(owner))
            if now.keys() != before.keys():
                return False
            if any(v is not before[k] and not same(v, before[k]) for k, v in now.items()):
                return False
        return True

    def settle(self) -> None:
        """After tracing: remember what is there now; a traced tensor in it is an error."""
        self._looks = [(look_up, look_up()) for look_up, _ in self._looks]
        self._inner = [(owner, dict(_items(owner))) for owner, _ in self._inner]
        for _, value in self._looks:
            _refuse("a variable", value)
        for owner, items in self._inner:
            for k, value in items.items():
                _refuse(f"{type(owner).__name__}'s {k}", value)


def _refuse(where: str, value: Any) -> None:
    if isinstance(value, Tensor) and value._value is None:
        raise TraceError(
            "compile",
            f"got a traced {spec_text(value)} left in {where}",
            "what lasts is a tensor from outside, assigned in place",
            "write x[...] = value instead of x = value, or return the value",
            value._node.source if value._node else None,
        )


def _items(owner: Any) -> list[tuple[Any, Any]]:
    if type(owner) is dict:
        return list(owner.items())
    return list(enumerate(owner)) if type(owner) is list else list(vars(owner).items())


def _variables(
    function: Callable[..., Any], seen: set[int]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The closure cells and globals that a function, and functions of its module, refer to."""
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None or id(function) in seen:
        return
    seen.add(id(function))
    space = function.__globals__
    looks: list[tuple[str, Callable[[], Any]]] = [
        (name, lambda c=cell: _content(c))  # type: ignore[misc]
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
    ]
    looks += [
        (name, lambda n=name: space.get(n, _MISSING))  # type: ignore[misc]
        for name in _names(code)
        if name in space
    ]
    looks += [("default", lambda d=k: (function.__defaults__ or ())[d])  # type: ignore[misc]
              for k in range(len(function.__defaults__ or ()))]  # fmt: skip
    for name, look_up in looks:
        yield name, look_up
        inner = look_up()
        if isinstance(inner, types.FunctionType) and inner.__globals__ is space:
            yield from _variables(inner, seen)


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
