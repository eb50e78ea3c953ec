"""Backends: each turns a program into something that runs.

A backend is a function `build(program) -> run`, with `run(arrays) -> arrays`: the program's inputs
in order go in, its outputs in order come out. What a program is stands in `program.py`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from ..errors import ArgumentError
from ..graph import Array
from .program import Program

Run = Callable[[Sequence[Array]], list[Array]]


@functools.cache
def available() -> bool:
    """Whether the native backend can be used: llvmlite is there."""
    return find_spec("llvmlite") is not None


def chosen() -> Callable[[Program], Run]:
    """The `build` of the backend that CHAINRULE_BACKEND names; if it is not set, native if it can.

    Where llvmlite is not installed that is the reference backend, which needs NumPy alone.
    """
    name = os.environ.get("CHAINRULE_BACKEND") or ("native" if available() else "reference")
    if name == "reference":
        from .reference import build

        return build
    if name != "native" or not available():
        raise ArgumentError(
            "compile", f"got CHAINRULE_BACKEND={name!r}", "reference, or native with llvmlite",
            "leave it out, or pip install llvmlite",
        )  # fmt: skip
    from .native import build as native

    return native
