"""`diagnose` for a model of PyTorch."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..diagnose import ROWS, as_diagnose, check_numbers, diagnosis_of, pairs, sets
from ..diagnosis import Diagnosis
from .arguments import check_model, check_optimizer, expect
from .first_rows import check_rows
from .loaders import arrays, batches
from .modules import TorchTraining

torch: Any = importlib.import_module("torch")


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
    with torch.inference_mode(False):
        model = getattr(model, "_orig_mod", model)  # of torch.compile
        check_model(model)
        expect(
            callable(loss) and not isinstance(loss, type),
            loss,
            "loss",
            "a function (prediction, target) or a loss of torch.nn, as nn.CrossEntropyLoss()",
        )
        if optimizer is None:
            optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
        check_optimizer(optimizer, model)
        check_numbers(epochs, batch_size, None, seconds)
        batch_size, shuffle = batches(data, batch_size)
        with as_diagnose():
            rest = None if valid is None else arrays(valid)
            arguments = {
                name: (x, y.astype(np.int64) if y.dtype.kind in "iu" else y)  # as classes are
                for name, (x, y) in pairs(arrays(data), rest).items()
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
            check_rows(training, arguments)
        return diagnosis_of(training, seconds)
