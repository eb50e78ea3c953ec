"""Convolutions and the gradients of their kernels, as kinds of loops.

    y[n, p, o] = ∑ x[n, stride · p + dilation · k - padding, c] · w[k, c, o]      over k and c
    w[k, c, o] = ∑ x[n, stride · p + dilation · k - padding, c] · z[n, p, o]      over n and p

Both are sums of products of an element of x with a row of the other operand, so both are one
micro-kernel: blocks of sums (`slide_blocks`) inside nested loops over what is summed. All steps of
these loops are constants, as every shape is.

    unit    an image, or some of its rows (a band): what a thread does at a time. The part of x that
            it reads is copied into the thread's scratch memory first, with zeros where the padding
            is; so no block knows about edges, and x may be an expression
    phase   with an input dilation, outputs that meet the same places of the kernel (`slides`)
    lanes   of groups with few outputs each: vectors lie along all outputs, and x is copied so that
            each output finds its own channels beside it. A depthwise convolution is the simplest
    tiles   kernels of 3 × 3 need fewer products by them (`winograd`)

`emit/convolution.py` and `emit/convolution_weight.py` emit the code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import ops
from ....graph import Array, Node, Operation, Shape, ShapeRule, Spec
from ...program import Kernel
from ..processor import Target
from .blocking import up
from .buffers import Storage
from .cuts import FASTEST_FROM, UNIT, WHOLE, WORTH_CUTTING, Cut
from .slide_blocks import Blocks, parts_of, weights, windows
from .slides import slide_of
from .winograd import Tiles, tiles_of

MOST_PHASES = 32
FEW_POSITIONS = 16  # of an image, below which a convolution with a kernel of 1 is a product


def _weight_shape(x: Spec, z: Spec, parts: int, **params: object) -> tuple[Shape, object]:
    shape, dtype = ops.convolution_weight.infer(x, z, **params)
    return (parts, math.prod(shape)), dtype


def _weight_evaluate(x: Array, z: Array, parts: int, **params: object) -> Array:
    whole = ops.convolution_weight.evaluate(x, z, **params)
    out = np.zeros((parts, whole.size), whole.dtype)
    out[0] = whole.reshape(-1)
    return out


# (parts, places · channels · outputs): of each part of the batch.
WEIGHT_PARTS = Operation(
    "convolution_weight_parts", "other", ShapeRule(_weight_shape), _weight_evaluate, ("x", "z")
)


def in_parts(kernel: Kernel, writes: int) -> list[Kernel]:
    """A gradient of a kernel as those of the parts of the batch, and their sum.

    writes   the buffer of the parts, and of their sum after it
    """
    slide, node = slide_of(kernel), kernel.node
    parts = parts_of(slide)
    params = {**kernel.params, "parts": parts}
    shape = (parts, math.prod(node.shape))
    each = Node(WEIGHT_PARTS, node.inputs, params, shape, node.dtype, None, False, node.source)
    axis = {"axis": (0,)}
    added = Node(ops.sum, (each,), axis, (1, shape[1]), node.dtype, None, False, node.source)
    last = {"shape": node.shape}
    whole = Node(ops.reshape, (added,), last, node.shape, node.dtype, None, False, node.source)
    return [
        Kernel(WEIGHT_PARTS, kernel.reads, writes, params, (), each),
        Kernel(ops.sum, (writes,), writes + 1, axis, (), added),
        Kernel(ops.reshape, (writes + 1,), kernel.writes, last, (), whole),
    ]


def is_small_product(kernel: Kernel) -> bool:
    """Whether it has kernels of one element, and images with too few positions for a block."""
    if kernel.op not in (ops.convolution, ops.convolution_weight) or not is_native(kernel):
        return False
    slide = slide_of(kernel)
    alike = all((s.kernel, s.stride, s.low, s.output) == (1, 1, 0, s.input) for s in slide.sizes)
    return alike and slide.groups == 1 and slide.positions < FEW_POSITIONS


def as_product(kernel: Kernel, writes: int) -> list[Kernel]:
    """That as a matrix product of rows, one for each position; of the gradient, xᵀ z.

    writes   the first of the new buffers
    """
    node, source = kernel.node, kernel.node.source
    kernels: list[Kernel] = []

    def add(op: Operation, operands: list[tuple[int, Node]], **params: Any) -> tuple[int, Node]:
        reads, nodes = zip(*operands, strict=True)
        shape, dtype = op.infer(*nodes, **params)
        b = kernel.writes if shape == node.shape else writes + len(kernels)
        new = Node(op, nodes, params, shape, dtype, None, False, source)
        kernels.append(Kernel(op, reads, b, params, (), new))
        return b, new

    operands: list[tuple[int, Node]] = []
    for b, x in zip(kernel.reads, node.inputs, strict=True):
        rows = (math.prod(x.shape[:-1]), x.shape[-1])
        if kernel.op is ops.convolution and operands:
            rows = x.shape[-2:]  # the kernel
        operands.append(add(ops.reshape, [(b, x)], shape=rows))
    if kernel.op is ops.convolution_weight:
        operands[0] = add(ops.permute_dims, [operands[0]], axes=(1, 0))
    add(ops.reshape, [add(ops.matmul, operands)], shape=node.shape)
    return kernels


def is_native(kernel: Kernel) -> bool:
    """Whether there is something to do, and not too many phases, each of which has its own code."""
    full = all(math.prod(node.shape) for node in (kernel.node, *kernel.node.inputs))
    return full and len(slide_of(kernel).phases) <= MOST_PHASES


def blocks_of(kernel: Kernel, target: Target) -> tuple[Blocks, Tiles | None]:
    """How a convolution, or the gradient of its kernel, is cut; by which tiles, if it is."""
    forward = kernel.op is ops.convolution
    blocks = (windows if forward else weights)(slide_of(kernel), target)
    tiles = tiles_of(blocks, target, not forward)
    return (blocks, None) if tiles is None else (tiles.blocks, tiles)


def operands_of_slide(kernel: Kernel, storage: Storage) -> Sequence[int]:
    """Of a convolution what the kernel is a view of; of its gradient the operand that is not x."""
    other = kernel.reads[1]
    if kernel.op is ops.convolution:
        return [storage.base(other)]
    return [other]


def work_of_slide(main: int, writes: Sequence[int], storage: Storage) -> float:
    return slide_of(storage.kernel(main)).work / 60


def cut_slide(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By images and bands; short ones by rows."""
    kernel = storage.kernel(main)
    blocks, _ = blocks_of(kernel, target)
    if work < WORTH_CUTTING:
        return WHOLE
    if kernel.op is not ops.convolution:
        return Cut(parts_of(blocks.slide))
    batch = blocks.slide.batch
    if work < FASTEST_FROM and batch >= 2 * UNIT and blocks.bands == 1:
        return Cut(up(batch, UNIT), 0, UNIT, batch, batch)
    return Cut(up(batch, blocks.images) * blocks.bands)


def scratch_of_slide(
    main: int, writes: Sequence[int], cut: Cut, storage: Storage, target: Target
) -> int:
    """The copy of x, a packed kernel, and transformed tiles."""
    kernel = storage.kernel(main)
    blocks, tiles = blocks_of(kernel, target)
    packed = blocks.packed_bytes if kernel.op is ops.convolution else 0
    return packed + blocks.copy_bytes + (tiles.bytes if tiles else 0)
