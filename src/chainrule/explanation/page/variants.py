"""The same network with another activation or another depth, where it is built of modules.

The modules of the user's network are exchanged while a variant is recorded, and then restored.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ... import nn, random
from ...errors import ChainruleError
from ...nn import Linear, Module, Sequential
from ...nn import functional as F  # noqa: N812 - the usual name
from ..derivation import Derivation
from ..derive import derive

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "linear")
_MODULES: dict[str, Callable[[], Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "linear": nn.Identity,
}
_NONLINEARITIES = {"tanh": lambda: "tanh", "relu": lambda: "relu"}  # of RNN
_FUNCTIONS: dict[str, Callable[[], Any]] = {  # of transformers
    "relu": lambda: F.relu,
    "tanh": lambda: F.tanh,
    "sigmoid": lambda: F.sigmoid,
    "gelu": lambda: F.gelu,
}
# Activations of hidden layers: each element becomes a function of itself.
_HIDDEN = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish),
)
DEPTHS = (1, 2, 3)
MOST_NODES = 3000  # of all variants: some 500 kB


@dataclass(frozen=True)
class Label:
    """What distinguishes a variant; None where the network is not built so.

    activation   one of ACTIVATIONS, or the name of the module's class; "" if there are several
    depth        the number of hidden layers
    """

    activation: str | None
    depth: int | None


def variants(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    derivation: Derivation,
) -> tuple[Label, list[tuple[Label, Derivation]]]:
    """The label of the network as it is, and its variants: first those that change one thing."""
    network = _Network(derivation)
    now = network.label
    activations = [a for a in ACTIVATIONS if network.has_activation(a)]
    depths = [d for d in DEPTHS if network.has_depth(d)]
    labels = [Label(a, now.depth) for a in activations]
    labels += [Label(now.activation, d) for d in depths]
    labels += [Label(a, d) for a in activations for d in depths]
    out: dict[Label, Derivation] = {}
    room = MOST_NODES
    for label in labels:
        if label == now or label in out:
            continue
        try:
            with network.changed(label):
                variant = derive(function, args, kwargs)
        except ChainruleError:
            continue  # the code around the layers is written for the network as it is
        room -= len(variant.position)
        if room < 0:
            break
        out[label] = variant
    return now, [*out.items()]


@dataclass(frozen=True)
class _Place:
    """Where an activation is: in `container`, under the name or index `key`.

    now, name   what is there, and what it is called
    choices     what makes another one, by name
    """

    container: Any
    key: Any
    now: Any
    name: str
    choices: Mapping[str, Callable[[], Any]]


class _Network:
    """The modules that a recorded function calls, with what can be exchanged in them.

    roots    the modules that are in no other one
    hidden   the Sequential with hidden layers, if there is one alone
    pairs    the names of its hidden layers: a Linear and an activation each
    """

    def __init__(self, derivation: Derivation) -> None:
        called = {id(c.module): c.module for c in derivation.calls.values() if c.module is not None}
        above = [c.parent.module for c in derivation.calls.values() if c.parent is not None]
        modules = list({id(m): m for m in [*above, *called.values()]}.values())
        inside = {id(v) for m in modules for _, _, v in _places(m)}
        self.roots = [m for m in modules if id(m) not in inside]
        everything = [m for root in self.roots for m in root.modules()]
        sequences = [m for m in everything if isinstance(m, Sequential) and _pairs(m)]
        self.hidden = sequences[0] if len(sequences) == 1 else None
        self.pairs = _pairs(self.hidden) if self.hidden is not None else []

    @property
    def activations(self) -> list[_Place]:
        """The places of activations in hidden layers."""
        everything = [p for root in self.roots for p in _places(root)]
        out = [
            _Place(container, key, module, type(module).__name__.lower(), _MODULES)
            for container, key, module in everything
            if isinstance(module, _HIDDEN)
        ]
        for module in (*self.roots, *(m for _, _, m in everything)):
            if isinstance(module, (nn.RNN, nn.RNNCell)):
                now = module.nonlinearity
                out.append(_Place(module, "nonlinearity", now, now, _NONLINEARITIES))
            elif isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
                function = module.activation
                name = getattr(function, "__name__", "")
                out.append(_Place(module, "activation", function, name, _FUNCTIONS))
        return out

    @property
    def label(self) -> Label:
        """As the network is now."""
        names = {place.name for place in self.activations}
        activation = None if not names else names.pop() if len(names) == 1 else ""
        return Label(activation, len(self.pairs) or None)

    def has_activation(self, name: str) -> bool:
        """Whether all of them can be that one."""
        places = self.activations
        return bool(places) and all(name in place.choices for place in places)

    def has_depth(self, depth: int) -> bool:
        """Whether hidden layers can be repeated or left out until there are that many."""
        return bool(self.pairs) and depth >= len(self.pairs) - len(self._square)

    @property
    def _square(self) -> list[tuple[str, str]]:
        """The pairs that can be left out: their Linear keeps the width."""
        layers = [vars(self.hidden)[linear] for linear, _ in self.pairs]
        pairs = zip(self.pairs, layers, strict=True)
        return [pair for pair, m in pairs if m.in_features == m.out_features]

    @contextmanager
    def changed(self, label: Label) -> Iterator[None]:
        """The network with this label."""
        with ExitStack() as stack:
            if label.depth is not None and label.depth != len(self.pairs):
                self._deepen(label.depth, stack)
            for place in self.activations:
                kind = place.choices.get(label.activation or "")
                if kind is not None and label.activation != place.name:
                    _put(place.container, place.key, kind())
                    stack.callback(_put, place.container, place.key, place.now)
            yield

    def _deepen(self, depth: int, stack: ExitStack) -> None:
        """Repeat the last hidden layer, or leave out those that keep their width."""
        hidden: Any = self.hidden
        stack.callback(setattr, hidden, "_names", hidden._names)
        less = self._square[: max(0, len(self.pairs) - depth)]
        names = [n for n in hidden._names if not any(n in pair for pair in less)]
        last, activation = self.pairs[-1]
        at = names.index(activation) + 1 if depth > len(self.pairs) else 0
        for k in range(depth, len(self.pairs), -1):
            pair = f"{last}_{k}", f"{activation}_{k}"
            layers = _repeated(vars(hidden)[last]), copy.copy(vars(hidden)[activation])
            for name, layer in zip(pair, layers, strict=True):
                setattr(hidden, name, layer)
                stack.callback(delattr, hidden, name)
            names[at:at] = pair
        hidden._names = tuple(names)


def _places(module: Module) -> Iterator[tuple[Any, Any, Module]]:
    """The modules inside: what each is in (a module, list or dict), its name there, itself."""
    waiting: list[Any] = [module]
    seen: set[int] = set()
    while waiting:
        container = waiting.pop(0)
        if id(container) in seen:
            continue
        seen.add(id(container))
        if isinstance(container, Module):
            items: Any = [(k, v) for k, v in vars(container).items() if not k.startswith("_")]
        else:
            items = enumerate(container) if isinstance(container, list) else container.items()
        for key, value in items:
            if isinstance(value, Module):
                yield container, key, value
            if isinstance(value, (Module, list, dict)):
                waiting.append(value)


def _put(container: Any, key: Any, module: Any) -> None:
    if isinstance(container, Module):
        setattr(container, key, module)
    else:
        container[key] = module


def _pairs(sequence: Sequential) -> list[tuple[str, str]]:
    """The names of its hidden layers, each a Linear with the activation after it."""
    names = sequence._names
    layers = [vars(sequence)[n] for n in names]
    return [
        (names[k], names[k + 1])
        for k, layer in enumerate(layers[:-1])
        if isinstance(layer, Linear) and isinstance(layers[k + 1], _HIDDEN)
    ]


def _repeated(layer: Linear) -> Linear:
    """A new layer from the width of that one's output to the same width; always the same values."""
    width = layer.out_features
    before = random.default.state
    random.seed(0)
    try:
        out = Linear(width, width, bias=layer.bias is not None)
    finally:
        random.default.set_state(before)
    for name, p in [*out.named_parameters()]:
        setattr(out, name, nn.Parameter(p.detach().astype(layer.weight.dtype)))
    return out
