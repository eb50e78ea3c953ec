"""What a backend is: the rows of BACKENDS, and the two protocols, by a backend that has no more."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, nn, optim
from chainrule.backends import reference
from chainrule.errors import ArgumentError


class Resident:
    """Arrays that stay between runs, in NumPy: exactly the members of the protocols.

    An update is found in its input's array, other outputs in the arrays that were placed.
    """

    def __init__(self, program):
        self._program, self._call = program, reference.build(program)
        self._arrays, self.runs_begun = {}, 0
        self._specs = dict(enumerate((*program.arguments, *program.constants)))
        self._specs |= {kernel.writes: kernel.node for kernel in program.kernels}

    def __call__(self, arrays):
        return self._call(arrays)

    def text(self, stage):
        return f"{stage} of {self._program.inputs} inputs"

    @property
    def memory(self):
        return self

    @property
    def outputs(self):
        return self._program.outputs

    @property
    def updates(self):
        return dict(self._program.updates)

    @property
    def outputs_to_place(self):
        first = self._program.first_result
        return [b for b in dict.fromkeys(self.outputs) if b >= first and b not in self.updates]

    outputs_lost_on_failure = ()
    can_repeat = True

    def spec(self, buffer):
        return self._specs[buffer]

    def new_array(self, buffer):
        return np.full(self.spec(buffer).shape, 7, self.spec(buffer).dtype)

    def place(self, buffer, array):
        self._arrays[buffer] = array if array.flags.c_contiguous else array.copy()

    def array(self, buffer):
        return self._arrays[buffer]

    def result(self, output):
        return self._arrays[self.updates.get(output, output)]

    def run(self):
        inputs = [self._arrays[b] for b in range(self._program.inputs)]
        values = dict(zip(self.outputs, self._call(inputs), strict=True))
        for b in self.outputs_to_place:
            self._arrays[b][...] = values[b]
        for new, old in self._program.updates:
            self._arrays[old][...] = values[new]

    def repeat(self, count, moving):
        self.runs_begun = 0
        before = {b: self._arrays[b] for b in moving}
        try:
            for k in range(count):
                self.runs_begun += 1
                for b, array in moving.items():
                    self._arrays[b] = array.reshape(count, *self.spec(b).shape)[k, ...]
                self.run()
        finally:
            self._arrays |= before


THIRD = backends.Backend("third", lambda: Resident, stages=("plan", "loops"), keeps_memory=True)


@pytest.fixture
def third(monkeypatch):
    """A third backend, by one row."""
    monkeypatch.setattr(backends, "BACKENDS", (*backends.BACKENDS, THIRD))
    monkeypatch.setenv("CHAINRULE_BACKEND", "third")


def trained(repeat=False):
    """The losses and weights of a few steps, which are looked at, changed and failed on the way."""
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    optimizer = optim.Adam(model.parameters(), lr=0.05)

    @cr.compile
    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((24, 6), np.float32), rng.integers(0, 3, 24)
    losses = [step(x[:8], y[:8]).item()]
    if repeat:
        losses += step.repeat(2, [x[8:], y[8:]])[0].tolist()
    else:
        losses += [step(x[k : k + 8], y[k : k + 8]).item() for k in (8, 16)]
    seen = model[0].weight.grad.numpy().copy()
    with pytest.raises(cr.errors.RangeError):
        step(x[:8], y[:8] + 9)
    np.testing.assert_array_equal(model[0].weight.grad.numpy(), seen)
    with cr.no_grad():
        model[0].bias[...] = 0.5
    losses.append(step(x[:12], y[:12]).item())  # another step takes the tensors over
    losses.append(step(x[:8], y[:8]).item())
    return losses, [p.numpy().tobytes() for p in model.parameters()]


@pytest.mark.parametrize("repeat", [False, True], ids=["call by call", "repeat"])
def test_the_members_of_the_protocols_are_enough_to_train(third, repeat, monkeypatch):
    found = trained(repeat)
    assert backends.current().name == "third"
    monkeypatch.setenv("CHAINRULE_BACKEND", "reference")
    assert found == trained()


def test_a_backend_without_memory_is_called_with_arrays(third, monkeypatch):
    calls = []

    def build(program):
        executable = reference.build(program)
        calls.append(executable)
        return executable

    row = dataclasses.replace(THIRD, load=lambda: build, keeps_memory=False)
    with monkeypatch.context() as patch:
        patch.setattr(backends, "BACKENDS", (row,))
        found = trained()
    assert len(calls) == 2
    monkeypatch.setenv("CHAINRULE_BACKEND", "reference")
    assert found == trained()


def test_a_backend_is_named_by_the_environment(third, monkeypatch):
    assert backends.available() == ["reference", "native", "third"]
    monkeypatch.delenv("CHAINRULE_BACKEND")
    assert backends.current().name == "third", "the last is the fastest"
    monkeypatch.setenv("CHAINRULE_BACKEND", "thrid")
    with pytest.raises(ArgumentError, match=r"got CHAINRULE_BACKEND='thrid'.*did you mean third"):
        backends.current()


def test_a_backend_whose_package_is_missing_says_which(monkeypatch):
    row = dataclasses.replace(THIRD, package="nothing_of_this_name")
    monkeypatch.setattr(backends, "BACKENDS", (*backends.BACKENDS, row))
    monkeypatch.setenv("CHAINRULE_BACKEND", "third")
    with pytest.raises(ArgumentError, match="or native; pip install nothing_of_this_name"):
        backends.current()


def test_the_error_for_a_stage_says_what_to_install(monkeypatch):
    reference, native = backends.BACKENDS
    row = dataclasses.replace(native, package="nothing_of_this_name")
    monkeypatch.setattr(backends, "BACKENDS", (reference, row))
    monkeypatch.delenv("CHAINRULE_BACKEND", raising=False)
    install = "expected native; pip install nothing_of_this_name, then set CHAINRULE_BACKEND=native"
    with pytest.raises(ArgumentError, match=install):
        cr.compile(lambda x: x * 2).plan(cr.ones(3))


def test_the_stages_of_a_backend_are_shown(third, monkeypatch, capsys):
    step = cr.compile(lambda x: x * 2)
    assert step.plan(cr.ones(3)) == "plan of 1 inputs"
    with pytest.raises(ArgumentError, match="got the third backend, which has no llvm; expected"):
        step.llvm(cr.ones(3))
    monkeypatch.setenv("CHAINRULE_SHOW", "loops,llvm")
    step(cr.ones(3))
    shown = capsys.readouterr().err
    assert "── llvm ──\nnone: the third backend has no llvm\n── loops ──\nloops of 1" in shown


def test_backends_are_loaded_by_compile_and_not_before():
    code = (
        "import sys, chainrule\n"
        "assert not [m for m in sys.modules if m.startswith('chainrule.backends.n')]\n"
        "assert 'chainrule.backends.reference' not in sys.modules\n"
        "chainrule.compile(lambda x: x)\n"
        "assert 'chainrule.backends.reference' in sys.modules\n"
    )
    environment = {**os.environ, "CHAINRULE_BACKEND": "reference"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_one_value_replaces_several_tensors(backend, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    first, second, third = cr.Tensor([1.0, 2.0]), cr.Tensor([5.0, 6.0]), cr.Tensor([7.0, 8.0])

    @cr.compile
    def step(x):
        new = x * 2
        third[...] = first  # the value from before
        first[...] = new
        second[...] = new
        return new.sum()

    for k in (1.0, 3.0):
        before = first.tolist()
        step(cr.ones(2) * k)
        assert first.tolist() == second.tolist() == [2 * k] * 2
        assert third.tolist() == before
