"""Networks of linear layers, recurrences, attention and tables.

Written once, for chainrule and torch: `lib` is either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


class Workload(ABC):
    """A network and the rows per step; its text is for people."""

    batch: int
    clips = True

    @property
    @abstractmethod
    def operations(self) -> int:
        """Multiplications and additions of the step's matrix products.

        A layer has three: its result, the gradient of its weights, the gradient of its input. A
        layer that reads the data does not need the last one.
        """

    @abstractmethod
    def rows(self) -> tuple[Any, Any]:
        """Inputs and targets."""

    @abstractmethod
    def network(self, lib: Any) -> Any:
        """The module: inputs to scores of classes, or to what should be the targets."""

    def loss(self, lib: Any) -> Callable[[Any, Any], Any]:
        """Of outputs and targets: cross-entropy, whatever axes are before that of the classes."""
        cross_entropy = lib.nn.functional.cross_entropy
        return lambda outputs, targets: cross_entropy(
            outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1)
        )


@dataclass(frozen=True)
class Layers(Workload):
    """Linear layers with ReLU between them."""

    batch: int
    sizes: tuple[int, ...]

    @property
    def operations(self) -> int:
        first, *rest = (2 * self.batch * a * b for a, b in pairwise(self.sizes))
        return 2 * first + 3 * sum(rest)

    def __str__(self) -> str:
        inner = [str(n) for n in self.sizes[1:-1]]
        if len(inner) > 3:
            inner = [f"{len(inner)} × {inner[0]}"]
        return "-".join([str(self.sizes[0]), *inner, str(self.sizes[-1])])

    def rows(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.batch, self.sizes[0]), dtype=np.float32)
        return x, rng.integers(0, self.sizes[-1], self.batch)

    def network(self, lib: Any) -> Any:
        nn = lib.nn
        layers = [layer for a, b in pairwise(self.sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Tokens(Workload):
    """Sequences of whole numbers below `vocabulary`; the next one is predicted at each position."""

    batch: int
    steps: int
    vocabulary: int

    def rows(self) -> tuple[Any, Any]:
        tokens = np.random.default_rng(0).integers(0, self.vocabulary, (2, self.batch, self.steps))
        return tokens[0], tokens[1]


@dataclass(frozen=True)
class Lstm(Tokens):
    """Embedding, one LSTM, linear."""

    inputs: int
    hidden: int

    @property
    def operations(self) -> int:
        of_gates = 4 * self.hidden * (self.inputs + self.hidden)
        return 6 * self.batch * self.steps * (of_gates + self.hidden * self.vocabulary)

    def __str__(self) -> str:
        return f"LSTM {self.hidden}, T {self.steps}"

    def network(self, lib: Any) -> Any:
        nn, work = lib.nn, self

        class Network(nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(work.vocabulary, work.inputs)
                self.lstm = nn.LSTM(work.inputs, work.hidden, batch_first=True)
                self.output = nn.Linear(work.hidden, work.vocabulary)

            def forward(self, x: Any) -> Any:
                return self.output(self.lstm(self.embedding(x))[0])

        return Network()


@dataclass(frozen=True)
class Gpt(Tokens):
    """A causal transformer with learned positions, norms first, GELU by tanh."""

    blocks: int
    width: int
    heads: int

    @property
    def operations(self) -> int:
        of_block = 12 * self.width**2 + 2 * self.steps * self.width
        of_token = self.blocks * of_block + self.width * self.vocabulary
        return 6 * self.batch * self.steps * of_token

    def __str__(self) -> str:
        return f"GPT {self.blocks} × {self.width}, T {self.steps}"

    def network(self, lib: Any) -> Any:
        nn, work, width = lib.nn, self, self.width

        class Block(nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
                self.qkv, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
                self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

            def forward(self, x: Any) -> Any:
                parts = (*x.shape[:2], 3, work.heads, width // work.heads)
                qkv = lib.moveaxis(self.qkv(self.norm1(x)).reshape(parts), 1, 3)
                q, k, v = (qkv[:, i] for i in range(3))
                attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
                x = x + self.joined(lib.moveaxis(attended, 1, 2).reshape(x.shape))
                inner = nn.functional.gelu(self.inner(self.norm2(x)), approximate="tanh")
                return x + self.outer(inner)

        class Network(nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.tokens = nn.Embedding(work.vocabulary, width)
                self.positions = nn.Parameter(lib.zeros((work.steps, width)))
                self.blocks = nn.Sequential(*(Block() for _ in range(work.blocks)))
                self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, work.vocabulary)

            def forward(self, x: Any) -> Any:
                return self.output(self.norm(self.blocks(self.tokens(x) + self.positions)))

        return Network()


@dataclass(frozen=True)
class Factors(Workload):
    """Ratings of pairs as a product of two rows of tables; only rows that were read are updated."""

    batch: int
    tables: tuple[int, int]
    width: int

    clips = False
    operations = 0

    def __str__(self) -> str:
        return f"{self.tables[0]}+{self.tables[1]} × {self.width}"

    def rows(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        return rng.integers(0, self.tables, (self.batch, 2)), rng.random(self.batch, np.float32)

    def network(self, lib: Any) -> Any:
        nn, (users, items), width = lib.nn, self.tables, self.width
        rows = {"sparse": True} if lib.__name__ == "torch" else {}

        class Network(nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.users = nn.Embedding(users, width, **rows)
                self.items = nn.Embedding(items, width, **rows)
                self.biases = nn.Embedding(items, 1, **rows)

            def forward(self, x: Any) -> Any:
                user, item = x[:, 0], x[:, 1]
                products = self.users(user) * self.items(item)
                return products.sum(-1) + self.biases(item)[:, 0]

        return Network()

    def loss(self, lib: Any) -> Callable[[Any, Any], Any]:
        loss: Callable[[Any, Any], Any] = lib.nn.functional.mse_loss
        return loss


@dataclass(frozen=True)
class Recurrence(Workload):
    """A recurrence of the user's own, written with `scan`; the last state is classified.

    h ← z h + (1 - z) tanh(c), where (z before its sigmoid, c) = x W + h U.
    """

    batch: int
    steps: int
    inputs: int
    hidden: int
    classes: int

    @property
    def operations(self) -> int:
        of_step = 2 * self.hidden * (2 * self.inputs + 3 * self.hidden)
        return 2 * self.batch * (self.steps * of_step + 3 * self.hidden * self.classes)

    def __str__(self) -> str:
        return f"scan {self.hidden}, T {self.steps}"

    def rows(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.steps, self.batch, self.inputs), dtype=np.float32)
        return x, rng.integers(0, self.classes, self.batch)

    def network(self, lib: Any) -> Any:
        nn, work, n = lib.nn, self, self.hidden
        scan = loop if lib.__name__ == "torch" else lib.scan

        class Network(nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.inputs = nn.Linear(work.inputs, 2 * n)
                self.states = nn.Linear(n, 2 * n, bias=False)
                self.output = nn.Linear(n, work.classes)

            def forward(self, x: Any) -> Any:
                def turn(h: Any, x: Any) -> tuple[Any, None]:
                    gates = self.inputs(x) + self.states(h)
                    z = lib.sigmoid(gates[:, :n])
                    return z * h + (1 - z) * lib.tanh(gates[:, n:]), None

                last, _ = scan(turn, lib.zeros((work.batch, n)), x)
                return self.output(last)

        return Network()


def loop(f: Callable[[Any, Any], tuple[Any, None]], state: Any, xs: Any) -> tuple[Any, None]:
    """`scan` in Python, for torch."""
    for x in xs:
        state, _ = f(state, x)
    return state, None
