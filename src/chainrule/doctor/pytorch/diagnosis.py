"""`diagnose` for a model of PyTorch."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ...errors import ArgumentError, user_line
from ...graph import Array
from ..diagnose import check_numbers, diagnosis_of, sets
from ..diagnosis import Diagnosis
from ..training import Data
from .layers import values
from .modules import TorchTraining

torch: Any = importlib.import_module("torch")

_NAME = "interop.torch.diagnose"


def diagnose(
    model: Any,
    data: Any,
    *,
    loss: Any,
    optimizer: Any,
    valid: Any,
    epochs: int,
    batch_size: int,
    seconds: float,
) -> Diagnosis:
    """As `interop.torch.diagnose`."""
    _expect(isinstance(model, torch.nn.Module), model, "model", "a torch.nn.Module")
    _expect(
        callable(loss) and not isinstance(loss, type),
        loss,
        "loss",
        "a function (prediction, target) or a loss of torch.nn, as nn.CrossEntropyLoss()",
    )
    if optimizer is None:
        optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    _expect(isinstance(optimizer, torch.optim.Optimizer), optimizer, "optimizer", "one of PyTorch")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ArgumentError(
            _NAME,
            "got LBFGS",
            "expected an optimizer whose step needs no closure",
            "try optimizer=torch.optim.Adam(model.parameters())",
            user_line(),
        )
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ArgumentError(
            _NAME,
            "got an optimizer without a parameter of the model",
            "expected the optimizer of this model",
            "make it of model.parameters(), after the model",
            user_line(),
        )
    check_numbers(epochs, batch_size, None, seconds)
    trained, rest = sets(_arrays(data), None if valid is None else _arrays(valid))
    training = TorchTraining(
        model,
        loss,
        optimizer,
        _as_weights(model, trained),
        _as_weights(model, rest),
        min(batch_size, len(trained[0])),
        epochs,
    )
    return diagnosis_of(training, seconds)


def _expect(fits: bool, value: Any, name: str, expected: str) -> None:
    if not fits:
        raise ArgumentError(
            _NAME,
            f"got {name} of type {type(value).__name__}",
            f"expected {expected}",
            "for a model of chainrule: chainrule.diagnose",
            user_line(),
        )


def _arrays(data: Any) -> Any:
    """Tensors as arrays; whatever else there is, as it is."""
    parts = data.tensors if isinstance(data, torch.utils.data.TensorDataset) else data
    if not isinstance(parts, (tuple, list)):
        return parts
    return tuple(values(a) if isinstance(a, torch.Tensor) else a for a in parts)


def _as_weights(model: torch.nn.Module, data: Data) -> Data:
    """Numbers of the weights' dtype; integers as they are."""
    kinds = (p.dtype for p in model.parameters() if p.dtype in (torch.float32, torch.float64))
    kind = np.float64 if next(kinds, torch.float32) == torch.float64 else np.float32

    def numbers(a: Array) -> Array:
        return a.astype(kind) if a.dtype.kind == "f" else a

    return numbers(data[0]), numbers(data[1])
