"""Text as whole numbers, one per character or per byte."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileError
from ..graph import Array
from .paths import expect_file

UNKNOWN = "\ufffd"  # the character of code 0


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file; every end of line becomes \\n, and a byte order mark is left out.

    encoding   utf-8, utf-16, latin-1, … (a name that Python knows)
    """
    path = Path(path)
    expect_file("read_text", path, "a text file")
    raw = path.read_bytes()
    try:
        codec = codecs.lookup(encoding).name
        b" ".decode(codec, "ignore")
    except LookupError:  # it does not exist, or is not one of text, such as base64
        raise ArgumentError(
            "read_text",
            f"got the encoding {encoding!r}",
            "expected one that Python knows",
            "utf-8, utf-16, latin-1, cp1252 and shift_jis are some",
        ) from None
    mark = len(codecs.BOM_UTF8) if codec == "utf-8" and raw.startswith(codecs.BOM_UTF8) else 0
    try:
        text = raw[mark:].decode(codec)
    except UnicodeDecodeError as error:
        raise _not_text(path, raw, error.start + mark, codec) from None
    if "\0" in text:
        raise _not_text(path, raw, len(text[: text.index("\0")].encode(codec)) + mark, codec)
    if not text.strip():
        raise FileError(
            "read_text",
            f"got {path.name}, which is empty",
            "expected some text",
            "pass a file with text",
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_text(path: Path, raw: bytes, bad: int, codec: str) -> FileError:
    """The error for a file that is not text in this encoding.

    bad   the first byte that is not
    """
    advice = 'name its encoding (encoding="latin-1", in the shell --encoding latin-1)'
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        advice = advice.replace("latin-1", "utf-16")
    return FileError(
        "read_text",
        f"got {path.name}, which is not text at byte {bad} ({raw[bad]:#04x})",
        f"expected {codec.upper()}",
        f"{advice}, or save it as UTF-8",
    )


class Characters:
    """Codes of characters: 0 for unknown ones, from 1 for the known ones, by code point.

    characters   the known ones, sorted
    """

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self._points = _points(characters)

    @classmethod
    def fit(cls, text: str) -> Characters:
        """The vocabulary of a text."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        """The number of codes, with 0."""
        return len(self.characters) + 1

    def encode(self, text: str) -> Array:
        """Codes, int64 (len(text),)."""
        points = _points(text)
        place = np.searchsorted(self._points, points)
        place[place == len(self._points)] = 0
        known = self._points[place] == points if len(self._points) else np.zeros(len(points), bool)
        return np.where(known, place + 1, 0)

    def decode(self, codes: Any) -> str:
        """The text of these codes; 0 becomes the replacement character."""
        letters = np.array([UNKNOWN, *self.characters], object)
        return "".join(letters[np.asarray(codes)].ravel().tolist())

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON has it."""
        return {"characters": self.characters}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Characters:
        """The vocabulary that `to_json` wrote."""
        return cls(data["characters"])


class Bytes:
    """Codes of the bytes of a text in UTF-8: each text has one, and none is unknown."""

    def __len__(self) -> int:
        """The number of codes."""
        return 256

    def encode(self, text: str) -> Array:
        """Codes, int64 (bytes,)."""
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64)

    def decode(self, codes: Any) -> str:
        """The text of these codes; bytes that are no text become the replacement character."""
        return bytes(np.asarray(codes).ravel().astype(np.uint8)).decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"bytes": True}


def _points(text: str) -> Array:
    """Code points, uint32 (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
