"""No stage of the zoo's steps differs from what is stored; a planted change is found and named."""

import json
import re

import pytest
from llvmlite import __version__ as llvmlite

import replay
from chainrule import ops
from chainrule.backends.native.formulas import FORMULAS
from chainrule.backends.native.plan import groups
from chainrule.compile import passes

HELP = f"""
To see how: python tests/replay.py compare main
To store a change that is meant: python tests/replay.py digest --write
(llvmlite {llvmlite} wrote the LLVM text.)"""


@pytest.fixture(scope="module")
def dumped():
    return list(replay.dump())


def test_every_stage_is_as_stored(dumped):
    stored = json.loads(replay.STORED.read_text())
    differing = replay.differing(stored, replay.digests(dumped))
    named = "".join(f"\n  {step}: {stage}" for step, stage in differing)
    assert not differing, f"{len(differing)} stages differ from {replay.STORED}:{named}{HELP}"


def test_every_operation_is_in_the_zoo(dumped):
    graphs = "".join(text for _, stage, text in dumped if stage == "graph")
    used = set(re.findall(r"= (\w+)\(", graphs))
    dropped = {"alias", "stop_gradient", "custom", "call", "standardise"}  # by passes
    assert set(ops.TABLE) - used == dropped


def test_the_zoo_has_a_step_for_several_threads(dumped):
    plan = next(t for *names, t in dumped if names == ["perceptron-large", "plan.v4"])
    assert " parts: " in plan
    assert "threads meet" in plan


def digests_of(step):
    return replay.digests((step, *pair) for pair in replay.stages(*replay.zoo()[step]()))


PLANTED = {  # what is changed: where, what it becomes, the first stage that shows it
    "an instruction": (FORMULAS, ops.square, FORMULAS[ops.negative], "llvm"),
    "a bound of the plan": (vars(groups), "MOST", 1, "plan"),
    "a pass": (vars(passes), "PASSES", passes.PASSES[:-1], "graph"),
}
STAGES = ["graph", "program", "plan", "llvm"]


@pytest.mark.parametrize("change", PLANTED)
def test_a_planted_change_is_found(change, monkeypatch):
    before = digests_of("optimizer-adam")
    where, key, value, first = PLANTED[change]
    monkeypatch.setitem(where, key, value)
    differing = replay.differing(before, digests_of("optimizer-adam"))
    assert {step for step, _ in differing} == {"optimizer-adam"}
    found = {stage.partition(".")[0] for _, stage in differing}
    assert found == set(STAGES[STAGES.index(first) :])


LLVM = """\
declare float @"llvm.fabs.f32"(float %".1")
define void @"g6"(ptr %".1")
{
entry:
  br label %"loop"
loop:
  %".4" = load float, ptr %".1"
  %".5" = call float @"llvm.fabs.f32"(float %".4")
  br label %"loop"
}
define void @"run0"()
{
  call void @"g6"(ptr %"x")
}
"""


def test_names_do_not_count_in_llvm_and_all_else_does():
    renamed = LLVM
    for old, new in {"g6": "group.0", ".4": "value", "loop": "loop.3", "run0": "driver"}.items():
        renamed = renamed.replace(f'"{old}"', f'"{new}"').replace(f"\n{old}:", f"\n{new}:")
    assert renamed != LLVM
    same = replay.normalised("llvm.v3", LLVM)
    assert replay.normalised("llvm.v3", renamed) == same
    for old, new in {"load": "store", '%".5"': '%".4"', "llvm.fabs": "llvm.sqrt"}.items():
        assert replay.normalised("llvm.v3", LLVM.replace(old, new)) != same


def test_a_step_or_stage_that_is_missing_differs():
    whole = {"a": {"graph": "1", "llvm.v3": "2"}, "b": {"graph": "3"}}
    assert replay.differing(whole, {"a": {"graph": "1"}}) == [("a", "llvm.v3"), ("b", "graph")]
    assert replay.differing(whole, whole) == []


def test_a_difference_is_printed_as_a_diff():
    text = replay.difference("same\nold\n", "same\nnew\n", ("before", "after"))
    assert text.splitlines() == [
        "--- before",
        "+++ after",
        "@@ -1,2 +1,2 @@",
        " same",
        "-old",
        "+new",
    ]
