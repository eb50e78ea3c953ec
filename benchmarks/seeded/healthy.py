"""Healthy trainings: networks of several families and sizes, on generated data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chainrule import nn, optim, random
from chainrule.doctor.modules import ModuleTraining
from chainrule.nn import Module
from chainrule.nn import functional as F  # noqa: N812 - the usual name
from chainrule.tensor import Tensor

from .data import sets


@dataclass(frozen=True)
class Healthy:
    """A training that reaches `floor` on held-out rows.

    network   a word of NETWORKS
    sizes     its widths, or (width, depth)
    task      "classes", "binary" (one score), "numbers"
    """

    network: str
    data: str
    sizes: tuple[int, ...]
    outputs: int
    task: str
    floor: float
    rate: float = 3e-3
    epochs: int = 12
    optimizer: str = "adam"

    def build(self, seed: int) -> ModuleTraining:
        """With the seed's data and first weights."""
        (x, y), valid = sets(self.data, seed)
        drawn = random.default.state
        random.default.set_state(random.Generator(seed).state)
        try:
            model = NETWORKS[self.network](x.shape[1:], self.sizes, self.outputs)
        finally:
            random.default.set_state(drawn)
        optimizer = OPTIMIZERS[self.optimizer](model.named_parameters(), lr=self.rate)
        loss = LOSSES[self.task]
        return ModuleTraining(model, loss, optimizer, (x, y), valid, 32, self.epochs)


LOSSES: Mapping[str, Callable[[Tensor, Any], Tensor]] = {
    "classes": lambda p, y: F.cross_entropy(p, y),
    "binary": lambda p, y: F.binary_cross_entropy_with_logits(p, y),
    "numbers": lambda p, y: F.mse_loss(p, y),
}

OPTIMIZERS: Mapping[str, Callable[..., optim.Optimizer]] = {
    "adam": optim.Adam,
    "sgd": optim.SGD,
}


def _mlp(shape: tuple[int, ...], sizes: tuple[int, ...], outputs: int, act: Any) -> Module:
    layers: list[Module] = []
    for a, b in zip((shape[0], *sizes), sizes, strict=False):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def _mlp_norm(shape: tuple[int, ...], sizes: tuple[int, ...], outputs: int) -> Module:
    layers: list[Module] = []
    for a, b in zip((shape[0], *sizes), sizes, strict=False):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Called(Module):
    """Activations as plain function calls, which no module shows."""

    def __init__(self, inputs: int, sizes: tuple[int, ...], outputs: int) -> None:
        widths = inputs, *sizes
        self.hidden = [nn.Linear(a, b) for a, b in zip(widths, sizes, strict=False)]
        self.head, self.last = nn.Linear(sizes[-1], outputs), None

    def forward(self, x: Any) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x))
        x = self.head(x)
        return x if self.last is None else self.last(x)


def _cnn(shape: tuple[int, ...], sizes: tuple[int, ...], outputs: int, norm: bool) -> Module:
    layers: list[Module] = []
    for a, b in zip((shape[-1], *sizes), sizes, strict=False):
        layers.append(nn.Conv2d(a, b, 3, padding=1))
        layers += [nn.BatchNorm2d(b)] if norm else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    side = shape[0] >> len(sizes)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(sizes[-1] * side * side, outputs))


class Recurrent(Module):
    """A recurrent layer and a linear one: of the last step, or of each."""

    def __init__(self, kind: Any, shape: tuple[int, ...], width: int, outputs: int, each: bool):
        self.embedding = nn.Embedding(12, 8) if len(shape) == 1 else None
        self.recurrent = kind(shape[-1] if self.embedding is None else 8, width)
        self.head, self.each = nn.Linear(width, outputs), each

    def forward(self, x: Any) -> Tensor:
        out, _ = self.recurrent(x if self.embedding is None else self.embedding(x))
        return self.head(out if self.each else out[:, -1])


class Transformer(Module):
    """Embedded tokens, encoder layers, the mean over the steps, a linear layer."""

    def __init__(self, width: int, depth: int, outputs: int) -> None:
        self.embedding = nn.Embedding(20, width)
        self.layers = [
            nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, norm_first=True)
            for _ in range(depth)
        ]
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Any) -> Tensor:
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def _recurrent(kind: Any, each: bool = False) -> Callable[..., Module]:
    return lambda shape, sizes, outputs: Recurrent(kind, shape, sizes[0], outputs, each)


NETWORKS: Mapping[str, Callable[..., Module]] = {
    "mlp": lambda shape, sizes, outputs: _mlp(shape, sizes, outputs, nn.ReLU),
    "mlp_tanh": lambda shape, sizes, outputs: _mlp(shape, sizes, outputs, nn.Tanh),
    "mlp_norm": _mlp_norm,
    "called": lambda shape, sizes, outputs: Called(shape[0], sizes, outputs),
    "cnn": lambda shape, sizes, outputs: _cnn(shape, sizes, outputs, False),
    "cnn_norm": lambda shape, sizes, outputs: _cnn(shape, sizes, outputs, True),
    "rnn": _recurrent(nn.RNN),
    "lstm": _recurrent(nn.LSTM),
    "gru": _recurrent(nn.GRU),
    "rnn_each": _recurrent(nn.RNN, True),
    "lstm_each": _recurrent(nn.LSTM, True),
    "transformer": lambda shape, sizes, outputs: Transformer(*sizes, outputs),
}

HEALTHY: Mapping[str, Healthy] = {
    "mlp blobs small": Healthy("mlp", "blobs", (24,), 6, "classes", 0.9, 1e-2, 20),
    "mlp blobs": Healthy("mlp", "blobs", (64, 32), 6, "classes", 0.9, 3e-3, 12),
    "mlp blobs large": Healthy("mlp", "blobs", (128, 128, 64), 6, "classes", 0.9, 2e-3, 8),
    "mlp mixed": Healthy("mlp", "mixed", (32,), 6, "classes", 0.62, 5e-3, 12),
    "mlp digits": Healthy("mlp", "flat_digits", (64,), 10, "classes", 0.88, 3e-3, 15),
    "sgd digits": Healthy("mlp", "flat_digits", (64,), 10, "classes", 0.85, 0.1, 15, "sgd"),
    "sgd numbers": Healthy("mlp_tanh", "numbers", (48, 48), 1, "numbers", 0.8, 0.1, 80, "sgd"),
    "mlp few": Healthy("mlp", "few", (64,), 1, "numbers", 0.2, 1e-2, 6),
    "mlp few deep": Healthy("mlp", "few", (64, 64), 1, "numbers", 0.2, 3e-3, 6),
    "mlp rings": Healthy("mlp", "rings", (32, 16), 1, "binary", 0.9, 1e-2, 20),
    "mlp numbers": Healthy("mlp", "numbers", (64, 64), 1, "numbers", 0.85, 5e-3, 25),
    "tanh numbers": Healthy("mlp_tanh", "numbers", (48, 48), 1, "numbers", 0.85, 1e-2, 25),
    "tanh blobs deep": Healthy("mlp_tanh", "blobs", (32,) * 6, 6, "classes", 0.85, 2e-3, 20),
    "called blobs": Healthy("called", "blobs", (48, 48), 6, "classes", 0.9, 5e-3, 12),
    "called numbers": Healthy("called", "numbers", (64, 64), 1, "numbers", 0.85, 5e-3, 25),
    "mlp norm blobs": Healthy("mlp_norm", "blobs", (48, 48), 6, "classes", 0.9, 5e-3, 12),
    "cnn spots": Healthy("cnn", "spots", (8, 16), 1, "numbers", 0.85, 5e-3, 12),
    "cnn few": Healthy("cnn", "few_spots", (8, 16), 1, "numbers", 0.3, 5e-3, 12),
    "cnn stripes": Healthy("cnn", "stripes", (8,), 4, "classes", 0.9, 5e-3, 8),
    "cnn stripes large": Healthy("cnn", "stripes", (8, 16), 4, "classes", 0.9, 3e-3, 10),
    "cnn digits": Healthy("cnn", "digits", (8, 16), 10, "classes", 0.85, 5e-3, 8),
    "sgd cnn digits": Healthy("cnn", "digits", (8, 16), 10, "classes", 0.85, 0.1, 25, "sgd"),
    "cnn norm digits": Healthy("cnn_norm", "digits", (8, 16), 10, "classes", 0.85, 5e-3, 6),
    "rnn waves": Healthy("rnn", "waves", (32,), 3, "classes", 0.85, 5e-3, 30),
    "gru recall": Healthy("gru", "recall", (24,), 4, "classes", 0.9, 1e-2, 15),
    "lstm waves": Healthy("lstm", "waves", (24,), 3, "classes", 0.9, 5e-3, 25),
    "rnn recall": Healthy("rnn", "recall", (48,), 4, "classes", 0.9, 5e-3, 60),
    "lstm sums": Healthy("lstm", "sums", (24,), 1, "numbers", 0.8, 1e-2, 25),
    "gru few": Healthy("gru", "few_sums", (32,), 1, "numbers", 0.2, 5e-3, 15),
    "rnn next values": Healthy("rnn_each", "next_values", (32,), 1, "numbers", 0.85, 1e-2, 20),
    "lstm tags": Healthy("lstm_each", "tags", (24,), 4, "classes", 0.9, 1e-2, 10),
    "transformer words": Healthy("transformer", "words", (16, 1), 4, "classes", 0.9, 5e-3, 8),
    "transformer words deep": Healthy("transformer", "words", (16, 3), 4, "classes", 0.9, 3e-3, 8),
    "transformer counts": Healthy("transformer", "counts", (16, 1), 1, "numbers", 0.85, 5e-3, 10),
    "transformer few": Healthy("transformer", "few_counts", (32, 2), 1, "numbers", 0.2, 3e-3, 6),
    "sgd words": Healthy("transformer", "words", (16, 1), 4, "classes", 0.9, 0.3, 12, "sgd"),
    "sgd words short": Healthy("transformer", "words", (16, 1), 4, "classes", 0.9, 0.3, 3, "sgd"),
    "sgd tags short": Healthy("lstm_each", "tags", (24,), 4, "classes", 0.9, 3.0, 6, "sgd"),
    "sgd tags": Healthy("lstm_each", "tags", (24,), 4, "classes", 0.9, 3.0, 20, "sgd"),
    "called digits": Healthy("called", "flat_digits", (48,), 10, "classes", 0.85, 0.1, 15, "sgd"),
}
