"""The names that the user's code has for modules and tensors: variables, and paths in modules."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import tree
from ..compile.arguments import varies
from ..guards.functions import bound_objects, called_functions, globals_in, in_library, module_of
from ..nn import Module
from ..optim.group import Group
from ..optim.optimizer import Optimizer
from ..tensor import Tensor
from ..wrapping import Wrapper
from .recorder import Exchange


class Owners:
    """Names of tensors and modules, by identity.

    arguments   the names of the tensors among the arguments, in order
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._names: dict[int, str] = {}
        self._kinds: dict[int, str] = {}
        self._paths: dict[int, str] = {}
        self._alive: list[Any] = []  # identities are those of living objects
        bound = _bound(function, args, kwargs)
        used: set[str] = set()
        self.arguments = [distinct(name, used) for name, leaf in _leaves(bound) if varies(leaf)]
        objects = [*_visible(function)]
        objects += [pair for name, leaf in _leaves(bound) for pair in _objects_in(name, leaf)]
        modules = _outermost([(n, o) for n, o in objects if isinstance(o, Module)])
        for name, module in modules:
            self.add_module(module, name if len(modules) > 1 else "")
        own = [t for _, t in _leaves(bound) if isinstance(t, Tensor)]
        for name, value in objects:
            if isinstance(value, Tensor):
                kind = "parameter" if value.requires_grad else "data"
                self._add(value, name, kind, any(value is t for t in own))
        for _, value in objects:
            if isinstance(value, Optimizer):
                self.add_optimizer(value)

    def copy(self) -> Owners:
        """The same names, to which others can be added."""
        out = Owners.__new__(Owners)
        for name, value in vars(self).items():
            setattr(out, name, copy.copy(value))
        return out

    def name(self, owner: Any) -> str:
        """The tensor's name: a path in a module, a variable, or a number if it has neither."""
        if id(owner) not in self._names:
            count = sum(n.startswith("tensor_") for n in self._names.values())
            self._add(owner, f"tensor_{count + 1}", "parameter" if owner.requires_grad else "data")
        return self._names[id(owner)]

    def kind(self, owner: Any) -> str:
        """The kind of input that the tensor is: see `derivation.Input`."""
        return self._kinds.get(id(owner), "data")

    def path(self, module: Module) -> str:
        """The module's path in the outermost one, "" for that one or one that has no name."""
        return self._paths.get(id(module), "")

    def add_exchange(self, exchange: Exchange) -> None:
        """Name what runs in place of a module: as that one, or as something beside it.

        In a name the module's class is exchanged too: `sigmoid1` runs in place of `tanh1`.
        """
        beside, dot, own = self.path(exchange.module).rpartition(".")
        kind = type(exchange.module).__name__.lower()
        for name, module in exchange.others:
            new = (name or own).replace(kind, type(module).__name__.lower())
            self.add_module(module, beside + dot + new)

    def _add(self, value: Any, name: str, kind: str, is_argument: bool = False) -> None:
        """is_argument   the name is its own among the arguments"""
        if id(value) not in self._names:
            used = {*self._names.values(), *(() if is_argument else self.arguments)}
            self._names[id(value)], self._kinds[id(value)] = distinct(name, used), kind
            self._alive.append(value)

    def add_module(self, module: Module, prefix: str = "") -> None:
        """Name a module, what is in it, and its tensors."""
        for path, inner in module.named_modules(prefix=prefix):
            self._paths.setdefault(id(inner), path)
            self._alive.append(inner)
        join = f"{prefix}." if prefix else ""
        for path, t in module.named_parameters():
            self._add(t, join + path, "parameter")
        for path, t in module.named_buffers():
            self._add(t, join + path, "buffer")
        for path, inner in module.named_modules(prefix=prefix):
            for name, t in _objects_inside(f"{path}.".lstrip("."), inner):
                if isinstance(t, Tensor):
                    self._add(t, name, "parameter" if t.requires_grad else "data")

    def add_optimizer(self, optimizer: Optimizer) -> None:
        """Name the state and the settings of an optimizer."""
        for group in optimizer.param_groups:
            self._add_settings(group)
            for own, p in zip(group.names, group.params, strict=True):
                path = self._names.get(id(p)) or own
                self._add(p, path, "parameter")
                for slot, t in optimizer.state[own].items():
                    self._add(t, "step" if slot == "step" else f"{path}/{slot}", "state")

    def _add_settings(self, group: Group) -> None:
        for key in group:
            value = group.scalar(key) if key != "betas" else None
            if isinstance(value, Tensor):
                self._add(value, key, "setting")
        if "betas" in group:
            for k in range(2):
                self._add(group.scalar("betas", k), f"beta{k + 1}", "setting")


def distinct(name: str, used: set[str]) -> str:
    """The name, with a number behind it if it is in use; it is in use from now on."""
    k, out = 1, name
    while out in used:
        k += 1
        out = f"{name}_{k}"
    used.add(out)
    return out


def _bound(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """The arguments with the names of the function's parameters, in the order of the call."""
    try:
        called = function.forward if isinstance(function, Module) else function
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        parameters = {}.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "argument")
    names += [f"{rest}_{k}" for k in range(max(0, len(args) - len(names)))]
    return [*zip(names, args, strict=False), *kwargs.items()]


def _leaves(named: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The leaves in lists, tuples and dicts, each with its path."""
    for name, value in named:
        yield from _inside(name, value)


def _inside(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if tree.flatten(value)[1] is tree.LEAF:
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _inside(f"{name}.{key}", inner)
    elif isinstance(value, (list, tuple)):
        fields = getattr(value, "_fields", range(len(value)))
        for key, inner in zip(fields, value, strict=True):
            yield from _inside(f"{name}.{key}", inner)


def _visible(function: Any) -> list[tuple[str, Any]]:
    """The modules, tensors and optimizers that the function sees, by variable or attribute.

    Those of functions that it uses come after its own.
    """
    out: list[tuple[str, Any]] = []
    waiting, seen = [function], set()
    while waiting:
        value = waiting.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        out += [("model", m) for m in (value, *bound_objects(value)) if isinstance(m, Module)]
        for inner in called_functions(value):
            if in_library(module_of(inner)):
                continue
            for name, inner_value in _outer_variables(inner):
                out += _objects_in(name, inner_value)
                waiting += [inner_value] if _is_users_function(inner_value) else []
        for bound in [value, *bound_objects(value)]:
            if not inspect.isroutine(bound) and not isinstance(bound, Module):
                out += _objects_inside("", bound)
    return out


def _is_users_function(value: Any) -> bool:
    return inspect.isroutine(value) or isinstance(value, (Wrapper, functools.partial))


def _outer_variables(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The function's closure, the globals that it uses, and its defaults."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell
            yield name, cell.cell_contents
    for name in globals_in(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    yield from zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()


def _objects_in(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The object, or those in containers and objects of the user's, with their names."""
    if isinstance(value, (Module, Tensor, Optimizer)):
        yield name, value
    else:
        yield from _objects_inside(f"{name}.", value)


def _objects_inside(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Those in the elements, attributes and class attributes of a value, but not itself."""
    waiting, seen = [(prefix, value)], {id(value)}
    for prefix, value in waiting:  # it grows
        for key, inner in _parts(value):
            if isinstance(inner, (Module, Tensor, Optimizer)):
                yield f"{prefix}{key}", inner
            elif id(inner) not in seen:
                seen.add(id(inner))
                waiting.append((f"{prefix}{key}.", inner))


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """What a container holds; of a class or object of the user's the attributes."""
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (list, tuple)):
        return zip(getattr(value, "_fields", range(len(value))), value, strict=False)
    own = value if isinstance(value, type) else type(value)
    if _is_foreign(own.__module__):
        return ()
    classes = [c for c in reversed(own.__mro__) if not _is_foreign(c.__module__)]
    out = {k: v for c in classes for k, v in vars(c).items() if not k.startswith("__")}
    if own is not value:
        slots = [k for k, v in out.items() if inspect.ismemberdescriptor(v) and hasattr(value, k)]
        out |= {k: getattr(value, k) for k in slots} | getattr(value, "__dict__", {})
    return out.items()


@functools.cache
def _is_foreign(module: str) -> bool:
    """Whether a module is this library's, NumPy's, or one that comes with Python."""
    package = module.partition(".")[0]
    return in_library(f"{package}.") or package == "numpy" or package in sys.stdlib_module_names


def _outermost(modules: list[tuple[str, Module]]) -> list[tuple[str, Module]]:
    """The modules that are in no other of them, each once."""
    within = {id(i) for _, m in modules for i in m.modules() if i is not m}
    once = {id(m): (n, m) for n, m in reversed(modules)}
    return [(n, m) for n, m in reversed(list(once.values())) if id(m) not in within]
