"""`diagnose` for a model of PyTorch."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ...errors import ArgumentError, user_line
from ...graph import Array
from ..diagnose import ROWS, as_diagnose, check_numbers, diagnosis_of, pairs, sets
from ..diagnosis import Diagnosis
from ..training import Data
from .first_rows import check_rows
from .loaders import arrays, batches
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
    batch_size: int | None,
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
    batch_size, shuffle = batches(data, batch_size)
    with as_diagnose():
        arguments = {
            name: _as_weights(model, pair)
            for name, pair in pairs(arrays(data), None if valid is None else arrays(valid)).items()
        }
        trained, rest = sets(arguments["data"], arguments.get("valid"))
    training = TorchTraining(
        model,
        loss,
        optimizer,
        trained,
        rest,
        min(batch_size or ROWS, len(trained[0])),
        epochs,
        shuffle,
    )
    with as_diagnose():
        check_rows(training, arguments)
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


def _as_weights(model: torch.nn.Module, data: Data) -> Data:
    """Numbers of the weights' dtype; integers as they are, those of targets int64 as of classes."""
    kinds = (p.dtype for p in model.parameters() if p.dtype in (torch.float32, torch.float64))
    kind = np.float64 if next(kinds, torch.float32) == torch.float64 else np.float32

    def numbers(a: Array) -> Array:
        return a.astype(kind) if a.dtype.kind == "f" else a

    x, y = data
    return numbers(x), y.astype(np.int64) if y.dtype.kind in "iu" else numbers(y)
