"""What the guard and the probes of `fit` cost: ratios of step times, on one thread and two.

Plain steps, steps with the guard, and steps with the guard and the probes alternate in one process,
some 10 ms each, in another order in each round; a ratio is of times of one round, so a busy machine
slows both. On one thread times are of the processor, on two of the clock. Printed: the median of
the ratios and their quartiles; of the first step, which compiles, seconds of the processor from an
empty cache. The limits are 1.02 for the guard, 1.05 for both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import optim
from chainrule.cli.workloads import WORKLOADS
from chainrule.diagnosis.guard import Guard
from chainrule.diagnosis.probes import Monitor
from chainrule.train.evaluation.objective import Objective
from chainrule.train.loop.step import make_step

WORKS = "mnist", "cnn", "lstm", "gpt"
KINDS = "plain", "guard", "both"
ROUND = 0.01  # seconds of steps in a row


def first_step(name: str, kind: str) -> tuple[Callable[[], Any], float]:
    """A step of a work that has run once, and the seconds of that."""
    work = WORKLOADS[name]
    cr.random.seed(0)
    model, (x, y) = work.network(cr), map(cr.Tensor, work.rows())
    optimizer = optim.Adam(model.named_parameters(), lr=1e-3)
    step = make_step(
        model,
        Objective(work.loss(cr)),
        optimizer,
        clip_norm=1.0,
        guard=None if kind == "plain" else Guard(),
        monitor=Monitor(model) if kind == "both" else None,
    )
    began = time.process_time()
    step(x, y)
    return lambda: step(x, y), time.process_time() - began


def ratios(name: str, seconds: float) -> dict[str, Any]:
    """µs of a plain step; by kind the quartiles of the ratios to it."""
    now = time.thread_time if os.environ["CHAINRULE_THREADS"] == "1" else time.perf_counter
    steps = {kind: first_step(name, kind)[0] for kind in KINDS}
    count = max(1, int(ROUND / min(map(once, steps.values()))))
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    order, end = list(KINDS), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for kind in order:
            began = now()
            for _ in range(count):
                steps[kind]()
            taken[kind].append((now() - began) / count)
        order = [*order[1:], order[0]]
    plain = np.array(taken["plain"])
    quartiles = {k: np.quantile(taken[k] / plain, (0.25, 0.5, 0.75)).tolist() for k in KINDS[1:]}
    return {"us": float(np.median(plain)) * 1e6, "rounds": len(plain), **quartiles}


def once(step: Callable[[], Any]) -> float:
    """Seconds of a step, the second one."""
    step()
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def in_process(*args: object, **environment: str) -> Any:
    """What this script prints with these arguments, in a process of its own."""
    out = subprocess.run(
        [sys.executable, __file__, *map(str, args)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(out.stdout)


def table(works: list[str], seconds: float) -> None:
    """Measure and print."""
    print("threads  work    µs/step  guard                both                 first, s")
    for threads in "1", "2":
        for name in works:
            firsts = {}
            for kind in KINDS:
                with tempfile.TemporaryDirectory() as cache:
                    settings = {"CHAINRULE_THREADS": threads, "CHAINRULE_CACHE": cache}
                    firsts[kind] = in_process("--first", name, kind, **settings)
            found = in_process("--ratios", name, seconds, CHAINRULE_THREADS=threads)
            shown = "  ".join("{1:.3f} ({0:.3f}, {2:.3f})".format(*found[k]) for k in KINDS[1:])
            first = " ".join(f"{firsts[kind]:.2f}" for kind in KINDS)
            print(f"{threads:7}  {name:6} {found['us']:8.0f}  {shown}  {first}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of steps per work")
    parser.add_argument("--first", nargs=2, metavar=("WORK", "KIND"), help="print one number")
    parser.add_argument("--ratios", nargs=2, metavar=("WORK", "SECONDS"), help="print JSON")
    given = parser.parse_args()
    if given.first:
        print(json.dumps(first_step(*given.first)[1]))
    elif given.ratios:
        print(json.dumps(ratios(given.ratios[0], float(given.ratios[1]))))
    else:
        table(given.works, given.seconds)
