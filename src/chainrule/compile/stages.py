"""The stages of compiling a step, and those that CHAINRULE_SHOW prints on stderr."""

from __future__ import annotations

import os
import sys

from .. import backends
from ..backends import Backend
from ..backends.program import Program
from ..errors import ArgumentError
from ..graph import Graph


def of_backends() -> list[str]:
    """The stages that backends have below the program, each once."""
    return list(dict.fromkeys(s for backend in backends.BACKENDS for s in backend.stages))


def asked() -> list[str]:
    """The stages that CHAINRULE_SHOW names."""
    names = [part.strip() for part in os.environ.get("CHAINRULE_SHOW", "").split(",")]
    stages = ("graph", "program", *of_backends())
    for name in names:
        if name and name not in stages:
            raise ArgumentError(
                "compile",
                f"got CHAINRULE_SHOW with {name!r}",
                f"expected some of {', '.join(stages)}, with commas between them",
                "unset it to print nothing",
            )
    return names


def show(name: str, stage: Graph | Program | str) -> None:
    """Print a stage below its name."""
    print(f"── {name} ──\n{stage}", file=sys.stderr)


def missing(backend: Backend, stage: str) -> str:
    """What is printed for a stage that the backend does not have."""
    return f"none: the {backend.name} backend has no {stage}"


def _how_to_use(backend: Backend) -> str:
    install = "" if backend.is_available else f"pip install {backend.package}, then "
    return f"{install}set CHAINRULE_BACKEND={backend.name}"


def expect_shown(stage: str) -> None:
    """Raise `ArgumentError` unless the current backend has this stage."""
    backend = backends.current()
    if stage not in backend.stages:
        others = [other for other in backends.BACKENDS if stage in other.stages]
        raise ArgumentError(
            "compile",
            f"got the {backend.name} backend, which has no {stage}",
            f"expected {' or '.join(other.name for other in others)}",
            _how_to_use(others[0]),
        )
