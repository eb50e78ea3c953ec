"""Convolutions and poolings that blocks, tiles, phases and windows of the usual size do not fit."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.functions import windows

ones = cr.ones
SQUARE = np.array([[0.0, 1, 0], [1, 0, 0]])[None, ..., None]


def of_kernel(**settings):
    """The gradient of a convolution's kernel."""
    return lambda x, w: cr.grad(lambda w: cr.convolution(x, w, **settings).sum())(w)


def of_input(**settings):
    return lambda x, w: cr.grad(lambda x: cr.convolution(x, w, **settings).sum())(x)


@pytest.mark.parametrize(
    ("function", "x", "w"),
    [
        (of_kernel(input_dilation=2, padding=((-1, -1),)), (1, 2, 1), (1, 1, 1)),
        (of_kernel(), (2, 5, 5, 0), (3, 3, 0, 4)),
        (of_kernel(groups=2, padding=1), (1, 5, 5, 80), (3, 3, 40, 4)),
        (of_kernel(groups=8, padding=6), (1, 14, 13, 8), (13, 13, 1, 8)),
        (of_input(stride=5), (2, 20, 20, 3), (5, 5, 3, 8)),
        (of_input(stride=8), (2, 16, 16, 3), (8, 8, 3, 8)),
    ],
    ids=["no place", "no channels", "wide groups", "lanes", "25 phases", "64 phases"],
)
def test_compiled_is_as_eager(function, x, w):
    rng = np.random.default_rng(0)
    arguments = [cr.Tensor(rng.normal(size=shape)) for shape in (x, w)]
    compiled, eager = cr.compile(function)(*arguments), function(*arguments)
    np.testing.assert_allclose(compiled.numpy(), eager.numpy(), rtol=1e-12, atol=1e-12)


def test_many_phases_have_no_code_of_their_own():
    x, w = ones((2, 16, 16, 3)), ones((8, 8, 3, 8))
    assert "numpy: " in str(cr.compile(of_input(stride=8)).plan(x, w))
    assert "numpy: " not in str(cr.compile(of_input(stride=4)).plan(x, w))


def test_half_precision_is_native():
    x, w = ones((2, 7, 7, 3), dtype="float16"), ones((3, 3, 3, 5), dtype="float16")
    assert "numpy: " not in str(cr.compile(of_kernel()).plan(x, w))


def test_of_equal_elements_the_first_has_the_gradient():
    pool = nn.AdaptiveMaxPool2d((1, 2))
    gradient = cr.grad(lambda x: pool(x).sum())(cr.Tensor(SQUARE))
    assert gradient.numpy()[0, ..., 0].tolist() == [[0, 2, 0], [0, 0, 0]]  # as PyTorch's


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [((12, 11), (9, 10), (3, 4), (4, 5)), ((66,), (66,), None, 0), ((71,), (65,), 2, 32)],
)
def test_large_windows(size, window, stride, padding, compiled):
    """The largest of a window, found by hand; of equal ones the first has the gradient."""
    assert np.prod(window) > windows.LARGE_WINDOW
    x = np.random.default_rng(0).integers(0, 4, (2, *size, 3)).astype(np.float64)
    pads = np.broadcast_to(padding, len(size))
    steps = window if stride is None else np.broadcast_to(stride, len(size))
    padded = np.pad(x, [(0, 0), *((p, p) for p in pads), (0, 0)], constant_values=-np.inf)
    ends = [s + 2 * p - k + 1 for s, p, k in zip(size, pads, window, strict=True)]
    starts = [range(0, end, step) for end, step in zip(ends, steps, strict=True)]
    largest, gradient = np.zeros((2, *map(len, starts), 3)), np.zeros_like(padded)
    for n, *place, c in np.ndindex(largest.shape):
        corner = [r[i] for r, i in zip(starts, place, strict=True)]
        cut = tuple(slice(a, a + k) for a, k in zip(corner, window, strict=True))
        part = padded[(n, *cut, c)]
        first = np.unravel_index(part.argmax(), part.shape)
        largest[(n, *place, c)] = part[first]
        gradient[(n, *(a + i for a, i in zip(corner, first, strict=True)), c)] += 1
    inside = tuple(slice(p, p + s) for p, s in zip(pads, size, strict=True))

    def pool(x):
        return cr.max_pool(x, window, stride=stride, padding=padding)

    def slope(x):
        return cr.grad(lambda x: pool(x).sum())(x)

    if compiled:
        pool, slope = cr.compile(pool), cr.compile(slope)
    assert np.array_equal(pool(cr.Tensor(x)).numpy(), largest)
    assert np.array_equal(slope(cr.Tensor(x)).numpy(), gradient[(slice(None), *inside)])


def test_large_numbers_are_finite_where_they_are_directly():
    """Tiles would add products of 2^100 and 2^27 that the direct sum does not have."""
    signs = np.where(np.indices((32, 32)).sum(0) % 4 < 2, 1, -1)
    x = np.zeros((1, 32, 32, 16), np.float32)
    x[0, ..., 0] = signs * 2.0**100
    w = np.zeros((3, 3, 16, 16), np.float32)
    w[0, 0, 0] = 2.0**27 * 0.99
    y = cr.compile(lambda x, w: cr.convolution(x, w, padding=1))(cr.Tensor(x), cr.Tensor(w))
    assert np.isfinite(y.numpy()).all()


@pytest.mark.parametrize(("size", "channels", "outputs"), [(16, 16, 32), (9, 64, 16)])
def test_tiles_are_as_exact_as_the_direct_way(size, channels, outputs, monkeypatch):
    """Against float64, relative to the largest element; CHAINRULE_WINOGRAD=0 turns tiles off."""
    rng = np.random.default_rng(0)
    shapes = (8, size, size, channels), (3, 3, channels, outputs), (8, size, size, outputs)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]

    def all_three(x, w, g):
        y, pull = cr.vjp(lambda x, w: cr.convolution(x, w, padding=1), x, w)
        return y, *pull(g)

    exact = [t.numpy() for t in all_three(*(cr.Tensor(a.astype(np.float64)) for a in arrays))]
    results = {}
    for setting in ("1", "0"):
        monkeypatch.setenv("CHAINRULE_WINOGRAD", setting)
        results[setting] = [t.numpy() for t in cr.compile(all_three)(*map(cr.Tensor, arrays))]
        for result, right in zip(results[setting], exact, strict=True):
            assert np.abs(result - right).max() < 2e-6 * np.abs(right).max()
    for tiles, direct in zip(results["1"], results["0"], strict=True):
        assert not np.array_equal(tiles, direct)
