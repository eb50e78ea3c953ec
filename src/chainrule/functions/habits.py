"""Keywords of other libraries: an argument that is not taken is answered with the one that is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import DtypeError, user_line
from ..hints import bare

_NAMES = {"dim": "axis", "dims": "axis", "keepdim": "keepdims"}
_HABITS = {
    **dict.fromkeys(_NAMES, "use the names that it has"),
    "input": "give it by position",
    "out": "assign in place: y[...] = f(x)",
    "device": "leave it out: there is one device",
    "inplace": "leave it out: a new tensor is given",
    "dtype": "leave it out: layers are made in float32",
    "batch_first": "leave it out: it is so",
}


def expect_known(name: str, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    """Raise if it is called with a keyword of another library that it does not take."""
    if _HABITS.keys() & kwargs.keys():
        parameters = inspect.signature(function).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            _expect(name, kwargs, parameters)


def _expect(name: str, kwargs: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    for key, value in kwargs.items():
        if key in _HABITS and key not in parameters:
            ours = _NAMES.get(key)
            advice = f"write {ours}=" if ours in parameters else _HABITS[key]
            raise DtypeError(
                name,
                f"got {key}={value!r}",
                f"{name}({', '.join(parameters)})",
                advice,
                user_line(),
            )


def explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose TypeError for arguments that it does not take says what it takes."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            _tell(function, args, kwargs)
            raise

    return call


def takes_axes(function: Any) -> bool:
    """Whether it is a function with an argument for axes or sizes: what habits are mostly about."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code else ()
    return not {"axis", "shape"}.isdisjoint(names)


def _tell(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    signature, name = inspect.signature(function), function.__name__
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        parameters = signature.parameters
        _expect(name, kwargs, parameters)
        place = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
        extra = args[len(place) :]
        if not extra:
            return
        if [p.name for p in place] == ["shape"] and all(isinstance(n, int) for n in args):
            advice = f"put the sizes into a tuple: {name}({args!r})"
        else:
            advice = "give the others by name"
        raise DtypeError(
            name,
            f"got {len(args)} arguments by position",
            f"{name}{bare(signature)}",
            advice,
            user_line(),
        ) from None
