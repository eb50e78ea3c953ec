"""float16 and bfloat16 in machine code: stored in 16 bits, computed with in float32."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.native import object_code, processor
from chainrule.backends.native.compilation import Compilation
from chainrule.backends.native.plan.rewrites import rewritten
from chainrule.backends.program import lower
from chainrule.compile.passes import optimise
from chainrule.recording import record
from chainrule.trace import Trace

HALVES = pytest.mark.parametrize("dtype", [cr.float16, cr.bfloat16], ids=str)
LIMITS = pytest.mark.parametrize("limit", ["", "avx2", "sse"])
F32, F64 = np.float32, np.float64
ALL = np.arange(1 << 16, dtype=np.uint16)


@pytest.fixture
def on(monkeypatch):
    """on("native", f, *arrays) is what f returns when it is compiled for that backend."""

    def run(backend, function, *arrays, limit=""):
        monkeypatch.setenv("CHAINRULE_BACKEND", backend)
        monkeypatch.setenv("CHAINRULE_FEATURES", limit)
        with np.errstate(all="ignore"):
            return [t.numpy() for t in cr.compile(function)(*map(cr.Tensor, arrays))]

    return run


def check_bits(found, expected):
    """Equal to the bit, but for what kind of NaN."""
    assert found.dtype == expected.dtype
    with np.errstate(all="ignore"):
        unknown = expected != expected
        np.testing.assert_array_equal(found != found, unknown)
    size = f"u{found.dtype.itemsize}"
    np.testing.assert_array_equal(found.view(size)[~unknown], expected.view(size)[~unknown])


def check_both(on, function, *arrays, limit=""):
    expected = on("reference", function, *arrays)
    for a, b in zip(on("native", function, *arrays, limit=limit), expected, strict=True):
        check_bits(a, b)


# ── casts ────────────────────────────────────────────────────────────────────────────────────────


@HALVES
@LIMITS
def test_all_numbers_go_to_float32_and_back(on, dtype, limit):
    x = ALL.view(dtype)
    check_both(
        on, lambda x: [cr.astype(x, t) for t in ("float32", "float64", "bool")], x, limit=limit
    )
    wide = x.astype(F32)
    check_both(on, lambda x: [cr.astype(x, dtype)], wide, limit=limit)
    (back,) = on("native", lambda x: [cr.astype(x, dtype)], wide, limit=limit)
    check_bits(back, x)


def around(dtype, wide):
    """Numbers in the middle between two of a dtype, and next to that."""
    with np.errstate(all="ignore"):
        x = ALL.view(dtype).astype(wide)
        middles = (x + (ALL + np.uint16(1)).view(dtype).astype(wide)) / wide(2)
        least = wide(np.finfo(F32).tiny) * wide(2.0**-22)
        parts = [f(middles) for f in (np.copy, lambda x: np.nextafter(x, wide(0)))]
        parts += [np.nextafter(middles, wide(np.inf)), middles + least, middles * wide(1 + 1e-6)]
        edges = [65519.996, 65520, 3.3895314e38, 3.4e38, 1e-60, 5e-8, 2.98e-8, 2.99e-8, 1e300]
        return np.concatenate([*parts, np.array(edges, F64).astype(wide)])


@HALVES
@LIMITS
@pytest.mark.parametrize("wide", [F32, F64])
def test_numbers_are_rounded_as_by_numpy(on, dtype, wide, limit):
    """Once: of float64 that is not what rounding to float32 first gives."""
    check_both(on, lambda x: [cr.astype(x, dtype)], around(dtype, wide), limit=limit)


@HALVES
@LIMITS
@pytest.mark.parametrize("whole", ["int8", "uint8", "int32", "int64", "uint64", "bool"])
def test_whole_numbers_are_rounded_as_by_numpy(on, dtype, whole, limit):
    bits = np.random.default_rng(0).integers(0, 2**64, 3000, np.uint64)
    bits >>= np.arange(3000, dtype=np.uint64) % np.uint64(64)
    x = bits.astype(whole)
    check_both(on, lambda x: [cr.astype(x, dtype)], x, limit=limit)
    few = np.arange(-4, 5).astype(dtype)
    check_both(on, lambda x: [cr.astype(x, whole)], np.abs(few), limit=limit)


@LIMITS
def test_one_kind_becomes_the_other(on, limit):
    for source, goal in ((cr.float16, cr.bfloat16), (cr.bfloat16, cr.float16)):
        check_both(on, lambda x, goal=goal: [cr.astype(x, goal)], ALL.view(source), limit=limit)


# ── arithmetic ───────────────────────────────────────────────────────────────────────────────────


def pairs(dtype):
    """Any two numbers: small and large, denormals, zeros, infinities, NaN."""
    rng = np.random.default_rng(1)
    x, y = (rng.permutation(ALL).view(dtype) for _ in range(2))
    limits = [0, 1, 2, 0x3FF, 0x400, 0x3C00, 0x7BFF, 0x7C00, 0x7E00, 0x7F, 0x80, 0x7F7F, 0x7F80]
    edges = np.array([*limits, *(bits | 0x8000 for bits in limits)], np.uint16).view(dtype)
    near = np.nextafter(x[:9000], y[:9000])
    a, b = np.meshgrid(edges, edges)
    return np.concatenate([x, x[:9000], a.ravel()]), np.concatenate([y, near, b.ravel()])


def arithmetic(x, y):
    exact = [x + y, x - y, x * y, x / y, cr.sqrt(x), -x, cr.abs(x), cr.square(x)]
    # Which of two zeros is the larger one NumPy and ml_dtypes say differently.
    chosen = [cr.where(x == y, x, f(x, y)) for f in (cr.maximum, cr.minimum)]
    chosen += [cr.where(x < y, x, y), cr.copysign(x, y)]
    whole = [cr.floor(x), cr.ceil(x), cr.trunc(x), cr.round(x)]
    compared = [x < y, x <= y, x == y, x != y, cr.isnan(x), cr.isfinite(y)]
    return [*exact, *chosen, *whole, *compared, x * y + x, (x - y) / (x + y)]


@HALVES
@LIMITS
@pytest.mark.filterwarnings("ignore:invalid value")
def test_arithmetic_has_the_bits_of_numpy(on, dtype, limit):
    """Rounded after each operation, denormals and overflow to infinity included."""
    check_both(on, arithmetic, *pairs(dtype), limit=limit)


@HALVES
@LIMITS
@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_next_number(on, dtype, limit):
    x, y = pairs(dtype)
    apart = x != y  # of two zeros it is the second one, which NumPy does not say of float16
    check_both(on, lambda x, y: [cr.nextafter(x, y)], x[apart], y[apart], limit=limit)


@HALVES
def test_functions_are_right_to_the_last_place(on, dtype):
    """Computed in float32 and rounded once."""
    x = ALL.view(dtype)
    names = ["exp", "log", "sin", "tanh", "atan", "erf", "sigmoid", "expm1", "log1p", "cosh"]
    found = on("native", lambda x: [getattr(cr, name)(x) for name in names], x)
    exact = on("native", lambda x: [getattr(cr, name)(x) for name in names], x.astype(F32))
    for name, y, wide in zip(names, found, exact, strict=True):
        with np.errstate(all="ignore"):
            check_bits(y, wide.astype(dtype)), name


# ── what is stored ───────────────────────────────────────────────────────────────────────────────


def moved(x):
    parts = [x.T, x[1:, ::2], cr.flip(x), cr.reshape(x, (2, -1)), cr.pad(x, 1), cr.roll(x, 1)]
    return [*parts, cr.concat([x, x]), cr.take(x, cr.Tensor([2, 0]), axis=0), cr.tile(x, (2, 1))]


@HALVES
def test_what_moves_stays_in_16_bits(on, dtype):
    x = np.concatenate([ALL[-24:], ALL[:24]]).view(dtype).reshape(6, 8)
    for a, b in zip(on("native", moved, x), on("reference", moved, x), strict=True):
        np.testing.assert_array_equal(a.view(np.uint16), b.view(np.uint16))
    assert "float32" not in cr.compile(moved).program(cr.Tensor(x))


@HALVES
def test_expressions_of_any_length_are_stored_in_16_bits(on, dtype):
    def longest(x, y):
        for _ in range(30):
            x = cr.tanh(x * y) + x / 3
        z = x * y
        return [z.sum(), cr.norm(z), cr.max(z, axis=0), z, cr.sqrt(cr.abs(z))]

    x, y = (np.random.default_rng(k).normal(size=(20, 30)).astype(dtype) for k in range(2))
    plan = cr.compile(longest).plan(cr.Tensor(x), cr.Tensor(y))
    written = re.findall(r"b\d+: (\w+)\[20,30\]", plan[plan.index("  g0 ") :])
    assert set(written) == {str(dtype)}, plan
    assert len(written) >= 3
    for a, b in zip(on("native", longest, x, y), on("reference", longest, x, y), strict=True):
        np.testing.assert_allclose(a.astype(F32), b.astype(F32), rtol=0.1, atol=0.02)


@HALVES
@LIMITS
def test_products_are_finished_and_rounded_in_registers(on, dtype, limit):
    rng = np.random.default_rng(6)
    x, w, b = (rng.integers(-4, 5, s).astype(dtype) for s in ((33, 24), (24, 37), (37,)))
    b = b / dtype.type(3)

    def layer(x, w, b):
        y = x @ w + b
        return [cr.where(y < 0, y / 8, y), y > 1]

    check_both(on, layer, x, w, b, limit=limit)  # whole numbers: the order of sums is no matter
    plan = cr.compile(layer).plan(*map(cr.Tensor, (x, w, b)))
    assert re.search(r"matmul.*: b\d+: b?float16\[33,37\], b\d+: bool\[33,37\]", plan), plan
    assert "float32[33,37]" not in plan[plan.index("  g0 ") :]


@HALVES
@LIMITS
def test_products_write_only_their_own_elements(on, dtype, limit):
    """Whatever part of a vector the last columns fill; of ones, so that sums are exact."""
    for columns in (1, 5, 7, 8, 9, 15, 16, 17, 31, 33, 49):
        a, b = np.ones((4, 3), dtype), np.ones((3, columns), dtype)
        (product,) = on("native", lambda a, b: [a @ b], a, b, limit=limit)
        assert (product == 3).all(), columns


@HALVES
@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin"])
def test_other_machines_need_no_calls_either(dtype, triple):
    def step(t):
        return [cr.tanh(t[0] @ t[1]), cr.astype(cr.astype(t[0], "float64") * 3, dtype), t[0] / 3]

    made = record(step, [((64, 64), dtype, False)] * 2, Trace(lasting=True))
    arm = processor.cross(triple)
    text = Compilation(rewritten(lower(optimise(made.graph))), arm).llvm()
    assembly = object_code.assembly(text, arm)
    assert not re.findall(r"\tbl\t_?__\w+", assembly)
    assert dtype == cr.bfloat16 or re.search(r"\tfcvtl", assembly)


def rows(dtype):
    x = np.random.default_rng(2).normal(size=(7, 300)).astype(dtype)
    x[1, 5] = x[4, 0] = np.nan
    x[2, 7], x[3, 9], x[5] = np.inf, -np.inf, -0.0
    return x


@HALVES
def test_reductions(on, dtype):
    """Of sums only the result is rounded to 16 bits; NaN is the largest and the least."""

    def reduced(x):
        return [f(x, axis=a) for f in (cr.max, cr.min, cr.argmax, cr.argmin) for a in (0, 1)]

    check_both(on, reduced, rows(dtype))
    x = np.abs(rows(dtype)[:1]).reshape(-1)
    x = np.concatenate([np.full(1000, 1.001), np.full(4000, 0.01)]).astype(dtype)
    (total,) = on("native", lambda x: [cr.sum(x)], x)
    assert total == np.sum(x.astype(F64)).astype(dtype)
    (length,) = on("native", lambda x: [cr.norm(x)], x)
    assert length == np.sqrt(np.sum(x.astype(F64) ** 2)).astype(dtype)


@HALVES
@pytest.mark.parametrize("count", [5, 200])
def test_lookups_and_what_is_added_where_they_were(on, dtype, count):
    rng = np.random.default_rng(3)
    table, index = rng.normal(size=(9, 4)).astype(dtype), rng.integers(-9, 9, count)
    weights = rng.normal(size=(count, 4)).astype(dtype)

    def both(table, index, weights):
        def value(table):
            return (cr.take(table, index, axis=0) * weights).sum()

        return [cr.take(table, index, axis=0), cr.grad(value)(table)]

    found, expected = (on(b, both, table, index, weights) for b in ("native", "reference"))
    check_bits(found[0], expected[0])
    np.testing.assert_allclose(found[1].astype(F32), expected[1].astype(F32), rtol=0.01, atol=0.01)


# ── networks ─────────────────────────────────────────────────────────────────────────────────────


def network(dtype, wide):
    """An MLP with an embedding whose parameters are all of a dtype."""
    cr.random.seed(5)
    model = nn.Sequential(
        nn.Embedding(50, wide),
        nn.Linear(wide, 2 * wide),
        nn.GELU(),
        nn.Linear(2 * wide, wide),
        nn.LayerNorm(wide),
        nn.ReLU(),
        nn.Linear(wide, 4),
    )
    for module in model.modules():
        for name, value in [*vars(module).items()]:
            if isinstance(value, cr.Tensor):
                setattr(module, name, nn.Parameter(cr.astype(value.detach(), dtype)))
    return model


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, eps=1e-4),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.003, eps=1e-4),
}


def trained(dtype, optimizer, wide=16, steps=25, count=48):
    """The losses, all weights at the end, and what gives the plan."""
    model = network(dtype, wide)
    learning = OPTIMIZERS[optimizer](model.parameters())
    x = np.random.default_rng(4).integers(0, 50, count)
    x, y = cr.Tensor(x), cr.Tensor(x % 4)

    def learn(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        learning.step()
        return loss

    step = cr.compile(learn)
    losses = [float(step(x, y)) for _ in range(steps)]
    weights = np.concatenate([p.numpy().ravel().view(np.uint16) for p in model.parameters()])
    return losses, weights, lambda: step.plan(x, y)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@HALVES
def test_training_follows_the_reference(dtype, optimizer, monkeypatch):
    losses, _, plan = trained(dtype, optimizer)
    assert " numpy" not in plan()
    assert losses[-1] < 0.5 * losses[0]
    monkeypatch.setenv("CHAINRULE_BACKEND", "reference")
    expected, *_ = trained(dtype, optimizer)
    np.testing.assert_allclose(losses, expected, atol=0.1)
    np.testing.assert_allclose(losses[:4], expected[:4], atol=0.03)


@HALVES
def test_any_number_of_threads_gives_the_same_bits(dtype, all_threads, monkeypatch):
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("CHAINRULE_THREADS", threads)
        found.append(trained(dtype, "adamw", wide=96, steps=4, count=256))
    assert " parts" in found[0][2]()
    for losses, weights, _ in found[1:]:
        assert losses == found[0][0]
        np.testing.assert_array_equal(weights, found[0][1])


# ── numbers too small ────────────────────────────────────────────────────────────────────────────


def test_products_of_denormals_of_float16_are_not_zero(on):
    small = ALL[:64].view(cr.float16).reshape(8, 8)
    large = np.full((8, 8), 1024, cr.float16)
    check_both(on, lambda x, y: [x @ y, x * y, x + x], small, large)


@HALVES
def test_a_mean_that_ends_does_not_stay_a_denormal_of_float32(dtype):
    mean = nn.Parameter(np.full(40, 3e-7 if dtype == cr.float16 else 3e-38).astype(dtype))

    @cr.compile
    def step():
        with cr.no_grad():
            mean[...] = mean * 0.9

    for _ in range(200):
        step()
    ends = {cr.float16: 4, cr.bfloat16: 0}[dtype]  # times 0.9 and rounded, 4 are 4
    assert set(mean.numpy().view(np.uint16)) == {ends}
