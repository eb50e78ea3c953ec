"""One compilation of a function: how it is finished, whether it still fits, how it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import backends, ops, tree
from ..backends import Executable
from ..backends.program import Program, lower
from ..errors import TraceError
from ..graph import Graph, Node, spec_text
from ..guards.counting import changes
from ..guards.surroundings import Surroundings
from ..recording import Recorded
from ..sparse import RowSparse
from ..tensor import Tensor, make, record_outputs
from ..tensor.gradients import warn_of_lost
from ..trace import Trace, updates
from . import locks, stages
from .passes import optimise
from .resident import Resident, can_stay, look, unscaled

_NEVER = object()


@dataclass
class Step:
    """One compilation: what to feed, what runs, and where the results go."""

    executable: Executable
    recorded: Recorded
    graph: Graph  # after the passes
    program: Program
    specs: list[Any]  # of the captured tensors, as they were when traced
    owners: set[int]  # identities of captured tensors that are trained or assigned
    structure: Any
    holding: list[int]  # the results that have a gradient, which are more results, at the end
    uses: list[int]  # identities of what it reads and assigns, if it assigns something
    reachable: list[bool]  # the results and new values that can be differentiated from outside
    surroundings: Surroundings
    unseen: list[Tensor]  # of an optimizer: those whose new gradients it does not read
    replaced: list[Tensor]  # those of them whose old gradients it does not read either
    seen: int  # the count of changes at which the guards last said that nothing had changed
    resident: Resident | None  # where the captured tensors stay between calls, if they do
    told: int = -1  # the optimizers' count of steps when it last warned of a lost gradient


def _slot(owner: Any, slot: str) -> Any:
    """The tensor that stands in the owner's slot now (None: there is none)."""
    if slot == "value":
        return owner
    held = owner._grad
    parts = slot.split(".")[1:]
    if isinstance(held, RowSparse) != bool(parts):
        return None
    return getattr(held, parts[0]) if parts else held


def _spec(t: Tensor | None) -> Any:
    """What a program depends on: shape and dtype, and of what is trained leafness and hooks."""
    if t is None:
        return None
    value, node = look(t)
    if node is None or not node.requires_grad:
        return value.shape, value.dtype
    return value.shape, value.dtype, node.is_leaf, tuple(node.hooks or ())


def _traced_spec(owner: Tensor, slot: str, node: Node) -> Any:
    """What the program depends on; nothing that ever fits if another thread has changed it."""
    spec = _spec(_slot(owner, slot))
    return spec if spec is not None and spec[:2] == (node.shape, node.dtype) else _NEVER


def fits(step: Step) -> bool:
    """Whether everything that the step was traced with is still as it was."""
    made = step.recorded
    held = () if step.resident is None else step.resident.held
    count = changes.count  # before anything is looked at
    for (owner, slot), spec in zip(made.reads, step.specs, strict=True):
        if id(owner) in held:  # it has not been looked at since
            continue
        t = _slot(owner, slot)
        if t is None or _spec(t) != spec:
            return False
    if any(t._grad is not None for t in made.trace.without_grad.values()):
        return False
    if not step.surroundings.unchanged(counted=step.seen != count):
        return False
    step.seen = count
    return True


def finish(
    made: Recorded, structure: Any, holding: list[int], surroundings: Surroundings, seen: int
) -> Step:
    trace, used = made.trace, set(made.graph.nodes)
    for owner, slot, node in trace.reads.values():
        if slot == "value" and node in used and not owner.is_leaf:
            raise TraceError(
                "compile",
                f"got the captured tensor {spec_text(owner)}, which has a recorded history",
                "leaves and arguments are needed",
                "compute it inside, pass it as an argument, or detach() it",
                owner._node.source,
            )
    graph = made.graph
    first = len(graph.inputs) - len(made.reads)
    place = {id(o): first + k for k, (o, slot) in enumerate(made.reads) if slot == "value"}
    updates = {made.results + k: place[id(w)] for k, w in enumerate(made.writes)}
    asked = stages.asked()
    if "graph" in asked:
        stages.show("traced", graph)
    optimised = optimise(graph, stages.show if "graph" in asked else None)
    # What backward() was called on has used its history. Keeping it would keep every step's
    # parameters for as long as the loss is kept.
    results = [o.requires_grad and o not in trace.roots for o in graph.outputs[: made.results]]
    writes = [node.requires_grad and not _trained(owner) for owner, node in trace.writes.values()]
    stays = can_stay(made, any(results + writes))
    kept, grads = unscaled(optimised, made) if stays else (optimised, [])
    program = lower(kept, updates)
    if "program" in asked:
        stages.show("program", program)
    backend = backends.current()
    executable = backend.load()(program)
    for stage in stages.OF_BACKENDS:
        if stage in asked:
            there = stage in backend.stages
            stages.show(stage, executable.text(stage) if there else stages.missing(backend, stage))
    memory = executable.memory
    unseen = [*trace.unseen.values()]
    return Step(
        executable,
        made,
        optimised,
        program,
        [_traced_spec(*r) for r in trace.reads.values()],
        {id(owner) for owner, _ in made.reads if owner.requires_grad or id(owner) in trace.writes},
        structure,
        holding,
        _used(made),
        results + writes,
        surroundings,
        unseen,
        [t for t in unseen if not _reads_gradient(trace, t)],
        seen,
        Resident(memory, made, grads) if stays and memory is not None else None,
    )


def _used(made: Recorded) -> list[int]:
    """What no other step may use while this one runs: nothing if it assigns nothing."""
    if not (made.writes or made.grads):
        return []
    owners = [owner for owner, _ in (*made.reads, *made.grads)]
    return [*{id(t) for t in (*owners, *made.writes, *made.trace.without_grad.values())}]


def expect_apart(step: Step, tensors: Sequence[Tensor]) -> None:
    for t in tensors:
        if id(t) in step.owners:
            raise TraceError(
                "compile",
                f"got the argument {spec_text(t)}, which the function also uses from outside",
                "one way in, so that it is one variable",
                "pass another tensor (clone it), or leave it out of the arguments",
            )


def _reads_gradient(trace: Trace, t: Tensor) -> bool:
    """Whether it reads the gradient from before it, or has seen that there is none."""
    slots = ((id(t), slot) for slot in ("grad", "grad.indices"))
    return id(t) in trace.without_grad or any(slot in trace.reads for slot in slots)


def expect_seen(step: Step) -> None:
    """Warn if nothing has used the gradients that the step is going to replace and not to read.

    Once before a step of an optimizer.
    """
    if step.told != updates.count and any(t._unseen == updates.count for t in step.replaced):
        step.told = updates.count
        warn_of_lost()


def leave_unseen(step: Step) -> None:
    """Remember that the step has left gradients that it has not read."""
    for t in step.unseen:
        t._unseen = updates.count


def captured(step: Step) -> list[Tensor] | None:
    """What it reads from outside, all of one moment; None if it does not fit the step any more."""
    made = step.recorded
    with locks.crossing:
        found = [_slot(owner, slot) for owner, slot in made.reads]
        for t, spec, (_, slot) in zip(found, step.specs, made.reads, strict=True):
            if slot != "value" and (t is None or _spec(t) != spec):
                return None
        if any(t._grad is not None for t in made.trace.without_grad.values()):
            return None
        return [t._new_handle() for t in found]


def run(step: Step, tensors: Sequence[Tensor], captured: Sequence[Tensor]) -> Any:
    made = step.recorded
    if made.trace.updates:
        updates.count += 1
    leave_unseen(step)
    out = step.executable([t._value for t in [*tensors, *captured]])
    count = len(step.reachable)
    new = [make(v) for v in out[:count]]
    if any(step.reachable):  # recorded as one node, whose derivative does the graph again
        graph = made.graph
        params = {"graph": Graph(graph.inputs, graph.outputs[:count])}
        again = record_outputs(ops.call, (*tensors, *captured), params, tuple(out[:count]))
        pairs = zip(again, new, step.reachable, strict=True)
        new = [a if wanted else n for a, n, wanted in pairs]
    with locks.crossing:
        for owner, value in zip(made.writes, new[made.results :], strict=True):
            leaf = _trained(owner)
            owner._node = owner._leaf(value._value, owner._node.hooks) if leaf else value._node
            owner._value = value._value
        rest = iter(out[count:])
        for tensor, shape in made.grads:
            if shape is None:
                tensor._grad = None
            elif shape:
                tensor._grad = RowSparse(make(next(rest)), make(next(rest)), shape)
            else:
                tensor._grad = make(next(rest))
    return returned(step, new[: made.results])


def gradients_of(results: list[Tensor], trace: Trace) -> tuple[list[int], list[Tensor]]:
    """The places of the results in which backward() has left a gradient, and those."""
    found = {k: t._grad for k, t in enumerate(results) if trace.owns(t) and t._grad is not None}
    dense = (g.to_dense() if isinstance(g, RowSparse) else g for g in found.values())
    return list(found), list(dense)


def returned(step: Step, results: list[Tensor]) -> Any:
    """What the function returns, made from the results of the program."""
    if step.holding:
        count = len(results) - len(step.holding)
        for k, gradient in zip(step.holding, results[count:], strict=True):
            results[k]._grad = gradient
        results = results[:count]
    return tree.unflatten(step.structure, results)


def _trained(owner: Tensor) -> bool:
    return owner.requires_grad and owner.is_leaf
