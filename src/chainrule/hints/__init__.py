"""Other libraries' names, and what they are called here: for the messages of errors."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .errors import CallError, user_line

FUNCTIONS = {
    "absolute": "abs",
    "allclose": "numpy.allclose(x.numpy(), y.numpy())",
    "amax": "max",
    "amin": "min",
    "arccos": "acos",
    "arcsin": "asin",
    "arctan": "atan",
    "arctan2": "atan2",
    "autograd": "grad",
    "cat": "concat",
    "clamp": "clip",
    "conv1d": "convolution",
    "conv2d": "convolution",
    "conv3d": "convolution",
    "cuda": "nothing: there are only CPUs",
    "cumprod": "cumulative_prod",
    "cumsum": "cumulative_sum",
    "device": "nothing: there are only CPUs",
    "evaluate": "train.evaluate",
    "from_numpy": "asarray",
    "index_select": "take",
    "inference_mode": "no_grad",
    "load": "load_file of safetensors.numpy, or data.load for data",
    "manual_seed": "random.seed",
    "masked_fill": "where",
    "mm": "matmul",
    "mod": "remainder",
    "ndarray": "Tensor",
    "no_gradient": "no_grad",
    "permute": "permute_dims",
    "predict": "train.predict",
    "rand": "random.uniform",
    "randint": "random.integers",
    "randn": "random.normal",
    "randperm": "random.permutation",
    "save": "save_file(model.state_dict(), path) of safetensors.numpy",
    "sparse": "RowSparse, the gradient of rows that were taken",
    "swapaxes": "transpose(x, a, b)",
    "topk": "top_k",
    "trace": "diagonal(x).sum(axis=-1)",
    "true_divide": "divide",
    "unsqueeze": "expand_dims",
    "vmap": "written with a batch axis: operations broadcast",
}

METHODS = {
    "abs": "cr.abs(x)",
    "add": "x + y",
    "add_": "x += y",
    "backwards": "x.backward()",
    "clamp": "cr.clip(x, low, high)",
    "contiguous": "x itself",
    "copy": "x.clone()",
    "copy_": "x[...] = y",
    "cpu": "x itself",
    "cuda": "x itself",
    "cumsum": "cr.cumulative_sum(x)",
    "data": "x.detach(), and x[...] = y in cr.no_grad() to set it",
    "dim": "x.ndim",
    "double": "x.astype(cr.float64)",
    "eq": "x == y",
    "expand": "cr.broadcast_to(x, shape)",
    "fill_": "x[...] = value",
    "float": "x.astype(cr.float32)",
    "gather": "cr.take_along_axis(x, indices, axis=k)",
    "half": "x.astype(cr.float16)",
    "long": "x.astype(cr.int64)",
    "masked_fill": "cr.where(mask, value, x)",
    "matmul": "x @ y",
    "mul": "x * y",
    "mul_": "x *= y",
    "nonzero": "cr.nonzero(x)",
    "norm": "cr.norm(x)",
    "numel": "x.size",
    "permute": "cr.permute_dims(x, axes)",
    "pow": "x ** y",
    "relu": "cr.relu(x)",
    "repeat": "cr.tile(x, repetitions)",
    "requires_grad_": "x.requires_grad = True",
    "softmax": "cr.softmax(x)",
    "sort": "cr.sort(x)",
    "t": "x.T",
    "to": "x.astype(dtype)",
    "transpose": "cr.transpose(x, axes)",
    "type": "x.astype(dtype)",
    "unsqueeze": "cr.expand_dims(x, axis=k)",
    "view": "x.reshape(shape)",
    "zero_": "x[...] = 0",
    "zero_grad": "x.grad = None",
}

MODULE = {
    "add": "append of nn.Sequential",
    "append": "nn.Sequential(*layers), or a list as an attribute",
    "buffers": "[t for _, t in m.named_buffers()]",
    "compile": "cr.compile(m)",
    "cpu": "m itself: there is one device",
    "cuda": "m itself: there is one device",
    "double": "m.weight = nn.Parameter(m.weight.astype(cr.float64)) for each parameter",
    "evaluate": "cr.train.evaluate(m, data, loss)",
    "fit": "cr.fit(m, (x, y), loss=…)",
    "half": "m.weight = nn.Parameter(m.weight.astype(cr.float16)) for each parameter",
    "predict": "cr.train.predict(m, x)",
    "register_buffer": "an attribute: self.name = cr.zeros(n)",
    "register_parameter": "an attribute: self.name = nn.Parameter(value)",
    "requires_grad_": "m.freeze() and m.unfreeze()",
    "save": "safetensors.numpy.save_file(m.state_dict(), path)",
    "to": "m itself: there is one device",
    "trainable": "m.freeze() and m.unfreeze()",
    "zero_grad": "not needed: each backward() gives fresh gradients",
}

NN = {
    "AveragePooling2D": "AvgPool2d",
    "BatchNormalization": "BatchNorm1d, or BatchNorm2d of images",
    "Conv1D": "Conv1d",
    "Conv2D": "Conv2d",
    "Conv2DTranspose": "ConvTranspose2d",
    "Conv3D": "Conv3d",
    "Dense": "Linear",
    "Dropout2D": "Dropout2d",
    "GlobalAveragePooling2D": "AdaptiveAvgPool2d(1)",
    "LayerNormalization": "LayerNorm",
    "MaxPooling2D": "MaxPool2d",
    "ModuleDict": "a dict of modules, as an attribute",
    "ModuleList": "a list of modules, as an attribute",
    "MultiHeadAttention": "MultiheadAttention",
    "ParameterDict": "a dict of parameters, as an attribute",
    "ParameterList": "a list of parameters, as an attribute",
    "Softmax2d": "Softmax(-1)",
    "TransformerEncoder": "Sequential of several TransformerEncoderLayer",
}

FUNCTIONAL = {
    "avg_pool2d": "nn.AvgPool2d(2)(x)",
    "conv1d": "cr.convolution",
    "conv2d": "cr.convolution",
    "conv3d": "cr.convolution",
    "interpolate": "nn.Upsample",
    "max_pool2d": "cr.max_pool",
    "pad": "cr.pad",
}

OPTIM = {
    "AveragedModel": "EMA",
    "CosineDecay": "WarmupCosine",
    "LRScheduler": "Schedule",
    "LearningRateScheduler": "LambdaLR",
    "Nadam": "NAdam",
    "RMSProp": "RMSprop",
    "lr_scheduler": "optim itself: optim.StepLR(optimizer, 10)",
    "swa_utils": "EMA",
}

KINDS = {
    "chainrule": FUNCTIONS,
    "Tensor": METHODS,
    "Module": MODULE,
    "chainrule.nn": NN,
    "chainrule.nn.functional": FUNCTIONAL,
    "chainrule.optim": OPTIM,
}


def hide_modules(package: str, *public: str) -> None:
    """Take the modules of a package, but for the public ones, out of its names.

    Other libraries have functions of such names: `cr.trace(x)` is to say what it is called here.
    The modules are imported as before: `from chainrule.trace import state`.
    """
    space = vars(sys.modules[package])
    for name, value in [*space.items()]:
        inside = isinstance(value, ModuleType) and value.__name__ == f"{package}.{name}"
        if inside and name not in public:
            del space[name]


def missing(kind: str, name: str, of: str = "") -> AttributeError:
    """The error for a name that is not there, saying what it is called here.

    of   what has not got it, if that is not the kind itself
    """
    known = KINDS[kind].get(name)
    hint = f"; here it is {known}" if known else ""
    return AttributeError(f"{of or kind} has no attribute {name!r}{hint}")


P = ParamSpec("P")
R = TypeVar("R")

_USUAL = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None)}
_KINDS: Mapping[str, tuple[Any, str]] = {
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "str": (str, "a text"),
    "bool": ((bool, np.bool_), "True or False"),
    "None": (type(None), "None"),
}


def calls(
    operation: str | None,
    positional: str,
    keywords: Mapping[str, str] | None = None,
    kinds: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function: a call with other arguments says what they are here.

    operation    its name, or None: the class of the first argument, for an `__init__`
    positional   what to try when there are too many by position, or one twice
    keywords     other libraries' names of arguments, and what they are here
    kinds        whether a setting of another kind than its annotation is an error
    """
    hints = keywords or {}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        names = [n for n in signature.parameters if n != "self"]
        expected = _kinds_of(signature)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            called = operation or type(args[0]).__name__
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                unknown = next((k for k in kwargs if k not in names), None)
                if unknown is None:
                    arrived, advice = f"got arguments that do not fit ({error})", positional
                else:
                    near = get_close_matches(unknown, names, 1)
                    advice = f"did you mean {near[0]}?" if near else f"one of {', '.join(names)}"
                    advice = f"here it is {hints[unknown]}" if unknown in hints else advice
                    arrived = f"got the argument {unknown}"
                needed = f"{called}{bare(signature)}"
                raise CallError(called, arrived, needed, advice, user_line()) from None
            if kinds:
                _expect_kinds(called, signature, expected, given)
            return function(*args, **kwargs)

        return checked

    return decorate


def bare(signature: inspect.Signature) -> inspect.Signature:
    """What the signature takes, without annotations and self."""
    none = inspect.Signature.empty
    parameters = [p for name, p in signature.parameters.items() if name != "self"]
    return inspect.Signature([p.replace(annotation=none) for p in parameters])


def settings(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: a setting of another kind than its annotation is an error."""
    signature = inspect.signature(function)
    kinds, names = _kinds_of(signature), list(signature.parameters)
    first = min((names.index(name) for name in kinds), default=len(names))
    usual = {name: tuple(_USUAL[kind] for kind in kinds[name]) for name in kinds}
    placed = [usual.get(name, ()) for name in names[first:]]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > first:
            for value, types in zip(args[first:], placed, strict=False):
                if types and type(value) not in types:
                    given = dict(zip(names, args, strict=False))
                    _expect_kinds(function.__name__, signature, kinds, given)
        for name, value in kwargs.items():
            if name in usual and type(value) not in usual[name]:
                _expect_kinds(function.__name__, signature, kinds, kwargs)
        return function(*args, **kwargs)

    return checked if kinds else function


def _kinds_of(signature: inspect.Signature) -> dict[str, list[str]]:
    """Of each setting that is a number, a bool or a text by its annotation: what it may be."""
    found = {n: str(p.annotation).split(" | ") for n, p in signature.parameters.items()}
    return {name: kinds for name, kinds in found.items() if _KINDS.keys() >= set(kinds)}


def _expect_kinds(
    operation: str,
    signature: inspect.Signature,
    kinds: Mapping[str, list[str]],
    given: Mapping[str, Any],
) -> None:
    for name, value in given.items():
        expected = kinds.get(name)
        if not expected or any(_is(value, kind) for kind in expected):
            continue
        raise CallError(
            operation,
            f"got {name}={value!r}",
            f"expected {' or '.join(_KINDS[k][1] for k in expected)}",
            f"the arguments are {operation}{bare(signature)}",
            user_line(),
        )


def _is(value: Any, kind: str) -> bool:
    """Whether the value is of the kind; True is no number, a tensor of one number is one."""
    if isinstance(value, bool):
        return kind == "bool"
    return isinstance(value, _KINDS[kind][0]) or (
        kind == "float" and getattr(value, "shape", None) == ()
    )
