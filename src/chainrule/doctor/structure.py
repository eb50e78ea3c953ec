"""Changes of how a network of this library is built: residual connections, gates.

What the gates' biases should be is the same for modules of other libraries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import nn
from ..errors import ArgumentError
from ..graph import Array
from ..nn import Module, init
from ..tensor import no_grad


def with_residual(layer: Any) -> Module:
    """x + layer(x), where the layer, or the normalization after it, is 0 at first.

    So the network begins as the identity, and the gradient keeps its size (Goyal et al., 2017).
    """
    last: Any = layer[len(layer) - 1] if isinstance(layer, nn.Sequential) else layer
    for p in (last.weight, last.bias):
        if p is not None:
            init.zeros_(p)
    return nn.Residual(layer)


def as_gru(old: nn.RNN) -> nn.GRU:
    """A GRU of the same size."""
    return nn.GRU(
        old.input_size,
        old.hidden_size,
        old.num_layers,
        bias=old.bias,
        dropout=old.dropout,
        bidirectional=old.bidirectional,
    )


def remember(module: Module, steps: int, seed: int) -> None:
    """Let the gates keep the state for 1 to that number of steps at first."""
    for name, bias in gate_biases(dict(module.named_parameters()), type(module).__name__):
        with no_grad():
            bias[...] = memory_bias(bias.numpy(), name, steps, seed)


def gate_biases(parameters: dict[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    """The biases of a GRU or LSTM, each with what it is: "gru", "lstm", or "" for those to the
    state, which are added to the others.
    """
    biases = {name: p for name, p in parameters.items() if name.startswith("bias_")}
    if kind not in ("GRU", "LSTM") or not biases:
        raise ArgumentError(
            "diagnose",
            f"got {kind} to remember",
            "expected a GRU or an LSTM with biases",
            "nn.GRU(…, bias=True)",
        )
    for name, p in biases.items():
        yield kind.lower() if name.startswith("bias_ih") else "", p


def memory_bias(bias: Array, kind: str, steps: int, seed: int) -> Array:
    """Biases with which a gate keeps all but 1/t of the state per step, t evenly in 1 … steps.

    σ(log t) = t / (t + 1); an LSTM's input gate, which is apart from its forget gate, takes in
    as much as is lost: 1 - σ(log t) = σ(-log t) (Tallec and Ollivier, 2018).
    """
    out = np.zeros_like(bias)
    if not kind:
        return out
    units = len(bias) // {"gru": 3, "lstm": 4}[kind]
    logs = np.log(np.random.default_rng(seed).uniform(1, max(steps, 2), units))
    out[units : 2 * units] = logs  # the second part: z of r, z, n; f of i, f, g, o
    if kind == "lstm":
        out[:units] = -logs
    return out
