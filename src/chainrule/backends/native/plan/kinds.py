"""The kinds of loops, one row each: all that planning has to know of them.

A new kind of loop is one row here and one file in `emit/`. What no row takes runs in NumPy.

Longer than other files: one table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .... import ops
from ....dtypes import is_floating, is_half, is_integer
from ....graph import Dtype, Operation
from ...program import Kernel, Program
from .. import formulas
from ..alignment import rounded
from ..processor import Target
from . import bodies, lookups, work
from .attention import (
    cut_attention,
    operands_to_store,
    scratch_of_attention,
    work_of_attention,
)
from .buffers import Buffer, Storage
from .convolution import (
    WEIGHT_PARTS,
    cut_slide,
    is_native,
    operands_of_slide,
    scratch_of_slide,
    work_of_slide,
)
from .cuts import (
    WHOLE,
    Cut,
    blocking_of_cut,
    cut_beside,
    cut_elementwise,
    cut_images,
    cut_product,
    cut_put_rows,
    cut_random,
    cut_reduction,
)
from .matmul import scattered_operands
from .packing import PACKED_MATMUL
from .rewrites import NORM_OF_SUMS
from .views import VIEWS

if TYPE_CHECKING:
    from .stages import Plan


def _nothing(kernel: Kernel, storage: Storage) -> Sequence[int]:
    return ()


def _all_operands(kernel: Kernel, storage: Storage) -> Sequence[int]:
    return kernel.reads


def _computed_operands(kernel: Kernel, storage: Storage) -> Sequence[int]:
    return [r for r in kernel.reads if storage.strided(r) is None]


def _computed_rows(kernel: Kernel, storage: Storage) -> Sequence[int]:
    """What is put is computed before: in a loop without branches."""
    return [r for r in _computed_operands(kernel, storage) if r != kernel.reads[0]]


def _never(buffer: Buffer) -> bool:
    return False


def _always(buffer: Buffer) -> bool:
    return True


def _may_miss(buffer: Buffer) -> bool:
    assert buffer.kernel is not None
    return buffer.op is ops.checked_index or not lookups.is_sure(buffer.kernel)


def _any_row(buffer: Buffer, axis: int) -> list[int | None]:
    return [None] * len(buffer.reads)


def _uncut(main: int, writes: Sequence[int], work: float, storage: Storage, target: Target) -> Cut:
    return WHOLE


def _no_scratch(
    main: int, writes: Sequence[int], cut: Cut, storage: Storage, target: Target
) -> int:
    return 0


def _any(kernel: Kernel) -> bool:
    return True


def _no_memory(kernel: Kernel, body: Plan | None) -> int:
    return 0


@dataclass(frozen=True, eq=False)
class Kind:
    """How a kernel's result comes about, in the native backend.

    operations what it does: each with the letters of the dtypes that its operands may have. With f
               it does float16 and bfloat16 too, in float32 (`halves`); with h in 16 bits
    emit       the file of `emit/` whose function `emit` writes the loop; "" where there is none
    inline     computed where it is used, unless it has to be stored
    pointwise  element k of the result needs element k of the operands
    replaces   element k of the result is that of the first operand, or another in its place
    takes      (kernel) -> whether it does this one
    stored     (kernel, storage) -> the operands that it needs as arrays
    flushes    denormals are zero in it: see `emit/driver.py`
    finishes   elementwise loops that use its result can be done while it is in registers
    vectors    its function is written as vectors: see `emit/module.py`
    fails      whether it may: an index outside its axis, a divisor of 0, an error of NumPy
    rows       (buffer, axis) -> per operand, the axis of it that is read at the result's own index
               on that axis; None: any index
    work       (main, writes, storage) -> nanoseconds of one thread, about
    cut        (main, writes, work, storage, target) -> how threads share its loop
    scratch    (main, writes, cut, storage, target) -> bytes that each thread needs for itself
    memory     (kernel, plan of its body) -> bytes that its threads share, of a kind with several
               results
    meets      its threads meet inside

    main is the buffer that the loop is made for, writes all that it writes.
    """

    name: str
    operations: Mapping[Operation, str]
    emit: str = ""
    inline: bool = False
    pointwise: bool = False
    replaces: bool = False
    flushes: bool = False
    finishes: bool = False
    vectors: bool = False
    meets: bool = False
    takes: Callable[[Kernel], bool] = _any
    stored: Callable[[Kernel, Storage], Sequence[int]] = _nothing
    fails: Callable[[Buffer], bool] = _never
    rows: Callable[[Buffer, int], Sequence[int | None]] = _any_row
    work: Callable[[int, Sequence[int], Storage], float] = work.moving
    cut: Callable[[int, Sequence[int], float, Storage, Target], Cut] = _uncut
    scratch: Callable[[int, Sequence[int], Cut, Storage, Target], int] = _no_scratch
    memory: Callable[[Kernel, Plan | None], int] = _no_memory

    def at_own_index(self, operand: int) -> bool:
        """Whether element k of the result needs element k alone of an operand."""
        return self.pointwise or (self.replaces and operand == 0)

    @property
    def stores_operands(self) -> bool:
        """Whether it may need operands as arrays."""
        return self.stored is not _nothing

    def __str__(self) -> str:
        return self.name


# ── what they do ─────────────────────────────────────────────────────────────────────────────────


def divides(buffer: Buffer) -> bool:
    """Whether it is the quotient or remainder of whole numbers, which fails where one is 0."""
    return buffer.op in (ops.floor_divide, ops.remainder) and is_integer(buffer.dtype)


def _own_row(buffer: Buffer, axis: int) -> list[int | None]:
    return [axis] * len(buffer.reads)


def _row_of_source(buffer: Buffer, axis: int) -> list[int | None]:
    assert buffer.map is not None
    return [buffer.map.source_axis(axis)]


def _row_that_stays(buffer: Buffer, axis: int) -> list[int | None]:
    assert buffer.kernel is not None
    stays = axis not in buffer.kernel.params["axis"]
    return [axis if stays else None] * len(buffer.reads)


def _row_beside(buffer: Buffer, axis: int) -> list[int | None]:
    assert buffer.kernel is not None
    own = None if axis == buffer.kernel.params["axis"] else axis
    return [own if x.shape == buffer.shape else None for x in buffer.kernel.node.inputs]


def _row_of_parts(buffer: Buffer, axis: int) -> list[int | None]:
    assert buffer.kernel is not None
    return [None if axis == buffer.kernel.params["axis"] else axis] * len(buffer.reads)


def _row_of_table(buffer: Buffer, axis: int) -> list[int | None]:
    return [axis, None, None]


def _row_of_left(buffer: Buffer, axis: int) -> list[int | None]:
    return [axis if axis == len(buffer.shape) - 2 else None, None]


def _row_of_images(buffer: Buffer, axis: int) -> list[int | None]:
    others = [None] * (len(buffer.reads) - 1)
    return [axis if axis == 0 else None, *others]


def _scratch_for_packing(
    main: int, writes: Sequence[int], cut: Cut, storage: Storage, target: Target
) -> int:
    return blocking_of_cut(main, writes, cut, storage, target).scratch_bytes


def _is_native_inside(kernel: Kernel) -> bool:
    return kernel.body is not None and NUMPY not in kinds_of(kernel.body).values()


def _scratch_for_sorting(
    main: int, writes: Sequence[int], cut: Cut, storage: Storage, target: Target
) -> int:
    """Two arrays of keys, two of positions, and the counts of a byte: 8 bytes each."""
    size = storage.buffers[main].shape[storage.kernel(main).params["axis"]]
    return rounded(8 * (4 * size + 256))


# ── the table ────────────────────────────────────────────────────────────────────────────────────

ALL = "fiub"
MOVED = ALL + "h"  # what is not computed with may have any dtype

VIEW = Kind(
    "view", dict.fromkeys(VIEWS, MOVED), emit="elementwise", inline=True, rows=_row_of_source
)
TAKE = Kind(
    "take",
    {ops.take: MOVED, ops.checked_index: ALL},
    emit="elementwise",
    fails=_may_miss,
)
ELEMENTWISE = Kind(
    "elementwise",
    {op: formula.dtypes for op, formula in formulas.FORMULAS.items()},
    emit="elementwise",
    inline=True,
    pointwise=True,
    fails=divides,
    rows=_own_row,
    work=work.elementwise,
    cut=cut_elementwise,
)
REDUCTION = Kind(
    "reduction",
    {
        ops.sum: ALL,
        ops.prod: "fiu",
        ops.max: "fiu",
        ops.min: "fiu",
        ops.any: "b",
        ops.norm: "f",
        NORM_OF_SUMS: "f",
    },
    emit="reduction",
    rows=_row_that_stays,
    work=work.reduction,
    cut=cut_reduction,
)
ARGMAX = Kind(
    "argmax",
    {ops.argmax: "fiu", ops.argmin: "fiu"},
    emit="argmax",
    stored=_computed_operands,
    rows=_row_that_stays,
    work=work.reduction,
    cut=cut_reduction,
)
ARGSORT = Kind(
    "argsort",
    {ops.argsort: ALL},
    emit="argsort",
    rows=_row_beside,
    work=work.sorting,
    cut=cut_beside,
    scratch=_scratch_for_sorting,
)
CUMULATIVE = Kind(
    "cumulative",
    {
        ops.cumulative_sum: "fiu",
        ops.cumulative_sum_by_key: "fiu",
        ops.cumulative_prod: "fiu",
        ops.recurrence: "f",
    },
    emit="cumulative",
    rows=_row_beside,
    work=work.cumulative,
    cut=cut_beside,
)
MATMUL = Kind(
    "matmul",
    {ops.matmul: "f", PACKED_MATMUL: "f"},
    emit="matmul",
    flushes=True,
    finishes=True,
    vectors=True,
    stored=scattered_operands,
    rows=_row_of_left,
    work=work.product,
    cut=cut_product,
    scratch=_scratch_for_packing,
)
CONVOLUTION = Kind(
    "convolution",
    {ops.convolution: "f"},
    emit="convolution",
    flushes=True,
    finishes=True,
    vectors=True,
    takes=is_native,
    stored=operands_of_slide,
    rows=_row_of_images,
    work=work_of_slide,
    cut=cut_slide,
    scratch=scratch_of_slide,
)
CONVOLUTION_WEIGHT = replace(
    CONVOLUTION,
    name="convolution_weight",
    operations={WEIGHT_PARTS: "f", ops.convolution_weight: "f"},  # the second becomes the first
    emit="convolution_weight",
    finishes=False,
    rows=_any_row,
)
MAX_POOL = Kind(
    "max_pool",
    {ops.max_pool: "fiu"},
    emit="max_pool",
    rows=_row_of_images,
    work=work.pooling,
    cut=cut_images,
)
FOLD = Kind(
    "fold", {ops.fold: "fiu"}, emit="fold", rows=_row_of_images, work=work.folding, cut=cut_images
)
SCATTER = Kind("scatter", {ops.scatter_add: ALL}, emit="scatter", fails=_always)
PUT_ROWS = Kind(
    "put_rows",
    {ops.put_rows: MOVED},
    emit="put_rows",
    replaces=True,
    stored=_computed_rows,
    rows=_row_of_table,
    work=work.rows_put,
    cut=cut_put_rows,
)
CONCAT = Kind("concat", {ops.concat: MOVED}, emit="concat", rows=_row_of_parts, cut=cut_beside)
PAD = Kind("pad", {ops.pad: MOVED}, emit="pad")
RANDOM = Kind(
    "random",
    {ops.random_bits: ALL},
    emit="random",
    stored=_all_operands,
    work=work.random,
    cut=cut_random,
)
SCAN = Kind(
    "scan",
    {ops.scan: MOVED},
    emit="scan",
    meets=True,
    takes=_is_native_inside,
    stored=_all_operands,
    fails=bodies.may_fail,
    work=bodies.work_of_turns,
    cut=bodies.cut_turns,
    scratch=bodies.scratch_of_turns,
    memory=bodies.memory_of_turns,
)
ATTENTION = Kind(
    "attention",
    {ops.attention: "fb"},
    emit="attention",
    flushes=True,
    stored=operands_to_store,
    work=work_of_attention,
    cut=cut_attention,
    scratch=scratch_of_attention,
)
ATTENTION_DERIVATIVE = replace(
    ATTENTION,
    name="attention_derivative",
    operations={ops.attention_derivative: "fb"},
    emit="attention_derivative",
)
NUMPY = Kind("numpy", {}, stored=_all_operands, fails=_always, work=work.nothing)

KINDS = (
    VIEW,
    TAKE,
    ELEMENTWISE,
    REDUCTION,
    ARGMAX,
    ARGSORT,
    CUMULATIVE,
    MATMUL,
    CONVOLUTION,
    CONVOLUTION_WEIGHT,
    MAX_POOL,
    FOLD,
    SCATTER,
    PUT_ROWS,
    CONCAT,
    PAD,
    RANDOM,
    SCAN,
    ATTENTION,
    ATTENTION_DERIVATIVE,
)


def _letter(dtype: Dtype) -> str:
    """What tables of operations call a dtype: f, i, u, b; h for float16 and bfloat16."""
    return "h" if is_half(dtype) else dtype.kind


def kind_of(kernel: Kernel) -> Kind:
    """The row that does a kernel; NUMPY if none does."""
    operands, result = [node.dtype for node in kernel.node.inputs], kernel.node.dtype
    if any(isinstance(d, tuple) for d in operands):
        return NUMPY
    if kernel.op is ops.astype and is_integer(result) and is_floating(operands[0]):
        return NUMPY  # which decides what becomes of a number that does not fit
    for row in KINDS:
        letters = row.operations.get(kernel.op)
        if letters is not None and all(_letter(d) in letters for d in operands):
            return row if row.takes(kernel) else NUMPY
    return NUMPY


def kinds_of(program: Program) -> dict[int, Kind]:
    """The row of each buffer that is made; of one of several results that of the kernel."""
    kinds: dict[int, Kind] = {}
    for kernel in program.kernels:
        one_of_several = kernel.op is ops.item
        kinds[kernel.writes] = kinds[kernel.reads[0]] if one_of_several else kind_of(kernel)
    return kinds


def loop_of(kind: Kind) -> Kind:
    """The kind of loop that writes a stored buffer: views and lookups are copied elementwise."""
    return ELEMENTWISE if kind.emit == ELEMENTWISE.emit else kind
