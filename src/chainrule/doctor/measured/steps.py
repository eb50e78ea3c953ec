"""The loss before the first step, its curvature, the gradients, and one batch learned by heart."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from ...diagnosis.noise import noise_scale
from ...diagnosis.wording import number
from ...graph import Array
from ..facts import NUMBERS, Facts
from ..faults.steps import GAP
from ..training import MISFITS
from .data import classes_of
from .measurement import Measurement

PARTS, PART_ROWS = 16, 16  # batches whose gradients are compared, and their rows
FAR_BELOW = 1000.0  # the critical rate over a rate that is far too low
NOISY = 100.0  # the noise scale over a batch that tells nearly nothing
ABOVE, TIMES = 1.0, 3.0  # an initial loss that is high: in nats of classes, over the variance
BY_HEART = 8, 32  # rows of that batch, at least and at most
STEPS, LEARNED = 300, 0.9  # and the score from which on it is learned


def of_steps(f: Facts, seconds: float) -> Iterator[Measurement]:
    """Of the loss, curvature and noise; what may take long only while there is time."""
    end = time.process_time() + seconds
    yield from _scores(f)
    yield from _initial_loss(f)
    yield from _curvature(f)
    if time.process_time() < end and f.numbers <= NUMBERS:
        yield from _noise(f)
    if time.process_time() < end:
        yield from _by_heart(f, end - time.process_time())


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


def _scores(f: Facts) -> Iterator[Measurement]:
    """That of a constant, and that on rows of the training, beside the held-out rows' score."""
    score, fit, broken = f.outcome.score, f.outcome.fit, f.outcome.nonfinite is not None
    chance = f.is_chance(f.constant_rows, f.outcome.rows)
    guessing = not (broken or f.constant_targets) and (score <= f.constant or chance)
    expected = "less than that of the training" + ", which breaks down" * broken
    remark = "the training is no better than a guess" * guessing
    value = f.score.shown(f.constant)
    yield Measurement("score_of_a_constant", value, expected, "model", remark)
    if not broken:
        unseen = number(f.score.shown(score))
        expected = f"about that of held-out rows after the same steps, {unseen}"
        remark = "the rows are learned by heart" * (fit - score > GAP)
        yield Measurement("score_in_training", f.score.shown(fit), expected, "model", remark)


# ── the initial loss ─────────────────────────────────────────────────────────────────────────────


def _initial_loss(f: Facts) -> Iterator[Measurement]:
    """Of K classes about log K, which small outputs give; of numbers about their variance."""
    loss, name = f.start.loss, f.loss.name
    y = f.training.data[1]
    expected, remark = "", ""
    if f.loss.reduction == "mean" and not f.loss.negative and math.isfinite(loss):
        if name in ("cross_entropy", "binary_cross_entropy"):
            expected, remark = _of_classes(f, loss)
        elif name == "mse":
            flat = y.reshape(len(y), -1).astype(np.float64)
            variance = float(flat.var(0).mean())
            expected = f"{number(variance)}, the variance of the targets"
            if loss > TIMES * variance:
                remark = f"far above: the mean of the targets is {number(float(flat.mean()))}"
    yield Measurement("initial_loss", loss, expected, "loss", remark)


def _of_classes(f: Facts, loss: float) -> tuple[str, str]:
    units = f.units if f.loss.name == "cross_entropy" else 2
    even = math.log(units)
    expected = f"{number(even)}, the logarithm of {units} classes"
    entropy = _entropy(classes_of(f, f.training.data[1]))
    if entropy is not None and entropy < 0.98 * even:
        expected += f" ({number(entropy)} by their frequencies)"
    if loss > even + ABOVE:
        return expected, "far above: the first outputs are far from 0, and wrong"
    low = even if entropy is None else min(entropy, even)
    if loss < low / 2:
        return expected, "far below: a trained network, or the input has the target in it"
    return expected, ""


def _entropy(classes: Array | None) -> float | None:
    """−∑ p log p of the frequencies p: the cross-entropy of the best constant."""
    if classes is None:
        return None
    shares = np.unique(classes, return_counts=True)[1] / len(classes)
    return float((shares * np.log(1 / shares)).sum())


# ── curvature and noise ──────────────────────────────────────────────────────────────────────────


def _curvature(f: Facts) -> Iterator[Measurement]:
    """The sharpness at the first weights, and the critical rate of SGD."""
    if f.sharpness is None:
        return
    yield Measurement("sharpness", f.sharpness, "", "model")
    critical = f.critical_rate
    if critical is None:
        return
    rate = float(f.training.settings["lr"])
    remark = ""
    if rate > critical:
        remark = f"{number(rate / critical)} times exceeded: steps overshoot"
    elif rate < critical / FAR_BELOW:
        remark = f"{number(critical / rate)} times as large: steps are small"
    expected = f"more than the rate, {number(rate)}"
    yield Measurement("critical_rate", critical, expected, "optimizer.lr", remark)


def _noise(f: Facts) -> Iterator[Measurement]:
    t = f.training
    rows = min(PART_ROWS, len(t.data[0]) // PARTS)
    if rows < 2 or f.loss.reduction.startswith("sum"):
        return
    try:
        gradients = t.gradients(PARTS, rows)
    except MISFITS:
        return
    value = noise_scale(gradients, rows)
    if math.isnan(value) or not gradients.any():
        return
    noisy = value > NOISY * t.batch
    remark = "at first a batch's gradient is nearly all noise" * noisy
    expected = f"not far more than the batch, {t.batch} rows"
    yield Measurement("gradient_noise_scale", value, expected, "batch", remark)


# ── one batch ────────────────────────────────────────────────────────────────────────────────────


def _by_heart(f: Facts, seconds: float) -> Iterator[Measurement]:
    """Whether the network can learn one batch by heart, with its own optimizer and rate."""
    if f.constant_targets:
        return
    least, most = BY_HEART
    rows = min(max(least, min(f.training.batch, most)), len(f.training.data[0]))
    try:
        outcome = f.training.of_one_batch(rows, STEPS).run(f.score, 0, seconds)
    except MISFITS:
        return
    if outcome.steps < STEPS and outcome.nonfinite is None:
        return  # there was no time
    score = f.score.worst if outcome.nonfinite is not None else outcome.fit
    remark = "not learned" * (score < LEARNED)
    expected = f"about 1: {f.score.name} after {STEPS} steps on {rows} rows alone"
    yield Measurement("batch_by_heart", score, expected, "model", remark)
