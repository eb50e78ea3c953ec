"""How the parts of mathematics are written: as Unicode text, or as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..formula import CONSTANTS

_BELOW = dict(zip("0123456789aehijklmnoprstuvx+−,", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ₊₋,", strict=True))
_ABOVE = dict(zip("0123456789−n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", strict=True))
_GREEK = {"δ": r"\delta", "γ": r"\gamma", "β": r"\beta", "μ": r"\mu", "σ": r"\sigma"} | {
    "σ²": r"\sigma^{2}",
    "x̂": r"\hat{x}",
}


def constant_name(value: float) -> str | None:
    """What a number is called, if rounding allows."""
    return next((text for c, text in CONSTANTS.items() if abs(value / c - 1) < 2e-7), None)


class Unicode:
    """Text for terminals."""

    product, hadamard, minus, space = " ", " ⊙ ", "−", " "

    def relation(self, sign: str) -> str:
        """= ≠ < ≤ > or ≥."""
        return sign

    def symbol(self, text: str) -> str:
        """A letter or word, and its subscript."""
        letter, _, below = text.partition("_")
        return letter + self.below(below)

    def below(self, text: str) -> str:
        if not text:
            return ""
        if all(c in _BELOW for c in text) and (len(text) <= 3 or text.isdigit()):
            return "".join(_BELOW[c] for c in text)
        return "_" + text

    def gradient(self, of: str) -> str:
        """∂L/∂ of a symbol."""
        return f"∂L/∂{of}"

    def element(self, symbol: str, places: Sequence[str]) -> str:
        """An element, or a part, of a tensor."""
        return f"{symbol}[{', '.join(places)}]"

    def transposed(self, text: str) -> str:
        return text + "ᵀ"

    def constant(self, value: float) -> str:
        """A number that is no fraction."""
        name = constant_name(value)
        digits, _, exponent = f"{value:.6g}".partition("e")
        if name or not exponent:
            return name or digits
        ten = self.power("10", str(int(exponent)).replace("-", "−"))
        return ten if digits == "1" else f"{digits} · {ten}"

    def power(self, base: str, exponent: str) -> str:
        if all(c in _ABOVE for c in exponent):
            return base + "".join(_ABOVE[c] for c in exponent)
        return f"{base}^({exponent})" if len(exponent) > 1 else f"{base}^{exponent}"

    def root(self, text: str, atom: bool) -> str:
        return f"√{text}" if atom else f"√({text})"

    def fraction(self, above: str, below: str, tight: bool) -> str:
        """above / below, which are in parentheses where they have to be."""
        return f"{above}/{below}" if tight else f"{above} / {below}"

    def factor(self, above: str, below: str) -> str:
        """A fraction in front of other factors."""
        return f"({above}/{below})"

    def inside(self, text: str) -> str:
        """In parentheses."""
        return f"({text})"

    def reduce(self, sign: str, index: str) -> str:
        """The sign of a sum over an index, before what it applies to."""
        return {"sum": "Σ", "prod": "Π"}.get(sign, sign) + self.below(index) + " "

    def floor(self, above: str, below: str) -> str:
        """The whole part of above / below."""
        return f"⌊{above}/{below}⌋"

    def remainder(self, of: str, by: str) -> str:
        return f"({of} mod {by})"

    def function(self, name: str, arguments: Sequence[str], along: str = "") -> str:
        """A function of these; along: the index that it goes over."""
        return f"{_FUNCTIONS.get(name, name)}{self.below(along)}({', '.join(arguments)})"

    def condition(self, text: str) -> str:
        """1 where it is true, else 0."""
        return f"[{text}]"

    def cases(self, condition: str, yes: str, no: str) -> str:
        return f"{{{yes} if {condition}, else {no}}}"

    def absolute(self, text: str) -> str:
        return f"|{text}|"

    def word(self, text: str) -> str:
        """A name that is no letter."""
        return text

    def text(self, text: str) -> str:
        """Words between formulas."""
        return text


_FUNCTIONS = {"sigmoid": "σ", "maximum": "max", "minimum": "min"}


class Latex:
    """For notebooks and pages, in what MathJax and KaTeX read."""

    product, hadamard, minus, space = r"\,", r" \odot ", "-", r"\ "

    def relation(self, sign: str) -> str:
        return {"≠": r"\ne", "≤": r"\le", "≥": r"\ge"}.get(sign, sign)

    def symbol(self, text: str) -> str:
        letter, _, below = text.partition("_")
        out = _GREEK.get(letter) or (escaped(letter) if len(letter) == 1 else self.word(letter))
        return out + self.below(below)

    def below(self, text: str) -> str:
        if not text:
            return ""
        letter, number = re.fullmatch(r"(.*?)(\d*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
        if letter in _GREEK or len(letter) < 2:
            return f"_{{{_GREEK.get(letter, escaped(letter))}{number and letter and ' '}{number}}}"
        return f"_{{{self.word(text)}}}"

    def gradient(self, of: str) -> str:
        return rf"\frac{{\partial L}}{{\partial {of}}}"

    def element(self, symbol: str, places: Sequence[str]) -> str:
        return f"{symbol}[{', '.join(places)}]"

    def transposed(self, text: str) -> str:
        return f"{{{text}}}^{{\\top}}"

    def constant(self, value: float) -> str:
        name = constant_name(value)
        if name is None:
            digits, _, exponent = f"{value:.6g}".partition("e")
            if not exponent:
                return digits
            ten = f"10^{{{int(exponent)}}}"
            return ten if digits == "1" else rf"{digits} \cdot {ten}"
        name = re.sub(r"√\(?([\w/]+)\)?", r"\\sqrt{\1}", name)
        return name.replace("π", r"\pi").replace("log", r"\log")

    def power(self, base: str, exponent: str) -> str:
        return f"{{{base}}}^{{{exponent}}}"

    def root(self, text: str, atom: bool) -> str:
        return rf"\sqrt{{{text}}}"

    def fraction(self, above: str, below: str, tight: bool) -> str:
        return rf"\frac{{{_bare(above)}}}{{{_bare(below)}}}"

    def factor(self, above: str, below: str) -> str:
        return self.fraction(above, below, True)

    def inside(self, text: str) -> str:
        return rf"\left({text}\right)"

    def reduce(self, sign: str, index: str) -> str:
        big = {"sum": r"\sum", "prod": r"\prod", "argmax": r"\operatorname{argmax}"}
        return big.get(sign, "\\" + sign) + f"_{{{index}}} "

    def floor(self, above: str, below: str) -> str:
        return rf"\lfloor {above}/{below} \rfloor"

    def remainder(self, of: str, by: str) -> str:
        return rf"({of} \bmod {by})"

    def function(self, name: str, arguments: Sequence[str], along: str = "") -> str:
        sign = _LATEX.get(name, rf"\operatorname{{{escaped(name)}}}")
        return sign + self.below(along) + self.inside(", ".join(arguments))

    def condition(self, text: str) -> str:
        return rf"\left[{text}\right]"

    def cases(self, condition: str, yes: str, no: str) -> str:
        rows = rf"{yes} & \text{{if }} {condition} \\ {no} & \text{{else}}"
        return rf"\begin{{cases}} {rows} \end{{cases}}"

    def absolute(self, text: str) -> str:
        return rf"\left|{text}\right|"

    def word(self, text: str) -> str:
        return rf"\mathrm{{{escaped(text)}}}"

    def text(self, text: str) -> str:
        return rf"\text{{{escaped(text)}}}"


def escaped(text: str) -> str:
    """Text for LaTeX."""
    plain = text.translate({ord("\\"): "/", ord("^"): "ˆ", ord("~"): "˜"})
    return re.sub(r"([_%#&{}$])", r"\\\1", plain)


def _bare(text: str) -> str:
    """Without parentheses around all of it."""
    start, end, depth = r"\left(", r"\right)", 0
    for sign in re.finditer(r"\\left\(|\\right\)", text):
        depth += 1 if sign[0] == start else -1
        if not depth:  # the first parenthesis ends here
            whole = text.startswith(start) and sign.end() == len(text)
            return text[len(start) : -len(end)] if whole else text
    return text


_LATEX = {
    "sigmoid": r"\sigma",
    "maximum": r"\max",
    "minimum": r"\min",
    "onehot": r"\operatorname{onehot}",
} | {name: "\\" + name for name in ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh")}

UNICODE, LATEX = Unicode(), Latex()
