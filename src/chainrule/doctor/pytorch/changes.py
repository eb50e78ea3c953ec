"""Changes of a training of PyTorch's modules, by the words of `doctor.changes`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...diagnosis.finding import Change
from ..changes import OPTIMIZERS, Words, exchange, module_at, seed_of, with_decay
from ..setup import Setup
from ..structure import gate_biases, memory_bias
from .layers import CONVOLUTIONS, is_of_torch, kind_of
from .surroundings import drawing

torch: Any = importlib.import_module("torch")
nn: Any = torch.nn
F: Any = nn.functional

ACTIVATIONS: Mapping[str, Callable[[], Any]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softmax": lambda: nn.Softmax(-1),
}


class LastNorm(nn.BatchNorm1d):  # type: ignore[misc]
    """Batch normalization of the last axis, over all others."""

    def forward(self, x: Any) -> Any:
        return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)


class Followed(nn.Sequential):  # type: ignore[misc]
    """A layer and what follows it; some modules read the weights of their layers themselves."""

    @property
    def weight(self) -> Any:
        return self[0].weight

    @property
    def bias(self) -> Any:
        return self[0].bias


# ── the network ──────────────────────────────────────────────────────────────────────────────────


def _put(t: Any, path: str, new: Any) -> Any:
    """With another module at a path, and wherever else the old one is used."""
    old = module_at(t.model, path)
    for parent in list(t.model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
    return t if path else exchange(t, path, new)


def _activation(t: Any, change: Change) -> Any:
    """The activation at a path; of a module that is none, one after it."""
    old, new = module_at(t.model, change.place), ACTIVATIONS[change.value]()
    odd = not is_of_torch(old) and not any(True for _ in old.parameters())
    if not (odd or isinstance(old, nn.Identity) or kind_of(old) == "activation"):
        new = Followed(old, new)
    return _put(t, change.place, new)


def _remove(t: Any, change: Change) -> Any:
    return _put(t, change.place, nn.Identity())


def _insert_norm(t: Any, change: Change) -> Any:
    """Batch normalization after a layer of weights, trained as the first group of parameters."""
    old = module_at(t.model, change.place)
    w = old.weight
    if isinstance(old, CONVOLUTIONS):
        kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
        norm = kinds[w.ndim - 3](old.out_channels)
    else:
        norm = LastNorm(len(w))
    norm.to(device=w.device, dtype=w.dtype)
    t.optimizer.param_groups[0]["params"] += list(norm.parameters())
    return _put(t, change.place, Followed(old, norm))


class Residual(nn.Module):  # type: ignore[misc]
    """x + inner(x)."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)


def _train(t: Any, change: Change) -> Any:
    """All parameters of a module; new ones as the first group of the optimizer."""
    groups = t.optimizer.param_groups
    trained = {id(p) for group in groups for p in group["params"]}
    for p in module_at(t.model, change.place).parameters():
        p.requires_grad_(True)
        if id(p) not in trained:
            groups[0]["params"].append(p)
    return t


def _residual(t: Any, change: Change) -> Any:
    """As `structure.with_residual`."""
    inner = module_at(t.model, change.place)
    last = inner[len(inner) - 1] if isinstance(inner, nn.Sequential) else inner
    for p in (last.weight, last.bias):
        if p is not None:
            nn.init.zeros_(p)
    return _put(t, change.place, Residual(inner))


def _units(t: Any, change: Change) -> Any:
    """A linear layer with so many outputs in the place of another."""
    old = module_at(t.model, change.place)
    with drawing(seed_of(change.place)):
        new = nn.Linear(old.in_features, change.value, bias=old.bias is not None)
    new.to(device=old.weight.device, dtype=old.weight.dtype)
    return _put_trained(t, change.place, new)


def _recurrent(t: Any, change: Change) -> Any:
    """A GRU of the same size."""
    old = module_at(t.model, change.place)
    with drawing(seed_of(change.place)):
        new = nn.GRU(
            old.input_size,
            old.hidden_size,
            old.num_layers,
            bias=old.bias,
            batch_first=old.batch_first,
            dropout=old.dropout,
            bidirectional=old.bidirectional,
        )
    new.to(device=old.weight_hh_l0.device, dtype=old.weight_hh_l0.dtype)
    return _put_trained(t, change.place, new)


def _put_trained(t: Any, path: str, new: Any) -> Any:
    """With another module at a path, trained by the same groups of parameters as the old one."""
    theirs = {id(p) for p in module_at(t.model, path).parameters()}
    for group in t.optimizer.param_groups:
        has_old = any(id(p) in theirs for p in group["params"])
        others = [p for p in group["params"] if id(p) not in theirs]
        group["params"] = others + list(new.parameters()) * has_old
    return _put(t, path, new)


def _memory(t: Any, change: Change) -> Any:
    module = module_at(t.model, change.place)
    for name, bias in gate_biases(dict(module.named_parameters()), type(module).__name__):
        new = memory_bias(bias.detach().cpu().numpy(), name, change.value, seed_of(change.place))
        with torch.no_grad():
            bias.copy_(torch.as_tensor(new))
    return t


_INITS: Mapping[str, Callable[..., Any]] = {
    "he_uniform": lambda w: nn.init.kaiming_uniform_(w),
    "he_normal": lambda w: nn.init.kaiming_normal_(w),
    "glorot_uniform": lambda w: nn.init.xavier_uniform_(w),
}


def _initialisation(t: Any, change: Change) -> Any:
    module = module_at(t.model, change.place)
    with drawing(seed_of(change.place)):
        if isinstance(module, nn.RNNBase):
            _recurrent_initialisation(module)
            return t
        _INITS[change.value](module.weight)
        if isinstance(getattr(module, "bias", None), torch.Tensor):
            nn.init.zeros_(module.bias)
    return t


def _recurrent_initialisation(module: Any) -> None:
    """Orthogonal weights from state to state, of each gate, so that the state keeps its size."""
    for name, p in module.named_parameters():
        if name.startswith("weight_hh"):
            for gate in p.split(p.shape[1]):
                nn.init.orthogonal_(gate)
        elif p.ndim >= 2:
            nn.init.xavier_uniform_(p)
        else:
            nn.init.zeros_(p)


# ── the optimizer ────────────────────────────────────────────────────────────────────────────────


def _optimizer(t: Any, change: Change) -> Any:
    name, rate = change.value
    kind = getattr(torch.optim, OPTIMIZERS[name].__name__)  # of the same name
    for module in t.model.modules():
        if getattr(module, "sparse", False) is True:  # an embedding: few optimizers can do that
            module.sparse = False
    return replace(t, optimizer=kind(with_decay(t.optimizer, lambda p: p), lr=rate))


# ── the loss ─────────────────────────────────────────────────────────────────────────────────────


def _hot(p: Any, y: Any) -> Any:
    """Targets in the shape of the prediction: class numbers as one-hot vectors."""
    if y.shape == p.shape:
        return y.to(p.dtype)
    if p.shape[-1] == 1:
        return y.reshape(p.shape).to(p.dtype)
    return F.one_hot(y.reshape(p.shape[:-1]).long(), p.shape[-1]).to(p.dtype)


def _cross_entropy(p: Any, y: Any) -> Any:
    """Of scores (N, …, classes) or (N, classes, …); targets below 0 do not count."""
    if y.shape == p.shape:
        return F.cross_entropy(p, y.to(p.dtype))
    if p.ndim > 2 and y.shape != p.shape[:-1]:
        p = p.movedim(1, -1)
    y = y.reshape(-1).long()
    return F.cross_entropy(p.reshape(len(y), -1), torch.where(y < 0, -100, y))


def _of_probabilities(p: Any, y: Any) -> Any:
    logs = torch.log(torch.clip(p / p.sum(-1, keepdim=True), 1e-7, 1 - 1e-7))
    return -(_hot(p, y) * logs).sum(-1).mean()


LOSSES: Mapping[str, Callable[[Any, Any], Any]] = {
    "cce_logits": _cross_entropy,
    "cce_probs": _of_probabilities,
    "bce_probs": lambda p, y: F.binary_cross_entropy(torch.clip(p, 1e-7, 1 - 1e-7), _hot(p, y)),
    "bce_logits": lambda p, y: F.binary_cross_entropy_with_logits(p, _hot(p, y)),
    "mse": lambda p, y: F.mse_loss(p, _hot(p, y)),
}


def _loss(t: Setup, change: Change) -> Setup:
    return replace(t, loss=LOSSES[change.value])


WORDS: Words = {
    "train": _train,
    "loss": _loss,
    "recurrent": _recurrent,
    "units": _units,
    "initialisation": _initialisation,
    "memory": _memory,
    "residual": _residual,
    "insert": _insert_norm,
    "activation": _activation,
    "output_activation": _activation,
    "remove": _remove,
    "optimizer": _optimizer,
}
