"""Checks on the first batch, before the first step: mistakes that would train without an error."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import random, tree
from ...data import DataLoader
from ...diagnosis.data import check_finite
from ...diagnosis.nonfinite import first_nonfinite
from ...dtypes import is_floating
from ...errors import ArgumentError, ChainruleError, GradientError
from ...nn import Embedding, Module
from ...nn.normalization import _BatchNorm
from ...tensor import Tensor, as_tensor, enable_grad, no_grad
from ..evaluation.batches import Batches, fitting_batch_size, pair
from ..evaluation.inference import as_arrays, joined, metric_value
from ..evaluation.metrics import Metric
from ..evaluation.modes import evaluating, in_mode
from ..evaluation.objective import Objective, cuts
from .targets import (
    check_classes,
    check_pairs,
    check_scores,
    check_some_count,
    ends_in_sigmoid,
    expect_scalar,
)


def read_first_batch(loader: DataLoader | Batches) -> tuple[Any, Any]:
    first = next(loader.batches(0) if isinstance(loader, DataLoader) else iter(loader), None)
    if first is None:
        raise ArgumentError(
            "fit",
            "got no batches",
            "expected one or more in each epoch",
            "pass (x, y), a DataLoader, or a list of batches",
        )
    return _tensors(first)


def check_first_batch(
    model: Module,
    objective: Objective,
    metrics: dict[str, Metric],
    loader: DataLoader | Batches,
    valid: DataLoader | Batches | None,
    first: tuple[Any, Any],
    pieces: int,
    forward: Callable[[Any], Any],
) -> dict[str, float]:
    """Check one batch, and all targets that are in memory, before the first step.

    Returns what `History.first` is.

    forward   the prediction for x: that of the model, or of the first window of sequences
    """
    x, y = first
    for data, what in ((x, "inputs"), (y, "targets")):
        check_finite(f"{what} of the first batch", data)
    sets = (("training data", loader), ("validation data", valid))
    targets = [(name, data.data[1]) for name, data in sets if isinstance(data, DataLoader)]
    _check_forward(model, x)
    targets.append(("first batch", y))
    outputs, loss = check_loss(model, objective, metrics, x, y, targets, pieces == 1, forward)
    if isinstance(loader, DataLoader):
        check_last_batch(model, loader, x)
    if valid is not None:
        _check_validation(model, objective, valid, forward)
    for _, data in sets:
        if isinstance(data, Batches):
            data.check = partial(check_classes, objective, outputs)
    other = any(isinstance(m, _BatchNorm) and m.training for m in model.modules())
    return {**({} if other else {"loss": loss}), **_sizes(model, x, y)}


def _sizes(model: Module, x: Any, y: Any) -> dict[str, float]:
    """The root mean squares of inputs and targets, without classes and tokens."""
    tokens = any(isinstance(m, Embedding) for m in model.modules())
    out = {}
    for name, data in (("inputs", x), ("targets", y)):
        numbers = [t for t in tree.flatten(data)[0] if t.size and _is_number(t, name, tokens)]
        squares = [float(np.square(t.numpy().astype(np.float64)).mean()) for t in numbers]
        if squares:
            out[name] = math.sqrt(max(squares))
    return out


def _is_number(t: Tensor, name: str, tokens: bool) -> bool:
    """Whether it holds numbers: floating ones, or whole ones such as grey levels."""
    return is_floating(t.dtype) or (name == "inputs" and not tokens and t.dtype.kind in "iu")


def _tensors(batch: Any) -> tuple[Any, Any]:
    x, y = pair(batch)
    return tree.map(as_tensor, x), tree.map(as_tensor, y)


def _check_validation(
    model: Module,
    objective: Objective,
    valid: DataLoader | Batches,
    forward: Callable[[Any], Any],
) -> None:
    """Raise if the model or the loss does not take a batch of the validation data."""
    first = next(valid.batches(0)) if isinstance(valid, DataLoader) else valid.first
    if first is None:
        return
    x, y = _tensors(first)
    try:
        with evaluating(model):
            objective.mean(forward(x), y)
    except ChainruleError as error:
        raise with_advice(
            error, "check the validation data: it differs from the training data"
        ) from error


def _check_forward(model: Module, x: Any) -> None:
    """Raise if forward takes several arguments: it gets one, the inputs of a batch."""
    signature = inspect.signature(model.forward)
    try:
        signature.bind(x)
    except TypeError:
        names = ", ".join(signature.parameters)
        passed = f"a {type(x).__name__} of {len(x)}" if isinstance(x, (tuple, list, dict)) else "x"
        raise ArgumentError(
            "fit",
            f"got a model with forward(self, {names})",
            "expected a forward with one argument, the inputs of a batch as they are, "
            f"here {passed}",
            f"write forward(self, inputs), with {names} = inputs in it"
            if isinstance(x, (tuple, list))
            else "pass data ((a, b), y), and write forward(self, inputs)",
        ) from None


def check_loss(
    model: Module,
    objective: Objective,
    metrics: Mapping[str, Metric],
    x: Any,
    y: Any,
    targets: Sequence[tuple[str, Any]],
    whole: bool,
    forward: Callable[[Any], Any],
) -> tuple[int | None, float]:
    """Try the loss on a first batch and raise for what is nearly always a mistake.

    Softmax before cross-entropy, sigmoid before a loss of logits, one score for several classes, a
    prediction and a target that only broadcast, a loss that is not one number, is not finite at the
    start or has no gradient, classes without a score in these targets (each with its name), a
    metric that returns no number. Returns the size of the prediction's last axis if it is one
    tensor, and the loss.

    whole     whether the step handles the whole batch at once: then its gradient is checked too
    forward   the prediction for x
    """
    with evaluating(model), enable_grad() if whole else no_grad():
        prediction = forward(x)
        if prediction is None:
            raise ArgumentError(
                "fit",
                "got None from the model",
                "expected a Tensor, or a tuple or dict of tensors",
                "end forward with return",
            )
        outputs = None
        if isinstance(prediction, Tensor):
            outputs = prediction.shape[-1] if prediction.ndim else 1
        elif objective.known:
            raise _several_outputs(prediction, objective)
        check_scores(objective, prediction, y, partial(ends_in_sigmoid, model, x))
        for name, part in targets:
            check_classes(objective, outputs, part, f"{name}, ")
            if name.endswith("data"):  # and not a batch, which may be without one
                check_some_count(objective, part, name)
        value = objective.mean(prediction, y)
        expect_scalar(value, objective)
        check_pairs(objective, prediction, y)
        loss = float(value)
        if not math.isfinite(loss):
            where = describe_weights(model)
            report = first_nonfinite(lambda x, y: objective.mean(forward(x), y), x, y)
            if not where and report is not None:
                where = f": {report.clause}"
            error = GradientError(
                "fit",
                f"got a loss of {loss} before the first step{where}",
                "expected a finite loss",
                "scale the inputs to mean 0 and deviation 1, and check the initial weights",
                None if report is None else report.source,
            )
            error.report = report
            error.layer = "" if report is None else report.layer
            raise error
        if whole and not value.requires_grad:
            raise GradientError(
                "fit",
                "got a loss that does not depend on any trained parameter",
                "expected a path from the loss back to the parameters",
                "look for detach, no_grad, argmax, rounding, .numpy() in forward and in the loss",
            )
    _try_metrics(metrics, prediction, y)
    return outputs, loss


def check_pieces(model: Module, objective: Objective, x: Any, y: Any, pieces: int) -> None:
    """Raise if a loss function is not a mean over the rows: pieces would change its gradient.

    For the same predictions, the losses of the pieces, weighted by their rows, have to add up to
    the loss of the batch. Functions that draw random numbers and predictions that are not rows are
    not checked.
    """
    if pieces == 1 or objective.known:
        return
    with evaluating(model):
        prediction = model(x)
        both = tree.map(as_tensor, (prediction, y))
        rows = tree.flatten(y)[0][0].shape[0]
        if any(leaf.shape[:1] != (rows,) for leaf in tree.flatten(both)[0]):
            return
        drawn = random.default.state.numpy()
        loss = objective.mean(*both)
        if (random.default.state.numpy() != drawn).any():
            return
        parts = [
            [float(part) for part in objective.parts(*tree.map(lambda t, cut=cut: t[cut], both))]
            for cut in cuts(rows, pieces)
        ]
    whole = float(loss)
    pieced = sum(part for part, _ in parts) / rows
    scale = max(abs(whole), *(abs(part / by) for part, by in parts))
    alike = abs(pieced - whole) <= (1e-3 if loss.dtype.itemsize > 2 else 0.05) * scale
    if math.isfinite(whole) and not alike:  # a piece may be NaN: without a row that counts
        raise ArgumentError(
            "fit",
            f"got accumulate={pieces} and {objective.name}, which is {whole:.4g} for a batch "
            f"and {pieced:.4g} for its pieces (their mean, weighted by rows)",
            "expected a loss that is a mean over the rows: pieces change the gradient of a sum",
            "end the function with .mean() over the rows, or leave out accumulate and use a "
            "smaller batch_size",
        )


def _several_outputs(prediction: Any, objective: Objective) -> ArgumentError:
    several = isinstance(prediction, (tuple, list, dict))
    kind = type(prediction).__name__
    advice = "end forward with a Tensor"
    if several:
        first = next(iter(prediction)) if isinstance(prediction, dict) else 0
        advice = (
            f"take one part of it in forward, out[{first!r}], or write a loss function that takes "
            f"the {kind}"
        )
    return ArgumentError(
        "fit",
        f"got a {kind}{f' of {len(prediction)}' if several else ''} from the model, for "
        f"{objective.name}",
        "expected one tensor",
        advice,
    )


def describe_weights(model: Module) -> str:
    for name, p in model.named_parameters():
        if not np.isfinite(p.numpy()).all():
            return f", {name} is not finite"
    return ""


def _try_metrics(metrics: Mapping[str, Metric], prediction: Any, y: Any) -> None:
    """Raise for a metric that returns no number, or does not take what this model returns.

    Other exceptions are ignored here: a metric may be undefined for the few rows of a batch.
    """
    predictions, targets = joined([as_arrays(prediction)]), joined([as_arrays(y)])
    for name, metric in metrics.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                metric_value(name, metric, predictions, targets)
        except ChainruleError:
            raise
        except Exception:  # if it is a real error, it occurs again after the epoch
            continue


def check_last_batch(model: Module, loader: DataLoader, x: Any) -> None:
    """Raise if the last batch of an epoch has one row and the model cannot be trained on one."""
    size = loader.batch_size
    if (loader.samples % size or size) != 1 or (loader.drop_last and size > 1):
        return
    before, drawn = model.state_dict(), random.default.state
    try:
        with in_mode(model, training=True), no_grad():
            model(tree.map(lambda t: t[:1], x))
    except ChainruleError as error:
        where = f" in {error.layer}" if error.layer else ""
        fits = fitting_batch_size(loader.samples, 32 if size == 1 else size)
        advice = f"batch_size={fits} (--batch-size {fits})" + ", or drop_last=True" * (size > 1)
        raise ArgumentError(
            "fit",
            f"got a last batch of 1 row ({loader.samples} rows in batches of {size})",
            f"{error.needed}{where}",
            "train on 2 rows or more" if loader.samples == 1 else advice,
        ) from error
    finally:
        model.load_state_dict(before)
        random.default.set_state(drawn)


def with_advice(error: ChainruleError, more: str) -> ChainruleError:
    """The same error with more advice."""
    advice = f"{error.advice}, {more}"
    out = type(error)(error.operation, error.arrived, error.needed, advice, error.source)
    out.module, out.layer = error.module, error.layer
    return out
