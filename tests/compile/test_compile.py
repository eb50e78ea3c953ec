"""cr.compile: the same numbers, state read and assigned, graphs that stay legal."""

import gc
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import ops
from chainrule.compile import passes
from chainrule.compile.garbage_collection import paused
from chainrule.errors import ArgumentError, GraphError, TraceError
from chainrule.graph import Graph, Node, verify
from chainrule.graph_evaluation import run
from chainrule.recording import record


def f32(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Net:
    """Two layers, dropout and momentum: parameters, state and random bits in one step."""

    def __init__(self):
        self.w = cr.Tensor(f32(6, 5), requires_grad=True)
        self.v = cr.Tensor(f32(5, 1, seed=1), requires_grad=True)
        self.speed = [cr.zeros((6, 5)), cr.zeros((5, 1))]
        self.random = cr.random.Generator(5)

    def step(self, x, y):
        h = cr.tanh(x @ self.w)
        h = cr.where(self.random.bernoulli(0.5, h.shape), h * 2, 0.0)
        loss = ((h @ self.v - y) ** 2).mean()
        loss.backward()
        with cr.no_grad():
            for p, s in zip((self.w, self.v), self.speed, strict=True):
                s[...] = 0.9 * s + p.grad
                p -= 0.05 * s
        return loss


def test_a_compiled_step_is_the_eager_step():
    x, y = f32(8, 6, seed=2), f32(8, 1, seed=3)
    eager, other = Net(), Net()
    compiled = cr.compile(other.step)
    for _ in range(5):
        a, b = eager.step(x, y), compiled(x, y)
        assert a.item() == b.item()
        assert not b.requires_grad
        for p, q in zip(
            (eager.w, eager.v, *eager.speed), (other.w, other.v, *other.speed), strict=True
        ):
            np.testing.assert_array_equal(p.numpy(), q.numpy())
        np.testing.assert_array_equal(eager.w.grad.numpy(), other.w.grad.numpy())
        assert other.w.requires_grad
        assert other.w.is_leaf
    assert eager.random.state.tolist() == other.random.state.tolist()


def test_accumulated_gradients():
    p, q = (cr.Tensor(2.0, requires_grad=True) for _ in range(2))
    compiled = cr.compile(lambda x: (x * q * q).backward(accumulate=True))
    for k in range(4):
        (float(k) * p * p).backward(accumulate=True)
        compiled(cr.Tensor(float(k)))
        assert p.grad.item() == q.grad.item()
    q.grad = None
    compiled(cr.Tensor(1.0))
    assert q.grad.item() == 4


def test_row_sparse_gradients_stay_sparse():
    table = cr.Tensor(f32(50, 3), requires_grad=True)

    @cr.compile
    def step(rows):
        loss = (cr.take(table, rows, axis=0) ** 2).sum()
        loss.backward(accumulate=True)
        return loss

    step(cr.Tensor([1, 2, 1]))
    assert isinstance(table.grad, cr.RowSparse)
    assert table.grad.values.shape == (3, 3)
    for _ in range(2):  # a sum that would grow becomes dense, so that its shape stays
        step(cr.Tensor([1, 2, 1]))
        assert isinstance(table.grad, cr.Tensor)
    expected = np.zeros((50, 3), np.float32)
    np.add.at(expected, [1, 2, 1] * 3, 2 * table.numpy()[[1, 2, 1] * 3])
    np.testing.assert_allclose(table.grad.numpy(), expected, rtol=1e-6)


def test_results_can_be_differentiated_from_outside():
    w = cr.Tensor(3.0, requires_grad=True)
    f = cr.compile(lambda x: cr.sin(x * w))
    x = cr.Tensor(2.0, requires_grad=True)
    f(x).backward()
    assert x.grad.item() == pytest.approx(3 * np.cos(6), rel=1e-6)
    assert w.grad.item() == pytest.approx(2 * np.cos(6), rel=1e-6)
    assert cr.grad(cr.grad(f))(cr.Tensor(2.0)).item() == pytest.approx(-9 * np.sin(6), rel=1e-5)


def test_no_grad_inside_is_respected():
    w = cr.Tensor(3.0, requires_grad=True)

    @cr.compile
    def step(x):
        with cr.no_grad():
            target = w * x
        loss = (w * x - target.detach() - target) * x
        loss.backward()

    step(cr.Tensor(2.0))
    assert w.grad.item() == 4


def test_structures_shapes_and_fixed_arguments():
    @cr.compile
    def f(batch, scale, *, flag=True):
        return {"sum": batch["a"] + batch["b"][0] * scale, "flag": batch["a"] if flag else None}

    batch = {"a": cr.ones(2), "b": [np.ones(2, np.float32)]}
    assert f(batch, 2)["sum"].tolist() == [3, 3]
    assert f(batch, 2)["flag"].tolist() == [1, 1]
    assert sum(map(len, f._steps.values())) == 1
    assert f(batch, 3)["sum"].tolist() == [4, 4]
    assert f(batch, 2.0)["sum"].tolist() == [3, 3]
    assert f(batch, 2, flag=False)["flag"] is None
    f({"a": cr.ones(3), "b": [np.ones(3, np.float32)]}, 2)
    assert sum(map(len, f._steps.values())) == 5


def test_it_compiles_again_when_captured_tensors_change_shape():
    class Box:
        w = cr.ones(2)

    f = cr.compile(lambda x: x * Box.w)
    assert f(cr.ones(1)).shape == (2,)
    Box.w._value = np.ones(3, np.float32)
    assert f(cr.ones(1)).shape == (3,)


def test_a_variable_that_holds_another_tensor_is_read_anew():
    w = cr.ones(2)
    f = cr.compile(lambda x: x * w)
    assert f(cr.ones(1)).tolist() == [1, 1]
    w = cr.ones(2) * 5
    assert f(cr.ones(1)).tolist() == [5, 5]


def test_a_shape_that_varies_is_named():
    f = cr.compile(lambda a, b: (a * b).sum())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for n in range(10):
            f(cr.ones(3), cr.ones((n, 3)))
    assert len(seen) == 1
    assert "[compile]" in str(seen[0].message)
    assert "argument b varies" in str(seen[0].message)
    g = cr.compile(lambda pair: pair[0] * pair[1].sum())
    for n in range(7):
        g((cr.ones(3), cr.ones(n)))
    with pytest.warns(UserWarning, match="of the values in its arguments, number 2 varies"):
        g((cr.ones(3), cr.ones(7)))
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x if x > 0 else -x, r"\[item\] got a traced bool\[\].*cr\.where"),
        (lambda x: float(x), r"\[item\]"),
        (lambda x: np.asarray(x), r"\[numpy\]"),
        (lambda x: [1, 2][cr.astype(x, cr.int64)], r"\[index\]|\[item\]"),
        (lambda x: cr.ones(4)[x > 0], r"\[index\] got a mask|\[index\] got a traced mask"),
        (lambda x: cr.unique_values(x), r"\[unique_all\]"),
    ],
)
def test_asking_for_a_traced_value_says_what_to_do(f, message):
    with pytest.raises(TraceError, match=message):
        cr.compile(f)(cr.Tensor(1.0))


def test_values_that_escape_are_named():
    kept = []
    with pytest.raises(TraceError, match=r"changes kept\[0\] from nothing to a traced"):
        cr.compile(lambda x: kept.append(x * 2))(cr.ones(2))
    deep = {"inner": {"inmost": []}}
    with pytest.raises(TraceError, match=r"changes deep\['inner'\]\['new'\] from nothing"):
        cr.compile(lambda x: deep["inner"].update(new=x * 2))(cr.ones(2))
    assert list(deep["inner"]) == ["inmost"]  # deeper than this is not looked at
    cr.compile(lambda x: deep["inner"]["inmost"].append(x * 2))(cr.ones(2))
    kept = deep["inner"]["inmost"]
    with pytest.raises(TraceError, match="after its trace had ended"):
        kept[0] + 1
    with pytest.raises(TraceError, match="after its trace had ended"):
        cr.compile(lambda x: x + kept[0])(cr.ones(2))
    y = cr.Tensor(1.0, requires_grad=True) * 2
    with pytest.raises(TraceError, match="recorded history"):
        cr.compile(lambda x: x * y)(cr.ones(2))
    with pytest.raises(ArgumentError, match="set"):
        cr.compile(lambda x: x)({1, 2})


def test_runtime_errors_name_the_users_line():
    table = cr.ones((4, 2))
    f = cr.compile(lambda rows: cr.take(table, rows, axis=0) * 2)
    with pytest.raises(IndexError, match=r"index 9 for an axis of size 4.*\n  at test_compile"):
        f(cr.Tensor([9]))


def test_an_error_leaves_state_as_it_was():
    p = cr.Tensor([1.0, 2.0], requires_grad=True)

    @cr.compile
    def step(rows):
        (cr.take(p, rows, axis=0) * p.sum()).sum().backward()
        with cr.no_grad():
            p[...] = p - 0.1

    step(cr.Tensor([0]))
    before = p.tolist()
    with pytest.raises(IndexError):
        step(cr.Tensor([5]))
    assert p.tolist() == before


def test_python_collects_again_after_compiling():
    with paused:
        with paused:  # as another thread does that compiles meanwhile
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    found = cr.compile(lambda x: x * (2.0 if gc.isenabled() else 3.0))(cr.ones(1))
    assert found.tolist() == [3.0], "off while it was traced"
    with pytest.raises(ZeroDivisionError):
        cr.compile(lambda x: x / (1 // 0))(cr.ones(3))
    assert gc.isenabled()
    gc.disable()
    try:
        cr.compile(lambda x: cr.compile(lambda y: y * 2)(x) + 3)(cr.ones(3))
        assert not gc.isenabled(), "it was off before"
    finally:
        gc.enable()


def test_stages_can_be_shown(monkeypatch, capsys):
    monkeypatch.setenv("CHAINRULE_SHOW", "graph,program")
    cr.compile(lambda x: cr.tanh(x) * 1.0)(cr.ones(2))
    text = capsys.readouterr().err
    for part in ("── traced ──", "── simplify ──", "tanh(in0)", "program(1 inputs"):
        assert part in text
    monkeypatch.setenv("CHAINRULE_SHOW", "llvm,plan,program")
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    cr.compile(lambda x: cr.tanh(x) * 2.0)(cr.ones(2))
    heads = re.findall(r"── (\w+) ──\n(\S+)", capsys.readouterr().err)
    assert heads == [("program", "program(1"), ("plan", "native(1"), ("llvm", ";")]
    monkeypatch.setenv("CHAINRULE_BACKEND", "reference")
    cr.compile(lambda x: cr.tanh(x) * 3.0)(cr.ones(2))
    assert capsys.readouterr().err.endswith(
        "── plan ──\nnone: the reference backend has no plan\n"
        "── llvm ──\nnone: the reference backend has no llvm\n"
    )
    monkeypatch.delenv("CHAINRULE_BACKEND")
    monkeypatch.setenv("CHAINRULE_SHOW", "graph, program")
    cr.compile(lambda x: cr.tanh(x))(cr.ones(2))
    assert "program(1 inputs" in capsys.readouterr().err
    monkeypatch.setenv("CHAINRULE_SHOW", "grph")
    with pytest.raises(ArgumentError, match=r"^\[compile\] got CHAINRULE_SHOW with 'grph'; "):
        cr.compile(lambda x: cr.tanh(x))(cr.ones(2))


def test_each_stage_is_a_text(monkeypatch):
    w = cr.Tensor([1.0, -2.0], requires_grad=True)

    class Model:
        @cr.compile
        def step(self, x):
            loss = (cr.tanh(w * x) * 0.5).sum()
            loss.backward()
            with cr.no_grad():
                w[...] = w - 0.5 * w.grad
            return loss

    step, x = Model().step, cr.ones(2)
    monkeypatch.setenv("CHAINRULE_BACKEND", "reference")
    text = step.program(x)
    assert text.startswith("program(2 inputs, ")
    assert "float32[1] = constant 0.5\n" in text
    assert " -> b1" in text.splitlines()[-1]
    with pytest.raises(ArgumentError, match=r"^\[compile\] got the reference backend, .*; .*; set"):
        step.llvm(x)
    with pytest.raises(ArgumentError, match="which has no plan; expected native; set CHAINRULE"):
        step.plan(x)
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    assert step.program(x) == text
    plan = step.plan(x)
    assert plan.startswith("native(")
    assert " over b1 from " in plan
    assert 'define internal void @"g0"(' in step.llvm(x)
    assert step.llvm(x) == step.llvm(x)
    assert w.tolist() == [1.0, -2.0], "nothing was run"


# ── graphs and passes ────────────────────────────────────────────────────────────────────────────


def traced(f, *arrays):
    def flat(ts):
        out = f(*ts)
        return list(out) if isinstance(out, tuple) else [out]

    return record(flat, [(a.shape, a.dtype, False) for a in arrays]).graph


UNARY = [cr.negative, cr.abs, cr.square, cr.exp, cr.sin, cr.tanh, cr.sigmoid, cr.sign, cr.relu]
BINARY = [cr.add, cr.subtract, cr.multiply, cr.divide, cr.maximum, cr.minimum, cr.hypot]
SHAPE = [
    lambda x: cr.reshape(x, x.shape[::-1]),
    lambda x: x.mT.mT,
    lambda x: cr.flip(x, axis=0),
    lambda x: x[:, ::-1],
    lambda x: cr.cumulative_sum(x, axis=1),
    lambda x: x - cr.max(x, axis=1, keepdims=True),
    lambda x: x * 1.0,
    lambda x: x / 1,
    lambda x: x - 0.0,
    lambda x: cr.negative(-x),
    lambda x: cr.concat([x[:1], x[1:]]),
    lambda x: cr.where(x > 0, x, x),
    lambda x: cr.stop_gradient(x) + cr.ones((1, 1)) * 2,
    lambda x: cr.pad(x, 1)[1:-1, 1:-1],
    lambda x: x @ x.mT @ x,
]


@st.composite
def functions(draw):
    """A random function of two matrices, as a list of steps over a growing list of values."""
    number = st.integers(0, 99)
    step = st.tuples(st.integers(0, 2), number, number, number)
    steps = draw(st.lists(step, min_size=1, max_size=12))

    def f(x, y):
        values = [x, y]
        for kind, which, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            if kind == 0:
                out = UNARY[which % len(UNARY)](a)
            elif kind == 1:
                out = BINARY[which % len(BINARY)](a, cr.reshape(b, a.shape))
            else:
                out = SHAPE[which % len(SHAPE)](a)
            values.append(out)
        return values[-1]

    return f


SPECIAL = st.sampled_from([0.0, -0.0, 1.0, -1.5, 3.0, np.inf, -np.inf, np.nan, 1e-30, 2.0])


@pytest.mark.filterwarnings("ignore:.*does not use its argument")
@settings(max_examples=150)
@given(functions(), st.lists(SPECIAL, min_size=12, max_size=12))
def test_every_pass_keeps_every_bit(f, numbers):
    x, y = np.array(numbers, np.float32).reshape(2, 2, 3)

    def g(x, y):
        out = f(x, y)
        return (out, *cr.grad(lambda x, y: f(x, y).sum(), (0, 1))(x, y))

    graph = traced(g, x, y)
    with np.errstate(all="ignore"):
        expected = run(graph, [x, y])
        for one in passes.PASSES:
            graph = one(graph)
            verify(graph)
            for a, b in zip(run(graph, [x, y]), expected, strict=True):
                assert a.tobytes() == b.tobytes() or np.array_equal(a, b, equal_nan=True)
                both = ~np.isnan(a)
                np.testing.assert_array_equal(np.signbit(a[both]), np.signbit(b[both]))
    eager = f(cr.Tensor(x), cr.Tensor(y)).numpy()
    compiled = cr.compile(f)(x, y).numpy()
    np.testing.assert_array_equal(eager, compiled)


def test_passes_remove_what_they_should():
    x = f32(3, 4)

    def f(x):
        return (cr.reshape(cr.reshape(x, (12,)), (3, 4)) * 1.0 + cr.exp(x) + cr.exp(x)).mT.mT

    graph = passes.optimise(traced(f, x))
    assert [n.op.name for n in graph if n.op] == ["exp", "add", "add"]


def test_illegal_graphs_are_refused():
    a = Node(None, (), {}, (2,), cr.float32)
    with pytest.raises(GraphError, match="no input and no constant"):
        verify(Graph([], [a]))
    wrong = Node(ops.exp, (a,), {}, (3,), cr.float32)
    with pytest.raises(GraphError, match=r"exp gives float32\(2,\)"):
        verify(Graph([a], [wrong]))
    with pytest.raises(GraphError, match="listed twice"):
        verify(Graph([a, a], [a]))
    late = Node(None, (), {}, (2,), cr.float32)
    early = Node(ops.exp, (late,), {}, (2,), cr.float32)
    late.serial, early.serial = early.serial, late.serial
    with pytest.raises(GraphError, match="made first"):
        verify(Graph([late], [early]))
