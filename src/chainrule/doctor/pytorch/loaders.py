"""The rows of PyTorch's datasets and loaders as arrays."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import ArgumentError
from .layers import values
from .surroundings import drawing

torch: Any = importlib.import_module("torch")
data: Any = torch.utils.data

MOST = 2**31  # bytes of the rows of a dataset


def arrays(rows: Any) -> Any:
    """Tensors, and the rows of a dataset or loader, as arrays; whatever else there is, as it is.

    Each row of a dataset is read once: what is drawn at random while it is read stays as it is.
    """
    if isinstance(rows, data.DataLoader):
        rows = _rows_of(rows)
    elif isinstance(rows, data.TensorDataset):
        rows = rows.tensors
    elif isinstance(rows, data.Dataset):
        rows = _joined(rows)
    if not isinstance(rows, (tuple, list)):
        return rows
    return tuple(map(_array, rows))


def _array(part: Any) -> Any:
    if isinstance(part, list) and part and isinstance(part[0], torch.Tensor) and part[0].ndim:
        return tuple(part)  # parts of the rows, as a loader joins them
    if not isinstance(part, torch.Tensor):
        return part
    try:
        return values(part)
    except (RuntimeError, TypeError) as error:  # no numbers in memory: on meta, quantized, nested
        raise ArgumentError(
            "diagnose",
            f"got rows of {part.dtype} on {part.device}: {' '.join(str(error).split())}",
            "expected numbers in memory",
            "pass arrays (x, y)",
        ) from error


def batches(rows: Any, batch_size: int | None) -> tuple[int | None, bool]:
    """The batch size, and whether the rows are shuffled, of arrays or a loader."""
    if not isinstance(rows, data.DataLoader):
        return batch_size, True
    if batch_size is not None:
        raise ArgumentError(
            "diagnose",
            f"got batch_size {batch_size}",
            "expected rows in the loader's batches",
            "leave out batch_size",
        )
    return rows.batch_size, not isinstance(rows.sampler, data.SequentialSampler)


def _rows_of(loader: Any) -> Any:
    """The parts of the rows of a loader that has rows, batch size and shuffle alone."""
    rows, sampler = loader.dataset, loader.sampler
    known = data.SequentialSampler, data.RandomSampler, data.SubsetRandomSampler
    drawn_once = type(sampler) is not data.RandomSampler or (
        not sampler.replacement and sampler.num_samples == len(rows)
    )
    for refused, what in (
        (isinstance(rows, data.IterableDataset), "an IterableDataset"),
        (type(loader.batch_sampler) is not data.BatchSampler, "batches of its own, or none"),
        (loader.collate_fn is not data.default_collate, "a collate_fn"),
        (type(sampler) not in known or not drawn_once, f"the sampler {type(sampler).__name__}"),
    ):
        if refused:
            raise ArgumentError(
                "diagnose",
                f"got a DataLoader with {what}",
                "expected a Dataset of pairs (x, y), batch_size and shuffle alone",
                "pass arrays (x, y), or loader.dataset if it is such a Dataset",
            )
    if type(sampler) is data.SubsetRandomSampler:
        rows = data.Subset(rows, list(sampler.indices))
    return rows.tensors if isinstance(rows, data.TensorDataset) else _joined(rows)


def _joined(rows: Any) -> Any:
    """The inputs and the targets of a dataset's rows, each as one tensor."""
    if isinstance(rows, data.IterableDataset) or not hasattr(rows, "__len__"):
        raise _refusal(rows, "without len()")
    with drawing(0):
        first = rows[0] if len(rows) else None
        if not isinstance(first, (tuple, list)) or len(first) != 2:
            what = f"whose rows are of type {type(first).__name__}"
            raise _refusal(rows, what if len(rows) else "without rows")
        try:
            one = data.default_collate([first])
            size = len(rows) * sum(getattr(part, "nbytes", 0) for part in one)
            if size <= MOST:
                return data.default_collate([first, *(rows[k] for k in range(1, len(rows)))])
        except (TypeError, RuntimeError) as error:  # no numbers, or not of the same shape
            reason = " ".join(str(error).split())
            raise _refusal(rows, f"whose rows cannot be joined: {reason}") from error
    raise _refusal(rows, f"of {size / 2**30:.1f} GB")


def _refusal(rows: Any, what: str) -> ArgumentError:
    return ArgumentError(
        "diagnose",
        f"got the Dataset {type(rows).__name__} {what}",
        f"expected pairs (x, y) of numbers, of equal shapes, in {MOST // 2**30} GB at most",
        "pass arrays (x, y), of some of the rows if there are many",
    )
