"""A step: one compilation of a function, for arguments of one kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import backends, tree
from ..backends import Executable
from ..backends.program import Program, lower
from ..errors import TraceError
from ..graph import Graph, spec_text
from ..guards.counting import changes
from ..guards.surroundings import Surroundings
from ..recording import Recorded, record
from ..sparse import RowSparse
from ..tensor import Tensor, as_tensor
from ..tensor.gradients import warn_of_lost
from ..trace import Trace, optimizer_steps
from . import captures, side_effects, stages
from .arguments import Arguments
from .notice import Notice
from .passes import optimise
from .resident import ResidentTensors
from .resident_graph import can_stay, unscaled


@dataclass
class Step:
    """What runs, what it reads, where the results go, and what it depends on.

    recorded         the function as it was recorded
    graph            after the passes
    executable       the program, built by a backend
    resident         where the captured tensors stay between calls, if they do
    structure        the tuples, lists and dicts around the results
    graded           positions of results that have a gradient, which are further results at the end
    differentiable   of each result and new value: whether it can be differentiated from outside
    specs            of captured tensors, when they were recorded
    variables        identities of captured tensors that are trained or assigned
    exclusive        identities of tensors that no other step may use while it runs
    unread           tensors of an optimizer whose new gradients it does not read
    replaced         those of them whose old gradients it does not read either
    unchanged_at     the count of changes at which the guards last said that nothing had changed
    warned_at        the count of optimizers' steps at which it last warned of an unread gradient
    """

    recorded: Recorded
    graph: Graph
    program: Program
    executable: Executable
    resident: ResidentTensors | None
    structure: tree.Structure
    graded: list[int]
    differentiable: list[bool]
    specs: list[Hashable]
    variables: set[int]
    exclusive: list[int]
    surroundings: Surroundings
    unread: list[Tensor]
    replaced: list[Tensor]
    unchanged_at: int
    warned_at: int = -1

    def is_current(self) -> bool:
        """Whether all that was recorded would be recorded again."""
        resident = set() if self.resident is None else self.resident.present
        count = changes.count  # before anything is compared
        if not captures.unchanged(self.recorded, self.specs, resident):
            return False
        if not self.surroundings.unchanged(counted=self.unchanged_at != count):
            return False
        self.unchanged_at = count
        return True

    def expect_no_variable(self, arguments: Sequence[Tensor]) -> None:
        """Raise `TraceError` if a captured tensor that changes is also an argument."""
        for t in arguments:
            if id(t) in self.variables:
                raise TraceError(
                    "compile",
                    f"got the argument {spec_text(t)}, which the function also uses from outside",
                    "expected one way in, so that it is one variable",
                    "pass another tensor (clone it), or leave it out of the arguments",
                )

    def warn_of_unread_gradients(self) -> None:
        """Warn if nothing has read the gradients that the step replaces without reading them.

        Once between two steps of an optimizer.
        """
        now = optimizer_steps.count
        if self.warned_at != now and any(t._unseen == now for t in self.replaced):
            self.warned_at = now
            warn_of_lost()

    def mark_gradients_unread(self) -> None:
        """Remember that the step leaves gradients that it does not read."""
        for t in self.unread:
            t._unseen = optimizer_steps.count

    def structured(self, results: list[Tensor]) -> Any:
        """What the function returns, from the results of the program."""
        if self.graded:
            count = len(results) - len(self.graded)
            for k, gradient in zip(self.graded, results[count:], strict=True):
                results[k]._grad = gradient
            results = results[:count]
        return tree.unflatten(self.structure, results)


def compile_step(
    function: Callable[..., Any], used: Sequence[Any], arguments: Arguments, notice: Notice
) -> Step:
    """Record the function on arguments like these, and build what was recorded.

    used   other objects that the function uses, whose attributes it may depend on
    """
    structure: tree.Structure = None
    graded: list[int] = []
    count = changes.count
    surroundings = Surroundings(function, [*arguments.static, *used])

    def body(inputs: list[Tensor]) -> list[Tensor]:
        nonlocal structure, graded
        args, kwargs = arguments.with_tensors(inputs)
        out, structure = tree.flatten(function(*args, **kwargs))
        results = [as_tensor(t) for t in out]
        graded, gradients = _gradients(results, trace)
        return results + gradients

    trace = Trace(lasting=True)
    trace.arguments = {id(t): t for t in arguments.tensors}
    specs = [(t.shape, t.dtype, t.requires_grad) for t in arguments.tensors]
    try:
        recorded = record(body, specs, trace)
    except BaseException:
        surroundings.restore()
        raise
    trace.arguments.clear()  # they were needed while tracing only
    surroundings.add_variables(v for guard in trace.guards for v in guard.variables)
    side_effects.expect_none(surroundings, trace.guards)
    surroundings.add_guards(trace.guards)
    notice.stage = f"making code for {len(recorded.graph.nodes)} operations"
    captures.expect_leaves(recorded)
    return _built(recorded, structure, graded, surroundings, count)


def _gradients(results: list[Tensor], trace: Trace) -> tuple[list[int], list[Tensor]]:
    """The positions of the results in which backward() has left a gradient, and those."""
    graded = {k: t._grad for k, t in enumerate(results) if trace.owns(t) and t._grad is not None}
    dense = (g.to_dense() if isinstance(g, RowSparse) else g for g in graded.values())
    return list(graded), list(dense)


def _built(
    recorded: Recorded,
    structure: tree.Structure,
    graded: list[int],
    surroundings: Surroundings,
    count: int,
) -> Step:
    """The step: the graph optimised, lowered and built."""
    trace, graph = recorded.trace, recorded.graph
    asked = stages.asked()
    if "graph" in asked:
        stages.show("traced", graph)
    optimised = optimise(graph, stages.show if "graph" in asked else None)
    # What backward() was called on has used its history. Keeping it would keep every step's
    # parameters for as long as the loss is kept.
    results = [o.requires_grad and o not in trace.roots for o in graph.outputs[: recorded.results]]
    writes = [
        node.requires_grad and not captures.is_trained(owner)
        for owner, node in trace.writes.values()
    ]
    stays = can_stay(recorded, any(results + writes))
    to_lower, grads = unscaled(optimised, recorded) if stays else (optimised, [])
    program = lower(to_lower, _updates(recorded))
    executable = _executable(program, asked)
    memory = executable.memory if stays else None
    unread = [*trace.unseen.values()]
    reads = recorded.reads
    return Step(
        recorded,
        optimised,
        program,
        executable,
        None if memory is None else ResidentTensors(memory, recorded, grads),
        structure,
        graded,
        results + writes,
        captures.specs(recorded),
        {id(owner) for owner, _ in reads if owner.requires_grad or id(owner) in trace.writes},
        captures.used_by(recorded),
        surroundings,
        unread,
        [t for t in unread if not captures.reads_gradient(trace, t)],
        count,
    )


def _updates(recorded: Recorded) -> dict[int, int]:
    """Output position -> position of the input that it replaces."""
    first = len(recorded.graph.inputs) - len(recorded.reads)
    slots = enumerate(recorded.reads, first)
    position = {id(owner): k for k, (owner, slot) in slots if slot == "value"}
    return {recorded.results + k: position[id(t)] for k, t in enumerate(recorded.writes)}


def _executable(program: Program, asked: Sequence[str]) -> Executable:
    """The program, built by the current backend.

    asked   the stages to be shown
    """
    if "program" in asked:
        stages.show("program", program)
    backend = backends.current()
    executable = backend.load()(program)
    for stage in stages.of_backends():
        if stage in asked:
            there = stage in backend.stages
            stages.show(stage, executable.text(stage) if there else stages.missing(backend, stage))
    return executable
