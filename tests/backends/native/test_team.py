"""Threads: the same bits for any number of them, and no thread that waits forever."""

import ctypes
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.native import object_code, processor
from chainrule.backends.native.run import team
from chainrule.errors import ArgumentError, RangeError


@pytest.fixture
def threads(monkeypatch):
    """threads(n): programs that are compiled from now on have a team of n."""

    def choose(n):
        monkeypatch.setenv("CHAINRULE_THREADS", str(n))
        team.threads.cache_clear()

    yield choose
    team.threads.cache_clear()


def trained(steps=200):
    """The weights of a network whose layers are large enough to be shared out, with dropout."""
    cr.random.seed(3)
    rng = np.random.default_rng(0)
    x = cr.Tensor(rng.normal(size=(200, 300)).astype(np.float32))
    y = cr.Tensor(rng.integers(0, 10, 200))
    model = nn.Sequential(
        nn.Linear(300, 257), nn.ReLU(), nn.Dropout(0.2), nn.LayerNorm(257), nn.Linear(257, 10)
    )
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)

    @cr.compile
    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    losses = [float(step(x, y)) for _ in range(steps)]
    assert losses[-1] < 0.5 * losses[0]
    run = next(iter(step._steps.values()))[0].executable
    assert sum(task.shared for task in run.planned().plan.tasks) > 5
    return {name: value.tobytes() for name, value in model.state_dict().items()}


def test_one_thread_and_two_train_to_the_same_bits(threads, all_threads):
    threads(1)
    alone = trained()
    threads(2)
    assert trained() == alone


def test_two_threads_of_python_call_one_step(threads):
    """Each call is a whole step: as many as were made have been done."""
    threads(2)
    w = cr.zeros(40_000)

    @cr.compile
    def add(x):
        w[...] = w + x
        return (w * w).sum()

    one = cr.ones(40_000)
    callers = [threading.Thread(target=lambda: [add(one) for _ in range(50)]) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert w.tolist() == [150.0] * 40_000


def test_two_steps_that_share_tensors_run_at_once(threads):
    threads(2)
    a, b = cr.zeros(30_000), cr.zeros(30_000)

    @cr.compile
    def first(x):
        a[...] = a + x + 0 * b
        return x[0]

    @cr.compile
    def second(x):
        b[...] = b + x + 0 * a
        return x[0]

    one = cr.ones(30_000)
    callers = [
        threading.Thread(target=lambda f=f: [f(one) for _ in range(60)]) for f in (first, second)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive()
    assert a[0] == b[0] == 60.0


MODES = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define void @keep(ptr %place) {
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  ret void
}
define void @load(ptr %place) {
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  ret void
}
"""


@pytest.fixture
def mode():
    """What this thread's processor does with denormals, to be read and set; as it was afterwards.

    On processors other than x86, a number that means nothing.
    """
    if not processor.host().x86:
        yield ctypes.c_uint32()
        return
    library = object_code.load(object_code.compile_ir(MODES, processor.host()), ("keep", "load"))
    keep, load = (
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.address(name)) for name in ("keep", "load")
    )

    class Mode:
        @property
        def value(self):
            found = ctypes.c_uint32()
            keep(ctypes.addressof(found))
            return found.value & ~0x3F  # less the flags of what has happened

        @value.setter
        def value(self, bits):
            load(ctypes.addressof(ctypes.c_uint32(bits)))

    found = Mode()
    before = found.value
    yield found
    found.value = before


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_denormals_are_numbers_and_zero_in_products(threads, mode, dtype, count, zero):
    """Whatever mode the caller is in, which stays as it is. Only x86 has them zero in products."""
    threads(count)
    tiny, part = np.finfo(dtype).tiny, np.dtype(dtype).type(0.75)

    @cr.compile
    def step(normal, denormal, eye):
        sums = normal * part, denormal == 0, cr.log(denormal), denormal * 4.0
        return *sums, normal @ (eye * part), denormal @ eye, normal @ eye

    given = np.full((300, 300), tiny, dtype), np.full((300, 300), tiny / 2, dtype)
    log, product = np.log(given[1]), 0 if processor.host().x86 else 1
    expected = given[0] * part, given[1] < 0, None, given[1] * 4, product * given[0] * part
    expected = *expected, product * given[1], given[0]
    arguments = [*map(cr.Tensor, (*given, np.eye(300, dtype=dtype)))]
    before = mode.value = mode.value | (0x8040 if zero else 0)
    found = [[np.asarray(v).copy() for v in step(*arguments)] for _ in range(20)]  # of `Pace`
    after, mode.value = mode.value, before & ~0x8040
    assert after == before
    for values in found:
        np.testing.assert_allclose(values.pop(2), log, rtol=1e-6)
        for value, right in zip(values, expected[:2] + expected[3:], strict=True):
            assert value.tobytes() == right.tobytes()


def test_what_is_nearly_certain_has_a_gradient():
    """The other classes' probabilities are denormals: 1 / p is finite, and p times it is 1."""
    w = nn.Parameter(np.eye(3, dtype=np.float32))

    @cr.compile
    def step(x):
        p = cr.softmax(x @ w)
        loss = -(p * cr.log(p)).sum()
        loss.backward()
        return loss, w.grad

    loss, grad = step(cr.Tensor(np.eye(3, dtype=np.float32) * 88.3))
    assert np.isfinite([float(loss), *grad.tolist()[0]]).all()


def test_a_mean_of_gradients_that_end_ends():
    """Times 0.9 and rounded, the smallest denormal stays itself: each step would be slow forever.

    One that grows is kept: without it Adam would divide by nothing.
    """
    w = nn.Parameter(np.ones(64, np.float32))
    optimizer = optim.Adam([w], lr=0.0)

    @cr.compile
    def step(x):
        (w * x).sum().backward()
        optimizer.step()

    step(cr.ones(64))
    for _ in range(1500):
        step(cr.zeros(64))
    (state,) = optimizer.state.values()
    assert not np.asarray(state["exp_avg"]).any()
    zero = cr.zeros(64)

    @cr.compile
    def turn(x):
        zero[...] = zero * x

    turn(cr.full(64, -1.0))
    assert np.signbit(zero.numpy()).all(), "a zero keeps its sign"
    v = nn.Parameter(np.ones(4, np.float32))
    small = optim.Adam([v], eps=0.0)

    @cr.compile
    def grow(x):
        (v * x).sum().backward()
        small.step()

    for _ in range(5):
        grow(cr.full(4, 3e-19))
    np.testing.assert_allclose(v.numpy(), 0.995, rtol=1e-5)


def test_a_failed_step_changes_nothing(threads):
    threads(2)
    table = cr.zeros((5, 20_000))
    seen = cr.zeros(20_000)

    @cr.compile
    def step(k):
        seen[...] = seen + 1
        row = cr.take(table, k, axis=0)
        table[...] = table + row + 1
        return row.sum()

    step(cr.Tensor([1]))
    with pytest.raises(RangeError):
        step(cr.Tensor([7]))
    assert seen[0] == 1.0
    assert table[0, 0] == 1.0
    step(cr.Tensor([0]))
    assert seen[0] == 2.0


def test_sleeping_workers_are_no_hindrance(threads, monkeypatch):
    monkeypatch.setattr(team, "AWAKE", 1)
    threads(2)
    f = cr.compile(lambda x: (x @ x).sum())
    x = cr.ones((300, 300))
    assert {float(f(x)) for _ in range(50)} == {300.0 * 300 * 300}


def test_the_threads_own_functions_are_loaded_once(monkeypatch):
    """Loaded twice, a step of the first thread would hold addresses of what is gone."""
    loads = []

    def load(*args, real=object_code.load):
        loads.append(threading.get_ident())
        time.sleep(0.05)  # the others come while the first one loads
        return real(*args)

    monkeypatch.setattr(team, "load", load)
    monkeypatch.setattr(team, "_loaded", None)
    found = []
    threads = [threading.Thread(target=lambda: found.append(team.repeat())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(found) == 4
    assert len(set(found)) == 1


NUMPY_IS_LOADED = """
import os, sys

class Looks:
    def find_spec(self, name, *rest):
        if name == "numpy":
            print(os.environ.get("OPENBLAS_THREAD_TIMEOUT"))

sys.meta_path.insert(0, Looks())
import chainrule
print(os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
"""


@pytest.mark.parametrize(("given", "seen"), [(None, ["20", "None"]), ("26", ["26", "26"])])
def test_the_threads_of_blas_do_not_stay_awake_unless_the_user_says_so(given, seen, monkeypatch):
    """What NumPy finds as it is loaded, and what is left afterwards."""
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    if given is not None:
        monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", given)
    command = [sys.executable, "-c", NUMPY_IS_LOADED]
    assert subprocess.check_output(command, text=True).split() == seen


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1000", "²"])
def test_a_bad_number_of_threads(value, monkeypatch):
    monkeypatch.setenv("CHAINRULE_THREADS", value)
    team.threads.cache_clear()
    with pytest.raises(ArgumentError, match="CHAINRULE_THREADS"):
        team.threads()
    team.threads.cache_clear()


FAILING = """
import numpy as np
import chainrule as cr
from chainrule.backends.native.run import team
from chainrule.compile import Compiled

team.Pace.choose = lambda self: True
table = cr.Tensor(np.ones((64, 256), np.float32))
w = cr.Tensor(np.zeros((256, 8), np.float32), requires_grad=True)
optimizer = cr.optim.SGD([w], lr=0.01)

def step(rows):
    loss = ((cr.tanh(table[rows]) @ w) ** 2).sum()
    loss.backward()
    optimizer.step()
    return loss

compiled, rows = Compiled(step, (optimizer,)), np.arange(512) % 64
for _ in range(2):
    compiled(cr.Tensor(rows))
wrong = np.tile(rows, 3)
wrong[512] = 64
failed = 0
for _ in range(1000):
    try:
        assert compiled.repeat(3, [wrong]) is not None, "not repeated"
    except IndexError:
        failed += 1
print(failed)
"""


def test_all_threads_see_that_a_repeated_step_has_failed(tmp_path):
    """One that is early begins the next step, which fails, before another has looked at this."""
    settings = {**os.environ, "CHAINRULE_THREADS": "2", "CHAINRULE_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", FAILING]
    found = subprocess.check_output(command, text=True, env=settings, timeout=120)
    assert found.split() == ["1000"]
