"""Which layers of a model read a flattened image: PyTorch has their columns in another order.

Images are channels last here: flattened, (height, width, channels), in PyTorch (channels, height,
width). What happens to an image is followed through the modules, as far as they show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .. import nn
from ..errors import ArgumentError, user_line
from ..guards.functions import custom_methods, names_in, reachable_names
from ..nn.activation import Activation
from ..nn.order import rearranges

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_POOLS = nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample
LAST_AXES = nn.LayerNorm, nn.RMSNorm
_SAME_ORDER = (  # layers whose output is in the order of their input
    *_POOLS,
    *LAST_AXES,
    Activation,
    nn.Threshold,
    nn.PReLU,
    nn.Identity,
    nn.Dropout,
    nn.SqueezeExcitation,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
RECURRENT = nn.RNN, nn.LSTM, nn.GRU
_PER_FEATURE = nn.BatchNorm1d, nn.PReLU
_BLOCKS = nn.PixelShuffle, nn.PixelUnshuffle
_READERS = nn.Linear, *LAST_AXES, *_PER_FEATURE, *RECURRENT
_IMAGES = *CONVOLUTIONS, *_POOLS, *_BLOCKS, nn.BatchNorm2d, nn.BatchNorm3d, nn.Flatten
_JOINING = "concat", "concatenate", "stack", "split", "unstack", "hstack", "dstack"


def channels_read(model: nn.Module, flattened: Mapping[str, int] | None) -> dict[int, int]:
    """The channels of the flattened image that a module reads, by the id of each that reads one.

    flattened   the same by the modules' paths, where the model does not show it
    """
    follower = _Follower()
    follower.through(model, "", ("input", 0))
    if flattened is None and follower.sources:
        raise ArgumentError(
            "interop.torch",
            f"got {follower.sources[0]}, whose output becomes an image",
            "expected an image that is made in the order of PyTorch: channels, height, width",
            "make it cr.permute_dims(x.reshape((-1, channels, height, width)), (0, 2, 3, 1)), and "
            "say so: flattened={}",
            user_line(),
        )
    unclear = follower.unclear
    if any(m._rearranges() for m in model.modules()):
        unclear += follower.affected
    usual = max(_channels(model), default=16)
    if flattened is None and unclear:
        layers = ", ".join(unclear[:4]) + (", …" if len(unclear) > 4 else "")
        raise ArgumentError(
            "interop.torch",
            f"got {layers} behind convolutions, a Flatten or code that rearranges",
            "expected to be told which of them read a flattened image: PyTorch has another order",
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
                "expected paths of layers that read a flattened image, and 1 or more channels",
                f"for example {{{next(iter(unclear), '0')!r}: {usual}}}",
                user_line(),
            )
        followed = follower.channels.get(id(layer))
        possible = _channels(model) if followed is None else {followed}
        if possible and channels not in possible:
            raise ArgumentError(
                "interop.torch",
                f"got flattened={{{path!r}: {channels}}}",
                f"expected an image of {' or '.join(map(str, sorted(possible)))} channels",
                f"give flattened={{{path!r}: {max(possible)}}}",
                user_line(),
            )
        follower.channels[id(layer)] = channels
    return follower.channels


def _channels(model: nn.Module) -> set[int]:
    """The numbers of channels that an image in the model can have; empty: any number."""
    known: set[int] = set()
    for m in model.modules():
        kind: Any = type(m)
        for method in custom_methods(kind, reachable_names(kind, frozenset({"forward"}))):
            if not set(_JOINING).isdisjoint(names_in(method.__code__)):
                return set()
        if isinstance(m, (nn.Lambda, *_BLOCKS)):  # it may join channels, or take some
            return set()
        if isinstance(m, CONVOLUTIONS):
            known |= {m.in_channels, m.out_channels}
        if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)):
            known.add(m.num_features)
    return known


# What is known of a value, and the channels of an image (else 0):
# "input"        nothing yet
# "image"        it is an image, channels last
# "flat"         it is an image, flattened into one axis
# "features"     it is no image
# "unknown"      it may be an image
# "rearranged"   custom code has rearranged what was no image
State = tuple[Literal["input", "image", "flat", "features", "unknown", "rearranged"], int]


class _Follower:
    """Follows an image through a model, as far as its modules show what they do.

    channels   by the id of each module that reads a flattened image: the image's channels
    unclear    paths of layers that may read one
    affected   those of layers that may do so only where custom code rearranges elements
    sources    those of the last linear layers before code that makes an image of their output
    """

    def __init__(self) -> None:
        self.channels: dict[int, int] = {}
        self.unclear: list[str] = []
        self.affected: list[str] = []
        self.sources: list[str] = []
        self._last_linear = ""

    def through(self, m: Any, path: str, state: State) -> State:
        """The state after the module, from the state before it."""
        if isinstance(m, nn.Sequential) and type(m).forward is nn.Sequential.forward:
            for name, layer in zip(m._names, m, strict=True):
                state = self.through(layer, _join(path, name), state)
            return ("unknown", 0) if m._forward_hooks and m._rearranges() else state
        if m._rearranges() if isinstance(m, nn.Module) else rearranges([m]):
            self._layer(m, path, ("unknown", 0))
            return ("rearranged" if state[0] in ("features", "rearranged") else "unknown"), 0
        return self._layer(m, path, state)

    def _layer(self, m: Any, path: str, state: State) -> State:
        kind, channels = state
        if kind == "rearranged":
            kind = "unknown"
            if isinstance(m, _IMAGES) and self._last_linear:
                self.sources.append(self._last_linear)
        if isinstance(m, CONVOLUTIONS):
            return "image", m.out_channels
        if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)) and kind != "flat":
            return "image", m.num_features
        if isinstance(m, nn.PixelShuffle):
            return kind, channels // m.upscale_factor**2
        if isinstance(m, nn.PixelUnshuffle):
            return kind, channels * m.downscale_factor**2
        if isinstance(m, nn.Flatten):
            whole = (m.start_dim, m.end_dim) == (1, -1)
            if kind in ("features", "flat"):
                return state
            return ("flat", channels) if kind == "image" and whole else ("unknown", 0)
        if isinstance(m, nn.Residual):
            if m.shortcut is not None:
                self.through(m.shortcut, _join(path, "shortcut"), state)
            return self.through(m.inner, _join(path, "inner"), state)
        several = isinstance(m, LAST_AXES) and len(m.normalized_shape) > 1
        if several or isinstance(m, (nn.Linear, *RECURRENT)):
            if kind == "unknown":
                self.unclear.append(path)
            if kind == "flat" or (kind == "image" and several):
                self.channels[id(m)] = channels
        if isinstance(m, nn.Linear):
            self._last_linear = path
            return "unknown" if kind == "image" else "features", 0
        if isinstance(m, _SAME_ORDER):
            if kind == "flat":
                self.channels[id(m)] = channels
            one = isinstance(m, nn.PReLU) and m.weight.size == 1
            per_feature = isinstance(m, (*LAST_AXES, *_PER_FEATURE)) and not one
            if kind == "unknown" and per_feature and not several:
                self.affected.append(path)
            return state
        if not isinstance(m, nn.Module) or isinstance(m, nn.Lambda) or _is_custom(m):
            return self._custom(m, path, state)
        return "features", 0

    def _custom(self, m: Any, path: str, state: State) -> State:
        """The state after a module with a custom forward, which does not show the order."""
        inner = list(m.named_modules()) if isinstance(m, nn.Module) else []
        unknown = state[0] in ("image", "flat", "unknown") or any(
            isinstance(child, _IMAGES) or child._rearranges() for _, child in inner
        )
        direct: list[str] = []
        for name, child in inner:
            if name and not any(name.startswith(f"{outer}.") for outer in direct):
                direct.append(name)
                self.through(child, _join(path, name), ("unknown" if unknown else "features", 0))
        return ("unknown", 0) if unknown else state


def _is_custom(m: nn.Module) -> bool:
    return not type(m).__module__.startswith(nn.__name__)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
