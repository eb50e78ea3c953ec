"""Faults of inputs and targets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...diagnosis.finding import Change
from ...graph import Array
from ..facts import Facts
from .fault import Fault
from .rows import NEAREST, nearest, some_rows

LARGE, UNEVEN = 3.0, 30.0  # root mean square of inputs; spreads of columns, largest over median
VERY_LARGE, VERY_UNEVEN = 20.0, 100.0
SMALL, VERY_SMALL = 0.1, 0.02  # spread of inputs
APART = 4.0  # mean sizes of the two sets, one over the other
UNLIKE = 0.5  # half the sum of the differences of the classes' shares in the two sets
IN_ORDER = 0.5  # rows of the same class as the one before: 0 in a random order, 1 by class
EXPLAINED, UNEXPLAINED = 0.4, 0.15  # share of the targets, by neighbours: held out, trained on


def data_faults(f: Facts) -> Iterator[Fault]:
    """Scales, differences of the two sets, and targets that do not belong to their rows."""
    yield from _inputs(f)
    if f.score.task == "numbers":
        yield from _targets(f)
    yield from _two_sets(f)
    yield from _order(f)
    yield from _misaligned(f)


def _inputs(f: Facts) -> Iterator[Fault]:
    x = f.training.data[0]
    if x.dtype.kind in "iu" and any(a.name == "Embedding" for a in f.start.layers):
        return  # numbers of tokens
    flat = x.reshape(len(x), -1).astype(np.float64)
    spreads = flat.std(0)
    spreads = spreads[spreads > 0]
    size, spread = float(np.sqrt((flat**2).mean())), float(flat.std())
    uneven = float(spreads.max() / np.median(spreads)) if spreads.size else 1.0
    scale = (Change("scale", "data.inputs", "standardise"),)
    if size > LARGE or uneven > UNEVEN:
        cause = f"the root mean square of the inputs is {size:.3g}"
        if uneven > UNEVEN:
            cause += f", and one column spreads {uneven:.3g} times as far as the median one"
        prior = 0.9 if size > VERY_LARGE or uneven > VERY_UNEVEN else 0.6
        yield Fault("inputs_not_scaled", "data.inputs", cause, prior, scale)
    elif spread < SMALL and size < LARGE * SMALL:
        cause = f"the inputs spread by {spread:.2g} only"
        yield Fault(
            "inputs_overscaled", "data.inputs", cause, 0.9 if spread < VERY_SMALL else 0.6, scale
        )


def _targets(f: Facts) -> Iterator[Fault]:
    y = f.training.data[1].astype(np.float64)
    size, spread = float(np.sqrt((y**2).mean())), float(y.std())
    scale = (Change("scale", "data.targets", "standardise"),)
    if size > LARGE:
        cause = f"the root mean square of the targets is {size:.3g}"
        yield Fault(
            "targets_not_scaled", "data.targets", cause, 0.9 if size > VERY_LARGE else 0.6, scale
        )
    elif spread < SMALL / 2:
        yield Fault(
            "targets_overscaled",
            "data.targets",
            f"the targets spread by {spread:.2g} only",
            0.7,
            scale,
        )


def _two_sets(f: Facts) -> Iterator[Fault]:
    (x, y), (xt, yt) = f.training.data, f.training.valid
    if len(xt) >= NEAREST * 4:
        sizes = [float(np.abs(a, dtype=np.float64).mean()) + 1e-12 for a in (x, xt)]
        ratio = sizes[0] / sizes[1]
        if not 1 / APART < ratio < APART:
            cause = f"the inputs of the training are {ratio:.3g} times as large as those held out"
            match = (Change("match", "data.inputs", 1 / ratio),)
            yield Fault("train_test_mismatch", "data.inputs", cause, 1.0, match, True)
    if f.score.task == "classes" and y.ndim == yt.ndim == 1:
        k = f.score.classes
        shares = [
            np.bincount(np.maximum(a, 0).astype(int), minlength=k)[:k] / len(a) for a in (y, yt)
        ]
        apart = float(np.abs(shares[0] - shares[1]).sum() / 2)
        if apart > UNLIKE:
            cause = f"the shares of the classes differ by {apart:.0%} between the two sets"
            yield Fault("label_encoding_wrong", "data.targets", cause, 1.0, (), True)


def _order(f: Facts) -> Iterator[Fault]:
    """Rows in the order of their classes, which each epoch goes through in this order."""
    y = f.training.data[1].ravel()
    if f.training.shuffle or f.score.task != "classes" or len(y) != len(f.training.data[0]):
        return
    shares = np.unique(y, return_counts=True)[1] / len(y)
    expected, same = float((shares**2).sum()), float(np.mean(y[1:] == y[:-1]))
    if same > expected + IN_ORDER * (1 - expected):
        cause = (
            f"{same:.0%} of the rows follow one of their own class, of {expected:.0%} in a random "
            "order: a batch has few classes"
        )
        change = (Change("shuffle", "data", True),)
        yield Fault("data_not_shuffled", "data", cause, 0.9, change)


def _misaligned(f: Facts) -> Iterator[Fault]:
    """Neighbours tell the target among held-out rows, but not among those of the training."""
    (x, y), (xt, yt) = f.training.data, f.training.valid
    if min(len(x), len(xt)) < NEAREST * 4 or (y.ndim > 1 and y.shape[1] > 64):
        return
    trained, valid = (explained(*some_rows(*d, f.score.task)) for d in ((x, y), (xt, yt)))
    if trained < UNEXPLAINED and valid > EXPLAINED:
        cause = (
            f"the nearest other rows explain {valid:.0%} of the held-out targets, and "
            f"{max(trained, 0):.0%} of those of the training"
        )
        yield Fault("labels_misaligned", "data.targets", cause, 1.0, (), True)


def explained(x: Array, y: Array) -> float:
    """The share of the targets' variation that the mean of the nearest other rows explains."""
    error = ((y[nearest(x)].mean(1) - y) ** 2).sum() / (1 + 1 / NEAREST)  # the mean's own variance
    return float(1 - error / max(((y - y.mean(0)) ** 2).sum(), 1e-12))
