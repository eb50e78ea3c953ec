"""Every matrix product of the works, alone, beside the same one through NumPy, on 1 and 2 threads.

A layer of `rows` samples has three: its result, the gradient of its input and that of its weights.
Operands lie as a step has them: weights are (outputs, inputs), so they are read transposed in the
result; that of a convolution is over unfolded images. Ours runs many times in one native call, as
products do within a step. A process has one number of threads and one set of instructions: AVX2 on
both sides, and all that the processor has.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import numpy as np

import chainrule as cr
from chainrule.backends.native.processor import host
from chainrule.cli.workloads import WORKLOADS, Layers
from parts import arguments, facts, keep, processors

ROLES = ("result", "input", "weights")
# (name, rows, inputs, outputs); of several equal layers one.
LAYERS = [
    *(
        (f"{name} {k}", work.batch, *sizes)
        for name, work in WORKLOADS.items()
        if isinstance(work, Layers)
        for k, sizes in enumerate(dict.fromkeys(pairwise(work.sizes)), 1)
    ),
    ("cnn convolution 1", 64 * 28 * 28, 25, 16),
    ("cnn convolution 2", 64 * 14 * 14, 25 * 16, 32),
    ("cnn linear 1", 64, 1568, 128),
    ("cnn linear 2", 64, 128, 10),
    ("cnn3 convolution 1", 64 * 32 * 32, 9 * 3, 32),
    ("cnn3 convolution 2", 64 * 32 * 32, 9 * 32, 32),
    ("cnn3 convolution 3", 64 * 16 * 16, 9 * 32, 64),
    ("cnn3 convolution 4", 64 * 16 * 16, 9 * 64, 64),
    ("cnn3 convolution 5", 64 * 8 * 8, 9 * 64, 128),
    ("cnn3 convolution 6", 64 * 8 * 8, 9 * 128, 128),
    ("cnn3 linear", 64, 128, 10),
    ("lstm inputs", 32 * 64, 64, 1024),
    ("lstm states, one turn", 32, 256, 1024),
    ("lstm states", 32 * 64, 256, 1024),
    ("lstm output", 32 * 64, 256, 64),
    ("gpt qkv", 16 * 64, 128, 384),
    ("gpt joined", 16 * 64, 128, 128),
    ("gpt inner", 16 * 64, 128, 512),
    ("gpt outer", 16 * 64, 512, 128),
    ("gpt output", 16 * 64, 128, 64),
]
# What a step does not compute: a gradient of data; of a loop, what is one product after it.
UNUSED = {(f"{work} 1", "input") for work in ("tiny", "digits", "mnist", "wide")}
UNUSED |= {("cnn convolution 1", "input"), ("cnn3 convolution 1", "input")}
UNUSED |= {("lstm states, one turn", "weights"), ("lstm states", "result")}
UNUSED |= {("lstm states", "input")}


def products() -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(layer, role, left, right): arrays as they lie in memory, or transposed."""
    rng = np.random.default_rng(0)
    for name, rows, inputs, outputs in LAYERS:
        x, w, g = (
            rng.standard_normal(shape, dtype=np.float32)
            for shape in ((rows, inputs), (outputs, inputs), (rows, outputs))
        )
        for role, pair in zip(ROLES, ((x, w.T), (g, w), (g.T, x)), strict=True):
            if (name, role) not in UNUSED:
                yield name, role, *pair


def ours(left: np.ndarray, right: np.ndarray) -> Callable[[int], object]:
    """A function that computes the product `count` times."""
    (a, turned), (b, other) = map(_stored, (left, right))
    c = cr.zeros((left.shape[0], right.shape[1]))

    @cr.compile
    def step():
        c[...] = (a.T if turned else a) @ (b.T if other else b)

    step()
    np.testing.assert_allclose(c.numpy(), left @ right, rtol=1e-3, atol=1e-4 * left.shape[1])
    return lambda count: step.repeat(count, [])


def _stored(array: np.ndarray) -> tuple[cr.Tensor, bool]:
    """The array that lies in memory, and whether it is read transposed."""
    turned = not array.flags.c_contiguous
    return cr.Tensor(array.T if turned else array), turned


def theirs(left: np.ndarray, right: np.ndarray) -> Callable[[int], object]:
    out = np.empty((left.shape[0], right.shape[1]), np.float32)

    def run(count: int) -> None:
        for _ in range(count):
            np.matmul(left, right, out=out)

    return run


def best(programs: list[Callable[[int], object]], rounds: int, seconds: float) -> list[float]:
    """Microseconds of each at its best, in rounds of `seconds` in turn."""
    counts = [_count(program, seconds) for program in programs]
    times: list[list[float]] = [[] for _ in programs]
    for _ in range(rounds):
        for program, count, taken in zip(programs, counts, times, strict=True):
            time.sleep(0.001)  # threads of the other one go to sleep
            program(1)
            taken.append(_timed(partial(program, count), count))
    return [min(taken) * 1e6 for taken in times]


def _count(program: Callable[[int], object], seconds: float) -> int:
    """How many runs take about so long."""
    count = 1
    while (taken := min(_timed(partial(program, count), 1) for _ in range(3))) < seconds / 2:
        count = max(2 * count, int(count * seconds / taken / 2))
    return count


def _timed(run: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / count


def measure(rounds: int, seconds: float) -> Iterator[dict[str, object]]:
    """In a process of its own: the threads and instructions are those of its environment."""
    for name, role, left, right in products():
        us, numpy_us = best([ours(left, right), theirs(left, right)], rounds, seconds)
        work = 2 * left.size * right.shape[1]
        yield {"layer": name, "role": role, "operations": work, "us": us, "numpy_us": numpy_us}


def instructions() -> dict[str, dict[str, str]]:
    """The sets of instructions that are measured: settings of ours and of OpenBLAS."""
    widest = "AVX-512" if host().has("avx512f") else "AVX2" if host().has("avx2") else "SSE"
    narrower = {"CHAINRULE_FEATURES": "avx2", "OPENBLAS_CORETYPE": "Haswell"}
    return ({"AVX2": narrower} if widest == "AVX-512" else {}) | {widest: {}}


def rows(passes: int, rounds: int, seconds: float) -> list[dict[str, object]]:
    """What was measured of each product, threads and set of instructions: the best of all passes.

    What else a machine does may disturb it for seconds at a time; a pass takes minutes.
    """
    best: dict[tuple[object, ...], dict[str, object]] = {}
    for _ in range(passes):
        for threads, (name, settings) in itertools.product((1, 2), instructions().items()):
            counts = dict.fromkeys(("CHAINRULE_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
            counts["OPENBLAS_THREAD_TIMEOUT"] = "20"  # cycles, 2²⁰: they sleep before ours begin
            command = [sys.executable, __file__, "measure", str(rounds), str(seconds)]
            with processors(threads):
                done = subprocess.run(
                    command,
                    env={**os.environ, **counts, **settings},
                    check=True,
                    capture_output=True,
                )
            for row in json.loads(done.stdout):
                row = {"instructions": name, "threads": threads, **row}
                before = best.setdefault((name, threads, row["layer"], row["role"]), row)
                for us in ("us", "numpy_us"):
                    before[us] = min(before[us], row[us])
    return list(best.values())


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(list(measure(int(sys.argv[2]), float(sys.argv[3])))))
    else:
        given = arguments(__doc__)
        passes, rounds, seconds = (1, 2, 0.001) if given.quick else (3, 6, 0.004)
        found = {**facts("llvmlite"), "quick": given.quick, "passes": passes, "rounds": rounds}
        keep("products", {**found, "rows": rows(passes, rounds, seconds)}, given.out)
