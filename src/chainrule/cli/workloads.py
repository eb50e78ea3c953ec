"""The workloads of `chainrule bench`, and the process that times one program on one of them.

Run by its path, `python -P workloads.py PROGRAM WORK SECONDS`, so that a process contains the
measured program and nothing else; it prints one JSON object. A step is: forward, cross-entropy,
backward, clip by global norm 1, Adam.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Step = Callable[[], object]
RATE, NORM = 1e-3, 1.0
PRODUCT = 1536  # rows of a large matrix product


@dataclass(frozen=True)
class Workload:
    """A network of linear layers with ReLU between them, and the rows per step."""

    batch: int
    sizes: tuple[int, ...]

    @property
    def operations(self) -> int:
        """Multiplications and additions of the step's matrix products.

        A layer has three: its result, the gradient of its weights, the gradient of its input. The
        first layer does not need the last one.
        """
        first, *rest = (2 * self.batch * a * b for a, b in pairwise(self.sizes))
        return 2 * first + 3 * sum(rest)

    def __str__(self) -> str:
        inner = [str(n) for n in self.sizes[1:-1]]
        if len(inner) > 3:
            inner = [f"{len(inner)} × {inner[0]}"]
        return "-".join([str(self.sizes[0]), *inner, str(self.sizes[-1])])

    def rows(self) -> tuple[Any, Any]:
        """Inputs and classes."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.batch, self.sizes[0]), dtype=np.float32)
        return x, rng.integers(0, self.sizes[-1], self.batch)


WORKLOADS = {
    "tiny": Workload(32, (2, 16, 16, 2)),
    "digits": Workload(32, (64, 64, 32, 10)),
    "mnist": Workload(128, (784, 256, 128, 10)),
    "wide": Workload(256, (1024, 2048, 2048, 10)),
    "deep": Workload(64, (64,) * 31 + (10,)),
}


def chainrule(work: Workload) -> Step:
    cr: Any = importlib.import_module("chainrule")
    x, y = map(cr.Tensor, work.rows())
    model = network(cr.nn, work)
    optimizer = cr.optim.Adam(model.parameters(), lr=RATE)

    def step(x: Any, y: Any) -> Any:
        loss = cr.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        cr.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
        return loss

    compiled = cr.compile(step)
    return lambda: compiled(x, y)


def torch(work: Workload, wrap: Callable[[Any], Any] | None = None) -> Step:
    """With the fused Adam; `wrap` is torch.compile or None."""
    lib: Any = importlib.import_module("torch")
    x, y = map(lib.from_numpy, work.rows())
    model = network(lib.nn, work)
    optimizer = lib.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def loss_of(x: Any, y: Any) -> Any:
        return lib.nn.functional.cross_entropy(model(x), y)

    forward = wrap(loss_of) if wrap else loss_of

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        lib.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
        return loss.detach()

    return step


def network(nn: Any, work: Workload) -> Any:
    layers = [layer for a, b in pairwise(work.sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def product(_: Workload) -> Step:
    """A large matrix product in NumPy: the arithmetic that the machine can do."""
    a = np.ones((PRODUCT, PRODUCT), np.float32)
    return lambda: a @ a


def timed(step: Step, seconds: float) -> dict[str, Any]:
    """first: seconds of the first step; us: the median of the later ones; peak: bytes."""
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    end = time.perf_counter() + seconds / 4
    step()
    while time.perf_counter() < end:
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"first": first, "us": float(np.median(times)) * 1e6, "peak": peak()}


def peak() -> int | None:
    """The peak memory of this process in bytes, where the system reports it."""
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def main(programs: Mapping[str, Callable[[Workload], Step]]) -> None:
    """Time the program and work that the command line names."""
    program, work, seconds = sys.argv[1:]
    print(json.dumps(timed(programs[program](WORKLOADS[work]), float(seconds))))


if __name__ == "__main__":
    main({"chainrule": chainrule, "torch": torch, "product": product})
