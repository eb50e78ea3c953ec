"""Generated data for small trainings: (inputs, targets) to train on, and held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule.data import load
from chainrule.graph import Array

Sets = tuple[tuple[Array, Array], tuple[Array, Array]]
HELD_OUT = 300


def _blobs(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Six classes of two clusters each, in ten columns."""
    centres = rng.normal(size=(12, 10)) * 1.2
    cluster = rng.integers(0, 12, rows)
    x = centres[cluster] + 0.6 * rng.normal(size=(rows, 10))
    return x / 1.35, cluster % 6


def _mixed(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """As blobs, with a quarter of the labels drawn again: nothing gets far above 0.8."""
    x, y = _blobs(rng, rows)
    return x, np.where(rng.random(rows) < 0.25, rng.integers(0, 6, rows), y)


def _rings(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Two classes in the plane, one around the other; targets (rows, 1)."""
    y = rng.integers(0, 2, rows)
    angle, radius = rng.uniform(0, 2 * np.pi, rows), 0.6 + 1.1 * y + 0.12 * rng.normal(size=rows)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return x, y[:, None].astype(np.float32)


def _numbers(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """A smooth function of five columns, of mean 0 and deviation 1."""
    x = rng.normal(size=(rows, 5))
    y = np.sin(2 * x[:, 0]) + 0.7 * x[:, 1] * x[:, 2] + 0.5 * x[:, 3] + 0.05 * rng.normal(size=rows)
    return x, (y[:, None] - y.mean()) / y.std()


def _few(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Twenty columns, of which one tells the target, and noise: few rows are learned by heart."""
    x = rng.normal(size=(rows, 20))
    return x, (x[:, :1] + 0.8 * rng.normal(size=(rows, 1))) / 1.28


def _digits(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    found = load("digits")
    some = rng.permutation(len(found.x))[:rows]
    return found.x[some] / 16, found.y[some]


def _flat_digits(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    x, y = _digits(rng, rows)
    return x.reshape(len(x), -1), y


def _stripes(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Images of 10 × 10 with stripes in one of four directions, at any place."""
    y = rng.integers(0, 4, rows)
    angle = np.pi * y / 4
    row, column = np.mgrid[:10, :10]
    along = np.cos(angle)[:, None, None] * row + np.sin(angle)[:, None, None] * column
    x = np.sin(1.6 * along + rng.uniform(0, 2 * np.pi, rows)[:, None, None])
    return (x + 0.5 * rng.normal(size=x.shape))[..., None], y


def _waves(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Sequences (24, 1) of one of three frequencies."""
    y = rng.integers(0, 3, rows)
    speed, start = 0.5 + 0.5 * y, rng.uniform(0, 2 * np.pi, rows)
    x = np.sin(speed[:, None] * np.arange(24) + start[:, None])
    return (x + 0.2 * rng.normal(size=x.shape))[..., None], y


def _recall(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Sequences (10, 4) whose first step shows the class; the others are noise."""
    y = rng.integers(0, 4, rows)
    x = 0.3 * rng.normal(size=(rows, 10, 4))
    x[:, 0] += 2 * np.eye(4)[y]
    return x, y


def _next_values(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Sequences (16, 1) of a wave; the target of each step is the next value."""
    speed, start = rng.uniform(0.3, 1.0, (rows, 1)), rng.uniform(0, 2 * np.pi, (rows, 1))
    x = 1.4 * np.sin(speed * np.arange(17) + start) + 0.05 * rng.normal(size=(rows, 17))
    return x[:, :-1, None], x[:, 1:, None]


def _words(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Ten of twenty tokens; one of the first four stands somewhere and is the class."""
    y = rng.integers(0, 4, rows)
    x = rng.integers(4, 20, (rows, 10))
    x[np.arange(rows), rng.integers(0, 10, rows)] = y
    return x, y


def _tags(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Ten of twelve tokens; the class of each step is the group of the token before."""
    x = rng.integers(0, 12, (rows, 10))
    before = np.concatenate([np.zeros((rows, 1), int), x[:, :-1]], 1)
    return x, before % 4


def _spots(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Images of 10 × 10 with a bright spot; the target is how far from the middle it is."""
    place = rng.uniform(1, 8, (rows, 2))
    row, column = np.mgrid[:10, :10]
    apart = (row - place[:, 0, None, None]) ** 2 + (column - place[:, 1, None, None]) ** 2
    x = 4 * np.exp(-apart / 3) - 0.5 + 0.1 * rng.normal(size=apart.shape)
    y = np.sqrt(((place - 4.5) ** 2).sum(1, keepdims=True))
    return x[..., None], (y - y.mean()) / y.std()


def _sums(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Sequences (12, 2); the target is the sum of the one column where the other is positive."""
    x = rng.normal(size=(rows, 12, 2))
    y = (x[..., 0] * (x[..., 1] > 0)).sum(1, keepdims=True)
    return x, (y - y.mean()) / y.std()


def _counts(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Ten of twenty tokens; the target is how many of them are among the first eight."""
    x = rng.integers(0, 20, (rows, 10))
    y = (x < 8).sum(1, keepdims=True).astype(float)
    return x, (y - y.mean()) / y.std()


def _noisy(made: Callable[[np.random.Generator, int], tuple[Array, Array]], share: float) -> Any:
    """The same with this share of noise in the targets: few rows of it are learned by heart."""

    def noisy(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
        x, y = made(rng, rows)
        y = math.sqrt(1 - share) * y + math.sqrt(share) * rng.normal(size=y.shape)
        return x, y

    return noisy


DATA: Mapping[str, tuple[Callable[[np.random.Generator, int], tuple[Array, Array]], int]] = {
    "blobs": (_blobs, 600),  # and the rows that are trained on
    "mixed": (_mixed, 600),
    "rings": (_rings, 400),
    "numbers": (_numbers, 800),
    "few": (_few, 200),
    "digits": (_digits, 800),
    "flat_digits": (_flat_digits, 800),
    "stripes": (_stripes, 500),
    "waves": (_waves, 400),
    "recall": (_recall, 500),
    "next_values": (_next_values, 300),
    "words": (_words, 800),
    "tags": (_tags, 400),
    "spots": (_spots, 600),
    "sums": (_sums, 600),
    "counts": (_counts, 600),
    "few_spots": (_noisy(_spots, 0.4), 150),
    "few_sums": (_noisy(_sums, 0.4), 150),
    "few_counts": (_noisy(_counts, 0.4), 150),
}


def sets(name: str, seed: int) -> Sets:
    """Rows to train on and held-out rows of the same kind."""
    made, rows = DATA[name]
    x, y = made(np.random.default_rng(seed), rows + HELD_OUT)
    x = x.astype(np.int64 if x.dtype.kind == "i" else np.float32)
    y = y.astype(np.int64 if y.dtype.kind == "i" else np.float32)
    return (x[:rows], y[:rows]), (x[rows:], y[rows:])
