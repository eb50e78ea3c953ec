"""How statements are laid out: lines that are not too long, texts in quotes."""

from __future__ import annotations

import ast
import re
import textwrap

WIDTH = 88  # characters of a line


def assignment(target: str, text: str, comment: str, width: int) -> list[str]:
    """The lines of an assignment, the comment at the end of the last one."""
    if len(f"{target} = {text}{comment}") <= width:
        return [f"{target} = {text}{comment}"]
    call = ast.parse(text, mode="eval").body
    inside, head = [text], ""
    if isinstance(call, ast.Call) and re.fullmatch(r"[\w.]+", ast.unparse(call.func)):
        parts = (ast.get_source_segment(text, a) or "" for a in [*call.args, *call.keywords])
        inside, head = [*parts], ast.unparse(call.func)
    one = f"    {', '.join(inside)}"
    lines = [one] if len(one) <= width or not head else [f"    {part}," for part in inside]
    return [f"{target} = {head}(", *lines, f"){comment}"]


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
