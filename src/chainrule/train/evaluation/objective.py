"""The loss that is trained: by name, as a module of `nn`, or as a function."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import tree
from ...errors import ArgumentError
from ...graph import Array
from ...hints import names
from ...nn import losses
from ...nn.criterion import Loss
from ...tensor import Tensor, as_tensor

ALIASES = {
    "mse": "mse_loss",
    "mae": "l1_loss",
    "l1": "l1_loss",
    "huber": "huber_loss",
    "nll": "nll_loss",
    "bce": "binary_cross_entropy",
    "bce_with_logits": "binary_cross_entropy_with_logits",
    "smooth_l1": "smooth_l1_loss",
}

MOST_TARGETS = 2**20  # from which a guess is computed: rows spread evenly, if there are more


class Objective:
    """A loss of (prediction, target): its mean over a batch, and the parts of that mean.

    A batch can be processed in pieces: the total of their sums over the total of their weights is
    the mean over the batch.
    """

    def __init__(self, loss: str | Callable[..., Any]) -> None:
        self.settings: dict[str, Any] = {}
        if isinstance(loss, str):
            self.function: Any = _by_name(loss)
        elif isinstance(loss, Loss):
            self.function, self.settings = type(loss).function, dict(loss.settings)
        elif isinstance(loss, functools.partial) and not loss.args and _is_ours(loss.func):
            self.function, self.settings = loss.func, dict(loss.keywords)
        elif callable(loss) and not isinstance(loss, type):
            self.function = loss
        else:
            raise ArgumentError(
                "fit",
                f"got the class {loss.__name__} as loss"
                if isinstance(loss, type)
                else f"got a loss of type {type(loss).__name__}",
                "expected a name, a loss of nn, or a function of prediction and target",
                f"make one: {loss.__name__}()"
                if isinstance(loss, type)
                else 'loss="cross_entropy" for classes, loss="mse" for numbers',
            )
        self.name = getattr(self.function, "__name__", type(loss).__name__)
        self.known = _is_ours(self.function)
        if self.known and len(_required(self.function).keys() - self.settings.keys()) != 2:
            raise ArgumentError(
                "fit",
                f"got {self.name}, which takes {', '.join(_required(self.function))}",
                "expected a loss of a prediction and a target",
                "write a function (prediction, target) that calls it",
            )
        if self.settings.pop("reduction", "mean") != "mean":
            raise ArgumentError(
                "fit",
                f"got {self.name} with another reduction",
                'expected reduction="mean"',
                "leave it out",
            )

    def mean(self, prediction: Any, target: Any) -> Tensor:
        """The loss of a batch."""
        out = self.function(prediction, target, **self.settings)
        if not isinstance(out, Tensor):
            raise ArgumentError(
                "fit",
                f"got a loss of type {type(out).__name__} from {self.name}",
                "expected a Tensor of one number, computed from the prediction",
                "use operations of chainrule, not float(…) or NumPy",
            )
        return out

    def parts(self, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
        """The sum of the losses of a batch, and the weight to divide it by for the mean.

        A custom function has to be the mean over the rows of the target.
        """
        if self.known:
            total = self.function(prediction, target, reduction="sum", **self.settings)
            return total, losses.total_weight(self.name, self.settings, prediction, target)
        rows = float(as_tensor(tree.flatten(target)[0][0]).shape[0])
        value = self.mean(prediction, target)
        return value * rows, value._full((), rows)

    def guess(self, target: Any) -> tuple[float, float] | None:
        """The mean loss of the best constant prediction, and the least possible mean loss.

        None where they are unknown: for other losses, and for targets in several arrays.
        """
        if not self.known or not isinstance(target, (Tensor, np.ndarray)) or not len(target):
            return None
        make = _GUESSES.get(self.name)
        if make is None:
            return None
        y = np.asarray(target)
        y = y[:: max(1, y.size // MOST_TARGETS)]
        return make(y if y.dtype.kind in "iu" else y.astype(np.float64), self.settings)


def cuts(rows: int, pieces: int) -> list[slice]:
    """The rows of a batch as `pieces` slices (fewer if there are fewer rows).

    Their sizes differ by 1 at most.
    """
    pieces = min(pieces, rows)
    return [slice(k * rows // pieces, (k + 1) * rows // pieces) for k in range(pieces)]


def _class_guess(y: Array, settings: dict[str, Any]) -> tuple[float, float] | None:
    """The entropy of the classes' shares; the least is that of a smoothed, or soft, target."""
    if y.dtype.kind == "f" and y.ndim > 1:
        shares = y.reshape(-1, y.shape[-1])
        return _entropy(shares.mean(0)), _entropy(shares) / len(shares)
    y = y[y != settings.get("ignore_index", -100)]
    if y.dtype.kind not in "iu" or not y.size or y.min() < 0:
        return None
    counts = np.bincount(y.ravel()).astype(np.float64)
    if settings.get("weight") is not None:
        counts *= np.asarray(settings["weight"])[: len(counts)]
    if not counts.any():
        return None
    smoothed = settings.get("label_smoothing", 0.0)
    even = np.full(len(counts), smoothed / len(counts))
    sure = np.where(np.arange(len(counts)) == 0, 1 - smoothed, 0.0)
    return _entropy((1 - smoothed) * counts / counts.sum() + even), _entropy(sure + even)


def _binary_guess(y: Array, settings: dict[str, Any]) -> tuple[float, float] | None:
    """The entropy of the share of 1, for each output."""
    if settings:  # weights
        return None
    share = y.mean(0)
    return tuple((_entropy(p) + _entropy(1 - p)) / p.size for p in (share, y))  # type: ignore[return-value]


def _entropy(shares: Array) -> float:
    """-∑ p ln p; 0 ln 0 is 0."""
    return float(-np.sum(shares * np.log(np.where(shares > 0, shares, 1))))


_GUESSES: dict[str, Callable[[Array, dict[str, Any]], tuple[float, float] | None]] = {
    "cross_entropy": _class_guess,
    "binary_cross_entropy": _binary_guess,
    "binary_cross_entropy_with_logits": _binary_guess,
    "mse_loss": lambda y, _: (float(np.var(y, axis=0).mean()), 0.0),
    "l1_loss": lambda y, _: (float(np.abs(y - np.median(y, axis=0)).mean()), 0.0),
}


def _is_ours(function: Any) -> bool:
    name = getattr(function, "__name__", "")
    return name in losses.__all__ and getattr(losses, name) is function


def _required(function: Callable[..., Any]) -> dict[str, None]:
    """The required arguments of a function, in order."""
    taken = inspect.signature(function).parameters.values()
    return {p.name: None for p in taken if p.default is p.empty}


def _by_name(name: str) -> Callable[..., Any]:
    full = ALIASES.get(name, name)
    if full not in losses.__all__:
        known = [*ALIASES, *losses.__all__]
        ours = names.LOSSES.get(name)
        near = [ours] if ours else difflib.get_close_matches(name, known, 1)
        raise ArgumentError(
            "fit",
            f"got the loss {name!r}",
            "expected a loss of nn.functional",
            f"did you mean {near[0]}?" if near else "cross_entropy for classes, mse for numbers",
        )
    function: Callable[..., Any] = getattr(losses, full)
    return function
