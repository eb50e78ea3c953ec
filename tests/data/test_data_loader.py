"""Batches and splits: each row once, in an order that the seed and the epoch alone fix."""

from __future__ import annotations

import math
import sys
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, random, tree
from chainrule.data import DataLoader, read_table, split, train_test_split, windows
from chainrule.errors import ArgumentError, ChainruleError, RangeError, ShapeError

rows = st.integers(1, 60)
seeds = st.integers(0, 2**64 - 1)


def joined(batches: Any) -> np.ndarray[Any, Any]:
    return np.concatenate([b.numpy() for b in batches])


# ── batches ──────────────────────────────────────────────────────────────────────────────────────


@given(rows, st.integers(1, 20), st.booleans(), st.booleans(), seeds, st.integers(0, 2**40))
def test_an_epoch_is_a_permutation(
    n: int, size: int, shuffle: bool, drop: bool, seed: int, epoch: int
) -> None:
    drop = drop and n >= size
    loader = DataLoader(np.arange(n), size, shuffle, drop_last=drop, seed=seed)
    order = loader.order(epoch)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(n))
    batches = list(loader.batches(epoch))
    assert len(batches) == len(loader) == (n // size if drop else math.ceil(n / size))
    assert all(b.shape[0] == size for b in batches[:-1])
    seen = joined(batches)
    np.testing.assert_array_equal(seen, order[: len(seen)])
    assert len(seen) == (n // size * size if drop else n)
    assert shuffle or list(order) == list(range(n))


@given(rows, st.integers(1, 20), st.integers(0, 70), seeds)
def test_batches_from_the_middle_are_the_tail(n: int, size: int, start: int, seed: int) -> None:
    loader = DataLoader(np.arange(n), size, shuffle=True, seed=seed)
    whole, tail = list(loader.batches(3)), list(loader.batches(3, start))
    assert len(tail) == max(0, len(whole) - start)
    for a, b in zip(whole[start:], tail, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    a, b = (DataLoader(np.arange(100), shuffle=True, seed=7) for _ in range(2))
    list(a)
    before = random.default.state.numpy()
    np.testing.assert_array_equal(a.order(5), b.order(5))
    np.testing.assert_array_equal(random.default.state.numpy(), before)
    assert (a.order(0) != a.order(1)).any()
    assert (a.order(0) != DataLoader(np.arange(100), shuffle=True, seed=8).order(0)).any()
    # and it is not what a generator of the same seed draws for something else
    assert (a.order(0) != random.Generator(7).permutation(100).numpy()).any()


def test_an_iteration_takes_an_epoch_and_moves_on() -> None:
    loader = DataLoader(np.arange(10), 3, shuffle=True, seed=1)
    assert loader.epoch == 0
    first = iter(loader)
    assert loader.epoch == 1  # even if it is not finished
    np.testing.assert_array_equal(joined(first), loader.order(0))
    np.testing.assert_array_equal(joined(loader), loader.order(1))
    loader.epoch = 9
    np.testing.assert_array_equal(joined(loader), loader.order(9))


def test_every_place_comes_first_equally_often() -> None:
    loader = DataLoader(np.arange(4), shuffle=True)
    first = np.bincount([loader.order(e)[0] for e in range(2000)], minlength=4)
    assert (abs(first - 500) < 100).all()  # five standard deviations


def test_structures_and_dtypes() -> None:
    pair = namedtuple("pair", "x y")
    n = 6
    data = {
        "numbers": (np.ones((n, 2)), np.arange(n, dtype=np.int8)),
        "more": [cr.ones((n, 3)), pair(np.zeros(n, bool), np.zeros(n, np.float16))],
        "nothing": None,
    }
    (batch,) = DataLoader(data, 10)
    assert tree.flatten(batch)[1] == tree.flatten(data)[1]
    leaves = tree.flatten(batch)[0]
    assert all(isinstance(t, cr.Tensor) and t.shape[0] == n for t in leaves)
    assert [str(t.dtype) for t in leaves] == ["float32", "int8", "float32", "bool", "float16"]


def test_no_copy_and_no_way_to_write_into_the_data() -> None:
    x = np.zeros((8, 2), np.float32)
    batch = next(iter(DataLoader(x, 4)))
    assert np.shares_memory(batch.numpy(), x)
    batch += 1
    assert not x.any()


def test_a_frame_is_an_array() -> None:
    class Frame:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.arange(6.0).reshape(3, 2)

    (batch,) = DataLoader(Frame())
    assert (batch.shape, str(batch.dtype)) == ((3, 2), "float32")


# ── splits ───────────────────────────────────────────────────────────────────────────────────────

shares = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(
    lambda parts: [p / sum(parts) for p in parts]
)


def is_partition(parts: list[Any], n: int) -> bool:
    ordered = all((np.diff(p) > 0).all() and p.dtype == np.int64 for p in parts)
    return ordered and sorted(np.concatenate(parts)) == list(range(n))


@given(st.integers(40, 200), shares, seeds)
def test_splits_are_disjoint_complete_and_in_proportion(n: int, s: list[float], seed: int) -> None:
    parts = split(n, s, seed)
    assert is_partition(parts, n)
    assert all(abs(len(p) - n * f) < 1 for p, f in zip(parts, s, strict=True))


@given(st.lists(st.integers(2, 30), min_size=2, max_size=12), st.integers(1, 9), seeds)
def test_each_class_is_in_proportion(counts: list[int], tenths: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    n, f = len(labels), tenths / 10
    if min(f, 1 - f) * n < 1:
        return
    parts = split(labels, (f, 1 - f), seed)
    assert is_partition(parts, n)
    assert abs(len(parts[0]) - n * f) <= 0.5 + 1e-9
    for k, count in enumerate(counts):
        assert abs((labels[parts[0]] == k).sum() - count * f) < 1


@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), seeds)
def test_three_parts_with_single_rows(counts: list[int], seed: int) -> None:
    labels = np.repeat([f"class {k}" for k in range(len(counts))], counts)
    n = len(labels)
    if n < 30 + 3 * len(counts):
        return
    parts = split(n, (0.6, 0.2, 0.2), seed, stratify=labels)
    assert is_partition(parts, n)
    for k, count in enumerate(counts):
        found = [int((labels[p] == f"class {k}").sum()) for p in parts]
        expected = [count] if count == 1 else [count * f for f in (0.6, 0.2, 0.2)]
        assert all(abs(a - b) < 1 + (count > 1) for a, b in zip(found, expected, strict=False))
        assert sum(found) == count
        assert count > 1 or found[0] == 1


def test_rounding_by_hand() -> None:
    assert [len(p) for p in split(10, (0.65, 0.25, 0.1))] == [
        7,
        2,
        1,
    ]  # 6.5, 2.5: the first gets it
    assert [len(p) for p in split(7, (0.5, 0.3, 0.2))] == [4, 2, 1]  # 3.5, 2.1, 1.4
    # 20 classes of 5 rows: half a row of each is owed to the second part, which gets it from each
    # other class
    parts = split(np.repeat(np.arange(20), 5), (0.9, 0.1))
    assert [len(p) for p in parts] == [90, 10]


def test_train_test_split_keeps_rows_together() -> None:
    n = 50
    x, names = np.arange(n)[:, None], [f"row {k}" for k in range(n)]
    table = read_table({"a": np.arange(n)})
    parts = train_test_split(x, cr.asarray(x), names, tuple(names), table, test_size=10, seed=3)
    assert [len(p) for p in parts] == [40, 10] * 5
    for part in range(2):
        array, tensor, as_list, as_tuple, rows = parts[part::2]
        assert isinstance(tensor, cr.Tensor)
        assert (type(as_list), type(as_tuple)) == (list, tuple)
        np.testing.assert_array_equal(tensor.numpy(), array)
        np.testing.assert_array_equal(rows.columns["a"].values, array[:, 0])
        assert list(as_tuple) == as_list == [f"row {k}" for k in array[:, 0]]
    again = train_test_split(x, test_size=0.2, seed=3)
    np.testing.assert_array_equal(again[1], parts[1])
    labels = np.arange(n) % 2
    train, test = train_test_split(labels, stratify=labels)
    assert (train.sum(), test.sum()) == (20, 5)


def test_a_bad_seed_is_refused_before_the_first_batch() -> None:
    with pytest.raises(ArgumentError, match="seed"):
        DataLoader(np.arange(3), seed=-1)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8"])
def test_arrays_of_the_other_byte_order(kind: str) -> None:
    """FITS, TIFF, IDX and NetCDF files give such arrays; cr.Tensor takes them too."""
    x = np.arange(12).reshape(6, 2)
    other = x.astype(np.dtype(kind).newbyteorder(">" if sys.byteorder == "little" else "<"))
    batch, _ = next(iter(DataLoader((other, np.arange(6)), 4)))
    assert batch.dtype == cr.asarray(x.astype("f4" if kind == "f8" else kind)).dtype
    assert batch.dtype.isnative
    np.testing.assert_array_equal(batch.numpy(), x[:4])


def test_the_other_byte_order_everywhere_that_arrays_go() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    other = x.astype(">f8"), y.astype(">i8")
    found = []
    for data in ((x, y), other):
        cr.random.seed(0)
        net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3))
        history = cr.fit(net, data, valid=data, loss="cross_entropy", epochs=3, progress=False)
        judged = cr.train.evaluate(net, data, "cross_entropy", ["accuracy", "f1"])
        parts = split(data[1], (0.5, 0.5)) + split(40, (0.5, 0.5), stratify=data[1])
        parts += train_test_split(*data, stratify=data[1])
        hot = cr.one_hot(data[1], 3)
        windowed = cr.data.windows(data[1], 5)
        arrays = [cr.train.predict(net, data[0]), *parts, hot.numpy(), *windowed]
        found.append((history["loss"], judged, [np.asarray(a).tolist() for a in arrays]))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1.0, np.nan, 1.0, 2.0], "missing label"),
        (np.array(["a", np.nan, "a", "b"], object), "missing label"),
        (["a", None, "a", "b"], "missing label"),
        ([[1], [1, 2], [1], [2]], "got labels"),
    ],
)
def test_labels_that_name_no_class(labels: Any, words: str) -> None:
    with pytest.raises((ArgumentError, ShapeError), match=words):
        split(labels, (0.5, 0.5))


def test_windows_are_of_one_axis() -> None:
    for wrong, words in (
        (np.zeros((6, 2)), "got a series of shape"),
        (np.ma.masked_array([1, 2, 3], [0, 1, 0]), "masked"),
    ):
        with pytest.raises(ChainruleError, match=words):
            windows(wrong, 2)


@pytest.mark.parametrize("value", [1e300, -3.5e38])
def test_numbers_beyond_float32_are_refused_by_name(value: float) -> None:
    x = np.ones((4, 2))
    x[2, 1] = value
    with pytest.raises(RangeError, match=r"got .*e.* in row 2, float64"):
        DataLoader((x, np.ones(4)))
    x[2, 1] = np.inf  # which fit names itself
    x[0, 0] = 3.4e38
    assert np.isinf(DataLoader(x).data[2, 1])


def test_a_masked_array_is_not_split() -> None:
    with pytest.raises(ArgumentError, match=r"\[train_test_split\] got a MaskedArray with 1 of 10"):
        train_test_split(np.arange(10), np.ma.masked_equal(np.arange(10), 3))


def test_sequences_of_many_lengths_are_referred_to_padding():
    sequences = [np.zeros((k, 2)) for k in range(1, 20)]
    with pytest.raises(ShapeError, match=r"got 20 arrays of 1 to 19 rows.*BucketLoader"):
        DataLoader((sequences, np.zeros(19)))
