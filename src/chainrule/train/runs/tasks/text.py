"""Text: characters predict the next one; the model can then write."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import nn, random
from ....data import Characters, read_text, windows
from ....errors import ArgumentError
from ....graph import Array
from ....tensor import Tensor, no_grad
from ...evaluation.metrics import Metric
from ...evaluation.modes import evaluating
from ..networks import TextNetwork
from ..recipe import Recipe
from .base import TABLE_SETTINGS, Batch, Task, epochs_for, expect_source, power_of_2

LENGTH = 64


class TextTask(Task):
    """Predict each next character of a text."""

    kind = "text"
    task = "text"

    def __init__(self, characters: Characters, length: int) -> None:
        self.characters, self.length = characters, length
        self.classes, self.notes = [], []
        self._start = ""

    @classmethod
    def load(cls, recipe: Recipe) -> TextTask:
        expect_source(
            recipe, *TABLE_SETTINGS, "size", "max_pixels", "channels", "task", "label_smoothing"
        )
        text = read_text(recipe.source)
        test = 0.1 if recipe.test is None else recipe.test
        valid = 0.02 if recipe.valid is None else recipe.valid
        cuts = [int(len(text) * (1 - test - valid)), int(len(text) * (1 - test))]
        parts = [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]
        self = cls(Characters.fit(parts[0]), recipe.length or LENGTH)
        for name, part in zip(("training", "validation", "test"), parts, strict=True):
            if len(part) <= self.length:
                raise ArgumentError(
                    "train",
                    f"got {len(text)} characters, {len(part)} of them for {name}",
                    f"expected {self.length + 1} or more in each part (windows have {self.length})",
                    "use a longer text, larger shares (--test, --valid), or a smaller length",
                )
        codes = [self.characters.encode(p) for p in parts]
        self.train, self.valid, self.test = (windows(c, self.length) for c in codes)
        self.rows = np.arange(0)
        self._start = parts[2][:100]
        unknown = int((codes[2] == 0).sum())
        self.facts = {
            "characters": len(text),
            "training characters": len(parts[0]),
            "validation characters": len(parts[1]),
            "test characters": len(parts[2]),
            "different characters": len(self.characters) - 1,
        }
        self.notes = ["the held-out text is the end of the file"]
        if unknown:
            self.notes.append(f"{unknown} test characters never occur in the training text")
        return self

    @classmethod
    def restored(cls, recipe: Recipe, values: dict[str, Any]) -> TextTask:
        return cls(Characters.from_json(values), recipe.length or LENGTH)

    def to_json(self) -> dict[str, Any]:
        return self.characters.to_json()

    def read(self, source: Any, labelled: bool) -> Batch:
        codes = self.characters.encode(read_text(source))
        return windows(codes, min(self.length, max(1, len(codes) - 1)))

    def defaults(self) -> dict[str, Any]:
        rows = len(self.train[1])
        size = max(1, min(64, rows // 4, max(16, power_of_2(rows // 200))))
        return {
            "test": 0.1,
            "valid": 0.02,
            "length": self.length,
            "model": "gru",
            "hidden": [256],
            "embedding": 64,
            "dropout": 0.0,
            "batch_size": size,
            "epochs": epochs_for(rows, size, 900, 30),
            "optimizer": "adamw",
            "lr": 4e-3,
            "weight_decay": 1e-2,
            "schedule": "cosine",
            "clip_norm": 1.0,
            "patience": 5,
            "seed": 0,
        }

    def network(self, recipe: Recipe) -> nn.Module:
        hidden = recipe.hidden or [256]
        if len(set(hidden)) > 1:
            raise ArgumentError(
                "recipe",
                f"got hidden = {hidden}",
                "expected layers of one size for a recurrent network",
                f"hidden = {[hidden[0]] * len(hidden)}",
            )
        return TextNetwork(
            recipe.model or "gru",
            len(self.characters),
            recipe.embedding or 64,
            hidden,
            recipe.dropout or 0.0,
        )

    def loss(self, recipe: Recipe) -> Any:
        return "cross_entropy"

    def metrics(self) -> dict[str, Metric]:
        return {}

    def samples(self, model: TextNetwork, count: int = 2, length: int = 400) -> list[str]:
        """Texts that the model writes, starting from the first characters of the held-out text."""
        return [self.continued(model, self._start, length, seed=k) for k in range(count)]

    def continued(
        self, model: TextNetwork, start: str, length: int, seed: int = 0, temperature: float = 0.7
    ) -> str:
        """`length` characters after the start; a lower temperature gives more probable text."""
        source = random.Generator(seed)
        codes = self.characters.encode(start[-200:] or "\n")
        written: list[int] = []
        with evaluating(model), no_grad():
            scores, state = model.advance(codes[None], None)
            for _ in range(length):
                scores = scores / temperature
                shown = scores.numpy().copy()
                shown[:, 0] = -np.inf  # never the unknown character
                code = source.categorical(Tensor(shown))
                written.append(int(code[0]))
                scores, state = model.advance(code[:, None], state)
        return self.characters.decode(np.array(written))

    def unknown(self, text: str) -> list[str]:
        """The characters of a text that training did not have, in order."""
        return [c for c in sorted(set(text)) if self.characters.encode(c)[0] == 0]

    def decoded(self, output: Array) -> dict[str, list[Any]]:
        raise NotImplementedError("text is continued, not decoded")


def bits(loss: float) -> float:
    """Bits per character from nats."""
    return loss / math.log(2)
