"""PyTorch's modules by the doctor's kinds."""

from __future__ import annotations

import importlib
from typing import Any

from ...graph import Array
from ..training import Layer

torch: Any = importlib.import_module("torch")
nn: Any = torch.nn

_ACTIVATIONS = "torch.nn.modules.activation"  # where PyTorch defines them
BATCH_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
_NORMS = (
    *BATCH_NORMS,
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
)
_DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)
TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED
_UNITS_SECOND = (*CONVOLUTIONS, *_NORMS[:-2])
_UNITS_LAST = nn.Linear, nn.Bilinear, nn.RNNBase, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.Flatten


def kind_of(module: Any) -> str:
    """As `Layer.kind`."""
    weight = getattr(module, "weight", None)
    if any(c.__module__ == _ACTIVATIONS for c in type(module).__mro__):
        return "other" if isinstance(module, nn.MultiheadAttention) else "activation"
    if isinstance(module, _DROPOUTS):
        return "dropout"
    if isinstance(module, _NORMS):
        return "norm"
    if isinstance(module, nn.RNNBase):
        return "recurrent"
    embeds = isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    if isinstance(weight, torch.Tensor) and weight.ndim >= 2 and not embeds:
        return "weights"
    return "other" if is_of_torch(module) else "custom"


def is_of_torch(module: Any) -> bool:
    """Whether PyTorch defines its class."""
    return type(module).__module__.split(".")[0] == "torch"


def features_of(module: Any, dimensions: int, before: int) -> int:
    """The axis of a module's output that has the units.

    before   that of the last output: activations and the like leave it where it is
    """
    if isinstance(module, _UNITS_SECOND):
        return 1
    if isinstance(module, _UNITS_LAST) or dimensions < 3:
        return -1
    return before


def by_units(module: Any, weight: Array) -> Array:
    """A weight as (units, fan_in)."""
    if isinstance(module, TRANSPOSED):  # (in, out, *kernel)
        weight = weight.swapaxes(0, 1)
    return weight.reshape(len(weight), -1)


def layer(path: str, module: Any, output: Array, features: int) -> Layer:
    """As `Runnable.layer`."""
    weight = getattr(module, "weight", None)
    kind, units, gradient = kind_of(module), None, None
    if kind == "weights" and isinstance(weight, torch.Tensor):
        units = by_units(module, values(weight).copy())
        of_leaf = weight.grad if weight.is_leaf else None
        gradient = None if of_leaf is None else values(of_leaf)
    return Layer(path, kind, type(module).__name__, output, features, units, gradient)


def values(tensor: Any) -> Array:
    """A tensor's values, dense."""
    tensor = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    half = tensor.dtype in (torch.bfloat16, torch.float16)  # in which NumPy's sums overflow
    wide = tensor.float() if half else tensor
    return wide.cpu().numpy()
