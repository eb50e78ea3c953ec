"""Letters for the user's names: `fc1.weight` is W₁, its output z₁."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from ...errors import printable
from ..owners import distinct
from .expression import At, Call, Expr, Softmax

# Letters of textbooks, in the order in which a step computes, or slices, them.
PARTS = {
    "MultiheadAttention": ("Q", "K", "V", "S"),
    "scaled_dot_product_attention": ("S",),
    "GRU": ("a", "b"),
    "GRUCell": ("a", "b"),
}
STATES = {"LSTM": "hc", "GRU": "h", "RNN": "h"}
CELLS = {"LSTMCell": "ch", "GRUCell": "h", "RNNCell": "h"}  # of what a step computes, in order
GATES = {"LSTM": "ifgo", "LSTMCell": "ifgo", "GRU": "rzn", "GRUCell": "rzn"}


class Letters:
    """Texts for symbols, all distinct.

    parameters   (path, number of axes) of those with a path
    layers       the paths of layers whose outputs have no other name
    """

    def __init__(self, parameters: Sequence[tuple[str, int]], layers: Sequence[str]) -> None:
        ranks = dict(parameters)
        self._parameters = {name: _parameter(name, ranks) for name in ranks}
        owners: dict[str, list[str]] = {"z": [*layers], "h": [*layers]}
        for letter, path in self._parameters.values():
            owners.setdefault(letter, []).append(path)
        self._below = {letter: _subscripts(paths) for letter, paths in owners.items()}
        self._used: set[str] = set()
        self._numbers: dict[str, int] = {}  # from which on a letter may have one that is free
        self._reserved = {
            f"{letter}_{self._below_of(path, letter)}" for path in layers for letter in "zh"
        }

    def parameter(self, name: str) -> str:
        """W₁ for `fc1.weight`, b₁ for `fc1.bias`, W_ih for `weight_ih`; γ, β for factors."""
        letter, path = self._parameters[name]
        return self.new(letter, self._below[letter][path])

    def output(self, name: str, path: str, letter: str) -> str:
        """The letter with the layer's number for the output of a layer, a variable as it is."""
        if name != path:
            return self.variable(name)
        return self.new(letter, self._below_of(path, letter))

    def _below_of(self, path: str, letter: str) -> str:
        known = (self._below.get(k, {}).get(path) for k in ("W", "γ", letter))
        return next((b for b in known if b is not None), path)

    def variable(self, name: str) -> str:
        """The user's name; L for the loss."""
        return self.new("L" if name == "loss" else _plain(name))

    def new(self, letter: str, below: str = "") -> str:
        """The letter with its subscript, and with a number if it is in use."""
        letter, below = printable(letter), printable(below)
        joint = "," if "_" in letter else "_"
        text = letter + (joint + below if below else "")
        if text in self._used and not below and "_" not in letter:
            k = self._numbers.get(letter, 2)
            while f"{letter}_{k}" in self._used or f"{letter}_{k}" in self._reserved:
                k += 1
            text, self._numbers[letter] = f"{letter}_{k}", k
        return distinct(text, self._used)


def _parameter(name: str, ranks: Mapping[str, int]) -> tuple[str, str]:
    """The letter of a parameter, and the path of what owns it."""
    path, _, last = name.rpartition(".")
    kind = "weight" if "weight" in last else "bias" if "bias" in last else ""
    if not kind:
        return last, path
    factor = ranks.get(name.removesuffix(last) + last.replace("bias", "weight")) == 1
    letter = {"weight": "Wγ", "bias": "bβ"}[kind][factor]
    rest = ",".join(w for w in last.split("_") if w not in ("weight", "bias", "proj", "l0", "0"))
    return letter + (f"_{rest}" if rest else ""), path


def _subscripts(paths: Sequence[str]) -> dict[str, str]:
    """A short name for each path: its numbers, or its last part, if these are distinct."""
    every = list(dict.fromkeys(paths))
    if len(every) == 1:
        return {every[0]: ""}
    for short in _SHORT:
        names = [short(p) for p in every]
        if all(names) and len({*names}) == len(names):
            return dict(zip(every, names, strict=True))
    return {p: p for p in every}


def _numbers(path: str) -> str:
    return ".".join(re.findall(r"\d+", path))


def _last_part(path: str) -> str:
    return re.sub(r"_proj$", "", path.rpartition(".")[2])


_SHORT: Sequence[Callable[[str], str]] = (
    _numbers,
    lambda path: _numbers(path) or _last_part(path),
    _last_part,
    lambda path: f"{_numbers(path)}.{_last_part(path)}",
)


def part_letter(e: Expr, kind: str) -> str:
    """A letter for an expression inside a step of this kind."""
    reads = [x for x in e.walk() if isinstance(x, At)]
    if isinstance(e, Softmax):
        return "P" if reads and reads[0].symbol.text[0].isupper() else "p"
    gates = GATES.get(kind, "")
    reads = [x for x in _outside_functions(e) if isinstance(x, At)]
    for x in reads if gates else ():
        for p, size in zip(x.at, x.symbol.shape, strict=True):
            index = next(iter(p.free & e.free), None)
            width = index.size if index else 1
            if size > width and (index or not p.terms):
                return gates[p.offset // width]
    return "a"


def _outside_functions(e: Expr) -> Iterator[Expr]:
    """What is in an expression, but not in a function in it."""
    for p in e.parts:
        yield p
        if not isinstance(p, Call):
            yield from _outside_functions(p)


def _plain(name: str) -> str:
    """h1 as h with the subscript 1; other names as they are."""
    match = re.fullmatch(r"([A-Za-z])_?(\d+)", name)
    return f"{match[1]}_{match[2]}" if match else name
