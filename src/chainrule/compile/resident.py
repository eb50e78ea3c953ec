"""Tensors that stay with a compiled step between its calls.

A step that trains reads and replaces the same parameters, optimizer state and gradients each time.
While they stay with the step they are its memory, written over at each call, and their tensors are
empty handles: the first look at one asks for it back (`Tensor.__getattr__`, `Resident.recall`), and
the next call of the step takes it in again. So a loop that looks at nothing but the loss costs one
native call a step, and anybody who looks sees what has been computed.

What was handed out is never written over: it is copied when the step takes it in again. Another
step that needs a tensor, for batches of another size, say, gets its array as it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import backends, ops
from ..backends import ResidentMemory
from ..graph import Array, Graph, Node
from ..handle import lending
from ..recording import Recorded
from ..sparse import RowSparse
from ..tensor import Tensor, make
from ..tensor.gradients import SEEN
from ..trace import outside
from . import locks

Gradients = list[tuple[Tensor, Any, int]]  # tensor, shape as recorded or SCALED, outputs
SCALED = "scaled"  # two outputs: the gradient before its last factor, and that
_NOTHING = object()  # stands for an argument that is in no place
SMALL = 4096  # bytes: a result of no more is copied out of the step's memory


def can_stay(made: Recorded, reachable: bool) -> bool:
    """Whether the tensors of a step can stay with it.

    They cannot where the backend keeps no memory, where results are to be differentiated from
    outside, and where gradients from before the call are read.
    """
    owners = {id(owner) for owner, slot in made.reads if slot == "value"}
    return (
        backends.current().keeps_memory
        and not reachable
        and not made.trace.without_grad
        and len(owners) == len(made.reads)
        and all(id(t) in owners for t, _ in made.grads)
    )


def unscaled(graph: Graph, made: Recorded) -> tuple[Graph, Gradients]:
    """The graph of a step that keeps its gradients until somebody looks.

    Large ones that end in a factor, as clipping makes them, are left without it, and the factor is
    an output besides: `Resident` multiplies, so that a step that nobody looks at need not write
    them. What is an argument, or is assigned too, is copied, or it would change with that.
    """
    first = made.results + len(made.writes)
    outputs, given = list(graph.outputs[:first]), iter(graph.outputs[first:])
    written = set(outputs[made.results :])
    grads: Gradients = []
    for tensor, shape in made.grads:
        nodes = [next(given) for _ in range(0 if shape is None else 2 if shape else 1)]
        parts = _factored(nodes[0]) if shape == () else None
        grads.append((tensor, SCALED if parts else shape, len(parts or nodes)))
        outputs += [_copied(n) if n.op is None or n in written else n for n in parts or nodes]
    return Graph(graph.inputs, outputs), grads


def _copied(node: Node) -> Node:
    return Node(ops.alias, (node,), {}, node.shape, node.dtype, None, False, node.source)


def _factored(node: Node) -> list[Node] | None:
    """What is computed in the step, and the number that it is multiplied by."""
    if node.op is not ops.multiply or math.prod(node.shape) * node.dtype.itemsize <= SMALL:
        return None
    for value, factor in (node.inputs, node.inputs[::-1]):
        while factor.op in (ops.broadcast_to, ops.reshape):
            factor = factor.inputs[0]
        if value.shape == node.shape and factor.shape == ():
            return [value, factor]
    return None


class _Leaf(NamedTuple):
    """Stands for the node of a trained tensor, which is another one at each value."""

    hooks: Any
    is_leaf: bool = True
    requires_grad: bool = True


class _Given(NamedTuple):
    """A tensor's array and node on the way into a step.

    own       nobody else has the array
    source    the step that keeps its gradient, which the next one is to replace
    """

    value: Array
    node: Any
    own: bool = False
    source: Resident | None = None


def look(tensor: Tensor) -> tuple[Array, Any]:
    """A tensor's array and node, without asking for it back from the step that it is with."""
    if not _filled(tensor):
        found: _Given | None = tensor._lender.peek(tensor)
        if found is not None:
            return found.value, found.node
    return tensor._value, tensor._node


def _filled(tensor: Tensor) -> bool:
    try:
        object.__getattribute__(tensor, "_value")
    except AttributeError:
        return False
    return True


class Resident:
    """The tensors of one step, and where they are in the program's memory."""

    def __init__(self, memory: ResidentMemory, made: Recorded, grads: Gradients) -> None:
        lending.begun = True
        self._memory, self.lock = memory, locks.of_step()
        self._tensors: list[Tensor] = [owner for owner, _ in made.reads]
        first = len(made.graph.inputs) - len(self._tensors)
        self._place = {id(t): k for k, t in enumerate(self._tensors, first)}
        self._written = {self._place[id(t)] for t in made.writes}
        self._nodes: dict[int, Any] = {}  # of tensors that are here: their nodes
        self._owned: set[int] = set()  # those of them whose arrays nobody else has
        self._shown: set[int] = set()  # those whose gradients somebody may have
        self.held: set[int] = set()  # identities of the tensors that are here
        # Of tensors just taken in, whose gradients the step is to replace: the one they had, or
        # the step that has it.
        self._before: list[tuple[Tensor, Any]] = []
        outputs = memory.outputs
        self._results = list(outputs[: made.results])
        rest = iter(outputs[made.results + len(made.writes) :])
        self._grads: dict[int, tuple[Any, list[int]]] = {}  # the shape as recorded, buffers
        for tensor, shape, count in grads:
            self._grads[id(tensor)] = shape, [next(rest) for _ in range(count)]
        slopes = {b for _, buffers in self._grads.values() for b in buffers}
        kept = slopes | set(memory.updates)
        self._large: list[tuple[int, Any, Any]] = []  # results that are new arrays at each call
        for b in memory.outputs_to_place:
            value = memory.spec(b)
            size = math.prod(value.shape) * value.dtype.itemsize
            if b in self._results and b not in kept and size > SMALL:
                self._large.append((b, value.shape, value.dtype))
            else:
                memory.place(b, memory.new_array(b))
        self._early = [b for b in memory.outputs_lost_on_failure if b in slopes]
        for b in set(self._early) - set(memory.outputs_to_place):
            memory.place(b, memory.new_array(b))
        self._whole = {b for b, _, _ in self._large}
        self.count = len(self._tensors)  # of tensors, when all are here
        self.placed: list[Any] = [_NOTHING] * first  # the arrays that are the arguments now
        # Results that are always in the same arrays.
        own = set(memory.outputs_to_place)
        fixed = not self._large and all(b in own and b not in kept for b in self._results)
        self._fixed = [memory.result(b) for b in self._results] if fixed else None
        self._own = own - set(memory.updates)  # gradients that may be handed out uncopied

    def run(self, values: Sequence[Array]) -> list[Array]:
        """One step. If it fails nothing has been changed."""
        with self._gathered():
            self.arrange(values)
            return self.again()

    def arrange(self, values: Sequence[Array]) -> None:
        """These are the arguments from now on; under the lock."""
        before, self.placed = self.placed, [_NOTHING] * len(values)  # until all are in place
        for k, (value, was) in enumerate(zip(values, before, strict=True)):
            if value is not was:
                self._memory.place(k, value)
        # What is no whole array was copied: it may hold something else next time. The list is not
        # changed in place: somebody may be looking at it.
        self.placed = [v if v.flags.c_contiguous else _NOTHING for v in values]

    def again(self) -> list[Array]:
        """One step, all tensors being here and arguments arranged; under the lock."""
        memory = self._memory
        if self._large:
            for b, shape, dtype in self._large:
                memory.place(b, np.empty(shape, dtype))
        if self._early:
            self._run_apart()
        else:
            memory.run()
        if self._fixed is not None:
            return [array.copy() for array in self._fixed]
        result, whole = memory.result, self._whole
        return [result(b) if b in whole else result(b).copy() for b in self._results]

    def _run_apart(self) -> None:
        """The program, its early gradients in new arrays: if it fails, the old ones are there."""
        memory = self._memory
        before = [(b, memory.array(b)) for b in self._early]
        for b, _ in before:
            memory.place(b, memory.new_array(b))
        try:
            memory.run()
        except BaseException:
            for b, array in before:
                memory.place(b, array)
            raise

    def repeat(
        self, count: int, arguments: Sequence[Array], varying: Sequence[tuple[Tensor, Array]]
    ) -> list[Array]:
        """So many steps, the k-th on the k-th part of each argument's rows, in one native call.

        varying   captured tensors that are only read, and their values at each step, (count, ...)

        Returns the results of all steps, each with `count` as a first axis more.
        """
        memory = self._memory
        with self._gathered():
            moving = dict(enumerate(arguments))
            for tensor, values in varying:
                if id(tensor) in self._place:  # else the step does not read it
                    moving[self._place[id(tensor)]] = values
            results = []
            for b in self._results:
                value = memory.spec(b)
                results.append(np.empty((count, *value.shape), value.dtype))
                moving[b] = results[-1]
            self.placed = [_NOTHING] * len(arguments)
            try:
                memory.repeat(count, moving)
            finally:
                if memory.runs_begun > 1:  # the gradients are those of the last step that was done
                    self._before.clear()
            return results

    def repeats(self) -> bool:
        """Whether `repeat` can be used: one native call a step, results of their own."""
        own = len(set(self._results)) == len(self._results)
        return (
            self._memory.can_repeat
            and not self._early
            and own
            and all(b in self._own for b in self._results)
        )

    @contextlib.contextmanager
    def _gathered(self) -> Iterator[None]:
        """Inside, all tensors are here. After an error they have the gradients that they had."""
        with locks.using(self._place), contextlib.ExitStack() as stack:
            gathered = False
            try:
                with locks.crossing:
                    stack.enter_context(self.lock)
                    self._gather()
                gathered = True
                yield
            except BaseException as error:
                if not gathered or isinstance(error, Exception):  # after Ctrl-C the step was done
                    self._put_back()
                raise
            finally:
                self._before.clear()

    def _put_back(self) -> None:
        """The gradients from before the step."""
        with outside():
            for tensor, source in self._before:
                if not _filled(tensor):
                    if tensor._lender is not self:
                        continue  # the step that still has it has its gradient too
                    self._give(tensor)
                tensor._grad = source.shown(tensor) if isinstance(source, Resident) else source

    def _gather(self) -> None:
        """Take in the tensors that are not here."""
        for tensor in self._tensors:
            key = id(tensor)
            if key in self.held:
                continue
            place = self._place[key]
            if _filled(tensor):
                tensor._lender = self  # what is assigned from here on is seen by `store`
            value, node, own, source = self._taken(tensor)
            if key in self._grads:
                self._before.append((tensor, tensor._grad if source is None else source))
                if tensor._unseen is not None:
                    tensor._unseen = SEEN  # it is replaced
            if place in self._written:
                if not own:
                    copy = self._memory.new_array(place)
                    copy[...] = value
                    value, own = copy, True
                if node is not None and node.requires_grad:
                    node = _Leaf(node.hooks)
            self._memory.place(place, value)
            self._nodes[key] = node
            (self._owned.add if own else self._owned.discard)(key)
            if key in self._shown:
                self._shown.discard(key)
                for b in self._grads[key][1]:
                    if b in self._own:
                        self._memory.place(b, self._memory.new_array(b))
            tensor._lender = self
            if _filled(tensor):
                # From here to the end a look at the tensor already fills all of it again.
                del tensor._value, tensor._node
            if key in self._grads and source is None:
                del tensor._grad
            self.held.add(key)

    def _taken(self, tensor: Tensor) -> _Given:
        """What to take in: from another step that has it, or from the tensor."""
        if not _filled(tensor):
            given: _Given | None = tensor._lender.hand_over(tensor, id(tensor) in self._grads)
            if given is not None:
                return given
        return _Given(tensor._value, tensor._node)

    def peek(self, tensor: Tensor) -> _Given | None:
        """The tensor's array and node, if they are here."""
        with locks.crossing, self.lock:
            key = id(tensor)
            if key not in self.held:
                return None
            value = self._memory.array(self._place[key])
            source = self if key in self._grads else None
            return _Given(value, self._nodes[key], key in self._owned, source)

    def hand_over(self, tensor: Tensor, graded: bool) -> _Given | None:
        """Give the tensor to another step; None if it is not here, or has a gradient to be kept.

        graded   the other step replaces its gradient
        """
        with locks.crossing, self.lock:
            given = self.peek(tensor)
            if given is None or (given.source is not None and not graded):
                return None
            self.held.discard(id(tensor))
            return given

    def recall(self, tensor: Tensor) -> None:
        """Fill the handle again."""
        with locks.crossing, self.lock, outside():
            key = id(tensor)
            if tensor._lender is not self:  # another step has taken it meanwhile
                tensor._lender.recall(tensor)
                return
            if key not in self.held and _filled(tensor):
                return  # another thread has asked too, and was first
            self._give(tensor)

    def store(self, tensor: Tensor, **fields: Any) -> None:
        """Set the tensor's fields, in a handle that no step takes in between."""
        with locks.crossing:
            if tensor._lender is not self:
                tensor._lender.store(tensor, **fields)
                return
            if id(tensor) in self.held:
                self.recall(tensor)
            for name, value in fields.items():
                setattr(tensor, name, value)

    def _give(self, tensor: Tensor) -> None:
        """Fill the handle of a tensor that is here; under the lock."""
        key = id(tensor)
        value, node = self._memory.array(self._place[key]), self._nodes[key]
        if isinstance(node, _Leaf):
            node = tensor._leaf(value, node.hooks)
        if key in self._grads:
            tensor._grad = self.shown(tensor)
        self._owned.discard(key)
        tensor._node, tensor._value = node, value
        self.held.discard(key)

    def shown(self, tensor: Tensor) -> Any:
        """The gradient that the last step left; the next one will not write over it."""
        shape, buffers = self._grads[id(tensor)]
        if shape != SCALED:  # which is a new array
            self._shown.add(id(tensor))
        return self._gradient(shape, buffers)

    def _gradient(self, shape: Any, buffers: list[int]) -> Any:
        if shape is None:
            return None
        if shape == SCALED:
            with np.errstate(all="ignore"):
                return make(np.multiply(*map(self._memory.result, buffers)))
        found = [(b, self._memory.result(b)) for b in buffers]
        arrays = [make(a if b in self._own else a.copy()) for b, a in found]
        return RowSparse(arrays[0], arrays[1], shape) if shape else arrays[0]
