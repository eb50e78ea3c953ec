"""PyTorch's weights: a model of the same layers takes them over, and gives them back.

    interop.torch.load_state_dict(model, torch_model.state_dict())
    torch_model.load_state_dict(interop.torch.to_torch(model))

Names and shapes are PyTorch's, but for two things, since images are channels last here:

- a convolution's weight is (*kernel, in, out) here, (out, in, *kernel) there;
- what reads a flattened image, (height, width, channels) here, (channels, height, width) there, has
  its columns in another order. A `Sequential` shows which layers those are, and how many channels
  the image has. A `forward` of your own, or a function, does not: where there are convolutions,
  or its code names an operation that rearranges (reshape, …), you are asked for `flattened`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import nn
from ..errors import ArgumentError, ShapeError, user_line
from ..guards.functions import custom_methods, names_in, reachable_names
from ..nn.activation import Activation
from ..nn.module import walk
from ..nn.order import rearranges
from ..tensor import Tensor

Array = np.ndarray[Any, Any]

_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_POOLS = nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample
_LAST_AXES = nn.LayerNorm, nn.RMSNorm
_SAME_ORDER = (  # layers whose output is in the order of their input
    *_POOLS,
    *_LAST_AXES,
    Activation,
    nn.Threshold,
    nn.PReLU,
    nn.Identity,
    nn.Dropout,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
)
_RECURRENT = nn.RNN, nn.LSTM, nn.GRU
_PER_FEATURE = nn.BatchNorm1d, nn.PReLU
_READERS = nn.Linear, *_LAST_AXES, *_PER_FEATURE, *_RECURRENT
_IMAGES = *_CONVOLUTIONS, *_POOLS, nn.BatchNorm2d, nn.BatchNorm3d, nn.Flatten
_JOINED = "concat", "concatenate", "stack", "split", "unstack", "hstack", "dstack"
_WRAPPERS = "module.", "_orig_mod."  # of DataParallel and torch.compile


def load_state_dict(
    model: nn.Module,
    state: Mapping[str, Any],
    *,
    flattened: Mapping[str, int] | None = None,
    names: Mapping[str, str] | None = None,
    strict: bool = True,
) -> None:
    """Take over the state of PyTorch's model of the same layers. All of it fits, or none is taken.

    state       tensors or arrays by name: `torch_model.state_dict()`, or what a file of it holds
    flattened   for a forward of your own, or a function, that rearranges: the layers that read a
                flattened image, and its channels, {"fc1": 16}; {} if none does
    names       other names of modules, theirs to ours: {"encoder.layers": "blocks"}
    strict      missing and unknown names are errors
    """
    if not isinstance(state, Mapping):
        raise ArgumentError(
            _NAME,
            f"got a {type(state).__name__}",
            "a mapping of tensors by name",
            "pass torch_model.state_dict()",
            user_line(),
        )
    _expect_module(_NAME, model)
    places = _places(model)
    given = {_renamed(n, names or {}): _array(n, value) for n, value in state.items()}
    for wrapper in _WRAPPERS:
        if not any(name.startswith(wrapper) for name in places):
            given = {name.removeprefix(wrapper): a for name, a in given.items()}
    orders = _orders(model, flattened)
    values: dict[str, Array] = {}
    for name, array in _joined(given, places).items():
        own = name
        if name in places and array.ndim == places[name][2].ndim:
            own, owner, _ = places[name]
            array = _reordered(own, owner, array, orders.get(id(owner)))
        if own in values and not np.array_equal(values[own], array, equal_nan=True):
            raise ArgumentError(
                _NAME,
                f"got two values for {own}, which {name} shares",
                "the same twice",
                "give the model a tensor for each",
                user_line(),
            )
        values[own] = array
    model.load_state_dict(values, strict)


def to_torch(model: nn.Module, *, flattened: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The state as PyTorch's tensors, for `load_state_dict` of its model of the same layers.

    flattened   as for `load_state_dict`
    """
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        raise ArgumentError(
            "interop.torch.to_torch", "got no PyTorch", "torch", "pip install torch", user_line()
        ) from None
    _expect_module("interop.torch.to_torch", model)
    orders = _orders(model, flattened)
    out: dict[str, Any] = {}
    for name, (own, owner, tensor) in _places(model).items():
        array = _reordered(own, owner, tensor.numpy(), orders.get(id(owner)), back=True)
        if array.dtype.name == "bfloat16":  # which PyTorch does not know NumPy's of
            out[name] = torch.tensor(array.astype(np.float32)).bfloat16()
        else:
            out[name] = torch.tensor(np.ascontiguousarray(array).reshape(array.shape))
    return out


_NAME = "interop.torch.load_state_dict"


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


def _joined(given: dict[str, Array], places: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays with queries', keys' and values' projections made one, where the model has one."""
    out = dict(given)
    for name in places:
        path, found, kind = name.rpartition("in_proj_")
        if not found or name in given:
            continue
        for sep in "_.":
            parts = [f"{path}{part}_proj{sep}{kind}" for part in "qkv"]
            if all(part in out for part in parts):
                out[name] = np.concatenate([out.pop(part) for part in parts])
    return out


def _array(name: str, value: Any) -> Array:
    """A tensor of PyTorch's, or an array, as an array."""
    if hasattr(value, "detach"):
        value = value.detach()
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":  # which NumPy does not know
        value = value.float()
    if hasattr(value, "cpu"):
        value = value.cpu()
    array = np.array(value.numpy() if hasattr(value, "numpy") else value)
    if array.dtype == object:
        raise ArgumentError(
            _NAME,
            f"got {type(value).__name__} for {name}",
            "a tensor or an array",
            "pass torch_model.state_dict()",
            user_line(),
        )
    return array


# ── orders ───────────────────────────────────────────────────────────────────────────────────────


def _reordered(
    name: str, owner: nn.Module, array: Array, channels: int | None, back: bool = False
) -> Array:
    """PyTorch's array in our order, or back: ours in PyTorch's.

    channels   of the image that the owner reads, or None: it reads none, or channel by channel
    """
    kind, n = name.rpartition(".")[2], array.ndim
    if isinstance(owner, _CONVOLUTIONS) and kind == "weight":
        # (out, in, *kernel) and (*kernel, in, out); for the adjoint in and out are the other's
        return (
            array.transpose(n - 1, n - 2, *range(n - 2))
            if back
            else array.transpose(*range(2, n), 1, 0)
        )
    if channels is None or n == 0 or (isinstance(owner, nn.Linear) and kind != "weight"):
        return array
    if isinstance(owner, _RECURRENT) and not kind.startswith("weight_ih_l0"):
        return array
    if isinstance(owner, _LAST_AXES) and n > 1:
        return np.moveaxis(array, -1, 0) if back else np.moveaxis(array, 0, -1)
    if array.shape[-1] == 1:  # one number for all
        return array
    if array.shape[-1] % channels:
        raise ShapeError(
            "interop.torch",
            f"got {name} {array.shape} behind an image of {channels} channels",
            f"a multiple of {channels} on the last axis",
            f'give the channels of what it reads: flattened={{"{name.rpartition(".")[0]}": 1}}',
            user_line(),
        )
    places = array.shape[-1] // channels
    apart = (places, channels) if back else (channels, places)
    split = array.reshape(*array.shape[:-1], *apart)
    return split.swapaxes(-1, -2).reshape(array.shape)


def _orders(model: nn.Module, flattened: Mapping[str, int] | None) -> dict[int, int]:
    """By the id of each module that reads a flattened image: its channels."""
    follow = _Following()
    follow.through(model, "", ("input", 0))
    if flattened is None and follow.written:
        raise ArgumentError(
            "interop.torch",
            f"got {follow.written[0]}, whose output is made an image",
            "expected an image that is made in the order of PyTorch: channels, height, width",
            "make it cr.permute_dims(x.reshape((-1, channels, height, width)), (0, 2, 3, 1)), and "
            "say so: flattened={}",
            user_line(),
        )
    unclear = follow.unclear
    if any(m._rearranges() for m in model.modules()):
        unclear += follow.others
    usual = max(_channels(model), default=16)
    if flattened is None and unclear:
        layers = ", ".join(unclear[:4]) + (", …" if len(unclear) > 4 else "")
        raise ArgumentError(
            "interop.torch",
            f"got {layers} behind convolutions, a Flatten or code that rearranges",
            "which of them read a flattened image, in another order in PyTorch, cannot be told",
            f'give the channels of that image: flattened={{"{unclear[0]}": {usual}}} '
            "(1 for grey ones), or flattened={} if none does",
            user_line(),
        )
    modules = dict(model.named_modules())
    for path, channels in (flattened or {}).items():
        layer = modules.get(path)
        if not isinstance(layer, _READERS) or not isinstance(channels, int) or channels < 1:
            raise ArgumentError(
                "interop.torch",
                f"got flattened={{{path!r}: {channels!r}}}",
                "the paths of layers that read a flattened image, and numbers of channels from 1",
                f"for example {{{next(iter(unclear), '0')!r}: {usual}}}",
                user_line(),
            )
        shown = follow.orders.get(id(layer))
        known = _channels(model) if shown is None else {shown}
        if known and channels not in known:
            raise ArgumentError(
                "interop.torch",
                f"got flattened={{{path!r}: {channels}}}",
                f"an image of {' or '.join(map(str, sorted(known)))} channels",
                f"give flattened={{{path!r}: {max(known)}}}",
                user_line(),
            )
        follow.orders[id(layer)] = channels
    return follow.orders


def _channels(model: nn.Module) -> set[int]:
    """The numbers of channels that an image in the model can have; none: all numbers."""
    known: set[int] = set()
    for m in model.modules():
        kind: Any = type(m)
        for method in custom_methods(kind, reachable_names(kind, frozenset({"forward"}))):
            if not set(_JOINED).isdisjoint(names_in(method.__code__)):
                return set()
        if isinstance(m, nn.Lambda):  # it may join channels, or take some
            return set()
        if isinstance(m, _CONVOLUTIONS):
            known |= {m.in_channels, m.out_channels}
        if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)):
            known.add(m.num_features)
    return known


class _Following:
    """The way of an image through a model, as far as its modules show it.

    A state is a kind and a number of channels: "input", of which nothing is known; "image";
    "flat", an image in one axis; "plain", never an image; "lost", perhaps an image; "made", from
    what was none.
    """

    def __init__(self) -> None:
        self.orders: dict[int, int] = {}
        self.unclear: list[str] = []
        self.written: list[str] = []  # layers whose output is made an image
        self.last = ""  # Linear
        self.others: list[str] = []  # unclear too, where the code that rearranges is custom

    def through(self, m: Any, path: str, state: tuple[str, int]) -> tuple[str, int]:
        """The state after the module, for the one before it."""
        if isinstance(m, nn.Sequential) and type(m).forward is nn.Sequential.forward:
            for k, layer in enumerate(m):
                state = self.through(layer, _joint(path, str(k)), state)
            return ("lost", 0) if m._forward_hooks and m._rearranges() else state
        if m._rearranges() if isinstance(m, nn.Module) else rearranges([m]):
            self._layer(m, path, ("lost", 0))
            return ("made" if state[0] in ("plain", "made") else "lost"), 0
        return self._layer(m, path, state)

    def _layer(self, m: Any, path: str, state: tuple[str, int]) -> tuple[str, int]:
        kind, channels = state
        if kind == "made":
            kind = "lost"
            if isinstance(m, _IMAGES) and self.last:
                self.written.append(self.last)
        if isinstance(m, _CONVOLUTIONS):
            return "image", m.out_channels
        if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)) and kind != "flat":
            return "image", m.num_features
        if isinstance(m, nn.Flatten):
            whole = (m.start_dim, m.end_dim) == (1, -1)
            if kind in ("plain", "flat"):
                return state
            return ("flat", channels) if kind == "image" and whole else ("lost", 0)
        if isinstance(m, nn.Residual):
            if m.shortcut is not None:
                self.through(m.shortcut, _joint(path, "shortcut"), state)
            return self.through(m.inner, _joint(path, "inner"), state)
        several = isinstance(m, _LAST_AXES) and len(m.normalized_shape) > 1
        if several or isinstance(m, (nn.Linear, *_RECURRENT)):
            if kind == "lost":
                self.unclear.append(path)
            if kind == "flat" or (kind == "image" and several):
                self.orders[id(m)] = channels
        if isinstance(m, nn.Linear):
            self.last = path
            return "lost" if kind == "image" else "plain", 0
        if isinstance(m, _SAME_ORDER):
            if kind == "flat":
                self.orders[id(m)] = channels
            one = isinstance(m, nn.PReLU) and m.weight.size == 1
            per_feature = isinstance(m, (*_LAST_AXES, *_PER_FEATURE)) and not one
            if kind == "lost" and per_feature and not several:
                self.others.append(path)
            return state
        if not isinstance(m, nn.Module) or isinstance(m, nn.Lambda) or _is_custom(m):
            return self._own(m, path, state)
        return "plain", 0

    def _own(self, m: Any, path: str, state: tuple[str, int]) -> tuple[str, int]:
        """The state after a module with a forward of its own, whose order is not to be seen."""
        inner = list(m.named_modules()) if isinstance(m, nn.Module) else []
        lost = state[0] in ("image", "flat", "lost") or any(
            isinstance(child, _IMAGES) or child._rearranges() for _, child in inner
        )
        direct: list[str] = []
        for name, child in inner:
            if name and not any(name.startswith(f"{outer}.") for outer in direct):
                direct.append(name)
                self.through(child, _joint(path, name), ("lost" if lost else "plain", 0))
        return ("lost", 0) if lost else state


def _is_custom(m: nn.Module) -> bool:
    return not type(m).__module__.startswith(nn.__name__)


def _joint(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
