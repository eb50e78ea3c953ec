"""Tensors that stay with a compiled step between its calls.

A step that trains reads and replaces the same parameters, optimizer state and gradients each time.
While they stay with the step they are its memory, written over at each call, and their tensors are
empty handles: the first look at one asks for it back (`Handle.__getattr__`, `recall`), and the next
call of the step takes it in again. So a loop that looks at nothing but the loss costs one native
call per step, and whoever looks sees what has been computed.

An array that was handed out is never written over: it is copied when the step takes it in again.
Another step that uses a tensor, for batches of another size, say, gets its array as it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backends import ResidentMemory
from ..graph import Array, Dtype, Node, Shape
from ..handle import lending
from ..recording import Recorded
from ..sparse import RowSparse
from ..tensor import Tensor, make
from ..tensor.gradients import SEEN
from ..trace import outside
from . import locks
from .resident_graph import SMALL, Gradient

_ABSENT = np.empty(0)  # stands for an argument that is not in place; no argument is this array


class _TrainedLeaf(NamedTuple):
    """Stands for the node of a trained tensor, which is another one at each value."""

    hooks: Any  # as `Node.hooks`
    is_leaf: bool = True
    requires_grad: bool = True


_Node = Node | _TrainedLeaf | None


class _Transfer(NamedTuple):
    """A tensor's array and node on the way into a step.

    unshared   no one outside the steps has the array
    source     the step that has its gradient, which the next one is to replace
    """

    value: Array
    node: _Node
    unshared: bool = False
    source: ResidentTensors | None = None


def value_and_node(tensor: Tensor) -> tuple[Array, _Node]:
    """A tensor's array and node, without asking for it back from the step that it is with."""
    if not _is_filled(tensor):
        transfer: _Transfer | None = tensor._lender.peek(tensor)
        if transfer is not None:
            return transfer.value, transfer.node
    return tensor._value, tensor._node


def _is_filled(tensor: Tensor) -> bool:
    try:
        object.__getattribute__(tensor, "_value")
    except AttributeError:
        return False
    return True


class ResidentTensors:
    """The tensors of one step, and where they are in the program's memory.

    present   identities of the tensors that are here
    count     the number of tensors when all are here
    placed    the arrays that are the arguments now
    lock      for all of this
    """

    def __init__(
        self, memory: ResidentMemory, recorded: Recorded, gradients: Sequence[Gradient]
    ) -> None:
        lending.begun = True
        self._memory, self.lock = memory, locks.of_step()
        self._tensors: list[Tensor] = [owner for owner, _ in recorded.reads]
        first = len(recorded.graph.inputs) - len(self._tensors)
        self._buffers = {id(t): b for b, t in enumerate(self._tensors, first)}
        self._written = {self._buffers[id(t)] for t in recorded.writes}
        self._nodes: dict[int, _Node] = {}  # of tensors that are here
        self._unshared: set[int] = set()  # those of them whose arrays only the step has
        self._exposed: set[int] = set()  # those whose gradients were handed out
        self.present: set[int] = set()
        # Of tensors just taken in, whose gradients the step is to replace: the one they had, or
        # the step that has it.
        self._previous: list[tuple[Tensor, Any]] = []
        # Their arrays that were handed out, by buffer: another tensor may have the same gradient.
        self._replaced: list[tuple[int, Array]] = []
        outputs = memory.outputs
        self._results = list(outputs[: recorded.results])
        rest = iter(outputs[recorded.results + len(recorded.writes) :])
        self._gradients = {
            id(g.tensor): (g, [next(rest) for _ in range(g.outputs)]) for g in gradients
        }
        graded = {b for _, buffers in self._gradients.values() for b in buffers}
        resident = graded | set(memory.updates)  # results that stay with the step
        to_place = set(memory.outputs_to_place)
        self._large: list[tuple[int, Shape, Dtype]] = []  # results in new arrays at each call
        for b in memory.outputs_to_place:
            spec = memory.spec(b)
            size = math.prod(spec.shape) * spec.dtype.itemsize
            if b in self._results and b not in resident and size > SMALL:
                self._large.append((b, spec.shape, spec.dtype))
            else:
                memory.place(b, memory.new_array(b))
        # Of gradients that a failing step may have written over: a second array. They take turns.
        self._second_arrays = {
            b: memory.new_array(b) for b in memory.outputs_lost_on_failure if b in graded
        }
        for b in self._second_arrays.keys() - to_place:
            memory.place(b, memory.new_array(b))
        self._uncopied = {b for b, _, _ in self._large}
        self.count = len(self._tensors)
        self.placed: list[Array] = [_ABSENT] * first
        # The arrays of results that are always in the same ones.
        fixed = not self._large and all(b in to_place and b not in resident for b in self._results)
        self._fixed = [memory.result(b) for b in self._results] if fixed else None
        self._separate = to_place - set(memory.updates)  # whose arrays may be handed out uncopied

    def run(self, arguments: Sequence[Array]) -> list[Array]:
        """One step. If it fails nothing has been changed."""
        with self._all_present():
            self.place_arguments(arguments)
            return self.run_in_place()

    def place_arguments(self, values: Sequence[Array]) -> None:
        """These are the arguments from now on; under the lock."""
        before, self.placed = self.placed, [_ABSENT] * len(values)  # until all are in place
        for b, (value, previous) in enumerate(zip(values, before, strict=True)):
            if value is not previous:
                self._memory.place(b, value)
        # A view that is not C-contiguous was copied: its numbers may differ next time. The list is
        # not changed in place: another thread may be reading it.
        self.placed = [v if v.flags.c_contiguous else _ABSENT for v in values]

    def run_in_place(self) -> list[Array]:
        """One step, all tensors being here and arguments placed; under the lock."""
        memory = self._memory
        if self._large:
            for b, shape, dtype in self._large:
                memory.place(b, np.empty(shape, dtype))
        if self._second_arrays:
            self._run_apart()
        else:
            memory.run()
        if self._fixed is not None:
            return [array.copy() for array in self._fixed]
        result, uncopied = memory.result, self._uncopied
        return [result(b) if b in uncopied else result(b).copy() for b in self._results]

    def _run_apart(self) -> None:
        """The program, gradients at risk in other arrays: if it fails, the old ones are there."""
        self._change_places()
        try:
            self._memory.run()
        except Exception:
            self._change_places()
            raise

    def _change_places(self) -> None:
        """Let the second arrays of gradients at risk be in place, and keep the others."""
        for b, other in self._second_arrays.items():
            self._second_arrays[b] = self._memory.array(b)
            self._memory.place(b, other)

    def repeat(
        self, count: int, arguments: Sequence[Array], varying: Sequence[tuple[Tensor, Array]]
    ) -> list[Array]:
        """`count` steps, the k-th on the k-th part of each argument's rows, in one native call.

        varying   captured tensors that are only read, and their values at each step, (count, ...)

        Returns the results of all steps, each with `count` as a further first axis.
        """
        memory = self._memory
        with self._all_present():
            moving = dict(enumerate(arguments))
            for tensor, values in varying:
                if id(tensor) in self._buffers:  # else the step does not read it
                    moving[self._buffers[id(tensor)]] = values
            results = []
            for b in self._results:
                spec = memory.spec(b)
                results.append(np.empty((count, *spec.shape), spec.dtype))
                moving[b] = results[-1]
            self.placed = [_ABSENT] * len(arguments)
            try:
                memory.repeat(count, moving)
            finally:
                if memory.runs_begun > 1:  # the gradients are those of the last step that was done
                    self._previous.clear()
                    self._replaced.clear()
            return results

    def can_repeat(self) -> bool:
        """Whether `repeat` can be used: one native call per step, results in separate arrays."""
        distinct = len(set(self._results)) == len(self._results)
        return (
            self._memory.can_repeat
            and not self._second_arrays
            and distinct
            and all(b in self._separate for b in self._results)
        )

    @contextlib.contextmanager
    def _all_present(self) -> Iterator[None]:
        """Inside, all tensors are here. After an error they have the gradients that they had."""
        with locks.using(self._buffers), contextlib.ExitStack() as stack:
            present = False
            try:
                with locks.crossing:
                    stack.enter_context(self.lock)
                    self._take_all()
                present = True
                yield
            except BaseException as error:
                if not present or isinstance(error, Exception):  # after Ctrl-C the step was done
                    self._restore_gradients()
                raise
            finally:
                self._previous.clear()
                self._replaced.clear()

    def _restore_gradients(self) -> None:
        """Each tensor just taken in gets the gradient from before the step."""
        for b, array in reversed(self._replaced):
            self._memory.place(b, array)
        with outside():
            for tensor, previous in self._previous:
                if not _is_filled(tensor):
                    if tensor._lender is not self:
                        continue  # the step that still has it has its gradient too
                    self._fill(tensor)
                resident = isinstance(previous, ResidentTensors)
                tensor._grad = previous.gradient(tensor) if resident else previous

    def _take_all(self) -> None:
        """Take in the tensors that are not here."""
        for tensor in self._tensors:
            key = id(tensor)
            if key in self.present:
                continue
            buffer = self._buffers[key]
            if _is_filled(tensor):
                tensor._lender = self  # what is assigned from here on is seen by `store`
            value, node, unshared, source = self._take(tensor)
            if key in self._gradients:
                self._previous.append((tensor, tensor._grad if source is None else source))
                if tensor._unseen is not None:
                    tensor._unseen = SEEN  # it is replaced
            if buffer in self._written:
                if not unshared:
                    copy = self._memory.new_array(buffer)
                    copy[...] = value
                    value, unshared = copy, True
                if node is not None and node.requires_grad:
                    node = _TrainedLeaf(node.hooks)
            self._memory.place(buffer, value)
            self._nodes[key] = node
            (self._unshared.add if unshared else self._unshared.discard)(key)
            if key in self._exposed:
                self._exposed.discard(key)
                for b in self._gradients[key][1]:
                    if b in self._separate:
                        self._replaced.append((b, self._memory.array(b)))
                        self._memory.place(b, self._memory.new_array(b))
            tensor._lender = self
            if _is_filled(tensor):
                # From here to the end a look at the tensor already fills all of it again.
                del tensor._value, tensor._node
            if key in self._gradients and source is None:
                del tensor._grad
            self.present.add(key)

    def _take(self, tensor: Tensor) -> _Transfer:
        """What to take in: from another step that has it, or from the tensor."""
        if not _is_filled(tensor):
            replaced = id(tensor) in self._gradients
            transfer: _Transfer | None = tensor._lender.hand_over(tensor, replaced)
            if transfer is not None:
                return transfer
        return _Transfer(tensor._value, tensor._node)

    def peek(self, tensor: Tensor) -> _Transfer | None:
        """The tensor's array and node, if they are here."""
        with locks.crossing, self.lock:
            key = id(tensor)
            if key not in self.present:
                return None
            value = self._memory.array(self._buffers[key])
            source = self if key in self._gradients else None
            return _Transfer(value, self._nodes[key], key in self._unshared, source)

    def hand_over(self, tensor: Tensor, replaced: bool) -> _Transfer | None:
        """Give the tensor to another step; None if it is not here, or has a gradient to be kept.

        replaced   the other step replaces its gradient
        """
        with locks.crossing, self.lock:
            transfer = self.peek(tensor)
            if transfer is None or (transfer.source is not None and not replaced):
                return None
            self.present.discard(id(tensor))
            return transfer

    def recall(self, tensor: Tensor) -> None:
        """Fill the handle again."""
        with locks.crossing, self.lock, outside():
            key = id(tensor)
            if tensor._lender is not self:  # another step has taken it meanwhile
                tensor._lender.recall(tensor)
                return
            if key not in self.present and _is_filled(tensor):
                return  # another thread has asked too, and was first
            self._fill(tensor)

    def store(self, tensor: Tensor, **fields: Any) -> None:
        """Set the tensor's fields, in a handle that no step takes in between."""
        with locks.crossing:
            if tensor._lender is not self:
                tensor._lender.store(tensor, **fields)
                return
            if id(tensor) in self.present:
                self.recall(tensor)
            for name, value in fields.items():
                setattr(tensor, name, value)

    def _fill(self, tensor: Tensor) -> None:
        """Fill the handle of a tensor that is here; under the lock."""
        key = id(tensor)
        value, node = self._memory.array(self._buffers[key]), self._nodes[key]
        if isinstance(node, _TrainedLeaf):
            node = tensor._leaf(value, node.hooks)
        if key in self._gradients:
            tensor._grad = self.gradient(tensor)
        self._unshared.discard(key)
        tensor._node, tensor._value = node, value
        self.present.discard(key)

    def gradient(self, tensor: Tensor) -> Tensor | RowSparse | None:
        """The gradient that the last step left; the next one will not write over it."""
        (_, shape, _, scaled), buffers = self._gradients[id(tensor)]
        result = self._memory.result
        if scaled:
            with np.errstate(all="ignore"):
                return make(np.multiply(*map(result, buffers)))
        self._exposed.add(id(tensor))
        if shape is None:
            return None
        arrays = [result(b) if b in self._separate else result(b).copy() for b in buffers]
        parts = [make(array) for array in arrays]
        return RowSparse(parts[0], parts[1], shape) if shape else parts[0]
