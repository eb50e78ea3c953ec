"""Depth and memory of the backward pass."""

import tracemalloc

import numpy as np

import chainrule as cr


def test_a_chain_of_100_000_operations():
    x = cr.Tensor(np.float64(0.5), requires_grad=True)
    y, slope, value = x, 1.0, 0.5
    for k in range(100_000):
        if k % 2:
            y, slope, value = y * 0.999, slope * 0.999, value * 0.999
        else:
            y, slope, value = y + 0.001, slope, value + 0.001
    y.backward()
    np.testing.assert_allclose(x.grad.item(), slope, rtol=1e-9)
    np.testing.assert_allclose(y.item(), value, rtol=1e-9)


def peak_over_kept(forward, kept_bytes):
    """Peak memory while going backward, as a multiple of the bytes that the rules name."""
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    loss = forward()
    tracemalloc.reset_peak()
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1] - base
    tracemalloc.stop()
    return peak / kept_bytes


def test_peak_memory_of_a_chain():
    x = cr.Tensor(np.random.default_rng(0).normal(size=(500, 500)), requires_grad=True)

    def forward():
        h = x
        for _ in range(30):
            h = cr.tanh(h)
        return h.sum()

    assert peak_over_kept(forward, 30 * x.size * 8) < 1.3


def test_peak_memory_of_a_network():
    rng = np.random.default_rng(0)
    layers = [cr.Tensor(rng.normal(size=(128, 128)) / 12, requires_grad=True) for _ in range(16)]
    x = cr.Tensor(rng.normal(size=(2048, 128)))

    def forward():
        h = x
        for w in layers:
            h = cr.tanh(h @ w)
        return h.sum()

    activations, gradients = 16 * 2048 * 128 * 8, 16 * 128 * 128 * 8
    assert peak_over_kept(forward, activations + gradients) < 1.3
