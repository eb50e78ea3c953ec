"""Every exception of chainrule, and the one form of its messages.

[operation] what arrived; expected …; what to try
  in layers.2 (Linear)
  at file.py:12: the user's own line
"""

from __future__ import annotations

import contextlib
import json
import linecache
import os
import sys
import unicodedata
import warnings
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

PACKAGE = str(Path(__file__).parent) + os.sep
_CONTEXTS = contextlib.__file__  # between a decorated function and its caller

type_of_source = tuple[CodeType, int]


class _Shown(dict[int, str]):
    """Characters by code point as they are printed, filled in as they are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        joins = char in "\u200c\u200d"  # letters of Persian and Hindi, and the parts of emoji
        if char.isprintable() or joins or unicodedata.category(char) == "Zs":
            return self.setdefault(code, char)
        return self.setdefault(code, json.dumps(char)[1:-1].replace("\x7f", "\\u007f"))


_SHOWN = _Shown()
_SHOWN_IN_LINES = _Shown({ord(c): c for c in "\n\t"})


def printable(text: object, lines: bool = False) -> str:
    """A text from outside as it may be printed: terminal commands are escaped as in JSON.

    That is control characters (\\u001b begins a command to the terminal), those that turn the
    direction of writing, and lone surrogates. Every name and message of foreign data, files and
    folders passes through here before it is printed; JSON stays the same JSON.

    lines   whether line ends and tabs stay
    """
    return str(text).translate(_SHOWN_IN_LINES if lines else _SHOWN)


class ChainruleError(Exception):
    """Any failure that chainrule reports on purpose.

    Parameters: the operation's name, what arrived, what was expected, what to try, and (where it
    is known) the place of the user's line, as returned by `user_line`.

    module   the innermost module in whose forward it was raised, or None
    layer    that module's path in the outermost one, and its class
    """

    def __init__(
        self,
        operation: str,
        arrived: str,
        needed: str,
        advice: str,
        source: type_of_source | str | None = None,
    ) -> None:
        self.arrived = arrived
        self.needed = needed
        self.advice = advice
        self.source = source
        self.module: Any = None  # it and the layer are filled in by nn.Module.__call__
        self.layer = ""
        super().__init__()
        self.rename(operation)

    def rename(self, operation: str) -> None:
        """Name another operation: one that shares the check which raised."""
        self.operation = operation
        self.args = (f"[{operation}] {self.arrived}; {self.needed}; {self.advice}",)

    def __str__(self) -> str:
        text = printable(super().__str__(), lines=True)
        if self.layer:
            text += f"\n  in {printable(self.layer)}"
        if self.source is not None:
            text += f"\n  at {describe(self.source)}"
        return text

    def __reduce__(self) -> Any:
        """In another process it says the same, without the objects that it speaks of."""
        where = None if self.source is None else describe(self.source)
        parts = self.operation, self.arrived, self.needed, self.advice, where
        return type(self), parts, {"layer": self.layer}

    def located(self, source: type_of_source | None) -> ChainruleError:
        """The same error, naming the user's line if it does not name one yet."""
        if self.source is not None or source is None:
            return self
        out = type(self)(self.operation, self.arrived, self.needed, self.advice, source)
        out.module, out.layer = self.module, self.layer
        return out


class ShapeError(ChainruleError, ValueError):
    """Sizes or axes that do not fit the operation."""


class DtypeError(ChainruleError, TypeError):
    """A dtype, or a kind of object, that the operation does not take."""


class RangeError(ChainruleError, IndexError):
    """An index outside the axis that it points into."""


class AxisError(ShapeError, RangeError):
    """An axis, or a mask's size on one, that the tensor does not have.

    As in NumPy it is both a ValueError and an IndexError.
    """


class ArgumentError(ChainruleError, ValueError):
    """An argument whose value is not allowed."""


class CallError(ArgumentError, TypeError):
    """Arguments that a callable does not take: too many, with another name, or of another kind."""


class TraceError(ChainruleError, RuntimeError):
    """A question about a traced value that is known only when the compiled step runs."""


class GradientError(ChainruleError, RuntimeError):
    """A derivative that does not exist, was not recorded, or came out malformed.

    report   of `fit`: the first value that was not finite (`cr.diagnosis.NonFinite`), or None
    """

    report: Any = None


class FileError(ChainruleError, OSError):
    """A file or folder that cannot be read or written, or has unexpected contents."""


class Refusal(NamedTuple):
    """The four parts of an error that a compiled step raises as it runs, by `ops.checked_index`.

    A {} in what arrived is the number that is out of range.
    """

    operation: str
    arrived: str
    needed: str
    advice: str

    def __repr__(self) -> str:
        return self.operation


def class_refusal(operation: str, count: int) -> Refusal:
    """Of a number that is no class."""
    return Refusal(
        operation,
        "got class {}",
        f"expected 0 to {count - 1}",
        "number the classes from 0, or make room for more: a larger last layer, num_classes",
    )


class GraphError(ChainruleError, RuntimeError):
    """A graph that breaks the rules in `graph.verify`."""


class ProgramError(ChainruleError, RuntimeError):
    """A program that breaks the rules in `backends.program.verify_program`."""


class PlanError(ChainruleError, RuntimeError):
    """A plan or schedule that breaks the rules in `plan/verify.py` or `run/schedule.py`."""


def user_line() -> type_of_source | None:
    """The nearest line on the stack that is not chainrule's own, as (code, line number)."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((PACKAGE, _CONTEXTS)):
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else (frame.f_code, frame.f_lineno)


def warn(text: str, once: dict[Any, Any] | None = None) -> None:
    """A warning at the user's line; `once` remembers the lines already warned."""
    place = user_line()
    if place is not None:
        said = printable(text, lines=True)
        warnings.warn_explicit(said, UserWarning, place[0].co_filename, place[1], registry=once)


def describe(source: type_of_source | str) -> str:
    """`file.py:12: text of the line` for a place returned by `user_line`, or described already."""
    if isinstance(source, str):
        return source
    code, number = source
    text = linecache.getline(code.co_filename, number).strip()
    return f"{Path(code.co_filename).name}:{number}" + (f": {text}" if text else "")
