"""Writes the built-in data sets into the package when it is built.

They come from scikit-learn, which the build alone needs: see `src/chainrule/data/builtin.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = Path("src/chainrule/data/builtin.npz")


class Hook(BuildHookInterface[Any]):
    """Writes the file unless it is there, as it is when building from an sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        target = Path(self.root) / FILE
        if not target.exists():
            partial = target.with_suffix(".part.npz")
            np.savez_compressed(partial, **arrays())
            partial.replace(target)


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """`name/x`, `name/y`, `name/features`, `name/classes` of each set, in the smallest dtypes."""
    from sklearn import datasets

    found: dict[str, np.ndarray[Any, Any]] = {}
    for name in ("digits", "iris", "wine", "breast_cancer", "diabetes"):
        options = {"scaled": False} if name == "diabetes" else {}
        data = getattr(datasets, f"load_{name}")(**options)
        digits = name == "digits"
        x = data.images[..., None].astype(np.uint8) if digits else data.data.astype(np.float32)
        y = data.target.astype(np.float32 if name == "diabetes" else np.uint8)
        features = [] if digits else data.feature_names
        classes = [] if name == "diabetes" else data.target_names
        found[f"{name}/x"], found[f"{name}/y"] = x, y
        found[f"{name}/features"] = np.array(list(features), str)
        found[f"{name}/classes"] = np.array([str(c) for c in classes], str)
    return found
