"""Measure, and write RESULTS.md beside this file: `python benchmarks/run.py`, with torch there.

Speed is a ratio taken in one run, the two programs in turn. Every figure is a median. The control
case is a bare matrix product through NumPy: a slow machine is not mistaken for slow code.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import chainrule as cr

THREADS = 1  # eager steps on small arrays use no more on either side


def microseconds(*steps: Callable[[], object], seconds: float = 2.0) -> list[float]:
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


def eager_rows():
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
            ours, theirs = microseconds(our_step, torch_step)
            yield f"{function.__name__}, {size}×{size}", theirs, ours


def chain_rows():
    """A chain of n operations on one number, forward and backward."""
    for n in (10_000, 100_000, 1_000_000):
        x = cr.Tensor(np.float64(0.5), requires_grad=True)
        start = time.perf_counter()
        h = x
        for _ in range(n):
            h = h + 1.0
        h.backward()
        yield n, time.perf_counter() - start


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


def control():
    """A 512×512 product through NumPy."""
    a = np.ones((512, 512), np.float32)
    (us,) = microseconds(lambda: a @ a, seconds=1.0)
    return us, 2 * 512**3 / us / 1e3


def report():
    """The page, line by line."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    ) if Path("/proc/cpuinfo").exists() else platform.processor()  # fmt: skip
    us, gflops = control()
    yield "# Results"
    yield ""
    yield "Written by `benchmarks/run.py`; not edited by hand."
    yield ""
    yield f"- date: {datetime.date.today().isoformat()}"
    yield f"- machine: {model}, {os.cpu_count()} processors, {platform.machine()}"
    yield (
        f"- versions: Python {platform.python_version()}, chainrule {cr.__version__}, "
        f"NumPy {np.__version__}, torch {torch.__version__}; {THREADS} thread"
    )
    yield f"- control: 512×512 float32 product through NumPy {us:.0f} µs, {gflops:.0f} GFLOP/s"
    yield ""
    yield "## Eager mode: forward and backward of 30 small operations"
    yield ""
    yield "Target: at most 2.5 × PyTorch's eager time. A compiled step does not pay this overhead."
    yield ""
    yield "| work | torch, µs | chainrule, µs | ratio |"
    yield "|---|---|---|---|"
    for name, theirs, ours in eager_rows():
        yield f"| {name} | {theirs:.0f} | {ours:.0f} | {ours / theirs:.2f} |"
    yield ""
    yield "## A chain of n operations, forward and backward"
    yield ""
    yield "| n | seconds | µs an operation |"
    yield "|---|---|---|"
    for n, seconds in chain_rows():
        yield f"| {n:,} | {seconds:.2f} | {seconds / n * 1e6:.1f} |"
    yield ""
    yield "## Import, beyond NumPy's own"
    yield ""
    yield "| module | seconds |"
    yield "|---|---|"
    for name in ("chainrule", "torch"):
        yield f"| {name} | {import_seconds(name):.3f} |"


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    lines = list(report())
    Path(__file__).with_name("RESULTS.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
