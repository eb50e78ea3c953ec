"""Ctrl-C: it stops after the step that is being done, and what there is can go on."""

import signal
import subprocess
import sys
import threading

import pytest

from chainrule.train import Callback
from chainrule.train.checkpoints import checkpoint
from running import Job, V

SCRIPT = """
import signal, sys, time
import numpy as np
import chainrule as cr
from chainrule import nn
from chainrule.train import Callback

class Waits(Callback):
    def on_step(self, run):
        if run.step == 3:
            print("ready", flush=True)
            while {stuck} and not run.history.stopped:
                time.sleep(0.001)
            if {stuck}:
                print("again", flush=True)
                time.sleep(60)
        time.sleep(0.001)

before = signal.getsignal(signal.SIGINT)
data = np.ones((32, 2), np.float32), np.zeros((32, 1), np.float32)
model = nn.Linear(2, 1)
try:
    found = cr.fit(model, data, loss="mse", epochs=10**6, callbacks=[Waits()], progress=False,
                   checkpoint=sys.argv[1])
    print(found.stopped, len(found) >= 2, found.gradients.layers)
except KeyboardInterrupt:
    print("KeyboardInterrupt")
print(signal.getsignal(signal.SIGINT) is before, np.isfinite(model.weight.numpy()).all())
"""


@pytest.mark.parametrize("stuck", [False, True])
def test_interrupting_a_process(tmp_path, stuck):
    command = [sys.executable, "-c", SCRIPT.format(stuck=stuck), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        assert p.stdout.readline() == "ready\n"
        p.send_signal(signal.SIGINT)
        if stuck:
            assert p.stdout.readline() == "again\n"
            p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=30)
    assert (p.returncode, err) == (0, "")
    first = "KeyboardInterrupt" if stuck else "interrupted True ['Linear']"
    assert out.splitlines() == [first, "True True"]
    found = checkpoint.latest(tmp_path)
    assert (found is None) == stuck
    assert stuck or (found[1]["step"] >= 3 and found[1]["history"]["stopped"] == "")


class Signals(Callback):
    def __init__(self, event, at, times=1):
        self.event, self.at, self.times = event, at, times

    def on_step(self, run):
        self._send("on_step", run)

    def on_epoch(self, run):
        self._send("on_epoch", run)

    def _send(self, event, run):
        if (event, run.step) == (self.event, self.at):
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def test_an_interrupted_run_goes_on(tmp_path):
    job = Job()
    expected = job.start(1)
    before = signal.getsignal(signal.SIGINT)
    job.start(1, tmp_path, [Signals("on_step", 6)])
    assert (job.history.stopped, len(job.history)) == ("interrupted", 1)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        job.start(1, tmp_path, [Signals("on_step", 9, times=2)])
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoint.latest(tmp_path)[1]["step"] == 6
    assert job.start(2, tmp_path) == expected


def test_ctrl_c_while_it_ends_does_not_change_why_it_ended(tmp_path):
    job = Job(schedule="StepLR", optimizer="SGD", valid=V, patience=1)
    expected = job.start(1)
    last = expected["step"]
    assert job.history.stopped == "patience"
    assert job.start(1, tmp_path, [Signals("on_epoch", last)]) == expected
    assert job.start(2, tmp_path) == expected


def test_fit_in_a_thread():
    before, found = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: found.append(Job().start(1)))
    thread.start()
    thread.join()
    assert found == [Job().start(1)]
    assert signal.getsignal(signal.SIGINT) is before
