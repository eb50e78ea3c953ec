"""One element of a tensor as an expression: what the mathematics of an explanation is made of.

    (x Wᵀ + b)[n, o]  =  Sum(Reduce(Σ, i, x[n, i] · W[o, i]), b[o])

Tensors are written by their elements, with an index for each axis. So transposing, broadcasting and
reshaping are no operations: they only change which element is read. The notations turn elements
back into matrices where they can.

Expressions are immutable, and equal by structure; symbols and indices are equal by identity. They
are made by the functions of `algebra`, which simplify.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeVar, dataclass_transform

from ...graph import Array, Shape

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True)
def _expression(cls: type[_Class]) -> type[_Class]:
    """A frozen dataclass that computes its hash once."""
    out: Any = dataclass(frozen=True)(cls)
    by_fields = out.__hash__

    def cached(self: Any) -> int:
        known = self.__dict__.get("_hash")
        if known is None:
            known = self.__dict__["_hash"] = by_fields(self)
        return int(known)

    out.__hash__ = cached
    new: type[_Class] = out
    return new


@dataclass(eq=False)
class Symbol:
    """A tensor with a name.

    text     what is printed: a letter or a word, a subscript behind _
    name     in the user's code; "" if only the explanation names it
    of       of a gradient: the symbol that the loss is differentiated by
    value    on the sample, where the derivation knows it
    """

    text: str
    shape: Shape
    name: str = ""
    of: Symbol | None = None
    value: Array | None = None

    def __repr__(self) -> str:
        return self.text


@dataclass(eq=False)
class Index:
    """A variable that counts from 0 to size - 1 along an axis.

    rows   it counts samples
    time   it counts the steps of a loop
    """

    size: int
    rows: bool = False
    time: bool = False


# ── places on an axis ────────────────────────────────────────────────────────────────────────────


@_expression
class Part:
    """(of // stride) mod size: a digit of a place on an axis that is several axes in one."""

    of: Place
    stride: int
    size: int


@_expression
class Place:
    """A place on an axis: the sum of coefficient · atom, and an offset."""

    terms: tuple[tuple[Index | Part | At, int], ...] = ()
    offset: int = 0

    @cached_property
    def free(self) -> frozenset[Index]:
        """The indices that it depends on."""
        out: frozenset[Index] = frozenset()
        for atom, _ in self.terms:
            out |= (
                {atom}
                if isinstance(atom, Index)
                else atom.of.free
                if isinstance(atom, Part)
                else atom.free
            )
        return out

    @property
    def atom(self) -> Index | Part | At | None:
        """What it is, if it is no sum."""
        plain = len(self.terms) == 1 and self.terms[0][1] == 1 and not self.offset
        return self.terms[0][0] if plain else None

    @property
    def lookups(self) -> tuple[At, ...]:
        """The elements of tensors in it."""
        out: tuple[At, ...] = ()
        for atom, _ in self.terms:
            out += (
                (atom,)
                if isinstance(atom, At)
                else atom.of.lookups
                if isinstance(atom, Part)
                else ()
            )
        return out


# ── expressions ──────────────────────────────────────────────────────────────────────────────────


class Expr:
    """The base of expressions.

    parts    the expressions in it
    places   the places on axes in it
    bound    the index that counts inside, and means nothing outside
    """

    @property
    def parts(self) -> tuple[Expr, ...]:
        return ()

    @property
    def places(self) -> tuple[Place, ...]:
        return ()

    @property
    def bound(self) -> Index | None:
        return None

    @cached_property
    def free(self) -> frozenset[Index]:
        """The indices that the value depends on."""
        out: frozenset[Index] = frozenset()
        for p in self.parts:
            out |= p.free
        if self.bound is not None:
            out -= {self.bound}
        for place in self.places:
            out |= place.free
        return out

    @cached_property
    def size(self) -> int:
        """The number of expressions in it, and itself."""
        return 1 + sum(p.size for p in self.parts)

    def walk(self) -> Iterator[Expr]:
        """It, and all expressions in it."""
        yield self
        for p in self.parts:
            yield from p.walk()
        for place in self.places:
            for lookup in place.lookups:
                yield from lookup.walk()


@_expression
class Number(Expr):
    """A number: a fraction if it is one, as far as floating point can say."""

    value: Fraction | float


@_expression
class Count(Expr):
    """The number of samples."""

    size: int


@_expression
class At(Expr):
    """An element of a tensor; 0 where a place is outside of its axis."""

    symbol: Symbol
    at: tuple[Place, ...]

    @property
    def places(self) -> tuple[Place, ...]:
        return self.at


@_expression
class Numbered(Expr):
    """A place as a number, such as the class c in c = y[n]."""

    at: Place

    @property
    def places(self) -> tuple[Place, ...]:
        return (self.at,)


@_expression
class Sum(Expr):
    """Terms that are added."""

    terms: tuple[Expr, ...]

    @property
    def parts(self) -> tuple[Expr, ...]:
        return self.terms


@_expression
class Product(Expr):
    """Factors that are multiplied; a number comes first."""

    factors: tuple[Expr, ...]

    @property
    def parts(self) -> tuple[Expr, ...]:
        return self.factors


@_expression
class Power(Expr):
    """base ^ exponent."""

    base: Expr
    exponent: Expr

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.base, self.exponent)


@_expression
class Call(Expr):
    """A function of numbers, by its name in `ops`."""

    name: str
    arguments: tuple[Expr, ...]

    @property
    def parts(self) -> tuple[Expr, ...]:
        return self.arguments


@_expression
class Compare(Expr):
    """1 where the relation (= ≠ < ≤ > ≥) is true, else 0."""

    relation: str
    left: Expr
    right: Expr

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.left, self.right)


@_expression
class Cases(Expr):
    """`yes` where the condition is not 0, else `no`."""

    condition: Expr
    yes: Expr
    no: Expr

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.condition, self.yes, self.no)


@_expression
class Reduce(Expr):
    """The sum (or max, min, prod) of the body over an index."""

    kind: str
    index: Index
    body: Expr

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.body,)

    @property
    def bound(self) -> Index:
        return self.index


@_expression
class Softmax(Expr):
    """e^body / Σ e^body over the index, at one place."""

    index: Index
    body: Expr
    at: Place

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.body,)

    @property
    def places(self) -> tuple[Place, ...]:
        return (self.at,)

    @property
    def bound(self) -> Index:
        return self.index


@_expression
class Plain(Expr):
    """An operation that is not written by elements, of whole tensors: `operation(tensors)`.

    settings   its parameters, as (name, text)
    result     which of several results
    meaning    the node
    """

    operation: str
    arguments: tuple[Expr, ...]
    settings: tuple[tuple[str, str], ...] = ()
    result: int | None = None
    meaning: Any = None

    @property
    def parts(self) -> tuple[Expr, ...]:
        return self.arguments
