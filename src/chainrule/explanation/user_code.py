"""Code that comes with this library and is explained as if the user had written it."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

_paths: set[str] = set()


def executed(source: str, name: str, **variables: Any) -> dict[str, Any]:
    """The variables that a text in Python defines when it is run like a file of the user's.

    name        of the file, without its ending
    variables   what it finds defined

    Explanations and errors show its lines, as they show no lines of this library.
    """
    lines = source.splitlines(keepends=True)
    k, path = 1, f"{name}.py"
    while path in linecache.cache and linecache.getlines(path) != lines:
        k += 1
        path = f"{name}_{k}.py"
    _paths.add(path)
    linecache.cache[path] = len(source), None, lines, path  # None: it is never read again
    space = {"__name__": name, **variables}
    exec(compile(source, path, "exec"), space)
    return space


def comes_along(function: Callable[..., Any]) -> bool:
    """Whether a function was defined so: its user has not written it, and cannot change it."""
    return getattr(getattr(function, "__code__", None), "co_filename", None) in _paths
