"""One training step: forward, backward, clipping and update, as one compiled function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from typing import Any

from ... import tree
from ...compile import Compiled
from ...diagnosis.guard import Guard, taking_back
from ...diagnosis.measurement import Measurement
from ...diagnosis.probes import Monitor
from ...dtypes import is_floating
from ...functions import elementwise, reductions, shaping
from ...functions.elementwise import where
from ...nn import Module
from ...nn.utils import clip_grad_norm_
from ...optim import Optimizer
from ...sparse import RowSparse
from ...tensor import Tensor, no_grad
from ..evaluation.objective import Objective, cuts
from .targets import expect_scalar


def layers_of(model: Module) -> dict[str, list[Tensor]]:
    """The parameters by layer, in the order of the model.

    A layer is named by its path and class, "2 Linear". Frozen layers are included: a callback may
    unfreeze them.
    """
    modules = dict(model.named_modules())
    layers: dict[str, list[Tensor]] = {}
    for name, p in model.named_parameters():
        path = name.rpartition(".")[0]
        kind = type(modules[path]).__name__ if path in modules else ""
        layers.setdefault(f"{path} {kind}".strip(), []).append(p)
    return layers


def make_step(
    model: Module,
    objective: Objective,
    optimizer: Optimizer,
    clip_norm: float | None = None,
    accumulate: int = 1,
    compiled: bool = True,
    forward: Callable[[Any], Any] | None = None,
    guard: Guard | None = None,
    state: Callable[[], Iterable[Tensor]] = tuple,
    monitor: Monitor | None = None,
) -> Callable[[Any, Any], tuple[Tensor, ...]]:
    """A function (x, y) -> the loss, and the gradient norm of each layer before clipping.

    accumulate   number of pieces of a batch: the memory of one piece, the gradient of the batch
    forward      the prediction for x; by default that of the model
    monitor      measures each step; further results are those of `Measurement.results`
    guard        refuses steps; its verdict is the last result
    state        the tensors that the step assigns, for a guard of a step that is not compiled
    """
    forward = model if forward is None else forward
    trained = [p for group in optimizer.param_groups for p in group.params]
    layers = list(layers_of(model).values())
    own = {id(p) for layer in layers for p in layer}
    buffers = [t for _, t in model.named_buffers() if is_floating(t.dtype)]
    others = [p for p in trained if id(p) not in own]

    def training_step(x: Any, y: Any) -> tuple[Tensor, ...]:
        optimizer.zero_grad()  # also of parameters that this batch does not use
        measured = None if monitor is None else Measurement(monitor)
        if accumulate == 1:
            loss, weight = _whole(forward, objective, x, y, measured), None
        else:
            loss, weight = _in_pieces(forward, objective, x, y, accumulate, trained, measured)
        norms = _norms(layers)
        judged = _norms([*layers, others]) if guard is not None and others else norms
        if measured is not None:
            measured.before_update()
        if clip_norm is not None:
            clip_grad_norm_(trained, clip_norm)
        with ExitStack() as rates:
            if guard is not None:
                for group in optimizer.param_groups:
                    rates.enter_context(group.slowed(guard.factor))
            optimizer.step()
            rate = optimizer.param_groups[0].scalar("lr")
        verdict = () if guard is None else (guard.judge(loss, judged, rate, buffers),)
        probes = () if measured is None else measured.results(weight)
        return loss, norms, *probes, *verdict

    if compiled:
        return Compiled(training_step, (optimizer, objective.function))
    return training_step if guard is None else taking_back(training_step, state)


def _whole(
    forward: Callable[[Any], Any],
    objective: Objective,
    x: Any,
    y: Any,
    measured: Measurement | None,
) -> Tensor:
    with nullcontext() if measured is None else measured.watching():
        loss = objective.mean(forward(x), y)
        expect_scalar(loss, objective)
        loss.backward()
    return loss


def _in_pieces(
    forward: Callable[[Any], Any],
    objective: Objective,
    x: Any,
    y: Any,
    pieces: int,
    trained: list[Tensor],
    measured: Measurement | None,
) -> tuple[Tensor, Tensor]:
    """The sums of the pieces over the sum of their weights: the mean over the whole batch.

    measured   measures the first piece

    Returns the mean and the sum of the weights.
    """
    total = weight = None
    for k, piece in enumerate(cuts(tree.flatten(x)[0][0].shape[0], pieces)):
        part_x, part_y = (tree.map(lambda t, cut=piece: t[cut], t) for t in (x, y))
        with nullcontext() if measured is None or k > 0 else measured.watching():
            part, by = objective.parts(forward(part_x), part_y)
            expect_scalar(part, objective)
            part.backward(accumulate=k > 0)
        with no_grad():
            part = part.detach()
            total = part if total is None else total + part
            weight = by if weight is None else weight + by
    assert total is not None
    assert weight is not None
    with no_grad():
        weight = where(
            weight == 0, 1.0, weight
        )  # nothing counts: all sums are 0, and so is the mean
        for p in trained:
            g = p.grad
            if isinstance(g, RowSparse):
                p.grad = RowSparse(g.indices, g.values / weight.astype(g.values.dtype), g.shape)
            elif g is not None:
                p.grad = g / weight.astype(g.dtype)
        return total / weight, weight


def _norms(layers: list[list[Tensor]]) -> Tensor:
    """√∑g² of each layer; 0 without a gradient, and where every parameter is frozen."""
    by_layer = []
    with no_grad():
        for parameters in layers:
            norms = [
                reductions.norm(g.coalesced().values if isinstance(g, RowSparse) else g)
                for g in (p.grad for p in parameters if p.requires_grad)
                if g is not None
            ]
            norms = [norm.astype("float32") for norm in norms]
            by_layer.append(functools.reduce(elementwise.hypot, norms or [Tensor(0.0)]))
        return shaping.stack(by_layer)
