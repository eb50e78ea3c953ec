"""Text as whole numbers, one per character."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError
from ..graph import Array
from .paths import expect_file

UNKNOWN = "\ufffd"  # the character of code 0


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file; every end of line becomes \\n."""
    path = Path(path)
    expect_file("read_text", path, "a text file")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
        bad = raw.find(b"\0")
    except UnicodeDecodeError as error:
        bad = error.start + (raw[:3] == b"\xef\xbb\xbf") * 3
    if bad >= 0:
        raise FileError(
            "read_text",
            f"got {path.name}, which is not text at byte {bad} ({raw[bad]:#04x})",
            "expected UTF-8",
            "save it as UTF-8",
        )
    if not text.strip():
        raise FileError(
            "read_text",
            f"got {path.name}, which is empty",
            "expected some text",
            "pass a file with text",
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


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


def _points(text: str) -> Array:
    """Code points, uint32 (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
