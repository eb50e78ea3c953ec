"""Places and numbers as people read them."""

from __future__ import annotations

import re


def place(path: str) -> str:
    """A place as people read it: of a path that begins with a number, "layer 0"."""
    return f"layer {path}" if path[:1].isdigit() else path or "the model"


def number(value: float) -> str:
    """Three digits, with a short exponent."""
    return short_exponents(f"{value:.3g}")


def short_exponents(text: str) -> str:
    """The text with 1e-5 and 4.2e4 in place of 1e-05 and 4.2e+04."""
    return re.sub(r"(?<=\d)e([+-])0*(?=\d)", lambda m: "e" + m[1].strip("+"), text)


def capitalised(text: str) -> str:
    """The text with a capital first letter, and the others as they are."""
    return text[:1].upper() + text[1:]
