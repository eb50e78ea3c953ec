"""Programs rewritten for this backend: the same numbers, but for the order of sums."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from .... import ops, sums
from ....dtypes import is_half
from ....graph import Array, Node, Operation, Shape, ShapeRule, Spec
from ...program import Kernel, Program, verified, with_frees

STAGED_FROM = 1 << 12  # elements of a sum that is done in two stages
JOINED_AT_ONCE = 32  # operands that one loop joins


def _norm_of_sums(x: Array, squares: Array, axis: Shape) -> Array:
    return sums.norm(x, tuple(range(x.ndim)))


# √ of all sums of squares; x is read again where these overflow or vanish.
NORM_OF_SUMS = Operation(
    "norm",
    "other",
    ShapeRule(lambda x, squares, axis: ((1,) * len(x.shape), x.dtype)),
    _norm_of_sums,
    ("x", "squares"),
)


def rewritten(program: Program) -> Program:
    """The program after all rewrites. They leave `frees` to the end."""
    program = with_small_products(with_each_result_once(with_bodies_rewritten(program)))
    program = oriented(copied(program))
    if _has_halves(program):
        from .halves import widened  # and with it the table of kinds, which other programs spare

        program = widened(program)
    return verified(with_frees(joined(staged(with_weights_in_parts(program)))))


def with_small_products(program: Program) -> Program:
    """Convolutions of kernels and images with few elements are matrix products."""
    if all(k.op not in (ops.convolution, ops.convolution_weight) for k in program.kernels):
        return program
    from .convolution import as_product, is_small_product  # which other programs spare

    kernels: list[Kernel] = []
    buffers = program.buffers
    for kernel in program.kernels:
        own = [kernel]
        if is_small_product(kernel):
            own = as_product(kernel, buffers)
            buffers += len(own) - 1
        kernels += own
    return dataclasses.replace(program, kernels=tuple(kernels), buffers=buffers)


def with_weights_in_parts(program: Program) -> Program:
    """The gradient of a convolution's kernel is one for each part of the batch, and their sum."""
    if all(kernel.op is not ops.convolution_weight for kernel in program.kernels):
        return program
    from .convolution import in_parts, is_native  # which other programs spare

    kernels: list[Kernel] = []
    buffers = program.buffers
    for kernel in program.kernels:
        if kernel.op is ops.convolution_weight and is_native(kernel):
            kernels += in_parts(kernel, buffers)
            buffers += 2
        else:
            kernels.append(kernel)
    return dataclasses.replace(program, kernels=tuple(kernels), buffers=buffers)


def with_bodies_rewritten(program: Program) -> Program:
    """The program with the bodies of its loops after all rewrites."""
    if all(kernel.body is None for kernel in program.kernels):
        return program
    from .packing import packed_once  # which other programs spare

    program = packed_once(program)
    kernels = [
        kernel
        if kernel.body is None
        else dataclasses.replace(
            kernel, body=rewritten(with_own_outputs(with_each_result_once(kernel.body)))
        )
        for kernel in program.kernels
    ]
    return dataclasses.replace(program, kernels=tuple(kernels))


def with_each_result_once(program: Program) -> Program:
    """Each of several results is taken once: it has one place where the loop writes it."""
    first: dict[tuple[int, int], int] = {}
    same: dict[int, int] = {}
    for kernel in program.kernels:
        if kernel.op is ops.item:
            key = (kernel.reads[0], kernel.params["index"])
            if first.setdefault(key, kernel.writes) != kernel.writes:
                same[kernel.writes] = first[key]
    if not same:
        return program
    kernels = [
        dataclasses.replace(k, reads=tuple(same.get(r, r) for r in k.reads))
        for k in program.kernels
        if k.writes not in same
    ]
    return dataclasses.replace(
        program,
        kernels=tuple(kernels),
        outputs=tuple(same.get(b, b) for b in program.outputs),
        updates=tuple((same.get(new, new), old) for new, old in program.updates),
    )


def with_own_outputs(body: Program) -> Program:
    """The body with a kernel of its own for each output, which then can be written where it goes.

    An output that is an input, a constant or another output as well goes out as a copy; copies join
    the loops that compute what they copy.
    """
    specs: dict[int, Spec] = dict(enumerate([*body.arguments, *body.constants]))
    specs |= {kernel.writes: kernel.node for kernel in body.kernels}
    outputs: list[int] = []
    copies: list[Kernel] = []
    for b in body.outputs:
        if b < body.first_result or b in outputs:
            copies.append(_copy(b, specs[b], body.buffers + len(copies)))
            b = copies[-1].writes
        outputs.append(b)
    return dataclasses.replace(
        body,
        kernels=(*body.kernels, *copies),
        outputs=tuple(outputs),
        buffers=body.buffers + len(copies),
    )


def _copy(b: int, spec: Spec, writes: int) -> Kernel:
    source = Node(None, (), {}, spec.shape, spec.dtype)
    node = Node(ops.alias, (source,), {}, spec.shape, spec.dtype)
    return Kernel(ops.alias, (b,), writes, {}, (), node)


def _has_halves(program: Program) -> bool:
    specs: list[Spec] = [*program.arguments, *program.constants]
    dtypes = [s.dtype for s in (*specs, *(kernel.node for kernel in program.kernels))]
    return any(is_half(dtype) for dtype in dtypes if not isinstance(dtype, tuple))


def copied(program: Program) -> Program:
    """An input that is replaced, and whose old value goes out as well, goes out as a copy."""
    replaced = {old for _, old in program.updates}
    copies: dict[int, Kernel] = {}
    for b in program.outputs:
        if b in replaced and b not in copies:
            copies[b] = _copy(b, program.arguments[b], program.buffers + len(copies))
    if not copies:
        return program
    return dataclasses.replace(
        program,
        kernels=(*copies.values(), *program.kernels),
        outputs=tuple(copies[b].writes if b in copies else b for b in program.outputs),
        buffers=program.buffers + len(copies),
    )


def oriented(program: Program) -> Program:
    """A product that is only used transposed is computed so: (A · B)ᵀ = Bᵀ · Aᵀ.

    The gradient of a weight is such a product. What uses it then reads memory in order; the
    transposed operands are views, which cost nothing.
    """
    uses = Counter(r for kernel in program.kernels for r in kernel.reads)
    uses.update(program.outputs)
    products = {k.writes: k for k in program.kernels if k.op is ops.matmul and uses[k.writes] == 1}
    turned = {
        k.reads[0]: k
        for k in program.kernels
        if k.op is ops.permute_dims and k.reads[0] in products and _exchanges_last_two(k)
    }
    kernels: list[Kernel] = []
    buffers = program.buffers
    for kernel in program.kernels:
        if kernel.writes in turned:
            continue
        if kernel.op is ops.permute_dims and kernel.reads[0] in turned:
            product = products[kernel.reads[0]]
            views = []
            for read, node in zip(product.reads[::-1], product.node.inputs[::-1], strict=True):
                views.append(_transpose(read, buffers, node))
                buffers += 1
            node = Node(
                ops.matmul,
                tuple(v.node for v in views),
                {},
                kernel.node.shape,
                kernel.node.dtype,
                None,
                False,
                product.node.source,
            )
            reads = tuple(v.writes for v in views)
            kernels += [*views, Kernel(ops.matmul, reads, kernel.writes, {}, (), node)]
            continue
        kernels.append(kernel)
    return dataclasses.replace(program, kernels=tuple(kernels), buffers=buffers)


def _exchanges_last_two(kernel: Kernel) -> bool:
    axes = tuple(kernel.params["axes"])
    n = len(axes)
    return n >= 2 and axes == (*range(n - 2), n - 1, n - 2)


def _transpose(read: int, writes: int, node: Node) -> Kernel:
    n = len(node.shape)
    axes = (*range(n - 2), n - 1, n - 2)
    shape = tuple(node.shape[a] for a in axes)
    view = Node(ops.permute_dims, (node,), {"axes": axes}, shape, node.dtype)
    return Kernel(ops.permute_dims, (read,), writes, {"axes": axes}, (), view)


def staged(program: Program) -> Program:
    """A large sum over everything is one for each row, which threads share, and one of those.

    So is the sum of squares of a norm, which then reads it as well, and a sum over all axes but the
    last, of images for example.
    """
    kernels: list[Kernel] = []
    buffers = program.buffers
    for kernel in program.kernels:
        node, op = kernel.node, kernel.op
        if not _has_stages(kernel):
            kernels.append(kernel)
            continue
        reads, whole, shape = kernel.reads, node.inputs[0], node.inputs[0].shape
        if op is ops.norm:
            whole = Node(ops.square, node.inputs, {}, shape, node.dtype, None, False, node.source)
            kernels.append(Kernel(ops.square, reads, buffers, {}, (), whole))
            reads, buffers = (buffers,), buffers + 1
        rows = tuple(a for a in range(1, len(shape)) if node.shape[a] == 1)
        first = Node(
            ops.sum,
            (whole,),
            {"axis": rows},
            (shape[0], *node.shape[1:]),
            node.dtype,
            None,
            False,
            node.source,
        )
        kernels.append(Kernel(ops.sum, reads, buffers, first.params, (), first))
        own, last_op = (kernel.reads, NORM_OF_SUMS) if op is ops.norm else ((), op)
        last = Node(
            last_op,
            (*(node.inputs if own else ()), first),
            {"axis": (0,)},
            node.shape,
            node.dtype,
            None,
            False,
            node.source,
        )
        kernels.append(Kernel(last_op, (*own, buffers), kernel.writes, last.params, (), last))
        buffers += 1
    return dataclasses.replace(program, kernels=tuple(kernels), buffers=buffers)


def _has_stages(kernel: Kernel) -> bool:
    """Whether it is a large sum over everything, or over three axes or more but the last one."""
    if kernel.op not in (ops.sum, ops.norm):
        return False
    shape, out = kernel.node.inputs[0].shape, kernel.node.shape
    everything = len(shape) > 1 and math.prod(out) == 1
    images = kernel.op is ops.sum and len(shape) > 2 and math.prod(out[:-1]) == 1
    large = math.prod(shape) >= STAGED_FROM
    return (everything or images) and large and min(shape[0], math.prod(shape[1:])) >= 8


def joined(program: Program) -> Program:
    """Many operands are joined in groups, and then the groups.

    LLVM takes time that grows with the square of a function's arguments: for the norms of 2000
    gradients, which `clip_grad_norm_` joins, five minutes.
    """
    kernels: list[Kernel] = []
    buffers = program.buffers
    for kernel in program.kernels:
        while kernel.op is ops.concat and len(kernel.reads) > JOINED_AT_ONCE:
            parts = []
            for k in range(0, len(kernel.reads), JOINED_AT_ONCE):
                part = _joins(
                    kernel,
                    kernel.reads[k : k + JOINED_AT_ONCE],
                    kernel.node.inputs[k : k + JOINED_AT_ONCE],
                    buffers,
                )
                parts.append(part)
                buffers += 1
            kernels += parts
            joined_parts, nodes = tuple(p.writes for p in parts), tuple(p.node for p in parts)
            kernel = _joins(kernel, joined_parts, nodes, kernel.writes)
        kernels.append(kernel)
    return dataclasses.replace(program, kernels=tuple(kernels), buffers=buffers)


def _joins(kernel: Kernel, reads: tuple[int, ...], nodes: tuple[Node, ...], writes: int) -> Kernel:
    """A part of what a kernel joins."""
    axis = kernel.params["axis"]
    shape = list(kernel.node.shape)
    shape[axis] = sum(node.shape[axis] for node in nodes)
    node = Node(
        ops.concat,
        nodes,
        kernel.params,
        tuple(shape),
        kernel.node.dtype,
        None,
        False,
        kernel.node.source,
    )
    return Kernel(ops.concat, reads, writes, kernel.params, (), node)
