"""Threads that share a model: each sees values, whole steps, and nothing of another one's trace."""

import sys
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile import locks

rng = np.random.default_rng(1)
X, Y = rng.normal(size=(16, 6)).astype(np.float32), rng.integers(0, 3, 16)
REPEATS = 12  # of each race


@pytest.fixture(autouse=True)
def _quick_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(params=["native", "reference"])
def backend(request, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", request.param)


class Training:
    """A model, its optimizer, and steps that share them."""

    def __init__(self):
        cr.random.seed(1)
        self.model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.0), nn.Linear(8, 3)
        )
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.01)

    def step(self, x, y):
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def accumulating(self, x, y):
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward(accumulate=True)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def another(self, method):
        return cr.compile(lambda x, y: getattr(self, method)(x, y))

    def state(self):
        return [*self.model.state_dict().values(), *self.optimizer.state_dict().values()]


def together(*functions):
    """Run them at the same time; raise what one of them raised."""
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function):
        barrier.wait()
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads)
    if errors:
        raise errors[0]


def times(count, function):
    return lambda: [function(X, Y) for _ in range(count)]


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("method", ["step", "accumulating"])
def test_two_steps_that_share_everything_are_done_one_after_the_other(method, backend):
    expected = Training()
    times(6, expected.another(method))()
    for _ in range(REPEATS):
        shared = Training()
        together(*(times(3, shared.another(method)) for _ in range(2)))
        assert same(shared.state(), expected.state())


def test_a_trained_tensor_is_trained_at_each_moment_of_a_call():
    """As another thread that records may see it, between any two lines of the library."""
    w, x = cr.Tensor(np.ones(3), requires_grad=True), cr.Tensor(np.ones(3))

    @cr.compile
    def step(x):
        loss = cr.sum((x * w) ** 2)
        loss.backward()
        with cr.no_grad():
            w[...] = w - 0.1 * w.grad
        return loss

    step(x)
    trained = []

    def look(frame, event, argument):
        if "chainrule" in frame.f_code.co_filename:
            trained.append(w.requires_grad)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        step(x)
    finally:
        sys.settrace(before)
    assert len(trained) > 100
    assert all(trained)


def readers(shared):
    """What another thread may look at while a step is traced and run."""

    def values():
        for p in shared.model.parameters():
            assert p.numpy().shape == p.shape
            assert p.grad is None or p.grad.numpy().shape == p.shape

    def states():
        shared.state()

    def eager():
        eval_model(cr.Tensor(X[:3])).numpy()

    def compiled():
        assert predict(X[:3]).numpy().shape == (3, 3)

    eval_model = nn.Sequential(*list(shared.model)[::2])  # no statistics are changed
    predict = cr.compile(lambda x: eval_model(x))
    return {"values": values, "states": states, "eager": eager, "compiled": compiled}


@pytest.mark.parametrize("reader", ["values", "states", "eager", "compiled"])
def test_a_reader_sees_values_and_changes_nothing(reader, backend):
    expected = Training()
    times(3, expected.another("step"))()
    for _ in range(REPEATS):
        shared, done = Training(), threading.Event()
        look = readers(shared)[reader]

        def work(shared=shared, done=done):
            try:
                times(3, shared.another("step"))()
            finally:
                done.set()

        def watch(look=look, done=done):
            while not done.is_set():
                look()

        together(work, watch)
        assert same(shared.state(), expected.state())


def test_what_another_thread_assigns_is_not_lost(backend):
    shared = Training()
    step, group = shared.another("step"), shared.optimizer.param_groups[0]
    scale, done = cr.zeros(()), threading.Event()
    watched = cr.compile(lambda x: (scale * x).sum())

    def work():
        try:
            for _ in range(60):
                step(X, Y)
                watched(X)
        finally:
            done.set()

    def assign():
        k = 0
        while not done.is_set():
            k += 1
            group["lr"] = 0.001 * (1 + k % 7)
            assert group["lr"] == 0.001 * (1 + k % 7)
            scale[...] = float(k)
            assert scale.item() == k

    together(work, assign)
    group["lr"] = 0.0
    before = shared.model.state_dict()
    step(X, Y)
    for name, value in shared.model.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            np.testing.assert_array_equal(value, before[name])


@pytest.mark.filterwarnings("ignore:.*second backward")  # that is true here
def test_two_eager_steps_do_not_share_what_one_of_them_calculates():
    one, two = Training(), Training()
    two.model, two.optimizer = one.model, one.optimizer
    together(times(20, one.step), times(20, two.step))
    assert one.optimizer.state_dict().keys() == two.optimizer.state_dict().keys()


def test_what_a_thread_uses_another_one_waits_for():
    found, entered, leave = [], threading.Event(), threading.Event()

    def first():
        with locks.using([1, 2]), locks.using([2, 3]):  # its own again
            entered.set()
            leave.wait(10)
            found.append("first")

    def second():
        entered.wait(10)
        with locks.using([4]):  # not in use
            found.append("other")
        leave.set()
        with locks.using([3]):
            found.append("second")

    together(first, second)
    assert found == ["other", "first", "second"]


@pytest.mark.parametrize("kind", ["fewer rows", "dense", "none"])
def test_a_gradient_that_changes_while_a_step_is_compiled(kind, backend):
    table = cr.Tensor(np.ones((5, 2), np.float32), requires_grad=True)

    def read(*rows):
        (3.0 * cr.take(table, cr.Tensor(np.array(rows)), axis=0)).sum().backward()

    def change():
        table.grad = None
        if kind == "fewer rows":
            read(1, 2)
        elif kind == "dense":
            (table * 2.0).sum().backward()

    def from_another_thread():
        together(change)

    later = iter([from_another_thread])  # while it is traced the first time, and then no more

    @cr.compile
    def total(x):
        g = table.grad
        next(later, lambda: None)()
        return x.sum() if g is None else x.sum() + g.sum()

    read(0, 1, 2, 3)
    expected = {"fewer rows": 12.0, "dense": 20.0, "none": 0.0}[kind]
    assert total(np.zeros(2, np.float32)).item() == expected
