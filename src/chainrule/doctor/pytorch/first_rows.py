"""What a model of PyTorch and its loss do not take, told before the training is diagnosed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ... import nn as ours
from ...errors import ArgumentError, ShapeError
from ...graph import Array
from ...train.evaluation.objective import Objective
from ...train.loop.targets import check_classes, check_some_count
from ..first_rows import ROWS, expect_gradient, expect_tensor
from ..training import Data
from .modules import TorchTraining
from .surroundings import drawing

torch: Any = importlib.import_module("torch")
nn: Any = torch.nn

_CLASSES = {  # losses of class numbers
    nn.CrossEntropyLoss: ours.CrossEntropyLoss,
    nn.NLLLoss: ours.NLLLoss,
    nn.functional.cross_entropy: ours.CrossEntropyLoss,
    nn.functional.nll_loss: ours.NLLLoss,
}


def check_rows(t: TorchTraining, arguments: Mapping[str, Data]) -> None:
    """Raise if the model or the loss does not take the rows, or a class has no score.

    arguments   the rows by the name of the argument, as they were passed, so that an error has the
            right row

    Of integers, the rows of the least and the largest target are tried too: another loss function
    raises for a class without a score. Errors of classes name `fit`, whose checks these are.
    """
    model = t.fork().model.eval()
    with drawing(0), torch.no_grad():
        for name, (x, y) in arguments.items():
            some = _some(y)
            inputs, targets = t.tensor(x[some]), t.tensor(y[some])
            prediction = _tried("model", name, partial(model, inputs), inputs)
            expect_tensor(prediction, torch.Tensor)
            _check_classes(t.loss, prediction, y, name)
            out = _tried("loss", name, partial(t.loss, prediction, targets), prediction, targets)
            _expect_number(out)
    with drawing(0):
        _try_a_step(t.fork())


def _try_a_step(t: TorchTraining) -> None:
    """Raise if a batch does not train the model."""
    x, y = (t.tensor(a[: t.batch]) for a in t.data)
    prediction = _tried("model in training mode", "data", partial(t.model.train(), x), x)
    expect_tensor(prediction, torch.Tensor)
    loss = _tried("loss", "data", partial(t.loss, prediction, y), prediction, y)
    _expect_number(loss)
    expect_gradient(loss)
    _tried("gradient of the loss", "data", loss.backward)
    _tried("optimizer", "data", t.optimizer.step)


def _some(y: Array) -> Array:
    first = np.arange(min(ROWS, len(y)))
    if y.dtype.kind not in "iu" or not y.size:
        return first
    by_row = y.reshape(len(y), -1)
    return np.unique([*first[:-2], by_row.min(1).argmin(), by_row.max(1).argmax()])


def _check_classes(loss: Any, prediction: Any, y: Array, name: str) -> None:
    """Raise if a class of the targets has no score, for losses of class numbers."""
    kind = next((k for known, k in _CLASSES.items() if known in (loss, type(loss))), None)
    if kind is None or y.dtype.kind not in "iu":
        return
    if prediction.ndim < 2 or prediction.shape[1] == 1:
        raise ShapeError(
            "diagnose",
            f"got one score per row, {_shown(prediction)}, for class numbers",
            "expected a score for each class, (N, C, …) with C at least 2",
            "give the last layer 2 outputs, or use BCEWithLogitsLoss with 1 output and targets of "
            "float32 and its shape",
        )
    objective = Objective(kind(ignore_index=getattr(loss, "ignore_index", -100)))
    check_classes(objective, prediction.shape[1], y, f"{name}, ")
    check_some_count(objective, y, name)


def _tried(what: str, name: str, call: Any, *arguments: Any) -> Any:
    """What it returns, if it takes the arguments."""
    try:
        return call()
    except Exception as error:  # of PyTorch's classes
        reason = " ".join(str(error).split()) or "no message"
        advice = "look at shapes and dtypes: call it with these rows"
        if what == "loss":
            advice = "class numbers are int64 from 0, probabilities and numbers float32; " + advice
        rows = " and ".join(_shown(a) for a in arguments)
        raise ArgumentError(
            "diagnose",
            f"got {type(error).__name__} from the {what}: {reason}",
            f"expected a {what} that takes rows of {name}, {rows}"
            if arguments
            else "expected a step that trains the model",
            advice if arguments else "take a step with loss.backward() and optimizer.step()",
        ) from error


def _shown(tensor: Any) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    text = f"{kind}[{','.join(str(n) for n in tensor.shape)}]"
    if tensor.numel() and not tensor.is_floating_point() and not tensor.is_complex():
        text += f" from {tensor.min()} to {tensor.max()}"
    return text


def _expect_number(out: Any) -> None:
    if not isinstance(out, torch.Tensor) or out.numel() != 1:
        what = _shown(out) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ShapeError(
            "diagnose",
            f"got a loss of {what}",
            "expected one number",
            "take its mean()",
        )
