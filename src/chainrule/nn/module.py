"""Module: parameters, state and sub-modules as plain attributes."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import numpy as np

from ..errors import ArgumentError, ChainruleError, ShapeError, TraceError
from ..graph import spec_text
from ..tensor import Tensor, as_tensor, no_grad
from ..trace import changes, state
from .summary import Summary, summarise


def Parameter(data: Any, requires_grad: bool = True) -> Tensor:  # noqa: N802 - PyTorch's name
    """A tensor that is trained: `Tensor(data, requires_grad=True)`."""
    return Tensor(data, requires_grad=requires_grad)


class ForwardHook:
    """What `Module.register_forward_hook` returns: `remove()` takes the hook away again."""

    def __init__(self, module: Module, function: Callable[..., Any]) -> None:
        self._module, self.function = module, function

    def remove(self) -> None:
        """Do not call the hook any more."""
        self._module._forward_hooks = tuple(h for h in self._module._forward_hooks if h is not self)


class Module:
    """A part of a network. Write `__init__` and `forward`; everything else is here.

    Attributes register by themselves: a tensor that requires a gradient is a parameter, another
    tensor is a buffer, a module is a sub-module; lists, tuples and dicts of them too. Their names
    are their paths: `layers.0.weight`.
    """

    training: bool = True
    _forward_hooks: tuple[ForwardHook, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.trace is not None:
            state.trace.guards.append(_Snapshot(self))
        try:
            out = self.forward(*args, **kwargs)
            for hook in self._forward_hooks:
                new = hook.function(self, args, out)
                out = out if new is None else new
        except ChainruleError as error:
            _name_layer(error, self)
            raise
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                _expect_arguments(self, args, kwargs)
            raise
        return out

    def register_forward_hook(self, hook: Callable[..., Any]) -> ForwardHook:
        """Call hook(module, args, output) after each forward; unless None, its result replaces it.

        Inside a compiled step it is called while the step is traced, and not at each call.
        """
        handle = ForwardHook(self, hook)
        self._forward_hooks = (*self._forward_hooks, handle)
        return handle

    def summary(self, *inputs: Any) -> Summary:
        """A table of its modules: output shapes, parameters, operations; nothing is computed.

        inputs   what forward takes: tensors, arrays, or shapes as tuples (float32) to stand for one
        """
        return summarise(self, inputs)

    def __setattr__(self, name: str, value: Any) -> None:
        changes.count += 1  # a compiled step looks again at the modules that it was traced with
        object.__setattr__(self, name, value)

    # ── walking ──────────────────────────────────────────────────────────────────────────────────

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, each once, with their paths."""
        return ((path, m) for _, path, m in self._modules(prefix))

    def _modules(self, prefix: str = "") -> Iterator[tuple[int, str, Module]]:
        for depth, path, thing in _walk(self, prefix, set()):
            if isinstance(thing, Module):
                yield depth, path, thing

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (m for _, m in self.named_modules())

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        return (m for depth, _, m in self._modules() if depth == 1)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for _, path, thing in _walk(self, "", set()):
            if isinstance(thing, Tensor):
                yield path, thing

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every trained tensor once, with its path."""
        return ((name, t) for name, t in self._tensors() if t.requires_grad)

    def parameters(self) -> list[Tensor]:
        """Every trained tensor once."""
        return [t for _, t in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor that is not trained, once, with its path."""
        return ((name, t) for name, t in self._tensors() if not t.requires_grad)

    # ── modes ────────────────────────────────────────────────────────────────────────────────────

    def train(self, mode: bool = True) -> Self:
        """Dropout drops, batch normalisation uses the batch."""
        for m in self.modules():
            if m.training != mode:
                m.training = mode
        return self

    def eval(self) -> Self:
        """Dropout passes through, batch normalisation uses its running statistics."""
        return self.train(False)

    def freeze(self) -> Self:
        """Stop training its parameters; `unfreeze` undoes it."""
        for m in self.modules():
            own = [t for t in _own_tensors(m) if t.requires_grad]
            if own:
                m._frozen = [*getattr(m, "_frozen", []), *own]
            for t in own:
                t.requires_grad = False
        return self

    def unfreeze(self) -> Self:
        """Train again what `freeze` had stopped."""
        for m in self.modules():
            for t in m.__dict__.pop("_frozen", []):
                t.requires_grad = True
        changes.count += 1
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call the function on every module inside and on this one."""
        for m in self.modules():
            function(m)
        return self

    # ── state ────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every parameter and buffer by its path, as arrays (copies)."""
        return {name: t.numpy().copy() for name, t in self._tensors()}

    def load_state_dict(self, values: dict[str, Any], strict: bool = True) -> None:
        """Take over values by path. Nothing is changed unless everything fits.

        strict   missing and unknown names are errors
        """
        own = dict(self._tensors())
        missing, unknown = own.keys() - values.keys(), values.keys() - own.keys()
        if strict and (missing or unknown):
            raise ArgumentError(
                "load_state_dict",
                f"got {len(values)} tensors without {_some(missing)} and with {_some(unknown)}",
                "exactly the names of state_dict()",
                f"{_nearest(unknown, missing)}use the same architecture, or give strict=False",
            )
        fitting = {}
        for name in own.keys() & values.keys():
            new = as_tensor(values[name])
            if new.shape != own[name].shape:
                raise ShapeError(
                    "load_state_dict",
                    f"got {spec_text(new)} for {name}",
                    f"{spec_text(own[name])} is needed",
                    "load into the same architecture",
                )
            fitting[name] = new.astype(own[name].dtype)
        with no_grad():
            for name, new in fitting.items():
                own[name]._assign(new.detach())

    def __repr__(self) -> str:
        inner = [
            f"  ({path}): {repr(m).replace(chr(10), chr(10) + '  ')}"
            for depth, path, m in self._modules()
            if depth == 1
        ]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return head + ("\n" + "\n".join(inner) + "\n)" if inner else ")")

    def extra_repr(self) -> str:
        """What a layer says of itself when printed."""
        return ""


def _some(names: Any) -> str:
    listed = sorted(names)
    if not listed:
        return "nothing"
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _nearest(unknown: Iterable[str], missing: Iterable[str]) -> str:
    """Advice for the first unknown name that is like a missing one, or nothing."""
    for name in sorted(unknown):
        for near in difflib.get_close_matches(name, sorted(missing), 1):
            return f"rename {name} to {near}, "
    return ""


def _walk(thing: Any, path: str, seen: set[int], depth: int = 0) -> Iterator[tuple[int, str, Any]]:
    """Modules and tensors reachable through attributes, lists, tuples and dicts, each once.

    depth   in how many modules it is; lists and dicts do not count
    """
    if isinstance(thing, (Module, Tensor)):
        if id(thing) in seen:
            return
        seen.add(id(thing))
        yield depth, path, thing
    if isinstance(thing, Module):
        depth += 1
        items = [(k, v) for k, v in vars(thing).items() if not k.startswith("_")]
    elif type(thing) in (list, tuple):
        items = [(str(k), v) for k, v in enumerate(thing)]
    elif type(thing) is dict:
        items = [(str(k), v) for k, v in thing.items()]
    else:
        return
    for name, value in items:
        if isinstance(value, (Module, Tensor, list, tuple, dict)):
            yield from _walk(value, f"{path}.{name}" if path else name, seen, depth)


def _own_tensors(module: Module) -> list[Tensor]:
    """The tensors of a module that belong to none of its sub-modules."""
    inner = {id(t) for m in module.modules() if m is not module for _, t in m._tensors()}
    return [t for _, t in module._tensors() if id(t) not in inner]


def _name_layer(error: ChainruleError, outer: Module) -> None:
    """Put into the error where its module is, seen from this one (if it is in this one)."""
    if error.module is None:
        error.module = outer
    for path, m in outer.named_modules():
        if m is error.module:
            name = type(m).__name__
            error.layer = f"{path} ({name})" if path else name


def _expect_arguments(module: Module, args: Any, kwargs: Any) -> None:
    """Raise TypeError, naming the module, if its forward does not take these arguments."""
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise TypeError(f"{type(module).__name__}.forward({names}): {error}") from None


class _Snapshot:
    """What a compiled step was traced with: the module's attributes, by identity."""

    __slots__ = ("_module", "_values")

    def __init__(self, module: Module) -> None:
        self._module = module
        self._values = self._now()

    def _now(self) -> list[Any]:
        out: list[Any] = []
        for name, value in vars(self._module).items():
            out += [name, *value] if type(value) in (list, tuple) else [name, value]
        return [*out, self._module.training]

    def expect(self) -> None:
        """Raise TraceError if the module changed an attribute of its own while it was traced."""
        if not self.holds():
            raise TraceError(
                "compile",
                f"got a {type(self._module).__name__} whose forward changes its attributes",
                "they change only while it is traced, not at each call",
                "keep what changes in a tensor attribute and assign it in place (x[...] = value)",
            )

    def holds(self) -> bool:
        """Whether the attributes are still the same objects (numbers and texts: equal)."""
        now = self._now()
        return len(now) == len(self._values) and all(
            a is b or (type(a) is type(b) and isinstance(a, (int, float, str)) and a == b)
            for a, b in zip(now, self._values, strict=True)
        )
