"""Text: tokens, characters or bytes, predict the next one; the model can then write."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import nn
from ....data import Bytes, Characters, DataLoader, read_text, streams, windows
from ....errors import ArgumentError
from ....graph import Array
from ....models import LanguageModel
from ...evaluation.inference import Forward
from ...evaluation.metrics import Metric
from ...evaluation.objective import Objective
from ...evaluation.streams import CarryingForward, WindowLoader
from ...loop.progress import counted
from ..recipe import Recipe
from .base import IMAGE_SETTINGS, TABLE_SETTINGS, Batch, Task, expect_source, listed, power_of_2

LENGTH = 64  # tokens per window
WINDOWS = 8  # at least, in each of the parallel streams
STEPS = 8000  # about, of a training; half for a transformer, whose steps take longer
EVALUATED = 32  # streams, at most, of a held-out part
TEMPERATURE = 0.7  # of what it writes, unless another is asked for
PROMPT = 2000  # characters at the end of a long prompt that are read

# By the number of tokens from which it is chosen: the size of a layer.
SIZES = ((0, 64), (30_000, 128), (300_000, 256))


class TextTask(Task):
    """Predict each next token of a text.

    carry   whether the state is carried from window to window: then x and y are parallel streams
            (N, T), otherwise windows (N, length)
    """

    kind = "text"
    unit = "token"
    task = "text"

    def __init__(self, vocabulary: Characters | Bytes, recipe: Recipe) -> None:
        self.vocabulary = vocabulary
        self.length, self.carry = recipe.length or LENGTH, bool(recipe.carry)
        self.encoding = recipe.encoding or "utf-8"
        self.classes, self.notes = [], []
        self._start, self._defaults = "", dict[str, Any]()

    @classmethod
    def load(cls, recipe: Recipe) -> TextTask:
        expect_source(recipe, *TABLE_SETTINGS, *IMAGE_SETTINGS, "task", "label_smoothing")
        text = read_text(recipe.source, recipe.encoding or "utf-8")
        parts = _parts(text, recipe)
        tokens = recipe.tokens or "characters"
        vocabulary = Bytes() if tokens == "bytes" else Characters.fit(parts[0])
        codes = [vocabulary.encode(part) for part in parts]
        settings = _defaults(recipe, len(text), codes)
        self = cls(vocabulary, recipe.completed(settings))
        self._defaults = settings
        batch_size = recipe.batch_size or settings["batch_size"]
        for name, part in zip(("training", "validation", "test"), codes, strict=True):
            if len(part) <= self.length:
                raise ArgumentError(
                    "train",
                    f"got a text of {len(text)} characters, {len(part)} {tokens} of it for {name}",
                    f"expected {self.length + 1} or more in each part (windows have {self.length})",
                    "use a longer text, larger shares (--test, --valid), or a smaller --length",
                )
        self.train = self._cut(codes[0], batch_size, whole=True)
        self.valid, self.test = (self._cut(part, EVALUATED) for part in codes[1:])
        self.rows = np.arange(0)
        self._start = parts[2][:100]
        self.facts = {
            "characters": len(text),
            **{
                f"{name} {tokens}": len(part)
                for name, part in zip(("training", "validation", "test"), codes, strict=True)
            },
        }
        if isinstance(vocabulary, Characters):
            self.facts["different characters"] = len(vocabulary) - 1
        self.notes = ["the held-out text is the end of the file"]
        unknown = int((codes[2] == 0).sum()) if isinstance(vocabulary, Characters) else 0
        if unknown:
            self.notes.append(f"{unknown} test characters never occur in the training text")
        return self

    @classmethod
    def restored(cls, recipe: Recipe, values: dict[str, Any]) -> TextTask:
        return cls(Bytes() if "bytes" in values else Characters.from_json(values), recipe)

    def to_json(self) -> dict[str, Any]:
        return self.vocabulary.to_json()

    def read(self, source: Any, labelled: bool) -> Batch:
        text = read_text(source, self.encoding)
        codes, self.notes = self.vocabulary.encode(text), self.notes_of_unknown(text)
        if len(codes) < 2:
            raise ArgumentError(
                "evaluate",
                f"got {source}, which has one token",
                "expected two or more: each predicts the next",
                "use a longer text",
            )
        self.length = min(self.length, max(1, len(codes) - 1))
        return self._cut(codes, EVALUATED)

    def _cut(self, codes: Array, count: int, whole: bool = False) -> Batch:
        """Windows, or at most `count` streams; `whole`: of whole windows."""
        if not self.carry:
            return windows(codes, self.length)
        steps = len(codes) - 1
        count = min(count, max(1, steps // (self.length * (1 if whole else WINDOWS))))
        if whole:
            codes = codes[: steps // (count * self.length) * count * self.length + 1]
        return streams(codes, count)

    def defaults(self) -> dict[str, Any]:
        return self._defaults

    def chosen(self, recipe: Recipe) -> str:
        hidden = recipe.hidden or []
        layers = f"{counted(len(hidden), 'layer')} of {hidden[0]}"
        state = ", the state carried from window to window" if recipe.carry else ""
        return (
            f"{recipe.model} with {layers}; windows of {recipe.length} "
            f"{recipe.tokens or 'characters'}{state}; {recipe.batch_size} per step, "
            f"{counted(recipe.epochs or 1, 'epoch')}"
        )

    def network(self, recipe: Recipe) -> nn.Module:
        hidden = recipe.hidden or [256]
        if len(set(hidden)) > 1:
            raise ArgumentError(
                "recipe",
                f"got hidden = {hidden}",
                "expected layers of one size for a text",
                f"hidden = {[hidden[0]] * len(hidden)}",
            )
        return LanguageModel(
            len(self.vocabulary),
            recipe.model or "gru",
            embedding=recipe.embedding or 64,
            hidden=hidden[0],
            layers=len(hidden),
            heads=recipe.heads or 1,
            context=recipe.length or LENGTH,
            dropout=recipe.dropout or 0.0,
        )

    def loss(self, recipe: Recipe) -> Any:
        return "cross_entropy"

    def metrics(self) -> dict[str, Metric]:
        return {}

    def scores(self, model: nn.Module, data: Batch) -> dict[str, float]:
        """The loss, in nats per token, and bits per character."""
        objective = Objective("cross_entropy")
        if self.carry:
            loader = WindowLoader(DataLoader(data, len(data[1])), self.length)
            loss = CarryingForward(model, objective).evaluate(loader, {})["loss"]
        else:
            loss = Forward(model, objective).evaluate(DataLoader(data, EVALUATED), {})["loss"]
        return {"bits_per_character": self.bits(loss, data[1]), "loss": loss}

    def bits(self, loss: float, codes: Array) -> float:
        """Bits per character of a text with these codes, from a loss in nats per token."""
        per_token = loss / math.log(2)
        if isinstance(self.vocabulary, Characters):
            return per_token
        following = (codes & 0xC0) == 0x80  # bytes of a character after its first one
        return per_token * codes.size / max(1, codes.size - int(following.sum()))

    def sample(self, model: nn.Module, length: int, seed: int = 0) -> str:
        """A text that the model writes after the first characters of the held-out text."""
        return self.continued(model, self._start, length, seed)

    def continued(
        self, model: nn.Module, prompt: str, length: int, seed: int = 0, **sampling: Any
    ) -> str:
        """`length` tokens after the prompt.

        sampling   temperature (0.7 by default), top_k, top_p, as for `nn.decoding.sample`
        """
        codes = self.vocabulary.encode(prompt[-PROMPT:] or "\n")
        unknown = {0} if isinstance(self.vocabulary, Characters) else set[int]()
        settings = {"temperature": TEMPERATURE, **sampling}
        written = nn.decoding.generate(model, codes, length, seed=seed, exclude=unknown, **settings)
        return self.vocabulary.decode(written[len(codes) :])

    def unknown(self, text: str) -> list[int]:
        """The positions of characters that training did not have."""
        if isinstance(self.vocabulary, Bytes):
            return []
        return [int(k) for k in np.flatnonzero(self.vocabulary.encode(text) == 0)]

    def notes_of_unknown(self, text: str) -> list[str]:
        """What to say of them: one note, or none."""
        unknown = self.unknown(text)
        names = listed([repr(c) for c in sorted({text[k] for k in unknown})])
        return [
            f"{len(unknown)} of {len(text)} characters are not in the training text, "
            f"read as one unknown character: {names}"
        ][: len(unknown)]

    def decoded(self, output: Array) -> dict[str, list[Any]]:
        raise NotImplementedError("text is continued, not decoded")


def _parts(text: str, recipe: Recipe) -> list[str]:
    """The text for training, validation and test, in this order."""
    test, valid = _shares(recipe, len(text))
    cuts = [int(len(text) * (1 - test - valid)), int(len(text) * (1 - test))]
    return [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]


def _shares(recipe: Recipe, characters: int) -> tuple[float, float]:
    """The shares of the test and of validation: a short text needs a larger one."""
    valid = 0.02 if characters >= 100_000 else 0.05
    return (
        0.1 if recipe.test is None else recipe.test,
        valid if recipe.valid is None else recipe.valid,
    )


def _defaults(recipe: Recipe, characters: int, codes: list[Array]) -> dict[str, Any]:
    """Settings by the length of the text, where the recipe leaves them out."""
    tokens = len(codes[0])
    test, valid = _shares(recipe, characters)
    transformer = recipe.model == "transformer"
    shortest = min(map(len, codes))
    length = recipe.length or max(8, min(LENGTH * (1 + transformer), shortest - 1))
    size = next(size for least, size in reversed(SIZES) if tokens >= least)
    out: dict[str, Any] = {
        "test": test,
        "valid": valid,
        "length": length,
        "encoding": "utf-8",
        "tokens": "characters",
        "model": "lstm",
        "hidden": [min(size, 128)] * (4 if size > 64 else 2) if transformer else [size],
        "dropout": 0.0,
        "optimizer": "adamw",
        "lr": 1e-3 if transformer else 4e-3,
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "clip_norm": 1.0,
        "patience": 5,
        "seed": 0,
    }
    if transformer:
        hidden = recipe.hidden or out["hidden"]
        out["heads"] = math.gcd(hidden[0], max(1, hidden[0] // 32))
    else:
        out["embedding"] = 64
        out["carry"] = not _is_of_an_earlier_version(recipe)
    rows = max(1, tokens // length)
    most = 64 // (1 + transformer)
    out["batch_size"] = max(1, min(most, rows, power_of_2(rows // 64)))
    steps = rows / (recipe.batch_size or out["batch_size"])
    out["epochs"] = max(1, min(40, round(STEPS / (1 + transformer) / max(steps, 1))))
    return out


def _is_of_an_earlier_version(recipe: Recipe) -> bool:
    """Whether a recipe is complete except for `carry`, which came later."""
    names = ("length", "model", "hidden", "embedding", "batch_size", "epochs", "lr", "seed")
    return all(getattr(recipe, name) is not None for name in names)
