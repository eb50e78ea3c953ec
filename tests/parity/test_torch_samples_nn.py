"""chainrule's layers and optimizers on the samples that PyTorch tests its own with.

Layers get PyTorch's weights and are compared in training and in evaluation, with the gradients of
inputs and parameters; optimizers take five steps. Differences stand in `samples_reasons`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from samples_calls import KEYWORDS, PLACE, AbsentError, absent, last, second
from samples_harness import Converter, Observation, array, observe, report, unexplained
from torch.testing._internal.common_modules import module_db
from torch.testing._internal.common_optimizers import optim_db

import chainrule as cr
from chainrule import nn, optim

LAYERS = {m.module_cls.__name__: m for m in module_db if m.module_cls.__name__ in nn.__all__}
del LAYERS["TransformerEncoder"]  # its argument is a layer of PyTorch
OPTIMIZERS = {o.optim_cls.__name__: o for o in optim_db if o.optim_cls.__name__ in optim.__all__}
MOST = 64  # samples of a layer in one mode
FEWER = {"Transformer": 20}  # whose layers are tried alone, too
FLOORS = {"layers": 600, "optimizers": 80}  # how many samples agree at least

# Layers whose channels PyTorch has on the second axis, and how many sizes follow them there; for
# those of 0 it is whatever there is.
CHANNELS = {
    **{
        f"{kind}{n}d": n
        for n in (1, 2, 3)
        for kind in (
            "Conv",
            "ConvTranspose",
            "MaxPool",
            "AvgPool",
            "LPPool",
            "AdaptiveAvgPool",
            "AdaptiveMaxPool",
            "InstanceNorm",
        )
    },
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "PReLU"), 0),
}
CLASSES = ("CrossEntropyLoss", "NLLLoss")
SEQUENCES = (
    "RNN",
    "GRU",
    "LSTM",
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "TransformerDecoderLayer",
    "Transformer",
)


def made(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], unused: set[str]) -> Any:
    """Our layer of PyTorch's arguments, without those that are nothing to it."""
    theirs, known = _parameters(getattr(torch.nn, name)), _parameters(getattr(nn, name))
    if not any(p.kind is p.VAR_POSITIONAL for p in theirs.values()):
        args, kwargs = (), {**dict(zip(theirs, args, strict=False)), **kwargs}
    given = {k: v for k, v in kwargs.items() if k not in {*PLACE, "dtype", *unused}}
    given = {KEYWORDS.get(k, k): v for k, v in given.items()}
    for k in sorted(set(given) - set(known)):
        value = given.pop(k)
        usual = theirs[k].default if k in theirs else 0
        if value != usual:
            raise AbsentError(k)
    return getattr(nn, name)(*args, **given)


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def forwarded(name: str, layer: Any, sequences_first: bool, *args: Any, **kwargs: Any) -> Any:
    """Our layer's result in PyTorch's layout."""
    if name in CHANNELS:
        return _channels_last(layer, CHANNELS[name], *args, **kwargs)
    if name in CLASSES:
        x, target = args
        target = last(target) if target.ndim == x.ndim > 1 else target
        return layer(last(x) if x.ndim > 1 else x, target)
    if name in SEQUENCES:
        return _sequences(name, layer, sequences_first, args, kwargs)
    return layer(*args, *kwargs.values())


def _channels_last(layer: Any, sizes: int, x: Any) -> Any:
    if sizes and x.ndim == sizes + 1:
        return second(layer(last(x[None])))[0]
    return layer(x) if x.ndim < 2 else second(layer(last(x)))


def _sequences(name: str, layer: Any, first: bool, args: Any, kwargs: Any) -> Any:
    """Our layers have the batch first."""
    absent(batch_first="False" if first and args[0].ndim == 3 else None)
    return layer(*args, **kwargs)


def kernel(w: np.ndarray) -> np.ndarray:
    """PyTorch's kernel (O, I, *size) as ours, (*size, I, O)."""
    return w.transpose(*range(2, w.ndim), 1, 0)


def take_over(ours: Any, theirs: torch.nn.Module, convert: Converter) -> None:
    """PyTorch's parameters and buffers put into our layer, in their dtype."""
    convolution = type(theirs).__name__.startswith("Conv")
    for path, p in theirs.named_parameters():
        layout = kernel if convolution and p.ndim > 1 else np.asarray
        value = nn.Parameter(cr.Tensor(np.array(layout(array(p)))))
        _put(ours, path, value)
        convert.pairs.append((p, value, layout))
    for path, b in theirs.named_buffers():
        if path != "weight":  # of a loss's classes: it has it
            _put(ours, path, cr.Tensor(np.array(array(b))))


def _put(layer: Any, path: str, value: Any) -> None:
    *owners, name = path.split(".")
    owner = functools.reduce(
        lambda m, part: m[int(part)] if isinstance(m, list) else getattr(m, part), owners, layer
    )
    assert getattr(owner, name).shape == value.shape, path
    setattr(owner, name, value)


def layer_observed(name: str, kind: str, made_with: Any, given: Any, number: int) -> Observation:
    """One sample of a layer, in training, in evaluation, or of what PyTorch refuses."""
    convert = Converter()
    args, kwargs = made_with.args, made_with.kwargs
    inputs, more = (given.args, given.kwargs) if given is not None else ((), {})
    first = name in SEQUENCES and kwargs.get("batch_first") is not True
    torch.manual_seed(0)

    def theirs() -> Any:
        layer = getattr(torch.nn, name)(*args, **kwargs)
        layers.append(layer.train(kind != "eval"))
        return layer(*inputs, **more) if given is not None else 0

    def ours() -> Any:
        unused = set() if kind == "error" else {"batch_first"}
        layer = made(name, convert(tuple(args)), convert(kwargs), unused)
        layer.train() if kind != "eval" else layer.eval()
        if layers and kind != "error":
            take_over(layer, layers[0], convert)
        if given is None:
            return 0
        return forwarded(name, layer, first, *convert(tuple(inputs)), **convert(more))

    layers: list[Any] = []
    sample = SimpleNamespace(input=args, args=inputs, kwargs={**kwargs, **more})
    return observe(name, kind, sample, theirs, ours, convert, number=number)


def layers_observed(name: str) -> Iterator[Observation]:
    info = LAYERS[name]
    settings = {"device": "cpu", "dtype": torch.float64, "requires_grad": True}
    for training in (True, False) if info.train_and_eval_differ else (True,):
        torch.manual_seed(0)
        samples = info.module_inputs_func(info, training=training, **settings)
        for k, s in enumerate(samples[: FEWER.get(name, MOST)]):
            if s.forward_input is not None:
                kind = "train" if training else "eval"
                if name in ("RNN", "GRU", "LSTM") or "dtype" in _parameters(info.module_cls):
                    s.constructor_input.kwargs["dtype"] = torch.float64
                yield layer_observed(name, kind, s.constructor_input, s.forward_input, k)
    if info.module_error_inputs_func is not None:
        errors = info.module_error_inputs_func(info, training=True, **settings)
        for k, e in enumerate(errors):
            s = e.module_error_input
            construction = "CONSTRUCTION" in str(e.error_on)
            given = None if construction else s.forward_input
            yield layer_observed(name, "error", s.constructor_input, given, k)


@pytest.mark.filterwarnings("ignore")
def test_layers() -> None:
    with np.errstate(all="ignore"):
        found = [o for name in LAYERS for o in layers_observed(name)]
    _check("layers", found)


def _check(table: str, found: list[Observation]) -> None:
    wrong = unexplained(found)
    assert not wrong, report(wrong)
    agreed = sum(o.outcome == "agreed" for o in found)
    print(f"{table}: {agreed} of {len(found)} samples of {len({o.name for o in found})} classes")
    assert agreed >= FLOORS[table]


# ── optimizers ───────────────────────────────────────────────────────────────────────────────────

START = np.random.default_rng(0).normal(size=(3, 4))
PULL = np.random.default_rng(1).normal(size=(5, 3, 4))  # added to the gradient, step by step


def stepped(make: Callable[..., Any], tensor: Callable[..., Any]) -> Any:
    """A parameter after each of five steps down ∑w² / 2 + ∑w·pull."""
    w = tensor(START)
    optimizer = make([w])
    seen = []
    for pull in PULL:
        w.grad = None
        (w * w / 2 + w * tensor(pull).detach()).sum().backward()
        optimizer.step()
        seen.append(w.detach().clone())
    return tuple(seen)


def optimizers_observed(name: str) -> Iterator[Observation]:
    info = OPTIMIZERS[name]
    theirs, ours = info.optim_cls, getattr(optim, name)
    known = inspect.signature(ours).parameters

    def make(params: Any, kwargs: dict[str, Any]) -> Any:
        for k in sorted(set(kwargs) - set(known)):
            absent(**{k: kwargs[k]})
        return ours(params, **kwargs)

    for k, s in enumerate(info.optim_inputs_func(device="cpu")):
        kwargs = dict(s.kwargs)
        sample = SimpleNamespace(input=(), args=(), kwargs=kwargs)
        yield observe(
            name,
            "steps",
            sample,
            lambda kw=kwargs: stepped(
                lambda ps: theirs(ps, **kw), lambda a: torch.tensor(a, requires_grad=True)
            ),
            lambda kw=kwargs: stepped(
                lambda ps: make(ps, Converter()(kw)), lambda a: cr.Tensor(a, requires_grad=True)
            ),
            Converter(),
            number=k,
        )
    errors = info.optim_error_inputs_func(device="cpu", dtype=torch.float64)
    for k, e in enumerate(errors):
        s = e.optimizer_error_input
        params = s.params
        if params is None:
            params = [torch.tensor(START, requires_grad=True)]
        sample = SimpleNamespace(input=params, args=(), kwargs=s.kwargs)
        convert = Converter()
        yield observe(
            name,
            "error",
            sample,
            lambda ps=params, s=s: theirs(ps, **s.kwargs) and 0,
            lambda ps=params, s=s, c=convert: make(c(ps), c(s.kwargs)) and 0,
            convert,
            number=k,
        )


@pytest.mark.filterwarnings("ignore")
def test_optimizers() -> None:
    found = [o for name in OPTIMIZERS for o in optimizers_observed(name)]
    _check("optimizers", found)
