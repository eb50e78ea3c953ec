"""The step of a loop along time, as formulas: once, for all times."""

from __future__ import annotations

import itertools

from ... import ops
from ...graph import Node
from ..derivation import MOVES
from ..numbers import array_text
from ..owners import distinct
from .formulas import constant_text, is_turned, written
from .reading import Reading

LINES = 24  # that are shown of a step


def body(reading: Reading, node: Node) -> list[str]:
    """The lines of the step of a scan, of other operations none.

    A state is what the step hands on to the next; x[t] is what it reads of x at time t.
    """
    if node.op is not ops.scan:
        return []
    graph, consts, carries, length = (
        node.params[k] for k in ("graph", "consts", "carries", "length")
    )
    names: dict[Node, str] = {}
    taken = reading.taken()
    states = [distinct("state" if carries == 1 else f"state{k + 1}", taken) for k in range(carries)]
    for k, (inner, outer) in enumerate(zip(graph.inputs, node.inputs, strict=True)):
        if consts <= k < consts + carries:
            names[inner] = states[k - consts]
        else:
            names[inner] = reading.name(outer) + "[t]" * (k >= consts + carries)
    free = (s for k in itertools.count(1) if (s := f"s{k}") not in taken)
    lines = []
    for n in graph.nodes:
        if n in names:
            continue
        if n.op is None:
            names[n] = constant_text(n.value) or f"({array_text(n.value)})"
        elif n.op in (*MOVES, ops.broadcast_to):
            names[n] = names[n.inputs[0]] + "ᵀ" * is_turned(n)
        else:
            names[n] = next(free)
            lines.append(f"{names[n]} = {written(n, [names[i] for i in n.inputs])}")
    if len(lines) > LINES:
        lines[LINES:] = [f"… {len(lines) - LINES} more …"]
    times = f"t = {length - 1} … 0" if node.params["reverse"] else f"t = 0 … {length - 1}"
    starts = ", ".join(
        f"{s} = {reading.name(i)}"
        for s, i in zip(states, node.inputs[consts : consts + carries], strict=True)
    )
    ends = [names[n] for n in graph.outputs]
    steps = ", ".join(f"{s} = {end}" for s, end in zip(states, ends[:carries], strict=True))
    results = ", ".join([*states, *(f"{end} of every t" for end in ends[carries:])])
    return [
        f"from {starts}, for {times}:" if starts else f"for {times}:",
        *(f"  {line}" for line in lines),
        *([f"  then {steps}"] if steps else []),
        f"{reading.name(node)} = ({results})",
    ]
