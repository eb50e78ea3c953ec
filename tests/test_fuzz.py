"""A few random programs of `fuzzing.py` in each run of the tests: compiled is what eager is."""

import importlib
import sys

import pytest

import fuzzing
from chainrule import ops
from chainrule.graph import Graph, Node

COUNT, PARTS = 64, 8


@pytest.fixture(autouse=True)
def _quick_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_compiled_programs_give_what_eager_ones_give(part):
    for seed in range(part, COUNT, PARTS):
        assert not fuzzing.compare(seed), f"python tests/fuzzing.py --show --count 1 --seed {seed}"


def test_the_programs_hold_what_is_compared():
    texts = " ".join(text for seed in range(300) for text in fuzzing.Program(seed).texts)
    for name in (
        "grad of",
        "hvp of",
        "compile of",
        "custom_vjp of",
        "scan of",
        "buffer",
        "x @ w",
        "take",
        "uint64",
        "int8",
        "commuting",
        "accumulate=True",
        "(1, 4, 4) -> ",
        "permute (",
    ):
        assert name in texts
    assert any(len(fuzzing.Program(s).steps) > 1 for s in range(20))


@pytest.mark.filterwarnings("ignore")
def test_a_difference_is_found(monkeypatch):
    step = importlib.import_module("chainrule.compile.step")
    right = step.optimise

    def wrong(graph, show=None):
        graph = right(graph, show)
        first = graph.outputs[0]
        nudged = Node(ops.negative, (first,), {}, first.shape, first.dtype)
        return Graph(graph.inputs, [nudged, *graph.outputs[1:]])

    seeds = [s for s in range(40) if not fuzzing.Program(s).threaded][:2]
    assert not any(map(fuzzing.compare, seeds))
    monkeypatch.setattr(step, "optimise", wrong)
    assert all("reference: array 0" in fuzzing.compare(seed) for seed in seeds)
