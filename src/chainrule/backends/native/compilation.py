"""A program with all that is decided of it, and its code. Nothing here runs.

This is slow; `code_cache.cached` spares it a process that finds the result on disk.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ..program import Kernel, Program
from .emit.module import emit_module, emit_modules
from .object_code import compile_ir
from .plan.segments import Native
from .plan.stages import plan
from .processor import Target
from .run.schedule import Call, Schedule


class Compilation:
    """How a program is done on a target.

    rewritten   those of its kernels that this backend has put in
    """

    def __init__(self, program: Program, target: Target, rewritten: Sequence[Kernel] = ()) -> None:
        self.program, self.target, self._rewritten = program, target, rewritten
        self.plan = plan(program, target)

    def llvm(self) -> str:
        """LLVM IR of all that is native, to be read."""
        return emit_module(self.plan)

    def packed(self) -> bytes:
        """The schedule and the object code."""
        code = b""
        if any(isinstance(segment, Native) for segment in self.plan.segments):
            program, vectors = emit_modules(self.plan)
            code = compile_ir(program, self.target, vectors=vectors)
        return self.schedule.packed(code)

    @functools.cached_property
    def schedule(self) -> Schedule:
        """What running it takes."""
        plan = self.plan
        updates, arena = plan.updates, plan.arena
        kernels = {kernel.writes: k for k, kernel in enumerate(self.program.kernels)}
        calls = []
        for segment in plan.segments:
            if isinstance(segment, Kernel):
                calls.append(Call("", kernels[segment.writes]))
                continue
            tasks = [plan.tasks[k] for k in segment.tasks]
            work, shared = sum(t.group.work for t in tasks), any(t.shared for t in tasks)
            calls.append(Call(segment.name, -1, work, shared))
        written = {updates.home(b) for task in plan.tasks[: plan.safe] for b in task.writes}
        return Schedule(
            tuple(calls),
            arena.size,
            tuple(arena.offsets.items()),
            tuple(updates.over),
            tuple((own, b) for b, own in updates.staged.items()),
            plan.scratch,
            tuple(sorted(set(self.program.outputs) & written)),
        )

    def __str__(self) -> str:
        """The plan, and what was rewritten for it."""
        head, *lines = str(self.plan).split("\n")
        return "\n".join([head, *(f"  rewritten {kernel}" for kernel in self._rewritten), *lines])
