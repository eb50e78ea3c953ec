"""PyTorch: the weights of its models, read and written; its trainings, diagnosed.

A model of the same layers loads the weights, and writes them:

    interop.torch.load_state_dict(model, torch_model.state_dict())
    torch_model.load_state_dict(interop.torch.to_torch(model))

Names and shapes are PyTorch's, except for two things, because images are channels last here:

- a convolution's weight is (*kernel, in, out) here, (out, in, *kernel) there;
- a layer that reads a flattened image, (height, width, channels) here, (channels, height, width)
  there, has its columns in another order. A `Sequential` shows which layers those are, and how many
  channels the image has. A custom `forward` or function does not: if there are convolutions, or its
  code names an operation that rearranges (reshape, …), `flattened` has to say it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..errors import ArgumentError, ShapeError, user_line
from ..nn.module import walk
from ..nn.order import is_torch_tensor
from ..tensor import Tensor
from .flattened import CONVOLUTIONS, LAST_AXES, RECURRENT, channels_read

Array = np.ndarray[Any, Any]

_WRAPPERS = "module.", "_orig_mod."  # of DataParallel and torch.compile


def load_state_dict(
    model: nn.Module,
    state: Mapping[str, Any],
    *,
    flattened: Mapping[str, int] | None = None,
    names: Mapping[str, str] | None = None,
    strict: bool = True,
) -> None:
    """Load the state of PyTorch's model of the same layers. If a part does not fit, none is loaded.

    state       tensors or arrays by name: `torch_model.state_dict()`, or as read from a file
    flattened   for a custom forward or function that rearranges: the layers that read a flattened
                image, and its channels, {"fc1": 16}; {} if none does
    names       modules with another name here, by the name there: {"encoder.layers": "blocks"}
    strict      missing and unknown names are errors
    """
    if not isinstance(state, Mapping):
        raise ArgumentError(
            _NAME,
            f"got a {type(state).__name__}",
            "expected a mapping of tensors by name",
            "pass torch_model.state_dict()",
            user_line(),
        )
    _expect_module(_NAME, model)
    places = _places(model)
    arrays = {_renamed(n, names or {}): _array(n, value) for n, value in state.items()}
    for wrapper in _WRAPPERS:
        if not any(name.startswith(wrapper) for name in places):
            arrays = {name.removeprefix(wrapper): a for name, a in arrays.items()}
    channels = channels_read(model, flattened)
    values: dict[str, Array] = {}
    for name, array in _joined(arrays, places).items():
        own = name
        if name in places and array.ndim == places[name][2].ndim:
            own, owner, _ = places[name]
            array = _reordered(own, owner, array, channels.get(id(owner)))
        if own in values and not np.array_equal(values[own], array, equal_nan=True):
            raise ArgumentError(
                _NAME,
                f"got two values for {own}, which {name} shares",
                "expected equal values",
                "give the model a tensor for each",
                user_line(),
            )
        values[own] = array
    model.load_state_dict(values, strict)


def names_in_order(model: nn.Module, state: Mapping[str, Any]) -> dict[str, str]:
    """`names` for a state of the same layers in the same order, whatever they are called there.

        names = interop.torch.names_in_order(model, state)
        interop.torch.load_state_dict(model, state, names=names)

    So `models.resnet18()` loads the weights of torchvision's resnet18.
    """
    _expect_module("interop.torch.names_in_order", model)
    own, theirs = (
        list(dict.fromkeys(name.rpartition(".")[0] for name in names))
        for names in (_places(model), state)
    )
    if len(own) != len(theirs):
        raise ArgumentError(
            "interop.torch.names_in_order",
            f"got {len(theirs)} layers with weights for the {len(own)} of the model",
            "expected the same layers in the same order",
            "print(model) shows its layers; write names={theirs: ours} for those that are alike",
            user_line(),
        )
    return dict(zip(theirs, own, strict=True))


def to_torch(model: nn.Module, *, flattened: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The state as PyTorch's tensors, for `load_state_dict` of its model of the same layers.

    flattened   as for `load_state_dict`
    """
    torch = _import_torch("interop.torch.to_torch")
    _expect_module("interop.torch.to_torch", model)
    channels = channels_read(model, flattened)
    out: dict[str, Any] = {}
    for name, (own, owner, tensor) in _places(model).items():
        array = _reordered(own, owner, tensor.numpy(), channels.get(id(owner)), back=True)
        if array.dtype.name == "bfloat16":  # which PyTorch does not know NumPy's of
            out[name] = torch.tensor(array.astype(np.float32)).bfloat16()
        else:
            out[name] = torch.tensor(np.ascontiguousarray(array).reshape(array.shape))
    return out


def diagnose(
    model: Any,
    data: Any,
    *,
    loss: Callable[..., Any],
    optimizer: Any = None,
    valid: Any = None,
    epochs: int = 10,
    batch_size: int | None = None,
    seconds: float = 60.0,
) -> Any:
    """Find what is wrong with the training of a PyTorch model, as `chainrule.diagnose` does.

    model       with its first weights; it stays as it is
    data        (x, y) tensors or arrays, a Dataset of such pairs that fits into memory, or a
                DataLoader of one, which has batch size and shuffle
    loss        of PyTorch, or a function (prediction, target)
    optimizer   of the model's parameters, before its first step; Adam by default
    valid       held-out (x, y), or a Dataset or DataLoader; by default every fifth row of the data,
                in random order
    batch_size  32 by default; rows are shuffled in each epoch
    seconds     of processor time for trials, after the training itself has run once

    Trials run on one thread. A hidden activation has to be a module to be exchanged.
    """
    _import_torch("interop.torch.diagnose")
    # The doctor is above this room; it is imported when it is asked for.
    doctor: Any = importlib.import_module("chainrule.doctor.pytorch.diagnosis")
    return doctor.diagnose(
        model,
        data,
        loss=loss,
        optimizer=optimizer,
        valid=valid,
        epochs=epochs,
        batch_size=batch_size,
        seconds=seconds,
    )


_NAME = "interop.torch.load_state_dict"


def _import_torch(name: str) -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise ArgumentError(
            name, "got no PyTorch", "expected torch", "pip install torch", user_line()
        ) from None


def _expect_module(name: str, model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            name,
            f"got a {type(model).__name__}",
            "expected a chainrule.nn.Module",
            "pass the model of chainrule first",
            user_line(),
        )


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def _places(model: nn.Module) -> dict[str, tuple[str, nn.Module, Tensor]]:
    """Each name of each parameter and buffer: its name in state_dict, its module, the tensor.

    A tensor that is shared has several names in PyTorch, and one in `state_dict`.
    """
    own = {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}
    return {
        path: (own[id(value)], owner, value)
        for _, path, value, owner in walk(model, every_path=True)
        if isinstance(value, Tensor) and id(value) in own
    }


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for theirs in sorted(names, key=len, reverse=True):
        if name == theirs or name.startswith(f"{theirs}."):
            return names[theirs] + name[len(theirs) :]
    return name


def _joined(arrays: dict[str, Array], places: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays, with the projections of queries, keys and values joined if the model has one."""
    out = dict(arrays)
    for name in places:
        path, matched, kind = name.rpartition("in_proj_")
        if not matched or name in arrays:
            continue
        for sep in "_.":
            parts = [f"{path}{part}_proj{sep}{kind}" for part in "qkv"]
            if all(part in out for part in parts):
                out[name] = np.concatenate([out.pop(part) for part in parts])
    return out


def _array(name: str, value: Any) -> Array:
    """A tensor (of PyTorch or of this library) or array as an array."""
    if is_torch_tensor(value):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which NumPy does not know
            value = value.float()
    array = np.array(
        value.numpy() if is_torch_tensor(value) or isinstance(value, Tensor) else value
    )
    if array.dtype == object:
        raise ArgumentError(
            _NAME,
            f"got {type(value).__name__} for {name}",
            "expected a tensor or an array",
            "pass torch_model.state_dict()",
            user_line(),
        )
    return array


# ── order ────────────────────────────────────────────────────────────────────────────────────────


def _reordered(
    name: str, owner: nn.Module, array: Array, channels: int | None, back: bool = False
) -> Array:
    """PyTorch's array in the order of this library; with `back` the reverse.

    channels   of the flattened image that the owner reads; None if it reads none
    """
    kind, n = name.rpartition(".")[2], array.ndim
    if isinstance(owner, CONVOLUTIONS) and kind == "weight":
        # (out, in, *kernel) and (*kernel, in, out); for the adjoint in and out are the other's
        return (
            array.transpose(n - 1, n - 2, *range(n - 2))
            if back
            else array.transpose(*range(2, n), 1, 0)
        )
    if channels is None or n == 0 or (isinstance(owner, nn.Linear) and kind != "weight"):
        return array
    if isinstance(owner, RECURRENT) and not kind.startswith("weight_ih_l0"):
        return array
    if isinstance(owner, LAST_AXES) and n > 1:
        return np.moveaxis(array, -1, 0) if back else np.moveaxis(array, 0, -1)
    if array.shape[-1] == 1:  # one number for all
        return array
    if array.shape[-1] % channels:
        raise ShapeError(
            "interop.torch",
            f"got {name} {array.shape} behind an image of {channels} channels",
            f"expected a multiple of {channels} on the last axis",
            f'give the channels of what it reads: flattened={{"{name.rpartition(".")[0]}": 1}}',
            user_line(),
        )
    places = array.shape[-1] // channels
    apart = (places, channels) if back else (channels, places)
    split = array.reshape(*array.shape[:-1], *apart)
    return split.swapaxes(-1, -2).reshape(array.shape)
