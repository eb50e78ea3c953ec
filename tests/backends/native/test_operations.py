"""The native backend against the reference: every row of the table, layers, errors, random bits."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import checking, derivatives, nn, ops, optim
from chainrule.backends import current, native
from chainrule.backends.native import object_code, processor
from chainrule.backends.native.compilation import Compilation
from chainrule.backends.native.emit.module import emit_modules
from chainrule.backends.native.plan.rewrites import rewritten
from chainrule.backends.program import lower
from chainrule.compile.passes import optimise
from chainrule.dtypes import is_floating
from chainrule.errors import ArgumentError, RangeError
from chainrule.recording import record
from chainrule.trace import Trace

TOLERANCE = {cr.float16: 2e-3, cr.bfloat16: 1.6e-2, cr.float32: 1e-5, cr.float64: 1e-12}
FLOATS = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
ROWS = [r for r in derivatives.TABLE.values() if r.op.cases and r.op.name not in ("call", "scan")]


@pytest.fixture
def on(monkeypatch):
    """on("native")(f) is f compiled for that backend."""

    def choose(backend):
        def compiled(function):
            made = cr.compile(function)

            def run(*args):
                monkeypatch.setenv("CHAINRULE_BACKEND", backend)
                return made(*args)

            return run

        return compiled

    return choose


def check_equal(found, expected):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if not is_floating(found.dtype):
        np.testing.assert_array_equal(found, expected)
        return
    tolerance = TOLERANCE[found.dtype]
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    size = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * size)


def check_both(on, function, *arrays):
    """The function's results are the same on both backends."""
    expected, found = (
        [t.numpy() for t in on(backend)(function)(*map(cr.Tensor, arrays))]
        for backend in ("reference", "native")
    )
    for a, b in zip(found, expected, strict=True):
        check_equal(a, b)


# ── every row of the table ───────────────────────────────────────────────────────────────────────


def takes_floats(op):
    return not op.dtypes or np.dtype(np.float32) in op.dtypes


def draw(row, shapes, rng):
    """Inputs from the row's domain; of a row without a derivative whatever its dtypes allow."""
    if not row.reason:
        return checking._draw(row, shapes, rng)
    whole = not takes_floats(row.op)
    drawn = [s if isinstance(s, np.ndarray) else rng.normal(size=s) * 3 for s in shapes]
    return [d.astype(np.int64) if whole and d.dtype.kind == "f" else d for d in drawn]


def as_float(dtype, array):
    return array.astype(dtype) if array.dtype.kind == "f" else array


@pytest.mark.filterwarnings("ignore:.*does not use its argument")  # sign, floor, …
@FLOATS
@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.op.name)
def test_each_operation_and_its_derivative(on, row, dtype):
    rng = np.random.default_rng(0)
    for shapes, params in row.op.cases:
        arrays = [as_float(dtype, a) for a in draw(row, shapes, rng)]
        wanted = [k for k, a in enumerate(arrays) if is_floating(a.dtype)]

        def both(*xs, params=params, wanted=wanted):
            y = row.op(*xs, **params)
            if not wanted or not is_floating(y.dtype):
                return [y]
            total = cr.grad(lambda *ts: row.op(*ts, **params).sum(), argnums=tuple(wanted))(*xs)
            return [y, *(total if isinstance(total, tuple) else (total,))]

        check_both(on, both, *arrays)


DERIVED = [r for r in ROWS if not r.reason and takes_floats(r.op)]


@pytest.mark.parametrize("row", DERIVED, ids=lambda r: r.op.name)
def test_gradients_of_compiled_steps_are_those_of_differences(on, row):
    """⟨v, Jᵀu⟩ from machine code against central differences of machine code, in float64."""
    rng = np.random.default_rng(1)
    h = 1e-5
    for shapes, params in row.op.cases:
        arrays = draw(row, shapes, rng)
        moving = tuple(k for k, a in enumerate(arrays) if a.dtype.kind == "f")
        result = row.op(*map(cr.Tensor, arrays), **params)
        if result.dtype != cr.float64:  # a cast: differences would see its rounding
            continue
        u = cr.Tensor(rng.normal(size=result.shape))

        def weighted(*xs, params=params, u=u):
            return (row.op(*xs, **params) * u).sum()

        value = on("native")(weighted)
        slopes = on("native")(cr.grad(weighted, argnums=moving))(*map(cr.Tensor, arrays))
        slopes = slopes if isinstance(slopes, tuple) else (slopes,)
        v = [rng.normal(size=arrays[k].shape) * np.maximum(1, abs(arrays[k])) for k in moving]
        ends = []
        for sign in (1, -1):
            moved = list(arrays)
            for k, direction in zip(moving, v, strict=True):
                moved[k] = np.asarray(arrays[k] + sign * h * direction)
            ends.append(float(value(*map(cr.Tensor, moved))))
        expected = (ends[0] - ends[1]) / (2 * h)
        found = sum(float((g.numpy() * d).sum()) for g, d in zip(slopes, v, strict=True))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6 * max(1, abs(ends[0])))


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, np.inf, -np.inf, np.nan, 1e-40, 88.0, -104.0, 3e38]


@FLOATS
@pytest.mark.parametrize(
    "name", [n for n, o in ops.TABLE.items() if o.kind in ("elementwise", "zero")]
)
def test_special_values(on, name, dtype):
    op = ops.TABLE[name]
    if not takes_floats(op) or name in ("checked_index", "random_bits"):
        return
    count = len(op.arguments)
    with np.errstate(over="ignore"):
        grid = np.meshgrid(*[np.array(SPECIAL).astype(dtype)] * count)
    params = op.cases[0][1] if op.cases else {}
    if params:
        return
    arrays = [np.ascontiguousarray(g.reshape(-1)) for g in grid]
    with np.errstate(all="ignore"):
        check_both(on, lambda *xs: [op(*xs)], *arrays)


# ── expressions made at random ───────────────────────────────────────────────────────────────────

STEPS = {
    "tanh": lambda x: cr.tanh(x),
    "transpose": lambda x: x.T * 1.5,
    "row": lambda x: x - x.sum(axis=1, keepdims=True),
    "column": lambda x: x * cr.max(x, axis=0, keepdims=True),
    "flip": lambda x: cr.flip(x, axis=1) + x,
    "product": lambda x: x @ x.T / 4,
    "slice": lambda x: cr.concat([x[1:, ::2], x[:-1, ::2]], axis=1),
    "softmax": lambda x: cr.softmax(x),
    "reshape": lambda x: x.reshape(-1, 2) + 1.0,
    "where": lambda x: cr.where(x > 0, x, 0.1 * x),
    "scale": lambda x: x / cr.norm(x),
    "pick": lambda x: cr.take(x, cr.Tensor([0, -1]), axis=0),
    "mean": lambda x: x - x.mean(),
}


@settings(max_examples=60)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=5), st.integers(0, 99))
def test_random_expressions_and_their_gradients(names, seed):
    x = np.random.default_rng(seed).normal(size=(4, 6)).astype(np.float64)

    def value(x):
        for name in names:
            if x.size % 2 == 0 and x.shape[1] > 1 and x.shape[0] > 1:
                x = STEPS[name](x)
        return x

    def both(x):
        return [value(x), cr.grad(lambda t: cr.sin(value(t)).sum())(x)]

    with pytest.MonkeyPatch.context() as patch:
        found = []
        for backend in ("reference", "native"):
            patch.setenv("CHAINRULE_BACKEND", backend)
            found.append([t.numpy() for t in cr.compile(both)(cr.Tensor(x))])
    for expected, got in zip(*found, strict=True):
        check_equal(got, expected)


# ── whole steps ──────────────────────────────────────────────────────────────────────────────────


def losses(backend, monkeypatch, build, x, y, steps=20):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    cr.random.seed(3)
    model = build()
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)

    @cr.compile
    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return [float(step(x, y)) for _ in range(steps)]


NETWORKS = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 17), nn.GELU(), nn.Dropout(0.3), nn.Linear(17, 4)),
    "norms": lambda: nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 4)
    ),
    "deep": lambda: nn.Sequential(
        *[m for _ in range(12) for m in (nn.Linear(6, 6), nn.Tanh())], nn.Linear(6, 4)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_training_follows_the_reference(name, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6)).astype(np.float32), rng.integers(0, 4, 32)
    expected, found = (
        losses(b, monkeypatch, NETWORKS[name], x, y) for b in ("reference", "native")
    )
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_convolutions_and_loops_run_in_numpy_in_their_place(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(8, 6, 3)).astype(np.float32), np.arange(8) % 4

    class Last(nn.Module):
        def __init__(self):
            self.conv, self.rnn = nn.Conv1d(3, 5, 3, padding=1), nn.GRU(5, 7)
            self.head = nn.Linear(7, 4)

        def forward(self, x):
            return self.head(self.rnn(self.conv(x))[0][:, -1])

    expected, found = (losses(b, monkeypatch, Last, x, y) for b in ("reference", "native"))
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_random_bits_are_the_same(on):
    def draw(x):
        cr.random.seed(9)
        return [
            cr.random.bits((37,)),
            cr.random.bits((4, 4)),
            cr.random.uniform((11,)) + 0 * x[:11],
        ]

    check_both(on, draw, np.zeros(16, np.float32))


def test_an_index_outside_is_the_same_error(on):
    table = cr.Tensor(np.arange(12.0, dtype=np.float32).reshape(4, 3))
    pick = on("native")(lambda i: cr.take(table, i, axis=0))
    assert pick(np.array([0, -1])).tolist() == [[0, 1, 2], [9, 10, 11]]
    for wrong in ([0, 4], [-5, 0]):
        with pytest.raises(RangeError, match=f"index {max(wrong, key=abs)}"):
            pick(np.array(wrong))
    assert pick(np.array([3, 3])).tolist() == [[9, 10, 11]] * 2, "the next call is as before"
    for wrong in (2**64 - 1, 2**63, 4):  # of unsigned numbers none counts from the end
        with pytest.raises(RangeError, match=f"index {wrong}"):
            pick(np.array([0, wrong], np.uint64))


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint32"])
@pytest.mark.parametrize("divide", [cr.floor_divide, cr.remainder])
def test_a_whole_number_divided_by_0_is_the_same_error(on, divide, dtype):
    run = on("native")(lambda a, b: divide(a, b) + 1)
    a = np.arange(40, dtype=dtype)
    b = np.full(40, 3, dtype)
    expected = run(a, b).tolist()
    b[7] = 0
    with pytest.raises(ArgumentError, match="got a whole number divided by 0"):
        run(a, b)
    b[7] = 3
    assert run(a, b).tolist() == expected == (divide(cr.Tensor(a), cr.Tensor(b)) + 1).tolist()
    total = on("native")(lambda a, b: divide(a, b).sum())
    assert total(a, b).item() == divide(cr.Tensor(a), cr.Tensor(b)).sum().item()
    b[39] = 0
    with pytest.raises(ArgumentError, match="divided by 0"):
        total(a, b)
    floats = on("native")(divide)
    assert np.isnan(floats(np.zeros(3, np.float32), np.zeros(3, np.float32)).numpy()).all()


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_class_outside_is_an_error_in_a_compiled_step_too(on, backend, wrong):
    """Below 0 as well: it is no index from the end."""
    scores = cr.Tensor(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    loss = nn.functional.cross_entropy
    for function in (
        loss,
        functools.partial(loss, label_smoothing=0.1),
        lambda x, y: nn.functional.nll_loss(x, y),
        lambda x, y: cr.one_hot(y, num_classes=3),
    ):
        run = on(backend)(lambda x, y, function=function: function(x, y))
        run(scores, cr.Tensor([2, 0]))
        with pytest.raises(RangeError, match=f"got class {wrong} at position 1; expected 0 to 2"):
            run(scores, cr.Tensor([0, wrong]))
    ignoring = on(backend)(lambda x, y: loss(x, y, ignore_index=-1))
    expected = float(loss(scores, cr.Tensor([0, -1]), ignore_index=-1))
    assert float(ignoring(scores, cr.Tensor([0, -1]))) == pytest.approx(expected, rel=1e-6)


def test_results_do_not_change_under_a_later_call(on):
    double = on("native")(lambda x: [x * 2, x.sum()])
    first = double(np.ones(5, np.float32))
    double(np.full(5, 7, np.float32))
    assert first[0].tolist() == [2] * 5
    assert float(first[1]) == 5


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_nothing_at_all(on, shape):
    check_both(on, lambda x: [x + 1, x.sum(), cr.sum(x, axis=0)], np.zeros(shape, np.float32))


def test_inputs_in_any_layout(on):
    x = np.asfortranarray(np.arange(12.0, dtype=np.float32).reshape(3, 4))
    check_both(on, lambda x: [x * 2, x @ x.T], x)
    check_both(on, lambda x: [x * 2, x @ x.T], x[::-1, ::2])


def test_the_backend_is_chosen_by_name(monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    assert current().load() is native.build
    monkeypatch.setenv("CHAINRULE_BACKEND", "fast")
    with pytest.raises(ArgumentError, match="'fast'"):
        current()


def test_an_index_that_is_wrong_by_rounding_alone_is_an_error(monkeypatch):
    """x · x - s is one multiply-add here, and not 0: NumPy's index is inside, this one is not."""
    w = cr.nn.Parameter(np.ones(4, np.float32))
    optimizer = cr.optim.SGD([w], lr=0.5)

    @cr.compile
    def step(x, s):
        loss = cr.take(w, cr.where(x * x - s == 0, 1, 9), axis=0).sum()
        loss.backward()
        optimizer.step()

    x = np.full(5, 1.1, np.float32)
    if not processor.host().fma:  # then both round alike
        step(cr.Tensor(x), cr.Tensor(x * x))
        assert w[1] == -1.5
        return
    for _ in range(2):
        with pytest.raises(RangeError, match="by NumPy's rounding it is not"):
            step(cr.Tensor(x), cr.Tensor(x * x))
    assert w.tolist() == [1.0] * 4


# ── memory ───────────────────────────────────────────────────────────────────────────────────────


def built(function, *shapes):
    """The native program of a function of float32 arrays, which has not been run."""
    made = record(function, [(s, np.dtype(np.float32), False) for s in shapes], Trace(lasting=True))
    return native.build(lower(optimise(made.graph)))


MEMORY = {  # a function, shapes, the bytes of what has to be stored between its loops
    "nothing in between": (lambda t: [t[0] * 2 + 1], [(100,)], 0),
    "one product": (
        lambda t: [cr.sum(cr.exp(t[0] @ t[1]))],
        [(16, 8), (8, 16)],
        4 * 16 * 16 + 64,
    ),  # and the sum, before it loses its axes
    "one product that an output is written over": (
        lambda t: [cr.exp(t[0] @ t[1])],
        [(16, 8), (8, 16)],
        0,
    ),
    "one product that stays in registers": (
        lambda t: [cr.sum(cr.maximum(t[0] @ t[1], 0.0) * 2)],
        [(16, 8), (8, 16)],
        4 * 16 * 16 + 64,
    ),
    "products one after the other use two places in turn": (
        lambda t: [functools.reduce(lambda y, _: y @ t[1], range(6), t[0])],
        [(16, 16), (16, 16)],
        2 * 4 * 16 * 16,
    ),
}


@pytest.mark.parametrize("name", MEMORY)
def test_the_arena_is_as_large_as_counted_by_hand(name):
    function, shapes, expected = MEMORY[name]
    run = built(function, *shapes)
    assert run.arena_bytes == expected
    assert run._arena.nbytes == run.arena_bytes


def test_a_step_that_does_not_fit_into_memory_is_refused():
    size = 1 << 21  # squared, times 4 bytes: 17.6 TB
    with pytest.raises(ArgumentError, match=r"17592\.2 GB of memory"):
        built(lambda t: [cr.sum(t[0] @ t[1], axis=0)], (size, 1), (1, size))


# ── other processors ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("features", ["avx2", "sse"])
def test_a_network_with_narrower_vectors(features, monkeypatch):
    """The same training on a processor that has fewer instructions."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6)).astype(np.float32), rng.integers(0, 4, 32)
    expected = losses("reference", monkeypatch, NETWORKS["mlp"], x, y)
    monkeypatch.setenv("CHAINRULE_FEATURES", features)
    found = losses("native", monkeypatch, NETWORKS["mlp"], x, y)
    np.testing.assert_allclose(found, expected, rtol=2e-4)


@pytest.mark.parametrize("features", ["", "avx2", "sse"])
def test_no_function_is_called_for_what_the_processor_lacks(features, monkeypatch):
    """Without fused multiply-adds they are two instructions, not a call of the C library."""
    monkeypatch.setenv("CHAINRULE_FEATURES", features)
    arrays = [np.ones((40, 40), np.float32)] * 2
    made = record(
        lambda t: [cr.erf(cr.tanh(t[0] @ t[1])), cr.log(cr.exp(t[0]))],
        [(a.shape, a.dtype, False) for a in arrays],
        Trace(lasting=True),
    )
    run = native.build(lower(optimise(made.graph)))
    assembly = object_code.assembly(run.text("llvm"), processor.host())
    assert "fma@PLT" not in assembly
    assert "fmaf@PLT" not in assembly


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin"])
def test_a_network_for_another_machine(triple):
    """It is emitted and compiled, with threads; it cannot be run here."""
    arm = processor.cross(triple)

    def loss(t):
        hidden = cr.tanh(t[0] @ t[1])
        slope = cr.grad(lambda w: cr.tanh(t[0] @ w).sum())(t[1])
        return [cr.mean(cr.logsumexp(hidden @ t[2], axis=-1)), slope]

    made = record(
        loss,
        [(s, np.dtype(np.float32), False) for s in ((256, 300), (300, 257), (257, 10))],
        Trace(lasting=True),
    )
    program = rewritten(lower(optimise(made.graph)))
    text, vectors = emit_modules(Compilation(program, arm).plan)
    assert "barrier" in text
    assert len(object_code.compile_ir(text, arm, vectors=vectors)) > 1000
