"""float16 and bfloat16: stored and moved in 16 bits, computed with in float32.

A kernel that no row of `kinds` takes in 16 bits is done by the row that takes it in float32, on
operands that are cast, and its result is cast back: it is rounded after each operation, as in
NumPy. Casts are elementwise, so loops read and write 16 bits and nothing is stored in between.
"""

from __future__ import annotations

import dataclasses

from .... import ops
from ....dtypes import float32, is_half
from ....graph import Dtype, Node
from ...program import Kernel, Program
from .kinds import NUMPY, VIEW, kind_of


def widened(program: Program) -> Program:
    """The program with casts around what is computed in float32."""
    return _Rewrite(program).rewritten()


class _Rewrite:
    """The kernels so far.

    makers   by buffer: the kernel that makes it
    wide     by buffer of 16 bits: one of the same numbers in float32, to be stored
    """

    def __init__(self, program: Program) -> None:
        self._program, self._next = program, program.buffers
        self._kernels: list[Kernel] = []
        self._makers = {kernel.writes: kernel for kernel in program.kernels}
        self._wide: dict[int, Kernel] = {}

    def rewritten(self) -> Program:
        for kernel in self._program.kernels:
            single = _in_single(kernel)
            if single is None:
                self._kernels.append(kernel)
            else:
                self._widen(kernel, single)
        return dataclasses.replace(
            self._program, kernels=tuple(self._still_read()), buffers=self._next
        )

    def _still_read(self) -> list[Kernel]:
        """The kernels without views in 16 bits that have become views in float32."""
        read, kernels = set(self._program.outputs), []
        for kernel in reversed(self._kernels):
            if kernel.writes in read:
                kernels.append(kernel)
                read.update(kernel.reads)
        return kernels[::-1]

    def _widen(self, kernel: Kernel, single: Node) -> None:
        """The kernel in float32, which `single` is, between casts."""
        stored = kind_of(_kernel(single, kernel.reads, -1)).stores_operands
        casts: dict[int, Kernel] = {}
        for b, node in zip(kernel.reads, kernel.node.inputs, strict=True):
            if is_half(node.dtype) and b not in casts:
                casts[b] = self._below_views(b, node) if stored else self._cast(b, node, float32)
        reads = tuple(casts[b].writes if b in casts else b for b in kernel.reads)
        if single.dtype == kernel.node.dtype:
            self._kernels.append(_kernel(single, reads, kernel.writes))
            return
        result = self._add(single, reads)
        self._kernels.append(
            _kernel(_cast(single, kernel.node.dtype), (result.writes,), kernel.writes)
        )

    def _below_views(self, b: int, node: Node) -> Kernel:
        """A buffer in float32 whose users need it as an array: views are views of what is cast."""
        if b not in self._wide:
            maker = self._makers.get(b)
            if maker is not None and kind_of(maker) is VIEW:
                source = self._below_views(maker.reads[0], maker.node.inputs[0])
                view = Node(maker.op, (source.node,), maker.params, node.shape, float32)
                self._wide[b] = self._add(view, (source.writes,))
            else:
                self._wide[b] = self._cast(b, node, float32)
        return self._wide[b]

    def _cast(self, b: int, node: Node, dtype: Dtype) -> Kernel:
        return self._add(_cast(node, dtype), (b,))

    def _add(self, node: Node, reads: tuple[int, ...]) -> Kernel:
        """A kernel that writes a new buffer."""
        kernel = _kernel(node, reads, self._next)
        self._kernels.append(kernel)
        self._next += 1
        return kernel


def _in_single(kernel: Kernel) -> Node | None:
    """The node of a kernel in float32, if that is how it is done."""
    node = kernel.node
    dtypes = [n.dtype for n in (*node.inputs, node)]
    if any(isinstance(d, tuple) for d in dtypes) or not any(map(is_half, dtypes)):
        return None
    if kind_of(kernel) is not NUMPY:
        return None
    inputs = tuple(_cast(i, float32) if is_half(i.dtype) else i for i in node.inputs)
    dtype = float32 if is_half(node.dtype) else node.dtype
    single = Node(node.op, inputs, node.params, node.shape, dtype, source=node.source)
    return single if kind_of(_kernel(single, kernel.reads, -1)) is not NUMPY else None


def _cast(node: Node, dtype: Dtype) -> Node:
    return Node(ops.astype, (node,), {"dtype": dtype}, node.shape, dtype, source=node.source)


def _kernel(node: Node, reads: tuple[int, ...], writes: int) -> Kernel:
    assert node.op is not None
    return Kernel(node.op, reads, writes, node.params, (), node)
