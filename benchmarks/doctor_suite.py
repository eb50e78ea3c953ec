"""What the doctor says of trainings whose faults were put there, and of healthy ones.

    python benchmarks/doctor_suite.py [--jobs 2] [--seconds 4] [--shift N] [--out FILE] [WORD ...]

A fault counts only if the healthy training reaches its floor and the faulty one is 0.1 below it.
With a shift all data and first weights come from other seeds; rows that then do not count are shown
as errors of their assertion, and left out. WORDs choose rows: those that contain one of them, as in
`lr_too_high` or `cnn`.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
import traceback
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainrule.diagnosis import Finding
from chainrule.doctor.facts import gather
from chainrule.doctor.search import find
from seeded.faults import Seeded, build
from seeded.healthy import HEALTHY
from seeded.suite import FAULTS

SECONDS = 4.0  # of processor time for the trials of a training
SEEDS = 0, 1  # of the healthy ones
HARM = 0.1  # of the score
TOP = 3  # findings that count


@dataclass(frozen=True)
class Row:
    """What came of a training."""

    kind: str  # "healthy", or the fault's
    healthy: str
    seed: int
    score: float
    found: tuple[tuple[str, str], ...]
    seconds: float
    named: bool = False  # the kind, or one that says the same
    first: bool = False
    placed: bool = False  # and its place

    def __str__(self) -> str:
        mark = "".join("·✓"[b] for b in (self.named, self.first, self.placed))
        if self.kind == "healthy":
            mark = "false alarm" if self.found else ""
        found = ", ".join(f"{kind} ({place})" for kind, place in self.found)
        return (
            f"{self.kind:26}{self.healthy:24}{self.seed:2} {self.score:6.2f} "
            f"{self.seconds:5.1f} s {mark:4} {found or 'nothing'}"
        )


def placed(finding: Finding, seeded: Seeded) -> bool:
    """Whether the finding is where the fault is; "*" are all layers."""
    for place in seeded.places:
        inside = finding.place == place or finding.place.startswith(place + ".")
        anywhere = place == "*" and finding.place.split(".")[0] not in ("data", "optimizer", "loss")
        if inside or anywhere:
            return True
    return False


def faulty(seeded: Seeded, seconds: float) -> Row:
    """The doctor's findings of a fault, judged; asserts that it harms."""
    healthy = HEALTHY[seeded.healthy]
    well = gather(healthy.build(seeded.seed)).outcome.score
    began = time.process_time()
    findings, search = find(build(seeded), seconds)
    score = search.base
    assert well >= healthy.floor, f"{seeded.healthy} reaches {well:.2f}: below {healthy.floor}"
    assert score <= well - HARM, f"{seeded.kind} in {seeded.healthy}: {well:.2f} -> {score:.2f}"
    right = [f for f in findings[:TOP] if f.kind in (seeded.kind, *seeded.also)]
    return Row(
        seeded.kind,
        seeded.healthy,
        seeded.seed,
        score,
        tuple((f.kind, f.place) for f in findings),
        time.process_time() - began,
        bool(right),
        bool(right) and right[0] is findings[0],
        any(placed(f, seeded) for f in right),
    )


def well(name: str, seed: int, seconds: float) -> Row:
    """The doctor's findings of a healthy training: each is a false alarm."""
    healthy = HEALTHY[name]
    began = time.process_time()
    findings, search = find(healthy.build(seed), seconds)
    assert search.base >= healthy.floor, f"{name} reaches {search.base:.2f}: below {healthy.floor}"
    found = tuple((f.kind, f.place) for f in findings)
    return Row("healthy", name, seed, search.base, found, time.process_time() - began)


def row(job: tuple[int | None, str, int, float]) -> Row:
    """A job: the number of a fault, or none for a healthy training; its name, seed, seconds."""
    number, name, seed, seconds = job
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if number is None:
                return well(name, seed, seconds)
            return faulty(replace(FAULTS[number], seed=seed), seconds)
        except Exception as error:  # the others go on; it counts as wrong
            kind = "healthy" if number is None else FAULTS[number].kind
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} {place.name}:{place.lineno} {str(error)[:200]}"
            return Row(kind, name, seed, math.nan, (("error", what),), 0.0)


def summary(rows: list[Row]) -> dict[str, Any]:
    """Shares in percent, of the rows that count."""
    rows = [r for r in rows if not any("AssertionError" in place for _, place in r.found)]
    faults = [r for r in rows if r.kind != "healthy"]
    healthy = [r for r in rows if r.kind == "healthy"]

    def share(part: list[Row], of: list[Row]) -> float:
        return round(100 * len(part) / max(len(of), 1), 1)

    return {
        "faults": len(faults),
        "kinds": len({r.kind for r in faults}),
        "healthy": len(healthy),
        "detected": share([r for r in faults if r.found], faults),
        "kind": share([r for r in faults if r.named], faults),
        "first": share([r for r in faults if r.first], faults),
        "kind and place": share([r for r in faults if r.placed], faults),
        "false alarms": share([r for r in healthy if r.found], healthy),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--shift", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("only", nargs="*", metavar="WORD")
    a = parser.parse_args()
    jobs = [(k, f.healthy, f.seed + a.shift, a.seconds) for k, f in enumerate(FAULTS)]
    jobs += [(None, name, seed + a.shift, a.seconds) for name in HEALTHY for seed in SEEDS]
    named = [("healthy" if k is None else FAULTS[k].kind) + " " + name for k, name, *_ in jobs]
    if a.only:
        jobs = [j for j, n in zip(jobs, named, strict=True) if any(word in n for word in a.only)]
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(a.jobs) as pool:
        for done in pool.imap(row, jobs):
            rows.append(done)
            print(done, flush=True)
    for name, value in summary(rows).items():
        print(f"{name:16} {value}")
    if a.out:
        a.out.write_text(json.dumps({**summary(rows), "rows": [vars(r) for r in rows]}, indent=1))


if __name__ == "__main__":
    main()
