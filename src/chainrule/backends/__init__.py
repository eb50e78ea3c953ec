"""Backends: each turns a program into an executable. What a program is stands in `program.py`.

A new backend is a row in `BACKENDS` and a folder beside this file whose `build` returns an
`Executable`. The compiler uses nothing of a backend that is not written here.

program       what a backend builds: kernels over buffers
reference     NumPy
native        machine code
verification  whether stages below the graph are verified
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Protocol

from ..errors import ArgumentError
from ..graph import Array, Spec
from .program import Program


class Executable(Protocol):
    """A program that runs."""

    def __call__(self, arrays: Sequence[Array], /) -> list[Array]:
        """From the program's inputs, in order, to its outputs; no array that is passed changes."""
        ...

    def text(self, stage: str, /) -> str:
        """One of the backend's `stages`, to be read by a person."""
        ...

    @property
    def memory(self) -> ResidentMemory | None:
        """Its memory, if the backend `keeps_memory`."""
        ...


class ResidentMemory(Protocol):
    """The memory of an executable, in which arrays stay between its runs.

    Buffers are numbers. Inputs are buffers 0, 1, …; the others are named by the properties. What is
    placed stays in its buffer: a run reads the inputs' arrays, writes over those of inputs that are
    updated and over those of outputs, and allocates nothing.
    """

    @property
    def outputs(self) -> Sequence[int]:
        """The program's outputs, in order."""
        ...

    @property
    def updates(self) -> Mapping[int, int]:
        """Output -> the input that it replaces. A run writes it into that input's array.

        Of several inputs that one output replaces, one is here; a run writes all of them.
        """
        ...

    @property
    def outputs_to_place(self) -> Sequence[int]:
        """Outputs that need an array of their own: place one before the first run."""
        ...

    @property
    def outputs_lost_on_failure(self) -> Sequence[int]:
        """Outputs whose arrays a run may have written when it fails. All others are as before."""
        ...

    def spec(self, buffer: int, /) -> Spec:
        """The shape and dtype of a buffer."""
        ...

    def new_array(self, buffer: int, /) -> Array:
        """An array for a buffer, with unspecified contents. It is not placed."""
        ...

    def place(self, buffer: int, array: Array, /) -> None:
        """From now on the buffer is this array, or a copy of it if it is not C-contiguous."""
        ...

    def array(self, buffer: int, /) -> Array:
        """The array that is placed in a buffer."""
        ...

    def result(self, output: int, /) -> Array:
        """The array of an output after a run, which for an update is that of the input."""
        ...

    def run(self) -> None:
        """Run the program once on the arrays in place. A run that fails has changed no input."""
        ...

    @property
    def can_repeat(self) -> bool:
        """Whether `repeat` can be used."""
        ...

    def repeat(self, count: int, moving: Mapping[int, Array], /) -> None:
        """Run `count` times, the k-th run on the k-th part of each moving buffer.

        moving   buffer -> an array whose first axis is `count` times that of the buffer, or which
                 has one more axis: inputs to read, outputs to write
        """
        ...

    @property
    def runs_begun(self) -> int:
        """How many runs the last `repeat` began, also when it failed."""
        ...


Build = Callable[[Program], Executable]


@dataclass(frozen=True)
class Backend:
    """A way to run programs.

    name           as CHAINRULE_BACKEND names it
    load           imports it, which may be slow, and returns its `build`
    package        the Python package that it needs in addition to NumPy
    stages         what `Executable.text` shows, in the order in which the stages come about
    keeps_memory   whether its executables have a `memory`
    """

    name: str
    load: Callable[[], Build]
    package: str = ""
    stages: tuple[str, ...] = ()
    keeps_memory: bool = False

    @property
    def is_available(self) -> bool:
        """Whether the package that it needs is installed."""
        return not self.package or find_spec(self.package) is not None


def _reference() -> Build:
    from .reference import build

    return build


def _native() -> Build:
    from .native import build

    return build


BACKENDS = (  # the fastest last: it is the default
    Backend("reference", _reference),
    Backend("native", _native, "llvmlite", stages=("plan", "llvm"), keeps_memory=True),
)


def available() -> list[str]:
    """The names of the backends that can be used here, the fastest last."""
    return [backend.name for backend in BACKENDS if backend.is_available]


def current() -> Backend:
    """The backend that CHAINRULE_BACKEND names; the fastest one if it is not set."""
    usable = {backend.name: backend for backend in BACKENDS if backend.is_available}
    name = os.environ.get("CHAINRULE_BACKEND") or [*usable][-1]
    if name in usable:
        return usable[name]
    near = get_close_matches(name.strip().lower(), usable, 1)
    missing = [backend.package for backend in BACKENDS if backend.name == name]
    install = f"pip install {missing[0]}, or unset it" if missing else "unset it"
    raise ArgumentError(
        "compile",
        f"got CHAINRULE_BACKEND={name!r}",
        f"expected {' or '.join(usable)}",
        f"did you mean {near[0]}?" if near else install,
    )
