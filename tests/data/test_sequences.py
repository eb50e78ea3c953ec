"""Sequences as arrays: padded, cut into windows, as parallel streams, in buckets of lengths."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import BucketLoader, pad, streams, windows
from chainrule.errors import ArgumentError, ChainruleError, DtypeError, ShapeError

RNG = np.random.default_rng(0)


# ── pad ──────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(0, 6), min_size=1), st.sampled_from([(), (2,)]), st.integers(0, 3))
def test_padding_keeps_each_sequence(sizes, channels, more):
    sequences = [RNG.normal(size=(n, *channels)) for n in sizes]
    padded, lengths = pad(sequences, max(sizes) + more, value=-1)
    assert padded.shape == (len(sizes), max(sizes) + more, *channels)
    assert lengths.tolist() == sizes
    for row, sequence in zip(padded, sequences, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence)
        assert (row[len(sequence) :] == -1).all()


@pytest.mark.parametrize(
    ("sequences", "length", "kind", "words"),
    [
        ([], None, ArgumentError, "no sequences"),
        ([[1, 2], [1, 2, 3]], 2, ArgumentError, "sequence 1 of 3 steps for length 2"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], None, ShapeError, r"sequence 1 of shape \(2, 4\)"),
        ([1, 2], None, ShapeError, r"sequence 0 of shape \(\)"),
        ([["a"]], None, DtypeError, "cr.data.Characters"),
    ],
    ids=["none", "too long", "other channels", "numbers", "text"],
)
def test_what_cannot_be_padded(sequences, length, kind, words):
    with pytest.raises(kind, match=words):
        pad(sequences, length)


# ── windows and streams ──────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(1, 7))
def test_a_window_is_followed_by_its_horizon(steps, length, horizon, stride):
    series = np.stack([np.arange(steps), -np.arange(steps)], axis=1)
    if steps < length + horizon:
        with pytest.raises(ArgumentError, match=f"{length + horizon} steps or more"):
            windows(series, length, horizon=horizon, stride=stride)
        return
    x, y = windows(series, length, horizon=horizon, stride=stride)
    starts = range(0, steps - length - horizon + 1, stride)
    assert x.shape == (len(starts), length, 2)
    assert y.shape == (len(starts), horizon, 2)
    for k, start in enumerate(starts):
        np.testing.assert_array_equal(x[k], series[start : start + length])
        np.testing.assert_array_equal(y[k], series[start + length :][:horizon])
    one, ahead = windows(series[:, 0], length, horizon=horizon, stride=stride)
    np.testing.assert_array_equal(one, x[..., 0])
    np.testing.assert_array_equal(ahead, y[..., 0])


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 25))
def test_windows_of_a_text_are_one_step_apart(n, length, stride):
    if n <= length:
        return
    x, y = windows(np.arange(n), length, stride=stride)
    assert x.shape == y.shape == (1 + (n - 1 - length) // stride, length)
    np.testing.assert_array_equal(x[:, 0], np.arange(len(x)) * stride)
    np.testing.assert_array_equal(y, x + 1)


@given(st.integers(2, 80), st.integers(1, 9))
def test_each_stream_goes_on_where_the_one_above_ends(n, count):
    if (n - 1) // count < 1:
        with pytest.raises(ArgumentError, match=f"{count} streams of a series of {n}"):
            streams(np.arange(n), count)
        return
    x, y = streams(np.arange(n), count)
    assert x.shape == y.shape == (count, (n - 1) // count)
    np.testing.assert_array_equal(x.ravel(), np.arange(x.size))
    np.testing.assert_array_equal(y, x + 1)


def test_windows_can_be_trained_on():
    series = np.sin(np.arange(200) / 5).astype(np.float32)
    x, y = windows(series, 10, horizon=1)
    model = nn.Linear(10, 1)
    adam = optim.Adam(model.parameters(), lr=0.1)
    history = cr.fit(model, (x, y), loss="mse", optimizer=adam, epochs=8, progress=False)
    assert history["loss"][-1] < 0.05


def test_the_place_of_a_gap_is_named():
    series = np.ones((9, 2))
    series[4, 1] = np.nan
    with pytest.raises(ArgumentError, match="nan at step 4, column 1"):
        windows(series, 3, horizon=1)
    with pytest.raises(ArgumentError, match="inf at step 2"):
        windows([1.0, 2.0, np.inf, 1.0], 2)


@pytest.mark.parametrize("wrong", [0, 1.5, True, "2"])
@pytest.mark.parametrize("name", ["length", "horizon", "stride"])
def test_windows_have_at_least_one_step(name, wrong):
    settings = {"length": 2, "horizon": 1, "stride": 1, name: wrong}
    with pytest.raises(ArgumentError, match=re.escape(f"got {name}={wrong!r}")):
        windows(np.arange(9), **settings)


@pytest.mark.parametrize("make", [lambda s: windows(s, 2), lambda s: streams(s, 2)])
def test_a_text_is_not_a_series(make):
    with pytest.raises(DtypeError, match=r"cr\.data\.Characters"):
        make("a text")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int64", 0.5), ("int64", np.nan), ("uint8", -1), ("bool", 2), ("float16", 1e6), ("f4", "0")],
)
def test_a_filling_that_the_dtype_does_not_have(dtype, value):
    with pytest.raises(ArgumentError, match="the filling"):
        pad([np.zeros(3, dtype), np.zeros(2, dtype)], value=value)
    padded, _ = pad([np.zeros(3, "f4"), np.zeros(2, "f4")], value=np.nan)
    assert np.isnan(padded[1, 2])


def test_masked_sequences_are_refused():
    with pytest.raises(ChainruleError, match="mask"):
        pad([np.ma.masked_array([1.0, 2.0], [False, True])])


# ── buckets ──────────────────────────────────────────────────────────────────────────────────────


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 3),
)
def test_an_epoch_of_buckets_has_each_sequence_once(sizes, batch_size, buckets, shuffle, epoch):
    sequences = [np.full(n, k + 1) for k, n in enumerate(sizes)]
    loader = BucketLoader(
        sequences, np.arange(len(sizes)), batch_size, buckets=buckets, shuffle=shuffle
    )
    seen, shapes = [], set()
    batches = list(loader.batches(epoch))
    assert len(batches) == len(loader)
    for (x, lengths), y in batches:
        for row, length, k in zip(x.numpy(), lengths.tolist(), y.tolist(), strict=True):
            assert length == sizes[k]
            np.testing.assert_array_equal(row[:length], k + 1)
            assert not row[length:].any()
        seen += y.tolist()
        shapes.add(x.shape)
    assert sorted(seen) == list(range(len(sizes)))
    assert len(shapes) <= buckets + 1, "the last batch may have fewer rows"
    assert {t for _, t in shapes} <= set(loader.bounds.tolist())


def test_batches_that_are_alike_have_one_shape():
    loader = BucketLoader([np.zeros(n) for n in RNG.integers(1, 40, 83)], np.zeros(83), 5)
    order, first = loader.order(3), 0
    sizes = [x.shape for (x, _), _ in loader.batches(3)]
    while first < len(loader):
        count = max(1, loader.alike(order, first))
        assert len(set(sizes[first : first + count])) == 1
        x, lengths, _ = loader.rows(order, first, count)
        assert x.shape == (sum(s[0] for s in sizes[first : first + count]), sizes[first][1])
        assert lengths.max() <= x.shape[1]
        first += count


def test_fit_trains_on_buckets_and_compiles_for_each_length_once(monkeypatch):
    """Which of two halves of a sequence is larger; batches of two lengths and one smaller batch."""
    compiled = sys.modules["chainrule.compile"]  # cr.compile is the function
    recorded = []
    original = compiled.compile_step
    monkeypatch.setattr(
        compiled, "compile_step", lambda f, *more: recorded.append(f) or original(f, *more)
    )
    sizes = RNG.integers(1, 9, 101)
    sequences = [RNG.normal(size=(n, 2)) + np.array([k % 2, 0]) for k, n in enumerate(sizes)]

    class Classifier(nn.Module):
        def __init__(self):
            self.recurrent, self.head = nn.GRU(2, 12), nn.Linear(12, 2)

        def forward(self, inputs):
            x, lengths = inputs
            return self.head(self.recurrent(x, lengths=lengths)[1][0])

    loader = BucketLoader(sequences, np.arange(101) % 2, 10, buckets=2)
    settings = {"loss": "cross_entropy", "epochs": 8, "progress": False}
    model = Classifier()
    adam = optim.Adam(model.parameters(), lr=0.02)
    history = cr.fit(model, loader, optimizer=adam, **settings)
    assert history["loss"][-1] < 0.6
    assert [f.__name__ for f in recorded].count("training_step") == 3
    assert repr(loader) == "BucketLoader(101 sequences, padded to 4, 8 steps)"


def test_buckets_are_counted_from_one():
    with pytest.raises(ChainruleError, match="0 buckets"):
        BucketLoader([[1]], [0], buckets=0)
