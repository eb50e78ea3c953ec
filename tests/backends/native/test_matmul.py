"""Matrix products of the native backend against NumPy's in float64."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from itertools import pairwise

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir

from chainrule.backends.native import object_code
from chainrule.backends.native.emit.matmul_tiles import emit_tiles
from chainrule.backends.native.ir_types import POINTER
from chainrule.backends.native.plan.blocking import Blocking, Contraction, choose
from chainrule.backends.native.processor import Cache, Caches, Target, host

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()


SSE, AVX2, AVX512 = (
    Target("x86_64", "", features) for features in ("", "+avx2,+fma", "+avx2,+fma,+avx512f")
)
HOST = host()
# Caches so small that the products of these tests need strips and packing.
TIGHT = Caches(Cache(1024, 2), Cache(8192, 2))


class Compiled:
    """The product as a function of arrays; keeps the engine that owns its code alive."""

    def __init__(self, spec: Contraction, processor: Target = HOST):
        self.blocking = choose(spec, processor)
        i64 = ir.IntType(64)
        module = ir.Module("product")
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 4 + [i64] * 2)
        function = ir.Function(module, kind, "product")
        builder = ir.IRBuilder(function.append_basic_block())
        emit_tiles(builder, self.blocking, *function.args)
        builder.ret_void()
        features = llvm.get_host_cpu_features().flatten()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True
        )
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=object_code.LOOPS)
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(parsed, passes)
        self.engine = llvm.create_mcjit_compiler(parsed, machine)
        self.engine.finalize_object()
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 2)
        self.call = signature(self.engine.get_function_address("product"))
        self.scratch = np.full(self.blocking.scratch_bytes + 64, 7, np.uint8)

    def __call__(self, a: np.ndarray, b: np.ndarray, c: np.ndarray, *cuts: int) -> None:
        pointers = [x.ctypes.data for x in (a, b, c, self.scratch)]
        for begin, end in pairwise([0, *cuts, self.blocking.tiles]):
            self.call(*pointers, begin, end)


def spec_of(a: np.ndarray, b: np.ndarray, accumulate: bool = False) -> Contraction:
    """The product of two arrays [batch, ., .] as they lie in memory."""
    size = a.itemsize
    strides = [tuple(s // size for s in x.strides) for x in (a, b)]
    (batch, m, k), n = a.shape, b.shape[2]
    return Contraction(m, n, k, batch, str(a.dtype), strides[0], strides[1], accumulate)


def operand(
    rng: np.random.Generator, shape: tuple[int, int, int], dtype: str, turned: bool, shared: bool
) -> np.ndarray:
    """[batch, rows, columns], stored transposed if `turned`, one matrix for all if `shared`."""
    batch, rows, columns = shape
    stored = (1 if shared else batch, *((columns, rows) if turned else (rows, columns)))
    array = rng.standard_normal(stored).astype(dtype)
    array = array.swapaxes(1, 2) if turned else array
    return np.broadcast_to(array, shape)


def check(
    a: np.ndarray, b: np.ndarray, accumulate: bool = False, processor: Target = HOST
) -> Blocking:
    """The product is NumPy's, however it is split, and no byte around C or the scratch changes."""
    product = Compiled(spec_of(a, b, accumulate), processor)
    shape = (a.shape[0], a.shape[1], b.shape[2])
    size, tiles, guard = int(np.prod(shape)), product.blocking.tiles, 64
    results = []
    for cuts in ((), (tiles // 3, tiles // 2), tuple(range(1, min(tiles, 9)))):
        memory = np.full(size + 2 * guard, 7.0, a.dtype)
        c = memory[guard : guard + size].reshape(shape)
        product(a, b, c, *cuts)
        assert (memory[:guard] == 7).all()
        assert (memory[guard + size :] == 7).all()
        assert (product.scratch[-64:] == 7).all()
        results.append(c.copy())
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
    with np.errstate(invalid="ignore"):
        wide = a.astype(np.float64), b.astype(np.float64)
        expected = wide[0] @ wide[1] + (7.0 if accumulate else 0.0)
        bound = np.abs(wide[0]) @ np.abs(wide[1]) + 7.0
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(results[0][~finite], expected[~finite])
    error = np.finfo(a.dtype).eps * (a.shape[2] + 2) * bound
    assert (np.abs(results[0][finite] - expected[finite]) <= error[finite]).all()
    return product.blocking


@pytest.mark.parametrize(
    ("dtype", "m", "n", "k", "accumulate"),
    [
        ("float32", 1024, 2048, 40, False),
        ("float32", 1024, 2000, 1100, True),  # k in several pieces, and a rest of n
        ("float64", 1024, 2048, 70, False),
    ],
)
def test_steps_of_whole_pages(dtype: str, m: int, n: int, k: int, accumulate: bool) -> None:
    """The gradient of a weight: A is copied too, in slabs of a vector of rows."""
    rng = np.random.default_rng(0)
    a = operand(rng, (1, m, k), dtype, True, False)
    b = operand(rng, (1, k, n), dtype, False, False)
    assert choose(spec_of(a, b, accumulate), AVX512).slabs
    check(a, b, accumulate)
    shifted = operand(rng, (1, m + 16, k), dtype, True, False)[:, :m]
    assert not choose(spec_of(shifted, b), AVX512).slabs


@settings(max_examples=150, deadline=None)
@given(
    m=st.integers(0, 70),
    n=st.integers(0, 70),
    k=st.integers(0, 70),
    batch=st.integers(1, 3),
    turned=st.tuples(st.booleans(), st.booleans()),
    shared=st.tuples(st.booleans(), st.booleans()),
    dtype=st.sampled_from(["float32", "float64"]),
    accumulate=st.booleans(),
    processor=st.sampled_from(
        [HOST, AVX2, SSE, replace(HOST, caches=TIGHT), replace(AVX2, caches=TIGHT)]
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_numpy(
    m: int,
    n: int,
    k: int,
    batch: int,
    turned: tuple[bool, bool],
    shared: tuple[bool, bool],
    dtype: str,
    accumulate: bool,
    processor: Target,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    a = operand(rng, (batch, m, k), dtype, turned[0], shared[0])
    b = operand(rng, (batch, k, n), dtype, turned[1], shared[1])
    check(a, b, accumulate, processor)


WAYS = {
    "broadcast": ((300, 64, 70), (False, False), {"dot": False, "swapped": False, "packed": False}),
    "packed": ((300, 200, 1000), (False, False), {"packed": True, "depth": 1000}),
    "packed, turned": ((150, 75, 40), (False, True), {"packed": True, "dot": False}),
    "long k": ((140, 70, 1031), (False, True), {"packed": True, "depth": 516}),
    "long k, swapped": ((75, 5, 1031), (True, False), {"swapped": True, "depth": 344}),
    "swapped, packed": ((200, 3, 40), (True, False), {"swapped": True}),
    "dot": ((133, 10, 300), (False, True), {"dot": True, "packed": False}),
    "dot, packed": ((133, 10, 300), (False, False), {"dot": True, "packed": True}),
    "strips": ((1024, 512, 128), (False, True), {"packed": True, "strips": True}),
    "slabs": ((512, 256, 1031), (True, False), {"packed": True, "strips": True, "slabs": True}),
    "one dot": ((1, 1, 1000), (False, True), {"dot": True}),
}


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_every_way(way: str, accumulate: bool) -> None:
    (m, n, k), turned, wanted = WAYS[way]
    rng = np.random.default_rng(0)
    a = operand(rng, (2, m, k), "float32", turned[0], False)
    b = operand(rng, (2, k, n), "float32", turned[1], False)
    found = choose(spec_of(a, b), AVX512)
    assert {name: getattr(found, name) for name in wanted} == wanted
    check(a, b, accumulate)


@pytest.mark.parametrize("shape", [(20, 40, 33), (20, 3, 33), (3, 70, 5), (20, 2, 90)])
@pytest.mark.parametrize("turned", [False, True])
def test_special_values(shape: tuple[int, int, int], turned: bool) -> None:
    """0 · inf and 0 · NaN are NaN, inf stays inf, and only where the operands say so."""
    m, n, k = shape
    rng = np.random.default_rng(1)
    a = operand(rng, (1, m, k), "float32", turned, False).copy()
    b = operand(rng, (1, k, n), "float32", not turned, False).copy()
    a[0, 1], a[0, 2, 3], b[0, 0, 1] = 0, np.inf, np.nan
    b[0, 2, n - 1], a[0, m - 1, k - 1] = -np.inf, np.nan
    check(a, b)


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 0, 4), (4, 4, 0), (0, 0, 0)])
@pytest.mark.parametrize("accumulate", [False, True])
def test_empty(shape: tuple[int, int, int], accumulate: bool) -> None:
    m, n, k = shape
    check(np.ones((1, m, k)), np.ones((1, k, n)), accumulate)


def test_tiles_depend_on_the_shape_alone() -> None:
    """Large products fall into enough tiles for many threads; small ones stay whole."""
    a, b = np.zeros((1, 256, 2048), "f"), np.zeros((1, 2048, 2048), "f")
    assert choose(spec_of(a, b), HOST) == choose(spec_of(a, b), HOST)
    assert choose(spec_of(a, b), HOST).tiles >= 16
    assert choose(spec_of(a[:, :32, :16], b[:, :16, :16]), HOST).tiles == 1
