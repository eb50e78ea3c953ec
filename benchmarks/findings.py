"""What `fit` finds in healthy trainings, in short ones, and in those whose faults were put there.

    python benchmarks/findings.py [--jobs 2] [--first 0] [--seeds 2] [--out FILE] [WORD ...]

Trainings are those of the suite (`benchmarks/seeded`). A healthy one runs with its loss by name, as
a function (of which the loss of a guess is unknown), and for 1, 2 and 5 epochs with the default
optimizer. A finding that `fit` shows as a warning while it runs is marked by a "!", one that it
warns of at the end by "!!": in a healthy training, short or not, both are false alarms. A healthy
one that does not reach its floor is shown as "failed", and does not count. SEEN are the kinds that
a history can show. WORDs choose rows: those that contain one of them, as in `lr_too_high` or `cnn`.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from chainrule import optim
from chainrule.data import DataLoader
from chainrule.diagnosis import Finding
from chainrule.diagnosis.history import is_worth_a_warning
from chainrule.doctor.loss_reading import read_loss
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.score import score_for
from chainrule.errors import ChainruleError
from chainrule.train import fit
from seeded.faults import build
from seeded.healthy import HEALTHY, LOSSES
from seeded.suite import FAULTS

TOP = 3  # findings that count
NAMES = {"classes": "cross_entropy", "binary": "bce_with_logits", "numbers": "mse"}  # of LOSSES
SHORT = 1, 2, 5  # epochs
WELL = "healthy", "function", *(f"epochs {n}" for n in SHORT)
SEEN = {
    *("inputs_not_scaled", "targets_not_scaled", "lr_too_high", "lr_too_low", "gradient_ascent"),
    *("vanishing_gradient", "exploding_gradient", "no_gradient", "dead_relu", "dying_units"),
    *("saturated_activation", "init_too_large", "init_symmetric", "unbalanced_layers"),
    *("unprotected_log", "too_few_epochs"),
}

Job = tuple[str, int | None, str, int]  # a word of WELL or a kind, the fault's number, name, seed


@dataclass(frozen=True)
class Row:
    """What came of a training.

    found   kind and place of each finding, the kind with its marks
    right   whether one of the first findings is of the fault's kind, or of one that says the same
    failed  it should be healthy, and is not
    """

    kind: str
    healthy: str
    seed: int
    loss: float
    found: tuple[tuple[str, str], ...]
    right: bool
    failed: bool = False

    def marked(self, mark: str) -> bool:
        """Whether a finding has this mark."""
        return any(mark in kind for kind, _ in self.found)

    def __str__(self) -> str:
        alarm = self.kind in WELL and self.marked("!")
        mark = "failed" if self.failed else "false alarm" if alarm else "✓" if self.right else ""
        found = ", ".join(f"{kind} ({place})" for kind, place in self.found)
        return (
            f"{self.kind:26}{self.healthy:24}{self.seed:2} {self.loss:9.3g} {mark:12}"
            f"{found or 'nothing'}"
        )


def row(job: Job) -> Row:
    """What `fit` finds in a training."""
    kind, number, name, seed = job
    seeded = None if number is None else replace(FAULTS[number], seed=seed)
    t = HEALTHY[name].build(seed) if seeded is None else build(seeded)
    if kind.startswith("epochs"):
        optimizer = optim.Adam(t.model.named_parameters())
        t = replace(t, epochs=int(kind.split()[1]), optimizer=optimizer)
    loss = next(
        (NAMES[n] for n, of in LOSSES.items() if of is t.loss and kind != "function"), t.loss
    )
    kinds = () if seeded is None else (seeded.kind, *seeded.also)
    found, right, least = _found(t, loss, seed, kinds)
    failed = kind in ("healthy", "function") and _score(t) < HEALTHY[name].floor
    return Row(kind, name, seed, least, found, right, failed)


def _score(t: ModuleTraining) -> float:
    """On the held-out rows."""
    x, y = t.valid
    outputs = t.outputs(t.model, x)
    loss = read_loss(t.loss_value, outputs.shape[1:], t.data[1])
    return score_for(t.data[1], y, outputs.shape[1:], loss)(outputs, y)


def _found(
    t: ModuleTraining, loss: object, seed: int, kinds: tuple[str, ...]
) -> tuple[tuple[tuple[str, str], ...], bool, float]:
    rows = DataLoader(t.data, t.batch, t.shuffle, seed=seed)
    settings = {"optimizer": t.optimizer, "epochs": t.epochs, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            history = fit(t.model, rows, valid=t.valid, loss=loss, **settings)
        except ChainruleError as error:  # it refuses, or stops with the reason
            return ((f"{type(error).__name__}!!", ""),), bool(kinds), math.nan
    findings = history.findings
    found = tuple((f.kind + _marks(f), f.place) for f in findings)
    return found, any(f.kind in kinds for f in findings[:TOP]), history.epochs[-1]["loss"]


def _marks(finding: Finding) -> str:
    return "!" * ((finding.level == "warning") + is_worth_a_warning(finding))


def summary(rows: list[Row]) -> dict[str, str]:
    """Counts of rows, and shares of them in percent."""
    out = {}
    faulty = [r for r in rows if r.kind not in WELL]
    parts = {kind: [r for r in rows if r.kind == kind and not r.failed] for kind in WELL}
    parts["faults that are seen"] = [r for r in faulty if r.kind in SEEN]
    parts["other faults"] = [r for r in faulty if r.kind not in SEEN]
    for name, part in parts.items():
        counts = {
            "warned of at the end": sum(r.marked("!!") for r in part),
            "with a warning": sum(r.marked("!") for r in part),
            "with a finding": sum(bool(r.found) for r in part),
            "of the right kind": sum(r.right for r in part),
        }
        for what, count in counts.items():
            if part:
                share = 100 * count / len(part)
                out[f"{name}, {what}"] = f"{count} of {len(part)} ({share:.1f} %)"
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("only", nargs="*", metavar="WORD")
    a = parser.parse_args()
    seeds = range(a.first, a.first + a.seeds)
    jobs: list[Job] = [(kind, None, name, s) for kind in WELL for name in HEALTHY for s in seeds]
    jobs += [(f.kind, k, f.healthy, f.seed + a.first) for k, f in enumerate(FAULTS)]
    if a.only:
        jobs = [j for j in jobs if any(word in f"{j[0]} {j[2]}" for word in a.only)]
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(a.jobs) as pool:
        for done in pool.imap(row, jobs):
            rows.append(done)
            print(done, flush=True)
    for name, value in summary(rows).items():
        print(f"{name:40} {value}")
    if a.out:
        a.out.write_text(json.dumps({**summary(rows), "rows": [vars(r) for r in rows]}, indent=1))


if __name__ == "__main__":
    main()
