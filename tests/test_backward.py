"""backward(): what it keeps, what it gives up, and what it says of gradients that get lost."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import GradientError

F = nn.functional

X = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
LOST = r"\[backward\] a second backward\(\).*accumulate=True"
HIDDEN = r"\[grad\] got \.grad of .*retain_grad\(\)"


def leaf(values=X):
    return cr.Tensor(values, requires_grad=True)


# ── what is released ─────────────────────────────────────────────────────────────────────────────


def both(program):
    """The program with our tensors and with PyTorch's: gradients, or that it is refused."""
    found = []
    for kind in (leaf, lambda: torch.tensor(X, requires_grad=True)):
        w = kind()
        try:
            program(w)
            out = w.grad.tolist()
        except (GradientError, RuntimeError) as error:
            out = "retain_graph=True" in str(error)
        found.append(out)
    return found


def once(w):
    (w * w).sum().backward()


def twice(w):
    loss = (w * w).sum()
    loss.backward()
    loss.backward()


def retained(w):
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    w.grad = None
    loss.backward()


def retained_twice(w):
    retained(w)
    retained(w)


def nothing_kept(w):
    loss = w.sum()
    loss.backward()
    w.grad = None
    loss.backward()


def shared(w):
    h = w * w
    (h * 2).sum().backward()
    (h * 3).sum().backward()


def shared_but_linear(w):
    h = w + w
    (h * 2).sum().backward()
    w.grad = None
    (h * h).sum().backward()


def two_branches(w):
    h = w.exp()
    h.sum().backward(retain_graph=True)
    w.grad = None
    (h * h).sum().backward()


def later_use_of_a_value(w):
    h = w * w
    h.sum().backward()
    w.grad = None
    (h.detach() * w).sum().backward()


def third_time(w):
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    loss.backward()


PROGRAMS = (
    once,
    twice,
    retained,
    retained_twice,
    nothing_kept,
    shared,
    shared_but_linear,
    two_branches,
    later_use_of_a_value,
    third_time,
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_graph_is_used_up_as_in_pytorch(program):
    ours, theirs = both(program)
    assert type(ours) is type(theirs)
    if isinstance(ours, list):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    else:
        assert ours, "the error says how to keep the graph"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_compiled_step_uses_a_graph_up_too(program):
    w, other = leaf(), leaf()
    try:
        program(w)
    except GradientError:
        with pytest.raises(GradientError, match="retain_graph=True"):
            cr.compile(lambda: program(other))()
    else:
        cr.compile(lambda: program(other))()
        np.testing.assert_array_equal(w.grad.numpy(), other.grad.numpy())


def test_create_graph_keeps_the_graph():
    w = leaf()
    loss = (w**3).sum()
    loss.backward(create_graph=True)
    w.grad.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 6 * X)
    loss.backward()
    np.testing.assert_allclose(w.grad.numpy(), 3 * X**2)
    with pytest.raises(GradientError, match="released"):
        loss.backward(create_graph=True)


def test_derivatives_of_functions_that_call_backward_go_on():
    w = leaf()

    def f(x):
        loss = (x * x * w).sum()
        loss.backward()
        return loss

    np.testing.assert_allclose(cr.grad(f)(cr.Tensor(X)).numpy(), 2 * X * X)


def test_several_outputs_of_one_operation_are_released():
    w = leaf()
    last, ys = cr.scan(lambda c, x: (c * x, c + x), cr.ones((2,)), w)
    last.sum().backward()
    with pytest.raises(GradientError, match=r"scan.*released"):
        ys.sum().backward()


def test_losses_that_are_kept_hold_no_graph():
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    x, y = cr.random.normal((256, 64)), cr.random.integers(0, 10, (256,))

    def one(penalty):
        loss = nn.functional.cross_entropy(model(x), y)
        loss = loss + 1e-3 * cr.exp(model[0].weight).sum() if penalty else loss
        loss.backward()
        return loss

    one(True)
    for penalty in (False, True):
        tracemalloc.start()
        kept = [one(penalty) for _ in range(20)]
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(kept) == 20
        assert size < 1 << 20


# ── gradients of what is computed ────────────────────────────────────────────────────────────────


def hidden(change=lambda h: None):
    w = leaf()
    h = w * 3
    h.retain_grad()
    change(h)
    return w, h, (h * h).sum()


@pytest.mark.parametrize("compiled", [False, True])
def test_retain_grad_leaves_a_gradient_in_a_computed_tensor(compiled):
    def run():
        _, h, loss = hidden()
        loss.backward()
        return h.grad

    w = torch.tensor(X, requires_grad=True)
    h = w * 3
    h.retain_grad()
    (h * h).sum().backward()
    if not compiled:
        np.testing.assert_allclose(run().numpy(), h.grad.numpy())
        return
    ours = leaf()

    @cr.compile
    def step():
        h = ours * 3
        h.retain_grad()
        (h * h).sum().backward()
        return h.grad

    np.testing.assert_allclose(step().numpy(), h.grad.numpy())


@pytest.mark.parametrize("several", [False, True])
def test_a_tensor_that_a_compiled_step_returns_brings_its_retained_gradient(several):
    w = leaf()

    @cr.compile
    def step(x):
        h = w * x
        h.retain_grad()
        own = cr.Tensor(np.ones(3, np.float32), requires_grad=True)
        ((h * h).sum() + (own * 5).sum()).backward()
        return {"own": own, "h": h, "none": x} if several else h

    theirs = torch.tensor(X, requires_grad=True)
    for factor in (3.0, 4.0, 5.0):  # traced, then by the long and the short way
        out = step(cr.Tensor(np.full_like(X, factor)))
        hidden_there = theirs * factor
        hidden_there.retain_grad()
        (hidden_there * hidden_there).sum().backward()
        h = out["h"] if several else out
        np.testing.assert_allclose(h.numpy(), hidden_there.detach().numpy())
        np.testing.assert_allclose(h.grad.numpy(), hidden_there.grad.numpy())
        if several:
            assert out.keys() == {"own", "h", "none"}
            assert out["own"].grad.tolist() == [5.0] * 3
            assert out["none"].grad is None


def test_a_retained_gradient_is_fresh_or_adds_up():
    _, h, loss = hidden()
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    np.testing.assert_allclose(h.grad.numpy(), 6 * X)
    loss.backward(accumulate=True)
    np.testing.assert_allclose(h.grad.numpy(), 12 * X)


def test_hooks_change_a_retained_gradient_whenever_they_were_registered():
    w, h, loss = hidden(lambda h: h.register_hook(lambda g: g * 10))
    loss.backward()
    np.testing.assert_allclose(h.grad.numpy(), 60 * X)
    np.testing.assert_allclose(w.grad.numpy(), 180 * X)


def test_retain_grad_of_leaves_and_constants():
    w = leaf()
    w.retain_grad()
    (w * w).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * X)
    with pytest.raises(GradientError, match=r"\[retain_grad\].*requires no gradient"):
        cr.Tensor(X).retain_grad()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_gradient_that_is_not_kept_is_said_to_be_none(compiled):
    w = leaf()

    def read():
        h = w * 3
        (h * h).sum().backward()
        return h.grad

    with pytest.warns(UserWarning, match=HIDDEN):
        assert (cr.compile(read) if compiled else read)() is None


def test_reading_other_gradients_is_quiet():
    w, constant = leaf(), cr.Tensor(X)
    assert w.grad is None
    assert constant.grad is None
    assert (constant * 2).grad is None
    _, h, loss = hidden()
    assert h.grad is None  # so far
    loss.backward()


# ── gradients that are lost ──────────────────────────────────────────────────────────────────────


class Parts:
    """A batch in pieces, an optimizer, and ways to go on."""

    def __init__(self, compiled):
        self.w, self.v = leaf(), leaf()
        self.optimizer = optim.SGD([self.w], lr=1.0)
        self.other = optim.SGD([self.v], lr=1.0)
        made = cr.compile if compiled else lambda f: f
        self.plain = made(lambda x: self.loss(x).backward())
        self.adding = made(lambda x: self.loss(x).backward(accumulate=True))
        self.both = made(lambda x: (self.loss(x) * self.v.sum()).backward())
        self.second = made(lambda x: (self.v * x).sum().backward())
        self.graph = made(lambda x: self.loss(x).backward(create_graph=True))
        self.whole = made(self.step)
        self.apply = made(lambda: self.optimizer.step())

    def loss(self, x):
        return (self.w * self.w * x).sum()

    def step(self, x):
        self.loss(x).backward()
        self.optimizer.step()


LOSES = {
    "two pieces": lambda p: (p.plain(X), p.plain(X)),
    "four pieces and a step": lambda p: ([p.plain(X) for _ in range(4)], p.optimizer.step()),
    "after a step": lambda p: (p.whole(X), p.plain(X), p.plain(X)),
    "after adding": lambda p: (p.adding(X), p.plain(X)),
    "two losses": lambda p: (p.plain(X), p.both(X), p.optimizer.step()),
    "again": lambda p: (p.plain(X), p.apply(), p.plain(X), p.plain(X)),
}
KEEPS = {
    "steps": lambda p: [p.whole(X) for _ in range(3)],
    "pieces and steps": lambda p: [(p.plain(X), p.optimizer.step()) for _ in range(3)],
    "compiled steps": lambda p: [(p.plain(X), p.apply()) for _ in range(3)],
    "adding": lambda p: [(p.plain(X), p.adding(X), p.optimizer.step()) for _ in range(2)],
    "all added": lambda p: [
        (p.adding(X), p.adding(X), p.optimizer.step(), p.optimizer.zero_grad()) for _ in range(2)
    ],
    "dropped": lambda p: [(p.plain(X), p.optimizer.zero_grad()) for _ in range(3)],
    "read": lambda p: [(p.plain(X), p.w.grad.numpy()) for _ in range(3)],
    "clipped": lambda p: [(p.plain(X), nn.utils.clip_grad_norm_([p.w], 1.0)) for _ in range(2)],
    "two optimizers": lambda p: [
        (p.plain(X), p.second(X), p.optimizer.step(), p.other.step()) for _ in range(2)
    ],
    "adversaries": lambda p: [
        (p.plain(X), p.optimizer.step(), p.both(X), p.other.step()) for _ in range(3)
    ],
    "derivatives of gradients": lambda p: [(p.graph(X), p.plain(X)) for _ in range(1)],
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", LOSES)
def test_gradients_that_nothing_has_used_are_not_replaced_silently(name, compiled):
    with pytest.warns(UserWarning, match=LOST):
        LOSES[name](Parts(compiled))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_lost_gradient_is_told_once_before_a_step(compiled):
    def step():
        for _ in range(4):
            F.mse_loss(model(x), y).backward()
        optimizer.step()

    x, y = cr.ones((2, 3)), cr.ones((2, 1))
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    run = cr.compile(step) if compiled else step
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    assert len(caught) == 1
    piece = cr.compile(lambda: F.mse_loss(model(x), y).backward())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(4):
            piece() if compiled else F.mse_loss(model(x), y).backward()
    assert len(caught) == 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", KEEPS)
def test_gradients_that_are_used_are_replaced_silently(name, compiled):
    if compiled and name == "derivatives of gradients":
        return  # a compiled step gives no graph to what is outside
    KEEPS[name](Parts(compiled))  # a warning is an error here


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_step_that_loses_gradients_inside_says_so(backend, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    p = Parts(False)

    @cr.compile
    def pieces(x):
        p.loss(x).backward()
        p.loss(2 * x).backward()
        p.optimizer.step()

    with pytest.warns(UserWarning, match=LOST):
        pieces(X)


def test_the_warning_comes_once_for_a_line():
    p = Parts(False)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        for _ in range(5):
            p.plain(X)
    assert len(found) == 1


def test_tensors_without_an_optimizer_may_be_differentiated_again_and_again():
    w = leaf()
    for _ in range(3):
        (w * w).sum().backward()
