"""Data and a network for the tests of mistakes in fit, and putting a wrong value in."""

import numpy as np

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 60)
Z = RNG.normal(size=60).astype(np.float32)


def network(*last, outputs=3):
    cr.random.seed(1)
    return nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, outputs), *last
    )


def with_value(array, place, value):
    out = np.array(array, np.float32 if isinstance(value, float) else None)
    out[place] = value
    return out


def batches(x=X, y=Y):
    return [(x[k : k + 20], y[k : k + 20]) for k in range(0, 60, 20)]
