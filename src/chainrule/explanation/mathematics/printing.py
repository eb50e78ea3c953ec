"""Equations as Unicode text for terminals, and as LaTeX for notebooks and pages."""

from __future__ import annotations

import math

from ...graph import Shape
from .algebra import opposite
from .equations import Equation, Mathematics
from .expression import Call, Compare, Expr, Number
from .notation import LATEX, UNICODE, Latex, Unicode
from .writing import Writer


def text(equation: Equation, notation: Unicode | Latex = UNICODE) -> tuple[str, str]:
    """The left and the right side of an equation."""
    writer = Writer(notation, equation.indices)
    return writer.sides(equation.left, equation.right, equation.indices)


def unicode(mathematics: Mathematics) -> str:
    """All equations with the shapes of what they define, below the steps that they belong to."""
    symbols = legend(mathematics)
    wide, wider = (max((len(r[k]) for r in symbols), default=0) for k in (0, 1))
    lines = [f"{letter:{wide}}  {shape:{wider}}  {of}".rstrip() for letter, shape, of in symbols]
    is_backward = None
    for step, equations in mathematics.parts:
        if equations[0].backward is not is_backward:
            is_backward = equations[0].backward
            lines += ["", "backward" if is_backward else "forward"]
        lines.append(f"  {step.title if step else 'loss'}")
        sides = [text(e) for e in equations]
        rows = [f"    {left} = {right}" for left, right in sides]
        width = min(max(map(len, rows)), 70)
        lines += [
            f"{row:{width}}  {shape_text(e.shape)}".rstrip()
            for row, e in zip(rows, equations, strict=True)
        ]
    lines += ["", *assumptions(mathematics)] if mathematics.assumed else []
    return "\n".join(lines)


def latex(mathematics: Mathematics) -> str:
    """All equations: an `aligned` block for each step."""
    blocks = []
    for step, equations in mathematics.parts:
        title = (step.title if step else "loss").replace("_", r"\_")
        way = "backward" if equations[0].backward else "forward"
        rows = []
        for e in equations:
            left, right = text(e, LATEX)
            shape = shape_text(e.shape).replace("×", r" \times ")
            rows.append(f"{left} &= {right}" + (rf" && {shape}" if shape else ""))
        body = " \\\\\n".join(rows)
        blocks.append(f"\\text{{{title}, {way}}}\\\\\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}")
    return "\n\n".join(f"$$\n\\begin{{array}}{{l}}\n{b}\n\\end{{array}}\n$$" for b in blocks)


def shape_text(shape: Shape) -> str:
    """(4×3), or nothing for a number."""
    return f"({'×'.join(map(str, shape))})" if shape else ""


def legend(mathematics: Mathematics) -> list[tuple[str, str, str]]:
    """The symbols that are not computed: each with its shape, and its name if that is another."""
    rows = [(UNICODE.symbol(s.text), shape_text(s.shape), s.name) for s in mathematics.inputs]
    return [(symbol, shape, name if name != symbol else "") for symbol, shape, name in rows]


def assumptions(mathematics: Mathematics) -> list[str]:
    """What the equations use of the sample, in a line."""
    texts = dict.fromkeys(_plain(c, true) for c, true in mathematics.assumed.items())
    return [f"used of this sample: {'; '.join(texts)}"] if texts else []


def _plain(condition: Expr, is_true: bool) -> str:
    writer = Writer(UNICODE, ())
    match condition:
        case Compare("<", Call("abs", (x,)), Number(bound)) if is_true and bound == math.inf:
            return f"{writer.element(x)[0]} is finite"
    out = writer.element(condition if is_true else opposite(condition))[0]
    return out[1:-1] if out.startswith("[") and out.endswith("]") else out
