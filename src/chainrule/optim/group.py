"""Groups of parameters, and the settings that they share.

Settings that are numbers are tensors: a compiled step reads them at each call, so a schedule needs
no new compilation. Whether a setting is 0 decides which operations there are; when that changes,
the step is traced again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..broadcasting import cast
from ..dtypes import float64
from ..errors import ArgumentError, TraceError, user_line
from ..graph import Dtype
from ..guards.counting import changes
from ..tensor import Tensor, make
from ..trace import outside, state
from .parameters import Named


class Group(Mapping[str, Any]):
    """Parameters with settings of their own: `group["lr"] = 0.01`.

    Its keys are the settings; `group["params"]` is a tuple of tensors.
    """

    __slots__ = ("_factor", "_off", "_owner", "_settings", "names", "params")

    def __init__(
        self, owner: str, params: list[Named], settings: dict[str, Any], off: Container[str]
    ) -> None:
        """owner   the optimizer's name, for errors
        off     settings that stay 0: they have no state
        """
        self._owner, self._off = owner, off
        self.names = tuple(n for n, _ in params)
        self.params = tuple(p for _, p in params)
        self._settings = {k: _as_tensors(v) for k, v in settings.items()}
        self._factor: list[Tensor] = []  # what the rate is multiplied by

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self.params
        value, trace = self._settings[name], state.trace
        numbers = value if isinstance(value, tuple) else (value,)
        if trace and any(isinstance(v, Tensor) and trace.hides(v) for v in numbers):
            raise TraceError(
                self._owner,
                f'got group["{name}"], which the compiled step reads at each call',
                "expected it outside of the compiled step",
                f'read and set group["{name}"] between the calls',
                user_line(),
            )
        return _as_numbers(value)

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "initial_lr":
            self.first_rate()
        if name not in self._settings:
            raise ArgumentError(
                self._owner,
                f"got the setting {name!r}",
                f"expected {', '.join(self._settings)}",
                "build an optimizer that has it",
            )
        check_settings(self._owner, {name: value})
        before, new = self._settings[name], _as_tensors(value)
        if _kinds(new) != _kinds(before):
            raise ArgumentError(
                self._owner,
                f"got {name} {value!r}",
                f"expected a value like {self[name]!r}",
                f"{name}={self[name]!r} is the value now",
            )
        if name in self._off and _is_on(new):
            raise ArgumentError(
                self._owner,
                f"got a {name} for parameters that began with none",
                f"expected a {name} from the start",
                f"build another one: {self._owner}(…, {name}=0.9)",
            )
        was_on = _is_on(before)
        if isinstance(before, Tensor):
            before._assign(new)
        elif isinstance(before, tuple):
            for old, number in zip(before, new, strict=True):
                old._assign(number)
        else:
            self._settings[name] = new
        if not isinstance(before, (Tensor, tuple)) or _is_on(new) != was_on:
            changes.note()

    def __contains__(self, name: object) -> bool:
        return name in self._settings

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__slots__ or hasattr(self, name):
            raise not_an_attribute(self._owner, name)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Group({len(self.params)} parameters, {dict(self)})"

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def first_rate(self) -> float:
        """group["initial_lr"], for all schedules: the rate when the first of them was made."""
        if "initial_lr" not in self._settings:
            self._settings["initial_lr"] = _as_tensors(self["lr"])
        return float(self["initial_lr"])

    def tensors(self) -> list[Tensor]:
        """The settings that are numbers, as tensors."""
        values = [v for s in self._settings.values() for v in (s if isinstance(s, tuple) else (s,))]
        return [v for v in values if isinstance(v, Tensor)]

    def on(self, name: str) -> bool:
        """Whether a setting is not 0 (or False)."""
        if state.trace is not None:
            state.trace.guards.append(_SettingGuard(self, name))
        return _is_on(self._settings[name])

    def fixed(self, name: str) -> Any:
        """A setting as numbers that stay in what is recorded; if it changes, that is done again."""
        if state.trace is not None:
            state.trace.guards.append(_SettingGuard(self, name, _read_numbers))
        return _read_numbers(self, name)

    def scalar(self, name: str, k: int = 0) -> Tensor:
        """A numeric setting as a float64 tensor; k counts in pairs like betas."""
        value = self._settings[name]
        if name == "lr":
            return math.prod(self._factor, start=value)
        return value[k] if isinstance(value, tuple) else value

    @contextmanager
    def slowed(self, factor: Tensor) -> Iterator[None]:
        """Inside, the steps have the rate times the factor, a float64 tensor."""
        self._factor.append(factor)
        try:
            yield
        finally:
            self._factor.pop()

    def once(
        self, name: str, dtype: Dtype, value: Callable[[], Tensor], count: Tensor | None = None
    ) -> Tensor:
        """A number that all parameters of the dtype share: calculated once per step.

        count   the step count that it depends on, or None: only parameters with this one share it
        """
        key, shared = (id(self), name, dtype, id(count)), state.shared
        if key not in shared:
            shared[key] = cast(value(), dtype)
        out: Tensor = shared[key]
        return out

    def end(self) -> None:
        """Forget the numbers that parameters shared: the next step has others."""
        state.shared.clear()


def _as_tensors(value: Any) -> Any:
    """A setting as it is stored: numbers as float64 tensors."""
    if isinstance(value, (tuple, list)):
        return tuple(_as_tensors(v) for v in value)
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return make(np.array(float(value)))
    if isinstance(value, Tensor):  # a new one, unless it is computed in a step
        return cast(value, float64) if value._value is None else make(np.array(float(value)))
    return value


def _kinds(value: Any) -> Any:
    """Equal for values that can replace each other: shapes of numbers, or a type."""
    if isinstance(value, tuple):
        return tuple(_kinds(v) for v in value)
    return value.shape if isinstance(value, Tensor) else type(value)


def not_an_attribute(owner: str, name: str) -> ArgumentError:
    """The error for `optimizer.lr = x`, which would do nothing."""
    return ArgumentError(
        owner,
        f"got the attribute {name}",
        "expected it in a group of parameters, where settings are",
        f'for group in optimizer.param_groups: group["{name}"] = value',
    )


def _as_numbers(value: Any) -> Any:
    """A setting as `group[name]` returns it: tensors with a value as Python numbers."""
    if isinstance(value, tuple):
        return tuple(_as_numbers(v) for v in value)
    return value.item() if isinstance(value, Tensor) and value._value is not None else value


def _is_on(value: Any) -> bool:
    if isinstance(value, tuple):
        return True
    if isinstance(value, Tensor):
        return value._value is None or bool(value._value != 0)
    return bool(value)


def _read_is_on(group: Group, name: str) -> bool:
    return _is_on(group._settings[name])


def _read_numbers(group: Group, name: str) -> Any:
    with outside():
        return _as_numbers(group._settings[name])


class _SettingGuard:
    """A setting on which a recorded step depends: on whether it is 0, or on its numbers."""

    snapshots = variables = ()

    def __init__(
        self, group: Group, name: str, read: Callable[[Group, str], Any] = _read_is_on
    ) -> None:
        self._group, self._name, self._read = group, name, read
        self._before = read(group, name)

    def expect_unchanged(self) -> None:
        """Nothing to raise for: a setting is a tensor, and assigning one is recorded."""

    def unchanged(self) -> bool:
        """As `Guard.unchanged`."""
        return bool(self._read(self._group, self._name) == self._before)


_FROM_0 = (
    "eps",
    "alpha",
    "rho",
    "weight_decay",
    "momentum",
    "dampening",
    "lr_decay",
    "momentum_decay",
    "initial_accumulator_value",
)
_SHARES = "rho", "alpha"  # the share of the old value in a running mean
_USUAL = {
    "lr": "1e-3 is a usual start",
    "betas": "(0.9, 0.999) is usual",
    "rho": "0.9 is usual",
    "alpha": "0.99 is usual",
}


def check_settings(name: str, settings: dict[str, Any]) -> None:
    """Raise if one of the numbers among them is not a number, or out of range."""
    for key in ("lr", "initial_lr", "betas", *_FROM_0):
        if key not in settings:
            continue
        setting, two = settings[key], key == "betas"
        advice = _USUAL.get(key, "0 is the smallest")
        if two and (not isinstance(setting, (tuple, list)) or len(setting) != 2):
            raise ArgumentError(name, f"got {key} {setting!r}", "expected two numbers", advice)
        for value in setting if two else (setting,):
            if isinstance(value, Tensor) and value._value is None:
                continue  # computed in a step
            number = _number(value)
            if number is None:
                raise ArgumentError(
                    name,
                    f"got {key} {setting!r}",
                    "expected numbers" if two else "expected a number",
                    advice,
                )
            share = key in _SHARES
            if not (0 <= number <= 1 if share else 0 <= number < (1 if two else math.inf)):
                needed = "0 to 1" if share else "0 to below 1" if two else "0 or more, finite"
                raise ArgumentError(name, f"got {key} {setting}", f"expected {needed}", advice)


def _number(value: Any) -> float | None:
    """The number that a setting is, or None."""
    kinds = int, float, np.number, Tensor
    if isinstance(value, bool) or not isinstance(value, kinds) or getattr(value, "shape", ()) != ():
        return None
    try:
        return float(value)
    except OverflowError:  # of an int
        return math.inf
