"""Tensors that stay with a compiled step: whoever looks sees what was computed, and keeps it."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.native.run.runner import Runner
from chainrule.errors import RangeError
from chainrule.nn import functional

RNG = np.random.default_rng(0)
X = cr.Tensor(RNG.normal(size=(16, 4)).astype(np.float32))
Y = cr.Tensor(RNG.integers(0, 3, 16))


def network():
    cr.random.seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 3))
    return model, optim.Adam(model.named_parameters(), lr=0.05)


def step_of(model, optimizer):
    @cr.compile
    def step(x, y):
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def everything(model, optimizer):
    state = {**model.state_dict(), **optimizer.state_dict()}
    return {name: np.array(value).tobytes() for name, value in state.items()}


def is_with_a_step(t):
    """Whether the handle is empty."""
    try:
        object.__getattribute__(t, "_value")
    except AttributeError:
        return True
    return False


def test_they_stay_until_somebody_looks():
    model, optimizer = network()
    step = step_of(model, optimizer)
    step(X, Y)
    w, b = model[0].weight, model[0].bias
    assert is_with_a_step(w)
    assert is_with_a_step(b)
    w.numpy()
    assert not is_with_a_step(w)
    assert is_with_a_step(b)
    step(X, Y)
    assert is_with_a_step(w)


LOOKS = {
    "value": lambda m, o: m[0].weight.numpy(),
    "gradient": lambda m, o: m[0].weight.grad,
    "text": lambda m, o: repr(m[3].bias),
    "state": lambda m, o: (m.state_dict(), o.state_dict()),
    "copy": lambda m, o: copy.deepcopy(m),
    "pickle": lambda m, o: pickle.dumps(m),
    "eager": lambda m, o: m(X),
    "evaluation": lambda m, o: (m.eval(), m(X), m.train()),
    "freeze": lambda m, o: m[3].freeze(),
    "unfreeze": lambda m, o: m[3].unfreeze(),
    "rate": lambda m, o: o.param_groups[0].__setitem__("lr", 0.01),
    "drop gradients": lambda m, o: o.zero_grad(),
    "eager step": lambda m, o: (functional.cross_entropy(m(X), Y).backward(), o.step()),
    "assign": lambda m, o: m[0].bias._assign(cr.ones(5) * 0.5),
    "load": lambda m, o: m.load_state_dict(
        {k: v * 0.5 if v.dtype.kind == "f" else v for k, v in m.state_dict().items()}
    ),
    "hook": lambda m, o: m[0].weight.register_hook(lambda g: g * 0.5),
    "nothing": lambda m, o: None,
}


def _assigned(look, model, optimizer):
    with cr.no_grad() if look == "assign" else cr.enable_grad():
        LOOKS[look](model, optimizer)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(LOOKS)), min_size=1, max_size=8))
def test_looking_changes_nothing_and_changes_are_seen(looks):
    """The same as with a step that is compiled again each time, so no tensor is with another step.

    Batches of two sizes are two programs, which take the tensors from each other.
    """
    ends = []
    for stays in (True, False):
        model, optimizer = network()
        step = step_of(model, optimizer)
        for look in looks:
            for rows in (16, 7, 16, 16):
                if not stays:
                    everything(model, optimizer)
                    step = step_of(model, optimizer)
                step(X[:rows], Y[:rows])
            _assigned(look, model, optimizer)
        slopes = [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()]
        ends.append((everything(model, optimizer), slopes))
    assert ends[0] == ends[1]


def test_a_step_takes_arrays_from_another_one_as_they_are():
    model, optimizer = network()
    step = step_of(model, optimizer)
    weight, mean = model[0].weight, optimizer.state["0.weight"]["exp_avg"]
    for rows in (16, 7):  # to trace a step is to look
        step(X[:rows], Y[:rows])
    arrays = []
    for rows in (16, 7, 16):
        step(X[:rows], Y[:rows])
        assert is_with_a_step(weight)
        arrays.append([t._lender.peek(t).value for t in (weight, mean)])
    for value in zip(*arrays, strict=True):
        assert all(v is value[0] for v in value)
    seen = mean.numpy()
    step(X[:7], Y[:7])
    assert mean._lender.peek(mean).value is not arrays[0][1]
    assert not np.array_equal(seen, mean.numpy())


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("rows", [16, 7, 5], ids=["same", "other", "new"])
def test_after_an_error_the_gradients_are_those_from_before(rows, looks):
    """Of the same step, of one for another batch size, and of one that has never run."""
    model, optimizer = network()
    step = step_of(model, optimizer)
    alone, its = network()
    single = step_of(alone, its)
    for k in (16, 7, 16, 7, 16):
        step(X[:k], Y[:k])
        single(X[:k], Y[:k])
    if looks:
        everything(model, optimizer)
    before, wanted = everything(alone, its), [p.grad.numpy() for p in alone.parameters()]
    classes = Y[:rows].numpy().copy()
    classes[1] = 9
    with pytest.raises(RangeError):
        step(X[:rows], classes)
    for p, slope in zip(model.parameters(), wanted, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), slope)
    assert everything(model, optimizer) == before
    step(X[:rows], Y[:rows])
    single(X[:rows], Y[:rows])
    assert everything(model, optimizer) == everything(alone, its)


def test_a_gradient_stays_when_another_step_takes_its_tensor():
    model, optimizer = network()
    step_of(model, optimizer)(X, Y)
    forward = cr.compile(lambda x: model(x))
    with cr.no_grad():
        forward(X)
    slope = model[0].weight.grad
    assert slope is not None
    assert np.abs(slope.numpy()).max() > 0


def test_what_was_handed_out_is_not_written_over():
    model, optimizer = network()
    step = step_of(model, optimizer)
    kept = []
    for rows in (16, 16, 7, 16):
        step(X[:rows], Y[:rows])
        w = model[0].weight
        kept += [w.numpy(), w.grad.numpy(), w.detach(), model[2].running_mean.numpy()]
        copies = [np.array(k) for k in kept]
    step(X, Y)
    for array, before in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, before)
    assert len({np.array(k).tobytes() for k in kept[::4]}) == 4


def step_of_tables(*tables):
    """A compiled step of gradient descent on the squares of looked-up rows."""
    optimizer = optim.SGD([t.weight for t in tables], lr=0.1)

    @cr.compile
    def step(x):
        loss = sum((t(x) ** 2).sum() for t in tables)
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.mark.parametrize("looks", [(), (0, 1, 2, 3), (1, 2)])
def test_row_sparse_gradients_stay_as_they_were(looks):
    """A step that fails has written over some: two arrays of each take turns. Looks see all."""
    rng = np.random.default_rng(0)
    start, batches = rng.normal(size=(200, 3)).astype(np.float32), rng.integers(0, 200, (5, 9))
    table = nn.Embedding.from_pretrained(start, freeze=False)
    step = step_of_tables(table)
    expected, slope, kept = start.astype(np.float64), np.zeros(0), []
    for k, batch in enumerate(batches):
        wrong = batch.copy()
        wrong[-1] = 200
        if k:
            with pytest.raises(IndexError):
                step(cr.Tensor(wrong))
        if k in looks and k:
            np.testing.assert_array_equal(table.weight.grad.indices.numpy(), batches[k - 1])
            np.testing.assert_allclose(table.weight.grad.values.numpy(), slope, rtol=1e-5)
        step(cr.Tensor(batch))
        slope = 2 * expected[batch]
        np.add.at(expected, batch, -0.1 * slope)
        if k in looks:
            found = table.weight.grad
            kept.append((found.indices.numpy(), found.values.numpy(), batch, slope))
        for rows, values, where, of_then in kept:
            np.testing.assert_array_equal(rows, where)
            np.testing.assert_allclose(values, of_then, rtol=1e-5)
    found = table.weight.grad
    np.testing.assert_array_equal(found.indices.numpy(), batches[-1])
    np.testing.assert_allclose(found.values.numpy(), slope, rtol=1e-5)
    np.testing.assert_allclose(table.weight.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("look", [0, 1])
def test_after_an_error_two_tensors_with_one_gradient_have_it(look):
    """Lookups with the same indices: one was looked at, so that its array is not used again."""
    rng = np.random.default_rng(0)
    tables = [nn.Embedding(100, n) for n in (2, 3)]
    step = step_of_tables(*tables)
    for _ in range(3):
        batch = rng.integers(0, 100, 7)
        step(cr.Tensor(batch))
    assert tables[look].weight.grad is not None
    with pytest.raises(IndexError):
        step(cr.Tensor(np.array([1] * 6 + [100])))
    for table in tables:
        np.testing.assert_array_equal(table.weight.grad.indices.numpy(), batch)


def test_after_ctrl_c_weights_and_gradients_are_of_one_step(monkeypatch):
    table = nn.Embedding(100, 2)
    step = step_of_tables(table)
    for first in (0, 20):
        step(cr.arange(first, first + 5))
    before = table.weight.numpy().copy()
    run = Runner.run

    def interrupted(self):
        run(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step(cr.arange(40, 45))
    changed = np.flatnonzero((table.weight.numpy() != before).any(axis=1))
    np.testing.assert_array_equal(changed, np.arange(40, 45))
    np.testing.assert_array_equal(table.weight.grad.indices.numpy(), changed)


def test_results_are_not_written_over():
    w = cr.ones(3)
    w.requires_grad = True

    @cr.compile
    def step(x):
        (w * x).sum().backward()
        g = w.grad
        with cr.no_grad():
            w[...] = w + 1
        return w.detach(), g, x, x * 2

    first = step(cr.Tensor([1.0, 2.0, 3.0]))
    step(cr.Tensor([5.0, 5.0, 5.0]))
    assert [t.tolist() for t in first] == [[2, 2, 2], [1, 2, 3], [1, 2, 3], [2, 4, 6]]


def test_tensors_that_change_places():
    a, b = cr.Tensor([1.0, 2.0]), cr.Tensor([3.0, 4.0])

    @cr.compile
    def swap():
        old = a + 0
        a[...] = b
        b[...] = old
        return old

    for k in range(5):
        swap()
        assert a[0] == (3.0 if k % 2 == 0 else 1.0)
        if k % 2:
            assert b[0] == 3.0


def test_an_error_in_the_middle_of_a_step_changes_nothing(monkeypatch):
    model, optimizer = network()
    step = step_of(model, optimizer)
    step(X, Y)
    before = everything(model, optimizer)
    resident = next(iter(step._steps.values()))[0].resident

    def interrupted():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resident._memory, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step(X, Y)
    assert everything(model, optimizer) == before
    step(X, Y)
    assert everything(model, optimizer) != before


def test_two_steps_take_turns_with_the_same_tensors():
    model, optimizer = network()
    one, other = step_of(model, optimizer), step_of(model, optimizer)
    for _ in range(3):
        one(X, Y)
        other(X, Y)
    alone, its = network()
    single = step_of(alone, its)
    for _ in range(6):
        single(X, Y)
    assert everything(model, optimizer) == everything(alone, its)


def test_threads_look_while_a_step_runs():
    model, optimizer = network()
    step = step_of(model, optimizer)
    step(X, Y)
    ends = threading.Event()
    broken = []

    def look():
        while not ends.is_set():
            state = model.state_dict()
            if not all(np.isfinite(v).all() for v in state.values()):
                broken.append(state)

    watcher = threading.Thread(target=look)
    watcher.start()
    for k in range(300):
        rows = 16 - k % 2
        step(X[:rows], Y[:rows])
    ends.set()
    watcher.join(30)
    assert not watcher.is_alive()
    assert not broken


def test_the_tensors_outlive_the_step_and_the_step_goes():
    model, optimizer = network()
    step = step_of(model, optimizer)
    step(X, Y)
    gone = weakref.ref(step)
    del step
    gc.collect()
    assert gone() is None
    assert np.isfinite(model[0].weight.numpy()).all()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_many_steps_in_one_call_are_as_many_calls(dropout):
    rows = RNG.normal(size=(7 * 16, 4)).astype(np.float32)
    classes = RNG.integers(0, 3, 7 * 16)
    rates = np.linspace(0.1, 0.01, 7)
    ends = []
    for at_once in (True, False):
        cr.random.seed(2)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.ReLU(), nn.Linear(8, 3))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        step = step_of(model, optimizer)
        first = step(X, Y)
        lr = optimizer.param_groups[0].scalar("lr")
        if at_once:
            losses = step.repeat(7, [rows, classes], [(lr, rates)])[0].tolist()
        else:
            losses = []
            for k in range(7):
                optimizer.param_groups[0]["lr"] = rates[k]
                part = slice(16 * k, 16 * k + 16)
                losses.append(float(step(cr.Tensor(rows[part]), cr.Tensor(classes[part]))))
        optimizer.param_groups[0]["lr"] = 0.05
        ends.append((float(first), losses, float(step(X, Y)), everything(model, optimizer)))
    assert ends[0] == ends[1]


def test_many_steps_where_they_cannot_be_one_call():
    f = cr.compile(lambda x: x.sum())
    assert f.repeat(2, [np.ones((4, 3), np.float32)]) is None, "it was never called"
    f(cr.ones((2, 3)))
    assert f.repeat(2, [np.ones((4, 3), np.float64)]) is None, "another dtype"
    assert f.repeat(2, [np.ones((5, 3), np.float32)]) is None, "another shape"
    g = cr.compile(lambda x: x + 1)
    g(np.array(1, np.float32))
    assert g.repeat(2, [np.ones(2, np.float32)]) is None, "an argument without rows"
    assert f.repeat(2, [np.ones((4, 3), np.float32)])[0].tolist() == [6.0, 6.0]


def test_a_step_of_many_that_fails_is_named_and_the_ones_before_it_stand():
    seen = cr.zeros(())
    table = cr.ones((3, 2))

    @cr.compile
    def step(k):
        seen[...] = seen + 1
        return cr.take(table, k, axis=0).sum()

    step(cr.Tensor([0]))
    with pytest.raises(IndexError, match="9"):
        step.repeat(4, [np.array([0, 1, 9, 2])])
    assert float(seen) == 3.0


@pytest.mark.parametrize("slow", [lambda g: g, cr.sort], ids=["native", "with NumPy"])
def test_an_error_after_backward_leaves_the_gradients_from_before(slow):
    model, optimizer = network()
    table, weight = cr.Tensor([1.0, 2.0]), model[0].weight

    @cr.compile
    def step(x, y, k):
        cr.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        return table[k + (slow(weight.grad).sum() > 1e9).astype(cr.int64)].detach()

    for _ in range(2):
        step(X, Y, cr.Tensor([0, 1]))
    before = everything(model, optimizer)
    step(X, Y, cr.Tensor([0, 1]))
    alone = weight.grad.numpy().copy()
    after = everything(model, optimizer)
    assert before != after
    for _ in range(2):
        with pytest.raises(RangeError):
            step(-2 * X, Y, cr.Tensor([0, 2]))
        np.testing.assert_array_equal(weight.grad.numpy(), alone)
        assert everything(model, optimizer) == after
    step(X, Y, cr.Tensor([1, 0]))
    assert not np.array_equal(weight.grad.numpy(), alone)
    assert not step.repeats


@pytest.mark.parametrize("bad", [0, 2])
def test_a_step_of_many_that_fails_leaves_the_gradients_of_the_one_before(bad):
    model, optimizer = network()
    alone, its = network()
    step, single = step_of(model, optimizer), step_of(alone, its)
    for _ in range(2):
        step(X, Y)
    for _ in range(2 + bad):
        single(X, Y)
    everything(model, optimizer)  # so that all is taken in again
    classes = np.tile(Y.numpy(), 4)
    classes[bad * 16 + 1] = 9
    with pytest.raises(RangeError):
        step.repeat(4, [np.tile(X.numpy(), (4, 1)), classes])
    for p, other in zip(model.parameters(), alone.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), other.grad.numpy())
    assert everything(model, optimizer) == everything(alone, its)


@pytest.mark.parametrize(
    "old", [lambda p: p.clone(), lambda p: p * 1, lambda p: p.mT.mT, lambda p: [p + 0, p * 1]]
)
def test_the_old_value_of_an_assigned_tensor_can_be_returned(old):
    p, one = cr.ones((4, 4)), cr.ones((4, 4))

    @cr.compile
    def step(x):
        before = old(p)
        p[...] = p + x
        return before

    for k in range(1, 4):
        found = step(one)
        for t in found if isinstance(found, list) else [found]:
            assert t.tolist() == [[float(k)] * 4] * 4
    assert p.tolist() == [[4.0] * 4] * 4


def test_arrays_are_read_anew_at_each_call():
    """Changed in place, given another shape or layout: the result is that of what they hold."""
    w = cr.Tensor(np.ones(4, np.float32))

    @cr.compile
    def step(x):
        w[...] = w + 0 * x.sum()
        return (x * 2).sum(axis=0)

    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    for _ in range(3):
        np.testing.assert_array_equal(step(x).numpy(), (x * 2).sum(axis=0))
        x += 1
    x.shape = 4, 3
    np.testing.assert_array_equal(step(x).numpy(), (x * 2).sum(axis=0))
    y = np.asfortranarray(x)
    for _ in range(3):
        np.testing.assert_array_equal(step(y).numpy(), (y * 2).sum(axis=0))
        y *= 2


@pytest.mark.parametrize("change", ["clear", "setitem", "pop", "update"])
def test_state_that_is_exchanged_in_an_optimizer_is_seen(change):
    """The state is a dict that counts its changes; the next step uses what is in it."""
    found = []
    for compiled in (True, False):
        model, optimizer = network()
        step = step_of(model, optimizer)
        step = step if compiled else step.__wrapped__
        for _ in range(3):
            step(X, Y)
        name = next(iter(optimizer.state))
        new = {k: cr.zeros(t.shape, dtype=t.dtype) for k, t in optimizer.state[name].items()}
        rest = dict(optimizer.state)
        if change == "clear":
            optimizer.state.clear()
            optimizer.state.update(rest)
        elif change == "pop":
            optimizer.state.pop(name)
            optimizer.state[name] = new
        elif change == "setitem":
            optimizer.state[name] = new
        else:
            optimizer.state.update({name: new})
        losses = [float(step(X, Y)) for _ in range(3)]
        found.append(losses)
        expected = rest[name] if change == "clear" else new
        assert optimizer.state[name] is expected
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_a_step_whose_name_is_that_of_a_method_is_traced_once():
    """`optimizer.step` in it mentions a global `step`, which is the compiled function itself."""
    space = {"cr": cr, "functional": functional, "X": X, "Y": Y}
    space["model"], space["optimizer"] = network()
    exec(
        "def step(x, y):\n"
        "    loss = functional.cross_entropy(model(x), y)\n"
        "    loss.backward()\n"
        "    optimizer.step()\n"
        "    return loss\n"
        "step = cr.compile(step)\n"
        "for _ in range(4): step(X, Y)\n",
        space,
    )
    assert sum(map(len, space["step"]._steps.values())) == 1


def test_threads_with_arguments_of_their_own_get_their_own_results():
    f = cr.compile(lambda x: (x * 2).sum())
    wrong = []

    def call(k):
        mine = cr.ones(50) * k
        for n in range(200):
            if float(f(mine)) != 100.0 * k:
                wrong.append(k)
            if n % 50 == 0:
                float(f(cr.ones(50 + k)))  # another shape, the long way

    callers = [threading.Thread(target=call, args=(k,)) for k in range(1, 5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
