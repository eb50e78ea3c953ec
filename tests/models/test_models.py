"""Whole models: shapes, states, padding, and that they learn."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ShapeError
from chainrule.models import Forecaster, LanguageModel, SequenceClassifier

RNG = np.random.default_rng(0)


def trained(model, data, lr=0.02, **settings):
    adam = optim.Adam(model.parameters(), lr=lr)
    return cr.fit(model, data, optimizer=adam, progress=False, **settings)


# ── language ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["lstm", "gru", "transformer"])
def test_a_text_in_parts_has_the_scores_of_the_whole(kind):
    model = LanguageModel(9, kind, embedding=4, hidden=8, layers=2, heads=2).eval()
    tokens = RNG.integers(0, 9, (3, 10))
    whole = model(tokens)
    assert whole.shape == (3, 10, 9)
    state, parts = None, []
    for k in (0, 4, 5):
        scores, state = model(tokens[:, k : {0: 4, 4: 5, 5: 10}[k]], state)
        parts.append(scores)
    np.testing.assert_allclose(cr.concat(parts, axis=1).numpy(), whole.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "tbptt"), [("lstm", None), ("lstm", 5), ("gru", 5), ("transformer", None)]
)
def test_a_language_model_learns_a_cycle(kind, tbptt):
    cr.random.seed(0)
    x, y = cr.data.streams(np.arange(401) % 5, 4)
    data = (x, y) if tbptt else (x.reshape(-1, 10), y.reshape(-1, 10))
    model = LanguageModel(5, kind, embedding=4, hidden=8)
    history = trained(
        model, data, loss="cross_entropy", batch_size=4, epochs=20, tbptt=tbptt, lr=0.05
    )
    assert history["loss"][-1] < 0.1
    written = nn.decoding.generate(model, [0, 1, 2], 12, temperature=0)
    assert written.tolist() == [k % 5 for k in range(15)]


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (lambda **s: LanguageModel(9, "gru", hidden=8, **s), RNG.integers(0, 9, (3, 10))),
        (lambda **s: SequenceClassifier(3, channels=2, hidden=8, **s), np.ones((3, 10, 2))),
        (lambda **s: Forecaster(2, hidden=8, **s), RNG.normal(size=(3, 10))),
    ],
)
def test_dropout_changes_scores_of_one_layer_in_training_alone(model, x):
    for share, same in ((0.0, True), (0.5, False)):
        network = model(dropout=share)
        first, second = network(x), network(x)
        assert np.array_equal(first.numpy(), second.numpy()) is same
        network.eval()
        np.testing.assert_array_equal(network(x).numpy(), network(x).numpy())


# ── sequences ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("inputs", [{"channels": 2}, {"vocabulary": 7}])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_padding_has_no_influence(inputs, kind):
    model = SequenceClassifier(3, **inputs, kind=kind, hidden=5, layers=2)
    real = "channels" in inputs
    sequences = [
        RNG.normal(size=(n, 2)).astype(np.float32) if real else RNG.integers(0, 7, n)
        for n in (4, 1, 6)
    ]
    padded, lengths = cr.data.pad(sequences, 9, value=3)
    together = model((padded, lengths))
    assert together.shape == (3, 3)
    for row, sequence in zip(together.numpy(), sequences, strict=True):
        np.testing.assert_allclose(model(sequence[None]).numpy()[0], row, atol=1e-6)


def test_a_classifier_learns_sequences_of_many_lengths():
    """Whether the first step is larger than the last one: both ends count."""
    cr.random.seed(0)
    sequences = [RNG.normal(size=(n, 1)).astype(np.float32) for n in RNG.integers(2, 12, 300)]
    y = np.array([int(s[0, 0] > s[-1, 0]) for s in sequences])
    loader = cr.data.BucketLoader(sequences, y, 20)
    model = SequenceClassifier(2, channels=1, hidden=16)
    history = trained(model, loader, loss="cross_entropy", metrics="accuracy", epochs=15)
    assert history["accuracy"][-1] > 0.95


def without_change(model):
    """The model with a network that says 0."""
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    return model


def test_a_forecast_starts_from_the_season_before():
    x = RNG.normal(size=(2, 10, 3)).astype(np.float32)
    found = without_change(Forecaster(7, channels=3, season=4))(x).numpy()
    np.testing.assert_allclose(
        found, np.concatenate([x[:, -4:], x[:, -4:-1]], axis=1), rtol=1e-4, atol=1e-5
    )
    found = without_change(Forecaster(3))(x[..., 0]).numpy()
    np.testing.assert_allclose(found, np.tile(x[:, -1:, 0], (1, 3)), rtol=1e-4, atol=1e-5)


def test_a_forecast_follows_the_level_and_the_unit():
    cr.random.seed(0)
    hours = np.arange(400)
    series = (np.sin(hours / 4) + 0.1 * np.sin(hours / 1.7)).astype(np.float32)
    x, y = cr.data.windows(series, 24, horizon=6)
    model = Forecaster(6, hidden=16)
    history = trained(model, (x, y), loss="mae", epochs=12)
    assert history["loss"][-1] < 0.2 * np.abs(y - x[:, -1:]).mean()
    first = model(x[:5])
    np.testing.assert_allclose(model(x[:5] * 30 + 200).numpy(), first.numpy() * 30 + 200, rtol=1e-3)


@pytest.mark.parametrize(
    ("build", "kind", "words"),
    [
        (lambda: LanguageModel(5, "rnn"), ArgumentError, "LanguageModel.*kind 'rnn'"),
        (
            lambda: LanguageModel(5, "transformer", hidden=8)([[1]], None),
            ArgumentError,
            "leave out tbptt",
        ),
        (lambda: SequenceClassifier(2), ArgumentError, "one of them"),
        (lambda: SequenceClassifier(2, channels=1, vocabulary=3), ArgumentError, "one of them"),
        (lambda: Forecaster(2, season=8)(np.ones((1, 5))), ShapeError, "8 steps or more"),
        (lambda: Forecaster(2, channels=2)(np.ones((1, 5))), ShapeError, r"\(N, T, 2\)"),
        (lambda: Forecaster(2)(np.ones((1, 5), int)), ShapeError, "real numbers"),
    ],
    ids=["kind", "a state in training", "nothing", "both", "short", "channels", "whole numbers"],
)
def test_what_models_refuse(build, kind, words):
    with pytest.raises(kind, match=words):
        build()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LanguageModel(10, num_layers=2), "the argument num_layers.*did you mean layers"),
        (lambda: SequenceClassifier(num_classes=2, channels=1), "did you mean classes"),
        (lambda: Forecaster(2, layers="two"), "layers='two'"),
        (lambda: LanguageModel(10, "rnn"), "expected one of lstm, gru, transformer"),
        (lambda: LanguageModel(10, "transformer", hidden=30), "heads=2"),
        (lambda: LanguageModel(10, "transformer", layers=0), "layers=0"),
        (lambda: Forecaster(0), "horizon=0"),
        (lambda: Forecaster(2, season=0), "season=0"),
        (lambda: Forecaster(2)(np.zeros((3, 9, 2))), "channels=2 for 2 values per step"),
        (lambda: cr.data.windows([1, 2, 3], 1, step=2), "the argument step.*did you mean stride"),
        (
            lambda: cr.scan(lambda c, x: (c, x), 0.0, unroll=2),
            "the argument unroll.*one of f, init",
        ),
        (lambda: nn.decoding.generate(None, [1], 2, topk=3), "did you mean top_k"),
    ],
)
def test_what_models_of_sequences_refuse(call, words):
    with pytest.raises((ArgumentError, ShapeError), match=words):
        call()
