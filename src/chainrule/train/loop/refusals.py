"""Steps that the guard refuses, and the error when training cannot go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import random
from ...diagnosis.data import describe_batch
from ...diagnosis.guard import MOST, Guard, described, total_norm
from ...diagnosis.nonfinite import NonFinite, first_of
from ...diagnosis.recorded import recorded
from ...errors import ChainruleError, GradientError
from ...graph import Array
from ...guards.counting import changes
from ...nn import Module
from ...optim import Optimizer
from ...tensor import Tensor
from ..evaluation.objective import Objective
from ..evaluation.streams import CarriedState
from .history import History

State = dict[str, Array]


class Failure(NamedTuple):
    """Why training stops.

    what     what was not finite, or too large
    step     the number of the step, from 1
    where    where it began, as the end of a clause
    report   the same as an object
    """

    what: str
    step: int
    where: str = ""
    report: NonFinite | None = None

    def error(self, epoch: int, safe: int, rate: float) -> GradientError:
        """The error of `fit`.

        epoch   that of the step
        safe    that of the weights that are restored
        """
        restored = f"those after epoch {safe}" if safe else "the initial ones"
        report = self.report
        said = "" if report is None else report.remedy
        general = {  # by what tells that the remedy says it
            "rate": f"lower the learning rate (now {rate:g})",
            "clip_norm": "clip with clip_norm=1.0",
            "inputs": "look at the inputs",
        }
        more = ", ".join(t for word, t in general.items() if not re.search(rf"\b{word}\b", said))
        said = re.sub(r"\brate\b", f"rate (now {rate:g})", said, count=1)
        error = GradientError(
            "fit",
            f"got {self.what} at step {self.step} (epoch {epoch}){self.where}",
            f"expected finite numbers; the weights are {restored} again",
            "; or ".join(filter(None, (said, more))),
            None if report is None else report.source,
        )
        error.report, error.layer = report, "" if report is None else report.layer
        return error


class Refusals:
    """The guard of a training, and what follows from its refusals.

    plain   makes the step, with (compiled, forward), without a guard
    guard   None: steps are not guarded
    """

    def __init__(
        self,
        model: Module,
        objective: Objective,
        optimizer: Optimizer,
        carried: CarriedState | None,
        plain: Callable[..., Any],
        guarded: bool,
    ) -> None:
        self._model, self._objective, self._optimizer = model, objective, optimizer
        self._carried, self._plain = carried, plain
        self.guard = Guard() if guarded else None
        self._last: tuple[tuple[Any, Any], bool]  # the last refused batch, and whether it begins
        self._trains: tuple[list[bool], int] = [], -1  # which parameters, at a count of changes

    def assigned(self) -> list[Tensor]:
        """The tensors that a step assigns."""
        loss = self._objective.function
        out = [t for _, t, _ in self._model._tensors()]
        out += [t for slots in self._optimizer.state.values() for t in slots.values()]
        out += [t for _, t, _ in loss._tensors()] if isinstance(loss, Module) else []
        out += [] if self._carried is None else self._carried.tensors()
        return [*out, random.default._state]

    def recalibrate(self) -> None:
        """Let the guard forget the level if other parameters are trained than before."""
        before, count = self._trains
        if self.guard is None or count == changes.count:
            return
        now = [p.requires_grad for p in self._model.parameters()]
        if before and now != before:
            self.guard.recalibrate()
        self._trains = now, changes.count

    def failure(
        self,
        history: History,
        step: int,
        results: Sequence[Array],
        batch: tuple[Any, Any],
        begins: bool,
    ) -> Failure | None:
        """Note a refused step. Training cannot go on if the data or the weights are not finite, or
        if the guard refuses all further steps.

        results   of the step: loss, norms by layer, verdict
        begins    whether it was the first on a sequence
        """
        loss, norms, (reason, level, rate) = results
        said = described(int(reason), float(loss), total_norm(norms), float(level))
        history.refused.append({"step": step, "reason": said, "rate": float(rate)})
        self._last = batch, begins
        broken = any(not np.isfinite(p.numpy()).all() for p in self._model.parameters())
        if broken or describe_batch(*batch) or in_a_row(history, step) == MOST:
            return self.stopped(history, step)
        return None

    def stopped(self, history: History, step: int) -> Failure:
        """Why all steps up to this one were refused, from the first of them on."""
        first = history.refused[-in_a_row(history, step)]
        return Failure(first["reason"], first["step"], *self._origin(*self._last))

    def unguarded(
        self, loss: float, step: int, batch: tuple[Any, Any], weights: State | None
    ) -> Failure:
        """Why the loss of a step is not finite that no guard has refused.

        weights   those before the step, if they are known
        """
        if weights is None:
            return Failure(f"a loss of {loss}", step, describe_batch(*batch))
        self._model.load_state_dict(weights)
        return Failure(f"a loss of {loss}", step, *self._origin(batch, True))

    def _origin(self, batch: tuple[Any, Any], begins: bool) -> tuple[str, NonFinite | None]:
        """Where NaN or infinities begin in a step, which is computed again with the weights of now;
        as a text, as a report."""
        where = describe_batch(*batch)
        if where:
            return where, None
        carried = self._carried
        step = self._plain(
            False, None if carried is None else carried.begin if begins else carried.go_on
        )
        try:
            report = first_of(recorded(lambda x, y: step(x, y)[0], batch, {}, self._model))
        except ChainruleError:  # it cannot be recorded
            return "", None
        return ("" if report is None else f": {report.clause}"), report

    def state_dict(self) -> dict[str, float] | None:
        """The guard's numbers, for a checkpoint."""
        return None if self.guard is None else self.guard.state_dict()

    def load_state_dict(self, values: dict[str, float] | None) -> None:
        """The inverse of `state_dict`."""
        if self.guard is not None and values is not None:
            self.guard.load_state_dict(values)


def in_a_row(history: History, step: int) -> int:
    """The number of steps up to this one that were refused, one after the other."""
    steps = [row["step"] for row in history.refused]
    return sum(number == step - k for k, number in enumerate(reversed(steps)))
