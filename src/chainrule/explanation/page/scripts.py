"""The JavaScript that computes a page's graph, as one script.

It is written for the page alone: plain ES2022 without dependencies, with one global object,
`chainrule`. The files stand in `compute/`; the numbers that they share with Python come from here.
"""

from __future__ import annotations

import functools
import inspect
import json
from pathlib import Path
from typing import Any

from ... import gauss_error, ops, optim
from .initialisations import schemes

# In the order in which they use each other.
_FILES = (
    "arrays",
    "elementwise",
    "structure",
    "reductions",
    "products",
    "random",
    "pass",
    "paths",
    "optimizers",
)


@functools.cache
def compute_script() -> str:
    """The files in order, after the constants that they use."""
    folder = Path(__file__).parent / "compute"
    constants = json.dumps(_constants(), separators=(",", ":"))
    files = [(folder / f"{name}.js").read_text("utf-8") for name in _FILES]
    return "\n".join([f"globalThis.chainrule = {{ constants: {constants} }};", *files])


# What a reader can choose: the class, and what differs from its defaults.
_OPTIMIZERS: dict[str, tuple[type, dict[str, Any]]] = {
    "SGD": (optim.SGD, {}),
    "momentum": (optim.SGD, {"momentum": 0.9}),
    "RMSprop": (optim.RMSprop, {}),
    "Adam": (optim.Adam, {}),
}

# Operations that leave elements where they are, or repeat one at places that have none.
_COPIES = (ops.alias, ops.stop_gradient, ops.broadcast_to)


def _constants() -> dict[str, Any]:
    return {
        "ERF_NEAR": gauss_error.ERF_NEAR,
        "ERFC": gauss_error.ERFC,
        "PPND16": {
            "middle": _highest_first(gauss_error.PPND16_A, gauss_error.PPND16_B),
            "near": _highest_first(gauss_error.PPND16_C, gauss_error.PPND16_D),
            "far": _highest_first(gauss_error.PPND16_E, gauss_error.PPND16_F),
        },
        "pointwise": sorted(op.name for op in (*ops.POINTWISE, *_COPIES)),
        "optimizers": {name: _defaults(kind) | own for name, (kind, own) in _OPTIMIZERS.items()},
        "rules": {name: _rule(kind) for name, (kind, _) in _OPTIMIZERS.items()},
        "initialisations": schemes(),
    }


def _rule(kind: type) -> list[str]:
    """The rule of an optimizer, by its docstring: the first line, and the equations after it."""
    first, *others = inspect.getdoc(kind).split("\n\n")  # type: ignore[union-attr]
    sentences = " ".join(others).replace("\n", " ").split(". ")
    return [first.rstrip("."), *(s for s in sentences if " = " in s)]


def _highest_first(*tables: tuple[float, ...]) -> list[tuple[float, ...]]:
    return [table[::-1] for table in tables]


def _defaults(kind: type) -> dict[str, Any]:
    """The settings of an optimizer, with their defaults."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
