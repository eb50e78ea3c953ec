"""Eager steps beside PyTorch's, long chains, and the time of an import."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

import chainrule as cr
from parts import arguments, control, facts, keep

THREADS = 1  # eager steps on small arrays use no more on either side


def microseconds(*steps: Callable[[], object], seconds: float) -> list[float]:
    """The median time of each step, the steps taken in turn."""
    times: list[list[float]] = [[] for _ in steps]
    for step in steps:
        for _ in range(20):
            step()
    end = time.perf_counter() + seconds * len(steps)
    while time.perf_counter() < end:
        for step, found in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            found.append(time.perf_counter() - start)
    return [float(np.median(t)) * 1e6 for t in times]


def elementwise(lib, x, w):
    """30 operations, all elementwise."""
    h = x
    for _ in range(10):
        h = lib.tanh(h * w + x)
    return h.sum()


def mixed(lib, x, w):
    """30 operations: products, sums, numbers, functions."""
    h = x
    for _ in range(5):
        h = lib.exp(-(lib.tanh(h @ w + x) * 0.5))
    return h.sum()


def layers(lib, x, w):
    """30 operations as in a network of ten layers: product, bias, bend."""
    h = x
    for _ in range(10):
        h = lib.tanh(h @ w + w)
    return h.sum()


def eager_rows(seconds):
    """Forward and backward of 30 small operations, beside PyTorch's eager mode."""
    rng = np.random.default_rng(0)
    for size in (4, 16, 32):
        for function in (elementwise, mixed, layers):
            x, w = (rng.normal(size=(size, size)).astype(np.float32) / 8 for _ in range(2))

            def torch_step(function=function, x=x, w=w):
                a, b = (torch.from_numpy(t).requires_grad_() for t in (x, w))
                function(torch, a, b).backward()
                return a.grad

            def our_step(function=function, x=x, w=w):
                a, b = (cr.Tensor(t, requires_grad=True) for t in (x, w))
                function(cr, a, b).backward()
                return a.grad

            np.testing.assert_allclose(
                our_step().numpy(), torch_step().numpy(), rtol=1e-3, atol=1e-6
            )
            ours, theirs = microseconds(our_step, torch_step, seconds=seconds)
            work = f"{function.__name__}, {size}×{size}"
            yield {"work": work, "torch_us": theirs, "us": ours}


def chain_rows(lengths):
    """A chain of n operations on one number, forward and backward."""
    for n in lengths:
        x = cr.Tensor(np.float64(0.5), requires_grad=True)
        start = time.perf_counter()
        h = x
        for _ in range(n):
            h = h + 1.0
        h.backward()
        yield {"length": n, "seconds": time.perf_counter() - start}


def import_seconds(first: str) -> float:
    """The median time of an import in a new process, after NumPy's, from cached bytecode."""
    clock = "time.perf_counter()"
    code = f"import time, numpy; t = {clock}; import {first}; print({clock} - t)"
    with tempfile.TemporaryDirectory() as cache:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = cache
        runs = [
            float(subprocess.check_output([sys.executable, "-c", code], env=env)) for _ in range(6)
        ]
    return sorted(runs[1:])[2]


if __name__ == "__main__":
    given = arguments(__doc__)
    torch.set_num_threads(THREADS)
    lengths = (10_000, 100_000) if given.quick else (10_000, 100_000, 1_000_000)
    found = {
        **facts("torch"),
        "quick": given.quick,
        "threads": THREADS,
        "control_us": control(1.0),
        "steps": list(eager_rows(0.2 if given.quick else 2.0)),
        "chains": list(chain_rows(lengths)),
        "imports": {name: import_seconds(name) for name in ("chainrule", "torch")},
    }
    keep("eager", found, given.out)
