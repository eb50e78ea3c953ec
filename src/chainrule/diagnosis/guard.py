"""The guard of a training step: a step that would do harm changes nothing.

A step is refused if its loss, its gradient or a buffer is not finite, or if the gradient explodes:
if its norm is more than EXPLODES times the level, the largest norm of the steps before, which
halves in HALVES steps. The first CALIBRATION steps have no level to be compared with. All that a
refused step assigns keeps its value: weights, the optimizer's state, buffers, the random state. An
explosion makes the level 4 times as large, because what keeps coming is no outlier.

After a refusal the rate is halved; each accepted step multiplies it by 2^(1/RECOVERS), up to the
rate that the optimizer has. After MOST refusals in a row all further steps are refused.

docs/decisions/012-guard.md has the reasons, and how the numbers were chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..dtypes import float64
from ..functions import elementwise, reductions, shaping
from ..functions.elementwise import where
from ..graph import Array, Node, topological
from ..tensor import Tensor, make, no_grad
from ..trace import Trace, state

EXPLODES = 30.0
HALVES = 200
CALIBRATION = 5
RECOVERS = 10
MOST = 8

ACCEPTED, LOSS, GRADIENT, BUFFER, EXPLOSION, STOPPED = range(6)
_LARGEST = float(np.finfo(np.float64).max)


class Guard:
    """Judges the steps of one training; its numbers are tensors, which each step assigns.

    level    the largest norm of the gradient of late
    count    the number of accepted steps
    factor   what the rate is multiplied by
    row      the number of refusals since the last accepted step
    """

    def __init__(self) -> None:
        self.level, self.count = make(np.zeros(())), make(np.zeros(()))
        self.factor, self.row = make(np.ones(())), make(np.zeros(()))

    def recalibrate(self) -> None:
        """Forget the level: other parameters are trained from now on."""
        with no_grad():
            for t in (self.level, self.count):
                t._assign(make(np.zeros(())))

    def judge(
        self, loss: Tensor, norms: Tensor, rate: Tensor, buffers: Sequence[Tensor] = ()
    ) -> Tensor:
        """Judge a step, after all that it assigns; while tracing, that keeps its value if the step
        is refused (of a step that is not traced: `taking_back`).

        norms    of the gradient, of each layer
        rate     the rate of the step
        buffers  what else has to be finite: running statistics, say
        returns  (reason, level, rate) as float64: ACCEPTED or why it was refused, the level before
                 the step, and the rate
        """
        with no_grad():
            norm = reductions.norm(norms.astype(float64))
            known = (self.count >= CALIBRATION) & (self.level > 0)
            limit = where(known, EXPLODES * self.level, _LARGEST)
            finite, small = elementwise.isfinite(loss.detach()), norm <= limit
            whole = _all_finite([t for t in buffers if _is_assigned(t)])
            measured = norm <= _LARGEST
            runs = self.row < MOST
            accepted = finite & small & runs if whole is None else finite & small & runs & whole
            reason = where(measured, float(EXPLOSION), float(GRADIENT))
            reason = where(finite, where(small, float(BUFFER), reason), float(LOSS))
            reason = where(accepted, float(ACCEPTED), where(runs, reason, float(STOPPED)))
            verdict = shaping.stack([reason, self.level, rate])
            if state.trace is not None:
                _keep(state.trace, accepted)
            exploded = reason == float(EXPLOSION)
            level = elementwise.maximum(self.level * 0.5 ** (1 / HALVES), norm)
            slower = elementwise.minimum(self.factor * 2.0 ** (1 / RECOVERS), 1.0)
            new = (
                where(accepted, level, where(exploded, 4 * self.level, self.level)),
                where(accepted, self.count + 1, self.count),
                where(accepted, slower, 0.5 * self.factor),
                where(accepted, 0.0, self.row + 1),
            )
            for t, value in zip(self._tensors().values(), new, strict=True):
                t._assign(value)
            return verdict

    def _tensors(self) -> dict[str, Tensor]:
        return {n: getattr(self, n) for n in ("level", "count", "factor", "row")}

    def state_dict(self) -> dict[str, float]:
        """Its numbers, for a checkpoint."""
        return {name: t.item() for name, t in self._tensors().items()}

    def load_state_dict(self, values: dict[str, float]) -> None:
        """The inverse of `state_dict`."""
        with no_grad():
            for name, t in self._tensors().items():
                t._assign(make(np.array(values[name])))


def taking_back(
    step: Callable[..., tuple[Tensor, ...]], tensors: Callable[[], Iterable[Tensor]]
) -> Callable[..., tuple[Tensor, ...]]:
    """A step, run operation by operation, that gives tensors their old values if it is refused.

    step      its last result is the verdict of a guard
    tensors   those that it assigns. Assignments replace arrays, so none is copied
    """

    def guarded(*args: Any) -> tuple[Tensor, ...]:
        before = [(t, t._value) for t in tensors()]
        results = step(*args)
        if results[-1][0] != ACCEPTED:
            with no_grad():
                for t, value in before:
                    if t._value is not value and value is not None:
                        t._assign(make(value))
        return results

    return guarded


def _keep(trace: Trace, accepted: Tensor) -> None:
    """Let what the trace assigns keep its value unless the step is accepted.

    What is computed from a new value, such as a weight from a running mean, is computed from the
    value that is assigned: if the step is refused it is not assigned either. So a new value is in
    one place, as without the guard, and not in a temporary array too.
    """
    judged = set(topological([trace.node_of(accepted)]))  # by what follows it cannot be chosen
    olds: dict[Node, list[Node]] = {}
    for owner, node in trace.writes.values():
        olds.setdefault(_itself(node), []).append(trace.reads[id(owner), "value"][2])
    chosen: dict[Node, Node] = {}
    for node in topological(olds):
        if node.op is None or node in judged:
            continue
        inputs = tuple(chosen.get(i, i) for i in node.inputs)
        if inputs != node.inputs:
            chosen[node] = trace.apply(node.op, inputs, node.params, node.requires_grad)
        if len(olds.get(node, ())) == 1:
            chosen[node] = trace.node_of(_chosen(accepted, chosen.get(node, node), olds[node][0]))
    for owner, node in [*trace.writes.values()]:
        target = _itself(node)
        if target in chosen and len(olds[target]) == 1:
            owner._assign(Tensor._of_node(chosen[target]))
        else:
            old = trace.reads[id(owner), "value"][2]
            owner._assign(_chosen(accepted, chosen.get(target, target), old))


def _chosen(accepted: Tensor, new: Node, old: Node) -> Tensor:
    """The new value of an accepted step, else the old one. Of a table only some rows are new: then
    none is put, so that the others are not read."""
    if new.op is ops.put_rows and _itself(new.inputs[0]) is old:
        table, rows, values = (Tensor._of_node(i) for i in new.inputs)
        out: Tensor = ops.put_rows(table, where(accepted, rows, -1), values, **new.params)
        return out
    return where(accepted, Tensor._of_node(new), Tensor._of_node(old))


def _is_assigned(t: Tensor) -> bool:
    """Whether the trace assigns the tensor; of a step that is not traced that is not known."""
    return state.trace is None or id(t) in state.trace.writes


def _all_finite(tensors: Sequence[Tensor]) -> Tensor | None:
    """Whether all elements are finite; None if there are none."""
    if not tensors:
        return None
    norms = [reductions.norm(t.detach()).astype(float64) for t in tensors]
    return elementwise.isfinite(reductions.sum(shaping.stack(norms)))


def _itself(node: Node) -> Node:
    while node.op in (ops.alias, ops.stop_gradient):
        node = node.inputs[0]
    return node


def described(reason: int, loss: float, norm: float, level: float) -> str:
    """Why a step was refused."""
    if reason == LOSS:
        return f"a loss of {loss}"
    if reason == GRADIENT:
        return "a gradient that is not finite"
    if reason == BUFFER:
        return "a buffer that is not finite"
    times = f", {norm / level:.2g} times the largest of late" if level > 0 else ""
    return f"a gradient of norm {norm:.3g}{times}"


def total_norm(norms: Array) -> float:
    """The norm of the whole gradient, from those of the layers."""
    with np.errstate(all="ignore"):
        return float(math.sqrt(np.square(norms.astype(np.float64)).sum()))
