"""The native backend's functions: units in the last place, special values, vectors.

A bound is in units in the last place (ulp) of the exact result. Float32 is sampled over all bit
patterns and judged by float64; both types are judged by mpmath on fewer.
"""

import ctypes
import functools
import re

import mpmath
import numpy as np
import pytest
from llvmlite import ir
from scipy import special

import chainrule as cr
from chainrule import numerics
from chainrule.backends.native import object_code, processor
from chainrule.backends.native.math import elementary

F32, F64 = np.float32, np.float64

# name: bounds in float32 and float64, NumPy's meaning, mpmath's
# fmt: off
TABLE = {
    "exp":     (1.1, 1.2, np.exp,     mpmath.exp),
    "expm1":   (1.7, 1.8, np.expm1,   mpmath.expm1),
    "log":     (0.9, 0.9, np.log,     mpmath.log),
    "log1p":   (0.9, 0.9, np.log1p,   mpmath.log1p),
    "log2":    (1.0, 1.2, np.log2,    lambda x: mpmath.log(x, 2)),
    "log10":   (0.8, 1.2, np.log10,   mpmath.log10),
    "sin":     (1.6, 0.9, np.sin,     mpmath.sin),
    "cos":     (1.6, 0.9, np.cos,     mpmath.cos),
    "tan":     (0.6, 1.0, np.tan,     mpmath.tan),
    "asin":    (1.1, 0.9, np.arcsin,  mpmath.asin),
    "acos":    (1.1, 1.0, np.arccos,  mpmath.acos),
    "atan":    (1.0, 1.0, np.arctan,  mpmath.atan),
    "sinh":    (1.7, 1.8, np.sinh,    mpmath.sinh),
    "cosh":    (1.6, 1.6, np.cosh,    mpmath.cosh),
    "tanh":    (1.5, 1.5, np.tanh,    mpmath.tanh),
    "asinh":   (1.3, 1.5, np.arcsinh, mpmath.asinh),
    "acosh":   (1.9, 1.9, np.arccosh, mpmath.acosh),
    "atanh":   (1.9, 1.9, np.arctanh, mpmath.atanh),
    "sigmoid": (1.6, 1.7, numerics.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "erf":     (1.4, 1.4, special.erf, mpmath.erf),
    "erfinv":  (0.6, 1.9, special.erfinv, mpmath.erfinv),
    "sqrt":    (0.5, 0.5, np.sqrt,    mpmath.sqrt),
    "atan2":   (1.5, 1.5, np.arctan2, mpmath.atan2),
    "power":   (0.6, 1.4, np.power,   mpmath.power),
}
# fmt: on
PAIRS = ("atan2", "power")  # of two inputs
DOMAIN = {"asin": 1, "acos": 1, "atanh": 1, "erfinv": 1}  # of |x|; others take any x
LOWEST = {"log": 0, "log2": 0, "log10": 0, "sqrt": 0, "power": 0, "log1p": -1, "acosh": 1}
BOTH = pytest.mark.parametrize("dtype", [F32, F64])
EVERY = pytest.mark.parametrize("name", TABLE)
LIMITS = pytest.mark.parametrize("limit", ["", "avx2", "sse"])


def test_every_function_is_in_the_table():
    assert set(TABLE) == set(elementary.FUNCTIONS)


def loop(name, dtype, chosen):
    """IR of f(inputs…, output, n): the function over n elements."""
    kind = ir.FloatType() if dtype == F32 else ir.DoubleType()
    inputs = 2 if name in PAIRS else 1
    pointer, whole = ir.PointerType(), ir.IntType(64)
    module = elementary.module_for("", chosen)
    signature = ir.FunctionType(ir.VoidType(), [*[pointer] * (inputs + 1), whole])
    function = ir.Function(module, signature, "f")
    *places, out, n = function.args
    for place in (*places, out):
        place.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block())
    entry, body, end = builder.block, *(function.append_basic_block() for _ in range(2))
    builder.branch(body)
    builder.position_at_end(body)
    i = builder.phi(whole)
    i.add_incoming(whole(0), entry)
    xs = [builder.load(builder.gep(p, [i], source_etype=kind), typ=kind) for p in places]
    y = elementary.emit_function(builder, name, *xs)
    builder.store(y, builder.gep(out, [i], source_etype=kind))
    following = builder.add(i, whole(1))
    i.add_incoming(following, body)
    builder.cbranch(builder.icmp_unsigned("<", following, n), body, end)
    builder.position_at_end(end)
    builder.ret_void()
    return str(module)


@functools.cache
def compiled(name, dtype, chosen):
    library = object_code.load(object_code.compile_ir(loop(name, dtype, chosen), chosen), ["f"])
    inputs = 2 if name in PAIRS else 1
    kinds = [*[ctypes.c_void_p] * (inputs + 1), ctypes.c_int64]
    function = ctypes.CFUNCTYPE(None, *kinds)(library.address("f"))

    def call(*xs):
        assert library.names  # it must live as long as this
        xs = [np.ascontiguousarray(x, dtype) for x in xs]
        out = np.empty_like(xs[0])
        function(*(x.ctypes.data for x in xs), out.ctypes.data, out.size)
        return out

    return call


def patterns(dtype, count):
    """Finite numbers of every size and sign: evenly spaced bit patterns."""
    unsigned = np.uint32 if dtype == F32 else np.uint64
    step = int(np.iinfo(unsigned).max) // count | 1
    x = (np.arange(count, dtype=unsigned) * unsigned(step)).view(dtype)
    return x[np.isfinite(x)]


def samples(name, dtype, count):
    """Inputs in the domain: all bit patterns, and ranges where much happens."""
    random = np.random.default_rng(7)
    widths = (1, 1, 10, 100, 710 if dtype == F64 else 88, 1e5)
    x = np.concatenate(
        [patterns(dtype, count)]
        + [random.uniform(-w, w, count // 4).astype(dtype) for w in widths]
        + [(1 + random.uniform(-1, 1, count // 4) * 2.0 ** random.uniform(-20, 0, count // 4))]
    ).astype(dtype)
    x = x[np.abs(x) <= DOMAIN.get(name, np.inf)]
    x = x[x >= LOWEST.get(name, -np.inf)]
    if name == "atan2":
        near = x * random.uniform(0.1, 1, x.size).astype(dtype)  # others are hardly ever near
        return x, np.where(np.arange(x.size) % 2, near, random.permutation(x))
    if name == "power":
        x = np.concatenate([x, np.exp(random.uniform(-3, 3, x.size)).astype(dtype)])
        most = 300 if dtype == F64 else 40
        y = np.where(
            np.arange(x.size) % 2, random.permutation(x), random.uniform(-most, most, x.size)
        )
        return x, y.astype(dtype)
    return (x,)


def ulps(y, high, low):
    """|y - (high + low)| in units in the last place of the exact result, in y's type."""
    finest = np.finfo(y.dtype)
    with np.errstate(all="ignore"):
        unit = np.exp2(np.maximum(np.frexp(high)[1] - 1, finest.minexp) - finest.nmant)
        error = np.abs((y.astype(F64) - high) - low) / unit
        rounded = np.asarray(high).astype(y.dtype)
        same = (rounded == y) | (np.isnan(rounded) & np.isnan(y))
    return np.where(np.isfinite(error), error, np.where(same, 0, np.inf))


@BOTH
def test_ulps_are_counted_from_the_exact_result(dtype):
    high = np.array([1.0, -3.0, 0.0, np.inf, np.nan, 1.0])
    y = high.astype(dtype)
    assert not ulps(y, high, 0).any()
    next_up = np.nextafter(y[:2], dtype(np.inf))
    np.testing.assert_array_equal(ulps(next_up, high[:2], 0), [1, 1])
    np.testing.assert_array_equal(ulps(y[:1], high[:1], float(np.finfo(dtype).eps) / 4), [0.25])
    wrong = np.array([np.nan, np.nan, np.nan, 1, 1, np.inf], dtype)
    assert np.isinf(ulps(wrong, high, 0)).all()


def check(name, xs, y, high, low, bound):
    error = ulps(y, high, low)
    worst = int(np.argmax(error))
    assert error[worst] <= bound, (name, [float(x[worst]) for x in xs], y[worst], high[worst])


@EVERY
@LIMITS
def test_float32_over_all_bit_patterns(name, limit, monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", limit)
    xs = samples(name, F32, 100_000 if limit else 300_000)
    y = compiled(name, F32, processor.host())(*xs)
    with np.errstate(all="ignore"):
        exact = TABLE[name][2](*(x.astype(F32).astype(F64) for x in xs))
    check(name, xs, y, exact, 0, TABLE[name][0])


def as_float(x):
    try:
        return float(x)
    except OverflowError:
        return float(mpmath.sign(x)) * np.inf


def exactly(name, xs):
    """mpmath's result as a float64 and what that lacks."""
    high, low = [], []
    with mpmath.workdps(40):
        for values in zip(*xs, strict=True):
            try:
                exact = TABLE[name][3](*(mpmath.mpf(float(v)) for v in values))
            except (ValueError, ZeroDivisionError):  # a pole
                exact = mpmath.nan
            high.append(as_float(exact))
            low.append(as_float(exact - high[-1]) if np.isfinite(high[-1]) else 0.0)
    return np.array(high), np.array(low)


@EVERY
@BOTH
@LIMITS
def test_against_mpmath(name, dtype, limit, monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", limit)
    xs = [x.astype(dtype) for x in samples(name, dtype, 40 if name == "erfinv" else 300)]
    keep = np.abs(xs[0]) < np.finfo(dtype).max if name != "erfinv" else np.abs(xs[0]) < 1
    keep &= (xs[0] != LOWEST.get(name, np.nan)) & (np.abs(xs[0]) != DOMAIN.get(name, np.nan))
    xs = [x[keep] for x in xs]
    y = compiled(name, dtype, processor.host())(*xs)
    check(name, xs, y, *exactly(name, xs), TABLE[name][dtype == F64])


@EVERY
@BOTH
def test_special_values_are_those_of_numpy(name, dtype):
    finest = np.finfo(dtype)
    sizes = [0, 1, np.inf, finest.max, finest.tiny, finest.smallest_subnormal, 0.5, 2, 3, 1.5, 1e6]
    x = np.array([sign * size for size in sizes for sign in (1, -1)] + [np.nan], dtype)
    xs = [a.ravel() for a in np.meshgrid(x, x)] if name in PAIRS else [x]
    y = compiled(name, dtype, processor.host())(*xs)
    with np.errstate(all="ignore"):
        want = TABLE[name][2](*xs)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(want))
    there = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(y)[there], np.signbit(want)[there])
    np.testing.assert_array_equal(y == 0, want == 0)
    there &= ~np.isinf(want)
    np.testing.assert_array_max_ulp(y[there], want[there], 3, dtype)


@EVERY
@BOTH
@LIMITS
def test_the_same_bits_alone_and_in_a_vector(name, dtype, limit, monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", limit)
    function = compiled(name, dtype, processor.host())
    xs = [x[np.linspace(0, x.size - 1, 1000).astype(int)] for x in samples(name, dtype, 10_000)]
    together = function(*xs)
    alone = np.concatenate([function(*(x[i : i + 1] for x in xs)) for i in range(1000)])
    np.testing.assert_array_equal(together.view(np.uint8), alone.view(np.uint8))


@EVERY
@BOTH
@LIMITS
def test_the_loop_is_made_of_vectors_without_calls(name, dtype, limit, monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", limit)
    chosen = processor.host()
    if not chosen.x86:
        pytest.skip("reads x86 assembly")
    text = object_code.assembly(loop(name, dtype, chosen), chosen)
    register = {512: "zmm", 256: "ymm", 128: "xmm"}[chosen.vector_bits]
    assert f"%{register}" in text
    packed = ("mulps", "mulpd", "sqrtps", "sqrtpd")
    assert any(instruction in text for instruction in packed)
    assert not [line for line in text.splitlines() if line.strip().startswith("call")]


@EVERY
def test_other_machines_need_no_calls_either(name):
    arm = processor.cross("aarch64-unknown-linux-gnu")
    text = object_code.assembly(loop(name, F32, arm), arm)
    assert re.search(r"\tf(mul|sqrt)\tv", text)
    assert not [line for line in text.splitlines() if line.strip().startswith("bl\t")]


@BOTH
@LIMITS
def test_the_next_number_has_the_bits_of_numpy(dtype, limit, monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", limit)
    limits = np.finfo(dtype)
    edges = [limits.smallest_subnormal, limits.tiny, np.nextafter(limits.tiny, dtype(0)), 1]
    sizes = np.array([0, *edges, np.nextafter(dtype(1), dtype(0)), limits.max, np.inf], dtype)
    x = np.concatenate([sizes, -sizes, np.array([np.nan], dtype)])
    x, y = map(np.ravel, np.meshgrid(x, x))
    found = cr.compile(cr.nextafter)(x, y).numpy()
    with np.errstate(all="ignore"):
        expected = np.nextafter(x, y)
    there = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), ~there)
    np.testing.assert_array_equal(found[there].view(np.uint8), expected[there].view(np.uint8))
