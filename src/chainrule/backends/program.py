"""A program: the graph of a step as a list of kernels over numbered buffers.

This is what every backend gets. A buffer holds one value; a kernel reads buffers and writes one.
`frees` says which buffers no later kernel reads, so that a backend can give their memory to later
ones; inputs, constants and outputs are never freed. `updates` pairs an output with the input that
it replaces after the step (a parameter, the random state), so that a backend may write it in place
once nothing reads the old value any more. An operation that does a graph (a loop, a checkpoint) has
that graph as a program of its own, the kernel's `body`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ChainruleError, ProgramError
from ..graph import Array, Graph, Node, Operation, Spec, spec_text
from . import verification
from .verification import Rules


@dataclass(frozen=True)
class Kernel:
    """One operation: which buffers it reads, which it writes, which are free afterwards.

    params   as the operation's meaning in NumPy takes them, a graph among them as a graph
    body     that graph, lowered
    """

    op: Operation
    reads: tuple[int, ...]
    writes: int
    params: Mapping[str, Any]  # Any: an operation's parameters are of its own kinds
    frees: tuple[int, ...]
    node: Node
    body: Program | None = None

    def parameters_key(self) -> str:
        """All of its parameters that code may depend on, as text."""
        if not self.params:
            return ""
        params = [p for p in sorted(self.params.items()) if not _is_code(p[1])]
        return repr((params, self.body and _key(self.body, True)))

    def __str__(self) -> str:
        reads = ", ".join(f"b{r}" for r in self.reads)
        return f"b{self.writes}: {spec_text(self.node)} = {self.op}({reads})"


@dataclass(frozen=True)
class Program:
    """Buffers 0, 1, … are the inputs, then the constants, then what the kernels write.

    buffers   the number of buffers; a rewrite may leave numbers that nothing uses
    """

    arguments: tuple[Node, ...]  # the inputs' shapes and dtypes
    constants: tuple[Array, ...]
    kernels: tuple[Kernel, ...]
    outputs: tuple[int, ...]
    updates: tuple[tuple[int, int], ...]
    buffers: int

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return len(self.arguments)

    @property
    def first_result(self) -> int:
        """The number of the first buffer that is neither an input nor a constant."""
        return len(self.arguments) + len(self.constants)

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> Iterator[str]:
        yield f"{indent}program({self.inputs} inputs, {len(self.constants)} constants):"
        for k, value in enumerate(self.constants, self.inputs):
            number = f" {value.item()}" if value.size == 1 else ""
            yield f"{indent}  b{k}: {spec_text(value)} = constant{number}"
        for kernel in self.kernels:
            frees = f"  frees {', '.join(f'b{f}' for f in kernel.frees)}" if kernel.frees else ""
            yield f"{indent}  {kernel}{frees}"
            if kernel.body is not None:
                yield from kernel.body._lines(indent + "    ")
        yield f"{indent}  return {', '.join(f'b{o}' for o in self.outputs)}"
        if self.updates:
            pairs = ", ".join(f"b{new} -> b{old}" for new, old in self.updates)
            yield f"{indent}  update {pairs}"

    def key(self) -> str:
        """All that code for the program may depend on; equal for programs of equal code.

        Operations, parameters, shapes and dtypes, and those of programs inside. Not the values of
        constants, which code reads from memory; those of a body it may hold itself.
        """
        return repr(_key(self))


def _key(program: Program, inner: bool = False) -> tuple[object, ...]:
    arrays: list[Spec] = [*program.arguments, *program.constants]
    specs = [(a.shape, _dtype_text(a.dtype)) for a in arrays]
    values = [_digest(c) for c in program.constants] if inner else []
    kernels = [
        (
            k.writes,
            k.op.name,
            k.reads,
            k.parameters_key(),
            k.node.shape,
            _dtype_text(k.node.dtype),
        )
        for k in program.kernels
    ]
    return specs, program.inputs, values, kernels, program.outputs, program.updates


def _digest(constant: Array) -> str:
    import hashlib  # slow to import, and few programs have bodies

    return hashlib.sha256(constant.tobytes()).hexdigest()


def _is_code(parameter: object) -> bool:
    """Whether it is a graph, which is in the key as a body, or Python's, which no code contains."""
    return isinstance(parameter, Graph) or callable(parameter)


_dtype_text = functools.cache(str)  # it takes NumPy long


def lower(graph: Graph, updates: Mapping[int, int] | None = None) -> Program:
    """The graph's nodes in order, as kernels. updates: output position -> input position."""
    return verified(_lowered(graph, updates or {}))


def _lowered(graph: Graph, updates: Mapping[int, int]) -> Program:
    number: dict[Node, int] = {node: k for k, node in enumerate(graph.inputs)}
    nodes = [n for n in graph.nodes if n not in number]
    constants = [n for n in nodes if n.op is None]
    work = [n for n in nodes if n.op is not None]
    for node in [*constants, *work]:
        number[node] = len(number)
    outputs = tuple(number[o] for o in graph.outputs)
    reads = [tuple(number[i] for i in node.inputs) for node in work]
    frees = _last_reads(reads, len(number) - len(work), outputs)
    kernels = []
    for node, read, free in zip(work, reads, frees, strict=True):
        assert node.op is not None
        inner = node.params.get("graph")
        body = _lowered(inner, {}) if isinstance(inner, Graph) else None
        kernels.append(Kernel(node.op, read, number[node], node.params, free, node, body))
    return Program(
        graph.inputs,
        tuple(n.value for n in constants),
        tuple(kernels),
        outputs,
        tuple((number[graph.outputs[o]], i) for o, i in updates.items()),
        len(number),
    )


def with_frees(program: Program) -> Program:
    """The program with the `frees` that follow from what its kernels read."""
    reads = [kernel.reads for kernel in program.kernels]
    frees = _last_reads(reads, program.first_result, program.outputs)
    kernels = tuple(
        k if k.frees == free else Kernel(k.op, k.reads, k.writes, k.params, free, k.node, k.body)
        for k, free in zip(program.kernels, frees, strict=True)
    )
    return dataclasses.replace(program, kernels=kernels)


def _last_reads(
    reads: Sequence[tuple[int, ...]], first_result: int, outputs: Sequence[int]
) -> list[tuple[int, ...]]:
    """For each kernel, the results that it is the last to read."""
    later = {*range(first_result), *outputs}  # those that later kernels read, or that stay
    frees = []
    for read in reversed(reads):
        free = [b for b in read if b not in later]
        if free:
            later.update(free)
        frees.append(tuple(dict.fromkeys(free)))
    return frees[::-1]


# ── what makes a program legal ───────────────────────────────────────────────────────────────────

PROGRAM_RULES = Rules(
    "program",
    ProgramError,
    "the lowering or a rewrite",
    {
        "numbering": "buffers from 0 to below `buffers`, inputs and constants first",
        "written once": "each buffer to be written by one kernel, and no input or constant by any",
        "read after write": "each buffer to be written before it is read or returned",
        "no read after free": "no buffer to be read or returned after it was freed",
        "freed once": "each buffer to be freed at most once, and by a kernel that reads it",
        "freed at all": "each result that is not returned to be freed by its last reader",
        "never freed": "inputs, constants and outputs not to be freed",
        "kernel and node": "a kernel to have its node's operation, parameters and kinds of inputs",
        "inferred": "the shape and dtype that the operation infers from what is read",
        "update": "an output or input of the shape and dtype of the one input that it replaces",
        "body": "a graph in the parameters to be lowered, with its inputs and outputs",
    },
)


def verified(program: Program) -> Program:
    """The program itself; if stages are verified, once `verify` has passed it."""
    if verification.is_on():
        verify_program(program)
    return program


def verify_program(program: Program) -> None:
    """Raise `ProgramError`, with the name of the broken rule, unless the program is legal."""
    first, outputs = program.first_result, set(program.outputs)
    specs: dict[int, Spec] = dict(enumerate((*program.arguments, *program.constants)))
    freed: set[int] = set()
    if first > program.buffers:
        raise PROGRAM_RULES.broken(
            "numbering", f"has {first} inputs and constants in {program.buffers} buffers"
        )
    for kernel in program.kernels:
        for b in (*kernel.reads, kernel.writes, *kernel.frees):
            if not 0 <= b < program.buffers:
                raise PROGRAM_RULES.broken(
                    "numbering", f"uses b{b} of {program.buffers} buffers in {kernel}"
                )
        for b in kernel.reads:
            if b not in specs:
                raise PROGRAM_RULES.broken(
                    "read after write", f"has not written b{b} before {kernel}"
                )
            if b in freed:
                raise PROGRAM_RULES.broken("no read after free", f"has freed b{b} before {kernel}")
        if kernel.writes in specs:
            raise PROGRAM_RULES.broken(
                "written once", f"has b{kernel.writes} already before {kernel}"
            )
        _expect_node(kernel, [specs[b] for b in kernel.reads])
        _expect_body(kernel)
        specs[kernel.writes] = kernel.node
        for b in kernel.frees:
            if b in freed or b not in kernel.reads:
                raise PROGRAM_RULES.broken(
                    "freed once", f"frees b{b} again or unread after {kernel}"
                )
            if b < first or b in outputs:
                raise PROGRAM_RULES.broken(
                    "never freed", f"frees b{b}, which stays, after {kernel}"
                )
            freed.add(b)
    for b in outputs:
        if b not in specs:
            raise PROGRAM_RULES.broken("read after write", f"returns b{b}, which nothing writes")
    for b in specs.keys() - outputs - freed:
        if b >= first:
            raise PROGRAM_RULES.broken("freed at all", f"never frees b{b}")
    replaced = [old for _, old in program.updates]
    for new, old in program.updates:
        stays = new in outputs or 0 <= new < program.inputs
        if not stays or not 0 <= old < program.inputs or replaced.count(old) > 1:
            raise PROGRAM_RULES.broken(
                "update", f"updates b{old} by b{new}, of {program.inputs} inputs"
            )
        if not _agree(specs[new], specs[old]):
            raise PROGRAM_RULES.broken(
                "update", f"updates {spec_text(specs[old])} by {spec_text(specs[new])}"
            )


def _expect_node(kernel: Kernel, inputs: Sequence[Spec]) -> None:
    """Raise unless the kernel is its node's, and the node is what its operation infers."""
    node = kernel.node
    agree = len(node.inputs) == len(inputs) and all(map(_agree, node.inputs, inputs))
    if node.op is not kernel.op or node.params != kernel.params or not agree:
        raise PROGRAM_RULES.broken(
            "kernel and node", f"has {kernel} for {node} of {[*map(spec_text, node.inputs)]}"
        )
    try:
        shape, dtype = kernel.op.infer(*inputs, **kernel.params)
    except (ChainruleError, TypeError) as error:
        raise PROGRAM_RULES.broken("inferred", f"has {kernel}, but {error}") from error
    if shape != node.shape or dtype != node.dtype:
        raise PROGRAM_RULES.broken(
            "inferred", f"has {kernel}, but {kernel.op} gives {dtype}{shape}"
        )


def _expect_body(kernel: Kernel) -> None:
    """Raise unless the body is the kernel's graph, and legal."""
    graph, body = kernel.params.get("graph"), kernel.body
    if not isinstance(graph, Graph):
        if body is not None:
            raise PROGRAM_RULES.broken("body", f"has a body without a graph in {kernel}")
        return
    if body is None:
        raise PROGRAM_RULES.broken("body", f"has no body for the graph in {kernel}")
    verify_program(body)
    specs: dict[int, Spec] = dict(enumerate([*body.arguments, *body.constants]))
    specs |= {k.writes: k.node for k in body.kernels}
    ends = [specs[b] for b in body.outputs]
    if not _all_agree(body.arguments, graph.inputs) or not _all_agree(ends, graph.outputs):
        raise PROGRAM_RULES.broken("body", f"has a body that does not fit the graph in {kernel}")


def _agree(a: Spec, b: Spec) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def _all_agree(some: Sequence[Spec], others: Sequence[Spec]) -> bool:
    return len(some) == len(others) and all(map(_agree, some, others))
