"""How far the doctor's thresholds are from healthy trainings and from faulty ones.

    python benchmarks/thresholds.py [--first 100] [--seeds 3] [--jobs 1] [--out FILE] [PART ...]

numbers   what is compared with a threshold, in healthy trainings and in those with the fault that
          it should tell: quantiles, and the share on the faulty side of the threshold
doses     the score lost as a fault grows, from none: where it begins to harm
gains     what the best remedy gains in healthy trainings, which should be less than what is named,
          and what curing a fault gains

Trainings are those of the suite (`benchmarks/seeded`), with seeds that it does not use: data and
first weights are others. Faults count where they harm, by 0.1 of the score.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.doctor import search
from chainrule.doctor.facts import gather
from seeded.faults import build, inputs, one_column, rate, targets, times, weights
from seeded.healthy import HEALTHY
from seeded.measures import MEASURES
from seeded.suite import FAULTS

HARM = 0.1
SECONDS = 4.0
QUANTILES = 0.0, 0.1, 0.5, 0.9, 1.0
PARTS = "numbers", "doses", "gains"

Row = dict[str, Any]


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def numbers(job: tuple[int | None, str, int]) -> Row:
    """The score and all numbers of a training: of a fault, or of a healthy one."""
    fault, name, seed = job
    seeded = None if fault is None else replace(FAULTS[fault], seed=seed)
    facts = gather(HEALTHY[name].build(seed) if seeded is None else build(seeded))
    values = [
        m.numbers(facts) if seeded is None or seeded.kind in m.kinds else [] for m in MEASURES
    ]
    kind = "healthy" if seeded is None else seeded.kind
    return {
        "kind": kind,
        "name": name,
        "seed": seed,
        "score": facts.outcome.score,
        "values": values,
    }


def number_jobs(seeds: Iterable[int]) -> list[tuple[int | None, str, int]]:
    """Healthy trainings, and those faults for which there is a number."""
    kinds = {kind for m in MEASURES for kind in m.kinds}
    faults = [(k, f.healthy) for k, f in enumerate(FAULTS) if f.kind in kinds]
    return [(k, name, s) for s in seeds for k, name in [*((None, n) for n in HEALTHY), *faults]]


def number_table(rows: list[Row]) -> list[str]:
    """A line per threshold and side."""
    well = {(r["name"], r["seed"]): r["score"] for r in rows if r["kind"] == "healthy"}
    harmful = [r for r in rows if r["score"] <= well[r["name"], r["seed"]] - HARM]
    lines = []
    for k, m in enumerate(MEASURES):
        place = f"{m.module.__name__.rpartition('.')[2]}.{m.name}"
        sides = {
            "healthy": [r for r in rows if r["kind"] == "healthy"],
            "faulty": [r for r in harmful if r["kind"] in m.kinds],
        }
        for side, of in sides.items():
            values = [v for r in of for v in r["values"][k]]
            if values:
                crossed = np.mean([m.crosses(v) for v in values])
                sign = ">" if m.above else "<"
                lines.append(
                    f"{place:21} {m.what:30} {sign} {m.threshold:<7.3g} {side:8}"
                    f"{len(values):4}{quantiles(values)} {crossed:5.0%}"
                )
    return lines


# ── doses ────────────────────────────────────────────────────────────────────────────────────────

Spoil = Callable[[float], Any]
DOSES: dict[str, tuple[Spoil, tuple[float, ...], tuple[str, ...]]] = {
    "inputs times": (
        lambda s: inputs(lambda x: x * s),
        (0.003, 0.01, 0.03, 0.1, 0.3, 3.0, 10.0, 30.0, 100.0),
        ("mlp blobs", "mlp numbers", "sgd numbers", "cnn stripes", "rnn waves", "gru recall"),
    ),
    "one column times": (
        lambda s: inputs(one_column(s)),
        (3.0, 10.0, 30.0, 100.0, 300.0),
        ("mlp blobs", "mlp numbers", "sgd numbers", "tanh numbers", "mlp few", "gru recall"),
    ),
    "targets times": (
        lambda s: targets(lambda y: y * s),
        (0.003, 0.01, 0.03, 0.1, 0.3, 3.0, 10.0, 30.0, 100.0),
        ("mlp numbers", "tanh numbers", "sgd numbers", "rnn next values"),
    ),
    "rate times": (
        rate,
        (0.01, 0.03, 0.1, 0.3, 3.0, 10.0, 30.0, 100.0),
        (
            *("mlp blobs", "mlp numbers", "sgd digits", "cnn stripes", "rnn waves"),
            *("gru recall", "lstm tags", "transformer words"),
        ),
    ),
    "weights times": (
        lambda s: weights(times(s)),
        (0.01, 0.03, 0.1, 0.2, 0.6, 1.6, 4.0, 10.0, 30.0),
        (
            *("mlp blobs", "mlp blobs large", "mlp numbers", "tanh blobs deep", "sgd digits"),
            *("cnn stripes large", "rnn waves", "transformer words"),
        ),
    ),
}


def dose(job: tuple[str, float, str, int]) -> Row:
    """The score of a healthy training with that much of a fault."""
    what, amount, name, seed = job
    healthy = HEALTHY[name].build(seed)
    made = healthy if amount == 1 else DOSES[what][0](amount)(healthy)
    return {
        "what": what,
        "dose": amount,
        "name": name,
        "seed": seed,
        "score": gather(made).outcome.score,
    }


def dose_jobs(seeds: Iterable[int]) -> list[tuple[str, float, str, int]]:
    """All doses, and none."""
    return [
        (what, amount, name, s)
        for s in seeds
        for what, (_, amounts, names) in DOSES.items()
        for name in names
        for amount in (1.0, *amounts)
    ]


def dose_table(rows: list[Row]) -> list[str]:
    """A line per dose."""
    well = {(r["what"], r["name"], r["seed"]): r["score"] for r in rows if r["dose"] == 1}
    lines = []
    for what, (_, amounts, _) in DOSES.items():
        for amount in amounts:
            of = [r for r in rows if (r["what"], r["dose"]) == (what, amount)]
            lost = [well[what, r["name"], r["seed"]] - r["score"] for r in of]
            if lost:
                share = np.mean([v >= HARM for v in lost])
                lines.append(
                    f"{what} {amount:<8g} {len(lost):4}{quantiles(lost)}  {share:4.0%} harmed"
                )
    return lines


# ── gains ────────────────────────────────────────────────────────────────────────────────────────


def gain(job: tuple[str, int]) -> Row:
    """What the best remedy gains in a healthy training, in score and in standard errors."""
    name, seed = job
    findings, trials = search.find(HEALTHY[name].build(seed), SECONDS)
    first = [(changes, o) for (changes, drawn), o in trials.tried.items() if drawn == 0]
    before = trials.facts.outcome
    changes, after = max(first, key=lambda pair: pair[1].score)
    errors = 0.0
    if changes and before.rows is not None and after.rows is not None:
        differ = np.maximum(after.rows, -1) - np.maximum(before.rows, -1)
        errors = float(differ.mean() / max(differ.std() / math.sqrt(len(differ)), 1e-9))
    return {
        "name": name,
        "seed": seed,
        "before": before.score,
        "gain": after.score - before.score,
        "errors": errors,
        "changes": sorted(c.what for c in changes),
        "named": bool(findings),
    }


def gain_table(rows: list[Row]) -> list[str]:
    """Gains of all, and those that are the largest."""
    lines = [f"gain of the score {len(rows):4}{quantiles([r['gain'] for r in rows])}"]
    lines += [f"in standard errors {len(rows):4}{quantiles([r['errors'] for r in rows])}"]
    for r in sorted(rows, key=lambda r: -r["gain"])[:12]:
        named, changes = "named" if r["named"] else "", ", ".join(r["changes"])
        lines.append(
            f"  {r['name']:24} {r['seed']:4} {r['before']:6.3f} + {r['gain']:.3f} "
            f"({r['errors']:.1f} errors) {named:6} {changes}"
        )
    return lines


def quantiles(values: list[float]) -> str:
    """The smallest, 10 %, median, 90 %, largest."""
    return "".join(f"{v:9.2g}" for v in np.quantile(values, QUANTILES))


RUNS: dict[str, tuple[Callable[[Any], Row], Callable[..., list[Any]], Callable[..., list[str]]]] = {
    "numbers": (numbers, number_jobs, number_table),
    "doses": (dose, dose_jobs, dose_table),
    "gains": (gain, lambda seeds: [(name, s) for s in seeds for name in HEALTHY], gain_table),
}


def quiet(part: str, job: Any) -> Row:
    """A job, without warnings."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return RUNS[part][0](job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART")
    a = parser.parse_args()
    seeds, kept = range(a.first, a.first + a.seeds), {}
    with multiprocessing.get_context("spawn").Pool(a.jobs) as pool:
        for part in a.parts or PARTS:
            _, jobs, table = RUNS[part]
            kept[part] = pool.starmap(quiet, [(part, job) for job in jobs(seeds)], 1)
            print(
                f"{part}, seeds {seeds[0]} to {seeds[-1]}",
                *table(kept[part]),
                "",
                sep="\n",
                flush=True,
            )
    if a.out:
        a.out.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
