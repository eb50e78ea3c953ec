"""Convolutions alone: the result, the gradient of the input, that of the weights; 1 and 2 threads.

A process has one number of threads; each convolution is a compiled function, called many times. The
peak is the speed of a large product through NumPy on one thread.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import chainrule as cr
from chainrule.cli.bench import measure
from chainrule.cli.workloads import PRODUCT, SCRIPT
from parts import arguments, facts, keep, processors
from products import best


@dataclass(frozen=True)
class Layer:
    """A convolution whose padding is half of its kernel."""

    batch: int
    sizes: tuple[int, ...]
    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    def __str__(self) -> str:
        kernel, sizes = ("×".join(map(str, n)) for n in (self.kernel, self.sizes))
        text = f"{self.inputs} → {self.outputs}, {kernel}"
        for name in ("stride", "dilation", "groups"):
            if (value := getattr(self, name)) > 1:
                text += f", {name} {value}"
        return f"{text}: {self.batch} × {sizes}"

    @property
    def depthwise(self) -> bool:
        return 1 < self.groups == self.inputs

    def forward(self, x: cr.Tensor, w: cr.Tensor) -> cr.Tensor:
        return cr.convolution(
            x,
            w,
            stride=self.stride,
            padding=[self.dilation * (k // 2) for k in self.kernel],
            kernel_dilation=self.dilation,
            groups=self.groups,
        )


LAYERS = [
    Layer(64, (28, 28), 1, 16, (5, 5)),
    Layer(64, (14, 14), 16, 32, (5, 5)),
    Layer(64, (32, 32), 3, 32, (3, 3)),
    Layer(64, (32, 32), 16, 16, (3, 3)),
    Layer(64, (32, 32), 32, 32, (3, 3)),
    Layer(64, (32, 32), 17, 19, (3, 3)),
    Layer(64, (32, 32), 32, 64, (3, 3), stride=2),
    Layer(64, (16, 16), 64, 64, (3, 3)),
    Layer(64, (16, 16), 64, 128, (3, 3), stride=2),
    Layer(64, (8, 8), 128, 128, (3, 3)),
    Layer(64, (4, 4), 256, 256, (3, 3)),
    Layer(8, (7, 7), 512, 512, (3, 3)),
    Layer(4, (56, 56), 64, 64, (3, 3)),
    Layer(4, (224, 224), 3, 64, (7, 7), stride=2),
    Layer(16, (28, 28), 64, 256, (1, 1)),
    Layer(16, (28, 28), 64, 128, (1, 1), stride=2),
    Layer(16, (32, 32), 32, 32, (3, 3), dilation=2),
    Layer(16, (28, 28), 64, 64, (3, 3), groups=4),
    Layer(16, (28, 28), 64, 64, (3, 3), groups=16),
    Layer(16, (28, 28), 96, 96, (3, 3), groups=96),
    Layer(16, (28, 28), 96, 96, (3, 3), stride=2, groups=96),
    Layer(16, (28, 28), 96, 96, (7, 7), groups=96),
    Layer(16, (1024,), 64, 64, (9,)),
    Layer(4, (16, 16, 16), 16, 32, (3, 3, 3)),
]


def repeated(f: Callable[[], cr.Tensor]) -> Callable[[int], object]:
    """A function that computes f `count` times."""
    compiled = cr.compile(f)

    def run(count: int) -> None:
        for _ in range(count):
            compiled()

    run(1)
    return run


def rows(rounds: int, seconds: float) -> Iterator[dict[str, object]]:
    """In a process of its own: the number of threads is that of its environment."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> cr.Tensor:
        return cr.Tensor(rng.standard_normal(shape, dtype=np.float32))

    for layer in LAYERS:
        x = normal(layer.batch, *layer.sizes, layer.inputs)
        w = normal(*layer.kernel, layer.inputs // layer.groups, layer.outputs)
        forward = layer.forward
        g = normal(*forward(x, w).shape)
        of = {
            "result": lambda x=x, w=w, f=forward: f(x, w),
            "input": lambda x=x, w=w, g=g, f=forward: cr.vjp(lambda x: f(x, w), x)[1](g)[0],
            "weights": lambda x=x, w=w, g=g, f=forward: cr.vjp(lambda w: f(x, w), w)[1](g)[0],
        }
        yield {
            "layer": str(layer),
            "depthwise": layer.depthwise,
            "operations": 2 * g.size * math.prod(w.shape[:-1]),
            "bytes": 4 * (x.size + w.size + g.size),
            "us": {role: best([repeated(f)], rounds, seconds)[0] for role, f in of.items()},
        }


def in_process(threads: int, rounds: int, seconds: float) -> list[dict[str, object]]:
    """The rows of a process with these threads."""
    command = [sys.executable, __file__, "measure", str(rounds), str(seconds)]
    with processors(threads):
        done = subprocess.run(
            command,
            env={**os.environ, "CHAINRULE_THREADS": str(threads)},
            check=True,
            stdout=subprocess.PIPE,
        )
    return [{"threads": threads, **row} for row in json.loads(done.stdout)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(list(rows(int(sys.argv[2]), float(sys.argv[3])))))
    else:
        given = arguments(__doc__)
        rounds, seconds = (2, 0.005) if given.quick else (10, 0.02)
        with processors(1):
            trials = [measure(SCRIPT, "product", "tiny", 1, 10 * seconds) for _ in range(rounds)]
        found = {
            **facts("llvmlite"),
            "quick": given.quick,
            "rounds": rounds,
            "peak_gflops": 2 * PRODUCT**3 / min(t["us"] for t in trials) / 1e3,
            "rows": [row for threads in (1, 2) for row in in_process(threads, rounds, seconds)],
        }
        keep("layers", found, given.out)
