"""The pages of thresholds have all, with their values; what measures them measures those."""

import ast
import importlib
import math
import re
from pathlib import Path

import numpy as np
import pytest

from chainrule.doctor.facts import Facts
from chainrule.doctor.faults import faults_of
from chainrule.doctor.loss_reading import LossReading
from chainrule.doctor.score import score_for
from chainrule.doctor.training import Outcome
from seeded.faults import build
from seeded.healthy import HEALTHY
from seeded.measures import MEASURES
from seeded.suite import FAULTS

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "chainrule"
FILES = {
    "doctor-thresholds": [
        *sorted((SOURCE / "doctor" / "faults").glob("*.py")),
        *(
            SOURCE / "doctor" / f"{name}.py"
            for name in ("search", "diagnosis", "facts", "loss_reading", "score")
        ),
        SOURCE / "diagnosis" / "guard.py",
    ],
    "training-thresholds": sorted((SOURCE / "diagnosis" / "history").glob("*.py")),
}
LAYOUT = {"diagnosis.WIDTH", "diagnosis.NARROWEST", "diagnosis.SHOWN", "reading.SHOWN"}  # of texts
ROW = re.compile(r"^\| `(\w+\.\w+)` \| `([^`]+)` \|", re.M)


def is_number(value):
    if isinstance(value, dict):
        return all(is_number(v) for pair in value.items() for v in pair)
    if isinstance(value, (tuple, set)):
        return all(is_number(v) for v in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def names_assigned(path):
    """Public names that the file's top level gives a literal."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            if any(isinstance(part, ast.Call) for part in ast.walk(node.value)):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                yield from (n.id for n in names if n.id.isupper() and not n.id.startswith("_"))


def constants(page):
    found = {}
    for path in FILES[page]:
        relative = path.parent if path.stem == "__init__" else path.with_suffix("")
        parts = relative.relative_to(SOURCE).parts
        module = importlib.import_module("chainrule." + ".".join(parts))
        for name in names_assigned(path):
            value, title = getattr(module, name), f"{parts[-1]}.{name}"
            if is_number(value) and title not in LAYOUT:
                found[title] = value
    return found


@pytest.mark.parametrize("page", FILES)
def test_the_page_has_every_threshold_with_its_value(page):
    rows = ROW.findall((ROOT / "docs" / f"{page}.md").read_text())
    assert len(rows) == len(dict(rows)), "a threshold has two rows"
    assert {name: ast.literal_eval(value) for name, value in rows} == constants(page)


def test_numbers_are_constants_and_others_are_not():
    found = constants("doctor-thresholds")
    assert found["steps.FACTORS"] == {0.1: 0.5, 0.01: 0.3, 10.0: 0.5, 100.0: 0.3}
    assert found["guard.MOST"] == 8
    assert not {"guard.ACCEPTED", "weights.USUAL", "search.MILD", "outputs.RANGES"} & set(found)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: f"{m.name} {m.what}")
def test_a_measure_is_of_a_threshold(measure):
    threshold = measure.threshold
    assert math.isfinite(threshold)
    sides = [measure.crosses(v) for v in (np.nextafter(threshold, -1e9), threshold + 1e-9)]
    assert sides == [not measure.above, measure.above]


SEEDED = [  # a fault, and the name of its threshold
    ("inputs_not_scaled", "mlp numbers", "LARGE"),
    ("targets_overscaled", "mlp numbers", "SMALL"),
    ("train_test_mismatch", "mlp digits", "APART"),
    ("data_not_shuffled", "sgd digits", "IN_ORDER"),
    ("label_leakage", "mlp blobs", "TELLS"),
    ("init_too_large", "mlp numbers", "WIDE"),
    ("init_too_small", "mlp blobs large", "NARROW"),
    ("dead_relu", "mlp numbers", "DEAD_AT_START"),
]


def facts_before(training):
    """The facts of a training that is not run."""
    observed = training.observe()
    score = score_for(training.data[1], training.valid[1], observed.output.shape[1:])
    outcome = Outcome(score.worst, losses=[1.0])
    return Facts(training, LossReading(), score, observed, outcome, None)


@pytest.mark.parametrize(("kind", "name", "threshold"), SEEDED)
def test_the_doctor_suspects_a_fault_where_the_measure_crosses(kind, name, threshold):
    seeded = next(f for f in FAULTS if (f.kind, f.healthy) == (kind, name))
    measures = [m for m in MEASURES if m.name == threshold and kind in m.kinds]
    for training, faulty in ((build(seeded), True), (HEALTHY[name].build(0), False)):
        facts = facts_before(training)
        crossed = any(m.crosses(v) for m in measures for v in m.numbers(facts))
        suspected = kind in {f.kind for f in faults_of(facts)}
        assert (crossed, suspected) == (faulty, faulty)
