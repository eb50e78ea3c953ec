"""Batches: slices of arrays that share their first axis, in an order that seed and epoch fix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from .. import tree
from ..convert import expect_no_mask
from ..dtypes import DTYPES
from ..errors import ArgumentError, DtypeError, RangeError, ShapeError, user_line
from ..functions.axes import flag
from ..graph import Array
from ..hints import check_arguments
from ..random import Generator
from ..tensor import Tensor, make
from .ahead import Ahead
from .draws import Draws
from .source import RowSource

AHEAD, AHEAD_BYTES = 8, 2**27  # batches that are prepared before they are read, and their size
MOST_LISTED = 8  # arrays, in an error
_STREAM = 0xDA7A_10AD_E25E_ED01  # separates the orders from other random numbers of the same seed


def order(rows: int, seed: int, epoch: int = 0) -> Array:
    """The numbers below rows in random order: int64 (rows,), a function of seed and epoch alone."""
    generator = Generator(seed)  # refuses a bad seed
    generator.set_state(np.array([int(seed) ^ _STREAM, epoch], np.uint64))
    return generator.permutation(rows).numpy()


# (x, y, draws) -> (x, y), trees of arrays
Augmentation = Callable[[Any, Any, Draws], tuple[Any, Any]]


class DataLoader:
    """Batches of the rows of arrays: trees of tensors, of the structure of the data.

    data         an array, or a tuple, list or dict (nested too) of arrays: (x, y), ((x, c), y)…;
                 `ImageFiles` in place of an array is decoded by a background thread
    batch_size   rows per batch; the last one may have fewer
    shuffle      a new order in each epoch, from the seed
    drop_last    leave out a last batch with fewer rows
    augment      what changes each batch (x, y) at random: `Augment`, `MixUp`, `CutMix`, functions
                 (x, y, draws) -> (x, y) of arrays, or a list of them, one after the other. `draws`
                 (`Draws`) has the random numbers of the rows in the epoch, from the seed: a row
                 changes in the same way in whatever batch it is, also in a resumed epoch. A
                 background thread prepares batches ahead. `evaluate`, and metrics of training data,
                 read them as in epoch 0

    Each iteration yields the epoch of number `epoch` and increments it when it begins. float64
    becomes float32; other dtypes stay, uncopied, and a batch without shuffle is a view.
    """

    @check_arguments(
        "DataLoader",
        positional="put inputs and targets into one tuple: DataLoader((x, y), batch_size=32)",
    )
    def __init__(
        self,
        data: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int = 0,
        augment: Augmentation | Sequence[Augmentation] = (),
    ) -> None:
        leaves, self._structure = tree.flatten(data)
        self._arrays = [_rows(leaf) for leaf in leaves]
        self.samples = _common_length(self._arrays)
        if isinstance(batch_size, (np.ndarray, Tensor, list)):
            raise ArgumentError(
                "DataLoader",
                f"got {type(batch_size).__name__} as batch_size",
                "expected all data as one argument",
                "put them into a tuple: DataLoader((x, y))",
                user_line(),
            )
        shuffle = flag("DataLoader", "shuffle", shuffle)
        drop_last = flag("DataLoader", "drop_last", drop_last)
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)):
            raise DtypeError(
                "DataLoader",
                f"got batch_size {batch_size!r}",
                "expected a whole number from 1",
                "batch_size=32",
                user_line(),
            )
        if batch_size < 1:
            raise ArgumentError(
                "DataLoader",
                f"got batch_size {batch_size}",
                "expected 1 or more",
                "batch_size=32",
                user_line(),
            )
        if drop_last and self.samples < batch_size:
            raise ArgumentError(
                "DataLoader",
                f"got {self.samples} rows, batch_size {batch_size}, drop_last=True",
                "expected at least one whole batch",
                "use a smaller batch_size, or drop_last=False",
                user_line(),
            )
        self.batch_size, self.shuffle, self.drop_last = int(batch_size), shuffle, drop_last
        self.seed, self.epoch = seed, 0
        Generator(seed)  # refuses a bad seed now, not at the first batch
        self.augment = _augmentations(augment, data)

    @property
    def prepares(self) -> bool:
        """Whether batches are prepared ahead."""
        return bool(self.augment) or any(isinstance(a, RowSource) for a in self._arrays)

    @property
    def batch_bytes(self) -> int:
        """The size of a batch, before it is augmented."""
        rows = min(self.batch_size, self.samples)
        return sum(rows * math.prod(a.shape[1:]) * a.dtype.itemsize for a in self._arrays)

    @property
    def data(self) -> Any:
        """All rows in their original order, with the dtypes of the batches."""
        return tree.unflatten(self._structure, self._arrays)

    def __len__(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self.batches(epoch)

    def order(self, epoch: int) -> Array:
        """The rows of that epoch in order: int64 (samples,)."""
        return order(self.samples, self.seed, epoch) if self.shuffle else np.arange(self.samples)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch from number `start` on, to resume inside an epoch."""
        with self.reader(epoch, start) as reader:
            for _ in range(start, len(self)):
                yield self.tree_of([make(a) for a in reader.rows(1)])

    def reader(self, epoch: int, start: int = 0) -> Reader:
        """The same as arrays, several batches at once."""
        return Reader(self, epoch, start)

    def rows(self, order: Array | None, first: int, count: int) -> list[Array]:
        """The rows of `count` batches from number `first` on, of each array.

        order   None: the original order
        """
        part = slice(first * self.batch_size, (first + count) * self.batch_size)
        if order is None:
            return [a[part] for a in self._arrays]
        return [a.take(order[part], axis=0) for a in self._arrays]

    def alike(self, order: Array | None, first: int) -> int:
        """The number of batches from number `first` on that have the same shapes, one after
        another; 0 if that one is a last batch with fewer rows."""
        return self.samples // self.batch_size - first

    def tree_of(self, leaves: Sequence[Any]) -> Any:
        """The structure of the data with these leaves."""
        return tree.unflatten(self._structure, leaves)


class Reader:
    """The batches of one epoch from a number on, as arrays; a context that ends what runs ahead."""

    def __init__(self, loader: DataLoader, epoch: int, start: int) -> None:
        self._loader, self._epoch, self._next = loader, epoch, start
        self._order = loader.order(epoch) if loader.shuffle else None
        self._ahead: Ahead | None = None
        if loader.prepares:
            self._most = min(AHEAD, max(2, AHEAD_BYTES // max(loader.batch_bytes, 1)))
            self._ahead = Ahead(self._prepared, range(start, len(loader)), self._most)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        if self._ahead is not None:
            self._ahead.close()

    def alike(self) -> int:
        """The number of next batches that `rows` can return at once; 0 before a last batch with
        fewer rows."""
        count = self._loader.alike(self._order, self._next)
        return count if self._ahead is None else min(count, self._most // 2)

    def rows(self, count: int) -> list[Array]:
        """The rows of the next `count` batches, of each array."""
        first, self._next = self._next, self._next + count
        if self._ahead is None:
            return self._loader.rows(self._order, first, count)
        batches = [self._ahead.next() for _ in range(count)]
        return batches[0] if count == 1 else [np.concatenate(a) for a in zip(*batches, strict=True)]

    def _prepared(self, number: int) -> list[Array]:
        """A batch, augmented."""
        loader = self._loader
        if not loader.augment:
            return loader.rows(self._order, number, 1)
        part = slice(number * loader.batch_size, (number + 1) * loader.batch_size)
        order = np.arange(loader.samples) if self._order is None else self._order
        x, y = loader.tree_of(loader.rows(self._order, number, 1))
        for stream, augment in enumerate(loader.augment):
            x, y = augment(x, y, Draws(loader.seed, self._epoch, order[part], stream))
        return [_rows(leaf) for leaf in tree.flatten((x, y))[0]]


def _augmentations(augment: Any, data: Any) -> list[Augmentation]:
    """The functions in a list; they take a pair (x, y)."""
    functions = [augment] if callable(augment) else list(augment)
    for function in functions:
        if not callable(function):
            raise DtypeError(
                "DataLoader",
                f"got {type(function).__name__} in augment",
                "expected functions (x, y, draws) -> (x, y)",
                "augment=cr.data.Augment(shift=2)",
                user_line(),
            )
    if functions and not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise ArgumentError(
            "DataLoader",
            f"got augment and data of type {type(data).__name__}",
            "expected a pair (x, y)",
            "DataLoader((x, y), augment=…)",
            user_line(),
        )
    return functions


def _rows(leaf: Any) -> Any:
    """A leaf as a read-only array of a supported dtype; float64 as float32."""
    if isinstance(leaf, Tensor):
        return leaf.numpy()
    if isinstance(leaf, RowSource):
        return leaf
    items = isinstance(leaf, Sized) and hasattr(leaf, "__getitem__")  # as a PyTorch Dataset has
    if items and not hasattr(leaf, "__array__") and not isinstance(leaf, Sequence):
        raise DtypeError(
            "DataLoader",
            f"got {type(leaf).__name__}, which yields its rows one by one",
            "expected arrays of all rows",
            "stack them: np.stack([row for row, _ in data])",
            user_line(),
        )
    expect_no_mask("DataLoader", leaf)
    array = np.asarray(leaf)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.float64:
        array = narrowed(array)
    if array.dtype not in DTYPES:
        raise DtypeError(
            "DataLoader",
            f"got {type(leaf).__name__} of dtype {array.dtype}",
            "expected numbers",
            "encode columns of text and dates with cr.data.TableEncoder",
            user_line(),
        )
    if not array.shape:
        raise ShapeError(
            "DataLoader",
            f"got the single number {array}",
            "expected arrays with rows",
            "pass a list as an array: np.array([…])",
            user_line(),
        )
    view = array.view()
    view.flags.writeable = False
    return view


def narrowed(array: Array, name: str = "DataLoader") -> Array:
    """float64 as float32, which has no numbers from 3.4e38 on."""
    try:
        with np.errstate(over="raise", under="ignore"):
            return array.astype(np.float32)
    except FloatingPointError:
        finite = np.where(np.isfinite(array), array, 0.0)
        place = np.unravel_index(np.abs(finite).argmax(), array.shape)
        raise RangeError(
            name,
            f"got {array[place]:.3g} in row {place[0]}, float64",
            "expected numbers below 3.4e38 in size: float64 becomes float32",
            "scale them to mean 0 and standard deviation 1, or drop the row",
            user_line(),
        ) from None


def _common_length(arrays: list[Array]) -> int:
    lengths = [len(a) for a in arrays]
    if len(set(lengths)) > 1:
        listed = ", ".join(str(a.shape) for a in arrays[:MOST_LISTED])
        if len(arrays) > MOST_LISTED:
            raise ShapeError(
                "DataLoader",
                f"got {len(arrays)} arrays of {min(lengths)} to {max(lengths)} rows ({listed}, …)",
                "expected a few arrays with the same number of rows",
                "pad sequences of different lengths with cr.data.pad, or use cr.data.BucketLoader",
                user_line(),
            )
        raise ShapeError(
            "DataLoader",
            f"got arrays of {' and '.join(map(str, lengths))} rows ({listed})",
            "expected the same number of rows in each",
            f"cut them to {min(lengths)} rows, or find the missing ones",
            user_line(),
        )
    if not lengths or not lengths[0]:
        raise ArgumentError(
            "DataLoader",
            "got no rows" if lengths else "got no arrays",
            "expected one row or more",
            "check the filter that selects the data",
            user_line(),
        )
    return lengths[0]
