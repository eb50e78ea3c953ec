"""How compiling grows: with a network's depth, and with how often it is done."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.native import object_code
from chainrule.backends.native.plan.arena import _Free
from chainrule.compile import notice


def step_of(layers):
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(layers)))
    optimizer = optim.Adam(model.parameters())

    @cr.compile
    def step(x):
        loss = (model(x) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def functions_of(layers):
    code = step_of(layers).llvm(cr.ones((4, 8)))
    return re.findall(r"^define .*?^}", code, re.M | re.S)


def test_code_does_not_grow_with_depth():
    some, more = functions_of(40), functions_of(160)
    assert len(more) <= len(some) + 4
    assert sum(map(len, more)) < 1.1 * sum(map(len, some))
    assert max(f.partition("{")[0].count("ptr") for f in more) < 80  # LLVM: their square


def test_joined_in_groups_is_the_same():
    parts = [np.full((2, n % 4), n, np.float32) for n in range(150)]
    found = cr.compile(lambda *t: cr.concat(t, axis=1))(*map(cr.Tensor, parts))
    np.testing.assert_array_equal(found.numpy(), np.concatenate(parts, axis=1))


def test_gaps_of_the_arena():
    free = _Free()
    for at in (0, 64, 128):
        assert free.first(64) == at
        free.take(at, 64)
    free.give(64, 64)
    assert (free.first(64), free.first(128)) == (64, 192)
    free.give(0, 64)
    assert free.first(128) == 0
    free.give(128, 64)
    assert free.first(10**9) == 0


LEAK = """
import resource
from chainrule.backends.native import object_code, processor
text = '''
define void @"f"(ptr noalias %".1", ptr noalias %".2", i64 %".3") {
entry:
  br label %"loop"
loop:
  %"k" = phi i64 [0, %"entry"], [%"next", %"loop"]
  %"from" = getelementptr float, ptr %".1", i64 %"k"
  %"x" = load float, ptr %"from"
  %"y" = fmul float %"x", %"x"
  %"to" = getelementptr float, ptr %".2", i64 %"k"
  store float %"y", ptr %"to"
  %"next" = add i64 %"k", 1
  %"more" = icmp ult i64 %"next", %".3"
  br i1 %"more", label %"loop", label %"after"
after:
  ret void
}
'''
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for k in range(200):
    object_code.compile_ir(text, processor.host())
    if k == 49:
        before = peak()
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_compilation_keeps_no_memory():
    """150 of them kept 15 MB while the pass manager was not freed."""
    kept = int(subprocess.check_output([sys.executable, "-c", LEAK])) // (
        1024 if sys.platform == "darwin" else 1
    )
    assert kept < 3000  # kB


def test_what_frees_a_pass_manager_frees_it_once():
    class Passes(object_code.llvm.ModulePassManager):
        freed = 0

        def _dispose(self):
            Passes.freed += 1
            object_code.llvm.newpassmanagers.NewPassManager._dispose(self)

    passes = Passes()
    object_code._free_passes(passes)
    del passes
    assert Passes.freed == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_long_compilation_says_so(monkeypatch):
    monkeypatch.setattr(notice, "SILENT_FOR", 0.05)
    monkeypatch.setattr(sys, "stderr", Terminal())

    def slow(x):
        time.sleep(0.5)
        return x * 2

    step = cr.compile(slow)
    step(cr.ones(3))
    assert "[compile] slow: 0 s so far, tracing" in sys.stderr.getvalue()
    assert "slow again" not in sys.stderr.getvalue()
    step(cr.ones(2))  # a last batch with other rows, say
    assert "[compile] slow again: 0 s so far, tracing" in sys.stderr.getvalue()


def test_a_short_compilation_says_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    cr.compile(lambda x: x * 2)(cr.ones(3))
    assert sys.stderr.getvalue() == ""
