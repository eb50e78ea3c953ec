"""Faults by kind: how each is put into a healthy training, and where it then is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


LR, X, Y = ("optimizer.lr", "optimizer"), ("data.inputs",), ("data.targets",)
RATE_LIKE = ("exploding_gradient",)
LR_LIKE = ("lr_too_high", "exploding_gradient")
HIDDEN = ("0", "1", "2", "3", "4", "5")


def _all(healthy: Sequence[str], kind: str, spoil: Spoil, *more: Any, **named: Any) -> list[Seeded]:
    return [Seeded(kind, name, spoil, *more, **named) for name in healthy]


FAULTS: list[Seeded] = [
    # the rate: every family
    *_all(
        ("mlp blobs small", "mlp digits", "mlp numbers", "tanh blobs deep", "cnn stripes large"),
        *("lr_too_high", rate(150), LR, RATE_LIKE),
    ),
    *_all(("rnn waves", "lstm tags"), "lr_too_high", rate(100), LR, RATE_LIKE),
    *_all(("transformer words", "called blobs"), "lr_too_high", rate(100), LR, RATE_LIKE),
    Seeded("lr_too_high", "mlp numbers", sgd(1.5), LR, RATE_LIKE, seed=1),
    *_all(
        ("mlp blobs", "cnn digits", "gru recall", "transformer words", "rnn next values"),
        *("lr_too_low", rate(1e-2), LR, ("too_few_epochs",)),
    ),
    Seeded("lr_too_low", "tanh numbers", sgd(1e-4), LR, ("too_few_epochs", "optimizer_unsuited")),
    *_all(
        ("mlp digits", "lstm waves", "cnn stripes"),
        *("optimizer_unsuited", sgd(1e-2), ("optimizer",), ("lr_too_low", "too_few_epochs")),
    ),
    Seeded(
        "optimizer_unsuited",
        "mlp numbers",
        adam(lr=5e-3, eps=10.0),
        ("optimizer",),
        ("lr_too_low", "too_few_epochs"),
        1,
    ),
    *_all(
        ("mlp blobs", "cnn stripes", "lstm tags"),
        "gradient_ascent",
        loss(negated),
        ("loss", "optimizer"),
    ),
    # how many steps
    *_all(
        ("mlp blobs", "cnn digits", "transformer words"),
        *("batch_too_large", settings(batch=800), ("batch",), ("too_few_epochs", "lr_too_low")),
    ),
    *_all(
        ("mlp digits", "gru recall", "mlp numbers"),
        *("too_few_epochs", settings(epochs=1), ("epochs",), ("lr_too_low", "batch_too_large")),
    ),
    Seeded(
        "batch_too_small",
        "mlp mixed",
        both(adam(lr=0.03), settings(batch=1)),
        ("batch",),
        ("lr_too_high",),
    ),
    # the output and the loss
    *_all(
        ("mlp numbers", "called numbers"),
        *("output_activation_wrong", append(nn.ReLU), ("5", "head", "4")),
    ),
    Seeded("output_activation_wrong", "rnn next values", append(nn.ReLU), ("head",)),
    *_all(("mlp rings",), "output_activation_wrong", append(nn.Softmax), ("5", "4", "loss")),
    Seeded("target_range_mismatch", "tanh numbers", append(nn.Sigmoid), ("5", "4", "data.targets")),
    Seeded("target_range_mismatch", "rnn next values", append(nn.Sigmoid), ("head",)),
    Seeded("target_range_mismatch", "called numbers", append(nn.Tanh), ("head",)),
    *_all(
        ("mlp blobs", "cnn stripes"),
        *("missing_output_activation", loss(of_probabilities), ("2", "4", "loss"), ("loss_wrong",)),
    ),
    *_all(
        ("sgd digits", "sgd cnn digits"),
        *("double_softmax", append(nn.Softmax), ("3", "7", "8", "loss")),
    ),
    Seeded(
        "unprotected_log",
        "mlp blobs",
        both(append(nn.Softmax), inputs(lambda x: x * 4000), loss(unprotected)),
        ("loss",),
        ("inputs_not_scaled",),
    ),
    Seeded("loss_wrong", "sgd digits", both(append(nn.Softmax), loss(hot_squares)), ("loss", "3")),
    Seeded("loss_wrong", "sgd digits", loss(hot_absolute), ("loss",), seed=1),
    Seeded(
        "loss_wrong",
        "sgd cnn digits",
        both(append(nn.Softmax), loss(hot_squares)),
        ("loss", "8"),
    ),
    *_all(("mlp numbers", "called numbers"), "loss_shape_broadcast", loss(broadcast), ("loss",)),
    Seeded(
        "loss_reduction_wrong",
        "sgd numbers",
        loss(sums),
        ("loss",),
        ("lr_too_high", "exploding_gradient"),
    ),
    Seeded(
        "loss_reduction_wrong",
        "sgd cnn digits",
        loss(sum_of_classes),
        ("loss",),
        ("lr_too_high", "exploding_gradient"),
    ),
    # hidden layers
    *_all(
        ("mlp rings", "mlp numbers"),
        *("missing_hidden_activation", exchange(nn.Identity, "1", "3"), HIDDEN),
    ),
    *_all(
        ("mlp blobs", "mlp rings", "tanh numbers"),
        *("vanishing_gradient", deep(nn.Sigmoid, 8), ("*",), ("hidden_activation_wrong",)),
    ),
    Seeded(
        "hidden_activation_wrong",
        "mlp digits",
        exchange(nn.Softmax, "1"),
        ("1",),
        ("lr_too_low", "too_few_epochs"),
    ),
    Seeded(
        "hidden_activation_wrong",
        "mlp numbers",
        exchange(Powers, "1", "3"),
        ("1", "3"),
        ("exploding_gradient",),
    ),
    *_all(
        ("mlp blobs", "mlp numbers", "cnn stripes large"),
        *("dead_relu", weights(constant(-6.0), "0.bias", "3.bias"), ("0", "1", "3", "4")),
        also=("init_too_large", "init_too_small"),
    ),
    *_all(
        ("tanh numbers", "tanh blobs deep"),
        *("saturated_activation", weights(times(60.0)), ("*",), ("init_too_large",)),
    ),
    # first weights
    *_all(
        ("mlp numbers", "mlp digits", "called blobs"),
        *("init_too_large", weights(times(40.0)), ("*",), ("exploding_gradient",)),
    ),
    *_all(
        ("tanh blobs deep", "mlp blobs large"),
        *("init_too_small", weights(times(0.02)), ("*",), ("vanishing_gradient", "lr_too_low")),
    ),
    *_all(
        ("mlp digits", "mlp numbers", "called blobs"),
        *("init_symmetric", weights(constant(0.05), "weight", "bias"), ("*",)),
    ),
    Seeded(
        "exploding_gradient",
        "rnn next values",
        both(weights(times(6.0), "weight_hh_l0"), settings(epochs=6)),
        ("recurrent",),
        ("init_too_large", "saturated_activation"),
    ),
    Seeded(
        "exploding_gradient",
        "mlp blobs",
        both(deep(nn.ReLU, 10), weights(times(8.0))),
        ("*",),
        ("init_too_large",),
    ),
    Seeded(
        "batchnorm_missing",
        "mlp blobs",
        both(deep(nn.ReLU, 14), settings(epochs=8)),
        ("*",),
        ("vanishing_gradient", "init_too_small", "dead_relu"),
    ),
    # data
    *_all(
        ("mlp numbers", "mlp rings", "cnn stripes"),
        *("inputs_not_scaled", inputs(lambda x: x * 300 + 900), X),
    ),
    Seeded("inputs_not_scaled", "rnn next values", inputs(lambda x: x * 300 + 900), X),
    *_all(
        ("mlp blobs", "cnn digits", "tanh numbers"),
        "inputs_overscaled",
        inputs(lambda x: x / 255),
        X,
    ),
    *_all(
        ("mlp numbers", "rnn next values"), "targets_not_scaled", targets(lambda y: y * 50 + 400), Y
    ),
    Seeded("train_test_mismatch", "mlp digits", inputs(lambda x: x / 255, held_out=False), X),
    Seeded("train_test_mismatch", "cnn stripes", inputs(lambda x: x * 30 + 60, trained=False), X),
    *_all(
        ("mlp digits", "cnn digits"),
        *("label_encoding_wrong", targets(lambda y: y // 10, held_out=False), Y),
    ),
    *_all(
        ("mlp blobs", "mlp numbers", "cnn digits"),
        *("labels_misaligned", misaligned, Y, ("label_encoding_wrong",)),
    ),
    *_all(
        ("sgd digits", "tanh blobs deep", "lstm waves", "cnn digits"),
        *("data_not_shuffled", sorted_rows, ("data", "shuffle")),
    ),
    # regularisation, evaluation
    *_all(
        ("mlp blobs large", "tanh blobs deep"),
        *("regularisation_too_strong", dropout(0.95), ("*",)),
    ),
    Seeded(
        "regularisation_too_strong",
        "mlp numbers",
        adamw(lr=5e-3, weight_decay=60.0),
        ("optimizer",),
    ),
    Seeded(
        "regularisation_too_strong", "gru recall", adam(lr=1e-2, weight_decay=1.0), ("optimizer",)
    ),
    *_all(
        ("cnn norm digits",),
        *(
            "inference_mode_wrong",
            exchange(lambda: nn.BatchNorm2d(8, momentum=0.0), "1"),
            ("1",),
        ),
    ),
    *_all(
        ("mlp few", "mlp few deep"),
        *("regularisation_missing", settings(epochs=150), ("epochs", "optimizer")),
    ),
    # the same kinds in sequences and attention, where a fault is in one part of many
    Seeded("init_too_large", "transformer words", weights(times(30.0)), ("*",), RATE_LIKE),
    Seeded("init_too_large", "transformer words deep", weights(times(20.0)), ("*",), RATE_LIKE),
    Seeded(
        "init_symmetric",
        "lstm waves",
        weights(constant(0.1), "_l0"),
        ("recurrent",),
        ("init_too_small",),
    ),
    Seeded(
        "saturated_activation",
        "rnn waves",
        weights(times(40.0), "weight_ih_l0", "weight_hh_l0"),
        ("recurrent",),
        ("init_too_large", "exploding_gradient"),
    ),
    *_all(("transformer words", "gru recall", "lstm tags"), "labels_misaligned", misaligned, Y),
    Seeded("label_encoding_wrong", "transformer words", targets(lambda y: y // 4, False), Y),
    Seeded("targets_not_scaled", "called numbers", targets(lambda y: y * 300 + 2000), Y),
    Seeded("inputs_not_scaled", "lstm waves", inputs(lambda x: x * 300 + 900), X),
    Seeded("inputs_overscaled", "gru recall", inputs(lambda x: x / 255), X),
    Seeded("train_test_mismatch", "gru recall", inputs(lambda x: x / 255, held_out=False), X),
    *_all(("sgd words", "sgd tags"), "lr_too_high", rate(300), LR, RATE_LIKE),
    Seeded("loss_reduction_wrong", "sgd tags", loss(sum_of_classes), ("loss",), LR_LIKE),
    Seeded(
        "missing_output_activation",
        "transformer words",
        loss(of_probabilities),
        ("head", "loss"),
        ("loss_wrong",),
    ),
    Seeded(
        "regularisation_too_strong",
        "transformer words",
        adam(lr=5e-3, weight_decay=1.0),
        ("optimizer",),
    ),
    *_all(
        ("lstm tags", "rnn next values"),
        *("too_few_epochs", settings(epochs=1), ("epochs",), ("lr_too_low", "batch_too_large")),
    ),
    Seeded("gradient_ascent", "transformer words", loss(negated), ("loss", "optimizer")),
    # an activation that is a plain call in a function of the output, which no module shows
    *_all(
        ("called digits",),
        *("double_softmax", loss(lambda p, y: F.cross_entropy(F.softmax(p), y)), ("loss", "head")),
        also=("loss_wrong",),
    ),
]
