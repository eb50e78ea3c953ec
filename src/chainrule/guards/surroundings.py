"""The surroundings of a compiled function: Python's variables and attributes.

A step is recorded with the values that they had. If one of them is another object at a later call,
or another number, the function is recorded again. A function that changes one of them itself is
refused, because it would change it only while it is recorded (see `compile.side_effects`).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from typing import Any

from ..wrapping import Wrapper
from . import Guard
from .counting import CountedDict, SelfGuarded
from .functions import (
    bound_objects,
    called_functions,
    custom_methods,
    in_library,
    module_of,
    reachable_names,
)
from .identity import IdentityCheck
from .snapshots import MISSING, Snapshot, items_of, path, same
from .variables import Variable, outer_variables

_CODE = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    types.MethodType,
    type,
    Wrapper,
)
MOST_ITEMS = 64  # of a dict or list inside another that is compared


class Surroundings:
    """The outer variables of a function, what the objects in them contain, and the guards.

    Of an object, dict or list in a variable everything is compared; of a plain one inside (see
    `holds_settings`), only if the code uses its name. Functions that it calls, as far as they are
    seen (see `called_functions`), have variables too.

    used   other objects that it uses: static arguments, and those of `Compiled`
    """

    def __init__(self, function: Callable[..., Any], used: Sequence[Any]) -> None:
        self._variables: list[Variable] = []
        self._snapshots: list[Snapshot] = []
        self._guards: Sequence[Guard] = ()
        self._check: IdentityCheck | None = None
        self._seen: set[Any] = set()  # keys of variables, identities of owners of snapshots
        self._followed: set[Any] = set()  # functions, by identity, and whether wholly
        self._modules: set[str] = set()  # in which functions that are followed are defined
        self._names: set[str] = set()  # in the code of those functions
        own = [] if isinstance(function, _CODE) else [function]
        objects = [*own, *bound_objects(function), *used]
        self._add_functions(f for value in (function, *objects) for f in called_functions(value))
        for value in (*objects, *(inner for one in used for inner in bound_objects(one))):
            self._add_value(type(value).__name__, value)

    def add_variables(self, variables: Iterable[Variable]) -> None:
        """Compare these variables too, and what is in them."""
        listed = [*variables]
        for variable in listed:
            module = isinstance(variable.value, types.ModuleType)
            if variable.compared and variable.key not in self._seen and not module:
                self._seen.add(variable.key)
                self._variables.append(variable)
        for variable in listed:
            for value in (variable.value, *bound_objects(variable.value)):
                self._add_value(variable.name, value)
        self._check = None

    def add_guards(self, guards: Sequence[Guard]) -> None:
        """Ask these too, and compare their snapshots at each call.

        Their variables must be added before, as soon as the function has been recorded.
        """
        self._guards = guards
        for snapshot in (s for guard in guards for s in guard.snapshots):
            if id(snapshot.owner) not in self._seen:
                self._seen.add(id(snapshot.owner))
                self._snapshots.append(snapshot)
        self._check = None

    def _add_functions(self, functions: Iterable[types.FunctionType]) -> None:
        listed = [*functions]
        self._modules |= {m for m in map(module_of, listed) if not in_library(m)}
        self.add_variables(
            v for f in listed for v in outer_variables(f, self._followed, self._names)
        )

    def _add_value(self, name: str, value: Any) -> None:
        kind: Any = type(value)
        if kind.__module__ in self._modules and not isinstance(value, SelfGuarded):
            self._add_snapshot(kind.__name__, kind)
        container = isinstance(value, (dict, list)) or (
            hasattr(value, "__dict__")
            and not isinstance(value, (*_CODE, SelfGuarded))
            and kind.__module__ != "logging"  # a logger remembers which levels it was asked for
        )
        if isinstance(value, type) and value.__module__ in self._modules:
            self._add_snapshot(name, value)
            self._add_functions(
                custom_methods(value, reachable_names(value, frozenset(self._names)))
            )
        elif container:
            self._add_snapshot(name, value)
            names = reachable_names(kind, frozenset(self._names))
            for k, inner in items_of(value):
                if (isinstance(value, list) or k in names) and holds_settings(inner, self._modules):
                    self._add_snapshot(path(name, value, k), inner)
            if kind.__module__ in self._modules:
                self._add_functions(custom_methods(kind, names))

    def _add_snapshot(self, name: str, owner: Any) -> None:
        if id(owner) not in self._seen:
            self._seen.add(id(owner))
            self._snapshots.append(Snapshot(name, owner))

    def unchanged(self, counted: bool = False) -> bool:
        """Whether recording the function again would give the same graph.

        counted   a change has been counted (see `counting`) since this was last true: the guards
                  are asked too
        """
        if not counted:
            if self._check is None:
                self._check = IdentityCheck(self._variables, self._snapshots)
            if self._check.passes():
                return True
        elif not all(guard.unchanged() for guard in self._guards):
            return False
        return all(v.unchanged() for v in self._variables) and all(
            snapshot.unchanged() for snapshot in self._snapshots
        )

    def restore(self) -> None:
        """Give all variables and containers their values back."""
        for variable in self._variables:
            variable.restore()
        for snapshot in self._snapshots:
            snapshot.restore()

    def changes(self) -> Iterator[tuple[str, Any, Any]]:
        """The places that have another value now, each with the value before and the value now."""
        values = [(v.name, v.value, v.read()) for v in self._variables]
        for snapshot in self._snapshots:
            before, now = snapshot.values, snapshot.current()
            values += [
                (
                    path(snapshot.name, snapshot.owner, k),
                    before.get(k, MISSING),
                    now.get(k, MISSING),
                )
                for k in {**before, **now}
            ]
        return (change for change in values if not same(*change[1:]))


def holds_settings(value: Any, modules: AbstractSet[str]) -> bool:
    """Whether it is a small dict or list, or an object that is there to hold settings.

    modules   those of the code that uses it, by name: it may know the objects of their classes
    """
    if isinstance(value, (dict, list)):
        return len(value) <= MOST_ITEMS and not isinstance(value, CountedDict)
    if isinstance(value, (*_CODE, SelfGuarded)) or not hasattr(value, "__dict__"):
        return False
    kind = type(value)
    return kind.__module__ in modules or is_dataclass(value) or kind is types.SimpleNamespace
