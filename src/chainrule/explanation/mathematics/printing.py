"""Equations as Unicode text for terminals, and as LaTeX for notebooks and pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ...errors import printable
from ...graph import Shape
from ..steps import Step
from .algebra import opposite
from .equation import Equation, Mathematics
from .expression import At, Call, Compare, Expr, Number, Product, Reduce
from .folding import folded
from .notation import LATEX, UNICODE, Latex, Unicode, escaped
from .places import span
from .writing import Writer

_WIDTH = 70  # of equations, behind which the shapes stand


def text(equation: Equation, notation: Unicode | Latex = UNICODE) -> tuple[str, str]:
    """The left and the right side of an equation."""
    writer = Writer(notation, equation.indices)
    left, right = writer.sides(equation.left, equation.right, equation.indices)
    return printable(left), printable(right)


def unicode(mathematics: Mathematics) -> str:
    """All equations with the shapes of what they define, below the steps that they belong to.

    Of equal layers the first stands for all.
    """
    symbols = legend(mathematics)
    wide, wider = (max((len(r[k]) for r in symbols), default=0) for k in (0, 1))
    lines = [f"{letter:{wide}}  {shape:{wider}}  {of}".rstrip() for letter, shape, of in symbols]
    is_backward = None
    for section in folded(mathematics):
        if section.is_backward is not is_backward:
            is_backward = section.is_backward
            lines += ["", "backward" if is_backward else "forward"]
        if section.like:
            lines.append(printable(f"  {section.layer} as {section.like}"))
            continue
        for step, equations in section.parts:
            lines.append(f"  {_title(step)}")
            rows = [" = ".join(text(e)) for e in equations]
            width = min(max(map(len, rows)), _WIDTH)
            lines += [
                f"    {row:{width}}  {bracketed(e.shape)}".rstrip()
                for row, e in zip(rows, equations, strict=True)
            ]
    notes = [f"{title}: {'; '.join(texts)}" for title, texts in _notes(mathematics, UNICODE)]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def latex(mathematics: Mathematics) -> str:
    """The symbols and all equations, the same as `unicode`: a block for each step."""
    rows = [
        f"{symbol} & {_times(shape)} & " + (rf"\text{{{escaped(name)}}}" if name else "")
        for symbol, shape, name in legend(mathematics, LATEX)
    ]
    symbols = " \\\\\n".join(row.rstrip(" &") for row in rows)
    table = f"$$\n\\begin{{array}}{{lll}}\n{symbols}\n\\end{{array}}\n$$"
    blocks = []
    for section in folded(mathematics):
        way = "backward" if section.is_backward else "forward"
        if section.like:
            same = printable(f"{section.layer} as {section.like}")
            blocks.append(rf"\text{{{escaped(same)}, {way}}}")
            continue
        for step, equations in section.parts:
            rows = []
            for e in equations:
                left, right = text(e, LATEX)
                shape = _times(bracketed(e.shape))
                rows.append(f"{left} &= {right}" + (rf" && {shape}" if shape else ""))
            title = escaped(_title(step))
            body = " \\\\\n".join(rows)
            blocks.append(
                f"\\text{{{title}, {way}}}\\\\\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}"
            )
    for title, texts in _notes(mathematics, LATEX):
        blocks.append(" \\\\\n".join([rf"\text{{{title}}}", *texts]))
    arrays = [f"$$\n\\begin{{array}}{{l}}\n{b}\n\\end{{array}}\n$$" for b in blocks]
    return "\n\n".join([*([table] if rows else []), *arrays])


def _times(shape: str) -> str:
    """A shape in LaTeX."""
    return shape.replace("×", r" \times ")


def _title(step: Step | None) -> str:
    """The step's title, no longer than an equation."""
    title = printable(step.title) if step else "loss"
    return title if len(title) <= _WIDTH else f"{title[: _WIDTH - 1]}…"


def bracketed(shape: Shape) -> str:
    """(4×3), or nothing for a number."""
    return f"({'×'.join(map(str, shape))})" if shape else ""


def legend(
    mathematics: Mathematics, notation: Unicode | Latex = UNICODE
) -> list[tuple[str, str, str]]:
    """The symbols that are not computed: each with its shape, and its name if that is another."""
    return [
        (
            printable(notation.symbol(s.text)),
            bracketed(s.shape),
            printable(s.name) if s.name != UNICODE.symbol(s.text) else "",
        )
        for s in mathematics.inputs
    ]


def _notes(
    mathematics: Mathematics, notation: Unicode | Latex
) -> Iterator[tuple[str, Sequence[str]]]:
    """What holds beside the equations: each kind with its title."""
    rights = (e.right for _, part in mathematics.parts for e in part)
    reductions = (x.kind for right in rights for x in right.walk() if isinstance(x, Reduce))
    first = notation.text("argmax is the first place of the maximum")
    if defined := [*outside(mathematics, notation), *([first] if "argmax" in reductions else [])]:
        yield "by definition", defined
    if assumed := assumptions(mathematics, notation):
        yield "true everywhere on this sample", assumed


def outside(mathematics: Mathematics, notation: Unicode | Latex) -> list[str]:
    """What is 0 because it is outside of its axes: `h[−1] = 0`, the surroundings of an image."""
    expressions = [x for _, part in mathematics.parts for e in part for x in e.right.walk()]
    edges = {x: _edges(x, notation) for x in expressions if isinstance(x, At)}
    for x in expressions:
        if isinstance(x, Product):  # a gradient that is 0 is enough
            zeros = [f for f in x.factors if isinstance(f, At) and edges[f]]
            gradients = [f for f in zeros if f.symbol.of]
            edges |= {f: [] for f in zeros if gradients and f not in gradients}
    return list(dict.fromkeys(printable(text) for texts in edges.values() for text in texts))


def _edges(x: At, notation: Unicode | Latex) -> list[str]:
    out = []
    symbol = notation.symbol(x.symbol.text)
    axes = [(p, n) for p, n in zip(x.at, x.symbol.shape, strict=True) if n != 1]
    for k, (p, n) in enumerate(axes):
        low, high = span(p) or (0, 0)
        if (low == -1 and high < n) or (low >= 0 and high == n):  # one place
            edge = f"{notation.minus}1" if low < 0 else str(n)
            out.append(f"{notation.element(symbol, [*[':'] * k, edge])} = 0")
        elif low < 0 or high >= n:
            out.append(f"{symbol} = 0{notation.space}{notation.text('outside')}")
    return out


def assumptions(mathematics: Mathematics, notation: Unicode | Latex) -> list[str]:
    """What the equations use of the sample."""
    texts = (_plain(c, true, notation) for c, true in mathematics.assumed.items())
    return list(dict.fromkeys(map(printable, texts)))


def _plain(condition: Expr, is_true: bool, notation: Unicode | Latex) -> str:
    writer = Writer(notation, ())
    match condition if is_true else opposite(condition):
        case Compare("<", Call("abs", (x,)), Number(bound)) if bound == math.inf:
            if isinstance(x, Reduce) and x.kind == "max":
                return notation.text("maxima are finite")
            return f"{writer.element(x)[0]}{notation.space}{notation.text('is finite')}"
        case Compare(relation, left, right):
            sides = writer.element(left)[0], writer.element(right)[0]
            return f" {notation.relation(relation)} ".join(sides)
        case other:
            return writer.element(other)[0]
