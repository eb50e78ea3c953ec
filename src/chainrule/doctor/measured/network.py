"""The model before its first step: what depends on what, and layers that do not fit each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from ...diagnosis.wording import place
from ...graph import Array
from ..facts import Facts
from ..training import MISFITS, Layer
from ..words import places
from .measurement import Measurement

ROWS = 64
SAME = 1e-6  # spread of outputs over their size that is rounding alone
ROUNDING = 1e-6  # of an input
MIXED = 1e-3  # difference of outputs, over their size, that is more than rounding
LISTED = 3


def of_network(f: Facts) -> Iterator[Measurement]:
    """Outputs, parameters, layers."""
    yield from _outputs(f)
    yield _untrained(f.untrained)
    yield from _norms(f)


def _untrained(reasons: Mapping[str, str]) -> Measurement:
    """The parameters, in the remark together by the reason."""
    remarks = []
    for why in dict.fromkeys(reasons.values()):
        names = [name for name, other in reasons.items() if other == why]
        more = len(names) - LISTED
        remarks.append(", ".join(names[:LISTED]) + f" and {more} more" * (more > 0) + f": {why}")
    items = tuple(f"{name}: {why}" for name, why in reasons.items())
    where = next(iter(reasons), "").rpartition(".")[0] or "model"
    return Measurement("untrained_parameters", len(items), "none", where, "; ".join(remarks), items)


def _outputs(f: Facts) -> Iterator[Measurement]:
    """In evaluation mode, in which no row sees the others of its batch."""
    t = f.training
    x, y = (a[:ROWS] for a in t.data)
    try:
        out = t.outputs(t.model, x)
    except MISFITS:
        return
    size = float(np.sqrt(np.square(out).mean()))
    if not (len(x) > 1 and 0 < size < np.inf):
        return
    spread = float(out.std(0).max()) / size
    remark = "" if spread > SAME else "the output is the same for every row: it ignores the input"
    yield Measurement("output_spread", spread, "above 0", f.output_place or "model", remark)
    moved = np.roll(np.arange(len(x)), 1)
    some = moved[: len(x) // 2]
    try:
        apart = float(np.abs(t.outputs(t.model, x[some]) - out[some]).max()) / size
        nearly = x * (1 + ROUNDING) if x.dtype.kind == "f" else x
        chaos = float(np.abs(t.outputs(t.model, nearly.astype(x.dtype)) - out).max()) / size
    except MISFITS:
        return
    if apart > MIXED > chaos:  # else rounding alone has changed the outputs so far
        remark = "the output of a row depends on the other rows: is an axis taken for that of rows?"
        yield Measurement("row_order", apart, "0", "model", remark)
        return
    before, after = t.loss_value(out, y), t.loss_value(out[moved], y[moved])
    if np.isfinite([before, after]).all():
        change = abs(after - before) / max(abs(before), 1e-12)
        remark = "the loss of a batch depends on the order of its rows" * (change > MIXED)
        yield Measurement("row_order", change, "0", "loss" if remark else "model", remark)


def _norms(f: Facts) -> Iterator[Measurement]:
    """Batch normalization, and what is before it."""
    layers = f.start.layers
    norms = [k for k, a in enumerate(layers) if _is_batch_norm(a)]
    if not norms:
        return
    batch, where = f.training.batch, layers[norms[0]].path
    remark = "the mean and variance of one row: each is normalized by itself" * (batch == 1)
    yield Measurement("batch_norm_rows", batch, "16 or more", where, remark)
    names = {name for name, _ in f.training.model.named_parameters()}
    biased = [
        a.path
        for a, b in itertools.pairwise(layers)
        if _is_batch_norm(b) and f"{a.path}.bias" in names and _normalizes(a, b)
    ]
    yield _paths(
        "bias_before_norm", biased, "the mean that is subtracted has the bias in it: bias=False"
    )
    dropped = [a.path for a in layers[: norms[-1]] if a.kind == "dropout"]
    yield _paths("dropout_before_norm", dropped, "the variance is another one in evaluation mode")


def _is_batch_norm(a: Layer) -> bool:
    return a.kind == "norm" and "BatchNorm" in a.name


def _normalizes(a: Layer, b: Layer) -> bool:
    """Whether layer b got the output of a: each of its units is that one, shifted and scaled."""
    if a.output.shape != b.output.shape:
        return False
    before, after = (_standard(layer.by_unit) for layer in (a, b))
    return bool(np.abs(np.abs((before * after).mean(0)) - 1).max() < 1e-2)


def _standard(units: Array) -> Array:
    units = units.astype(np.float64)
    return (units - units.mean(0)) / np.maximum(units.std(0), 1e-12)


def _paths(name: str, paths: list[str], remark: str) -> Measurement:
    said = f"{places(paths)}: {remark}" if paths else ""
    where = paths[0] if paths else "model"
    return Measurement(name, len(paths), "none", where, said, tuple(map(place, paths)))
