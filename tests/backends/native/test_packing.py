"""Matrices that a loop multiplies by, packed once before it."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends import native
from chainrule.backends.native.plan.packing import PACKED_MATMUL
from chainrule.backends.program import lower
from chainrule.recording import record
from chainrule.trace import Trace

LENGTH = 5
SIZES = [(1, 64, 64), (3, 100, 50), (32, 256, 96), (17, 2100, 7), (65, 40, 133)]
MATRICES = {  # from a constant of the loop to what a row of k is multiplied by
    "itself": (lambda k, n: (k, n), lambda w: w),
    "transposed": (lambda k, n: (n, k), lambda w: w.mT),
    "a part of it": (lambda k, n: (k, n + 9), lambda w: w[:, 4:-5]),
    "one of several": (lambda k, n: (3, k, n), lambda w: w[1]),
}


def built(function, arrays):
    """The native program of a function of arrays."""
    specs = [(a.shape, a.dtype, False) for a in arrays]
    return native.build(lower(record(function, specs, Trace(lasting=True)).graph))


def packs(run):
    """The number of packed products in the bodies of loops."""
    bodies = [kernel.body for kernel in run.program.kernels if kernel.body is not None]
    return sum(kernel.op is PACKED_MATMUL for body in bodies for kernel in body.kernels)


PROCESSORS = [
    (np.float32, ""),
    (np.float64, ""),
    (np.float32, "avx2"),
    (np.float64, "sse"),
]


@pytest.mark.parametrize(("dtype", "features"), PROCESSORS)
@pytest.mark.parametrize("name", MATRICES)
def test_products_in_a_loop(name, dtype, features, monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", features)
    shape, view = MATRICES[name]
    rng = np.random.default_rng(0)
    for m, k, n in SIZES if name == "itself" else SIZES[1:4]:
        rows = rng.integers(-3, 4, (LENGTH, m, k)).astype(dtype)
        w = rng.integers(-3, 4, shape(k, n)).astype(dtype)
        start = np.zeros((m, n), dtype)

        def loop(t):
            return cr.scan(lambda c, x: (c - x @ view(t[0]), c), t[1], t[2])[0:1]

        run = built(loop, [w, start, rows])
        (found,) = run([w, start, rows])
        expected = -(rows @ view(cr.Tensor(w)).numpy()).sum(0)
        np.testing.assert_array_equal(found, expected)  # small whole numbers: exact
        assert packs(run) == (k * n * found.itemsize >= 1 << 14)


def test_what_is_not_packed():
    """A loop of few turns, a matrix that changes in the loop, and a small one."""
    x, w = np.zeros((8, 4, 64), np.float32), np.zeros((64, 64), np.float32)

    def several(t):
        return [cr.scan(lambda c, x: (c + x @ t[0], None), t[1][0], t[1])[0]]

    def changing(t):
        return [cr.scan(lambda w, x: (w * 0.5, x @ w), t[0], t[1])[1]]

    def small(t):
        return [cr.scan(lambda c, x: (c + x[:, :8] @ t[0][:8, :8], None), t[1][0, :, :8], t[1])[0]]

    assert packs(built(several, [w, x])) == 1
    assert packs(built(several, [w, x[:3]])) == 0
    assert packs(built(changing, [w, x])) == 0
    assert packs(built(small, [w, x])) == 0


def test_two_products_by_one_matrix_pack_it_once():
    x, w = np.ones((8, 4, 64), np.float32), np.ones((64, 64), np.float32)

    def loop(t):
        def body(c, x):
            turned = t[0].mT
            return cr.tanh(c @ turned), x @ turned + c @ turned

        return [*cr.scan(body, t[1][0], t[1])]

    run = built(loop, [w, x])
    assert packs(run) == 3
    (kernel,) = (kernel for kernel in run.program.kernels if kernel.body is not None)
    assert kernel.params["consts"] == 2
