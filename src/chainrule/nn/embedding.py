"""Tables of vectors, one per number: single ones, and bags of them."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from .. import ops
from ..broadcasting import cast
from ..convert import promote
from ..dtypes import int64, is_integer
from ..errors import ArgumentError, Refusal, ShapeError, user_line
from ..functions import creation, elementwise, indexing, reductions, shaping, sorting
from ..functions.control import stop_gradient
from ..functions.elementwise import where
from ..graph import spec_text
from ..memory import expect_room
from ..sparse import READERS
from ..tensor import Tensor, as_tensor, no_grad
from . import functional, init
from .arguments import as_floating, expect_integers, expect_number, expect_rows
from .module import Module, Parameter


class _Table(Module):
    """Base of the embeddings: the table, its limits, and how its rows are read.

    max_norm   rows that are read and whose norm (∑|x|ᵖ)^(1/p), p = norm_type, is larger are
               scaled to it, in place, before they are read
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
    ) -> None:
        name = type(self).__name__
        expect_integers(name, 0, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                name,
                f"got padding_idx={padding_idx!r}",
                f"expected one of the {num_embeddings} rows of the table",
                f"padding_idx=0, or num_embeddings={abs(padding_idx) + 1}",
                user_line(),
            )
        if max_norm is not None:
            expect_number(name, "max_norm", max_norm, 1.0, above=0)
        expect_number(name, "norm_type", norm_type, 2.0, above=0)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx, self.max_norm, self.norm_type = padding_idx, max_norm, norm_type
        expect_room(  # twice: the numbers are drawn first
            name,
            f"a table of {num_embeddings} × {embedding_dim}, which needs",
            8 * num_embeddings * embedding_dim,
            "use fewer rows (the numbers modulo a smaller one, say) or fewer columns",
        )
        table = init.normal_(creation.zeros((num_embeddings, embedding_dim)))
        if padding_idx is not None:
            table[padding_idx] = 0.0
        self.weight = Parameter(table)

    def _adopt(self, embeddings: Any, freeze: bool) -> Self:
        """Use these values as the table."""
        self.weight = Parameter(as_floating(embeddings).numpy().copy())
        return self.freeze() if freeze else self

    def _rows(self, x: Tensor) -> Tensor:
        """The rows of the table with these numbers."""
        indices = expect_rows(type(self).__name__, x, self.num_embeddings)
        if self.max_norm is not None:
            self._expect_no_catch_up()
            with no_grad():
                rows = indexing.take(self.weight, indices, axis=0)
                size = reductions.norm(rows, ord=self.norm_type, axis=-1, keepdims=True)
                scaled = rows * (self.max_norm / (size + 1e-7))
                self.weight[indices] = where(size > self.max_norm, scaled, rows)
        return indexing.take(self.weight, indices, axis=0)

    def _expect_no_catch_up(self) -> None:
        """Raise if rows move while they are not read: they could be beyond max_norm by then."""
        if id(self.weight) in READERS:
            raise ArgumentError(
                type(self).__name__,
                "got max_norm, and an optimizer with catch_up",
                "expected one of them",
                "leave out catch_up, or max_norm",
                user_line(),
            )

    def _is_padding(self, x: Tensor) -> Tensor | None:
        """Where the numbers are padding_idx; None if there is none."""
        if self.padding_idx is None:
            return None
        return x == self.padding_idx % self.num_embeddings

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def _expect_table(name: str, embeddings: Any) -> tuple[int, int]:
    """The sizes of a table; an error unless it has two axes."""
    shape = as_tensor(embeddings).shape
    if len(shape) != 2:
        raise ShapeError(
            name,
            f"got {spec_text(as_tensor(embeddings))}",
            "expected a table (num_embeddings, embedding_dim)",
            "stack the vectors: cr.stack(vectors)",
            user_line(),
        )
    return shape


class Embedding(_Table):
    """A table of vectors, one per number: indices (...) -> (..., embedding_dim).

    Indices are from 0 to num_embeddings - 1: below 0, where an axis would be counted from its end,
    they are an error, as code -1 of a missing category would otherwise be the last one's.

    weight (num_embeddings, embedding_dim), N(0, 1) at first; its gradient is row-sparse. The row
    `padding_idx` is 0 at first, and gets no gradient. Rows that are read and whose norm is above
    `max_norm` are scaled to it first, in place; `norm_type` is the p of ‖·‖ₚ.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
    ) -> Self:
        """A layer with this table (num_embeddings, embedding_dim); frozen: it is not trained."""
        sizes = _expect_table(cls.__name__, embeddings)
        return cls(*sizes, padding_idx, max_norm, norm_type)._adopt(embeddings, freeze)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        rows, padding = self._rows(x), self._is_padding(x)
        if padding is None:
            return rows
        return where(padding[..., None], stop_gradient(rows), rows)


class EmbeddingBag(_Table):
    """The mean, sum or largest of the vectors of each bag -> (N, embedding_dim).

    forward(x, offsets=None, per_sample_weights=None)

    x                    (N, L) the numbers of N bags; or (L,), all bags one after the other
    offsets              (N,) where in (L,) each bag begins, the first at 0; with
                         include_last_offset (N + 1,), the last is L
    per_sample_weights   a factor for each number, of the shape of x; only of mode="sum"

    Numbers equal to padding_idx do not count; a bag in which none counts gives 0. Indices are from
    0 to num_embeddings - 1. weight and max_norm are as in `Embedding`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        *,
        mode: str = "mean",
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> None:
        if mode not in ("mean", "sum", "max"):
            raise ArgumentError(
                "EmbeddingBag",
                f"got mode {mode!r}",
                "expected mean, sum or max",
                'mode="mean" is the default',
                user_line(),
            )
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type)
        self.mode, self.include_last_offset = mode, include_last_offset

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        *,
        mode: str = "mean",
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Self:
        """A layer with this table (num_embeddings, embedding_dim); frozen: it is not trained."""
        rows, columns = _expect_table(cls.__name__, embeddings)
        layer = cls(
            rows,
            columns,
            max_norm,
            norm_type,
            mode=mode,
            include_last_offset=include_last_offset,
            padding_idx=padding_idx,
        )
        return layer._adopt(embeddings, freeze)

    def forward(self, x: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        x = as_tensor(x)
        if x.ndim != (2 if offsets is None else 1):
            raise ShapeError(
                "EmbeddingBag",
                f"got {spec_text(x)}, {'without' if offsets is None else 'with'} offsets",
                "expected (N, L), bags of L numbers, or (L,) with the offsets of the bags",
                "x[None] is one bag, and cr.Tensor([0]) its offsets",
                user_line(),
            )
        rows, padding = self._rows(x), self._is_padding(x)
        counted = creation.ones(x.shape, dtype="bool") if padding is None else ~padding
        if per_sample_weights is not None:
            rows = rows * self._factors(per_sample_weights, x)[..., None]
        if offsets is not None:
            return self._joined(rows, counted, as_tensor(offsets))
        if self.mode == "max" and x.shape[-1]:
            filled = where(counted[..., None], rows, -math.inf)
            empty = ~reductions.any(counted, axis=-1, keepdims=True)
            return functional.masked_fill(reductions.max(filled, axis=-2), empty, 0.0)
        total = reductions.sum(where(counted[..., None], rows, 0.0), axis=-2)
        if self.mode != "mean":
            return total
        count = reductions.sum(counted, axis=-1, keepdims=True)
        return total / functional.at_least(cast(count, total.dtype), 1.0)

    def _factors(self, weights: Any, x: Tensor) -> Tensor:
        weights = as_floating(weights)
        if self.mode != "sum" or weights.shape != x.shape:
            raise ShapeError(
                "EmbeddingBag",
                f"got per_sample_weights {spec_text(weights)} for {spec_text(x)} and "
                f"mode={self.mode!r}",
                f'expected the shape {x.shape} and mode="sum"',
                "leave them out, or broadcast them: cr.broadcast_to(weights, x.shape)",
                user_line(),
            )
        return cast(weights, promote(weights.dtype, self.weight.dtype))

    def _joined(self, rows: Tensor, counted: Tensor, offsets: Tensor) -> Tensor:
        """The rows (L, C) of each bag as one."""
        length = rows.shape[0]
        starts = _expect_offsets(offsets, length, self.include_last_offset)
        bags = starts.shape[0]
        if not length or not bags:  # zeros that come from the table: its gradient is 0
            nowhere = creation.zeros((0,), dtype=int64)
            return indexing.scatter_add(rows[:0], nowhere, size=bags)
        bag = sorting.searchsorted(starts, creation.arange(length), side="right") - 1
        if self.mode == "max":
            return _largest(where(counted[:, None], rows, -math.inf), bag, starts)
        total = indexing.scatter_add(where(counted[:, None], rows, 0.0), bag, size=bags)
        if self.mode == "sum":
            return total
        count = indexing.scatter_add(cast(counted, total.dtype), bag, size=bags)
        return total / functional.at_least(count, 1.0)[:, None]


def _expect_offsets(offsets: Tensor, length: int, include_last: bool) -> Tensor:
    """Where each bag begins in (L,); an error unless the offsets divide it into bags."""
    refusal = Refusal(
        "EmbeddingBag",
        f"got offsets {spec_text(offsets)} that do not divide {length} numbers into bags",
        f"expected whole numbers from 0, none below the one before, up to {length}"
        + " (the last one, with include_last_offset)" * include_last,
        "begin with 0, and add up the sizes of the bags before: [0, 2, 2] are bags of 2, 0 and "
        "the remaining numbers",
    )
    if offsets.ndim != 1 or not is_integer(offsets.dtype) or offsets.shape[0] < include_last:
        raise ShapeError(*refusal, user_line())
    offsets = cast(offsets, int64)
    if not offsets.shape[0]:
        return offsets
    sizes = reductions.diff(offsets)
    wrong = (offsets[0] != 0) | reductions.any(sizes < 0)
    wrong = wrong | ((offsets[-1] != length) if include_last else (offsets[-1] > length))
    zero = ops.checked_index(cast(wrong, int64), size=1, refusal=refusal)
    return (offsets[:-1] if include_last else offsets) + zero


def _largest(rows: Tensor, bag: Tensor, starts: Tensor) -> Tensor:
    """The largest of each bag's rows (L, C), 0 of none.

    After k rounds each row is the largest of the 2ᵏ rows up to it, as far as they are in its bag.
    """
    length, step = rows.shape[0], 1
    while step < length:
        same = bag[step:] == bag[:-step]
        both = where(same[:, None], elementwise.maximum(rows[step:], rows[:-step]), rows[step:])
        rows = shaping.concat([rows[:step], both])
        step *= 2
    ends = shaping.concat([starts[1:], as_tensor(np.array([length]))])
    last = indexing.take(rows, functional.at_least(ends - 1, 0), axis=0)
    empty = (ends == starts)[:, None] | (last == -math.inf)
    return functional.masked_fill(last, empty, 0.0)
