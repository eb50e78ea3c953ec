"""Changes of a training of this library's modules, each by its word.

Those of optimizer settings and data are the same for modules of other libraries.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from .. import nn, optim, random
from ..diagnosis.finding import Change
from ..functions import elementwise
from ..functions.creation import zeros
from ..graph import Array
from ..nn import Module, init
from ..nn import functional as F  # noqa: N812 - the usual name
from ..nn.activation import Activation
from ..tensor import Tensor, no_grad
from .setup import Setup
from .structure import as_gru, remember, with_residual

T = TypeVar("T", bound=Setup)
Words = Mapping[str, Callable[[Any, Change], Any]]  # what each word of a change does

MANY = 50  # columns from which they may be of one kind
UNLIKE = 10.0  # largest spread of a column over the median, of columns of one kind
ACTIVATIONS: Mapping[str, type[Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softmax": nn.Softmax,
}
OPTIMIZERS: Mapping[str, type[optim.Optimizer]] = {"adam": optim.Adam, "sgd": optim.SGD}


def apply(training: T, changes: Sequence[Change], words: Words | None = None) -> T:
    """Make these changes in place, in an order in which none undoes another.

    words   those of another library, for the changes that are not the same for all
    """
    words = {**CHANGES, **(words or {})}
    order = list(CHANGES)
    for change in sorted(changes, key=lambda c: order.index(c.what)):
        training = words[change.what](training, change)
    return training


# ── the network ──────────────────────────────────────────────────────────────────────────────────


def module_at(model: Any, path: str) -> Any:
    """The module of a path."""
    for part in filter(None, path.split(".")):
        if isinstance(model, (list, tuple)):
            model = model[int(part)]
        else:
            model = model[key_of(model, part)] if isinstance(model, dict) else getattr(model, part)
    return model


def key_of(modules: dict[Any, Any], name: str) -> Any:
    """The key that a part of a path stands for."""
    return next(key for key in modules if str(key) == name)


def exchange(t: T, path: str, new: Any) -> T:
    """With another module at a path; "" is the model itself."""
    if not path:
        return replace(t, model=new)
    parent, _, name = path.rpartition(".")
    inside = module_at(t.model, parent)
    if isinstance(inside, tuple):
        return exchange(t, parent, (*inside[: int(name)], new, *inside[int(name) + 1 :]))
    if isinstance(inside, list):
        inside[int(name)] = new
    elif isinstance(inside, dict):
        inside[key_of(inside, name)] = new
    else:
        setattr(inside, name, new)
    return t


def _activation(t: T, change: Change) -> T:
    """The activation at a path; of a module that is none, one after it."""
    old = module_at(t.model, change.place)
    new = ACTIVATIONS[change.value]()
    return exchange(t, change.place, new if activates(old) else nn.Sequential(old, new))


def activates(module: Module) -> bool:
    """Whether another activation replaces it: one, or a module of the user's without parameters."""
    own = not type(module).__module__.startswith("chainrule.")
    return isinstance(module, (nn.Identity, Activation)) or (own and not module.parameters())


def _units(t: T, change: Change) -> T:
    """A linear layer with so many outputs in the place of another."""
    old = module_at(t.model, change.place)
    with _drawing(change.place):
        new = nn.Linear(old.weight.shape[1], change.value, bias=old.bias is not None)
    return _with_optimizer(exchange(t, change.place, new))


def _remove(t: T, change: Change) -> T:
    return exchange(t, change.place, nn.Identity())


def _insert_norm(t: T, change: Change) -> T:
    """Batch normalization after a layer of weights."""
    old = module_at(t.model, change.place)
    bias = old.weight.shape
    convolution = type(old).__name__.startswith("Conv")
    norm = nn.BatchNorm2d(bias[-1]) if convolution else nn.BatchNorm1d(bias[0])
    return _with_optimizer(exchange(t, change.place, nn.Sequential(old, norm)))


def _train(t: T, change: Change) -> T:
    """All parameters of a module, by the optimizer that there is."""
    for p in module_at(t.model, change.place).parameters():
        p.requires_grad = True
    return _with_optimizer(t)


def _residual(t: T, change: Change) -> T:
    return exchange(t, change.place, with_residual(module_at(t.model, change.place)))


def _recurrent(t: T, change: Change) -> T:
    with _drawing(change.place):
        new = as_gru(module_at(t.model, change.place))
    return _with_optimizer(exchange(t, change.place, new))


def _memory(t: T, change: Change) -> T:
    remember(module_at(t.model, change.place), change.value, seed_of(change.place))
    return t


INITIALISATIONS: Mapping[str, Callable[..., Any]] = {
    "he_uniform": init.kaiming_uniform_,
    "he_normal": init.kaiming_normal_,
    "glorot_uniform": init.xavier_uniform_,
}


def seed_of(path: str) -> int:
    """A seed for each path, so that layers of one shape do not begin equal."""
    return zlib.crc32(path.encode())


@contextlib.contextmanager
def _drawing(path: str) -> Iterator[None]:
    """Random numbers from the seed of a path inside; afterwards they go on as before."""
    drawn = random.default.state
    random.default.set_state(random.Generator(seed_of(path)).state)
    try:
        yield
    finally:
        random.default.set_state(drawn)


def _initialisation(t: T, change: Change) -> T:
    module = module_at(t.model, change.place)
    with _drawing(change.place):
        if isinstance(module, (nn.RNN, nn.LSTM, nn.GRU)):
            _recurrent_initialisation(module)
            return t
        INITIALISATIONS[change.value](module.weight)
        if getattr(module, "bias", None) is not None:
            init.zeros_(module.bias)
    return t


def _recurrent_initialisation(module: Module) -> None:
    """Orthogonal weights from state to state, of each gate, so that the state keeps its size."""
    for name, p in module.named_parameters():
        if "weight_hh" in name:
            size = p.shape[1]
            parts = [init.orthogonal_(zeros((size, size))).numpy() for _ in range(len(p) // size)]
            with no_grad():
                p[...] = np.concatenate(parts)
        elif p.ndim >= 2:
            init.xavier_uniform_(p)
        else:
            init.zeros_(p)


# ── the optimizer ────────────────────────────────────────────────────────────────────────────────


def _rate(t: T, change: Change) -> T:
    ratio = change.value / float(t.optimizer.param_groups[0]["lr"])
    for group in t.optimizer.param_groups:
        group["lr"] = float(group["lr"]) * ratio
    return t


def _optimizer(t: T, change: Change) -> T:
    name, rate = change.value
    names = {id(p): path for path, p in t.model.named_parameters()}
    kind: Any = OPTIMIZERS[name]
    return replace(t, optimizer=kind(with_decay(t.optimizer, lambda p: (names[id(p)], p)), lr=rate))


def with_decay(optimizer: Any, entry: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """The groups of an optimizer with nothing but their weight decay, for another one.

    entry   what the other one takes for a parameter
    """
    return [
        {
            "params": [entry(p) for p in group["params"]],
            "weight_decay": group.get("weight_decay", 0.0),
        }
        for group in optimizer.param_groups
    ]


def _with_optimizer(t: T) -> T:
    """With the same kind of optimizer for the parameters that the model has now."""
    old = t.optimizer
    names = {id(p): path for path, p in t.model.named_parameters()}
    groups: list[dict[str, Any]] = []
    for group in old.param_groups:
        settings = {k: group[k] for k in group if k != "initial_lr"}  # which schedules add
        still = [p for p in group["params"] if id(p) in names]
        groups.append({**settings, "params": [(names.pop(id(p)), p) for p in still]})
    added = [(path, p) for path, p in t.model.named_parameters() if id(p) in names]
    groups[0]["params"] += added
    settings = {k: v for k, v in groups[0].items() if k != "params"}
    groups = [group for group in groups if group["params"]]
    return replace(t, optimizer=type(old)(groups, **settings))


def _clip(t: T, change: Change) -> T:
    return replace(t, clip_norm=change.value)


def _decay(t: T, change: Change) -> T:
    for group in t.optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = change.value
    return t


# ── loss and data ────────────────────────────────────────────────────────────────────────────────


def _hot(prediction: Tensor, y: Any) -> Any:
    """Targets in the shape of the prediction: class numbers as one-hot vectors."""
    if y.shape == prediction.shape:
        return y.astype(prediction.dtype)
    if prediction.shape[-1] == 1:
        return y.reshape(prediction.shape).astype(prediction.dtype)
    return F.one_hot(y.reshape(-1).astype("int64"), prediction.shape[-1]).astype(prediction.dtype)


def _classes(prediction: Tensor, y: Any) -> Any:
    if y.shape == prediction.shape:
        return y.astype(prediction.dtype)
    return y.reshape(prediction.shape[:-1]).astype("int64")


def _of_probabilities(p: Tensor, y: Any) -> Tensor:
    logs = elementwise.log(elementwise.clip(p / p.sum(-1, keepdims=True), 1e-7, 1 - 1e-7))
    if y.shape == p.shape:
        return -(y.astype(p.dtype) * logs).sum(-1).mean()
    return F.nll_loss(logs, y.astype("int64"))


LOSSES: Mapping[str, Callable[[Tensor, Any], Tensor]] = {
    "cce_logits": lambda p, y: F.cross_entropy(p, _classes(p, y)),
    "cce_probs": _of_probabilities,
    "bce_probs": lambda p, y: F.binary_cross_entropy(
        elementwise.clip(p, 1e-7, 1 - 1e-7), _hot(p, y)
    ),
    "bce_logits": lambda p, y: F.binary_cross_entropy_with_logits(p, _hot(p, y)),
    "mse": lambda p, y: F.mse_loss(p, _hot(p, y)),
}


def _loss(t: T, change: Change) -> T:
    return replace(t, loss=LOSSES[change.value])


def _scale(t: T, change: Change) -> T:
    """Standardise inputs or targets by the mean and deviation of the training rows."""
    k = 0 if change.place == "data.inputs" else 1
    a, b = (np.asarray(d[k], np.float64) for d in (t.data, t.valid))
    if a.ndim > 2 or (k == 0 and alike(a)):
        mean, std = a.mean(), a.std()
    else:
        mean, std = a.mean(0), a.std(0)
    std = np.where(std == 0, 1, std)

    def put(data: tuple[Array, Array], new: Array) -> tuple[Array, Array]:
        new = ((new - mean) / std).astype(_float_of(t.data[k]))
        return (new, data[1]) if k == 0 else (data[0], new)

    return replace(t, data=put(t.data, a), valid=put(t.valid, b))


def _binary(t: T, change: Change) -> T:
    """Targets of 0 and 1 in place of two other values."""

    def coded(data: tuple[Array, Array]) -> tuple[Array, Array]:
        return data[0], (data[1] == change.value[1]).astype(data[1].dtype)

    return replace(t, data=coded(t.data), valid=coded(t.valid))


def _match(t: T, change: Change) -> T:
    """Multiply the inputs of the training rows."""
    x, y = t.data
    return replace(t, data=((x * change.value).astype(_float_of(x)), y))


def _match_held_out(t: T, change: Change) -> T:
    """Multiply the inputs of the held-out rows."""
    x, y = t.valid
    return replace(t, valid=((x * change.value).astype(_float_of(x)), y))


def _drop(t: T, change: Change) -> T:
    """A column of 0 in both sets; columns are those of a row as one line of numbers."""

    def without(data: tuple[Array, Array]) -> tuple[Array, Array]:
        x = data[0].copy()
        x.reshape(len(x), -1)[:, change.value] = 0
        return x, data[1]

    return replace(t, data=without(t.data), valid=without(t.valid))


def _float_of(a: Array) -> Any:
    return a.dtype if a.dtype.kind == "f" else np.float32


def alike(a: Array) -> bool:
    """Whether all columns are of one kind, as pixels are: then they are scaled together.

    Columns in different units spread by very different amounts.
    """
    if a.ndim != 2 or a.shape[1] < MANY:
        return a.ndim > 2
    spread = a.std(axis=0)
    varies = spread[spread > 0]
    return varies.size == 0 or bool(varies.max() <= UNLIKE * np.median(varies))


def _shuffle(t: T, change: Change) -> T:
    return replace(t, shuffle=change.value)


def _batch(t: T, change: Change) -> T:
    return replace(t, batch=change.value)


def _epochs(t: T, change: Change) -> T:
    return replace(t, epochs=change.value)


CHANGES: Words = {
    "train": _train,
    "match": _match,
    "match_held_out": _match_held_out,
    "drop": _drop,
    "scale": _scale,
    "binary": _binary,
    "recurrent": _recurrent,
    "units": _units,
    "initialisation": _initialisation,
    "memory": _memory,
    "insert": _insert_norm,
    "residual": _residual,
    "activation": _activation,
    "output_activation": _activation,
    "remove": _remove,
    "optimizer": _optimizer,
    "rate": _rate,
    "decay": _decay,
    "loss": _loss,
    "clip": _clip,
    "shuffle": _shuffle,
    "batch": _batch,
    "epochs": _epochs,
}
