"""Settings and data of a training, recorded in its checkpoints: resuming names what has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ... import files, tree
from ...data import DataLoader
from ...data.source import RowSource
from ...graph import Array
from ...optim import Optimizer
from ...tensor import Tensor
from ..evaluation.batches import Batches
from ..evaluation.objective import Objective

MOST_BYTES = 2**22  # of an array, for its checksum: rows spread evenly, if there are more

Settings = dict[str, Any]


def training_settings(
    loader: DataLoader | Batches,
    valid: DataLoader | Batches | None,
    objective: Objective,
    optimizer: Optimizer,
    schedule: Any,
    **more: Any,
) -> Settings:
    """Settings and data by the names that messages use, as JSON reads them back.

    epochs and patience are left out: they may change.
    """
    loss_settings = {k: _as_json(v) for k, v in sorted(objective.settings.items())}
    out: Settings = {
        "loss": f"{objective.name}({', '.join(f'{k}={v}' for k, v in loss_settings.items())})",
        "schedule": None if schedule is None else type(schedule).__name__,
    }
    if isinstance(loader, DataLoader):
        for name in ("batch_size", "shuffle", "drop_last", "seed"):
            out[name] = _as_json(getattr(loader, name))
        out["augment"] = [getattr(a, "__name__", repr(a)) for a in loader.augment]
    for k, group in enumerate(optimizer.param_groups):
        of = f" of group {k}" if k else ""
        for name in (n for n in group if n != "initial_lr"):
            first = name == "lr" and "initial_lr" in group  # the rate before the schedule
            out[name + of] = _as_json(group["initial_lr" if first else name])
    out |= {name: _as_json(value) for name, value in more.items()}
    out["training data"] = _data_text(loader)
    out["validation data"] = None if valid is None else _data_text(valid)
    settings: Settings = json.loads(files.to_json(out))
    return settings


def changes(
    then: Mapping[str, Any], now: Settings, optimizer: Optimizer, stored: Mapping[str, Array]
) -> Iterator[str]:
    """A line for each setting that differs; afterwards `now` has the values that are used.

    stored   the state of the optimizer in the checkpoint, which replaces the present one: settings
             in it that are equal are no change (the same optimizer, used again)
    """
    in_both = {
        name + (f" of group {k}" if k else ""): (group[name], stored[f"group{k}/{name}"])
        for k, group in enumerate(optimizer.param_groups)
        for name in group
        if f"group{k}/{name}" in stored
    }
    for name, value in list(now.items()):
        if name not in then or then[name] == value:
            continue
        if name in in_both:
            now[name] = then[name]
            if not np.array_equal(*in_both[name]):
                yield f"{name} is {value} now, the run began with {then[name]}, which is used"
        else:
            yield f"{name} is {value} now, the run began with {then[name]}; the new one is used"


def _as_json(value: Any) -> Any:
    """A value as JSON has it: arrays as their fingerprint, other objects as their class."""
    if isinstance(value, (Tensor, np.ndarray)):
        return _fingerprint(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return [_as_json(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.item() if isinstance(value, np.generic) else type(value).__name__


def _data_text(data: DataLoader | Batches) -> str:
    """The arrays of a loader, or of the first batch in a list.

    Batches from any other iterable may differ each time.
    """
    if isinstance(data, DataLoader):
        return _fingerprints(data.data)
    if isinstance(data.source, list):
        return f"{len(data)} batches, the first of {_fingerprints(data.first)}"
    return "batches"


def _fingerprints(part: Any) -> str:
    return ", ".join(
        leaf.fingerprint() if isinstance(leaf, RowSource) else _fingerprint(np.asarray(leaf))
        for leaf in tree.flatten(part)[0]
    )


def _fingerprint(array: Array) -> str:
    """Dtype, shape and a checksum of some rows: `float32 (50, 5) #1a2b3c4d`."""
    some = array[:: 1 + array.nbytes // MOST_BYTES] if array.ndim else array
    return f"{array.dtype} {array.shape} #{files.checksum(some.tobytes())[:8]}"
