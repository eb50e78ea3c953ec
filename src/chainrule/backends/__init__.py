"""Backends: each turns a program into something that runs.

A backend is a function `build(program) -> run`, with `run(arrays) -> arrays`: the program's inputs
in order go in, its outputs in order come out. What a program is stands in `program.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec

from ..errors import ArgumentError
from ..graph import Array
from .program import Program

Run = Callable[[Sequence[Array]], list[Array]]


STAGES = ("graph", "program", "llvm")


def shown() -> list[str]:
    """The stages of a compiled step that CHAINRULE_SHOW names, to be printed."""
    asked = [part.strip() for part in os.environ.get("CHAINRULE_SHOW", "").split(",")]
    wrong = [part for part in asked if part and part not in STAGES]
    if wrong:
        raise ArgumentError(
            "compile",
            f"got CHAINRULE_SHOW with {wrong[0]!r}",
            f"some of {', '.join(STAGES)}, with commas",
            "unset it to print nothing",
        )
    return asked


def available() -> list[str]:
    """The backends that can be chosen here, the fastest last."""
    return ["reference", "native"] if find_spec("llvmlite") else ["reference"]


def name() -> str:
    """The backend that CHAINRULE_BACKEND names; the fastest one if it is not set."""
    there = available()
    asked = os.environ.get("CHAINRULE_BACKEND") or there[-1]
    if asked not in there:
        near = get_close_matches(asked.strip().lower(), there, 1)
        raise ArgumentError(
            "compile",
            f"got CHAINRULE_BACKEND={asked!r}",
            "reference, or native with llvmlite",
            f"did you mean {near[0]}?" if near else "leave it out, or pip install llvmlite",
        )
    return asked


def keeps_memory() -> bool:
    """Whether what the chosen backend builds keeps its arrays between calls, as `Runner` does."""
    return name() == "native"


def chosen() -> Callable[[Program], Run]:
    """The `build` of the backend that is used."""
    if name() == "reference":
        from .reference import build

        return build
    from .native import build as native

    return native
