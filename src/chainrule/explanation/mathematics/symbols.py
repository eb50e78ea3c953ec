"""Letters for the user's names: `fc1.weight` is W₁, its output z₁."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ..steps import distinct
from .expression import At, Expr, Softmax, Sum

# Letters of textbooks, in the order in which a step computes, or slices, them.
PARTS = {
    "MultiheadAttention": ("Q", "K", "V", "S"),
    "scaled_dot_product_attention": ("S",),
}
STATES = {"LSTM": "hc", "GRU": "h", "RNN": "h"}
_GATES = {"LSTM": "ifgoc", "LSTMCell": "ifgoc", "GRU": "rzn", "GRUCell": "rzn"}

_LETTERS = {"weight": "W", "bias": "b", "loss": "L"}


def subscripts(paths: Iterable[str]) -> dict[str, str]:
    """A short name for each path: its numbers, or its last part, if these are distinct."""
    distinct_paths = list(dict.fromkeys(paths))
    if len(distinct_paths) == 1:
        return {distinct_paths[0]: ""}
    for short in _SHORT:
        names = [short(p) for p in distinct_paths]
        if len({*names}) == len(names) and all(
            n or not p for n, p in zip(names, distinct_paths, strict=True)
        ):
            return dict(zip(distinct_paths, names, strict=True))
    return {p: p for p in distinct_paths}


_SHORT: Sequence[Callable[[str], str]] = (
    lambda path: ".".join(re.findall(r"\d+", path)),
    lambda path: path.rpartition(".")[2],
)


class Letters:
    """Texts for symbols, all distinct.

    paths   of the layers that have parameters or outputs with names
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._subscripts = subscripts(paths)
        self._used: set[str] = set()

    def parameter(self, name: str, rank: int) -> str:
        """W₁ for `fc1.weight`, b₁ for `fc1.bias`, W_ih for `weight_ih`; γ, β for factors."""
        path, _, last = name.rpartition(".")
        below = self._subscripts.get(path, path)
        kind = "weight" if "weight" in last else "bias" if "bias" in last else ""
        if not kind:
            return self.new(_plain(last) if len(last) <= 2 else last, below)
        letter = _LETTERS[kind]
        rest = re.sub(r"(weight|bias|proj|_l0$|_)", "", last)
        if kind == "weight" and rank == 1:
            letter = "γ"
        return self.new(letter, ",".join(filter(None, [rest, below])))

    def output(self, name: str, path: str, letter: str) -> str:
        """The letter with the layer's number for the output of a layer, a variable as it is."""
        if path in self._subscripts and name == path:
            return self.new(letter, self._subscripts[path])
        return self.variable(name)

    def variable(self, name: str) -> str:
        """The user's name; L for the loss."""
        return self.new(_LETTERS.get(name) or _plain(name))

    def new(self, letter: str, below: str = "") -> str:
        """The letter with its subscript, and with a number if it is in use."""
        text = letter + ("_" + below if below else "")
        if "_" in letter and below:
            text = f"{letter},{below}"
        if text in self._used and not below:
            k = 2
            while f"{letter}_{k}" in self._used:
                k += 1
            text = f"{letter}_{k}"
        return distinct(text, self._used)


def part_letter(e: Expr, kind: str) -> str:
    """A letter for an expression inside a step of this kind."""
    reads = [x for x in e.walk() if isinstance(x, At)]
    if isinstance(e, Softmax):
        return "P" if reads and reads[0].symbol.text[0].isupper() else "p"
    gates = _GATES.get(kind, "")
    for x in reads if gates else ():
        for p, size in zip(x.at, x.symbol.shape, strict=True):
            index = next(iter(p.free & e.free), None)
            if index is not None and size > index.size:
                return gates[p.offset // index.size]
    return gates[-1] if gates and isinstance(e, Sum) else "a"


def _plain(name: str) -> str:
    """h1 as h with the subscript 1; other names as they are."""
    match = re.fullmatch(r"([A-Za-z])_?(\d+)", name)
    return f"{match[1]}_{match[2]}" if match else name.replace("_", "·").replace(".", "·")
