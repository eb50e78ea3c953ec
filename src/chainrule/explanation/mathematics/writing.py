"""Equations as text, with matrices where their elements are those of matrix expressions.

Longer than other files: the forms with matrices and with indices share most of what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from .algebra import factors_of, substitute
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
    Plain,
    Power,
    Product,
    Reduce,
    Softmax,
    Sum,
    Symbol,
)
from .forms import Order, decimal, fits, without_sign
from .notation import Latex, Unicode
from .places import span

_SUM, _SERIES, _PRODUCT, _ATOM = 1, 2, 3, 4  # how tightly a text binds
_RESULTS: dict[tuple[str, int | None], str] = {("max_pool", 1): "argmax_pool"}  # results' names
_LETTERS = "ijklmopqrstuv"

Text = tuple[str, int]
Write = Callable[[Expr], Text]


class _NoMatrixError(Exception):
    """The expression is no expression of matrices."""


class Writer:
    """Writes expressions of one equation.

    hidden   indices in front that the matrices do not show, since all tensors have them
    shown    those of them that are printed with each tensor
    """

    def __init__(self, notation: Unicode | Latex, indices: Sequence[Index]) -> None:
        self.notation = notation
        self.letters: dict[Index, str] = {}
        self.hidden: tuple[Index, ...] = ()
        self.shown: set[Index] = set()
        for index in indices:
            self.letter(index)

    def letter(self, index: Index) -> str:
        """The letter of an index: n, m for samples, others in the order of the alphabet."""
        if index not in self.letters:
            taken = {*self.letters.values()}
            pool = "nm" if index.rows else "tsr" if index.time else _LETTERS
            free = [c for c in pool + _LETTERS if c not in taken]
            self.letters[index] = free[0] if free else f"i{len(taken)}"
        return self.letters[index]

    def sides(self, left: At, right: Expr, indices: Sequence[Index]) -> tuple[str, str]:
        """Both sides of an equation for these indices, as matrices if they are some."""
        order = self.order(indices)
        saved = dict(self.letters)
        try:
            if not order and not self.hidden:  # of numbers
                raise _NoMatrixError
            return self.tensor(left, order), self.matrix(right, order)[0]
        except _NoMatrixError:
            self.letters = saved
            self.hidden, self.shown = (), set()
            is_whole = isinstance(right, Plain)
            return self.whole(left) if is_whole else self.element(left)[0], self.element(right)[0]

    def order(self, indices: Sequence[Index]) -> Order:
        """The last two axes; others in front, and time, are hidden, but times are shown."""
        axes = [i for i in indices if not i.time]
        front = [i for i in axes[:-2] if i.size > 1]
        times = [i for i in indices if i.time]
        self.hidden, self.shown = (*times, *front), {*times}
        return tuple(i if i.size > 1 else None for i in axes[-2:])

    # ── matrices ─────────────────────────────────────────────────────────────────────────────────

    def matrix(self, e: Expr, order: Order) -> Text:
        """The expression as a matrix, row or number whose axes are `order`."""
        match e:
            case At():
                return self.tensor(e, order), _ATOM
            case Number() | Count() | Plain():
                return self.element(e)
            case Sum(terms):
                return self.sum([self.term(t, lambda f: self.matrix(f, order)) for t in terms])
            case Product() | Power():
                return self.outer(e, order) or self.product(
                    e, lambda f: self.matrix(f, order), order
                )
            case Call(name, arguments):
                return self.function(name, [self.matrix(a, order)[0] for a in arguments]), _ATOM
            case Compare():
                return self.relation(e, order)
            case Softmax(index, body, at):
                if not order or at.atom is not order[-1] or order[-1] is None:
                    raise _NoMatrixError
                inner = self.matrix(substitute(body, index, at), order)[0]
                return self.notation.function("softmax", [inner]), _ATOM
            case Reduce("sum", index, body):
                return self.contraction(index, body, order)
        raise _NoMatrixError

    def relation(self, e: Compare, order: Order) -> Text:
        """1 where it is true, else 0."""
        if e.free <= self.shown:
            return self.element(e)
        match e:
            case Compare("=", At() as y, Numbered(p)) | Compare("=", Numbered(p), At() as y):
                if len(order) == 2 and p.atom is order[1]:
                    return self.notation.function("onehot", [self.tensor(y, order[:1])]), _ATOM
                raise _NoMatrixError
        left, right = self.matrix(e.left, order)[0], self.matrix(e.right, order)[0]
        sign = self.notation.relation(e.relation)
        return self.notation.condition(f"{left} {sign} {right}"), _ATOM

    def contraction(self, index: Index, body: Expr, order: Order) -> Text:
        """Σₖ a[i, k] b[k, j] as a matrix product; Σₙ of a matrix as a sum."""
        factors = factors_of(body)
        first = order[0] if len(order) == 2 else None
        last = order[-1] if order else None
        right = [
            f
            for f in factors
            if (last in f.free if last is not None else first is not None and first not in f.free)
        ]
        left = [f for f in factors if f not in right]
        if order == (None, None) and len(factors) == 2:  # a row times a column
            left, right = [factors[0]], [factors[1]]
        is_product = bool(left and right) and not index.time
        if is_product and not any(first in f.free for f in right if first is not None):
            saved = dict(self.letters)
            try:
                a = self.group(left, (*order[:-1], index))
                b = self.group(right, (index, *order[-1:]))
                return self.notation.product.join((a, b)), _PRODUCT
            except _NoMatrixError:
                self.letters = saved
        if first in body.free and last not in body.free and not index.time:
            inner = self.matrix(body, (first, index))[0]
            return self.notation.function("rowsum", [inner]), _ATOM
        return self.series(index, body, order)

    def outer(self, e: Expr, order: Order) -> Text | None:
        """A column times a row, as a matrix product."""
        factors = factors_of(e) if len(order) == 2 else ()
        left = [f for f in factors if order[0] in f.free and order[1] not in f.free]
        right = [f for f in factors if order[1] in f.free and order[0] not in f.free]
        if len(left) == len(right) == 1 and None not in order:
            a = self.group(left, (order[0], None))
            b = self.group(right, (None, order[1]))
            outer = self.notation.product.join((a, b))
            rest = [f for f in factors if f not in (*left, *right)]
            if not rest:
                return outer, _PRODUCT
            if not any(isinstance(f, (Number, Count, Power)) for f in rest):
                parts = [self.within(self.matrix(f, order), _ATOM) for f in rest]
                parts.append(self.notation.inside(outer))
                return self.notation.hadamard.join(parts), _PRODUCT
        return None

    def group(self, factors: Sequence[Expr], order: Order) -> str:
        if len(factors) == 1:
            return self.within(self.matrix(factors[0], order), _ATOM)
        parts = [self.within(self.matrix(f, order), _ATOM) for f in factors]
        return self.notation.inside(self.notation.hadamard.join(parts))

    def series(self, index: Index, body: Expr, order: Order) -> Text:
        hidden, shown = self.hidden, {*self.shown}
        self.hidden, self.shown = (*hidden, index), shown | {index}
        try:
            inner = self.within(self.matrix(body, order), _SERIES)
            return self.notation.reduce("sum", self.letter(index)) + inner, _SERIES
        finally:
            self.letters.pop(index, None)
            self.hidden, self.shown = hidden, shown

    def tensor(self, e: At, order: Order) -> str:
        """A tensor, transposed if its axes are in the other order."""
        try:
            return self.block(e, order, False)
        except _NoMatrixError:
            return self.block(e, order, True)

    def block(self, e: At, order: Order, keeps: bool) -> str:
        """A tensor; `keeps`: one place on an axis is a block of size 1, not a place."""
        parts: list[str] = []  # in brackets
        read: list[Index | None] = []
        front: list[Index | None] = []
        for p, n in zip(e.at, e.symbol.shape, strict=True):
            index = p.terms[0][0] if len(p.terms) == 1 and p.terms[0][1] == 1 else None
            if index in self.hidden and index in self.shown:
                parts.append(self.place(p))
            elif index in self.hidden:
                if p.offset or any(part != ":" for part in parts) or read:
                    raise _NoMatrixError
                front.append(index)
            elif n == 1:
                read.append(None)
            elif not p.terms and keeps:
                parts.append(f"{p.offset}:{p.offset + 1}")
                read.append(None)
            elif not p.terms:
                parts.append(str(p.offset))
            else:
                if not isinstance(index, Index):
                    raise _NoMatrixError
                read.append(index)
                whole = not p.offset and index.size == n
                if p.offset < 0 or p.offset + index.size > n:  # it is 0 outside
                    raise _NoMatrixError
                parts.append(":" if whole else f"{p.offset}:{p.offset + index.size}")
        if front and front != [i for i in self.hidden if i not in self.shown]:
            raise _NoMatrixError
        text = self.symbol(e.symbol)
        while parts and parts[-1] == ":":
            parts.pop()
        if parts:
            text = self.notation.element(text, parts)
        while len(read) > 2 and None in read:
            read.remove(None)
        if fits(tuple(read), order):
            return text
        if len(read) == 2 and fits((read[1], read[0]), order):
            return self.notation.transposed(text)
        raise _NoMatrixError

    # ── elements ─────────────────────────────────────────────────────────────────────────────────

    def element(self, e: Expr) -> Text:
        """The expression with indices."""
        match e:
            case Number(value):
                return self.number(value)
            case Count():
                return "N", _ATOM
            case Numbered(at):
                return self.place(at), _SUM if len(at.terms) + bool(at.offset) > 1 else _ATOM
            case At(symbol, at):
                return self.at(symbol, at), _ATOM
            case Sum(terms):
                return self.sum([self.term(t, self.element) for t in terms])
            case Product() | Power():
                return self.product(e, self.element)
            case Call(name, arguments):
                return self.function(name, [self.element(a)[0] for a in arguments]), _ATOM
            case Compare(relation, left, right):
                sign = self.notation.relation(relation)
                inner = f"{self.element(left)[0]} {sign} {self.element(right)[0]}"
                return self.notation.condition(inner), _ATOM
            case Cases(condition, yes, no):
                parts = [self.element(p)[0] for p in (condition, yes, no)]
                return self.notation.cases(*parts), _ATOM
            case Reduce(kind, index, body):
                sign = self.notation.reduce(kind, self.letter(index))
                inner = self.within(self.element(body), _SERIES)
                del self.letters[index]
                return sign + inner, _SERIES
            case Softmax(index, body, at):
                letter = self.letter(index)
                inner = self.notation.function("softmax", [self.element(body)[0]], along=letter)
                del self.letters[index]
                return self.notation.element(inner, [self.place(at)]), _ATOM
            case Plain(operation, arguments, settings, result):
                operation = _RESULTS.get((operation, result), operation)
                texts = [self.whole(a) for a in arguments]
                texts += [self.notation.word(f"{k}={v}") for k, v in settings]
                return self.notation.function(operation, texts), _ATOM
        raise AssertionError(e)

    def whole(self, e: Expr) -> str:
        """A tensor that an operation reads: all of it, a block, or the part of a time."""
        if not isinstance(e, At):
            return self.element(e)[0]
        parts = []
        for p, n in zip(e.at, e.symbol.shape, strict=True):
            index = p.terms[0][0] if len(p.terms) == 1 else None
            if isinstance(index, Index) and not index.time:
                is_all = index.size == n and not p.offset
                parts.append(":" if is_all else f"{p.offset}:{p.offset + index.size}")
            elif n != 1:
                parts.append(self.place(p))
        while parts and parts[-1] == ":":
            parts.pop()
        symbol = self.symbol(e.symbol)
        return self.notation.element(symbol, parts) if parts else symbol

    def at(self, symbol: Symbol, at: Sequence[Place]) -> str:
        places = [self.place(p) for p, n in zip(at, symbol.shape, strict=True) if n != 1]
        text = self.symbol(symbol)
        return self.notation.element(text, places) if places else text

    def place(self, p: Place) -> str:
        terms = [(k < 0, (str(abs(k)) if abs(k) != 1 else "") + self.atom(a)) for a, k in p.terms]
        if p.offset or not terms:
            terms.append((p.offset < 0, str(abs(p.offset))))
        return self.sum(sorted(terms, key=lambda term: term[0]))[0]

    def atom(self, atom: Index | Part | At) -> str:
        if isinstance(atom, Index):
            return self.letter(atom)
        if isinstance(atom, At):
            return self.element(atom)[0]
        text, ends = self.place(atom.of), span(atom.of)
        if atom.stride > 1:
            text = self.notation.floor(text, str(atom.stride))
        if ends is not None and ends[0] >= 0 and ends[1] < atom.stride * atom.size:
            return text
        return self.notation.remainder(text, str(atom.size))

    # ── what both have ───────────────────────────────────────────────────────────────────────────

    def symbol(self, symbol: Symbol) -> str:
        if symbol.of is not None and symbol.text.startswith("∂"):
            return self.notation.gradient(self.symbol(symbol.of))
        return self.notation.symbol(symbol.text)

    def function(self, name: str, arguments: list[str]) -> str:
        if name == "abs":
            return self.notation.absolute(arguments[0])
        return self.notation.function(name, arguments)

    def number(self, value: Fraction | float) -> Text:
        if isinstance(value, Fraction) and decimal(abs(value)):
            text, level = decimal(abs(value)), _ATOM
        elif isinstance(value, Fraction):
            top = str(abs(value.numerator))
            text = (
                top
                if value.denominator == 1
                else self.notation.fraction(top, str(value.denominator), True)
            )
            level = _ATOM if value.denominator == 1 else _PRODUCT
        else:
            text = self.notation.constant(abs(value))
            level = _SERIES if "/" in text else _ATOM
        return (self.notation.minus + text, _SUM) if value < 0 else (text, level)

    def term(self, e: Expr, write: Write) -> tuple[bool, str]:
        """Whether a term is subtracted, and its text without the sign."""
        negative, e = without_sign(e)
        text = self.within(write(e), _SERIES)
        return negative, text

    def sum(self, terms: Sequence[tuple[bool, str]]) -> Text:
        out = ""
        for negative, text in terms:
            sign = self.notation.minus if negative else "+"
            out += (f" {sign} " if out else sign if negative else "") + text
        return out, _SUM

    def product(self, e: Expr, write: Write, order: Order = ()) -> Text:
        """Numbers in front, factors, what is divided by behind."""
        negative, e = without_sign(e)
        scalars: list[Expr] = []
        above: list[Expr] = []
        below: list[Expr] = []
        for f in factors_of(e):
            match f:
                case Number(Fraction() as value) if decimal(value):
                    scalars.append(f)
                case Number(Fraction() as value):
                    if value.numerator != 1:
                        scalars.append(Number(Fraction(value.numerator)))
                    if value.denominator != 1:
                        below.append(Number(Fraction(value.denominator)))
                case Power(base, Number(value)) if value < 0:
                    below.append(base if value == -1 else Power(base, Number(-value)))
                case _:
                    has_sum = any(isinstance(x, Reduce) for x in f.walk())
                    is_one = f.free <= self.shown if order else not f.free
                    (scalars if is_one and not has_sum else above).append(f)
        texts = [
            self.within(self.factor(f, write if f.free else self.element), _PRODUCT)
            for f in scalars
        ]
        parts = sorted((self.factor(f, write) for f in above), key=lambda p: p[1] == _SERIES)
        series = [p for p in parts if p[1] == _SERIES]
        if len(series) == 1 and not any(f.free for f in below) and (scalars or below):
            front = self.notation.product.join(texts) or "1"
            if below:
                front = self.notation.factor(front, self.bottom(below, write))
            inner = [self.within(p, _ATOM) for p in parts[:-1]]
            text, level = self.notation.product.join([front, *inner, series[0][0]]), _SERIES
        elif len(parts) == 1 and not scalars and not below:
            text, level = parts[0]
        else:
            apart, behind = bool(order) and len(parts) > 1, list[str]()
            inner = [self.within(p, _ATOM if apart else _PRODUCT) for p in parts[:-1]]
            inner += [self.within(p, _ATOM if apart or below else _SERIES) for p in parts[-1:]]
            joined = (self.notation.hadamard if order else self.notation.product).join(inner)
            if order[1:] == (None,):  # a column times a number: it stands behind
                behind = [
                    t for t, f in zip(texts, scalars, strict=True) if isinstance(f, At) and f.free
                ]
                texts = [t for t in texts if t not in behind]
            text = self.notation.product.join([*texts, *([joined] if parts else []), *behind])
            level = _SERIES if series else _PRODUCT
            if below:
                text = self.notation.fraction(text or "1", self.bottom(below, write), not above)
                level = _PRODUCT
        return (self.notation.minus + text, _SUM) if negative else (text, level)

    def bottom(self, factors: Sequence[Expr], write: Write) -> str:
        texts = [self.factor(f, write if f.free else self.element) for f in factors]
        if len(texts) == 1:
            return self.within(texts[0], _ATOM)
        return self.notation.inside(
            self.notation.product.join(self.within(t, _PRODUCT) for t in texts)
        )

    def factor(self, f: Expr, write: Write) -> Text:
        if isinstance(f, Power):
            base = write(f.base)
            is_atom = base[1] == _ATOM and not isinstance(f.base, Power)
            match f.exponent:
                case Number(Fraction() as p) if p == Fraction(1, 2):
                    return self.notation.root(base[0], is_atom), _ATOM
                case Number(Fraction() as p) if p == Fraction(-1, 2):
                    root = self.notation.root(base[0], is_atom)
                    return self.notation.fraction("1", root, True), _PRODUCT
            exponent = write(f.exponent)[0]
            if base[0].endswith(self.notation.transposed("x")[1:]):
                base = base[0], _PRODUCT
            return self.notation.power(self.within(base, _ATOM), exponent), _ATOM
        out: Text = write(f)
        return out

    def within(self, text: Text, level: int) -> str:
        return text[0] if text[1] >= level else self.notation.inside(text[0])
