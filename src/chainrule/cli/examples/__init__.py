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

from ...dtypes import is_floating
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
    model    gives scores for the classes of the data's labels; None: there is no such network
    words    what whole numbers in the data stand for
    """

    title: str
    text: str
    loss: Callable[..., Any]
    data: Sequence[Tensor]
    sample: int
    batch: int | None
    model: Callable[..., Any] | None = None
    words: Sequence[str] = ()

    def arguments(self, sample: int | None, batch: int | None) -> list[Tensor]:
        """Rows of the data: `batch` of them from `sample` on."""
        usual = (self.batch or 1) if sample is None else 1
        rows = rows_of(self.data, self.sample if sample is None else sample, batch or usual)
        return [t[0] for t in rows] if self.batch is None else rows

    def introduction(self, sample: int | None, batch: int | None) -> str:
        """What to look at, of its own rows; of others what the network believes."""
        inputs, *_, labels = self.arguments(sample, batch)
        count = len(labels) if labels.ndim else 1
        if sample in (None, self.sample) and count == (self.batch or 1):
            return self.text
        if self.model is None or is_floating(labels.dtype):
            return ""
        believed, right = self.model(inputs).numpy().argmax(-1), labels.numpy()
        if count > 1:
            return f"The network is right about {(believed == right).sum()} of {count} samples."
        names = [self.words[c] if self.words else str(c) for c in (right[0], believed[0])]
        if names[0] == names[1]:
            return f"The network believes that it is {names[0]}, and is right."
        return f"The network believes that it is {names[1]}; right is {names[0]}."


def described(name: str) -> tuple[str, str]:
    """The title of an example, and what to look at; nothing is run."""
    documentation = ast.get_docstring(ast.parse(_source(name))) or ""
    title, _, text = documentation.partition("\n\n")
    return title.rstrip("."), " ".join(text.split())


def load(name: str) -> Example:
    """An example by name; most are trained for a moment."""
    space = executed(_source(name), name)
    sample, batch = space.get("sample", 0), space.get("batch", 1)
    more = space.get("model"), space.get("words", ())
    return Example(*described(name), space["loss"], space["data"], sample, batch, *more)


def _source(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
