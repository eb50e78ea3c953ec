"""Faults that were put into healthy trainings are found, with their place; healthy ones are not."""

import warnings

import pytest

from chainrule.doctor.search import find
from seeded.faults import build
from seeded.healthy import HEALTHY
from seeded.suite import FAULTS

SECONDS = 3.0
QUICK = [  # a kind each, of networks that compile fast: (kind, healthy)
    ("lr_too_high", "mlp digits"),
    ("dead_relu", "mlp numbers"),
    ("init_symmetric", "mlp digits"),
    ("init_too_large", "mlp digits"),
    ("gradient_ascent", "mlp blobs"),
    ("data_not_shuffled", "sgd digits"),
    ("train_test_mismatch", "mlp digits"),
]


def findings(training):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return find(training, SECONDS)[0]


@pytest.mark.parametrize(("kind", "healthy"), QUICK)
def test_a_seeded_fault_is_among_the_first_three_findings(kind, healthy):
    seeded = next(f for f in FAULTS if (f.kind, f.healthy) == (kind, healthy))
    found = findings(build(seeded))[:3]
    assert kind in [f.kind for f in found], found
    places = [f.place for f in found if f.kind == kind]
    assert "*" in seeded.places or set(places) & set(seeded.places), places


@pytest.mark.parametrize("name", ["mlp blobs small", "mlp mixed"])
def test_nothing_is_found_in_a_healthy_training(name):
    assert findings(HEALTHY[name].build(0)) == []


def test_every_kind_in_the_suite_is_in_the_vocabulary():
    from chainrule.diagnosis.kinds import KINDS

    assert {f.kind for f in FAULTS} <= set(KINDS)
    assert {kind for f in FAULTS for kind in f.also} <= set(KINDS)
