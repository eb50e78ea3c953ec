"""How statements are laid out: lines that are not too long, texts in quotes."""

from __future__ import annotations

import re
import textwrap

WIDTH = 88  # characters of a line


def assignment(target: str, text: str, comment: str, width: int) -> list[str]:
    """The lines of an assignment, the comment at the end of the last one."""
    if len(f"{target} = {text}{comment}") <= width:
        return [f"{target} = {text}{comment}"]
    head, inside = _call_parts(text)
    one = f"    {inside}"
    lines = [one] if len(one) <= width or not head else _arguments(inside)
    return [f"{target} = {head}(", *lines, f"){comment}"]


def _call_parts(text: str) -> tuple[str, str]:
    """A call as the function and what is in its parentheses; all else is in parentheses."""
    depth = 0
    for k in range(len(text) - 1, -1, -1):
        depth += (text[k] in ")]}") - (text[k] in "([{")
        if not depth:
            call = text.endswith(")") and re.fullmatch(r"[\w.]+", text[:k])
            return (text[:k], text[k + 1 : -1]) if call else ("", text)
    return "", text


def _arguments(text: str) -> list[str]:
    """The arguments of a call, each in its line."""
    out, depth, start = [], 0, 0
    for k, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            out.append(text[start : k + 1].strip())
            start = k + 1
    return [f"    {a}" for a in [*out, f"{text[start:].strip()},"]]


def wrapped(text: str) -> list[str]:
    """A long literal over several lines, unless it has texts."""
    if len(text) <= WIDTH or re.search("[\"']", text):
        return [text]
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_long_words=False)


def text_literal(text: str) -> str:
    """A text in quotes; what is not printable, as a line end, is escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped)
    return f'"{"".join(shown)}"'
