"""Forks beside compiled steps: the child has whole tensors, free locks and its own workers."""

import os
import subprocess
import sys

import pytest

FORKED = """
import os, chainrule as cr
x = cr.ones((300, 300))
f = cr.compile(lambda x: (x @ x).sum())
before = float(f(x))
child = os.fork()
if child == 0:
    os._exit(0 if float(f(x)) == before else 1)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert float(f(x)) == before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_computes_on():
    environment = {**os.environ, "CHAINRULE_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", FORKED], env=environment, timeout=60)
    assert done.returncode == 0


FORKED_WHILE_A_STEP_RUNS = """
import os, threading, chainrule as cr
m = cr.zeros((200, 200))
one = cr.ones((200, 200))

@cr.compile
def inc(x):
    m[...] = m + x
    return (m @ x).sum()

inc(one)
going = True
def loop():
    while going:
        inc(one)
other = threading.Thread(target=loop)
other.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        whole = float(m.min()) == float(m.max())
        os._exit(0 if whole and float(inc(one)) > 0 else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
going = False
other.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("number", ["1", "2"])
def test_a_fork_waits_for_a_step_of_another_thread(number):
    environment = {**os.environ, "CHAINRULE_THREADS": number}
    command = [sys.executable, "-W", "ignore", "-c", FORKED_WHILE_A_STEP_RUNS]
    assert subprocess.run(command, env=environment, timeout=60).returncode == 0


FORKED_AS_ONE_IS_MADE = """
import os, threading
from chainrule.compile import locks

waited_for, make = locks.{waited_for}(), locks.{made}
inside, forking, forked = (threading.Event() for _ in range(3))
made = []

def calls():
    with waited_for:
        inside.set()
        forking.wait(0.5)  # the fork waits
        made.append(make())
        made[0].acquire()
    forked.wait(0.5)
    made[0].release()

other = threading.Thread(target=calls)
other.start()
inside.wait()
child = os.fork()
if child == 0:
    os._exit(0 if made[0].acquire(timeout=1) else 1)
forked.set()
other.join()
_, status = os.waitpid(child, 0)
assert status == 0, status
"""
TWO_FORK_AT_ONCE = """
import os, threading, time
from chainrule.compile import locks

functions = [locks.of_function() for _ in range(2)]
going, failed = True, []

def steps(function):
    while going:
        with function:
            time.sleep(0.002)

def forks():
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0 if all(lock.acquire(timeout=0.2) for lock in functions) else 1)
        failed.append(os.waitpid(child, 0)[1])

calling = [threading.Thread(target=steps, args=(function,)) for function in functions]
forking = [threading.Thread(target=forks) for _ in range(2)]
for thread in calling + forking:
    thread.start()
for thread in forking:
    thread.join()
going = False
for thread in calling:
    thread.join()
assert failed == [0] * 40, failed
"""


FORKED_IN_A_FUNCTION = """
import os, threading
from chainrule.compile import locks

functions = [locks.of_function() for _ in range(2)]
inside = threading.Event()

def forks(*_):
    child = os.fork()
    if child == 0:
        os._exit(0 if all(lock.acquire(timeout=1) for lock in functions) else 1)
    assert os.waitpid(child, 0)[1] == 0

def calls():
    with functions[0]:
        inside.set()
        threading.Event().wait(0.2)  # the other thread's fork waits for this function
        forks()

other = threading.Thread(target=calls)
other.start()
inside.wait()
forks()
other.join()
"""
FORKED_BY_A_SIGNAL = """
import os, signal, threading
from chainrule.compile import locks

function, inside = locks.of_function(), threading.Event()

def calls():
    with function:
        inside.set()
        threading.Event().wait(0.5)

def forks(*_):
    child = os.fork()
    if child == 0:
        os._exit(0 if function.acquire(timeout=1) else 1)
    assert os.waitpid(child, 0)[1] == 0

signal.signal(signal.SIGALRM, forks)
other = threading.Thread(target=calls)
other.start()
inside.wait()
signal.setitimer(signal.ITIMER_REAL, 0.1)  # while the first fork waits
forks()
other.join()
other = threading.Thread(target=forks)
other.start()
other.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    "code",
    [
        FORKED_AS_ONE_IS_MADE.format(waited_for="of_function", made="of_step"),
        FORKED_AS_ONE_IS_MADE.format(waited_for="of_step", made="of_function"),
        TWO_FORK_AT_ONCE,
        FORKED_IN_A_FUNCTION,
        FORKED_BY_A_SIGNAL,
    ],
)
def test_a_child_has_free_locks(code):
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


FORKED_BESIDE_ONE_THAT_WAITS = """
import os, threading, time
from chainrule.compile import locks

locks.FORK_TIMEOUT = 0.2
function, inside, done = locks.of_function(), threading.Event(), threading.Event()

def calls():
    with function:
        inside.set()
        done.wait(20)  # for the thread that forks

other = threading.Thread(target=calls)
other.start()
inside.wait()
began = time.monotonic()
child = os.fork()
if child == 0:
    os._exit(0 if locks.crossing.acquire(timeout=1) else 1)
took = time.monotonic() - began
done.set()
other.join()
assert os.waitpid(child, 0)[1] == 0
assert 0.2 <= took < 10, took
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_does_not_wait_for_ever():
    command = [sys.executable, "-W", "ignore", "-c", FORKED_BESIDE_ONE_THAT_WAITS]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


FORKED_WHILE_COMPILING = """
import gc, os, threading
from chainrule.compile.garbage_collection import paused

inside, done = threading.Event(), threading.Event()

def compiles():
    with paused:
        inside.set()
        done.wait()

other = threading.Thread(target=compiles)
other.start()
inside.wait()
assert not gc.isenabled()
child = os.fork()
if child == 0:
    os._exit(0 if gc.isenabled() else 1)
_, status = os.waitpid(child, 0)
done.set()
other.join()
assert status == 0, status
assert gc.isenabled()
"""


def test_a_child_collects_garbage_though_another_thread_was_compiling():
    command = [sys.executable, "-W", "ignore", "-c", FORKED_WHILE_COMPILING]
    assert subprocess.run(command, timeout=60).returncode == 0
