"""Trains the programs of a collection, and compares them with what it recorded.

    python benchmarks/recorded.py --cases FILE [--jobs 2] [--seeds 3] [--out FILE] [CASE ...]
    python benchmarks/recorded.py --cases FILE --exact [CASE ...]

A program agrees if the median of its scores lies between the recorded ones of three seeds, or
closer to them than TOLERANCE, or half of their spread. With --exact, dropout is off, both libraries
begin with the same weights in float64, and the losses of the first STEPS steps are compared: these
have to be equal except for rounding, which some programs amplify.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from programs import torch_programs, training
from programs.collection import Collection

TOLERANCE = 0.03
STEPS = 20
CLOSE = 1e-9  # relative difference of losses that are equal except for rounding

Row = dict[str, Any]

collection_of = functools.cache(Collection)  # in each process: its data are read once


def row(job: tuple[Path, str, str, int]) -> Row:
    """A program's scores and the seconds of its parts."""
    cases, name, which, seeds = job
    collection = collection_of(cases)
    program = collection.program(name, which)
    began = time.process_time()
    arrays = program.arrays
    spent: dict[str, list[float]] = {"data": [time.process_time() - began]}
    scores, steps = [], []
    for seed in range(seeds):
        outcome = training.train(program, seed)
        scores.append(collection.score(name, arrays, outcome.outputs, outcome.test_outputs))
        steps.append(outcome.nonfinite_step)
        for part, seconds in outcome.seconds.items():
            spent.setdefault(part, []).append(seconds)
    found = {"case": name, "program": which, "scores": scores, "nonfinite": steps, "seconds": spent}
    return compared(found, collection.cases[name])


def exact(job: tuple[Path, str, str, int]) -> Row:
    """How far the losses of the first steps are apart in the two libraries."""
    cases, name, which, seed = job
    collection = collection_of(cases)
    program = collection.program(name, which)
    for layer in program.recipe["layers"]:
        if layer["type"] == "dropout":
            layer["rate"] = 0.0
    theirs, ours = torch_programs.build_torch(collection.build, program), program.build()
    torch_programs.copy_weights(theirs.model, ours)
    theirs, ours = torch_programs.in_float64(collection.build, program, theirs, ours)
    a = torch_programs.first_losses(theirs, STEPS, np.random.default_rng(seed))
    b = training.first_losses(ours, STEPS, np.random.default_rng(seed))
    finite = int(min([*np.flatnonzero(~np.isfinite(a)), STEPS]))
    apart = float(np.max(np.abs(a - b)[:finite] / (np.abs(a[:finite]) + 1e-6), initial=0.0))
    ends = finite == int(min([*np.flatnonzero(~np.isfinite(b)), STEPS]))
    agrees = ends and apart < CLOSE
    return {"case": name, "program": which, "apart": apart, "finite": finite, "agrees": agrees}


def compared(found: Row, case: dict[str, Any]) -> Row:
    """With the recorded scores, and whether the new ones agree."""
    result = case["result"]
    runs = result["runs"] if case.get("control") else result[f"{found['program']}_runs"]
    then = [run["score"] for run in runs]
    slack = max(TOLERANCE, (max(then) - min(then)) / 2)
    middle = statistics.median(found["scores"])
    agrees = min(then) - slack <= middle <= max(then) + slack
    known = {"recorded": then, "recorded_nonfinite": [run["nonfinite_step"] for run in runs]}
    return {**found, **known, "agrees": agrees}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="cases; all if left out")
    parser.add_argument("--cases", type=Path, required=True, help="the file of the collection")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--seeds", type=int, default=3, help="trainings per program")
    parser.add_argument("--exact", action="store_true", help="compare the losses of first steps")
    parser.add_argument("--out", type=Path, help="where the figures are written, as JSON")
    given = parser.parse_args()
    os.environ["CHAINRULE_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # of the processes
    collection = Collection(given.cases)
    work = [
        (given.cases, name, which, 0 if given.exact else given.seeds)
        for name, which, _ in collection.programs()
        if not given.names or name in given.names
    ]
    began, rows = time.perf_counter(), []
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        for found in pool.imap(exact if given.exact else row, work):
            rows.append(found)
            print(" " if found["agrees"] else "≠", text(found), flush=True)
    agreeing = sum(r["agrees"] for r in rows)
    print(f"{agreeing} of {len(rows)} programs agree; {time.perf_counter() - began:.0f} s")
    if given.out is not None:
        given.out.write_text(json.dumps(rows, indent=1) + "\n")


def text(found: Row) -> str:
    """A line for a program."""
    head = f"{found['case']:32} {found['program']:6}"
    if "apart" in found:
        return f"{head} {found['apart']:.1e} in {found['finite']} steps"
    scores, then = ([round(s, 3) for s in found[key]] for key in ("scores", "recorded"))
    spent = " ".join(f"{part} {max(s):.2f}" for part, s in found["seconds"].items())
    ended = f", not finite at {found['nonfinite']}" if any(found["nonfinite"]) else ""
    return f"{head} {scores}, recorded {then}{ended}; {spent}"


if __name__ == "__main__":
    main()
