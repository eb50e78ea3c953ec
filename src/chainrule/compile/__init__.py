"""Compiling a step: trace it, optimise the graph of the whole of it, let a backend run it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import backends, tree
from ..errors import ArgumentError, TraceError, warn
from ..graph import Array, spec_text
from ..guards.counting import changes
from ..guards.snapshots import same
from ..guards.surroundings import Surroundings
from ..recording import record
from ..tensor import Tensor, as_tensor, make
from ..trace import Trace, state
from ..wrapping import Wrapper
from . import locks, side_effects, stages
from .collecting import uncollected
from .notice import Notice
from .step import (
    Step,
    captured,
    expect_apart,
    expect_seen,
    finish,
    fits,
    gradients_of,
    leave_unseen,
    returned,
    run,
)

MANY_SHAPES = 8  # after so many compilations of one function a warning names what varies
MOST_STEPS = 64  # of one function; the oldest goes first


class Compiled(Wrapper):
    """A function that is traced once per shapes of its arguments and then runs as one program."""

    __slots__ = ("_function", "_lock", "_short", "_steps", "_used")

    def __init__(self, function: Callable[..., Any], used: Sequence[Any] = ()) -> None:
        """used   what else it uses, through objects of this library that do not show it"""
        super().__init__(function, used)
        self._function, self._used = function, used
        self._steps: dict[Any, list[Step]] = {}
        self._lock = locks.of_function()  # reading, running and assigning are one step
        self._short = _Short()

    def inside(self) -> list[Any]:
        """As `Wrapper.inside`."""
        return [self._function, *self._used]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None or isinstance(self._function, staticmethod):
            return self
        return _Bound(self, instance)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if state.trace is not None:  # inside another trace it is part of that graph
            return self._function(*args, **kwargs)
        short = self._short.last
        if short is not None and not kwargs:
            out = short.once(args)
            if out is not None:
                return out[0]
        leaves, structure = tree.flatten((args, kwargs))
        fixed: list[Any] = []
        tensors: list[Tensor] = []
        for leaf in leaves:
            if isinstance(leaf, (Tensor, np.ndarray)):
                t = as_tensor(leaf)
                if t._value is None:
                    raise TraceError(
                        "compile",
                        f"got a traced {spec_text(t)} after its trace had ended",
                        "a tensor that has a value",
                        "return it from the function in which it was computed",
                    )
                tensors.append(t)
                fixed.append((t.shape, t.dtype, t.requires_grad))
            else:
                fixed.append(_Fixed(leaf))
        key = (structure, tuple(fixed), state.grad)
        with self._lock:
            while True:
                step = next((s for s in self._steps.get(key, ()) if fits(s)), None)
                if step is None:
                    step = self._compile(structure, leaves, tensors)
                    self._keep(key, step)
                expect_apart(step, tensors)
                expect_seen(step)
                if step.resident is not None:
                    break
                self._short.last = None
                with locks.using(step.uses):
                    outside = captured(step)
                    if outside is not None:  # else another thread's step has changed gradients
                        return run(step, tensors, outside)
            found = step.resident.run([t._value for t in tensors])
            leave_unseen(step)
            if not kwargs:
                self._short.last = self._short.ways[id(step)] = _Again(step, args)
            return returned(step, [make(v) for v in found])

    @property
    def repeats(self) -> bool:
        """Whether `repeat` can be used now."""
        return any(again.repeats for again in self._short.ways.values())

    def repeat(
        self,
        count: int,
        arguments: Sequence[Array],
        varying: Sequence[tuple[Tensor, Array]] = (),
    ) -> list[Array] | None:
        """`count` steps like an earlier one in one native call; None where that cannot be.

        It cannot where there was no such call yet, rows or dtypes are others, or the step is not
        one native call.

        arguments   for each argument of that call, the rows of all steps, one after the other
        varying     tensors that the step reads and does not assign, with a value for each step

        Returns each result of all steps, stacked.
        """
        for again in self._short.ways.values():
            found = again.repeat(count, arguments, varying)
            if found is not None:
                return found
        return None

    @uncollected
    def _compile(self, structure: Any, leaves: list[Any], tensors: list[Tensor]) -> Step:
        with Notice(getattr(self._function, "__name__", "function")) as notice:
            return self._made(structure, leaves, tensors, notice)

    def _made(
        self, structure: Any, leaves: list[Any], tensors: list[Tensor], notice: Notice
    ) -> Step:
        out_tree: Any = None
        holding: list[int] = []
        fixed = [x for x in leaves if not isinstance(x, (Tensor, np.ndarray))]
        seen = changes.count
        surroundings = Surroundings(self._function, [*fixed, *self._used])

        def body(inputs: list[Tensor]) -> list[Tensor]:
            nonlocal out_tree, holding
            given = iter(inputs)
            filled = [
                next(given) if isinstance(leaf, (Tensor, np.ndarray)) else leaf for leaf in leaves
            ]
            args, kwargs = tree.unflatten(structure, filled)
            out, out_tree = tree.flatten(self._function(*args, **kwargs))
            results = [as_tensor(t) for t in out]
            holding, gradients = gradients_of(results, trace)
            return results + gradients

        trace = Trace(lasting=True)
        trace.arguments = {id(t): t for t in tensors}
        try:
            made = record(body, [(t.shape, t.dtype, t.requires_grad) for t in tensors], trace)
        except BaseException:
            surroundings.restore()
            raise
        trace.arguments.clear()  # they were needed while tracing only
        surroundings.add_variables(v for guard in trace.guards for v in guard.variables)
        side_effects.expect_none(surroundings, trace.guards)
        surroundings.add_guards(trace.guards)
        notice.stage = f"making code for {len(made.graph.nodes)} operations"
        return finish(made, out_tree, holding, surroundings, seen)

    def _keep(self, key: Any, step: Step) -> None:
        steps = self._steps.setdefault(key, [])
        steps.append(step)
        count = sum(len(s) for s in self._steps.values())
        if count == MANY_SHAPES:
            before = steps[-2].surroundings.changes() if len(steps) > 1 else iter(())
            changed = next((where for where, *_ in before), "what it uses from outside")
            warn(_varying(self._function, list(self._steps), changed))
        if count > MOST_STEPS:
            oldest = next(iter(self._steps))
            self._short.ways.pop(id(self._steps[oldest].pop(0)), None)
            if not self._steps[oldest]:
                del self._steps[oldest]

    def graph(self, *args: Any, **kwargs: Any) -> str:
        """The graph that these arguments have, after all passes, as text. Nothing is run."""
        return str(self._step(args, kwargs).graph)

    def program(self, *args: Any, **kwargs: Any) -> str:
        """The program that a backend gets, as text. Nothing is run."""
        return str(self._step(args, kwargs).program)

    def plan(self, *args: Any, **kwargs: Any) -> str:
        """The native backend's plan of the program, as text. Nothing is run."""
        return self._text("plan", args, kwargs)

    def llvm(self, *args: Any, **kwargs: Any) -> str:
        """The native backend's LLVM IR, before LLVM optimises it, as text. Nothing is run."""
        return self._text("llvm", args, kwargs)

    def _text(self, stage: str, args: Any, kwargs: Any) -> str:
        """A stage of the backend's own."""
        stages.expect_shown(stage)
        return self._step(args, kwargs).executable.text(stage)

    def _step(self, args: Any, kwargs: Any) -> Step:
        """Compiled for these arguments, to be looked at."""
        leaves, structure = tree.flatten((args, kwargs))
        tensors = [as_tensor(x) for x in leaves if isinstance(x, (Tensor, np.ndarray))]
        return self._compile(structure, leaves, tensors)


class _Short:
    """Short ways of a compiled function: the last one that was taken, and those of each step."""

    def __init__(self) -> None:
        self.last: _Again | None = None
        self.ways: dict[int, _Again] = {}


class _Again:
    """The short way: the same step once more, on other values of the same kind."""

    def __init__(self, step: Step, args: tuple[Any, ...]) -> None:
        assert step.resident is not None
        self._step, self._resident, self._grad = step, step.resident, state.grad
        self._one = step.structure is tree.LEAF and not step.holding
        leaves, self._structure = tree.flatten(args)
        self._flat = all(isinstance(a, (Tensor, np.ndarray)) for a in args)
        self._plain = all(_is_plain(t) for t in leaves)
        arrays = [t._value if isinstance(t, Tensor) else t for t in leaves if self._plain]
        self._specs = [(a.shape, a.dtype) for a in arrays]
        self.repeats = self._plain and step.resident.repeats()

    def once(self, args: tuple[Any, ...]) -> tuple[Any] | None:
        """The result in a tuple; None where the long way has to see what has changed."""
        step, resident = self._step, self._resident
        leaves: Sequence[Any] = args
        if not self._flat:
            leaves, structure = tree.flatten(args)
            if structure != self._structure:
                return None
        specs, placed = self._specs, resident.placed
        if not self._plain or len(leaves) != len(specs) or state.grad is not self._grad:
            return None
        values, moved = [], False
        for k, t in enumerate(leaves):
            if type(t) is Tensor:
                value, node = t._value, t._node
                if node is not None and node.requires_grad:
                    return None
                known = value is placed[k]
            elif _is_plain(t):
                value, known = t, False  # it may have been given another shape
            else:
                return None
            values.append(value)
            if not known:
                moved = True
                if value is None or (value.shape, value.dtype) != specs[k]:
                    return None
        with resident.lock:
            if not (
                len(resident.held) == resident.count
                and step.seen == changes.count
                and step.surroundings.unchanged()
            ):
                return None
            if step.unseen:
                expect_seen(step)
                leave_unseen(step)
            if moved or placed is not resident.placed:
                resident.arrange(values)
            found = resident.again()
        if self._one:
            return (make(found[0]),)
        return (returned(step, [make(v) for v in found]),)

    def repeat(
        self, count: int, arguments: Sequence[Array], varying: Sequence[tuple[Tensor, Array]]
    ) -> list[Array] | None:
        """See `Compiled.repeat`."""
        specs = zip(arguments, self._specs, strict=False)
        alike = (
            self.repeats
            and state.grad is self._grad
            and len(arguments) == len(self._specs)
            and all(
                shape
                and a.dtype == dtype
                and a.shape == (count * shape[0], *shape[1:])
                and a.flags.c_contiguous
                for a, (shape, dtype) in specs
            )
            and fits(self._step)
        )
        if not alike:
            return None
        return self._resident.repeat(count, arguments, varying)


def _is_plain(t: Any) -> bool:
    """Whether it is a tensor that nothing is differentiated by, or an array as it is."""
    if type(t) is np.ndarray:
        return bool(t.flags.c_contiguous and t.flags.aligned)
    return type(t) is Tensor and (t._node is None or not t._node.requires_grad)


class _Bound(Wrapper):
    """A compiled method of one object."""

    __slots__ = ("_compiled", "_instance")

    def __init__(self, compiled: Compiled, instance: Any) -> None:
        super().__init__(compiled, instance)
        self._compiled, self._instance = compiled, instance

    def __get__(self, instance: Any, owner: Any = None) -> _Bound:
        return self  # a method that is bound stays with its object

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(self._instance, *args, **kwargs)

    def graph(self, *args: Any, **kwargs: Any) -> str:
        """As `Compiled.graph`."""
        return self._compiled.graph(self._instance, *args, **kwargs)

    def program(self, *args: Any, **kwargs: Any) -> str:
        """As `Compiled.program`."""
        return self._compiled.program(self._instance, *args, **kwargs)

    def plan(self, *args: Any, **kwargs: Any) -> str:
        """As `Compiled.plan`."""
        return self._compiled.plan(self._instance, *args, **kwargs)

    def llvm(self, *args: Any, **kwargs: Any) -> str:
        """As `Compiled.llvm`."""
        return self._compiled.llvm(self._instance, *args, **kwargs)


class _Fixed:
    """An argument that is no tensor: part of the key, by identity or, if it is plain, by value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            raise ArgumentError(
                "compile",
                f"got an argument of type {type(value).__name__}",
                "tensors, arrays, hashable values and lists, tuples, dicts of them",
                "pass tensors, or close over the object",
            ) from None
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fixed) and same(self.value, other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value)) if isinstance(self.value, float) else hash(self.value)


def _varying(function: Callable[..., Any], keys: list[Any], outside: str) -> str:
    """Which argument's shape changes from call to call, or what is outside."""
    columns = zip(*(k[1] for k in keys), strict=False)
    varying = [k for k, column in enumerate(columns) if len(set(column)) > 1]
    name = getattr(function, "__name__", "function")
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    plain = len(names) == len(keys[0][1])  # each argument is one leaf
    which = ", ".join(names[k] if plain else str(k + 1) for k in varying)
    kind = "argument" if plain else "of the values in its arguments, number"
    what = f"{outside} varies; keep it in a tensor, or in an object that the function does not hold"
    if which:
        what = f"{kind} {which} varies; pad to a fixed shape, pass numbers as tensors"
    many = f"{name} was compiled {MANY_SHAPES} times"
    return f"[compile] {many}; {what}, or call the function without compile"


def compile(function: Callable[..., Any]) -> Compiled:
    """Trace the function once per shapes of its arguments and run the whole of it as one program.

    Tensors that the function uses from outside (parameters, buffers, the random state) are read
    anew at each call, and those that it assigns are assigned: the result is what the function
    itself gives. Python code inside runs only while tracing; a value that Python decides by must
    be an argument that is no tensor. If an error stops a step, nothing of it has been assigned.
    The backend is loaded here; code is made at the first call, or found on disk.
    """
    if not callable(function):
        raise ArgumentError(
            "compile", f"got {type(function).__name__}", "a function", "use it as a decorator"
        )
    backends.current().load()  # so that the first call finds it loaded
    return Compiled(function)
