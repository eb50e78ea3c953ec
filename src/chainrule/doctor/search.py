"""Which faults harm: each is cured in a copy of the training, alone and together with others.

A fault counts by what its cure is worth: *alone* is the share of the whole gain that its changes
bring by themselves, *needed* the share that is lost when only they are left out. A gain is worth a
finding if it is large, not a chance of the held-out rows, and seen again with another seed.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..diagnosis.finding import Change, Finding, Remedy, Trial
from .facts import Facts, gather
from .faults import Fault, faults_of
from .training import MISFITS, Outcome, Training

LARGE, HALVED = 0.1, 0.05  # gains of the score: alone, or if the error is halved
STEP = 0.02  # a gain for which a bundle grows
ACTIVE = 0.25  # share of the gain that a fault has to account for
INSTEAD = 0.6  # share of the gain with which a fault outside of the bundle is named too
LIKELY = 0.8, 0.5  # priors from which faults are cured together
PACE = {"optimizer.lr", "optimizer", "epochs", "batch"}  # of what is right: places of how fast
PERFECT, FAIR = 0.985, 0.9
CHANCE = 2.5  # standard errors
FEW = 20  # held-out rows, which are no sample
MILD = {"lr_too_low", "too_few_epochs", "batch_too_large", "optimizer_unsuited"}  # slow, not wrong

Bundle = tuple[Fault, ...]


@dataclass
class Search:
    """The trials of one training.

    budget   seconds of processor time
    tried    the outcomes, by their changes
    """

    facts: Facts
    budget: float
    began: float = field(default_factory=time.process_time)
    tried: dict[tuple[frozenset[Change], int], Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tried[frozenset(), 0] = self.facts.outcome
        self.base = self.facts.outcome.score

    def has(self, share: float) -> bool:
        """Whether this share of the budget is left."""
        return self.budget - (time.process_time() - self.began) > share * self.budget

    def outcome(self, bundle: Sequence[Fault], seed: int = 0) -> Outcome:
        """Of the training with the faults of the bundle cured."""
        changes = changes_of(bundle)
        key = frozenset(changes), seed
        if key not in self.tried:
            seconds = max(3 * self.facts.outcome.seconds, self.budget / 4)
            try:
                training = self.facts.training.changed(changes)
                self.tried[key] = training.run(self.facts.score, seed, seconds)
            except MISFITS:
                self.tried[key] = Outcome(self.facts.score.worst)  # not possible for this model
        return self.tried[key]

    def score(self, bundle: Sequence[Fault], seed: int = 0) -> float:
        """The score of that outcome."""
        return self.outcome(bundle, seed).score

    # ── the best bundle ──────────────────────────────────────────────────────────────────────────

    def best(self, faults: Sequence[Fault]) -> Bundle:
        """The faults whose cures together do best: one after another is added while that helps."""
        alone: dict[Fault, float] = {}
        for fault in faults:
            if alone and not self.has(0.45):
                break
            alone[fault] = self.score((fault,)) - self.base
        starts: list[Bundle] = [(), *((fault,) for fault in alone)]
        paces = [fault for fault in faults if fault.place in PACE]
        wrong = [fault for fault in faults if fault.place not in PACE]
        seen: list[Bundle] = []
        for prior in LIKELY:
            likely = joined((), [fault for fault in wrong if fault.prior >= prior])
            if likely and likely not in seen:
                seen.append(likely)
                for bundle in (likely, *(joined(likely, [pace]) for pace in paces)):
                    if len(bundle) > 1 and self.has(0.25):
                        starts.append(bundle)
        best = max(starts, key=lambda b: self.score(b) - STEP * (len(b) > 1))
        promising = sorted(faults, key=lambda c: -(alone.get(c, 0.0) + 0.3 * c.prior))
        for fault in promising * 2:
            if self.score(best) > PERFECT or not self.has(0.15):
                break
            if fault not in best:
                more = *(b for b in best if not exclude(b, fault)), fault
                if self.score(more) > self.score(best) + STEP:
                    best = more
        for a, b in itertools.combinations(paces, 2):  # small steps, and few of them
            if self.score(best) > FAIR or not self.has(0.1):
                break
            more = joined((a, b), best) if not exclude(a, b) else best
            if self.score(more) > self.score(best) + STEP:
                best = more
        return best

    def pruned(self, bundle: Bundle) -> dict[Fault, tuple[float, float]]:
        """The faults of the bundle that matter: (alone, needed) of each."""
        top = self.score(bundle)
        gain = top - self.base
        shares: dict[Fault, tuple[float, float]] = {}
        left = list(bundle)
        for fault in sorted(bundle, key=lambda c: c.prior):
            without = [b for b in left if b is not fault]
            needed = (top - self.score(without)) / gain
            if needed < 0.1 and without and not fault.certain:
                left = without
            else:
                shares[fault] = (self.score((fault,)) - self.base) / gain, needed
        return shares

    def harms(self, bundle: Bundle) -> bool:
        """Whether the gain of curing the bundle is large, no chance, and seen with another seed."""
        before, after = self.outcome(()), self.outcome(bundle)
        if not is_large(bundle, before.score, after.score):
            return False
        training = self.facts.training
        if before.rows is not None and after.rows is not None and len(training.valid[0]) >= FEW:
            differ = np.maximum(after.rows, -1) - np.maximum(before.rows, -1)
            if differ.mean() < CHANCE * differ.std() / math.sqrt(len(differ)):
                return False
        again = [(o.score + self.score(b, 1)) / 2 for o, b in ((before, ()), (after, bundle))]
        return is_large(bundle, *again)


def is_large(bundle: Bundle, before: float, after: float) -> bool:
    """A gain of 0.1; or of 0.05 with the error halved, if it is more than slowness."""
    halved = 1 - after <= (1 - before) / 2 and not all(c.kind in MILD for c in bundle)
    return after - before >= (HALVED if halved else LARGE)


def _thing(change: Change) -> tuple[str, str]:
    """What a change sets: two of the same thing exclude each other."""
    optimizer = change.what in ("rate", "optimizer")
    return ("optimizer", "") if optimizer else (change.what, change.place)


def changes_of(bundle: Sequence[Fault]) -> list[Change]:
    """The changes of a bundle; of the same thing the first."""
    out: dict[tuple[str, str], Change] = {}
    for fault in bundle:
        for change in fault.changes:
            out.setdefault(_thing(change), change)
    return list(out.values())


def exclude(a: Fault, b: Fault) -> bool:
    """Whether two faults are cured by changes of the same thing, to different values."""
    one, two = ({_thing(c): c.value for c in f.changes} for f in (a, b))
    return any(two.get(thing, value) != value for thing, value in one.items())


def joined(bundle: Bundle, more: Sequence[Fault]) -> Bundle:
    """The bundle and those of the others that nothing in it excludes."""
    for fault in more:
        if not any(exclude(fault, b) for b in bundle):
            bundle = *bundle, fault
    return bundle


def find(training: Training, budget: float = 12.0) -> tuple[list[Finding], Search]:
    """The findings of a training, the most harmful first, after trials within the budget.

    budget   seconds of processor time, after the training itself has run once
    """
    facts = gather(training, budget / 20)
    search = Search(facts, budget)
    faults = faults_of(facts)
    curable = [fault for fault in faults if fault.changes]
    best = search.best(curable)
    weights: dict[Fault, float] = {c: 2 + c.prior for c in faults if c.certain}
    remedies: tuple[Remedy, ...] = ()
    if best and search.score(best) > search.base and search.harms(best):
        shares = search.pruned(best)
        gain = search.score(best) - search.base
        best = tuple(c for c in best if c in shares)
        for fault, (alone, needed) in shares.items():
            if max(alone, needed) >= ACTIVE:
                weights.setdefault(fault, max(alone, needed) + 0.6 * fault.prior)
        kinds = {c.kind for c in weights}
        for fault in curable:
            outcome = search.tried.get((frozenset(changes_of((fault,))), 0))
            if outcome is None or fault.kind in kinds or fault in shares:
                continue
            share = (outcome.score - search.base) / gain
            if share >= INSTEAD:
                weights[fault] = share - 0.3 * (fault.prior < LIKELY[0]) + 0.6 * fault.prior
                kinds.add(fault.kind)
        after = search.outcome(best)
        trial = Trial(search.base, after.score, (after.losses or [math.nan])[-1], after.seconds)
        remedies = (Remedy(tuple(changes_of(best)), "", trial),)
    findings: list[Finding] = []
    for fault in sorted(weights, key=lambda c: -weights[c]):
        if all((f.kind, f.place) != (fault.kind, fault.place) for f in findings):
            share = min(weights[fault] / 2, 1.0)
            what = fault.kind, fault.place, fault.cause, fault.evidence
            findings.append(Finding(*what, share, remedies))
    return findings, search
