"""The built-in sets: equal to scikit-learn's, or what their seed and shape promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import datasets, neighbors

from chainrule.data import NAMES, builtin, load


def original(name: str) -> Any:
    return getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_real_sets_are_scikit_learns(name: str) -> None:
    ours, theirs = load(name), original(name)
    np.testing.assert_array_equal(ours.x.reshape(len(ours.x), -1), theirs.data.astype(np.float32))
    np.testing.assert_array_equal(ours.y, theirs.target)
    assert ours.name == name
    assert (ours.x.dtype, ours.y.dtype) == (
        np.float32,
        np.float32 if name == "diabetes" else np.int64,
    )
    if name == "digits":
        assert (ours.kind, ours.x.shape, ours.feature_names) == ("images", (1797, 8, 8, 1), [])
        assert ours.class_names == list("0123456789")
    else:
        assert (ours.kind, ours.feature_names) == ("table", list(theirs.feature_names))
    if name == "diabetes":
        assert (ours.task, ours.class_names) == ("regression", None)
    else:
        assert ours.task == "classification"
        assert ours.class_names == [str(c) for c in theirs.target_names]


@pytest.mark.parametrize("name", ["moons", "spirals", "circles"])
def test_drawn_sets(name: str) -> None:
    a, again, other = load(name, seed=1), load(name, seed=1), load(name, seed=2)
    np.testing.assert_array_equal(a.x, again.x)
    assert (a.x != other.x).any()
    assert (a.x.shape, a.x.dtype, a.y.dtype) == ((1000, 2), np.float32, np.int64)
    assert np.bincount(a.y).tolist() == [500, 500]
    assert (a.task, a.kind, a.feature_names) == ("classification", "table", ["x", "y"])
    assert len(a.class_names or []) == 2
    # the classes are apart, but not by a line
    nearest = neighbors.KNeighborsClassifier(5).fit(a.x, a.y)
    assert nearest.score(other.x, other.y) > 0.97
    line = np.linalg.lstsq(np.c_[a.x, np.ones(1000)], a.y - 0.5)[0]
    assert ((np.c_[a.x, np.ones(1000)] @ line > 0) == a.y).mean() < 0.92


def test_every_set_can_be_loaded() -> None:
    assert all(load(name).name == name for name in NAMES)
    assert builtin._FILE.stat().st_size < 200_000
