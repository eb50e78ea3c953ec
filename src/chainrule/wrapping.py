"""Functions made from other functions, as `cr.grad` and `cr.compile` make them.

They take over the name and the text of what they wrap, and none of its attributes, which may have
any name. Their parts are in slots, so that a wrapper around one of them that copies
attributes, as `functools.wraps` does, does not copy them. A copy of one, for example inside a
copied module, consists of copies: a method of the module becomes the copy's method.
"""

from __future__ import annotations

import copy
import copyreg
import functools
import sys
import types
from collections.abc import Callable
from typing import Any, Self

from .errors import ArgumentError


class Wrapper:
    """A function that wraps another one.

    parts   the function first, then the other arguments of its class
    """

    __slots__ = ("__dict__", "__weakref__", "parts")

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        functools.update_wrapper(self, parts[0], updated=())

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def inside(self) -> list[Any]:
        """The functions that a call uses, and the objects that they are bound to."""
        return [*self.parts]

    def __copy__(self) -> Self:
        return type(self)(*self.parts)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        out = memo[id(self)] = self.__new__(type(self))  # its parts may refer to it
        out.__setstate__(copy.deepcopy(self.parts, memo))
        return out

    def __setstate__(self, parts: tuple[Any, ...]) -> None:
        type(self).__init__(self, *parts)

    def __reduce__(self) -> Any:
        path: str = getattr(self.parts[0], "__qualname__", "")
        if self._is_at(path):  # a decorated function: its name leads to it
            return path
        for part in self.parts:
            if isinstance(part, types.FunctionType) and "<" in part.__qualname__:
                raise ArgumentError(
                    "pickle",
                    f"got {part.__qualname__} in a {type(self).__name__} function",
                    "expected a function that its name leads to",
                    "define it with def at the top of a module, or as a method",
                )
        return copyreg.__newobj__, (type(self),), self.parts  # type: ignore[attr-defined]

    def _is_at(self, path: str) -> bool:
        value: Any = sys.modules.get(getattr(self.parts[0], "__module__", None) or "")
        for name in path.split("."):
            value = getattr(value, name, None)
        return value is self


class Transformed(Wrapper):
    """The result of a transform: calls `transform(function, args, kwargs, *settings)`."""

    __slots__ = ()

    def __init__(self, function: Any, transform: Callable[..., Any], *settings: Any) -> None:
        super().__init__(function, transform, *settings)

    def inside(self) -> list[Any]:
        function, _, *settings = self.parts
        return [function, *settings]

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        function, transform, *settings = self.parts
        return transform(function, args, kwargs, *settings)
