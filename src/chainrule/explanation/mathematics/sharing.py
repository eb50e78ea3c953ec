"""Names for what appears several times, and no names for what is used once."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .algebra import factors_of, rebuilt, substituted
from .equation import Equation
from .expression import (
    At,
    Call,
    Expr,
    Index,
    Number,
    Part,
    Place,
    Plain,
    Reduce,
    Softmax,
    Symbol,
)
from .places import place

_LARGEST = 40  # parts of an expression that is written in place of its name


@dataclass(frozen=True)
class Pattern:
    """An expression without its free places, which are numbered as they appear.

    places   the free places, so that expressions with equal keys are elements of one tensor
    """

    key: Any
    places: tuple[Place, ...]


def pattern(e: Expr, symbol_key: Callable[[Symbol], Any] | None = None) -> Pattern:
    """The expression as an element of a tensor.

    symbol_key   what a symbol is in the key; None: itself
    """
    if symbol_key is not None:
        return _pattern(e, symbol_key)
    known: Pattern | None = e.__dict__.get("_pattern")
    if known is None:
        known = e.__dict__["_pattern"] = _pattern(e, lambda symbol: symbol)
    return known


def _pattern(e: Expr, symbol_key: Callable[[Symbol], Any]) -> Pattern:
    places: dict[Place, int] = {}
    bound: dict[Index, int] = {}

    def of_place(p: Place, size: int = 0) -> Any:
        inner, outer = [], []
        for atom, k in p.terms:
            if place([(atom, 1)]).free & bound.keys():
                inner.append((of_atom(atom), k))
            else:
                outer.append((atom, k))
        slot, offset = None, p.offset
        if outer:
            (first, _), *rest = outer
            shifts = not rest and isinstance(first, Index) and first.size == size
            free = place(outer, p.offset) if shifts and not inner else place(outer)
            offset = 0 if shifts and not inner else p.offset
            slot = places.setdefault(free, len(places))
        return tuple(inner), slot, offset

    def of_atom(atom: Any) -> Any:
        if isinstance(atom, Index):
            return bound[atom]
        if isinstance(atom, Part):
            return of_place(atom.of), atom.stride, atom.size
        return of(atom)

    def of(e: Expr) -> Any:
        if e.bound is not None:
            bound[e.bound] = len(bound)
        out: list[Any] = [type(e).__name__]
        match e:
            case At(symbol, at):
                out.append(symbol_key(symbol))
                out += [of_place(p, n) for p, n in zip(at, symbol.shape, strict=True)]
                return tuple(out)
            case Call(name, _):
                out.append(name)
            case Reduce(kind, index, _):
                out += [kind, index.size]
            case Number(value):
                out.append(value)
            case _ if not e.parts and not e.places:
                out.append(e)
        out += [getattr(e, "relation", None)]
        out += map(of, e.parts)
        out += map(of_place, e.places)
        return tuple(out)

    return Pattern(of(e), tuple(places))


def is_candidate(e: Expr) -> bool:
    """Whether it is a function of something, which is worth a name."""
    named = isinstance(e, Call) and e.name != "log"
    return (named and bool(e.free)) or isinstance(e, Softmax)


class Repeated:
    """The functions that appear at least twice, by their patterns."""

    def __init__(self, expressions: Sequence[Expr]) -> None:
        count = Counter(
            pattern(e).key for right in expressions for e in right.walk() if is_candidate(e)
        )
        self.keys = {key for key, n in count.items() if n > 1}

    def __contains__(self, e: Expr) -> bool:
        return is_candidate(e) and pattern(e).key in self.keys


def replaced(e: Expr, of: Callable[[Expr], Expr | None]) -> Expr:
    """The expression with others for some of its parts."""
    new = of(e)
    return rebuilt(e, lambda p: replaced(p, of)) if new is None else new


def shared(
    equations: list[Equation],
    new_symbol: Callable[[Expr, tuple[Index, ...]], Symbol],
    make: Callable[..., Equation],
) -> list[Equation]:
    """The equations with a name for each function that appears at least twice.

    new_symbol   (expression, indices) -> a symbol for it
    make         (left, indices, right, equation before which it stands) -> an equation
    """
    while True:
        again = Repeated([e.right for e in equations])
        sites = [
            (k, e)
            for k, equation in enumerate(equations)
            for e in equation.right.walk()
            if is_candidate(e)
            and e in again
            and all(isinstance(p.atom, Index) for p in pattern(e).places)
        ]
        sites = [(k, e) for k, e in sites if equations[k].right != e or not _defines(equations[k])]
        if not sites:
            return equations
        least = min(e.size for _, e in sites)  # those are in no other
        chosen = {pattern(e).key: e for _, e in reversed(sites) if e.size == least}
        first: dict[Any, Equation] = {}
        defined: dict[Any, Equation] = {}
        for q in equations:
            for x in q.right.walk():
                if is_candidate(x) and (key := pattern(x).key) in chosen:
                    first.setdefault(key, q)
                    if x is q.right and _defines(q):
                        defined.setdefault(key, q)
        for key, where in first.items():
            # nothing of the forward pass is written by a gradient
            if key not in defined or (defined[key].backward and not where.backward):
                e, places = chosen[key], pattern(chosen[key]).places
                indices = tuple(p.atom for p in places if isinstance(p.atom, Index))
                left = At(new_symbol(e, indices), places)
                defined[key] = make(left, indices, e, where)
                k = next(k for k, q in enumerate(equations) if q is where)
                equations.insert(k, defined[key])
        for q in equations:
            q.right = replaced(q.right, functools.partial(_by_name, q, defined))


def _by_name(inside: Equation, defined: Mapping[Any, Equation], e: Expr) -> Expr | None:
    """A function by the name that an equation gives it, except in that equation."""
    if not is_candidate(e):
        return None
    key, places = pattern(e).key, pattern(e).places
    equation = defined.get(key)
    if equation is None or equation is inside:
        return None
    place_of = dict(zip(pattern(equation.right).places, places, strict=True))
    left = equation.left
    return At(left.symbol, tuple(place_of.get(p, p) for p in left.at))


def _defines(equation: Equation) -> bool:
    """Whether every element of the right side's pattern is one of the left side's tensor."""
    if not is_candidate(equation.right) or not _is_whole(equation.left):
        return False
    places = pattern(equation.right).places
    at = [p for p in equation.left.at if p.terms]
    return {*places} == {*at} and len(places) == len(at)


def _is_whole(left: At) -> bool:
    """Whether an equation defines all of a tensor, not a block."""
    return all(
        p.atom.size == n if isinstance(p.atom, Index) else n == 1
        for p, n in zip(left.at, left.symbol.shape, strict=True)
    )


def inlined(equations: list[Equation], across_steps: bool = True) -> list[Equation]:
    """The equations without names for gradients that one other gradient is a multiple of.

    across_steps   also where that one is of another step
    """
    count = len(equations) + 1
    while len(equations) < count:
        count = len(equations)
        reads = [(x.symbol, e) for e in equations for x in e.right.walk() if isinstance(x, At)]
        uses = Counter(symbol for symbol, _ in reads)
        users: dict[Symbol, list[Equation]] = {}
        for symbol, e in reads:
            users.setdefault(symbol, []).append(e)
        left: list[Equation] = []
        for e in equations:
            user = _inlinable(e, users.get(e.left.symbol, ()), uses)
            if user is None or (user.step is not e.step and not across_steps):
                left.append(e)
                continue

            def written_out(x: Expr, e: Equation = e) -> Expr | None:
                if not isinstance(x, At) or x.symbol is not e.left.symbol:
                    return None
                return substituted(e.right, _places(e.left, x))

            user.right = replaced(user.right, written_out)
            for x in e.right.walk():
                if isinstance(x, At):
                    users[x.symbol] = [user if u is e else u for u in users[x.symbol]]
        equations = left
    return equations


def _places(left: At, at: At) -> dict[Index, Place]:
    """The places of the left side's indices, from those of another element of the tensor."""
    return {p.atom: q for p, q in zip(left.at, at.at, strict=True) if isinstance(p.atom, Index)}


def _inlinable(e: Equation, users: Sequence[Equation], uses: Counter[Symbol]) -> Equation | None:
    """The equation that uses this one's name, if that is not worth an equation."""
    symbol = e.left.symbol
    inner = symbol.of is not None and not symbol.text.startswith("∂")
    whole = _is_whole(e.left)
    small = e.right.size <= _LARGEST
    if not (inner and whole and small and uses[symbol] == 1) or isinstance(e.right, Plain):
        return None
    for user in users:
        factors = factors_of(user.right)
        if user is not e and any(isinstance(f, At) and f.symbol is symbol for f in factors):
            return user
    return None
