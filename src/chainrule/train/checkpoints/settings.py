"""What a run began with: kept in its checkpoints, so that resuming can name what has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ... import tree
from ...data import DataLoader
from ...graph import Array
from ...optim import Optimizer
from ...tensor import Tensor
from .. import files
from ..evaluation.batches import Batches
from ..evaluation.objective import Objective

MOST = 2**22  # bytes of an array that are looked at: rows spread evenly, if there are more

Settings = dict[str, Any]


def described(
    loader: DataLoader | Batches,
    valid: DataLoader | Batches | None,
    objective: Objective,
    optimizer: Optimizer,
    schedule: Any,
    **more: Any,
) -> Settings:
    """Settings and data of a run by the name that a message has for them, as JSON reads them back.

    How long it trains is left out (epochs, patience): that may change.
    """
    given = {k: _plain(v) for k, v in sorted(objective.settings.items())}
    out: Settings = {
        "loss": f"{objective.name}({', '.join(f'{k}={v}' for k, v in given.items())})",
        "schedule": None if schedule is None else type(schedule).__name__,
    }
    if isinstance(loader, DataLoader):
        for name in ("batch_size", "shuffle", "drop_last", "seed"):
            out[name] = _plain(getattr(loader, name))
    for k, group in enumerate(optimizer.param_groups):
        of = f" of group {k}" if k else ""
        for name in (n for n in group if n != "initial_lr"):
            first = name == "lr" and "initial_lr" in group  # what a schedule begins with
            out[name + of] = _plain(group["initial_lr" if first else name])
    out |= {name: _plain(value) for name, value in more.items()}
    out["training data"] = _told(loader)
    out["validation data"] = None if valid is None else _told(valid)
    found: Settings = json.loads(files.to_json(out))
    return found


def changes(
    then: Mapping[str, Any], now: Settings, optimizer: Optimizer, stored: Mapping[str, Array]
) -> Iterator[str]:
    """A line for each setting that is another one now; `now` has the one that is used afterwards.

    stored   the state of the optimizer in the checkpoint, which is taken over: numbers in it that
             the optimizer has already are no change (the same optimizer, used again)
    """
    kept = {
        name + (f" of group {k}" if k else ""): (group[name], stored[f"group{k}/{name}"])
        for k, group in enumerate(optimizer.param_groups)
        for name in group
        if f"group{k}/{name}" in stored
    }
    for name, value in list(now.items()):
        if name not in then or then[name] == value:
            continue
        if name in kept:
            now[name] = then[name]
            if not np.array_equal(*kept[name]):
                yield f"{name} is {value} now, the run began with {then[name]}; the run's is used"
        else:
            yield f"{name} is {value} now, the run began with {then[name]}; it is used from here on"


def _plain(value: Any) -> Any:
    """A value that JSON has; arrays by their fingerprint, other objects by their class."""
    if isinstance(value, (Tensor, np.ndarray)):
        return _fingerprint(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.item() if isinstance(value, np.generic) else type(value).__name__


def _told(data: DataLoader | Batches) -> str:
    """The arrays of a loader, or of the first one of a list of batches.

    Batches that something makes as they are asked for may differ each time.
    """
    if isinstance(data, DataLoader):
        return _fingerprints(data.data)
    if isinstance(data.source, list):
        return f"{len(data)} batches, the first of {_fingerprints(data.first)}"
    return "batches"


def _fingerprints(part: Any) -> str:
    return ", ".join(_fingerprint(np.asarray(leaf)) for leaf in tree.flatten(part)[0])


def _fingerprint(array: Array) -> str:
    """Dtype, shape and a checksum of some rows: `float32 (50, 5) #1a2b3c4d`."""
    some = array[:: 1 + array.nbytes // MOST] if array.ndim else array
    return f"{array.dtype} {array.shape} #{files.checksum(some.tobytes())[:8]}"
