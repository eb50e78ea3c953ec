"""Matrix products of a plan: their operands, and what is finished while it is in registers."""

from __future__ import annotations

from ..ir_types import I64
from ..plan.cuts import blocking_of_cut
from ..plan.matmul import operands
from .epilogue import Epilogue
from .loops import Loops
from .matmul_tiles import emit_tiles


def emit(loops: Loops) -> None:
    """This thread's tiles, each with the group that is computed from it."""
    task = loops.task
    main, target = task.group.main, loops.plan.target
    blocking = blocking_of_cut(main, task.writes, task.cut, loops.storage, target)
    left, right = (loops.element(b, offset) for b, offset, _ in operands(loops.storage, main))
    part = loops.part or (I64(0), I64(blocking.tiles))
    finish = None
    if task.writes != (task.group.main,):
        finish = Epilogue(loops, blocking.lanes)
    goal = loops.pointers[task.writes[0]]
    emit_tiles(loops.builder, blocking, left, right, goal, loops.scratch, *part, finish)
