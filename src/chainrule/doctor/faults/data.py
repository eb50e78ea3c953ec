"""Faults of inputs and targets."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...diagnosis.finding import Change
from ...diagnosis.wording import number
from ...graph import Array
from ..facts import Facts
from .fault import Fault
from .rows import FEWEST, NEAREST, ROWS, nearest, some_rows
from .steps import GAP

LARGE, UNEVEN = 3.0, 30.0  # root mean square of inputs; spreads of columns, largest over median
VERY_LARGE, VERY_UNEVEN = 20.0, 100.0
SMALL, VERY_SMALL = 0.1, 0.02  # spread of inputs
APART, MOST = 4.0, 0.5  # sizes of the two sets, one over the other, in this share of columns
UNLIKE = 0.5  # half the sum of the differences of the classes' shares in the two sets
CLOSED = 0.7  # share of the gap between the two sets that other numbers of classes explain
IN_ORDER = 0.5  # rows of the same class as the one before: 0 in a random order, 1 by class
_LISTED = 3
ALIGNED = 64  # rows of each set from which on neighbours show whether targets belong to them
EXPLAINED, UNEXPLAINED = 0.4, 0.1  # share of the targets, by neighbours: held out, trained on


def data_faults(f: Facts) -> Iterator[Fault]:
    """Scales, differences of the two sets, and targets that do not belong to their rows."""
    yield from _inputs(f)
    if f.constant_targets:
        yield _constant(f)
    else:
        coded = [*_two_values(f)]
        yield from coded
        if f.score.task == "numbers" and not coded:
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


def _constant(f: Facts) -> Fault:
    """Targets without anything to learn."""
    y = f.training.data[1]
    value = number(float(y.flat[0])) if y[0].size == 1 else "the same"
    cause = f"all targets of the training are {value}: there is nothing to learn"
    return Fault("constant_targets", "data.targets", cause, 1.0, (), True, voids=True)


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


def _two_values(f: Facts) -> Iterator[Fault]:
    """Two classes that are not 0 and 1, where a sigmoid or its loss takes them for that."""
    values = np.unique(f.training.data[1])
    entropy = f.loss.name == "binary_cross_entropy"
    if len(values) != 2 or not (entropy or f.activation_name == "Sigmoid"):
        return
    low, high = map(float, values)
    if (low, high) != (0, 1) and np.isin(f.training.valid[1], values).all():
        what = "the loss" if entropy else "a sigmoid"
        cause = f"the targets are {number(low)} and {number(high)}, where {what} takes 0 and 1"
        change = (Change("binary", "data.targets", (low, high)),)
        yield Fault("label_encoding_wrong", "data.targets", cause, 0.95, change, entropy)


def _two_sets(f: Facts) -> Iterator[Fault]:
    (x, y), (xt, yt) = f.training.data, f.training.valid
    if len(xt) >= FEWEST:
        cause = "the {} of the training are {:.3g} times as large as those held out"
        ratio = _far(x, xt)
        if ratio:
            sane, other = (SMALL <= _size(a) <= LARGE for a in (x, xt))
            match = (Change("match", "data.inputs", 1 / ratio),)
            if sane and not other:
                match = (Change("match_held_out", "data.inputs", ratio),)
            said = cause.format("inputs", ratio)
            yield Fault("train_test_mismatch", "data.inputs", said, 1.0, match, True)
        ratio = _far(y, yt)
        if f.score.task == "numbers" and ratio:
            said = cause.format("targets", ratio)
            yield Fault("train_test_mismatch", "data.targets", said, 1.0, (), True, voids=True)
    if f.score.task == "classes" and (y.size, yt.size) == (len(y), len(yt)):
        k = f.score.classes
        shares = [
            np.bincount(np.maximum(a.ravel(), 0).astype(int), minlength=k)[:k] / len(a)
            for a in (y, yt)
        ]
        apart = float(np.abs(shares[0] - shares[1]).sum() / 2)
        unlike = UNLIKE + _by_chance(shares[0], shares[1], len(y), len(yt))
        if apart > unlike:
            cause = f"the shares of the classes differ by {apart:.0%} between the two sets"
            unknown = float(shares[1][shares[0] == 0].sum())
            void = unknown > unlike
            cause += f": {unknown:.0%} of the held-out rows are of classes that have no row" * void
            yield Fault("label_encoding_wrong", "data.targets", cause, 1.0, (), True, voids=void)
        else:
            yield from _renumbered(f)


def _by_chance(a: Array, b: Array, rows: int, others: int) -> float:
    """How far the shares of classes in two samples of one distribution are apart, in the mean.

    Half of ∑|difference|, each of which is about normal with the variance p(1 - p)(1/n + 1/m).
    """
    p = (rows * a + others * b) / (rows + others)
    return float(np.sqrt(p * (1 - p) * (1 / rows + 1 / others) / (2 * math.pi)).sum())


def _size(x: Array) -> float:
    """The root mean square."""
    return float(np.sqrt(np.square(x, dtype=np.float64).mean()))


def _far(a: Array, b: Array) -> float:
    """How many times as large the numbers of one set are; 0 if they are not far apart.

    Most columns have to be, in the median without zeros: a few large numbers may be in one set by
    chance.
    """
    sizes, others = (_typical(part[:ROWS].reshape(min(len(part), ROWS), -1)) for part in (a, b))
    both = (sizes > 0) & (others > 0)
    ratios = sizes[both] / others[both]
    apart = np.count_nonzero((ratios > APART) | (ratios < 1 / APART))
    if apart <= MOST * len(ratios):
        return 0.0
    size, other = (float(np.abs(part, dtype=np.float64).mean()) for part in (a, b))
    return size / other


def _typical(x: Array) -> Array:
    """The median size of the numbers in each column that are not 0; 0 without any."""
    sizes = np.where(x == 0, np.nan, np.abs(x, dtype=np.float64))
    some = ~np.isnan(sizes).all(0)
    out = np.zeros(x.shape[1])
    out[some] = np.nanmedian(sizes[:, some], axis=0)
    return out


def _renumbered(f: Facts) -> Iterator[Fault]:
    """Held-out classes that have other numbers: what is taken for one of them is always another.

    Which one is read from one half of the held-out rows, and tested on the other half, and the
    other way round; so none is found by chance. It has to be why held-out rows do worse.
    """
    x, y = f.training.valid
    y = y.ravel().astype(np.int64)
    gap = f.outcome.fit - f.outcome.score
    if f.end is None or gap <= GAP or min(y) < 0 or len(y) < FEWEST:
        return
    guesses = f.score.guesses(f.training.outputs(f.outcome.model, x), len(y))
    part = np.random.default_rng(0).permutation(len(y)) % 2 == 0
    renumbered = np.zeros(len(y), np.int64)
    for half in (part, ~part):
        renumbered[half] = _with(_numbers(guesses[~half], y[~half]), guesses[half])
    new = _numbers(guesses, y)
    before, after = (float(np.mean(of == y)) for of in (guesses, renumbered))
    others = len(set(new.values())) == len(new) > 1 and after > 0.5  # of most rows
    if others and after - before > CLOSED * gap:
        moved = [f"{b} for {a}" for a, b in new.items() if a != b]
        some = ", ".join(moved[:_LISTED]) + ", …" * (len(moved) > _LISTED)
        cause = (
            f"held-out rows have other numbers for their classes, {some}: with the numbers of the "
            f"training, the accuracy is {after:.3f} in place of {before:.3f}"
        )
        yield Fault("label_encoding_wrong", "data.targets", cause, 1.0, (), True, voids=True)


def _numbers(guesses: Array, y: Array) -> dict[int, int]:
    """The class that most rows have, for each class that they are taken for."""
    return {int(a): int(np.bincount(y[guesses == a]).argmax()) for a in np.unique(guesses)}


def _with(numbers: dict[int, int], classes: Array) -> Array:
    """The classes by other numbers; those without one stay."""
    return np.array([numbers.get(a, a) for a in classes.tolist()])


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
    """Neighbours predict the target among held-out rows, but not among those of the training."""
    sets = f.training.data, f.training.valid
    count = min(len(x) for x, _ in sets)  # neighbours among fewer rows are farther away
    if count < ALIGNED or sets[0][1][0].size > 64:
        return
    trained, valid = (explained(*some_rows(*data, f.score.task, count)) for data in sets)
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
