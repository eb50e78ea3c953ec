"""Characters that the encoding of an output lacks, in others that mean the same.

They are error handlers, so each character that the encoding has stays:

PLAIN   for readers: -0.25 for −0.25, x^2 for x², d loss/d w for ∂loss/∂w; others become "?"
JSON    inside JSON: \\u2212, which is the same text to whoever reads it
"""

from __future__ import annotations

import codecs
import json

PLAIN, JSON = "chainrule.plain", "chainrule.json"

_MEANINGS = (
    ("−–—─‘’ᐟ“”·×⊙÷∂√∑∏", "- - - - ' ' ' \" \" * x .* / d sqrt sum prod"),
    ("≤≥≠≈→←…∞⌊⌋∈‖►▶\u0302", "<= >= != ~ -> <- ... inf floor( ) in || > > _hat"),
    ("αβγδεθλμµπστφ", "alpha beta gamma delta eps theta lambda mu mu pi sigma tau phi"),
    ("ΠΣΔΦ", "prod sum delta Phi"),
)
_SIGNS = {
    sign: word
    for signs, words in _MEANINGS
    for sign, word in zip(signs, words.split(), strict=True)
}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿᵀᵃᵇᵏᵐᵘˢˣ", "0123456789+-=()nTabkmusx", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎", "0123456789+-=()", strict=True))
_LOWERED |= dict(zip("ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "aehijklmnoprstuvx", strict=True))


def register() -> None:
    """Make the error handlers known."""
    codecs.register_error(PLAIN, _plain)
    codecs.register_error(JSON, _escaped)


def _plain(error: UnicodeError) -> tuple[str, int]:
    text, end = _lacking(error)
    out, mark = "", ""
    for char in text:
        before, mark = mark, "^" if char in _RAISED else "_" if char in _LOWERED else ""
        char = _RAISED.get(char) or _LOWERED.get(char) or _SIGNS.get(char, "?")
        out += char if mark == before else mark + char
    return out, end


def _escaped(error: UnicodeError) -> tuple[str, int]:
    text, end = _lacking(error)
    return json.dumps(text)[1:-1], end


def _lacking(error: UnicodeError) -> tuple[str, int]:
    """The characters that cannot be encoded, and where they end."""
    assert isinstance(error, UnicodeEncodeError)
    return error.object[error.start : error.end], error.end
