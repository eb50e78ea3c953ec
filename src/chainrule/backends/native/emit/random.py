"""random_bits: Philox4x32-10, four words per turn (see `numerics.random_bits`)."""

from __future__ import annotations

import math

from llvmlite import ir

from ..ir_types import I32, I64
from ..plan.blocking import up
from ..plan.cuts import WORDS
from .loops import Loops

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEYS = 0x9E3779B9, 0xBB67AE85


def emit(loops: Loops) -> None:
    """The words of a state that has a seed and the number of this draw."""
    b = loops.task.group.main
    state = loops.storage.kernel(b).reads[0]
    count, builder = math.prod(loops.buffers[b].shape), loops.builder
    seed, draw = (loops.load_raw(state, (k,)) for k in range(2))

    def put(block: ir.Value, words: int) -> None:
        for k, word in enumerate(_words(builder, seed, draw, block)[:words]):
            place = builder.add(builder.mul(block, I64(WORDS)), I64(k))
            at = builder.gep(loops.pointers[b], [place], source_etype=I32)
            builder.store(word, at)

    whole, rest = divmod(count, WORDS)
    loops.loop(whole, lambda block: put(block, WORDS), cut=True)
    if not rest:
        return
    if loops.part is None:
        put(I64(whole), rest)
    else:  # the thread that does the last unit
        units = up(up(count, WORDS), loops.task.cut.unit)
        with builder.if_then(builder.icmp_unsigned("==", loops.part[1], I64(units))):
            put(I64(whole), rest)


def _words(
    builder: ir.IRBuilder, seed: ir.Value, draw: ir.Value, block: ir.Value
) -> list[ir.Value]:
    low, half = I64(0xFFFFFFFF), I64(32)
    c = [builder.and_(block, low), builder.lshr(block, half)]
    c += [builder.and_(draw, low), builder.lshr(draw, half)]
    k0, k1 = builder.and_(seed, low), builder.lshr(seed, half)
    for _ in range(ROUNDS):
        p0, p1 = (builder.mul(I64(m), x) for m, x in zip(MULTIPLIERS, (c[0], c[2]), strict=True))
        c = [
            builder.xor(builder.xor(builder.lshr(p1, half), c[1]), k0),
            builder.and_(p1, low),
            builder.xor(builder.xor(builder.lshr(p0, half), c[3]), k1),
            builder.and_(p0, low),
        ]
        k0 = builder.and_(builder.add(k0, I64(KEYS[0])), low)
        k1 = builder.and_(builder.add(k1, I64(KEYS[1])), low)
    return [builder.trunc(x, I32) for x in c]
