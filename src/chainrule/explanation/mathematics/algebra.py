"""Makes expressions, each as simple as its identities allow.

Every identity is named in the line above it. None of them asks what layer an expression is from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

from .expression import (
    At,
    Call,
    Cases,
    Compare,
    Count,
    Expr,
    Index,
    Number,
    Numbered,
    Part,
    Place,
    Power,
    Product,
    Reduce,
    Softmax,
    Sum,
    Symbol,
)

_LARGEST = 10_000  # of the denominator of a float that is taken for a fraction
_OPPOSITE = {"=": "≠", "≠": "=", "<": "≥", "≤": ">", ">": "≤", "≥": "<"}
_TRUE = {
    "=": lambda a, b: a == b,
    "≠": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "≤": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "≥": lambda a, b: a >= b,
}

# ── places ───────────────────────────────────────────────────────────────────────────────────────


def place(terms: Sequence[tuple[Index | Part | At | Place, int]], offset: int = 0) -> Place:
    """The sum of coefficient · atom, and the offset."""
    found: dict[Index | Part | At, int] = {}
    for atom, k in terms:
        inner = atom.terms if isinstance(atom, Place) else ((atom, 1),)
        offset += k * atom.offset if isinstance(atom, Place) else 0
        for a, c in inner:
            if not (isinstance(a, Index) and a.size == 1):  # it is 0
                found[a] = found.get(a, 0) + k * c
    return Place(tuple((a, c) for a, c in found.items() if c), offset)


def at_index(index: Index) -> Place:
    """The place that an index counts."""
    return place([(index, 1)])


def part(of: Place, stride: int, size: int) -> Place:
    """(of // stride) mod size, exactly where the terms separate into digits."""
    if size == 1:
        return Place()
    if not of.terms:
        return Place((), of.offset // stride % size)
    low: list[tuple[Index | Part | At | Place, int]] = []
    middle: list[tuple[Index | Part | At | Place, int]] = []
    for atom, k in of.terms:
        if k % (stride * size) == 0:
            continue
        (middle if k % stride == 0 else low).append((atom, k))
    rest = of.offset % (stride * size)
    reach = _reach(low)
    top = _reach(middle)
    if reach is not None and top is not None:
        # (q·stride + r) // stride = q for 0 ≤ r < stride
        r = rest % stride
        whole = rest // stride
        if reach + r < stride and top // stride + whole < size:
            return place([(a, k // stride) for a, k in middle], whole)
    return Place(((Part(of, stride, size), 1),))


def _reach(terms: Sequence[tuple[Index | Part | At | Place, int]]) -> int | None:
    """The largest value of the sum; None if it may be negative, or is unknown."""
    out = 0
    for atom, k in terms:
        if k < 0 or not isinstance(atom, (Index, Part)):
            return None
        out += k * (atom.size - 1)
    return out


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def number(value: float | int | Fraction, digits: float = 1e-15) -> Expr:
    """The number: as a fraction, or 1/√ of one, if it is one up to this relative rounding."""
    if isinstance(value, (int, Fraction)):
        return Number(Fraction(value))
    if not math.isfinite(value):
        return Number(value)
    near = Fraction(value).limit_denominator(_LARGEST)
    if near == value or (value and abs(float(near) / value - 1) <= digits):
        return Number(near)
    square = value * value
    if square and math.isfinite(square):
        near = Fraction(square).limit_denominator(_LARGEST)
        if near and near.numerator in (1, 2) and abs(float(near) / square - 1) <= 2 * digits:
            root = Power(Number(near), Number(Fraction(1, 2)))
            if near.numerator == 1:
                root = Power(Number(1 / near), Number(Fraction(-1, 2)))
            return root if value > 0 else Product((Number(Fraction(-1)), root))
    return Number(value)


ZERO, ONE, MINUS = Number(Fraction(0)), Number(Fraction(1)), Number(Fraction(-1))


def _times(a: Fraction | float, b: Fraction | float) -> Fraction | float:
    exact = isinstance(a, Fraction) and isinstance(b, Fraction)
    return a * b if exact else float(a) * float(b)


def _plus(a: Fraction | float, b: Fraction | float) -> Fraction | float:
    exact = isinstance(a, Fraction) and isinstance(b, Fraction)
    return a + b if exact else float(a) + float(b)


def value_of(e: Expr) -> Fraction | float | None:
    """The value of a number, or of the number of samples."""
    if isinstance(e, Number):
        return e.value
    return Fraction(e.size) if isinstance(e, Count) else None


# ── sums and products ────────────────────────────────────────────────────────────────────────────


def split(e: Expr) -> tuple[Fraction | float, tuple[Expr, ...]]:
    """An expression as a number times factors."""
    if isinstance(e, Number):
        return e.value, ()
    if isinstance(e, Product):
        first = e.factors[0]
        if isinstance(first, Number):
            return first.value, e.factors[1:]
        return Fraction(1), e.factors
    return Fraction(1), (e,)


def add(*terms: Expr) -> Expr:
    """The sum, with like terms collected and common factors in front."""
    found: dict[tuple[Expr, ...], Fraction | float] = {}
    waiting = list(reversed(terms))
    while waiting:
        e = waiting.pop()
        k, rest = split(e)
        # a − (b + c) = a − b − c
        if len(rest) == 1 and isinstance(rest[0], Sum) and k in (1, -1):
            waiting += [mul(Number(k), t) for t in reversed(rest[0].terms)]
            continue
        # a x + b x = (a + b) x
        found[rest] = _plus(found.get(rest, Fraction(0)), k)
    parts = [(k, rest) for rest, k in found.items() if k != 0]
    if not parts:
        return ZERO
    if len(parts) == 1:
        return mul(Number(parts[0][0]), *parts[0][1])
    parts = _log_softmax(parts)
    if len(parts) == 1:
        return mul(Number(parts[0][0]), *parts[0][1])
    # a x + b x = (a + b) x, of factors x
    common = [f for f in parts[0][1] if all(f in rest for _, rest in parts[1:])]
    sizes = {abs(k) for k, _ in parts}
    scale: Fraction | float = Fraction(1)
    if sizes != {1} and len(sizes) == 1:
        (scale,) = sizes
    if common or scale != 1:
        inner = []
        for k, rest in parts:
            left = list(rest)
            for f in common:
                left.remove(f)
            inner.append(mul(Number(k / scale), *left))
        return mul(Number(scale), *common, add(*inner))
    parts.sort(key=lambda p: p[0] < 0)  # p − y, not −y + p
    return Sum(tuple(_product(k, rest) for k, rest in parts))


def _product(k: Fraction | float, rest: tuple[Expr, ...]) -> Expr:
    if not rest:
        return Number(k)
    if k == 1:
        return rest[0] if len(rest) == 1 else Product(rest)
    return Product((Number(k), *rest))


_Terms = list[tuple[Fraction | float, tuple[Expr, ...]]]


def _log_softmax(parts: _Terms) -> _Terms:
    """u − log Σ eᵘ = log softmax(u), for the terms of a sum."""
    for k, rest in parts:
        match rest:
            case (Call("log", (Reduce("sum", index, Call("exp", (body,))),)),):
                others = [p for p in parts if p != (k, rest)]
                for place in candidates(others):
                    at = substitute(body, index, place)
                    inner = [split(t) for t in (at.terms if isinstance(at, Sum) else (at,))]
                    wanted = [(_times(-k, c), factors) for c, factors in inner]
                    if all(w in others for w in wanted):
                        left = [p for p in others if p not in wanted]
                        log = call("log", Softmax(index, body, place))
                        return [*left, (-k, (log,))]
    return parts


def candidates(parts: _Terms) -> list[Place]:
    """The places that terms read."""
    out: dict[Place, None] = {}
    for _, factors in parts:
        for f in factors:
            for e in f.walk():
                out.update(dict.fromkeys(e.places))
    return list(out)


def negative(e: Expr) -> Expr:
    """−e."""
    return mul(MINUS, e)


def mul(*factors: Expr) -> Expr:
    """The product, with powers of one base in one."""
    scale: Fraction | float = Fraction(1)
    found: dict[Expr, list[Expr]] = {}
    waiting = list(reversed(factors))
    while waiting:
        e = waiting.pop()
        if isinstance(e, Product):
            waiting += reversed(e.factors)
        elif isinstance(e, Number):
            scale = _times(scale, e.value)
        else:
            base, exponent = (e.base, e.exponent) if isinstance(e, Power) else (e, ONE)
            found.setdefault(base, []).append(exponent)
    if scale == 0:
        return ZERO
    out: list[Expr] = []
    for base, exponents in found.items():
        e = base
        # xᵃ xᵇ = xᵃ⁺ᵇ
        total = add(*exponents) if len(exponents) > 1 else exponents[0]
        # a condition is 0 or 1, so its square is itself
        if is_condition(base) and isinstance(total, Number) and total.value > 0:
            total = ONE
        e = power(base, total) if total != ONE else base
        k, rest = split(e)
        scale = _times(scale, k)
        out += rest
    out = _softmax(_rectified(out))
    if not out:
        return Number(scale)
    # −(a − b) = b − a
    if len(out) == 1 and isinstance(out[0], Sum) and scale == -1:
        return add(*(mul(MINUS, t) for t in out[0].terms))
    return _product(scale, tuple(out))


def _rectified(factors: list[Expr]) -> list[Expr]:
    """[x > 0] x = max(0, x)."""
    for f in factors:
        match f:
            case Compare(">", x, Number(value)) if value == 0 and x in factors:
                rest = [e for e in factors if e not in (f, x)]
                return [*rest, Call("maximum", (ZERO, x))]
    return factors


def _softmax(factors: list[Expr]) -> list[Expr]:
    """eᵘ / Σ eᵘ = softmax(u)."""
    for f in factors:
        match f:
            case Power(Reduce("sum", index, Call("exp", (body,))), Number(value)) if value == -1:
                others = [e for e in factors if e is not f]
                for place in candidates([(Fraction(1), tuple(others))]):
                    one = call("exp", substitute(body, index, place))
                    if one in others:
                        others.remove(one)
                        return [*others, Softmax(index, body, place)]
    return factors


def is_condition(e: Expr) -> bool:
    """Whether the value is 0 or 1."""
    if isinstance(e, At):
        return e.symbol.value is not None and e.symbol.value.dtype == bool
    return isinstance(e, Compare)


def power(base: Expr, exponent: Expr) -> Expr:
    """base ^ exponent."""
    if not isinstance(exponent, Number):
        return Power(base, exponent)
    p = exponent.value
    if p == 0:
        return ONE
    if p == 1:
        return base
    whole = isinstance(p, Fraction) and p.denominator == 1
    match base:
        case Number(value) if whole and value != 0 and isinstance(value, Fraction):
            return Number(value ** int(p))
        case Number(value) if value == 1:
            return ONE
        # (a b)ⁿ = aⁿ bⁿ
        case Product(factors) if whole:
            return mul(*(power(f, exponent) for f in factors))
        # (aᵐ)ⁿ = aᵐⁿ, and (√a)ⁿ = aⁿᐟ²
        case Power(inner, Number(q)) if whole and isinstance(q, Fraction):
            if q.denominator != 1 or p != Fraction(1, 2):
                return power(inner, Number(_times(p, q)))
        # (eᵃ)ⁿ = eⁿᵃ, but a maximum stays by itself, to cancel
        case Call("exp", (a,)) if not isinstance(a, Reduce):
            return call("exp", mul(exponent, a))
    return Power(base, exponent)


# ── functions and conditions ─────────────────────────────────────────────────────────────────────


def call(name: str, *arguments: Expr) -> Expr:
    """The function of the arguments."""
    (first, *_) = arguments
    match name:
        case "exp":
            if first == ZERO:
                return ONE
            return _exponential(first)
        case "log":
            if first == ONE:
                return ZERO
            # log((eᵃ)ᵏ b) = k a + log b
            powers = [_exponent(f) for f in _factors(first)]
            if any(p is not None for p in powers):
                rest = [f for f, p in zip(_factors(first), powers, strict=True) if p is None]
                return add(*(p for p in powers if p is not None), call("log", mul(*rest)))
    return Call(name, arguments)


def _exponential(e: Expr) -> Expr:
    """eᵃ⁺ᵇ = eᵃ eᵇ where a is a maximum (subtracted for stability: it will cancel) or a logarithm."""
    out, rest = [], []
    for term in e.terms if isinstance(e, Sum) else (e,):
        match split(term):
            # e^(k log a) = aᵏ
            case (k, (Call("log", (a,)),)):
                out.append(power(a, Number(k)))
            case (k, (Reduce("max", _, _) as top,)):
                out.append(power(Call("exp", (top,)), Number(k)))
            case _:
                rest.append(term)
    if not out:
        return Call("exp", (e,))
    kept = [Call("exp", (add(*rest),))] if rest else []
    return mul(*out, *kept) if len(out) + len(kept) > 1 else (out + kept)[0]


def _exponent(e: Expr) -> Expr | None:
    """The a of eᵃ."""
    match e:
        case Call("exp", (a,)):
            return a
        case Power(Call("exp", (a,)), k):
            return mul(k, a)
    return None


def _factors(e: Expr) -> tuple[Expr, ...]:
    return e.factors if isinstance(e, Product) else (e,)


def compare(relation: str, left: Expr, right: Expr) -> Expr:
    """1 where the relation is true, else 0."""
    a, b = value_of(left), value_of(right)
    if a is not None and b is not None:
        return ONE if _TRUE[relation](a, b) else ZERO
    match left, right:
        case (Numbered(p), Number(v)) if not p.terms and isinstance(v, Fraction):
            return ONE if _TRUE[relation](p.offset, v) else ZERO
    return Compare(relation, left, right)


def opposite(condition: Expr) -> Expr:
    """1 where the condition is 0, else 0."""
    if isinstance(condition, Compare):
        return compare(_OPPOSITE[condition.relation], condition.left, condition.right)
    return add(ONE, negative(condition))


def cases(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """`yes` where the condition is 1, else `no`."""
    if isinstance(condition, Number):
        return yes if condition.value else no
    if yes == no:
        return yes
    # what is 0 where the condition fails is multiplied by it
    if no == ZERO:
        return mul(condition, yes)
    if yes == ZERO:
        return mul(opposite(condition), no)
    return Cases(condition, yes, no)


# ── sums over an index ───────────────────────────────────────────────────────────────────────────


def total(index: Index, body: Expr) -> Expr:
    """Σ body over the index."""
    if index.size == 1:
        return substitute(body, index, Place())
    # Σ c = N c
    if index not in body.free:
        return mul(Count(index.size) if index.rows else number(index.size), body)
    if isinstance(body, Product):
        inside = [f for f in body.factors if index in f.free]
        outside = [f for f in body.factors if index not in f.free]
        # Σ c x = c Σ x
        if outside:
            return mul(*outside, total(index, mul(*inside)))
    for f in _factors(body):
        # Σ [i = k] x[i] = x[k]
        k = _only(f, index)
        if k is not None:
            return substitute(mul(*(g for g in _factors(body) if g is not f)), index, k)
    if isinstance(body, Sum):
        # Σ (a + b) = Σ a + Σ b, where one of them becomes simpler
        each = [total(index, t) for t in body.terms]
        if any(_simple(t) for t in each):
            return add(*each)
    digits = _digits(body, index)
    if digits is not None:
        # Σ over an axis that is several in one = Σ Σ over each
        index_of = {p: Index(p.size, index.rows) for p in digits}
        whole = place([(i, p.stride) for p, i in index_of.items()])
        out = substitute(body, index, whole)
        for i in index_of.values():
            out = total(i, out)
        return out
    return _turned(index, body)


def _turned(index: Index, body: Expr) -> Expr:
    """Σᵢ f(n − 1 − i) = Σᵢ f(i): a kernel that is read backwards is read forwards."""
    for e in body.walk():
        for p in e.places:
            if p.terms == ((index, -1),) and p.offset == index.size - 1:
                fresh = Index(index.size, index.rows)
                turned = place([(fresh, -1)], index.size - 1)
                return Reduce("sum", fresh, substitute(body, index, turned))
    return Reduce("sum", index, body)


def _only(f: Expr, index: Index) -> Place | None:
    """The one place where a condition is true: that of the index in [i = k]."""
    match f:
        case Compare("=", Numbered(p), other) if p.atom is index and index not in other.free:
            pass
        case Compare("=", other, Numbered(p)) if p.atom is index and index not in other.free:
            pass
        case _:
            return None
    match other:
        case Numbered(q):
            return q
        case At(Symbol(value=value)) if value is not None and value.dtype.kind in "iu":
            inside = value.size and 0 <= value.min() and value.max() < index.size
            return Place(((other, 1),)) if inside else None
    return None


def _simple(e: Expr) -> bool:
    return not any(isinstance(x, Reduce) for x in e.walk())


def _digits(body: Expr, index: Index) -> list[Part] | None:
    """The parts of the index that the body reads, if it reads nothing else of it."""
    parts: dict[Part, None] = {}
    for e in body.walk():
        for p in e.places:
            for atom, _ in p.terms:
                if isinstance(atom, Part) and atom.of.atom is index:
                    parts[atom] = None
                elif index in (atom.of.free if isinstance(atom, Part) else ()) or atom is index:
                    return None
    done = 1
    for p in sorted(parts, key=lambda p: p.stride):
        if p.stride != done:
            return None
        done *= p.size
    return list(parts) if parts and done == index.size else None


def reduced(kind: str, index: Index, body: Expr) -> Expr:
    """The max, min or product of the body over the index."""
    if kind == "sum":
        return total(index, body)
    if index.size == 1:
        return substitute(body, index, Place())
    if index not in body.free:
        return body if kind in ("max", "min") else power(body, number(index.size))
    return Reduce(kind, index, body)


# ── replacing ────────────────────────────────────────────────────────────────────────────────────


def substitute(e: Expr, index: Index, by: Place) -> Expr:
    """The expression with another place for the index."""
    if index not in e.free:
        return e
    return rebuilt(
        e, lambda part: substitute(part, index, by), lambda place: put(place, index, by)
    )


@lru_cache(100_000)
def put(where: Place, index: Index, by: Place) -> Place:
    """The place with another place for the index."""
    if index not in where.free:
        return where
    terms: list[tuple[Index | Part | At | Place, int]] = []
    for atom, k in where.terms:
        new: Index | Part | At | Place = atom
        if atom is index:
            new = by
        elif isinstance(atom, Part):
            new = part(put(atom.of, index, by), atom.stride, atom.size)
        elif isinstance(atom, At):
            new = At(atom.symbol, tuple(put(p, index, by) for p in atom.at))
        terms.append((new, k))
    return place(terms, where.offset)


def rebuilt(
    e: Expr, of_part: Callable[[Expr], Expr], of_place: Callable[[Place], Place] = lambda p: p
) -> Expr:
    """The expression made again of other parts and places, simplified."""
    match e:
        case At(symbol, at):
            return At(symbol, tuple(map(of_place, at)))
        case Numbered(at):
            return Numbered(of_place(at))
        case Sum(terms):
            return add(*map(of_part, terms))
        case Product(factors):
            return mul(*map(of_part, factors))
        case Power(base, exponent):
            return power(of_part(base), of_part(exponent))
        case Call(name, arguments):
            return call(name, *map(of_part, arguments))
        case Compare(relation, left, right):
            return compare(relation, of_part(left), of_part(right))
        case Cases(condition, yes, no):
            return cases(of_part(condition), of_part(yes), of_part(no))
        case Reduce(kind, index, body):
            return reduced(kind, index, of_part(body))
        case Softmax(index, body, at):
            return Softmax(index, of_part(body), of_place(at))
    return e
