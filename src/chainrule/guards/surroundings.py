"""What a compiled function sees besides its arguments: Python's variables and attributes.

A step is traced with the values that they had. If one of them is another object at a later call, or
another number, the function is traced again. A function that changes one of them itself is refused,
because it would change it only while it is traced; everything is put back as it was.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import numpy as np

from ..errors import TraceError
from ..graph import spec_text
from ..tensor import Tensor
from ..trace import Counted, Counting
from ..wrapping import Wrapper
from .variables import (
    MISSING,
    Snapshot,
    Variable,
    bound_to,
    functions_of,
    is_ours,
    mentioned,
    methods_of,
    module_of,
    outer_variables,
    seen_as,
)

_CODE = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    types.MethodType,
    type,
    Wrapper,
)
_PLAIN = (bool, int, float, complex, str, bytes, np.generic)
_END = (object(),)
MOST_ITEMS = 64  # of a dict or list inside another that is looked into


def same(a: Any, b: Any) -> bool:
    """Whether two Python values are the same to a trace: one object, or one plain value."""
    if a is b:
        return True
    if isinstance(a, Snapshot) or isinstance(b, Snapshot):
        return type(a) is type(b) and a.holder is b.holder and a.bytes == b.bytes
    return type(a) is type(b) and isinstance(a, _PLAIN) and repr(a) == repr(b)


class Holder:
    """A dict, list, object or class, and what it held; of arrays their contents too."""

    def __init__(self, name: str, holder: Any) -> None:
        self.name, self.holder = name, holder
        items = _items(holder)
        self._keys, self._values = [k for k, _ in items], [v for _, v in items]
        self.before = {k: seen_as(v) for k, v in items}
        self.arrays = [v for v in self.before.values() if isinstance(v, Snapshot)]

    def views(self) -> list[tuple[Any, list[Any]]]:
        """What shows its keys and its values as they are now, each with what they were."""
        if isinstance(self.holder, list):
            return [(self.holder, self._values)]
        inner = self.holder if isinstance(self.holder, dict) else vars(self.holder)
        keys = [] if isinstance(self.holder, Counting) else [(inner.keys(), self._keys)]
        return [*keys, (inner.values(), self._values)]

    def now(self) -> dict[Any, Any]:
        """What it holds now."""
        return {k: seen_as(v) for k, v in _items(self.holder)}

    def holds(self) -> bool:
        """Whether it holds the same as before."""
        holder = self.holder
        if isinstance(holder, list):
            unmoved = len(holder) == len(self._values)
        else:
            holder = holder if isinstance(holder, dict) else vars(holder)
            unmoved = len(holder) == len(self._keys) and all(map(is_, holder, self._keys))
            holder = holder.values()
        if unmoved and all(map(is_, holder, self._values)):
            return not self.arrays or all(a.bytes == a.holder.tobytes() for a in self.arrays)
        now = self.now()
        return [*now] == [*self.before] and all(same(v, self.before[k]) for k, v in now.items())

    def restore(self) -> None:
        """Put back what it held."""
        holder = self.holder
        if isinstance(holder, list):
            holder[:] = self._values
        elif isinstance(holder, type):
            for k in vars(holder).keys() - self.before.keys():
                delattr(holder, k)
            for k, v in zip(self._keys, self._values, strict=True):
                if vars(holder).get(k, MISSING) is not v:
                    setattr(holder, k, v)
        else:
            inner = holder if isinstance(holder, dict) else vars(holder)
            inner.clear()
            inner.update(zip(self._keys, self._values, strict=True))


class Surroundings:
    """The outer variables of a function and what the objects in them hold.

    Of an object, dict or list in a variable all that it holds is looked at; of a plain one inside
    (see `plain`), what the code mentions by name. Functions that it calls, as far as they are seen
    (see `functions_of`), have variables too.

    used   other objects that it uses: static arguments, and those of `Compiled`
    """

    def __init__(self, function: Callable[..., Any], used: Sequence[Any]) -> None:
        self._variables: list[Variable] = []
        self._holders: list[Holder] = []
        self._looks: _Looks | None = None
        self._seen: set[Any] = set()  # variables and holders, by identity
        self._followed: set[Any] = set()  # functions, by identity, and whether wholly
        self._spaces: set[str] = set()  # modules of functions that are followed
        self._mentioned: set[str] = set()
        own = [] if isinstance(function, _CODE) else [function]
        given = [*own, *bound_to(function), *used]
        self.follow(f for value in (function, *given) for f in functions_of(value))
        for value in (*given, *(inner for one in used for inner in bound_to(one))):
            self._enter(type(value).__name__, value)

    def follow(self, functions: Iterable[types.FunctionType]) -> None:
        """Look at the variables of these functions too, and at what is in them."""
        given = [*functions]
        self._spaces |= {m for m in map(module_of, given) if not is_ours(m)}
        self.see(v for f in given for v in outer_variables(f, self._followed, self._mentioned))

    def see(self, variables: Iterable[Variable]) -> None:
        """Look at these variables too, and at what is in them."""
        found = [*variables]
        for variable in found:
            module = isinstance(variable.value, types.ModuleType)
            if variable.watched and variable.place not in self._seen and not module:
                self._seen.add(variable.place)
                self._variables.append(variable)
        for variable in found:
            for value in (variable.value, *bound_to(variable.value)):
                self._enter(variable.name, value)
        self._looks = None

    def _enter(self, name: str, value: Any) -> None:
        kind: Any = type(value)
        if kind.__module__ in self._spaces and not _is_module(value):
            self._add(kind.__name__, kind)
        holds = isinstance(value, (dict, list)) or (
            hasattr(value, "__dict__")
            and not isinstance(value, (*_CODE, Tensor))
            and kind.__module__ != "logging"  # a logger remembers what it was asked for
        )
        if isinstance(value, type) and value.__module__ in self._spaces:
            self._add(name, value)
            self.follow(methods_of(value, mentioned(value, frozenset(self._mentioned))))
        # A module of nn counts its changes itself (see nn.module), and names what it holds.
        elif holds and not _is_module(value):
            self._add(name, value)
            names = mentioned(kind, frozenset(self._mentioned))
            for k, inner in _items(value):
                if isinstance(value, list) or k in names:
                    self._add_plain(_place(name, value, k), inner)
            if kind.__module__ in self._spaces:
                self.follow(methods_of(kind, names))

    def _add_plain(self, name: str, value: Any) -> None:
        if plain(value, self._spaces):
            self._add(name, value)

    def _add(self, name: str, value: Any) -> None:
        if id(value) not in self._seen:
            self._seen.add(id(value))
            self._holders.append(Holder(name, value))

    def watch(self, holders: Iterable[Holder]) -> None:
        """Look at these too, from now on: what the modules of nn hold that were called."""
        for holder in holders:
            if id(holder.holder) not in self._seen:
                self._seen.add(id(holder.holder))
                self._holders.append(holder)
        self._looks = None

    def hold(self, counted: bool = False) -> bool:
        """Whether everything is still as it was.

        counted   something has counted a change of its own (see `trace.Changes`)
        """
        if self._looks is None:
            self._looks = _Looks(self._variables, self._holders)
        return (not counted and self._looks.unmoved()) or (
            all(v.look() is v.value or same(v.look(), v.value) for v in self._variables)
            and all(holder.holds() for holder in self._holders)
        )

    def restore(self) -> None:
        """Put everything back as it was."""
        for variable in self._variables:
            if not same(variable.look(), variable.value):
                value = variable.value
                variable.put(value.holder if isinstance(value, Snapshot) else value)
        for holder in self._holders:
            holder.restore()

    def changes(self) -> Iterator[tuple[str, Any, Any]]:
        """What is not as it was: where, what was there, what is there now."""
        found = [(v.name, v.value, v.look()) for v in self._variables]
        for holder in self._holders:
            before, now = holder.before, holder.now()
            found += [
                (
                    _place(holder.name, holder.holder, k),
                    before.get(k, MISSING),
                    now.get(k, MISSING),
                )
                for k in {**before, **now}
            ]
        return (change for change in found if not same(*change[1:]))

    def expect_unchanged(self) -> None:
        """Raise TraceError, with everything put back, if the function changed something."""
        for where, before, after in self.changes():
            self.restore()
            place = after._node.source if isinstance(after, Tensor) and after._node else None
            raise TraceError(
                "compile",
                f"got a function that changes {where} from {_text(before)} to {_text(after)}",
                "Python's own variables change only while it is traced, not at each call",
                "keep it in a tensor made outside and assign that in place (x[...] = value)",
                place,
            )


class _Looks:
    """All that variables and holders hold, to be compared at once with what it was."""

    def __init__(self, variables: Sequence[Variable], holders: Sequence[Holder]) -> None:
        named = [v for v in variables if len(v.at) == 2]
        spaces = {id(v.at[0]): v.at[0] for v in named}
        looks: list[tuple[Callable[[Any], Any], list[Any], list[Any]]] = []  # at what, what it was
        for space in spaces.values():
            found = [v for v in named if v.at[0] is space]
            looks.append((space.__getitem__, [v.at[1] for v in found], [v.value for v in found]))
        cells = [v for v in variables if len(v.at) == 1]
        contents = [v.value for v in cells]
        looks.append((attrgetter("cell_contents"), [v.at[0] for v in cells], contents))
        # Objects may be given another dict.
        others = (dict, list, type, Counting)
        objects = [h.holder for h in holders if not isinstance(h.holder, others)]
        looks.append((attrgetter("__dict__"), objects, [vars(o) for o in objects]))
        looks = [look for look in looks if look[1]]
        self._looks, self._places = [look for look, _, _ in looks], [at for _, at, _ in looks]
        before = [was for _, _, values in looks for was in values]
        self._others = [v for v in variables if not v.at]
        self._views: list[Any] = []
        for now, was in (both for holder in holders for both in holder.views()):
            self._views += [now, _END]  # a view that has grown shows something else in its place
            before += [*was, *_END]
        self._arrays = [a for holder in holders for a in holder.arrays]
        self._arrays += [v.value for v in variables if isinstance(v.value, Snapshot)]
        self._before = [b.holder if isinstance(b, Snapshot) else b for b in before]

    def unmoved(self) -> bool:
        """Whether they hold the same objects, and arrays the same numbers."""
        now = chain.from_iterable(chain(map(map, self._looks, self._places), self._views))
        try:
            if not all(map(is_, now, self._before)):
                return False
        except (KeyError, ValueError):  # a name or a cell that holds nothing any more
            return False
        return (not self._others or all(same(v.look(), v.value) for v in self._others)) and (
            not self._arrays or all(a.bytes == a.holder.tobytes() for a in self._arrays)
        )


def _text(value: Any) -> str:
    if value is MISSING:
        return "nothing"
    if isinstance(value, Tensor):
        return ("a traced " if value._value is None else "a ") + spec_text(value)
    if isinstance(value, Snapshot):
        return "an array"
    return repr(value) if isinstance(value, _PLAIN) else f"a {type(value).__name__}"


def _place(name: str, holder: Any, key: Any) -> str:
    return f"{name}[{key!r}]" if isinstance(holder, (dict, list)) else f"{name}.{key}"


def plain(value: Any, spaces: AbstractSet[str]) -> bool:
    """Whether it is a small dict or list, or an object that is there to hold settings.

    spaces   the modules of the code that uses it: objects of their classes are such
    """
    if isinstance(value, (dict, list)):
        return len(value) <= MOST_ITEMS and not isinstance(value, Counted)
    if isinstance(value, (*_CODE, Tensor)) or not hasattr(value, "__dict__"):
        return False
    kind = type(value)
    ours = kind.__module__ in spaces or is_dataclass(value) or kind is types.SimpleNamespace
    return ours and not _is_module(value)


def _is_module(value: Any) -> bool:
    """Whether it is a module of nn, which is above this file, and not merely like one."""
    return isinstance(value, Counting) and hasattr(value, "named_parameters")


def _items(holder: Any) -> list[tuple[Any, Any]]:
    if isinstance(holder, dict):
        return list(holder.items())
    return list(enumerate(holder)) if isinstance(holder, list) else list(vars(holder).items())
