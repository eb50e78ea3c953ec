"""How faults are put into healthy trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule import nn, optim, random
from chainrule.doctor.modules import ModuleTraining
from chainrule.functions import elementwise, reductions
from chainrule.nn import Module, init
from chainrule.nn import functional as F  # noqa: N812 - the usual name
from chainrule.tensor import Tensor, no_grad

from .healthy import HEALTHY

Spoil = Callable[[ModuleTraining], ModuleTraining]


@dataclass(frozen=True)
class Seeded:
    """A fault.

    places   where it is right to find it, each the beginning of a path; of a layer, any of them
             if the fault is in all
    also     other kinds that say the same
    """

    kind: str
    healthy: str
    spoil: Spoil
    places: tuple[str, ...]
    also: tuple[str, ...] = ()
    seed: int = 0


# ── the network ──────────────────────────────────────────────────────────────────────────────────


def _put(model: Any, path: str, new: Module) -> None:
    *outer, name = path.split(".")
    for part in outer:
        model = model[int(part)] if part.isdigit() else getattr(model, part)
    if name.isdigit():
        model[int(name)] = new
    else:
        setattr(model, name, new)


def exchange(new: Callable[[], Module], *paths: str) -> Spoil:
    """Other modules at these places."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        for path in paths:
            _put(t.model, path, new())
        return _optimized(t)

    return spoil


def append(*new: Callable[[], Module]) -> Spoil:
    """Modules after the last layer of a Sequential or after `head`."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        model: Any = t.model
        made = [make() for make in new]
        if isinstance(model, nn.Sequential):
            return _optimized(replace(t, model=nn.Sequential(*model, *made)))
        model.head = nn.Sequential(model.head, *made)
        return _optimized(t)

    return spoil


def fewer_outputs(units: int) -> Spoil:
    """A last layer of a Sequential with so few outputs."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        *others, last = t.model  # type: ignore[misc]
        few = nn.Linear(last.weight.shape[1], units)
        return _optimized(replace(t, model=nn.Sequential(*others, few)))

    return spoil


def called(function: Callable[[Any], Tensor]) -> Spoil:
    """A function of the output in the forward of `Called`."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        t.model.last = function  # type: ignore[attr-defined]
        return t

    return spoil


def dropout(rate: float) -> Spoil:
    """Dropout after each activation of a Sequential."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        layers: list[Module] = []
        for layer in t.model:  # type: ignore[attr-defined]
            layers.append(layer)
            if isinstance(layer, (nn.ReLU, nn.Tanh)):
                layers.append(nn.Dropout(rate))
        return _optimized(replace(t, model=nn.Sequential(*layers)))

    return spoil


def deep(activation: Callable[[], Module], depth: int, width: int = 24) -> Spoil:
    """A stack of that depth in place of the hidden layers."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        old: Any = t.model
        first, last = old[0].weight.shape[1], old[len(old) - 1].weight.shape[0]
        layers: list[Module] = []
        for k in range(depth):
            layers += [nn.Linear(width if k else first, width), activation()]
        return _optimized(replace(t, model=nn.Sequential(*layers, nn.Linear(width, last))))

    return spoil


def deep_cnn(activation: Callable[[], Module], depth: int) -> Spoil:
    """A stack of convolutions of that depth before the first one's pooling."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        first, _, *rest = t.model  # type: ignore[attr-defined]
        width = first.weight.shape[-1]
        layers: list[Module] = [first, activation()]
        for _ in range(depth - 1):
            layers += [nn.Conv2d(width, width, 3, padding=1), activation()]
        return _optimized(replace(t, model=nn.Sequential(*layers, *rest)))

    return spoil


def weights(change: Callable[[Tensor], Any], *names: str) -> Spoil:
    """Change the parameters whose names end so: by default all weights."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        for name, p in t.model.named_parameters():
            if name.endswith(names or ("weight",)):
                change(p)
        return t

    return spoil


def times(factor: float) -> Callable[[Tensor], Any]:
    """Multiply a parameter."""

    def change(p: Tensor) -> None:
        with no_grad():
            p[...] = p * factor

    return change


def constant(value: float) -> Callable[[Tensor], Any]:
    """Fill a parameter."""
    return lambda p: init.constant_(p, value)


# ── loss, optimizer, data ────────────────────────────────────────────────────────────────────────


def _optimized(t: ModuleTraining) -> ModuleTraining:
    """The same kind of optimizer for the parameters that the model has now."""
    rate = float(t.optimizer.param_groups[0]["lr"])
    return replace(t, optimizer=type(t.optimizer)(t.model.named_parameters(), lr=rate))


def loss(new: Callable[[Tensor, Any], Tensor]) -> Spoil:
    """Another loss."""
    return lambda t: replace(t, loss=new)


def sgd(rate: float, **more: Any) -> Spoil:
    """Plain SGD."""
    return lambda t: replace(t, optimizer=optim.SGD(t.model.named_parameters(), lr=rate, **more))


def adam(**settings: Any) -> Spoil:
    """Adam with other settings."""
    return lambda t: replace(t, optimizer=optim.Adam(t.model.named_parameters(), **settings))


def adamw(**settings: Any) -> Spoil:
    """AdamW, whose decay is apart from the gradient."""
    return lambda t: replace(t, optimizer=optim.AdamW(t.model.named_parameters(), **settings))


def rate(factor: float) -> Spoil:
    """The rate times a factor."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        for group in t.optimizer.param_groups:
            group["lr"] = float(group["lr"]) * factor
        return t

    return spoil


def settings(**new: Any) -> Spoil:
    """Batch, epochs, shuffle…"""
    return lambda t: replace(t, **new)


def inputs(f: Callable[[Any], Any], trained: bool = True, held_out: bool = True) -> Spoil:
    """A function of the inputs."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        (x, y), (xv, yv) = t.data, t.valid
        x, xv = f(x) if trained else x, f(xv) if held_out else xv
        return replace(t, data=(x.astype(np.float32), y), valid=(xv.astype(np.float32), yv))

    return spoil


def targets(f: Callable[[Any], Any], held_out: bool = True) -> Spoil:
    """A function of the targets."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        (x, y), (xv, yv) = t.data, t.valid
        return replace(
            t, data=(x, f(y).astype(y.dtype)), valid=(xv, f(yv).astype(y.dtype) if held_out else yv)
        )

    return spoil


def one_column(factor: float) -> Callable[[Any], Any]:
    """The fourth column of inputs times a factor: the others are lost beside it."""
    return lambda x: x * np.where(np.arange(x.shape[-1]) == 3, factor, 1.0)


def both(*spoils: Spoil) -> Spoil:
    """One after another."""

    def spoil(t: ModuleTraining) -> ModuleTraining:
        for one in spoils:
            t = one(t)
        return t

    return spoil


def misaligned(t: ModuleTraining) -> ModuleTraining:
    """Inputs and targets shuffled apart."""
    x, y = t.data
    return replace(t, data=(x, y[np.random.default_rng(5).permutation(len(y))]))


def leaked(t: ModuleTraining) -> ModuleTraining:
    """The targets in the last number of the inputs; of held-out ones those of other rows."""
    (x, y), (xv, yv) = t.data, t.valid
    shuffled = yv[np.random.default_rng(5).permutation(len(yv))]
    made = []
    for inputs, targets in ((x, y), (xv, shuffled)):
        flat = inputs.reshape(len(inputs), -1).copy()
        flat[:, -1] = targets.ravel() + (16 if x.dtype.kind in "iu" else 0)  # tokens that are rare
        made.append(flat.reshape(inputs.shape))
    return replace(t, data=(made[0], y), valid=(made[1], yv))


def sorted_rows(t: ModuleTraining) -> ModuleTraining:
    """Rows by class, in this order in each epoch."""
    x, y = t.data
    order = np.argsort(y.ravel(), kind="stable")
    return replace(t, data=(x[order], y[order]), shuffle=False)


class Powers(Module):
    """exp(x) as a hidden activation."""

    def forward(self, x: Any) -> Tensor:
        return elementwise.exp(x)


def of_probabilities(p: Tensor, y: Any) -> Tensor:
    """Cross-entropy of probabilities, protected."""
    return F.nll_loss(elementwise.log(elementwise.clip(p, 1e-7, 1.0)), y)


def unprotected(p: Tensor, y: Any) -> Tensor:
    """Cross-entropy of probabilities, without protection from 0."""
    return -reductions.mean(reductions.sum(F.one_hot(y, p.shape[-1]) * elementwise.log(p), axis=-1))


def hot_squares(p: Tensor, y: Any) -> Tensor:
    """Squared differences from one-hot vectors."""
    return F.mse_loss(p, F.one_hot(y, p.shape[-1]).astype(p.dtype))


def hot_absolute(p: Tensor, y: Any) -> Tensor:
    """Absolute differences from one-hot vectors."""
    return F.l1_loss(p, F.one_hot(y, p.shape[-1]).astype(p.dtype))


def broadcast(p: Tensor, y: Any) -> Tensor:
    """(N, 1) against (N,): every output with every target."""
    return reductions.mean((p - y.reshape(-1)) ** 2)


def sums(p: Tensor, y: Any) -> Tensor:
    """A sum of the squared differences."""
    return F.mse_loss(p, y, reduction="sum")


def sum_of_classes(p: Tensor, y: Any) -> Tensor:
    """A sum of the cross-entropies."""
    return F.cross_entropy(p, y, reduction="sum")


def of_nearest_class(p: Tensor, y: Any) -> Tensor:
    """The cross-entropy, where a class without an output counts as the last one that has one."""
    return F.cross_entropy(p, elementwise.clip(y, None, p.shape[-1] - 1))


def negated(p: Tensor, y: Any) -> Tensor:
    """The loss with the wrong sign."""
    return -F.cross_entropy(p, y)


def build(seeded: Seeded) -> ModuleTraining:
    """The healthy training with the fault in it."""
    drawn = random.default.state
    random.default.set_state(random.Generator(100 + seeded.seed).state)
    try:
        return seeded.spoil(HEALTHY[seeded.healthy].build(seeded.seed))
    finally:
        random.default.set_state(drawn)
