"""Compiled against eager on code that assigns, accumulates and keeps state."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import GradientError, TraceError


def leaf(*values):
    return cr.Tensor(list(values), requires_grad=True)


# ── handles do not leak into one another ─────────────────────────────────────────────────────────


def test_every_gradient_is_an_object_of_its_own():
    a, b = leaf(1.0), leaf(2.0)
    (a + b).sum().backward()
    for p in (a, b):
        p.grad *= 0.1
    assert a.grad.item() == b.grad.item() == pytest.approx(0.1)
    given_gradient = cr.Tensor([1.0])
    (a + 1).backward(given_gradient)
    a.grad *= 2
    assert given_gradient.item() == 1
    ga, gb = cr.grad(lambda a, b: (a + b).sum(), (0, 1))(a, b)
    ga *= 5
    assert gb.item() == 1


def test_a_hook_that_edits_its_gradient_changes_nothing_else():
    a, b = leaf(1.0), leaf(1.0)

    def edit(g):
        g *= 3

    a.register_hook(edit)
    (a + b).sum().backward()
    assert a.grad.item() == b.grad.item() == 1


def test_a_tensor_assigned_on_the_way_gets_both_shares():
    w, x = leaf(2.0), cr.Tensor([5.0])
    first = (w * x).sum()
    with cr.no_grad():
        w *= 10
    (first + (w * x).sum()).backward()
    assert w.grad.item() == 10


def test_grad_of_a_function_that_assigns_to_its_argument():
    def f(x):
        x *= 2
        return (x * x).sum()

    for x in (cr.Tensor([1.0, 2.0]), leaf(1.0, 2.0)):
        assert cr.grad(f)(x).tolist() == [8, 16]
        assert x.tolist() == [1, 2]
    assert cr.compile(cr.grad(f))(cr.Tensor([1.0, 2.0])).tolist() == [8, 16]


def test_forward_mode_does_not_depend_on_recording():
    x, ones = cr.Tensor([3.0]), cr.Tensor([1.0])
    with cr.no_grad():
        assert cr.jvp(lambda x: x * x, (x,), (ones,))[1].item() == 6
        assert cr.hvp(lambda x: (x * x * x).sum(), (x,), (ones,))[0].item() == 18


def test_buffers_written_inside_a_checkpoint_have_no_history():
    w, mean = leaf(1.0, 2.0), cr.Tensor([0.0, 0.0])

    def layer(x):
        y = x * w
        with cr.no_grad():
            mean.__iadd__(0.1 * (y - mean))
        return y - mean, cr.stop_gradient(y)

    centred, stopped = cr.checkpoint(layer)(cr.Tensor([1.0, 1.0]))
    assert centred.requires_grad
    assert not stopped.requires_grad
    assert not mean.requires_grad
    _, ys = cr.scan(lambda c, x: (c, layer(x)), cr.zeros(()), cr.ones((3, 2)))
    assert ys[0].requires_grad
    assert not ys[1].requires_grad
    assert not mean.requires_grad


# ── compiled is eager ────────────────────────────────────────────────────────────────────────────


def test_several_updates_in_one_step():
    def train(w):
        def step(x):
            for _ in range(3):
                ((w - x) ** 2).sum().backward()
                with cr.no_grad():
                    w.__isub__(0.1 * w.grad)

        return step

    a, b = leaf(0.0), leaf(0.0)
    for _ in range(2):
        train(a)(cr.Tensor([1.0]))
        cr.compile(train(b))(cr.Tensor([1.0]))
    assert a.item() == b.item()
    assert a.grad.item() == b.grad.item()


def test_what_is_made_inside_begins_anew_each_time():
    @cr.compile
    def f(x):
        total = cr.zeros(3)
        total += x
        total[0] = 7.0
        p = cr.Tensor([1.0], requires_grad=True)
        (p * x.sum()).sum().backward()
        with cr.no_grad():
            p -= p.grad
        return total, p * 1.0, cr.random.Generator(5).normal((2,))

    first = [t.tolist() for t in f(cr.Tensor([1.0, 2.0, 3.0]))]
    again = [t.tolist() for t in f(cr.Tensor([1.0, 2.0, 3.0]))]
    assert first == again
    assert first[0] == [7, 2, 3]
    assert first[1] == [-5]
    assert first[2] == cr.random.Generator(5).normal((2,)).tolist()
    _, ys = cr.scan(lambda c, x: (c, _accumulated(x)), cr.zeros(()), cr.Tensor([1.0, 2.0, 3.0]))
    assert ys.tolist() == [1, 2, 3]


def _accumulated(x):
    total = cr.zeros(())
    total += x
    return total


def test_gradients_from_outside_are_edited_in_place():
    def clip(w):
        def f(s):
            w.grad *= s
            g = w.grad
            g += 1.0
            w.grad[0] = 5.0

        return f

    a, b = leaf(1.0, 2.0), leaf(1.0, 2.0)
    compiled = cr.compile(clip(b))
    for _ in range(2):
        for w in (a, b):
            (w * w).sum().backward()
        clip(a)(cr.Tensor(0.5))
        compiled(cr.Tensor(0.5))
        assert a.grad.tolist() == b.grad.tolist() == [5, 3]


def test_gradients_assigned_inside():
    w = leaf(1.0, 2.0)
    other = cr.Tensor([3.0, 4.0])
    cr.compile(lambda: setattr(w, "grad", other))()
    assert w.grad.tolist() == [3, 4]
    cr.compile(lambda: setattr(w, "grad", cr.zeros(2)))()
    assert w.grad.tolist() == [0, 0]
    cr.compile(lambda: setattr(w, "grad", None))()
    assert w.grad is None


def test_results_keep_their_history_unless_they_were_the_loss():
    w = leaf(1.0, 2.0)

    @cr.compile
    def f(x):
        h = x * w
        loss = h.sum()
        loss.backward()
        return h, loss

    h, loss = f(cr.Tensor([1.0, 1.0]))
    (h * w).sum().backward()
    assert w.grad.tolist() == [2, 4]
    assert not loss.requires_grad


def test_a_buffer_keeps_the_history_of_what_was_assigned():
    w, h = leaf(3.0), cr.Tensor([0.0])

    @cr.compile
    def f(x):
        h[...] = x * w

    f(cr.Tensor([2.0]))
    assert h.item() == 6
    h.sum().backward()
    assert w.grad.item() == 2
    f(cr.Tensor([2.0]))
    with pytest.raises(TraceError, match="recorded history"):
        cr.compile(lambda x: x * h)(cr.Tensor([1.0]))


def test_hooks_registered_later_are_seen():
    w = leaf(1.0)
    f = cr.compile(lambda: (w * 2).sum().backward())
    f()
    assert w.grad.item() == 2
    w.register_hook(lambda g: g * 10)
    f()
    assert w.grad.item() == 20


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda a, s, w: a.__iadd__(1), "argument 0"),
        (lambda a, s, w: (w * w).sum().backward(), "argument 1"),
        (lambda a, s, w: 0.1 * w.grad, r"\[grad\] got \.grad of the argument"),
        (lambda a, s, w: setattr(w, "grad", a), "argument 1"),
    ],
)
def test_arguments_are_not_written_back(f, words):
    with pytest.raises(TraceError, match=words):
        cr.compile(f)(cr.Tensor([1.0]), 2.0, leaf(1.0))


def test_one_tensor_is_not_argument_and_captured_parameter():
    w = leaf(1.0)
    f = cr.compile(lambda x: (x * w).sum())
    assert f(cr.Tensor([2.0])).item() == 2
    with pytest.raises(TraceError, match=r"also uses from outside|both as an argument"):
        f(w)


def test_row_sparse_gradients_in_the_usual_update():
    table = cr.Tensor(np.ones((4, 2), np.float32), requires_grad=True)
    rows = cr.Tensor([1, 1])
    table[rows].sum().backward()
    with cr.no_grad():
        table -= 0.5 * table.grad
    assert table.tolist() == [[1, 1], [0, 0], [1, 1], [1, 1]]

    @cr.compile
    def step():
        table[rows].sum().backward()
        with cr.no_grad():
            table.__isub__(0.5 * table.grad)
        return table.grad

    assert step().tolist()[1] == [2, 2]
    assert table.tolist()[1] == [-1, -1]


def test_the_number_of_kept_steps_is_limited():
    f = cr.compile(lambda x: x * 2)
    for n in range(7):
        f(cr.ones(n))
    with pytest.warns(UserWarning, match="compiled 8 times"):
        f(cr.ones(7))
    for n in range(8, 100):
        f(cr.ones(n))
    assert sum(map(len, f._steps.values())) <= 64


def test_checkpoint_passes_numbers_and_names_through():
    half = cr.ones(2, dtype=cr.float16)
    out = cr.checkpoint(lambda x, s, *, n: x * s * n)(half, 0.5, n=2)
    assert out.dtype == cr.float16
    assert (
        cr.checkpoint(lambda d: sum((k + 1) * v for k, v in enumerate(d.values())))(
            {"z": cr.Tensor(1.0), "a": cr.Tensor(2.0)}
        ).item()
        == 5
    )


def test_scan_may_update_a_leaf():
    w = leaf(1.0)

    def body(c, x):
        g = cr.grad(lambda v: ((v - x) ** 2).sum())(w.detach())
        with cr.no_grad():
            w.__isub__(0.1 * g)
        return c, None

    cr.scan(body, cr.zeros(()), cr.Tensor([0.0, 0.0]))
    assert w.requires_grad
    assert w.item() == pytest.approx(0.64)
    bad = cr.custom_vjp(lambda p: p[0] * p[1], lambda g, y, p: ([None, g],))
    with pytest.raises(GradientError, match="custom_vjp"):
        cr.grad(lambda a: bad([a, a]).sum())(cr.Tensor([1.0]))


def test_dict_keys_are_matched_by_name():
    x = cr.Tensor([2.0])
    _, back = cr.vjp(lambda x: {"a": x, "b": 10 * x}, x)
    zero, one = cr.Tensor([0.0]), cr.Tensor([1.0])
    assert back({"b": zero, "a": one})[0].item() == 1
    with pytest.raises(cr.ChainruleError, match="structure"):
        back({"a": one})
    f = lambda d: d["a"] * 10 + d["b"]  # noqa: E731
    assert cr.jvp(f, ({"a": x, "b": x},), ({"b": zero, "a": one},))[1].item() == 10
    carry, _ = cr.scan(
        lambda c, _: ({"b": c["b"] + 1, "a": c["a"]}, None), {"a": one, "b": zero}, length=3
    )
    assert (carry["a"].item(), carry["b"].item()) == (1, 3)


def test_signs_of_zero_and_equal_parameters_survive_the_passes():
    x = cr.Tensor([[-0.0]])
    f = lambda x: 1 / cr.sum(x, axis=0)  # noqa: E731
    assert f(x).item() == cr.compile(f)(x).item() == np.inf
    signed = cr.defop("signed", lambda x, a: np.copysign(x, a), lambda g: g, kind="linear")
    both = lambda x: (signed(x, a=0.0), signed(x, a=-0.0))  # noqa: E731
    assert [t.item() for t in cr.compile(both)(cr.Tensor([1.0]))] == [1, -1]


def test_equal_work_is_shared_though_numbers_are_made_anew():
    text = cr.compile(lambda x: cr.exp(x * 2.0) + cr.exp(x * 2.0)).graph(cr.ones(3))
    assert text.count("exp(") == 1
    assert text.count("multiply(") == 1


def test_misuse_is_refused():
    x, w = cr.Tensor([1.0]), leaf(1.0)
    with pytest.raises(cr.ChainruleError, match="argnums"):
        cr.grad(lambda a, b: (a * b).sum(), (0, 0))(x, x)
    assert cr.grad(lambda x, name: (x * x).sum())(x, name="f").item() == 2
    with pytest.raises(TraceError, match="assigned or gets a gradient"):
        cr.checkpoint(lambda x: x.__iadd__(1))(x)
    with pytest.raises(TraceError, match=r"\[register_hook\]"):
        cr.compile(lambda: w.register_hook(print))()
    with pytest.raises(cr.ChainruleError, match=r"\[grad\] got int64"):
        w.grad = cr.Tensor([1])
    assert copy.deepcopy(w * 2).requires_grad is False


# ── random programs ──────────────────────────────────────────────────────────────────────────────


class World:
    """What a random program acts on: two parameters, a buffer, a generator."""

    def __init__(self):
        self.p = leaf(1.0, -2.0)
        self.q = leaf(0.5, 3.0)
        self.buffer = cr.Tensor([1.0, 1.0])
        self.random = cr.random.Generator(1)

    def values(self):
        grads = [None if w.grad is None else w.grad.tolist() for w in (self.p, self.q)]
        tensors = (self.p, self.q, self.buffer, self.random.state)
        return [t.tolist() for t in tensors] + grads


def assign(target, value):
    with cr.no_grad():
        target[...] = value


ACTIONS = {
    "backward": lambda o, x: (o.p * x + o.q * o.buffer).sum().backward(),
    "accumulate": lambda o, x: (o.p * o.q * x).sum().backward(accumulate=True),
    "update p": lambda o, x: assign(o.p, o.p - 0.1 * (x if o.p.grad is None else o.p.grad)),
    "update q": lambda o, x: assign(o.q, o.q * 0.5 + x),
    "one element": lambda o, x: assign(o.q, cr.where(cr.Tensor([True, False]), o.p, o.q)),
    "buffer": lambda o, x: assign(o.buffer, o.buffer + o.p.detach()),
    "element": lambda o, x: o.buffer.__setitem__(0, x[1]),
    "scale grad": lambda o, x: o.p.grad is not None and o.p.grad.__imul__(0.5),
    "swap grads": lambda o, x: setattr(o.q, "grad", o.p.grad),
    "no grad": lambda o, x: setattr(o.p, "grad", None),
    "noise": lambda o, x: assign(o.buffer, o.buffer + o.random.normal((2,))),
    "inner grad": lambda o, x: assign(
        o.buffer, cr.grad(lambda v: (v * v * o.p.detach()).sum())(o.buffer)
    ),
    "scan": lambda o, x: assign(
        o.buffer, cr.scan(lambda c, _: (c * 0.5 + o.q.detach(), None), o.buffer, length=3)[0]
    ),
}


@settings(max_examples=100)
@given(st.lists(st.sampled_from(sorted(ACTIONS)), min_size=1, max_size=8))
def test_random_programs(names):
    def program(o):
        def run(x):
            for name in names:
                ACTIONS[name](o, x)
            return (o.p * x).sum() + o.buffer.sum()

        return run

    eager, other = World(), World()
    compiled = cr.compile(program(other))
    for k in range(3):
        x = cr.Tensor([1.0 + k, -0.5])
        assert program(eager)(x).item() == compiled(x).item()
        assert eager.values() == other.values()
