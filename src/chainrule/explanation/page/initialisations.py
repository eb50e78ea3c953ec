"""How the parameters of a network would be drawn, by the initializers of `nn.init`.

A scheme is a list of draws in order, `{"id", "draw", …}`: uniform (low, high), normal (mean, std)
or constant (value). The page draws them with the generator of `chainrule.random`: the same bits as
`cr.random.seed(seed)` and then the initializer for each parameter in order.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from ... import random
from ...dtypes import is_floating
from ...functions import creation
from ...nn import init
from ...tensor import Tensor
from ..derivation import Input


class _Spy(random.Generator):
    """Remembers what is drawn from it; draws 0."""

    draw: Mapping[str, Any]

    def uniform(
        self, shape: Any = (), *more: Any, low: float = 0.0, high: float = 1.0, dtype: Any = None
    ) -> Tensor:
        self.draw = {"draw": "uniform", "low": low, "high": high}
        return creation.zeros(shape, dtype=dtype)

    def normal(
        self, shape: Any = (), *more: Any, mean: float = 0.0, std: float = 1.0, dtype: Any = None
    ) -> Tensor:
        self.draw = {"draw": "normal", "mean": mean, "std": std}
        return creation.zeros(shape, dtype=dtype)


def _default(t: Tensor, generator: random.Generator) -> Tensor:
    """U(-1/√fan_in, 1/√fan_in): of Linear, and of convolutions."""
    bound = 1 / math.sqrt(max(1, init.fans(t)[0]))
    return init.uniform_(t, -bound, bound, generator)


def _zeros(t: Tensor, generator: random.Generator) -> Tensor:
    """0 everywhere: units that begin alike get equal gradients, and stay alike."""
    return init.zeros_(t)


SCHEMES: dict[str, Callable[..., Tensor]] = {
    "default": _default,
    "kaiming_uniform": init.kaiming_uniform_,
    "kaiming_normal": init.kaiming_normal_,
    "xavier_uniform": init.xavier_uniform_,
    "xavier_normal": init.xavier_normal_,
    "normal": init.normal_,
    "zeros": _zeros,
}


def schemes() -> dict[str, Any]:
    """What the schemes draw, by name, and what the words in that mean: from the docstrings."""
    fans = inspect.getdoc(init).split("\n\n")[1].partition(":")[0]  # type: ignore[union-attr]
    return {
        "rules": {name: first_line(initializer) for name, initializer in SCHEMES.items()},
        "fan": " ".join(fans.split()),
        "gain": first_line(init.calculate_gain),
    }


def first_line(described: Any) -> str:
    """The first line of a docstring."""
    return inspect.getdoc(described).partition("\n")[0]  # type: ignore[union-attr]


def initialisations(inputs: Mapping[int, Input]) -> dict[str, list[dict[str, Any]]]:
    """The draws of each scheme, from the inputs of a pass by their ids.

    Weights (two axes or more) are drawn by the scheme. Biases are 0; in the default scheme they are
    drawn as the weight before them. Other parameters, such as the scale of a norm, stay.
    """
    schemes = {name: _draws(name, initializer, inputs) for name, initializer in SCHEMES.items()}
    return {name: draws for name, draws in schemes.items() if draws}


def _draws(
    scheme: str, initializer: Callable[..., Tensor], inputs: Mapping[int, Input]
) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    zero = {"draw": "constant", "value": 0.0}
    last: Mapping[str, Any] = zero
    for number, read in inputs.items():
        if read.kind != "parameter" or not is_floating(read.value.dtype):
            continue
        if read.value.ndim > 1:
            spy = _Spy()
            spy.draw = zero
            initializer(creation.zeros(read.value.shape, dtype=read.value.dtype), generator=spy)
            last = spy.draw
            out.append({"id": number, **last})
        elif "bias" in read.name.rsplit(".", 1)[-1]:
            out.append({"id": number, **(last if scheme == "default" else zero)})
    return out
