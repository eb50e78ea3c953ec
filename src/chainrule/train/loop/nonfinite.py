"""Where NaN and infinities come from: in data, outputs, weights or gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import random, tree
from ...data.source import RowSource
from ...errors import ArgumentError
from ...nn import Module
from ...sparse import RowSparse
from ...tensor import Tensor, as_tensor, no_grad


def check_finite(what: str, data: Any) -> None:
    """Raise if floating-point data holds NaN or an infinity; says in which row and column."""
    for value, where, count in nonfinite_values(data):
        raise ArgumentError(
            "fit",
            f"got {value} in the {what} at {where} ({count} rows have one)",
            "expected finite numbers",
            "drop these rows, or fill the gaps with the mean of the column",
        )


def describe_batch(x: Any, y: Any) -> str:
    """Where a batch is not finite, for an error message; empty if it is finite."""
    for data, what in ((x, "inputs"), (y, "targets")):
        for value, where, _ in nonfinite_values(data):
            return f", {value} in the {what} of that batch at {where}"
    return ""


def nonfinite_values(data: Any) -> Iterator[tuple[Any, str, int]]:
    """The first value of each array that is not finite, where it is, and how many rows have one."""
    leaves = [leaf for leaf in tree.flatten(data)[0] if not isinstance(leaf, RowSource)]
    for array in map(np.asarray, leaves):
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


def describe_module(model: Module, x: Any) -> str:
    """The first module, in the order of computation, whose output is not finite, for an error."""
    first: list[str] = []
    kinds = [(m, path, type(m).__name__) for path, m in model.named_modules()]
    names = {id(m): f"{path} ({kind})" if path else kind for m, path, kind in kinds}

    def look(module: Module, args: Any, output: Any) -> None:
        if not first and next(nonfinite_values(tree.map(_values, output)), None) is not None:
            first.append(names[id(module)])

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    drawn = random.default.state
    try:
        with no_grad():
            model(tree.map(as_tensor, x))
    finally:
        random.default.set_state(drawn)
        for hook in hooks:
            hook.remove()
    if not first:
        return ", although the predictions are finite"
    return f", the first output that is not finite is that of {first[0]}"


def _values(leaf: Any) -> Any:
    return leaf.numpy() if isinstance(leaf, Tensor) else leaf


def describe_gradient(name: str, parameter: Tensor) -> str:
    """Whether the gradient made a parameter not finite, for an error."""
    g = parameter.grad
    values = () if g is None else (g.values if isinstance(g, RowSparse) else g).numpy()
    if np.isfinite(np.asarray(values, np.float64)).all():
        return ""
    return (
        f": the gradient of {name} is not finite, though the loss is; a square root, a norm or a "
        "logarithm has none at 0: add 1e-8 inside it"
    )
