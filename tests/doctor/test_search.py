"""Which bundles of cures the search tries, and chooses: with trainings whose scores are made up."""

import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from chainrule.diagnosis import Change
from chainrule.doctor.faults import Fault
from chainrule.doctor.score import Score, is_chance
from chainrule.doctor.search import Search, _weights, is_large
from chainrule.doctor.training import Outcome

SCORE = Score("numbers", "R²")


def fault(kind, prior, place="loss", value=1, **more):
    what = {"epochs": "epochs", "optimizer.lr": "rate"}.get(place, kind)
    return Fault(kind, place, "", prior, (Change(what, place, value),), **more)


@dataclass
class Made:
    """A training whose score is a function of its changes, by kind of fault, and of the seed."""

    score: object
    seconds: float = 0.0
    values: tuple = ()

    def changed(self, changes):
        return Made(self.score, self.seconds, tuple((c.place, c.value) for c in changes))

    def run(self, score, seed=0, seconds=1e9):
        began = time.process_time()
        while time.process_time() - began < self.seconds:
            pass
        return Outcome(self.score(dict(self.values), seed), [1.0])


def search(score, budget=1e9, seconds=0.0):
    training = Made(score, seconds)
    outcome = training.run(SCORE)
    facts = SimpleNamespace(
        training=training,
        outcome=outcome,
        score=SCORE,
        constant=0.0,
        constant_rows=None,
        few_rows=False,
        is_chance=is_chance,
    )
    return Search(facts, budget)


SLOW, FASTER = (
    fault("lr_too_low", 0.5, "optimizer.lr", 10),
    fault("lr_too_low", 0.3, "optimizer.lr", 100),
)
INPUTS, ACTIVATION = (
    fault("inputs_not_scaled", 0.9, "data.inputs"),
    fault("double_softmax", 0.8, "5"),
)


def test_a_cure_that_helps_by_chance_is_not_chosen():
    def score(changes, seed):
        rate = changes.get("optimizer.lr", 1)
        return {1: 0.5, 10: 0.9, 100: 0.93 if seed == 0 else 0.3}[rate]

    assert search(score).best([SLOW, FASTER]) == (SLOW,)


def test_two_cures_that_help_together_only():
    def score(changes, seed):
        return 0.9 if {"data.inputs", "5"} <= changes.keys() else 0.2

    s = search(score)
    best = s.best([INPUTS, ACTIVATION, SLOW])
    assert set(best) == {INPUTS, ACTIVATION}
    assert s.pruned(best) == {ACTIVATION: (0.0, 1.0), INPUTS: (0.0, 1.0)}


def test_what_does_not_matter_is_pruned():
    def score(changes, seed):
        return 0.3 + 0.5 * ("5" in changes) + 0.1 * ("optimizer.lr" in changes)

    s = search(score)
    assert s.pruned((INPUTS, ACTIVATION, SLOW)).keys() == {ACTIVATION, SLOW}


def test_nothing_is_tried_where_nothing_can_be_gained():
    s = search(lambda changes, seed: 0.97)
    assert s.best([INPUTS, ACTIVATION, SLOW]) == ()
    assert {changes for changes, seed in s.tried} == {frozenset()}


def test_a_training_that_learns_with_some_first_weights_only():
    score = lambda changes, seed: 0.98 if changes or seed != 1 else 0.5  # noqa: E731
    s = search(score)
    assert s.best([ACTIVATION]) == (ACTIVATION,)
    assert s.base == 0.5


@pytest.mark.parametrize("count", [3, 12])
def test_trials_stay_within_the_budget(count):
    """Each trial takes a tenth of it; the last one may overrun, and two prove the best."""

    def score(changes, seed):
        return 0.1 + 0.8 * len(changes) / count

    faults = [fault("double_softmax", 0.9 - k / 100, str(k)) for k in range(count)]
    s = search(score, budget=0.2, seconds=0.02)
    best = s.best(faults)
    s.pruned(best)
    assert s.left > -0.45
    assert len(s.tried) > 4


def test_more_epochs_have_to_bring_more():
    more = fault("too_few_epochs", 0.3, "epochs", 40)
    score = lambda changes, seed: {0: 0.4, 1: 0.9 + 0.005 * ("epochs" in changes)}[len(changes)]  # noqa: E731
    assert search(score).best([SLOW, more]) == (SLOW,)


def test_what_is_a_large_gain():
    slow, norm = (SLOW,), (fault("batchnorm_missing", 0.4, "0"),)
    more = fault("too_few_epochs", 0.3, "epochs", 40)
    lower = fault("lr_too_high", 0.5, "optimizer.lr", 0.1)
    assert is_large((ACTIVATION,), 0.90, 0.955)
    assert not is_large((ACTIVATION,), 0.80, 0.88)
    assert not is_large(slow, 0.90, 0.955)
    assert is_large(slow, 0.80, 0.91)
    assert is_large((lower,), 0.90, 0.955)
    assert not is_large((lower, more), 0.90, 0.955)
    assert not is_large((ACTIVATION, more), 0.90, 0.955)
    assert not is_large(norm, 0.75, 0.9)
    assert not is_large((fault("regularisation_too_strong", 0.4, "3"),), 0.90, 0.955)
    assert is_large((*norm, ACTIVATION), 0.75, 0.9)


def test_a_cause_is_named_beside_steps_that_hide_it():
    """Many more epochs do better than its cure, which is a large gain too."""
    more = fault("too_few_epochs", 0.3, "epochs", 40)

    def score(changes, seed):
        return 0.4 + 0.2 * ("5" in changes) + 0.45 * (len(changes) > ("5" in changes))

    s = search(score)
    s.score((ACTIVATION,))
    assert _weights(s, [ACTIVATION, more], {more: (1.0, 1.0)}).keys() == {ACTIVATION, more}
    assert _weights(s, [ACTIVATION, more], {INPUTS: (1.0, 1.0)}).keys() == {INPUTS, more}


def test_few_held_out_rows_prove_nothing():
    s = search(lambda changes, seed: 0.2 + 0.7 * ("5" in changes))
    assert s.best([ACTIVATION]) == (ACTIVATION,)
    s.facts.few_rows = True
    assert s.best([ACTIVATION]) == ()


@pytest.mark.parametrize(("after", "repairs"), [(0.0, False), (0.05, False), (0.5, True)])
def test_a_rise_to_a_constant_is_no_repair(after, repairs):
    s = search(lambda changes, seed: after if changes else -0.9)
    assert bool(s.best([ACTIVATION])) == repairs


def test_a_gain_over_a_constant_may_be_chance():
    """0.15 above it on 20 rows: the standard error is √(0.65 · 0.35 / 20) = 0.107."""
    s = search(lambda changes, seed: 0.65 if changes else 0.3)
    constant, after = np.zeros(20), np.zeros(20)
    constant[:10] = after[-13:] = 1
    s.facts.constant = 0.5
    assert s.best([ACTIVATION]) == (ACTIVATION,)
    s.facts.constant_rows = constant
    s.outcome((ACTIVATION,)).rows = after
    assert s.best([ACTIVATION]) == ()


@pytest.mark.parametrize(("lower", "higher"), [(0.7, 0.8), (0.8, 0.7)])
def test_a_rate_is_not_too_low_and_too_high(lower, higher):
    low = fault("lr_too_high", 0.5, "optimizer.lr", 0.1)
    scores = {(): 0.1, (10,): higher, (0.1,): lower, (7,): 0.9}
    s = search(lambda changes, seed: scores[tuple(changes.values())])
    other = fault("double_softmax", 0.8, "5", 7)
    for f in (low, SLOW, other):
        s.score((f,))
    kinds = {f.kind for f in _weights(s, [low, SLOW, other], {other: (1.0, 1.0)})}
    assert kinds == {"double_softmax", "lr_too_high" if lower > higher else "lr_too_low"}


def test_a_cause_says_what_the_trial_of_its_change_says():
    lower = fault("lr_too_high", 0.5, "optimizer.lr", 0.1, instead="0.1")
    s = search(lambda changes, seed: 0.5 if "5" in changes else 0.1)
    s.score((lower,))
    assert s.cause(lower) == "; 0.1 is part of the best repair"
    s = search(lambda changes, seed: 0.5 if changes else 0.1)
    s.score((lower,))
    assert s.cause(lower) == ", and 0.1 does better"
