"""Which layers are equal: by one rule, in words and in mathematics."""

from itertools import pairwise

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explanation.layers import common_path, folded


def explained(*sizes):
    """A plain network with layers of these sizes."""
    cr.random.seed(0)
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
    model = nn.Sequential(*layers)
    return cr.explain(lambda x: (model(x) ** 2).mean(), cr.random.normal((3, sizes[0])))


@pytest.mark.parametrize(
    ("sizes", "paths"),
    [
        ((2, 2, 2, 2), [["0–1", "2–3", "4–5"]]),
        ((4, 2, 2, 2), [["0"], ["1"], ["2–3", "4–5"]]),  # the first reads four numbers
        ((2, 3, 4), [["0"], ["1"], ["2"], ["3"]]),
        ((2, 3, 2, 3), [["0"], ["1"], ["2"], ["3"], ["4"], ["5"]]),
    ],
)
def test_layers_are_equal_if_they_read_and_give_the_same_sizes(sizes, paths):
    steps = [step for step in explained(*sizes)._derivation.steps if step.path]
    parts = [[common_path(s) for s in (part.steps, *part.repeats)] for part in folded(steps)]
    assert parts == paths


def test_words_and_mathematics_fold_the_same_layers():
    e = explained(4, 2, 2, 2, 2)
    assert "4–5 to 6–7: as 2–3, with other weights" in e.text()
    assert "4–5 to 6–7: as 2–3, with other weights" in e.story()
    forward, backward = e.unicode().split("backward")
    assert "  4–5 as 2–3\n  6–7 as 2–3" in forward
    assert "  2–3 as 4–5" in backward  # the last one has the gradient of the loss in it
    assert r"\text{4–5 as 2–3, forward}" in e.latex()
