"""Module: parameters, state and sub-modules as plain attributes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import ArgumentError, ChainruleError, TraceError, user_line
from ..graph import moment, spec_text
from ..guards.counting import SelfGuarded, changes
from ..guards.functions import custom_methods, reachable_names
from ..guards.snapshots import Snapshot
from ..guards.surroundings import holds_settings
from ..guards.variables import variables_of
from ..hints import check_arguments, expect_no_foreign_keyword, missing
from ..tensor import Tensor, no_grad
from ..trace import state
from .order import expect_own_order, rearranges
from .state import matching_values
from .summary import Summary, summarise

# How the modules of this library's layers and models are called.
_OF_LIBRARY = (f"{__package__}.", f"{__package__.rpartition('.')[0]}.models.")


def Parameter(data: Any, requires_grad: bool = True) -> Tensor:  # noqa: N802 - PyTorch's name
    """A tensor that is trained: `Tensor(data, requires_grad=True)`."""
    return Tensor(data, requires_grad=requires_grad)


class ForwardHook:
    """The result of `Module.register_forward_hook`; `remove()` removes the hook."""

    def __init__(self, module: Module, function: Callable[..., Any]) -> None:
        self._module, self.function = module, function

    def remove(self) -> None:
        """Stop calling the hook."""
        self._module._forward_hooks = tuple(h for h in self._module._forward_hooks if h is not self)


class Module(SelfGuarded):
    """A part of a network. Subclasses write `__init__` and `forward`; everything else is here.

    Attributes register by themselves: a tensor that requires a gradient is a parameter (and stays
    one when it no longer does), another tensor is a buffer, a module is a sub-module; also those in
    lists, tuples and dicts. Their names are their paths: `layers.0.weight`. A tensor that was
    computed from parameters, `self.h = self.first(x)`, is none of these.
    """

    training: bool = True
    _forward_hooks: tuple[ForwardHook, ...] = ()
    _channels_last = False  # whether its tensors, or its output, have another order in PyTorch
    _trained: tuple[Tensor, ...] = ()  # its attributes that are, or were seen to be, trained

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls) and cls.__module__.startswith(_OF_LIBRARY):
            known = check_arguments(None, "give the others by name", kinds=True)
            cls.__init__ = known(cls.__init__)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        expect_no_foreign_keyword(cls.__name__, cls, kwargs)
        return super().__new__(cls)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output of the module."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        watcher = None
        if state.trace is not None:
            other = state.trace.instead(self)
            if other is not None:
                return other(*args, **kwargs)
            state.trace.guards.append(_ModuleGuard(self))
            watcher = state.trace.watcher
        began = moment()
        try:
            if watcher is not None:
                watcher.entered(self)
            out = self.forward(*args, **kwargs)
            for hook in self._forward_hooks:
                new = hook.function(self, args, out)
                out = out if new is None else new
            if state.observer is not None:
                state.observer.called(self, began, args, out)
        except ChainruleError as error:
            _name_layer(error, self)
            raise
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                _expect_arguments(self, args, kwargs)
            raise
        finally:
            if watcher is not None:
                watcher.left(self)
        return out

    def register_forward_hook(self, hook: Callable[..., Any]) -> ForwardHook:
        """Call hook(module, args, output) after each forward; a result other than None replaces it.

        Inside a compiled step it is called while the step is traced, and not at each call.
        """
        handle = ForwardHook(self, hook)
        self._forward_hooks = (*self._forward_hooks, handle)
        return handle

    def summary(self, *inputs: Any) -> Summary:
        """A table of its modules: output shapes, parameters, operations; nothing is computed.

        inputs   the arguments of forward: tensors, arrays, or shapes of float32 arrays as tuples
        """
        return summarise([*self._modules()], [t for _, t, _ in self._tensors()], inputs)

    def __setattr__(self, name: str, value: Any) -> None:
        old = vars(self).get(name)
        if isinstance(old, Tensor) and value is not old and _among(old, self._trained):
            _expect_parameter(self, name, old, value)
            vars(self)["_trained"] = tuple(t for t in self._trained if t is not old)
        super().__setattr__(name, value)
        if isinstance(value, Tensor):
            self._is_parameter(value)

    if not TYPE_CHECKING:  # type checkers must see which attributes there are

        def __getattr__(self, name: str) -> Any:
            raise missing("Module", name, type(self).__name__)

    def _is_parameter(self, t: Tensor) -> bool:
        """Whether a tensor in this module is trained, or was once seen to be."""
        recorded = _among(t, self._trained)
        if not recorded and t.requires_grad and t.is_leaf:
            vars(self)["_trained"] = (*self._trained, t)
            return True
        return recorded

    def _rearranges(self) -> bool:
        """Whether code outside of this library moves elements: forward, its callables, a hook."""
        kind: Any = type(self)
        values = (v for v in vars(self).values() if not isinstance(v, (Module, Tensor)))
        return rearranges(
            [
                kind.forward,
                *custom_methods(kind, reachable_names(kind, _FORWARD)),
                *filter(callable, values),
                *(hook.function for hook in self._forward_hooks),
            ]
        )

    # ── walking ──────────────────────────────────────────────────────────────────────────────────

    def named_modules(self, *, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, each once, with their paths."""
        return ((path, m) for _, path, m in self._modules(prefix))

    def _modules(self, prefix: str = "") -> Iterator[tuple[int, str, Module]]:
        for depth, path, inner, _ in walk(self, prefix):
            if isinstance(inner, Module):
                yield depth, path, inner

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (m for _, m in self.named_modules())

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        return (m for depth, _, m in self._modules() if depth == 1)

    def _tensors(self) -> Iterator[tuple[str, Tensor, bool]]:
        """Every parameter (True) and buffer (False) once, with its path."""
        for _, path, inner, owner in walk(self):
            if isinstance(inner, Tensor):
                trained = owner._is_parameter(inner)
                if trained or not inner.requires_grad:
                    yield path, inner, trained

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter once, with its path, whether it is trained or frozen."""
        return ((name, t) for name, t, trained in self._tensors() if trained)

    def parameters(self) -> list[Tensor]:
        """Every parameter once, whether it is trained or frozen."""
        return [t for _, t in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor that is not a parameter, once, with its path."""
        return ((name, t) for name, t, trained in self._tensors() if not trained)

    # ── modes ────────────────────────────────────────────────────────────────────────────────────

    def train(self, mode: bool = True) -> Self:
        """Training mode: dropout drops, batch normalization uses the batch."""
        for m in self.modules():
            if m.training != mode:
                m.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: no dropout, batch normalization uses its running statistics."""
        return self.train(False)

    def freeze(self) -> Self:
        """Stop training its parameters. They stay parameters; `unfreeze` trains them again."""
        return self._train_parameters(False)

    def unfreeze(self) -> Self:
        """Train all of its parameters."""
        return self._train_parameters(True)

    def _train_parameters(self, trained: bool) -> Self:
        for t in self.parameters():
            t.requires_grad = trained
        changes.note()
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call the function on every module inside and on this one."""
        for m in self.modules():
            function(m)
        return self

    # ── state ────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every parameter and buffer by its path, as arrays (copies)."""
        return {name: t.numpy().copy() for name, t, _ in self._tensors()}

    def load_state_dict(self, values: dict[str, Any], strict: bool = True) -> None:
        """Take over values by path. Nothing is changed unless everything fits.

        Floats are rounded to the dtype of the tensor. Integers or bools for floats are refused, and
        so are floats that become infinite, because they are other weights.

        strict   missing and unknown names are errors
        """
        if not isinstance(values, Mapping):
            raise ArgumentError(
                "load_state_dict",
                f"got {type(values).__name__}",
                "expected a dict of arrays by name",
                "read a file first: safetensors.numpy.load_file(path)",
            )
        expect_own_order(self.named_modules(), values)
        own = {name: t for name, t, _ in self._tensors()}
        loaded = matching_values(own, values, strict)
        with no_grad():
            for name, new in loaded.items():
                own[name]._assign(new)

    def __repr__(self) -> str:
        inner = [
            f"  ({path}): {repr(m).replace(chr(10), chr(10) + '  ')}"
            for depth, path, m in self._modules()
            if depth == 1
        ]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return head + ("\n" + "\n".join(inner) + "\n)" if inner else ")")

    def extra_repr(self) -> str:
        """The settings of a layer, for printing."""
        return ""


def walk(
    module: Module, prefix: str = "", every_path: bool = False
) -> Iterator[tuple[int, str, Module | Tensor, Module]]:
    """The module, and the modules and tensors in its attributes, in lists, tuples and dicts there.

    every_path   what is shared comes once per path that it has; else once, with the first

    Yields the depth (in how many modules it is), the path, the module or tensor, and the module
    that has it as an attribute.
    """
    return _walk(module, prefix, module, 0, set(), every_path)


def _walk(
    value: Any, path: str, owner: Module, depth: int, seen: set[int], every_path: bool
) -> Iterator[tuple[int, str, Module | Tensor, Module]]:
    if id(value) in seen:
        return
    if every_path:  # only a value inside itself counts as seen
        seen = {*seen}
    seen.add(id(value))
    if isinstance(value, (Module, Tensor)):
        yield depth, path, value, owner
    if isinstance(value, Module):
        owner, depth = value, depth + 1
        items = [(k, v) for k, v in vars(value).items() if not k.startswith("_")]
    elif type(value) in (list, tuple):
        items = [(str(k), v) for k, v in enumerate(value)]
    elif type(value) is dict:
        items = [(str(k), v) for k, v in value.items()]
    else:
        return
    for name, inner in items:
        if isinstance(inner, (Module, Tensor, list, tuple, dict)):
            inner_path = f"{path}.{name}" if path else name
            yield from _walk(inner, inner_path, owner, depth, seen, every_path)


def _among(t: Tensor, tensors: tuple[Tensor, ...]) -> bool:
    return any(t is other for other in tensors)


def _expect_parameter(module: Module, name: str, old: Tensor, value: Any) -> None:
    """Raise if the value that replaces a parameter is not trained: training would stop silently."""
    if isinstance(value, Tensor) and not (value.requires_grad and value.is_leaf):
        got = f"a tensor {spec_text(value)} that is not a parameter"
    elif isinstance(value, (np.ndarray, np.generic, int, float, list, tuple)):
        got = type(value).__name__
    else:
        return
    raise ArgumentError(
        type(module).__name__,
        f"got {got} in the place of the parameter {name}, {spec_text(old)}",
        "expected a parameter, or new values for this one",
        f"under no_grad(): m.{name}[...] = value; or m.{name} = nn.Parameter(value)",
        user_line(),
    )


_FORWARD = frozenset({"forward"})


def _name_layer(error: ChainruleError, outer: Module) -> None:
    """Add the module's path from this one to the error (if it is inside this one)."""
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


class _ModuleGuard:
    """A module called by a recorded function: its attributes decide which operations there are.

    Attributes count their changes. What forward and the methods that it calls mention can change
    without that where it is a dict, a list, an array or an object with settings: `snapshots`.
    """

    __slots__ = ("_attributes", "_module", "snapshots", "variables")

    def __init__(self, module: Module) -> None:
        self._module = module
        self._attributes = self._current()
        kind: Any = type(module)
        attributes = vars(module)
        names = reachable_names(kind, _FORWARD)
        self.variables = variables_of(custom_methods(kind, names))
        used = [(n, attributes[n]) for n in names & attributes.keys()]
        modules = {kind.__module__}
        self.snapshots = [Snapshot(n, v) for n, v in used if holds_settings(v, modules)]
        self.snapshots += [Snapshot(n, [v]) for n, v in used if type(v) is np.ndarray]

    def _current(self) -> list[Any]:
        """Names and values of the attributes; items in the place of lists and tuples."""
        out: list[Any] = []
        for name, value in vars(self._module).items():
            if name == "_trained":  # it depends on the tensors alone
                continue
            out += [name, *value] if type(value) in (list, tuple) else [name, value]
        return [*out, self._module.training]

    def expect_unchanged(self) -> None:
        """As `Guard.expect_unchanged`."""
        if not self.unchanged():
            raise TraceError(
                "compile",
                f"got a {type(self._module).__name__} whose forward changes its attributes",
                "expected no change: it happens only while it is traced, not at each call",
                "keep what changes in a tensor attribute and assign it in place (x[...] = value)",
            )

    def unchanged(self) -> bool:
        """As `Guard.unchanged`."""
        now = self._current()
        return (
            all(snapshot.unchanged() for snapshot in self.snapshots)
            and len(now) == len(self._attributes)
            and all(
                a is b or (type(a) is type(b) and isinstance(a, (int, float, str)) and a == b)
                for a, b in zip(now, self._attributes, strict=True)
            )
        )
