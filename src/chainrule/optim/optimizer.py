"""Base of all optimizers: parameters in groups, their state, the step.

All state is tensors, which a compiled step reads and assigns at each call. Each parameter has its
own step count, state[name]["step"]: steps without a gradient do not count. Parameters that have
always had their steps together share one tensor, so what depends on it is calculated once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np

from ..convert import as_loaded
from ..dtypes import float64
from ..errors import ArgumentError, ShapeError, TraceError
from ..functions import creation
from ..guards.counting import CountedAttributes, CountedDict
from ..guards.functions import custom_methods, reachable_names
from ..guards.snapshots import Snapshot
from ..guards.variables import variables_of
from ..hints import check_arguments
from ..sparse import RowSparse
from ..tensor import Tensor, make, no_grad
from ..tensor.gradients import SEEN
from ..trace import optimizer_steps, outside, state
from . import parameters
from .catch_up import ROW_STATE, CatchUp, all_rows
from .group import Group, check_settings, not_an_attribute
from .rows import step_dense, step_rows

_STEP = frozenset({"step"})


class _OptimizerGuard:
    """An optimizer whose step was recorded: its state is in the same tensors.

    snapshots   the optimizer with its attributes
    variables   those of its methods, if they are not this library's
    """

    def __init__(self, optimizer: Optimizer) -> None:
        kind: Any = type(optimizer)
        self._state, self._tensors = optimizer.state, _tensors_of(optimizer.state)
        self._attributes = Snapshot(kind.__name__, optimizer)
        self.snapshots = (self._attributes,)
        self.variables = variables_of(custom_methods(kind, reachable_names(kind, _STEP)))

    def expect_unchanged(self) -> None:
        """As `Guard.expect_unchanged`; the attributes are restored."""
        if not self._attributes.unchanged():
            self._attributes.restore()
            raise TraceError(
                "compile",
                f"got {self._attributes.name}, whose step changes its attributes",
                "expected no change: it happens only while it is traced, not at each call",
                "keep what changes in a tensor attribute and assign it in place (x[...] = value)",
            )

    def unchanged(self) -> bool:
        """As `Guard.unchanged`."""
        now = _tensors_of(self._state)
        return len(now) == len(self._tensors) and all(map(is_, now, self._tensors))


def _tensors_of(state: dict[str, dict[str, Tensor]]) -> list[Any]:
    """The tensors of an optimizer's state, and the names that they have in it."""
    return [x for name, slots in state.items() for x in (name, *slots, *slots.values())]


class Optimizer(CountedAttributes):
    """Base of all: made with parameters (or groups of them), `step()` after each `backward()`.

    params   tensors, (name, tensor) pairs as from `model.named_parameters()`, or dicts with
             "params" and settings of their own
    """

    slots: tuple[str, ...] = ()  # names of the state tensors that are like the parameter
    needed: Mapping[str, str] = {}  # slot: the setting that it needs; without it no such state

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            known = check_arguments(None, "give all but the parameters by name", "Optimizer", True)
            cls.__init__ = known(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        check_settings(type(self).__name__, defaults)
        self.state: dict[str, dict[str, Tensor]] = CountedDict()
        count = Tensor(0.0, dtype=float64)
        items = parameters.as_list(type(self).__name__, params)
        described = items if isinstance(items[0], dict) else [{"params": items}]
        seen: set[int] = set()
        groups: list[Group] = []
        for group in described:
            parameters.check_group(type(self).__name__, group, defaults)
            settings = {**defaults, **{k: v for k, v in group.items() if k != "params"}}
            check_settings(type(self).__name__, settings)
            named = list(parameters.named(group["params"], len(seen)))
            for name, p in named:
                parameters.check_parameter(type(self).__name__, name, p, id(p) in seen)
                seen.add(id(p))
                p._unseen = SEEN
                slots = [s for s in self.slots if s not in self.needed or settings[self.needed[s]]]
                zeros = {s: creation.zeros_like(p.detach()) for s in slots}
                self.state[name] = CountedDict({**zeros, "step": count})
                self._begin(name, p)
            off = {setting for setting in self.needed.values() if not settings[setting]}
            groups.append(Group(type(self).__name__, named, settings, off))
        self.param_groups = tuple(groups)
        if not any(p.requires_grad for group in groups for p in group.params):
            raise ArgumentError(
                type(self).__name__,
                "got no parameters that require a gradient",
                "expected one or more to train",
                "call unfreeze(), or set requires_grad=True",
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "param_groups" and name in vars(self):
            raise ArgumentError(
                type(self).__name__,
                "got other param_groups",
                "expected those of the beginning",
                "build another optimizer",
            )
        if name in self._own_settings() and not hasattr(type(self), name):
            raise not_an_attribute(type(self).__name__, name)
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # type checkers must see which attributes there are

        def __getattr__(self, name: str) -> Any:
            hint = f'; here it is param_groups[0]["{name}"]' if name in self._own_settings() else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    def _own_settings(self) -> set[str]:
        """The names of the settings of groups."""
        return {name for group in vars(self).get("param_groups", ()) for name in group}

    def _begin(self, name: str, p: Tensor) -> None:
        """Initialise state that does not begin at 0."""

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        """The new value of a parameter (or of the rows that have a gradient).

        s is the state, of the same shape as p; put the new state into it. s["step"] is the number
        of the parameter's steps, including this one.
        """
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Remove the gradients.

        Not needed if each backward() reaches the same parameters: it replaces their gradients.
        """
        for group in self.param_groups:
            for p in group.params:
                p.grad = None

    def step(self) -> None:
        """Change every parameter that requires a gradient and has one.

        As in PyTorch, a parameter that the last backward() did not reach still has its old gradient
        and is changed by that again; `zero_grad` removes it.
        """
        counts = self._counts()
        if state.trace is not None:
            state.trace.guards.append(_OptimizerGuard(self))
            state.trace.unseen.clear()
            state.trace.warned.clear()
            state.trace.steps_optimizer = True
        else:
            optimizer_steps.count += 1
        with no_grad():
            before = {id(count): count.detach() for count in counts}
            for count in counts:
                count += 1
            for group in self.param_groups:
                try:
                    self._step_group(group, before)
                finally:
                    group.end()

    def _counts(self) -> list[Tensor]:
        """The step counts of the parameters that move now.

        If only some of the parameters that share a count move, these get a count of their own.
        """
        sharing: dict[int, list[tuple[str, bool]]] = {}
        for group in self.param_groups:
            for name, p in zip(group.names, group.params, strict=True):
                moves = p.requires_grad and p.grad is not None
                sharing.setdefault(id(self.state[name]["step"]), []).append((name, moves))
        counts = []
        for shared in sharing.values():
            moving = [name for name, moves in shared if moves]
            if not moving:
                continue
            count = self.state[moving[0]]["step"]
            if len(moving) < len(shared):
                count = _copy(count)
                for name in moving:
                    self.state[name]["step"] = count
            counts.append(count)
        return counts

    def _step_group(self, group: Group, before: Mapping[int, Tensor]) -> None:
        """before   the step counts before this step, by the identity of what counts"""
        for name, p in zip(group.names, group.params, strict=True):
            g = p.grad if p.requires_grad else None
            if g is None:
                continue
            own, update = self.state[name], partial(self._update, group)
            late = CatchUp(group, before[id(own["step"])]) if "drift" in own else None
            if isinstance(g, RowSparse):
                step_rows(update, p, g, own, late)
            else:
                step_dense(update, p, g, own, late)

    def flush(self) -> None:
        """Bring all rows of tables up to date, where that waits until a row is read (`catch_up`).

        Call it before the parameters are used other than by looking up rows: to save them, say.
        `state_dict` does so.
        """
        with no_grad():
            for group in self.param_groups:
                for name, p in zip(group.names, group.params, strict=True):
                    if "drift" in self.state[name]:
                        all_rows(group, p, self.state[name])

    def group_of(self, name: str) -> Group:
        """The group of the parameter of this name."""
        return next(group for group in self.param_groups if name in group.names)

    # ── state ────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """State and settings as arrays, by the parameters' names."""
        self.flush()
        out: dict[str, np.ndarray[Any, Any]] = {}
        for name, parts in self.state.items():
            for slot, t in _saved(parts):
                out[f"{name}/{slot}"] = t.numpy().copy()
        for k, group in enumerate(self.param_groups):
            for key in group:
                value = group[key]
                if isinstance(value, (int, float, tuple)) and not isinstance(value, bool):
                    out[f"group{k}/{key}"] = np.asarray(value, np.float64)
        return out

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Take over what `state_dict` returned. Nothing is changed unless everything fits."""
        if not isinstance(values, Mapping):
            raise ArgumentError(
                "load_state_dict",
                f"got {type(values).__name__}",
                "expected a dict of arrays by name",
                "read a file first: safetensors.numpy.load_file(path)",
            )
        if "steps" in values:  # of a version that counted for all parameters together
            counts = {f"{name}/step": values["steps"] for name in self.state}
            values = {**counts, **{k: v for k, v in values.items() if k != "steps"}}
        own = self.state_dict()
        firsts = [f"group{k}/initial_lr" for k in range(len(self.param_groups))]
        values = {**{key: own[key] for key in firsts if key in own}, **values}
        differing = sorted((own.keys() ^ values.keys()) - {*firsts})  # schedules add `firsts`
        if differing:
            raise ArgumentError(
                "load_state_dict",
                f"got a state that differs in {', '.join(differing[:3])}",
                "expected the state of the same optimizer with the same parameters",
                "build it from model.named_parameters() both times",
            )
        for key, value in own.items():
            if np.shape(values[key]) != value.shape:
                raise ShapeError(
                    "load_state_dict",
                    f"got {np.shape(values[key])} for {key}",
                    f"expected {value.shape}",
                    "load into the same architecture",
                )
        slots = [f"{name}/{slot}" for name, s in self.state.items() for slot, _ in _saved(s)]
        loaded = {k: as_loaded(k, np.asarray(values[k]), own[k].dtype) for k in slots}
        with no_grad():
            self._share_counts(values)
            for name, parts in self.state.items():
                for slot, t in _saved(parts):
                    t._assign(Tensor(loaded[f"{name}/{slot}"]))
                for slot in ROW_STATE:  # all rows are up to date
                    parts.pop(slot, None)
        for k, group in enumerate(self.param_groups):
            for key in (*group, "initial_lr"):
                stored = values.get(f"group{k}/{key}")
                if stored is not None:
                    number = np.asarray(stored)
                    group[key] = tuple(number.tolist()) if number.ndim else number.item()

    def _share_counts(self, values: dict[str, Any]) -> None:
        """Let parameters share step counts only where the loaded counts are equal."""
        by_number: dict[int, dict[float, Tensor]] = {}
        for name, parts in self.state.items():
            count, number = parts["step"], float(values[f"{name}/step"])
            shared = by_number.setdefault(id(count), {})
            if number not in shared:
                shared[number] = _copy(count) if shared else count
            if shared[number] is not count:
                parts["step"] = shared[number]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(str(dict(g)) for g in self.param_groups)})"


def _saved(parts: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The state of a parameter that is saved: all but what says how far its rows are."""
    return [(slot, t) for slot, t in parts.items() if slot not in ROW_STATE]


def _copy(count: Tensor) -> Tensor:
    """Another tensor of the same value. It outlives a trace: a compiled step may assign it."""
    assert count._value is not None
    with outside():
        copy = make(count._value.copy())
    if state.trace is not None and id(count) in state.trace.writes:
        copy._assign(count)  # an earlier step of this trace has counted
    return copy
