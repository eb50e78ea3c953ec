"""The same network with another activation or another depth, where it is built of modules.

A variant is recorded with other modules in place of the user's, which stay as they are: only this
recording knows of the others (`recorder.Exchange`).
"""

from __future__ import annotations

import copy
import functools
import math
import textwrap
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ... import nn, random
from ...errors import printable
from ...functions import creation
from ...nn import Linear, Module, Sequential, init
from ...nn import functional as F  # noqa: N812 - the usual name
from ..derivation import Derivation
from ..derive import derive
from ..recorder import Exchange, NotCalledError

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "linear")
_MODULES: dict[str, Callable[[], Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "linear": nn.Identity,
}
_NONLINEARITIES = {"tanh": "tanh", "relu": "relu"}  # of RNN
_FUNCTIONS = {"relu": F.relu, "tanh": F.tanh, "sigmoid": F.sigmoid, "gelu": F.gelu}
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

    activation: str | None = None
    depth: int | None = None

    def __str__(self) -> str:
        words = [self.activation] if self.activation else []
        words += [f"{self.depth} hidden layer{'s' * (self.depth > 1)}"] if self.depth else []
        return " and ".join(words)


@dataclass
class Variants:
    """A network's label, its variants, and why others are missing.

    errors   what the user's code raised, in one line, with the labels of the networks
    """

    label: Label = Label()
    others: list[tuple[Label, Derivation]] = field(default_factory=list)
    errors: dict[str, list[Label]] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """What was raised, for readers: a line for each error."""
        out = []
        for error, (first, *more) in self.errors.items():
            several = f" (and {len(more)} more)" if more else ""
            out.append(f"With {first}{several} your code raises {error}")
        return out


def variants(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    derivation: Derivation,
) -> Variants:
    """The variants of a network, first those that change one thing.

    The function is recorded again for each. What a variant reads has the values of the derivation,
    where it has an input of that name, kind, shape and dtype.
    """
    network = _Network(derivation)
    out = Variants(network.label)
    room = MOST_NODES
    for label in network.others:
        try:
            variant = derive(function, args, kwargs, exchanges=network.exchanges(label))
        except NotCalledError:
            continue
        except Exception as error:
            out.errors.setdefault(_line_of(error), []).append(label)
            continue
        room -= len(variant.position)
        if room < 0:
            break
        out.others.append((label, _with_values(variant, derivation)))
    return out


def label_of(derivation: Derivation) -> Label:
    """The label of the network as it is."""
    return _Network(derivation).label


def _line_of(error: Exception) -> str:
    return printable(textwrap.shorten(traceback.format_exception_only(error)[0], 200))


def _with_values(variant: Derivation, derivation: Derivation) -> Derivation:
    """The variant with the values that the derivation has for its inputs."""
    values = {(i.name, i.kind, *_spec(i.value)): i.value for i in derivation.inputs.values()}
    inputs = {
        node: replace(i, value=values.get((i.name, i.kind, *_spec(i.value)), i.value))
        for node, i in variant.inputs.items()
    }
    return replace(variant, inputs=inputs)


def _spec(value: Any) -> tuple[Any, Any]:
    return value.shape, value.dtype


@dataclass(frozen=True)
class _Place:
    """A module that is an activation of hidden layers, or has one.

    name      what it is called
    choices   what makes the module with another one, by name
    """

    module: Module
    name: str
    choices: Mapping[str, Callable[[], Module]]


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
        self._called = {id(m) for m in modules}
        inside = {id(v) for m in modules for v in _inside(m)}
        self.roots = [m for m in modules if id(m) not in inside]
        everything = [m for root in self.roots for m in root.modules()]
        sequences = [m for m in everything if isinstance(m, Sequential) and _pairs(m)]
        self.hidden = sequences[0] if len(sequences) == 1 else None
        self.pairs = _pairs(self.hidden) if self.hidden is not None else []

    @property
    def activations(self) -> list[_Place]:
        """The places of activations in hidden layers."""
        out: list[_Place] = []
        for module in self._everything:
            if id(module) not in self._called:
                continue
            if isinstance(module, _HIDDEN):
                out.append(_Place(module, type(module).__name__.lower(), _MODULES))
            elif isinstance(module, (nn.RNN, nn.RNNCell)):
                choices = _choices(module, "nonlinearity", _NONLINEARITIES)
                out.append(_Place(module, module.nonlinearity, choices))
            elif isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
                choices = _choices(module, "activation", _FUNCTIONS)
                out.append(_Place(module, getattr(module.activation, "__name__", ""), choices))
        return out

    @property
    def _everything(self) -> list[Module]:
        """The modules, each as often as it is somewhere."""
        return [*self.roots, *(m for root in self.roots for m in _inside(root))]

    @property
    def label(self) -> Label:
        """As the network is now."""
        names = {place.name for place in self.activations}
        activation = None if not names else names.pop() if len(names) == 1 else ""
        return Label(activation, len(self.pairs) or None)

    @property
    def others(self) -> list[Label]:
        """The labels that it can have: one thing changed, then both."""
        now, places = self.label, self.activations
        activations = [a for a in ACTIVATIONS if places and all(a in p.choices for p in places)]
        fewest = len(self.pairs) - len(self._square)
        depths = [d for d in DEPTHS if self._has_depths and d >= fewest]
        labels = [Label(a, now.depth) for a in activations]
        labels += [Label(now.activation, d) for d in depths]
        labels += [Label(a, d) for a in activations for d in depths]
        return [label for label in dict.fromkeys(labels) if label != now]

    @property
    def _has_depths(self) -> bool:
        """Whether hidden layers can be repeated, or left out.

        A layer that is in several places can not: it would be repeated in each of them.
        """
        times = Counter(map(id, self._everything))
        layers = [id(self._layer(name)) for pair in self.pairs for name in pair]
        return bool(layers) and all(times[layer] == 1 for layer in layers)

    def _layer(self, name: str) -> Any:
        return vars(self.hidden)[name]

    @property
    def _square(self) -> list[tuple[str, str]]:
        """The pairs that can be left out: their Linear keeps the width."""
        layers = [self._layer(linear) for linear, _ in self.pairs]
        pairs = zip(self.pairs, layers, strict=True)
        return [pair for pair, m in pairs if m.in_features == m.out_features]

    def exchanges(self, label: Label) -> list[Exchange]:
        """What makes it a network with this label."""
        out: dict[int, Exchange] = {}
        for place in self.activations:
            kind = place.choices.get(label.activation or "")
            if kind is not None and label.activation != place.name:
                out[id(place.module)] = Exchange(place.module, [("", kind())])
        if label.depth is not None and label.depth != len(self.pairs):
            for e in self._of_depth(label.depth, out):
                out[id(e.module)] = e
        return [*out.values()]

    def _of_depth(self, depth: int, others: Mapping[int, Exchange]) -> Iterator[Exchange]:
        """Repeat the last hidden layer, or leave out those that keep their width.

        others   the activations that are exchanged too
        """
        for pair in self._square[: max(0, len(self.pairs) - depth)]:
            for name in pair:
                yield Exchange(self._layer(name), [("", nn.Identity())])
        if depth > len(self.pairs):
            last, activation = self.pairs[-1]
            now = self._layer(activation)
            other = others[id(now)].others[0][1] if id(now) in others else now
            layers: list[tuple[str, Module]] = [("", copy.copy(other))]
            generator = random.Generator(0)  # of all that are added: no two are alike
            for k in range(len(self.pairs) + 1, depth + 1):
                layers.append((f"{last}_{k}", _repeated(self._layer(last), generator)))
                layers.append((f"{activation}_{k}", copy.copy(other)))
            yield Exchange(now, layers)


def _inside(module: Module) -> Iterator[Module]:
    """The modules inside, in lists and dicts too; each as often as it is somewhere."""
    waiting: list[Any] = [module]
    seen: set[int] = set()
    while waiting:
        container = waiting.pop(0)
        if id(container) in seen:
            continue
        seen.add(id(container))
        if isinstance(container, Module):
            items: Any = [v for k, v in vars(container).items() if not k.startswith("_")]
        else:
            items = container.values() if isinstance(container, dict) else container
        for value in items:
            if isinstance(value, Module):
                yield value
            if isinstance(value, (Module, list, tuple, dict)):
                waiting.append(value)


def _choices(
    module: Module, attribute: str, values: Mapping[str, Any]
) -> dict[str, Callable[[], Module]]:
    """What makes the module with another value of an attribute, by name; its tensors are shared."""

    def with_value(value: Any) -> Module:
        out = copy.copy(module)
        setattr(out, attribute, value)
        return out

    return {name: functools.partial(with_value, value) for name, value in values.items()}


def _pairs(sequence: Sequential) -> list[tuple[str, str]]:
    """The names of its hidden layers, each a Linear with the activation after it."""
    names = sequence._names
    layers = [vars(sequence)[n] for n in names]
    return [
        (names[k], names[k + 1])
        for k, layer in enumerate(layers[:-1])
        if isinstance(layer, Linear) and isinstance(layers[k + 1], _HIDDEN)
    ]


def _repeated(layer: Linear, generator: random.Generator) -> Linear:
    """A new layer from the width of that one's output to the same width, drawn as Linear's are."""
    width = layer.out_features
    bound = 1 / math.sqrt(max(1, width))

    def drawn(*shape: int) -> Any:
        values = init.uniform_(creation.zeros(shape), -bound, bound, generator)
        return nn.Parameter(values.astype(layer.weight.dtype))

    out = Linear.__new__(Linear)  # its __init__ would draw from the user's generator
    out.in_features = out.out_features = width
    out.weight = drawn(width, width)
    out.bias = None if layer.bias is None else drawn(width)
    return out
