"""Makes expressions, each as simple as its identities allow.

Every identity is named in the line above it. None of them asks what layer an expression is from.
Longer than other files: identities use one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

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
from .fractions import MINUS, ONE, ZERO, number, plus, times, value_of
from .places import place, put, span

_OPPOSITE = {"=": "≠", "≠": "=", "<": "≥", "≤": ">", ">": "≤", "≥": "<"}
_TRUE = {
    "=": lambda a, b: a == b,
    "≠": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "≤": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "≥": lambda a, b: a >= b,
}

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
    counts: dict[tuple[Expr, ...], Fraction | float] = {}
    waiting = list(reversed(terms))
    while waiting:
        e = waiting.pop()
        k, rest = split(e)
        # a − (b + c) = a − b − c
        if len(rest) == 1 and isinstance(rest[0], Sum) and k in (1, -1):
            waiting += [mul(Number(k), t) for t in reversed(rest[0].terms)]
            continue
        # a x + b x = (a + b) x
        counts[rest] = plus(counts.get(rest, Fraction(0)), k)
    parts = [(k, rest) for rest, k in counts.items() if k != 0]
    if not parts:
        return ZERO
    if len(parts) == 1:
        return mul(Number(parts[0][0]), *parts[0][1])
    parts = _sigmoid(_log_softmax(parts))
    if len(parts) == 1:
        return mul(Number(parts[0][0]), *parts[0][1])
    # a x + b x = (a + b) x, of factors x
    common = [f for f in parts[0][1] if all(f in rest for _, rest in parts[1:])]
    first = parts[0][0]
    scale = -first if first < 0 else first
    if any(k not in (scale, -scale) for k, _ in parts):
        scale = Fraction(1)
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
                    wanted = [(times(-k, c), factors) for c, factors in inner]
                    if all(w in others for w in wanted):
                        left = [p for p in others if p not in wanted]
                        log = call("log", Softmax(index, body, place))
                        return [*left, (-k, (log,))]
    return parts


def _sigmoid(parts: _Terms) -> _Terms:
    """1 − σ(−x) = σ(x), for the terms of a sum."""
    for term in parts:
        match term:
            case (k, (Call("sigmoid", (x,)),)) if (-k, ()) in parts and split(x)[0] < 0:
                rest = [p for p in parts if p not in (term, (-k, ()))]
                return [(-k, (call("sigmoid", negative(x)),)), *rest]
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
    counts: dict[Expr, list[Expr]] = {}
    waiting = list(reversed(factors))
    while waiting:
        e = waiting.pop()
        if isinstance(e, Product):
            waiting += reversed(e.factors)
        elif isinstance(e, Number):
            scale = times(scale, e.value)
        else:
            base, exponent = (e.base, e.exponent) if isinstance(e, Power) else (e, ONE)
            counts.setdefault(base, []).append(exponent)
    if scale == 0 and ZERO not in counts:  # 0/0 is no number
        return ZERO
    out: list[Expr] = []
    for base, exponents in counts.items():
        e = base
        # xᵃ xᵇ = xᵃ⁺ᵇ
        total = add(*exponents) if len(exponents) > 1 else exponents[0]
        # a condition is 0 or 1, so its square is itself
        if is_condition(base) and isinstance(total, Number) and total.value > 0:
            total = ONE
        e = power(base, total) if total != ONE else base
        k, rest = split(e)
        scale = times(scale, k)
        out += rest
    out = _softmax(_rectified(_conditioned(out)))
    if not out:
        return Number(scale)
    # −(a − b) = b − a
    if len(out) == 1 and isinstance(out[0], Sum) and scale == -1:
        return add(*(mul(MINUS, t) for t in out[0].terms))
    return _product(scale, tuple(out))


def _conditioned(factors: list[Expr]) -> list[Expr]:
    """[c] f(c) = [c] f(1): a factor counts only where a condition among them is true."""
    for c in factors:
        if isinstance(c, Compare):
            known = {c: ONE, opposite(c): ZERO}
            for k, f in enumerate(factors):
                if f is not c and any(x in known for x in f.walk()):
                    factors[k] = _where_known(f, known)
    return [g for f in factors for g in factors_of(f)]


def _where_known(e: Expr, known: Mapping[Expr, Expr]) -> Expr:
    return known.get(e) or rebuilt(e, lambda part: _where_known(part, known))


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
                return power(inner, Number(times(p, q)))
        # (eᵃ)ⁿ = eⁿᵃ, but a maximum stays by itself, to cancel
        case Call("exp", (a,)) if not isinstance(a, Reduce):
            return call("exp", mul(exponent, a))
    return Power(base, exponent)


def element(symbol: Symbol, at: tuple[Place, ...]) -> Expr:
    """An element of a tensor, which is 0 where a place is outside of its axis."""
    for p, n in zip(at, symbol.shape, strict=True):
        ends = span(p)
        if ends is not None and (ends[1] < 0 or ends[0] >= n):
            return ZERO
    return At(symbol, at)


# ── functions and conditions ─────────────────────────────────────────────────────────────────────


def call(name: str, *arguments: Expr) -> Expr:
    """The function of the arguments."""
    (first, *_) = arguments
    match name:
        case "exp":
            if first == ZERO:
                return ONE
            return _exponential(first)
        case "logaddexp" if arguments[1] == ZERO:
            # log(eᵃ + e⁰)
            return call("log", add(ONE, call("exp", first)))
        case "log":
            if first == ONE:
                return ZERO
            # log((eᵃ)ᵏ b) = k a + log b
            powers = [_exponent(f) for f in factors_of(first)]
            if any(p is not None for p in powers):
                rest = [f for f, p in zip(factors_of(first), powers, strict=True) if p is None]
                return add(*(p for p in powers if p is not None), call("log", mul(*rest)))
    return Call(name, arguments)


def _exponential(e: Expr) -> Expr:
    """eᵃ⁺ᵇ = eᵃ eᵇ where a is a maximum, which was subtracted and will cancel, or a logarithm."""
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
    others = [Call("exp", (add(*rest),))] if rest else []
    return mul(*out, *others) if len(out) + len(others) > 1 else (out + others)[0]


def _exponent(e: Expr) -> Expr | None:
    """The a of eᵃ."""
    match e:
        case Call("exp", (a,)):
            return a
        case Power(Call("exp", (a,)), k):
            return mul(k, a)
    return None


def factors_of(e: Expr) -> tuple[Expr, ...]:
    """The factors of a product, or the one that it is."""
    return e.factors if isinstance(e, Product) else (e,)


def compare(relation: str, left: Expr, right: Expr) -> Expr:
    """1 where the relation is true, else 0."""
    a, b = value_of(left), value_of(right)
    if a is not None and b is not None:
        return ONE if _TRUE[relation](a, b) else ZERO
    if b == 0 and relation in "=≠" and is_condition(left):
        return left if relation == "≠" else opposite(left)
    match left, right:
        case (Numbered(p), Number(v)) if (ends := span(p)) is not None:
            low, high = ends
            # what holds, or fails, at all places
            if low == high or relation not in "=≠":
                least, largest = _TRUE[relation](low, v), _TRUE[relation](high, v)
                if least == largest:
                    return ONE if least else ZERO
            elif not low <= v <= high:
                return ONE if relation == "≠" else ZERO
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
    # where the other case is NaN, it is that of NaN among the operands
    if yes == no or (isinstance(no, Number) and no.value != no.value):
        return yes
    # what is 0 where the condition fails is multiplied by it
    if no == ZERO:
        return mul(condition, yes)
    if yes == ZERO:
        return mul(opposite(condition), no)
    # {a if a < b, else b} = min(a, b)
    match condition:
        case Compare(relation, a, b) if relation not in "=≠" and {yes, no} == {a, b}:
            is_least = (relation in "<≤") == (yes == a)
            both = (no, yes) if isinstance(no, Number) else (yes, no)
            return call("minimum" if is_least else "maximum", *both)
    return Cases(condition, yes, no)


# ── sums over an index ───────────────────────────────────────────────────────────────────────────


def total(index: Index, body: Expr) -> Expr:
    """Σ body over the index."""
    # Σ of nothing = 0
    if index.size == 0:
        return ZERO
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
    for f in factors_of(body):
        # Σ [i = k] x[i] = x[k]
        k = _only(f, index)
        if k is not None:
            return substitute(mul(*(g for g in factors_of(body) if g is not f)), index, k)
    if isinstance(body, Sum):
        # Σ (a + b) = Σ a + Σ b, where one of them becomes simpler
        each = [total(index, t) for t in body.terms]
        if any(_simple(t) for t in each):
            return add(*each)
    digits = _digits(body, index)
    if digits is not None:
        # Σ over an axis that is several in one = Σ Σ over each
        index_of = {p: Index(p.size) for p in sorted(digits, key=lambda p: p.stride)}
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
                fresh = Index(index.size, index.rows, index.time)
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
        case Number(Fraction(denominator=1) as value):
            return Place((), int(value))
        case At(Symbol(value=value)) if value is not None and value.dtype.kind in "iu":
            inside = value.size and value.min() >= 0 and value.max() < index.size
            return Place(((other, 1),)) if inside else None
    return None


def _simple(e: Expr) -> bool:
    return not any(isinstance(x, Reduce) for x in e.walk())


def _digits(body: Expr, index: Index) -> list[Part] | None:
    """The parts of the index that the body reads, if it reads nothing else of it."""
    parts: dict[Part, None] = {}
    for e in body.walk():
        for at in e.places:
            for atom, _ in at.terms:
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
    """The max, min, product, or first place of the max, of the body over the index."""
    if kind == "sum":
        return total(index, body)
    if kind == "argmax":
        return Reduce(kind, index, body) if index in body.free else ZERO
    if index.size == 0 and kind == "prod":
        return ONE
    if index.size == 1:
        return substitute(body, index, Place())
    if index not in body.free:
        return body if kind in ("max", "min") else power(body, number(index.size))
    return Reduce(kind, index, body)


# ── replacing ────────────────────────────────────────────────────────────────────────────────────


def substitute(e: Expr, index: Index, by: Place) -> Expr:
    """The expression with another place for the index."""
    return substituted(e, {index: by})


def substituted(e: Expr, by: Mapping[Index, Place]) -> Expr:
    """The expression with other places for these indices, all at once."""
    if e.free.isdisjoint(by):
        return e
    return rebuilt(e, lambda part: substituted(part, by), lambda place: put(place, by))


def rebuilt(
    e: Expr, of_part: Callable[[Expr], Expr], of_place: Callable[[Place], Place] = lambda p: p
) -> Expr:
    """The expression made again of other parts and places, simplified."""
    match e:
        case At(symbol, at):
            return element(symbol, tuple(map(of_place, at)))
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
