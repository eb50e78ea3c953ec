"""Initial weights by name, drawn from cr.random: "he_uniform", "normal(0.05)", …"""

from __future__ import annotations

import math

import chainrule as cr
from chainrule import nn
from chainrule.nn import init

NAMES = (
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "uniform",
    "normal",
    "trunc_normal",
    "constant",
    "zeros",
)


def fill(t: cr.Tensor, text: str, fan_in: int, fan_out: int) -> None:
    """Draw a weight or a bias. The numbers of inputs and outputs are those of the weight."""
    name, _, number = text.rstrip(")").partition("(")
    if name not in NAMES:
        raise ValueError(f"got the initialisation {text!r}; expected one of {', '.join(NAMES)}")
    by_both, by_inputs = math.sqrt(2 / (fan_in + fan_out)), math.sqrt(2 / fan_in)
    spread = float(number) if number else by_both if name.startswith("glorot") else by_inputs
    if name == "zeros":
        init.zeros_(t)
    elif name == "constant":
        init.constant_(t, spread)
    elif name == "uniform":
        init.uniform_(t, -spread, spread)
    elif name.endswith("_uniform"):
        init.uniform_(t, -math.sqrt(3) * spread, math.sqrt(3) * spread)
    elif name == "trunc_normal":
        init.trunc_normal_(t, 0.0, spread, -2 * spread, 2 * spread)
    else:
        init.normal_(t, 0.0, spread)


def fill_lstm(layer: nn.LSTM) -> None:
    """Keras's: inputs Glorot uniform, states orthogonal by gate, biases 0 and 1 to remember."""
    size = layer.hidden_size
    for name, p in layer.named_parameters():
        if name.startswith("weight_hh"):
            gates = [init.orthogonal_(cr.zeros((size, size))) for _ in range(4)]
            with cr.no_grad():
                p[...] = cr.concat(gates)
        elif name.startswith("weight_ih"):
            init.xavier_uniform_(p)
        else:
            init.zeros_(p)
            if name.startswith("bias_ih"):
                with cr.no_grad():
                    p[size : 2 * size] = 1.0
