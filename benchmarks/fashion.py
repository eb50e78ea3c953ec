"""Time until a test accuracy of 0.90 on Fashion-MNIST: the same network in chainrule and torch.

    python benchmarks/fashion.py FOLDER [THREADS]

FOLDER has the four IDX files (.gz), for example of the Debian package dataset-fashion-mnist. Five
convolutions of 3 × 3 with batch norm, batches of 128, Adam at 1e-3, no augmentation. The test
images are classified every 100 steps; seconds count everything from the first step on, compilation
and tests too. Each program runs in a process of its own, in turn.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

GOAL, BATCH, EVERY, MOST = 0.90, 128, 100, 4000
CHANNELS = ((1, 32), (32, 64), (64, 64), (64, 128), (128, 128))
POOLED = (0, 2)  # after these convolutions the size is halved


def images(folder, part):
    names = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
    pixels, labels = (gzip.decompress((Path(folder) / name).read_bytes()) for name in names)
    x = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    return x.astype(np.float32) / 255, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def network(nn):
    layers = []
    for k, (inputs, outputs) in enumerate(CHANNELS):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if k in POOLED else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def chainrule():
    import chainrule as cr

    model = network(cr.nn)
    optimizer = cr.optim.Adam(model.parameters(), lr=1e-3)

    @cr.compile
    def step(x, y):
        loss = cr.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

    @cr.compile
    def predicted(x):
        with cr.no_grad():
            return cr.argmax(model(x), axis=-1)

    def classify(x):
        model.eval()
        out = np.concatenate([predicted(part).numpy() for part in np.split(x, 20)])
        model.train()
        return out

    return step, classify


def torch():
    import torch

    torch.set_num_threads(int(os.environ["CHAINRULE_THREADS"]))
    model = network(torch.nn).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def channels_first(x):
        return torch.from_numpy(x).permute(0, 3, 1, 2)  # channels last in memory

    def step(x, y):
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(channels_first(x)), torch.from_numpy(y)).backward()
        optimizer.step()

    def classify(x):
        model.eval()
        with torch.no_grad():
            out = [model(channels_first(part)).argmax(-1).numpy() for part in np.split(x, 20)]
        model.train()
        return np.concatenate(out)

    return step, classify


def run(program, folder):
    (x, y), (test_x, test_y) = images(folder, "train"), images(folder, "t10k")
    step, classify = {"chainrule": chainrule, "torch": torch}[program]()
    rng, start, k = np.random.default_rng(0), time.perf_counter(), 0
    while k < MOST:
        order = rng.permutation(len(x))
        for first in range(0, len(x) - BATCH + 1, BATCH):
            rows = order[first : first + BATCH]
            step(x[rows], y[rows])
            k += 1
            if k % EVERY == 0:
                accuracy = (classify(test_x) == test_y).mean()
                seconds = time.perf_counter() - start
                print(f"{program}: {k} steps, {seconds:.1f} s, accuracy {accuracy:.4f}", flush=True)
                if accuracy >= GOAL:
                    return


if __name__ == "__main__":
    folder, *more = sys.argv[1:]
    if len(more) == 2:
        run(more[1], folder)
    else:
        threads = more[0] if more else "2"
        for program in ("chainrule", "torch"):
            settings = {**os.environ, "CHAINRULE_THREADS": threads}
            command = [sys.executable, __file__, folder, threads, program]
            subprocess.run(command, env=settings, check=True)
