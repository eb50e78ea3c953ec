"""A program: the graph of a step as a list of kernels over numbered buffers.

This is what every backend gets. A buffer holds one value; a kernel reads buffers and writes one.
`frees` says which buffers nobody reads any more after the kernel, so that a backend can give their
memory to later ones; inputs and outputs are never freed. `updates` pairs an output with the input
that it replaces after the step (a parameter, the random state), so that a backend may write it in
place once nothing reads the old value any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..graph import Array, Graph, Node, Operation, spec_text


@dataclass(frozen=True)
class Kernel:
    """One operation: which buffers it reads, which it writes, which are free afterwards."""

    op: Operation
    reads: tuple[int, ...]
    writes: int
    params: Mapping[str, Any]
    frees: tuple[int, ...]
    node: Node

    def __str__(self) -> str:
        reads = ", ".join(f"b{r}" for r in self.reads)
        return f"b{self.writes}: {spec_text(self.node)} = {self.op}({reads})"


@dataclass(frozen=True)
class Program:
    """Buffers 0, 1, … are the inputs, then the constants, then what the kernels write."""

    arguments: tuple[Node, ...]  # the inputs' shapes and dtypes
    constants: tuple[Array, ...]
    kernels: tuple[Kernel, ...]
    outputs: tuple[int, ...]
    updates: tuple[tuple[int, int], ...]
    buffers: int

    @property
    def inputs(self) -> int:
        """How many inputs there are."""
        return len(self.arguments)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"program({self.inputs} inputs, {len(self.constants)} constants):"
        for k, value in enumerate(self.constants, self.inputs):
            number = f" {value.item()}" if value.size == 1 else ""
            yield f"  b{k}: {spec_text(value)} = constant{number}"
        for kernel in self.kernels:
            frees = f"  frees {', '.join(f'b{f}' for f in kernel.frees)}" if kernel.frees else ""
            yield f"  {kernel}{frees}"
        yield f"  return {', '.join(f'b{o}' for o in self.outputs)}"
        if self.updates:
            pairs = ", ".join(f"b{new} -> b{old}" for new, old in self.updates)
            yield f"  update {pairs}"


def lower(graph: Graph, updates: Mapping[int, int] | None = None) -> Program:
    """The graph's nodes in order, as kernels. updates: output position -> input position."""
    number: dict[Node, int] = {node: k for k, node in enumerate(graph.inputs)}
    nodes = [n for n in graph.nodes if n not in number]
    constants = [n for n in nodes if n.op is None]
    work = [n for n in nodes if n.op is not None]
    for node in [*constants, *work]:
        number[node] = len(number)
    last: dict[Node, int] = {}
    for k, node in enumerate(work):
        for i in node.inputs:
            last[i] = k
    outputs = set(graph.outputs)
    kernels = []
    for k, node in enumerate(work):
        done = tuple(
            number[i]
            for i in dict.fromkeys(node.inputs)
            if last[i] == k and i.op is not None and i not in outputs
        )
        assert node.op is not None
        reads = tuple(number[i] for i in node.inputs)
        kernels.append(Kernel(node.op, reads, number[node], node.params, done, node))
    return Program(
        graph.inputs,
        tuple(n.value for n in constants),
        tuple(kernels),
        tuple(number[o] for o in graph.outputs),
        tuple((number[graph.outputs[o]], i) for o, i in (updates or {}).items()),
        len(number),
    )
