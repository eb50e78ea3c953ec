"""What is looked at before the first step and after it: mistakes that would "work"."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import random, tree
from ...data import DataLoader
from ...errors import ArgumentError, ChainruleError, GradientError, RangeError, ShapeError
from ...graph import Array, spec_text
from ...nn import Module
from ...optim import Optimizer
from ...recording import Function, Recorded, record
from ...sparse import RowSparse
from ...tensor import Tensor, as_tensor, enable_grad, no_grad
from ..evaluation.inference import as_arrays, evaluating, in_mode, joined, number
from ..evaluation.metrics import Metric
from ..evaluation.objective import Objective, cuts


def check_finite(what: str, data: Any) -> None:
    """Raise if floating-point data holds NaN or an infinity; says in which row and column."""
    for bad in _not_finite(data):
        value, where, count = bad
        raise ArgumentError(
            "fit",
            f"got {value} in the {what} at {where} ({count} rows have such)",
            "finite numbers",
            "drop these rows, or fill the gaps (with the column's mean)",
        )


def told_not_finite(x: Any, y: Any) -> str:
    """What is not finite in a batch, to be put into an error; empty if all is."""
    for data, what in ((x, "inputs"), (y, "targets")):
        for value, where, _ in _not_finite(data):
            return f", {value} in the {what} of that batch at {where}"
    return ""


def _not_finite(data: Any) -> Iterator[tuple[Any, str, int]]:
    """The first value of each array that is not finite, where it is, and how many rows have one."""
    for array in (np.asarray(leaf) for leaf in tree.flatten(data)[0]):
        if array.dtype.kind not in "fV" or not array.size:
            continue
        wide = array.astype(np.float32) if array.dtype.kind == "V" else array
        flat = wide.reshape(len(wide), -1) if wide.ndim else wide.reshape(1, 1)
        with np.errstate(all="ignore"):
            if np.isfinite(flat.sum()) or np.isfinite(flat).all():
                continue
        bad = ~np.isfinite(flat)
        row, column = np.argwhere(bad)[0]
        where = f"row {row}" + (f", column {column}" if flat.shape[1] > 1 else "")
        yield flat[row, column], where, int(bad.any(1).sum())


def told_module(model: Module, x: Any) -> str:
    """The first module in the order of computation whose output is not finite, for an error."""
    found: list[str] = []
    kinds = [(m, path, type(m).__name__) for path, m in model.named_modules()]
    names = {id(m): f"{path} ({kind})" if path else kind for m, path, kind in kinds}

    def look(module: Module, args: Any, output: Any) -> None:
        if not found and next(_not_finite(tree.map(_values, output)), None) is not None:
            found.append(names[id(module)])

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    drawn = random.default.state
    try:
        with no_grad():
            model(tree.map(as_tensor, x))
    finally:
        random.default.set_state(drawn)
        for hook in hooks:
            hook.remove()
    if not found:
        return ", of predictions that are finite"
    return f", the first output that is not finite is that of {found[0]}"


def _values(leaf: Any) -> Any:
    return leaf.numpy() if isinstance(leaf, Tensor) else leaf


def told_gradient(name: str, parameter: Tensor) -> str:
    """Whether the gradient was the cause of a parameter that is not finite, for an error."""
    g = parameter.grad
    values = () if g is None else (g.values if isinstance(g, RowSparse) else g).numpy()
    if np.isfinite(np.asarray(values, np.float64)).all():
        return ""
    return (
        f": the gradient of {name} is not finite, though the loss is; a square root, a norm or a "
        "logarithm at 0 has none, add a small number in it"
    )


def check_loss(
    model: Module,
    objective: Objective,
    metrics: Mapping[str, Metric],
    x: Any,
    y: Any,
    targets: Sequence[tuple[str, Any]],
    whole: bool,
) -> int | None:
    """Try the loss on a first batch and raise for what is nearly always a mistake.

    Softmax before cross-entropy, sigmoid before a loss of logits, one score for several classes, a
    prediction and a target that only broadcast, a loss that is not one number, or not finite at the
    start or without a gradient, classes without a score in these targets (each with its name), a
    metric that gives no number. Returns the size of the prediction's last axis if it is one tensor.

    whole   a step has room for the gradient of the whole batch, so that one may be asked for
    """
    with evaluating(model), enable_grad() if whole else no_grad():
        prediction = model(x)
        if prediction is None:
            raise ArgumentError(
                "fit",
                "got None from the model",
                "what its forward computes",
                "end forward with return",
            )
        outputs = None
        if isinstance(prediction, Tensor):
            outputs = prediction.shape[-1] if prediction.ndim else 1
        elif objective.known:
            raise _not_one(prediction, objective)
        _check_scores(objective, prediction, y, partial(_ends_in_sigmoid, model, x))
        for name, part in targets:
            check_classes(objective, outputs, part, f"{name}, ")
            if name.endswith("data"):  # and not a batch, which may be without one
                _check_some_count(objective, part, name)
        value = objective.mean(prediction, y)
        expect_scalar(value, objective)
        _check_pairs(objective, prediction, y)
        loss = float(value)
        if not math.isfinite(loss):
            where = _told_weights(model) or told_module(model, x)
            raise GradientError(
                "fit",
                f"got a loss of {loss} before the first step{where}",
                "a finite loss",
                "scale the inputs to a few units, and look at the initial weights",
            )
        if whole and not value.requires_grad:
            raise GradientError(
                "fit",
                "got a loss that does not depend on any trained parameter",
                "a way for the gradient from the loss to the parameters",
                "look for detach, no_grad, argmax, rounding, .numpy() in forward and in the loss",
            )
    _try_metrics(metrics, prediction, y)
    return outputs


def check_pieces(model: Module, objective: Objective, x: Any, y: Any, pieces: int) -> None:
    """Raise if a loss function is no mean over the rows: its gradient in pieces is another one.

    Of the same predictions the pieces' losses, weighted by their rows, have to give the whole's.
    Not known of a function that draws random numbers, and of predictions that are not rows.
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
            f"got accumulate={pieces} and {objective.name}, which is {whole:.4g} of a batch "
            f"and {pieced:.4g} of its pieces (the mean, by their rows)",
            "a mean over the rows: of another loss, a sum say, pieces have another gradient",
            "end the function with .mean() over the rows, or leave accumulate out and use a "
            "smaller batch_size",
        )


def _not_one(prediction: Any, objective: Objective) -> ArgumentError:
    several = isinstance(prediction, (tuple, list, dict))
    kind = type(prediction).__name__
    advice = "end forward with a Tensor"
    if several:
        first = next(iter(prediction)) if isinstance(prediction, dict) else 0
        advice = (
            f"take one part of it in forward, out[{first!r}], or write a loss function of your own"
        )
    return ArgumentError(
        "fit",
        f"got a {kind}{f' of {len(prediction)}' if several else ''} from the model, for "
        f"{objective.name}",
        "one tensor",
        advice,
    )


def _told_weights(model: Module) -> str:
    for name, p in model.named_parameters():
        if not np.isfinite(p.numpy()).all():
            return f", {name} is not finite"
    return ""


def _try_metrics(metrics: Mapping[str, Metric], prediction: Any, y: Any) -> None:
    """Raise for a metric that gives no number, or does not take what this model returns.

    An error of another kind does not count: a metric may not be known of so few rows.
    """
    predictions, targets = joined([as_arrays(prediction)]), joined([as_arrays(y)])
    for name, metric in metrics.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                number(name, metric, predictions, targets)
        except ChainruleError:
            raise
        except Exception:  # it comes again after the epoch, if it does
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
        advice = "use larger batches" if size == 1 else "pass drop_last=True, or another batch_size"
        raise ArgumentError(
            "fit",
            f"got a last batch of 1 row ({loader.samples} rows in batches of {size})",
            f"{error.needed}{where}",
            "there is only one: train on more rows" if loader.samples == 1 else advice,
        ) from error
    finally:
        model.load_state_dict(before)
        random.default.set_state(drawn)


def _check_scores(
    objective: Objective, prediction: Any, y: Any, sigmoid: Callable[[], bool]
) -> None:
    if not isinstance(prediction, Tensor) or not isinstance(y, Tensor):
        return
    p = prediction.numpy()
    scores = objective.known and objective.name == "cross_entropy"
    if scores and (p.ndim == 1 or (p.shape[-1:] == (1,) and p.ndim == y.ndim + 1)):
        raise ShapeError(
            "fit",
            f"got one score each, {spec_text(prediction)}, for cross_entropy",
            "a score for each class, (..., C) with C of 2 or more",
            'give the last layer 2 outputs, or use loss="bce_with_logits" and 1 output',
        )
    if scores and _probabilities(p):
        raise ArgumentError(
            "fit",
            "got probabilities (rows that sum to 1) for cross_entropy, which has a softmax",
            "scores (logits)",
            "remove the softmax at the end of the model",
        )
    if scores and p.ndim and p.shape == y.shape:
        t, slack = y.numpy().astype(np.float64), 1e-3 if y.dtype.itemsize > 2 else 0.05
        totals = t.sum(-1)
        if (t < -slack).any() or (totals > 1 + slack).any():
            raise RangeError(
                "fit",
                f"got targets from {t.min():.3g} to {t.max():.3g}, in sum up to "
                f"{totals.max():.3g}, for cross_entropy",
                "probabilities of the classes, or a class number each",
                'number the classes; loss="bce_with_logits" is for classes of which several hold, '
                'loss="mse" for measurements',
            )
    if objective.name.endswith("with_logits") and ((p >= 0) & (p <= 1)).all() and sigmoid():
        raise ArgumentError(
            "fit",
            f"got a sigmoid before {objective.name}, which takes a sigmoid itself",
            "scores (logits)",
            'remove the sigmoid, or use loss="bce"',
        )
    binary = objective.name.startswith("binary_cross_entropy")
    if binary and (((t := y.numpy()) < 0) | (t > 1)).any():
        raise RangeError(
            "fit",
            f"got targets from {t.min()} to {t.max()} for {objective.name}",
            "0 to 1",
            "number the classes 0 and 1: y = (y > 0).astype('float32')",
        )
    if objective.name == "nll_loss" and (p > 1e-6).any():
        raise ArgumentError(
            "fit",
            f"got values up to {p.max():.3g} for nll_loss",
            "log-probabilities, 0 or less",
            'end the model with LogSoftmax, or use loss="cross_entropy"',
        )


def _check_pairs(objective: Objective, prediction: Any, y: Any) -> None:
    """Raise if a function of one's own combines each prediction with each target.

    That is what (N, 1) - (N,) does; a function that takes prediction[:, 0] first does not.
    """
    if objective.known or not isinstance(prediction, Tensor) or not isinstance(y, Tensor):
        return
    p, t = prediction.shape, y.shape
    if sorted((p, t), key=len) != [(len(y),), (len(y), 1)] or len(y) < 2:
        return
    specs = [(p, prediction.dtype, False), (t, y.dtype, False)]
    made = _traced(lambda both: [objective.mean(*both)], specs)
    if made is not None and any(node.shape == (len(y), len(y)) for node in made.graph.nodes):
        raise ShapeError(
            "fit",
            f"got a prediction {spec_text(prediction)} and a target {spec_text(y)}",
            "equal shapes: these are broadcast to all pairs",
            "squeeze the prediction, prediction[..., 0], or the target, y[..., None]",
        )


def expect_scalar(loss: Tensor, objective: Objective) -> None:
    """Raise if a loss is not one number."""
    if loss.shape != ():
        raise ShapeError(
            "fit",
            f"got a loss of shape {loss.shape} from {objective.name}",
            "one number",
            "take its mean()",
        )


def _probabilities(p: Array) -> bool:
    if p.ndim < 1 or p.shape[-1] < 2 or p.dtype.kind != "f" or not p.size:
        return False
    return bool((p >= 0).all() and np.allclose(p.sum(-1), 1, atol=1e-5))


def _check_some_count(objective: Objective, targets: Any, name: str) -> None:
    """Raise if the loss ignores each target: it would be 0, which looks like the best one."""
    ignored = objective.settings.get("ignore_index", -100)
    y = np.asarray(targets) if isinstance(targets, (np.ndarray, Tensor)) else np.zeros(0)
    classes = objective.known and objective.name in ("cross_entropy", "nll_loss")
    if classes and y.size and y.dtype.kind in "iu" and (y == ignored).all():
        raise ArgumentError(
            "fit",
            f"got {name} in which each target is {ignored}, which {objective.name} ignores",
            "expected one or more that count",
            "pass the classes, or another ignore_index",
        )


def check_classes(objective: Objective, outputs: int | None, targets: Any, where: str = "") -> None:
    """Raise if a class number in these targets has no score, or is no score's."""
    if (
        outputs is None
        or objective.name not in ("cross_entropy", "nll_loss")
        or not objective.known
    ):
        return
    y = np.asarray(targets) if isinstance(targets, (np.ndarray, Tensor)) else np.zeros(0)
    if y.dtype.kind not in "iu":
        return
    counts = y != objective.settings.get("ignore_index", -100)
    bad = counts & ((y < 0) | (y >= outputs))
    if bad.any():
        place = tuple(np.argwhere(bad)[0])
        raise RangeError(
            "fit",
            f"got class {y[place]} ({where}row {place[0] if place else 0})",
            f"0 to {outputs - 1}, one of the model's {outputs} scores",
            "number the classes from 0, or enlarge the last layer",
        )


def untrained(model: Module, optimizer: Optimizer, x: Any, loss: float) -> Iterator[str]:
    """After a first step: each parameter that nothing trains, by name, and why.

    loss   of that step; if it is 0 (each target ignored, say), gradients of 0 are as they should be
    """
    given = {id(p) for group in optimizer.param_groups for p in group.params}
    used: set[int] | None = None
    for name, p in model.named_parameters():
        if not p.requires_grad:  # frozen on purpose
            continue
        if id(p) not in given:
            yield f"{name}: the optimizer was not given it (build it after the last layer is made)"
        elif p.grad is None:
            used = _read(model, x) if used is None else used
            yield f"{name}: " + (
                "no gradient reached it, the way to the loss is cut (detach, argmax, rounding, a "
                "comparison)"
                if id(p) in used
                else "forward does not use it"
            )
        elif loss and not _any_nonzero(p.grad):
            yield f"{name}: its gradient is 0 everywhere (dead units, or zeros multiply it)"


def _any_nonzero(g: Any) -> bool:
    return bool(np.any((g.values if isinstance(g, RowSparse) else g).numpy()))


def _read(model: Module, x: Any) -> set[int]:
    """The tensors that a forward pass reads."""
    made = _forward(model, x)
    return set() if made is None else {id(owner) for owner, _ in made.reads}


def _ends_in_sigmoid(model: Module, x: Any) -> bool:
    made = _forward(model, x)
    node = made.graph.outputs[0] if made is not None else None
    while node is not None and node.op is not None and node.op.name in ("reshape", "alias"):
        node = node.inputs[0]
    return node is not None and node.op is not None and node.op.name == "sigmoid"


def _forward(model: Module, x: Any) -> Recorded | None:
    leaves, structure = tree.flatten(x)
    tensors = [as_tensor(leaf) for leaf in leaves]

    def forward(inputs: list[Tensor]) -> list[Tensor]:
        return [as_tensor(t) for t in tree.flatten(model(tree.unflatten(structure, inputs)))[0]]

    return _traced(forward, [(t.shape, t.dtype, False) for t in tensors])


def _traced(function: Function, specs: Sequence[tuple[Any, Any, bool]]) -> Recorded | None:
    """The graph of a function; None if it decides by values: then it is not known."""
    try:
        with no_grad():
            return record(function, specs)
    except ChainruleError:
        return None
