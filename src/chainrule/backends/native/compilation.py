"""A program with all that is decided of it: groups, memory, code. Nothing here runs.

This is what takes long, and what `cache.cached` spares a process that finds its result on disk.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from ...graph import spec_text
from ..program import Kernel, Program
from .emit.module import Native, Segment, emit, segments_of
from .object_code import compile_ir
from .plan.groups import plan
from .plan.memory import arena
from .plan.threads import product
from .processor import Target
from .run.schedule import Call, Schedule


class Compilation:
    """How a program is done on a target.

    rewritten   those of its kernels that this backend has put in
    """

    def __init__(self, program: Program, target: Target, rewritten: Sequence[Kernel] = ()) -> None:
        self.program, self.target, self._rewritten = program, target, rewritten
        self.plan = plan(program, target)
        self.segments: list[Segment] = segments_of(self.plan)
        self.arena = arena(self.plan, set(program.outputs))

    def llvm(self) -> str:
        """LLVM IR of all that is native."""
        return emit(self.plan, self.segments, self.target)

    def packed(self) -> bytes:
        """The schedule and the object code."""
        native = any(isinstance(s, Native) for s in self.segments)
        return self.schedule.packed(compile_ir(self.llvm(), self.target) if native else b"")

    @functools.cached_property
    def schedule(self) -> Schedule:
        """What running it takes."""
        made = self.plan
        kernels = {id(kernel): k for k, kernel in enumerate(self.program.kernels)}
        calls = []
        for segment in self.segments:
            if isinstance(segment, Kernel):
                calls.append(Call("", kernels[id(segment)]))
                continue
            groups = [made.groups[k] for k in segment.groups]
            work, shared = sum(g.work for g in groups), any(g.units > 1 for g in groups)
            calls.append(Call(segment.name, -1, work, shared))
        written = {made.home(b) for g in made.groups[: made.safe] for b in g.writes}
        scratch = [
            product(made, g, self.target).scratch_bytes for g in made.groups if g.kind == "matmul"
        ]
        return Schedule(
            tuple(calls),
            self.arena.size,
            tuple(self.arena.offsets.items()),
            tuple(made.in_place),
            tuple((own, b) for b, own in made.staged.items()),
            max(scratch, default=0),
            tuple(sorted(set(self.program.outputs) & written)),
        )

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        """What was rewritten; the groups in order: what is written where, by what, from what."""
        made, offsets = self.plan, self.arena.offsets
        yield f"native({len(made.groups)} groups, arena of {self.arena.size} bytes):"
        for kernel in self._rewritten:
            yield f"  rewritten {kernel}"
        for k, group in enumerate(made.groups):
            writes = ", ".join(
                f"b{b}: {spec_text(made.values[b])}"
                + (f" over b{made.in_place[b]}" if b in made.in_place else "")
                + (f" at {offsets[b]}" if b in offsets else "")
                for b in group.writes
            )
            cut = f", {group.units} parts" if group.units > 1 else ""
            inputs = ", ".join(f"b{r}" for r in group.reads if r not in group.writes)
            if group.meets:
                yield "  threads meet"
            yield f"  g{k} {group.kind}{cut}: {writes} from {inputs}"
        for new, old in made.commits:
            yield f"  copy b{new} to b{old}"
