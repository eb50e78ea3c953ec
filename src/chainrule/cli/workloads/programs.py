"""The training step of a work in each program, and its timing.

A step is: forward, loss, backward, clip by global norm 1, Adam.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .images import Images
from .networks import Factors, Workload

Step = Callable[[], object]
RATE, NORM = 1e-3, 1.0
PRODUCT = 1536  # rows of a large matrix product


def chainrule(work: Workload) -> Step:
    cr: Any = importlib.import_module("chainrule")
    x, y = map(cr.Tensor, work.rows())
    model = work.network(cr)
    optimizer = cr.optim.Adam(model.parameters(), lr=RATE)

    # What a step reads of other objects is compared at each call.
    loss_of, clips, clip = work.loss(cr), work.clips, cr.nn.utils.clip_grad_norm_

    def step(x: Any, y: Any) -> Any:
        loss = loss_of(model(x), y)
        loss.backward()
        if clips:
            clip(model.parameters(), NORM)
        optimizer.step()
        return loss

    compiled = cr.compile(step)
    return lambda: compiled(x, y)


def torch(
    work: Workload, wrap: Callable[[Any], Any] | None = None, channels_last: bool = False
) -> Step:
    """With the fused Adam, for factors SparseAdam; `wrap` is torch.compile or None.

    channels_last   how torch stores images and the weights of convolutions; else channels first
    """
    lib: Any = importlib.import_module("torch")
    x, y = map(lib.from_numpy, work.rows())
    model = work.network(lib)
    if isinstance(work, Images):
        layout = lib.channels_last if channels_last else lib.contiguous_format
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=layout)
        model = model.to(memory_format=layout)
    if isinstance(work, Factors):
        optimizer = lib.optim.SparseAdam(model.parameters(), lr=RATE)
    else:
        optimizer = lib.optim.Adam(model.parameters(), lr=RATE, fused=True)

    loss = work.loss(lib)

    def loss_of(x: Any, y: Any) -> Any:
        return loss(model(x), y)

    forward = wrap(loss_of) if wrap else loss_of

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        if work.clips:
            lib.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
        return loss.detach()

    return step


def product(_: Workload) -> Step:
    """A large matrix product in NumPy: the arithmetic that the machine can do."""
    a = np.ones((PRODUCT, PRODUCT), np.float32)
    return lambda: a @ a


PROGRAMS: dict[str, Callable[[Workload], Step]] = {
    "chainrule": chainrule,
    "torch": torch,
    "torch, channels last": partial(torch, channels_last=True),
    "product": product,
}


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
