"""What a compiled function sees besides its arguments: Python's variables and attributes.

A step is traced with the values that they had. If one of them is another object at a later call, or
another number, the function is traced again. A function that changes one of them itself is refused,
because it would change it only while it is traced; everything is put back as it was.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass, replace
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import numpy as np

from ..errors import TraceError
from ..graph import spec_text
from ..tensor import Tensor
from ..trace import Counted, Counting

_CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType, type)
_PLAIN = (bool, int, float, complex, str, bytes, np.generic)
_OURS = __name__.partition(".")[0] + "."  # how the names of this library's modules begin
_MISSING = object()
_END = (object(),)
MOST_BYTES = 1 << 16  # of a closed-over array whose contents are compared at each call
MOST_ITEMS = 64  # of a dict or list inside another that is looked into


def same(a: Any, b: Any) -> bool:
    """Whether two Python values are the same to a trace: one object, or one plain value."""
    if a is b:
        return True
    if isinstance(a, Snapshot) or isinstance(b, Snapshot):
        return type(a) is type(b) and a.holder is b.holder and a.bytes == b.bytes
    return type(a) is type(b) and isinstance(a, _PLAIN) and repr(a) == repr(b)


@dataclass(frozen=True)
class Snapshot:
    """A NumPy array that a function closes over, and what it held: a constant of the program."""

    holder: Any
    bytes: bytes


def _seen(value: Any) -> Any:
    """The value, or for an array (which can change and stay the same object) its contents too."""
    if type(value) is np.ndarray and value.nbytes <= MOST_BYTES:
        return Snapshot(value, value.tobytes())
    return value


@dataclass
class Variable:
    """A closure cell, a global or a default: how to look at it, how to set it, what it held.

    at        (the globals, its name) or (the cell,), to look at many at once; () for a default
    watched   else only what the object in it holds is looked at
    """

    name: str
    look: Callable[[], Any]
    put: Callable[[Any], None]
    value: Any
    at: tuple[Any, ...]
    watched: bool = True


class Holder:
    """A dict, list, object or class, and what it held; of arrays their contents too."""

    def __init__(self, name: str, holder: Any) -> None:
        self.name, self.holder = name, holder
        items = _items(holder)
        self._keys, self._values = [k for k, _ in items], [v for _, v in items]
        self.before = {k: _seen(v) for k, v in items}
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
        return {k: _seen(v) for k, v in _items(self.holder)}

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
                if vars(holder).get(k, _MISSING) is not v:
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

    used   objects besides that it uses, static arguments say
    """

    def __init__(self, function: Callable[..., Any], used: Sequence[Any]) -> None:
        self._variables: list[Variable] = []
        self._holders: list[Holder] = []
        self._looks: _Looks | None = None
        self._seen: set[Any] = set()  # variables and holders, by identity
        self._followed: set[int] = set()  # functions, by identity
        self._space = getattr(_plain_function(function), "__module__", "")
        self._mentioned: set[str] = set()
        own = [] if isinstance(function, _CODE) else [function]
        self.follow([_plain_function(function)])
        for value in [*own, *_bound(function), *used]:
            self._enter(type(value).__name__, value)
            self.follow(functions_of(value))

    def follow(self, functions: Iterable[Callable[..., Any]]) -> None:
        """Look at the variables of these functions too, and at what is in them."""
        found = [v for f in functions for v in _variables(f, self._followed, self._mentioned)]
        for variable in found:
            place = (*map(id, variable.at[:1]), *variable.at[1:]) or id(variable)
            module = isinstance(variable.value, types.ModuleType)
            if variable.watched and place not in self._seen and not module:
                self._seen.add(place)
                self._variables.append(variable)
        for variable in found:
            for value in (variable.value, *_bound(variable.value)):
                self._enter(variable.name, value)
        self._looks = None

    def _enter(self, name: str, value: Any) -> None:
        kind: Any = type(value)
        if kind.__module__ == self._space and not hasattr(value, "named_parameters"):
            self._add(kind.__name__, kind)
        holds = isinstance(value, (dict, list)) or (
            hasattr(value, "__dict__") and not isinstance(value, (*_CODE, Tensor))
        )
        if isinstance(value, type) and value.__module__ == self._space:
            self._add(name, value)
            self.follow(methods_of(value, mentioned(value, frozenset(self._mentioned))))
        # A module of nn counts its changes itself (see nn.module), and names what it holds.
        elif holds and not hasattr(value, "named_parameters"):
            self._add(name, value)
            names = mentioned(kind, frozenset(self._mentioned))
            for k, inner in _items(value):
                if isinstance(value, list) or k in names:
                    self._add_plain(_place(name, value, k), inner)
            if kind.__module__ == self._space:
                self.follow(methods_of(kind, names))

    def _add_plain(self, name: str, value: Any) -> None:
        if plain(value, self._space):
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
        return (self._looks.unmoved() and not counted) or (
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

    def expect_unchanged(self) -> None:
        """Raise TraceError, with everything put back, if the function changed something."""
        changes = [(v.name, v.value, v.look()) for v in self._variables]
        for holder in self._holders:
            before, now = holder.before, holder.now()
            changes += [
                (
                    _place(holder.name, holder.holder, k),
                    before.get(k, _MISSING),
                    now.get(k, _MISSING),
                )
                for k in {**before, **now}
            ]
        for where, before, after in changes:
            if same(before, after):
                continue
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
    if value is _MISSING:
        return "nothing"
    if isinstance(value, Tensor):
        return ("a traced " if value._value is None else "a ") + spec_text(value)
    if isinstance(value, Snapshot):
        return "an array"
    return repr(value) if isinstance(value, _PLAIN) else f"a {type(value).__name__}"


def _place(name: str, holder: Any, key: Any) -> str:
    return f"{name}[{key!r}]" if isinstance(holder, (dict, list)) else f"{name}.{key}"


def plain(value: Any, space: str) -> bool:
    """Whether it is a small dict or list, or an object that is there to hold settings.

    space   the module of the code that uses it: objects of its classes are such
    """
    if isinstance(value, (dict, list)):
        return len(value) <= MOST_ITEMS and not isinstance(value, Counted)
    if isinstance(value, (*_CODE, Tensor)) or not hasattr(value, "__dict__"):
        return False
    kind = type(value)
    ours = kind.__module__ == space or is_dataclass(value) or kind is types.SimpleNamespace
    return ours and not hasattr(value, "named_parameters")


@functools.lru_cache(1024)
def mentioned(kind: type, names: frozenset[str]) -> frozenset[str]:
    """The names, and those that the methods among them mention, and so on."""
    found, waiting = set(names), list(names)
    while waiting:
        code = getattr(getattr(kind, waiting.pop(), None), "__code__", None)
        more = set() if code is None else set(_names(code, texts=True)) - found
        found |= more
        waiting += more
    return frozenset(found)


def methods_of(kind: type, names: Iterable[str]) -> Iterator[types.FunctionType]:
    """The methods of these names that a class outside of this library has."""
    for name in names:
        method = getattr(kind, name, None)
        if isinstance(method, types.FunctionType) and not _is_ours(method.__module__):
            yield method


def functions_of(value: Any) -> Iterator[types.FunctionType]:
    """The functions in Python that a call of the value runs, as far as it shows them."""
    if isinstance(value, types.FunctionType):
        yield value
    elif isinstance(value, types.MethodType):
        yield from functions_of(value.__func__)
    elif isinstance(value, functools.partial):
        for inner in (value.func, *value.args, *value.keywords.values()):
            yield from functions_of(inner)
    elif callable(value) and not isinstance(value, type):
        wrapped = getattr(value, "__dict__", {}).get("__wrapped__")  # of a compiled function
        function = type(value).__call__ if wrapped is None else wrapped
        if isinstance(function, types.FunctionType):
            yield function


def _is_ours(module: Any) -> bool:
    """Whether a module of this name is one of this library."""
    return str(module).startswith(_OURS)


def _is_held(value: Any) -> bool:
    """Whether a function that is not looked at itself holds something to be called."""
    return callable(value) and not _is_ours(type(value).__module__)


def _bound(function: Any) -> list[Any]:
    """The objects that a method or a partial function is bound to."""
    if isinstance(function, functools.partial):
        return [*function.args, *function.keywords.values(), *_bound(function.func)]
    return [function.__self__] if isinstance(function, types.MethodType) else []


def _plain_function(function: Any) -> Any:
    """The function itself: not bound to arguments, nor to an object."""
    function = function.func if isinstance(function, functools.partial) else function
    function = getattr(function, "__func__", function)
    if not isinstance(function, types.FunctionType):
        function = type(function).__call__ if callable(function) else function
    return function


def _items(holder: Any) -> list[tuple[Any, Any]]:
    if isinstance(holder, dict):
        return list(holder.items())
    return list(enumerate(holder)) if isinstance(holder, list) else list(vars(holder).items())


def _variables(
    function: Callable[..., Any], seen: set[Any], mentioned: set[str], whole: bool = True
) -> Iterator[Variable]:
    """The closure cells and globals that a function, and functions of its module, refer to.

    mentioned   gets all names and texts in their code
    whole       also those of the function itself; else what it wraps, as a decorator does, alone
    """
    function = _plain_function(function)
    code = getattr(function, "__code__", None)
    if code is None or (id(function), whole) in seen:
        return
    seen.add((id(function), whole))
    mentioned.update(_names(code, texts=True))
    space = function.__globals__
    whole = whole and not _is_ours(space.get("__name__"))
    found: list[Variable] = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        look, put = lambda c=cell: _content(c), lambda v, c=cell: _fill(c, v)
        found.append(_variable(name, look, put, (cell,)))
    enclosed = len(found)
    for name in _names(code) if whole else ():
        if name in space:
            found.append(
                _variable(
                    name,
                    lambda n=name: space.get(n, _MISSING),
                    lambda v, n=name: space.__setitem__(n, v),
                    (space, name),
                )
            )
    for k in range(len(function.__defaults__ or ()) if whole else 0):
        found.append(_variable("a default", lambda d=k: _default(function, d), lambda v: None))
    for name in (function.__kwdefaults__ or {}) if whole else {}:
        found.append(
            _variable(name, lambda n=name: (function.__kwdefaults__ or {}).get(n), lambda v: None)
        )
    for k, variable in enumerate(found):
        if whole or _is_held(variable.value):
            yield replace(variable, watched=whole)
        for inner in functions_of(variable.value):
            near = k < enclosed or inner.__globals__ is space
            yield from _variables(inner, seen, mentioned, near)


def _default(function: Any, k: int) -> Any:
    values = function.__defaults__ or ()
    return values[k] if k < len(values) else _MISSING


def _variable(
    name: str, look: Callable[..., Any], put: Callable[..., None], at: tuple[Any, ...] = ()
) -> Variable:
    return Variable(name, lambda: _seen(look()), put, _seen(look()), at)


def _names(code: types.CodeType, texts: bool = False) -> list[str]:
    """The names (and texts) that a function's code uses, that of functions inside it too."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant, texts)
        elif texts and isinstance(constant, str):
            names.append(constant)
    return list(dict.fromkeys(names))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _MISSING


def _fill(cell: Any, value: Any) -> None:
    if value is _MISSING:
        del cell.cell_contents
    else:
        cell.cell_contents = value
