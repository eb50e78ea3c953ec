"""Places on axes: sums of coefficient · atom, made by arithmetic that keeps them linear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .expression import At, Index, Part, Place


def place(terms: Sequence[tuple[Index | Part | At | Place, int]], offset: int = 0) -> Place:
    """The sum of coefficient · atom, and the offset."""
    coefficients: dict[Index | Part | At, int] = {}
    for atom, k in terms:
        inner = atom.terms if isinstance(atom, Place) else ((atom, 1),)
        offset += k * atom.offset if isinstance(atom, Place) else 0
        for a, c in inner:
            if not (isinstance(a, Index) and a.size == 1 and not a.time):  # it is 0
                coefficients[a] = coefficients.get(a, 0) + k * c
    return Place(_joined(coefficients), offset)


def _joined(
    coefficients: dict[Index | Part | At, int],
) -> tuple[tuple[Index | Part | At, int], ...]:
    """The terms, with neighbouring digits of one place as one: n ⌊x/n⌋ + x mod n = x."""
    terms = {a: c for a, c in coefficients.items() if c}
    parts = [a for a in terms if isinstance(a, Part)]
    for low in parts if len(parts) > 1 else ():
        for high in parts:
            c = terms[low]
            meets = high.of == low.of and high.stride == low.stride * low.size
            if meets and terms[high] == c * low.size:
                del terms[low], terms[high]
                whole = part(low.of, low.stride, low.size * high.size)
                return place([*terms.items(), (whole, c)]).terms
    return tuple(terms.items())


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
    reach, top = span(place(low)), span(place(middle))
    if reach is not None and top is not None and min(reach[0], top[0]) >= 0:
        # (q·stride + r) // stride = q for 0 ≤ r < stride
        r, whole = rest % stride, rest // stride
        if reach[1] + r < stride and top[1] // stride + whole < size:
            return place([(a, k // stride) for a, k in middle], whole)
    return Place(((Part(of, stride, size), 1),))


def span(where: Place) -> tuple[int, int] | None:
    """The least and the largest value that it can have; None if it is looked up."""
    low = high = where.offset
    for atom, k in where.terms:
        if isinstance(atom, At):
            return None
        end = k * (atom.size - 1)
        low, high = low + min(end, 0), high + max(end, 0)
    return low, high


def put(where: Place, by: Mapping[Index, Place]) -> Place:
    """The place with other places for these indices."""
    if where.free.isdisjoint(by):
        return where
    terms: list[tuple[Index | Part | At | Place, int]] = []
    for atom, k in where.terms:
        new: Index | Part | At | Place = atom
        if isinstance(atom, Index):
            new = by.get(atom, atom)
        elif isinstance(atom, Part):
            new = part(put(atom.of, by), atom.stride, atom.size)
        else:
            new = At(atom.symbol, tuple(put(p, by) for p in atom.at))
        terms.append((new, k))
    return place(terms, where.offset)
