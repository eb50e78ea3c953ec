"""Which faults harm: each is cured in a copy of the training, alone and together with others.

A fault counts by what its cure is worth: *alone* is the share of the whole gain that its changes
bring by themselves, *needed* the share that is lost when only they are left out. A gain is worth a
finding if it is large, not a chance of the held-out rows, and seen again with another seed.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..diagnosis.finding import Change, Finding, Remedy, Trial
from .bundles import Bundle, changes_of, exclude, joined
from .facts import Facts, gather
from .faults import Fault, faults_of
from .training import MISFITS, Outcome, Training

NEAR_PERFECT = 0.95  # a score above which nothing is tried
LARGE, HALVED = 0.1, 0.05  # gains of the score: alone, or if the error is halved
AGAIN = 0.9  # share of such gains that the mean over seeds has to have: it is a second look
STEP = 0.02  # a gain for which a bundle grows
ACTIVE = 0.25  # share of the gain that a fault has to account for
INSTEAD = 0.6  # share of the gain with which a fault outside of the bundle is named too
HIDDEN = 0.4  # the same, if the fault's cure is a large gain, and what was chosen only is faster
LATER = 0.2  # by how much less such a one counts, if it was not likely
LIKELY = 0.8, 0.5  # priors from which faults are cured together
PACE = {"optimizer.lr", "optimizer", "epochs", "batch"}  # of what is right: places of how fast
PERFECT, FAIR = 0.985, 0.9
LOWER = 0.8  # a loss over another one that it is clearly below
FOR_BUNDLES, FOR_GROWTH, FOR_FINALS, FOR_PRUNING = 0.6, 0.3, 0.2, 0.1  # shares of the budget
UNLIKELY = 0.4  # priors below which a cure is tried alone after the likely ones were tried together
ALIKE = 0.3  # of what helped alone, and of a prior, in what is tried next
NEAR, FINALISTS = 0.05, 3  # bundles that are tried with other seeds
MANY, CHEAP = 4, 0.15  # seeds, if trials with all of them take at most this share of the budget
MILD = {  # slow, not wrong
    *("lr_too_low", "too_few_epochs", "batch_too_large"),
    *("optimizer_unsuited", "batchnorm_missing"),
}

OPPOSITE = {  # of which one is named at most
    "lr_too_low": "lr_too_high",
    "lr_too_high": "lr_too_low",
    "too_few_epochs": "regularisation_missing",
    "regularisation_missing": "too_few_epochs",
}


@dataclass
class Search:
    """The trials of one training.

    budget   seconds of processor time
    tried    the outcomes, by their changes and the seed
    seed     of the trials; base is the score of the training as it is with this seed
    """

    facts: Facts
    budget: float
    began: float = field(default_factory=time.process_time)
    tried: dict[tuple[frozenset[Change], int], Outcome] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        self.tried[frozenset(), 0] = self.facts.outcome
        self.base = self.facts.outcome.score

    @cached_property
    def faults(self) -> list[Fault]:
        """What may be wrong, the likeliest first."""
        return faults_of(self.facts)

    @property
    def floor(self) -> float:
        """The score from which gains count: a rise to that of a constant is none."""
        return max(self.base, self.facts.constant)

    @property
    def left(self) -> float:
        """The share of the budget that is left; negative, if it was overrun."""
        return 1 - (time.process_time() - self.began) / max(self.budget, 1e-9)

    def look_again(self) -> None:
        """Of two draws of the first weights, take the one with which the training does worse.

        Some networks learn with some weights only.
        """
        again = self.score((), 1)
        if again < self.base - HALVED:
            self.seed, self.base = 1, again

    def outcome(self, bundle: Sequence[Fault], seed: int | None = None) -> Outcome:
        """Of the training with the faults of the bundle cured."""
        changes = changes_of(bundle)
        seed = self.seed if seed is None else seed
        key = frozenset(changes), seed
        if key not in self.tried:
            seconds = max(3 * self.facts.outcome.steady, self.budget / 8)
            try:
                training = self.facts.training.changed(changes)
                self.tried[key] = training.run(self.facts.score, seed, seconds)
            except MISFITS:
                self.tried[key] = Outcome(self.facts.score.worst)  # not possible for this model
        return self.tried[key]

    def score(self, bundle: Sequence[Fault], seed: int | None = None) -> float:
        """The score of that outcome."""
        return self.outcome(bundle, seed).score

    def known(self, bundle: Sequence[Fault]) -> float | None:
        """The score, if it was tried."""
        outcome = self.tried.get((frozenset(changes_of(bundle)), self.seed))
        return None if outcome is None else outcome.score

    def cause(self, fault: Fault) -> str:
        """Its cause; with what its changes put in place of that, by their trial."""
        if not fault.instead:
            return fault.cause
        score = self.known((fault,))
        if score is not None and score > self.base + STEP:
            return f"{fault.cause}, and {fault.instead} does better"
        return f"{fault.cause}; {fault.instead} is part of the best repair"

    @property
    def seeds(self) -> int:
        """How many orders of rows, and draws of the first weights, the best ones are tried with."""
        return MANY if MANY * FINALISTS * self.facts.outcome.steady < CHEAP * self.budget else 2

    def over_seeds(self, bundle: Sequence[Fault]) -> float:
        """The mean score over the seeds."""
        return sum(self.score(bundle, seed) for seed in range(self.seeds)) / self.seeds

    # ── the best bundle ──────────────────────────────────────────────────────────────────────────

    def best(self, faults: Sequence[Fault]) -> Bundle:
        """The faults whose cures together do best, and that harm; none, if nothing does.

        Each is cured alone, the likeliest first. Those that the facts make likely are cured
        together, and bundles grow by one cure after another while that helps. The best of all are
        tried with another seed, so that none is chosen by luck.
        """
        if self.left > 0:
            self.look_again()
        faults = [c for c in faults if c.certain] if self.base > NEAR_PERFECT else list(faults)
        alone: dict[Fault, float] = {}
        self._try(alone, [fault for fault in faults if fault.prior >= UNLIKELY], FOR_BUNDLES)
        bundles = [(), *self._likely(faults, alone)]
        self._try(alone, faults, FOR_GROWTH)
        bundles += [(fault,) for fault in alone]
        best = max(bundles, key=self._worth)
        while True:
            grown = self._grown(best, faults, alone, bundles)
            if grown == best:
                break
            best = grown
        near = [b for b in bundles if self._worth(b) > self._worth(best) - NEAR]
        near = [b for b in near if is_large(b, self.base, self.score(b))]
        near = sorted(near, key=self._worth, reverse=True)[:FINALISTS]
        tested: dict[Bundle, float] = {}
        for bundle in near:
            if not tested or self.left > FOR_PRUNING:
                tested[bundle] = self.over_seeds(bundle) - cost(bundle)
        ranked = sorted(tested, key=lambda b: tested[b], reverse=True)
        return next((b for b in ranked if self.harms(b)), ())

    def _worth(self, bundle: Bundle) -> float:
        """The score less what the bundle costs."""
        return self.score(bundle) - cost(bundle)

    def _try(self, alone: dict[Fault, float], faults: Sequence[Fault], keep: float) -> None:
        """What the cure of each alone brings; first those that are likely, or like one that helped.

        keep   the share of the budget that is left for what comes after; one fault has its turn
        """
        rest = [fault for fault in faults if fault not in alone]

        def promise(fault: Fault) -> float:
            alike = [g for f, g in alone.items() if (f.kind, f.place) == (fault.kind, fault.place)]
            return fault.prior + ALIKE * sum((g > STEP) - (g < -STEP) for g in alike)

        while rest and (not alone or self.left > keep):
            fault = max(rest, key=promise)
            rest.remove(fault)
            alone[fault] = self.score((fault,)) - self.base

    def _likely(self, faults: Sequence[Fault], alone: dict[Fault, float]) -> list[Bundle]:
        """Bundles of what helped alone, and of what is likely, also with other paces."""
        out: list[Bundle] = []
        paces = [fault for fault in faults if fault.place in PACE]
        wrong = [fault for fault in faults if fault.place not in PACE]
        sure = [joined((), [f for f in wrong if f.prior >= prior]) for prior in LIKELY]
        paced = [joined(likely, [pace]) for likely in sure for pace in paces if likely]
        paced.sort(key=lambda b: any(f.place == "epochs" for f in b))  # these take longest
        helped = sorted((f for f in alone if alone[f] > STEP), key=lambda f: -alone[f])
        for bundle in (joined((), helped), *sure, *paced):
            if len(bundle) > 1 and bundle not in out and self.left > FOR_GROWTH:
                out.append(bundle)
                if self.score(bundle) > PERFECT:
                    break
        return out

    def _grown(
        self,
        best: Bundle,
        faults: Sequence[Fault],
        alone: dict[Fault, float],
        bundles: list[Bundle],
    ) -> Bundle:
        """The bundle with one cure more, or two of the pace, if that is better."""
        promising = sorted(faults, key=lambda c: -(alone.get(c, 0.0) + ALIKE * c.prior))
        paces = [fault for fault in promising if fault.place in PACE]
        more: list[Bundle] = [(fault,) for fault in promising]
        more += [pair for pair in itertools.combinations(paces, 2) if not exclude(*pair)]
        for added in more:
            if self.score(best) > PERFECT or self.left < FOR_FINALS:
                break
            if len(added) > 1 and self.score(best) > FAIR:
                continue
            others = tuple(b for b in best if not any(exclude(b, c) for c in added))
            bundle = *others, *(c for c in added if c not in others)
            if bundle not in bundles:
                bundles.append(bundle)
            if self._is_better(bundle, best):
                return bundle
        return best

    def _is_better(self, bundle: Bundle, best: Bundle) -> bool:
        """Whether its score is, or, while the score stands still below what is fair, its loss."""
        new, old = self.outcome(bundle), self.outcome(best)
        if new.score > old.score + STEP:
            return True
        if not (new.losses and old.losses) or new.score < old.score or old.score > FAIR:
            return False
        same = _measure(bundle) == _measure(best)
        return same and new.losses[-1] < LOWER * old.losses[-1]

    def pruned(self, bundle: Bundle) -> dict[Fault, tuple[float, float]]:
        """The faults of the bundle that matter: (alone, needed) of each.

        What there is no time for counts as needed as likely as it is.
        """
        top = self.score(bundle)
        gain = top - self.floor
        shares: dict[Fault, tuple[float, float]] = {}
        left = list(bundle)
        for fault in sorted(bundle, key=lambda c: c.prior):
            without = [b for b in left if b is not fault]
            score = self.score(without) if self.left > 0 else self.known(without)
            needed = fault.prior if score is None else min((top - score) / gain, 1.0)
            if needed < 0.1 and without and not fault.certain:
                left = without
            else:
                score = self.score((fault,)) if self.left > 0 else self.known((fault,))
                alone = 0.0 if score is None else max((score - self.floor) / gain, 0.0)
                shares[fault] = alone, needed
        return shares

    def around(self, first: Fault, best: Bundle) -> Bundle:
        """The bundle with the fault that is named first, if that does about as well."""
        for bundle in ((first,), joined((first,), best)) if self.left > 0 else ():
            if self.score(bundle) > self.score(best) - STEP and self.harms(bundle):
                return bundle
        return best

    def harms(self, bundle: Bundle) -> bool:
        """Whether the gain of curing the bundle is large, no chance, and seen with another seed.

        The score has to be better than that of a constant too: a rise to it is no repair.
        """
        before, after, constant = self.outcome(()), self.outcome(bundle), self.facts.constant
        if self.facts.few_rows:
            return False
        for worse, rows in ((before.score, before.rows), (constant, self.facts.constant_rows)):
            if not is_large(bundle, worse, after.score) or self.facts.is_chance(rows, after.rows):
                return False
        mean = self.over_seeds(bundle)
        return all(is_large(bundle, b, mean, AGAIN) for b in (self.over_seeds(()), constant))


def _measure(bundle: Bundle) -> set[Change]:
    """The changes after which losses are not those of before."""
    places = "loss", "data.targets"
    return {c for c in changes_of(bundle) if c.place in places or c.what == "output_activation"}


def cost(bundle: Bundle) -> float:
    """The score that more than one cure, and more epochs, have to bring."""
    return STEP * ((len(bundle) > 1) + any(fault.kind == "too_few_epochs" for fault in bundle))


def is_large(bundle: Bundle, before: float, after: float, share: float = 1.0) -> bool:
    """A gain of 0.1; or of 0.05 with the error halved, if it is more than slowness.

    More steps make nearly every training a little better; so does training without dropout, if it
    is short; and so does batch normalization, which needs twice the gain if it is not for a
    gradient that is lost.

    share   of these that is enough
    """
    slow = all(c.kind in MILD or c.kind == "regularisation_too_strong" for c in bundle)
    polished = any(c.kind in MILD for c in bundle) and all(c.place in PACE for c in bundle)
    polished |= any(c.kind == "too_few_epochs" for c in bundle)
    halved = 1 - after <= (1 - before) * (1 - share / 2) and not slow and not polished
    twice = slow and any(c.kind == "batchnorm_missing" for c in bundle)
    return after - before >= share * (HALVED if halved else LARGE * (1 + twice))


def _weight(fault: Fault) -> float:
    """What is added to a fault's share in the order of findings: what hides causes comes later."""
    return 0.6 * fault.prior - 0.2 * (fault.kind in MILD)


def _weights(
    search: Search, faults: Sequence[Fault], shares: dict[Fault, tuple[float, float]]
) -> dict[Fault, float]:
    """The faults to name, with what they are ordered by; without shares only what is certain."""
    weights = {fault: 2 + fault.prior for fault in faults if fault.certain}
    if not shares:
        return weights
    gain = search.score(tuple(shares)) - search.floor
    for fault in [c for c in weights if c.changes]:
        score = search.known((fault,))
        if score is not None and (score - search.floor) / gain < ACTIVE:
            weights[fault] = _weight(fault)  # another cure makes it harmless
    for fault, (alone, needed) in shares.items():
        if max(alone, needed) >= ACTIVE:
            share = max(alone, needed) + _weight(fault)
            weights[fault] = max(weights.get(fault, 0.0), share)
    kinds = {fault.kind for fault in weights}
    hides = all(fault.kind in MILD for fault in shares)  # more steps, or larger ones
    for fault in faults:
        score = search.known((fault,)) if fault.changes else None
        if score is None or fault.kind in kinds or fault in shares:
            continue
        share = (score - search.floor) / gain
        is_cause = hides and fault.kind not in MILD and is_large((fault,), search.base, score)
        if share >= (HIDDEN if is_cause else INSTEAD):
            weights[fault] = share - LATER * (fault.prior < LIKELY[0]) + _weight(fault)
            kinds.add(fault.kind)
    contradicted = {fault for fault in weights if _is_contradicted(search, fault, weights)}
    return {fault: weight for fault, weight in weights.items() if fault not in contradicted}


def _is_contradicted(search: Search, fault: Fault, others: Iterable[Fault]) -> bool:
    """Whether one of the others says the opposite, and curing that does better."""
    opposite = [f for f in others if f.kind == OPPOSITE.get(fault.kind)]
    return any(_rank(search, f) > _rank(search, fault) for f in opposite)


def _rank(search: Search, fault: Fault) -> float:
    score = search.known((fault,))
    return -math.inf if score is None else score


def find(training: Training, budget: float = 12.0) -> tuple[list[Finding], Search]:
    """The findings of a training, the most harmful first, after trials within the budget.

    budget   seconds of processor time, after the training itself has run once
    """
    facts = gather(training, budget / 20)
    search = Search(facts, budget)
    void = any(fault.voids for fault in search.faults)
    best = () if void else search.best([fault for fault in search.faults if fault.changes])
    shares = search.pruned(best) if best else {}
    best = tuple(shares)
    if not is_large(best, search.base, search.score(best)):  # without what does not matter
        best, shares = (), {}
    weights = _weights(search, search.faults, shares)
    named = sorted(weights, key=lambda c: -weights[c])
    if best and named[0].changes and named[0] not in best:
        best = search.around(named[0], best)
    remedies: tuple[Remedy, ...] = ()
    if best:
        after = search.outcome(best)
        trial = Trial(search.base, after.score, (after.losses or [math.nan])[-1], after.seconds)
        remedies = (Remedy(tuple(changes_of(best)), "", trial),)
    findings: list[Finding] = []
    for fault in named:
        if all((f.kind, f.place) != (fault.kind, fault.place) for f in findings):
            share = min(weights[fault] / 2, 1.0)
            what = fault.kind, fault.place, search.cause(fault), fault.evidence
            findings.append(Finding(*what, share, remedies if fault.changes else ()))
    return findings, search
