"""Compiling a step: record it, optimise the graph of the whole of it, let a backend run it.

A call goes through `Compiled.__call__`, or, where nothing but values has changed, `fast_path`. A
compilation goes through `step`: the function is recorded with what it captures (`captures`), the
graph goes through `passes`, and a backend builds the program. Its tensors then stay with the step
(`resident`), or each call reads and assigns them (`transient`).

fast_path           the same step again, on arguments of the same kind
step                one compilation of the function
arguments           the arguments' tensors, and the key of the steps that fit them
captures            tensors that the function reads from outside
passes              graph to graph; `joining`, `loops` and `checkpoints` have some of them;
                    `rewriting`: what all are written with
stages              what CHAINRULE_SHOW prints
resident            tensors that stay with a step; `resident_graph`: whether they can
transient           calls of a step whose tensors do not stay
side_effects        changes of Python's variables while recording: refused
recompilation       the warning about compiling again and again
notice              the message about a compilation that takes long
cost                floating-point operations of a graph
locks               locks, and forks
garbage_collection  its pause while a step is compiled
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import backends
from ..errors import ArgumentError
from ..graph import Array
from ..tensor import Tensor, make
from ..trace import state
from ..wrapping import Wrapper
from . import captures, garbage_collection, locks, stages, transient
from .arguments import Arguments, Key
from .fast_path import FastPath, FastPaths
from .notice import Notice
from .recompilation import warn_if_many
from .step import Step, compile_step

MOST_STEPS = 64  # of one function; the oldest goes first


# Any: the arguments and results of the user's function, of whatever kind.


class Compiled(Wrapper):
    """A function that is traced once per shapes of its arguments and then runs as one program."""

    __slots__ = ("_fast", "_function", "_lock", "_steps", "_used")

    def __init__(self, function: Callable[..., Any], used: Sequence[Any] = ()) -> None:
        """used   what else it uses, through objects of this library that do not show it"""
        super().__init__(function, used)
        self._function, self._used = function, used
        self._steps: dict[Key, list[Step]] = {}
        self._lock = locks.of_function()  # reading, running and assigning are one step
        self._fast = FastPaths()

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
        fast = self._fast.last
        if fast is not None and not kwargs:
            out = fast.call(args)
            if out is not None:
                return out[0]
        arguments = Arguments(args, kwargs)
        key = arguments.key()
        with self._lock:
            while True:
                step = next((s for s in self._steps.get(key, ()) if s.is_current()), None)
                if step is None:
                    step = self._compile(arguments)
                    self._add(key, step)
                step.expect_no_variable(arguments.tensors)
                step.warn_of_unread_gradients()
                resident = step.resident
                if resident is not None:
                    break
                self._fast.last = None
                with locks.using(step.exclusive):
                    captured = captures.current_tensors(step.recorded, step.specs)
                    if captured is not None:  # else another thread's step has changed gradients
                        return transient.run(step, arguments.tensors, captured)
            results = resident.run([t._value for t in arguments.tensors])
            step.mark_gradients_unread()
            if not kwargs:
                path = FastPath(step, resident, args)
                self._fast.last = self._fast.of_steps[id(step)] = path
            return step.structured([make(v) for v in results])

    @property
    def repeats(self) -> bool:
        """Whether `repeat` can be used now."""
        return any(path.can_repeat for path in self._fast.of_steps.values())

    def repeat(
        self,
        count: int,
        arguments: Sequence[Array],
        varying: Sequence[tuple[Tensor, Array]] = (),
    ) -> list[Array] | None:
        """`count` steps like an earlier one in one native call; None where that cannot be.

        It cannot where there was no such call yet, rows or dtypes differ, or the step is not one
        native call.

        arguments   for each argument of that call, the rows of all steps, one after the other
        varying     tensors that the step reads and does not assign, with a value for each step

        Returns each result of all steps, stacked.
        """
        for path in self._fast.of_steps.values():
            results = path.repeat(count, arguments, varying)
            if results is not None:
                return results
        return None

    @garbage_collection.paused
    def _compile(self, arguments: Arguments) -> Step:
        name = getattr(self._function, "__name__", "function")
        with Notice(f"{name} again" if self._steps else name) as notice:
            return compile_step(self._function, self._used, arguments, notice)

    def _add(self, key: Key, step: Step) -> None:
        """Keep a step for later calls; of too many, the oldest goes."""
        self._steps.setdefault(key, []).append(step)
        warn_if_many(self._function, self._steps, key)
        if sum(map(len, self._steps.values())) > MOST_STEPS:
            oldest = next(iter(self._steps))
            self._fast.of_steps.pop(id(self._steps[oldest].pop(0)), None)
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

    def _text(self, stage: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """A stage of the backend's own."""
        stages.expect_shown(stage)
        return self._step(args, kwargs).executable.text(stage)

    def _step(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Step:
        """Compiled for these arguments, to be looked at."""
        return self._compile(Arguments(args, kwargs))


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


def compile(function: Callable[..., Any]) -> Compiled:
    """Trace the function once per shapes of its arguments and run the whole of it as one program.

    Tensors that the function uses from outside (parameters, buffers, the random state) are read
    again at each call, and those that it assigns are assigned: the result is what the function
    itself gives. Python code inside runs only while tracing; a value that Python decides by must
    be an argument that is no tensor. If an error stops a step, nothing of it has been assigned.
    The backend is loaded here; code is made at the first call, or loaded from disk.
    """
    if not callable(function):
        raise ArgumentError(
            "compile",
            f"got {type(function).__name__}",
            "expected a function",
            "use it as a decorator",
        )
    stages.asked()  # raises for a stage that does not exist
    backends.current().load()  # so that the first call need not
    return Compiled(function)
