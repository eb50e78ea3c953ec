"""Ready examples of `chainrule explain`, each a file of the kind that users write.

neuron      one neuron, by hand
xor         two inputs, three hidden units
spirals     points of the plane, two hidden layers
digits      images of 8 × 8 pixels, one hidden layer
cnn         the same images, convolutions
rnn         a recurrent network that forgets
attention   eight words
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...explanation.rows import rows_of
from ...explanation.user_code import executed
from ...tensor import Tensor

NAMES = ("neuron", "xor", "spirals", "digits", "cnn", "rnn", "attention")


@dataclass(frozen=True)
class Example:
    """A network, half trained, and data.

    title    in a few words
    text     what to look at
    loss     of rows of the data
    data     arguments of the loss
    sample   the first row that is shown, unless another is asked for
    batch    the number of rows, unless a sample is asked for; None: a row alone, without an axis
    """

    title: str
    text: str
    loss: Callable[..., Any]
    data: Sequence[Tensor]
    sample: int
    batch: int | None

    def arguments(self, sample: int | None, batch: int | None) -> list[Tensor]:
        """Rows of the data: `batch` of them from `sample` on."""
        usual = (self.batch or 1) if sample is None else 1
        rows = rows_of(self.data, self.sample if sample is None else sample, batch or usual)
        return [t[0] for t in rows] if self.batch is None else rows


def described(name: str) -> tuple[str, str]:
    """The title of an example, and what to look at; nothing is run."""
    documentation = ast.get_docstring(ast.parse(_source(name))) or ""
    title, _, text = documentation.partition("\n\n")
    return title.rstrip("."), " ".join(text.split())


def load(name: str) -> Example:
    """An example by name; most are trained for a moment."""
    space = executed(_source(name), name)
    sample, batch = space.get("sample", 0), space.get("batch", 1)
    return Example(*described(name), space["loss"], space["data"], sample, batch)


def _source(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
