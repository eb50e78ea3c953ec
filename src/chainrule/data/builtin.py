"""Data sets that come with chainrule: five real ones, and three that are drawn from a seed.

The real ones are taken from scikit-learn when the package is built (`hatch_build.py`):

digits          1797 handwritten digits of 8 × 8 pixels, from 0 to 16: the test part of "Optical
                Recognition of Handwritten Digits" (Alpaydin, Kaynak, 1998), UCI, CC BY 4.0,
                doi.org/10.24432/C50P49
iris            150 flowers of 3 species (Fisher, 1936), UCI, CC BY 4.0, doi.org/10.24432/C56C76
wine            178 wines of 3 growers (Aeberhard, Forina, 1992), UCI, CC BY 4.0,
                doi.org/10.24432/C5PC7J
breast_cancer   569 tumours: "Breast Cancer Wisconsin (Diagnostic)" (Wolberg, Mangasarian, Street,
                Street, 1993), UCI, CC BY 4.0, doi.org/10.24432/C5DW2B
diabetes        442 patients, in the units of measurement, and how the disease went on a year later
                (Efron, Hastie, Johnstone, Tibshirani, "Least Angle Regression", 2004); published
                by the authors without a licence, distributed with scikit-learn (BSD)

moons, spirals and circles are 1000 points of two classes in the plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ArgumentError
from ..graph import Array
from ..random import Generator
from .tables.names import nearest

_REAL = ("digits", "iris", "wine", "breast_cancer", "diabetes")
NAMES = (*_REAL, "moons", "spirals", "circles")
_FILE = Path(__file__).with_name("builtin.npz")
_POINTS = 1000


@dataclass(frozen=True)
class Builtin:
    """A data set.

    x               float32: (N, H, W, 1) for images, (N, F) for tables
    y               int64 (N,) classes, or float32 (N,) values
    feature_names   names of the F columns; none for images
    class_names     names of the classes; None for a regression
    task            "classification" or "regression"
    kind            "images" or "table"
    """

    name: str
    x: Array
    y: Array
    feature_names: list[str]
    class_names: list[str] | None
    task: str
    kind: str


def load(name: str, seed: int = 0) -> Builtin:
    """The data set of that name; moons, spirals and circles are drawn from the seed."""
    if name not in NAMES:
        raise ArgumentError(
            "load",
            f"got {name!r}",
            f"expected one of {', '.join(NAMES)}",
            nearest(str(name), NAMES),
        )
    return _real(name) if name in _REAL else _drawn(name, seed)


def _real(name: str) -> Builtin:
    if not _FILE.exists():
        raise ArgumentError(
            "load",
            f"got {name!r}, but {_FILE.name} is missing from the installation",
            "expected the data file that comes with chainrule",
            "pip install --force-reinstall chainrule",
        )
    with np.load(_FILE) as file:
        x, y = file[f"{name}/x"].astype(np.float32), file[f"{name}/y"]
        features, classes = (file[f"{name}/{k}"].tolist() for k in ("features", "classes"))
    if not classes:
        return Builtin(name, x, y.astype(np.float32), features, None, "regression", "table")
    kind = "images" if x.ndim == 4 else "table"
    return Builtin(name, x, y.astype(np.int64), features, classes, "classification", kind)


def _drawn(name: str, seed: int) -> Builtin:
    """Two classes in turn, in the plane, with normal noise."""
    generator = Generator(seed)
    y = np.arange(_POINTS) % 2
    u = generator.uniform((_POINTS,), dtype="float64").numpy()
    noise = generator.normal((_POINTS, 2), dtype="float64").numpy()
    if name == "moons":  # two half circles, one upside down and moved into the other
        angle = math.pi * u
        first = np.stack([np.cos(angle), np.sin(angle)], 1)
        x = np.where(y[:, None] == 0, first, [1.0, 0.5] - first) + 0.1 * noise
        names = ["upper", "lower"]
    elif name == "circles":
        angle, radius = 2 * math.pi * u, np.where(y == 0, 1.0, 0.5)
        x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.07 * noise
        names = ["outer", "inner"]
    else:  # two arms of one and a half turns, evenly filled along the radius
        angle = 3 * math.pi * u + math.pi * y
        x = u[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.02 * noise
        names = ["first", "second"]
    return Builtin(name, x.astype(np.float32), y, ["x", "y"], names, "classification", "table")
