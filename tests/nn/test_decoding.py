"""Continuing tokens: caches beside the whole forward pass, sampling, greedy, beam search."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, DtypeError, RangeError, ShapeError
from chainrule.nn import decoding

SIZE = 7  # of the vocabulary


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM):
        self.embedding = nn.Embedding(SIZE, 5)
        self.layer = kind(5, 6, 2)
        self.head = nn.Linear(6, SIZE)

    def forward(self, tokens, state=None):
        out, state = self.layer(self.embedding(tokens), state)
        return self.head(out), state


class Causal(nn.Module):
    """A decoder without memory, of rotary, sinusoidal or learned positions."""

    def __init__(self, positions="rotary", size=12, norm_first=True):
        self.size = size
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, 0.1, "gelu", norm_first=norm_first, rotary=positions == "rotary"
        )
        self.embedding = nn.Embedding(SIZE, 8)
        self.positions = {
            "rotary": None,
            "sinusoidal": nn.SinusoidalPositionalEncoding(8),
            "learned": nn.Embedding(40, 8),
        }[positions]
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
        self.head = nn.Linear(8, SIZE)

    def placed(self, tokens, first):
        x = self.embedding(tokens)
        if isinstance(self.positions, nn.Embedding):
            return x + self.positions(first[:, None] + cr.arange(tokens.shape[1]))
        return x if self.positions is None else self.positions(x, first)

    def whole(self, tokens):
        first = cr.zeros(tokens.shape[0], dtype="int64")
        return self.head(self.layers(self.placed(tokens, first), is_causal=True))

    def forward(self, tokens, state=None):
        if state is None:
            state = self.layers.empty_cache(tokens.shape[0], self.size)
        out, state = self.layers(self.placed(tokens, state[0].filled), cache=state)
        return self.head(out), state


def tokens_of(n, steps, seed=0):
    return cr.Tensor(np.random.default_rng(seed).integers(0, SIZE, (n, steps)))


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("positions", ["rotary", "sinusoidal", "learned"])
def test_a_cache_gives_the_scores_of_the_whole(positions, norm_first):
    cr.random.seed(0)
    model = Causal(positions, norm_first=norm_first).eval()
    tokens = tokens_of(3, 12)
    wanted = model.whole(tokens).numpy()
    for pieces in ([12], [5, 7], [1] * 12, [4, 1, 1, 6]):
        state, found = None, []
        for end, n in zip(itertools.accumulate(pieces), pieces, strict=True):
            scores, state = model(tokens[:, end - n : end], state)
            found.append(scores.numpy())
        np.testing.assert_allclose(np.concatenate(found, 1), wanted, atol=1e-6)
        assert (state[0].filled.numpy() == 12).all()


def test_a_cache_forgets_the_oldest():
    """Each position attends to itself and the size - 1 before it, however the steps are cut."""
    cr.random.seed(0)
    model = Causal(size=4).eval()
    tokens = tokens_of(2, 10)
    wanted, _ = model(tokens)
    state, found = None, []
    for t in range(10):
        scores, state = model(tokens[:, t : t + 1], state)
        found.append(scores.numpy())
    np.testing.assert_allclose(np.concatenate(found, 1), wanted.numpy(), atol=1e-6)
    layer = model.layers.layers[0].self_attn
    x = cr.random.normal((1, 10, 8))
    near = np.tri(10, dtype=bool) & ~np.tri(10, k=-4, dtype=bool)
    windowed, _ = layer(x, attn_mask=~near, need_weights=False)
    cached, _ = layer(x, cache=layer.empty_cache(1, 4))
    np.testing.assert_allclose(cached.numpy(), windowed.numpy(), atol=1e-6)


def test_a_decoder_with_memory_and_cache():
    cr.random.seed(0)
    layer = nn.TransformerDecoderLayer(8, 2, 16, 0.0, rotary=True)
    decoder = nn.TransformerDecoder(layer, 2)
    x, memory = cr.random.normal((2, 5, 8)), cr.random.normal((2, 3, 8))
    padding = np.array([[False, False, True], [False] * 3])
    wanted = decoder(x, memory, tgt_is_causal=True, memory_key_padding_mask=padding).numpy()
    cache, found = decoder.empty_cache(2, 5), []
    for t in range(5):
        out, cache = decoder(x[:, t : t + 1], memory, memory_key_padding_mask=padding, cache=cache)
        found.append(out.numpy())
    np.testing.assert_allclose(np.concatenate(found, 1), wanted, atol=1e-6)


def test_one_compilation_for_all_steps():
    cr.random.seed(0)
    model = Causal().eval()
    traced = []
    model.register_forward_hook(lambda module, args, output: traced.append(args[0].shape))
    decoding.generate(model, [1, 2, 3], 6, seed=0)
    assert traced == [(1, 3), (1, 1)]


# ── generate ─────────────────────────────────────────────────────────────────────────────────────


def greedy(model, prompt, steps):
    """By the whole forward pass for each token."""
    out = list(prompt)
    for _ in range(steps):
        scores, _ = model(cr.Tensor([out]))
        out.append(int(scores.numpy()[0, -1].argmax()))
    return out


@pytest.mark.parametrize("make", [Recurrent, lambda: Recurrent(nn.GRU), Causal])
def test_greedy(make):
    cr.random.seed(1)
    model = make()
    found = decoding.generate(model, [1, 2, 3], 8, temperature=0)
    assert model.training
    assert found.tolist() == greedy(model.eval(), [1, 2, 3], 8)
    both = decoding.generate(model, [[1, 2, 3], [4, 4, 0]], 8, temperature=0)
    assert both.shape == (2, 11)
    assert both[0].tolist() == found.tolist()
    assert both[1].tolist() == greedy(model, [4, 4, 0], 8)


def test_a_model_of_the_last_token_alone():
    cr.random.seed(0)
    table = nn.Embedding(SIZE, SIZE)
    found = decoding.generate(nn.Lambda(lambda t, _: (table(t), ())), [1, 3], 5, temperature=0)
    best = table.weight.numpy().argmax(axis=1)
    assert (found[2:] == best[found[1:-1]]).all()


def test_the_seed_decides():
    cr.random.seed(0)
    model = Recurrent()
    first, again, other = (decoding.generate(model, [1], 30, seed=s) for s in (3, 3, 4))
    assert first.tolist() == again.tolist() != other.tolist()
    cr.random.seed(5)
    drawn = decoding.generate(model, [1], 30)
    assert decoding.generate(model, [1], 30).tolist() != drawn.tolist()
    cr.random.seed(5)
    assert decoding.generate(model, [1], 30).tolist() == drawn.tolist()


def test_excluded_tokens_and_the_end():
    cr.random.seed(0)
    model = Recurrent()
    found = decoding.generate(model, [1, 1], 60, seed=0, exclude=(0, 5))
    assert not {0, 5} & set(found[2:].tolist())
    assert {1, 2, 3, 4, 6} == set(found.tolist())
    found = decoding.generate(model, [[2, 1], [2, 2], [1, 2]], 60, seed=0, end=2)
    for row in found:
        ends = np.flatnonzero(row[2:] == 2)
        assert len(ends)
        assert (row[2 + ends[0] :] == 2).all()
    assert found.shape[1] < 62  # all had ended
    assert decoding.generate(model, [2, 1], 0).tolist() == [2, 1]


SCORES = np.log(np.array([0.4, 0.05, 0.3, 0.15, 0.1], np.float32))


def shares(**settings):
    """How often each token is drawn."""
    many = np.broadcast_to(SCORES, (20000, 5))
    drawn = decoding.sample(many, generator=cr.random.Generator(0), **settings).numpy()
    return np.bincount(drawn, minlength=5) / len(drawn)


DISTRIBUTIONS = {
    "all": ({}, [0.4, 0.05, 0.3, 0.15, 0.1]),
    "temperature": ({"temperature": 0.5}, np.array([16, 0.25, 9, 2.25, 1]) / 28.5),
    "greedy": ({"temperature": 0}, [1, 0, 0, 0, 0]),
    "small temperature": ({"temperature": 5e-324}, [1, 0, 0, 0, 0]),
    "large temperature": ({"temperature": 1e6}, [0.2] * 5),
    "top_k": ({"top_k": 2}, [4 / 7, 0, 3 / 7, 0, 0]),
    "top_k of more": ({"top_k": 9}, [0.4, 0.05, 0.3, 0.15, 0.1]),
    "top_p": ({"top_p": 0.75}, np.array([0.4, 0, 0.3, 0.15, 0]) / 0.85),
    "top_p of the first": ({"top_p": 1e-6}, [1, 0, 0, 0, 0]),
    "top_p 1": ({"top_p": 1.0}, [0.4, 0.05, 0.3, 0.15, 0.1]),
    "top_k, then top_p": ({"top_k": 3, "top_p": 0.8}, [4 / 7, 0, 3 / 7, 0, 0]),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(name):
    settings, wanted = DISTRIBUTIONS[name]
    found = shares(**settings)
    np.testing.assert_allclose(found, wanted, atol=0.015)
    assert (found[np.asarray(wanted) == 0] == 0).all()


# ── beam search ──────────────────────────────────────────────────────────────────────────────────


def likeliest(model, prompt, steps, penalty, end=None):
    """All continuations, the best first, by brute force: (score, tokens)."""
    tails = np.array(list(itertools.product(range(SIZE), repeat=steps)))
    stops = np.full(len(tails), steps)
    if end is not None:
        stops = np.where((tails == end).any(1), (tails == end).argmax(1) + 1, steps)
        after = np.arange(steps) >= stops[:, None]
        tails, first = np.unique(np.where(after, end, tails), axis=0, return_index=True)
        stops = stops[first]
    scores, _ = model(cr.Tensor(np.hstack([np.tile(prompt, (len(tails), 1)), tails])))
    logs = cr.log_softmax(scores[:, len(prompt) - 1 : -1]).numpy().astype(np.float64)
    each = np.take_along_axis(logs, tails[:, :, None], axis=2)[:, :, 0]
    counted = np.where(np.arange(steps) < stops[:, None], each, 0.0)
    return sorted(zip(counted.sum(1) / stops**penalty, tails.tolist(), strict=True), reverse=True)


@pytest.mark.parametrize("end", [None, 3])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("make", [Recurrent, Causal])
def test_wide_beams_find_the_likeliest(make, penalty, end):
    cr.random.seed(2)
    model = make().eval()
    tokens, scores = decoding.beam_search(
        model, [1, 2], 3, width=SIZE**2, length_penalty=penalty, end=end
    )
    wanted = likeliest(model, [1, 2], 3, penalty, end)[:5]
    np.testing.assert_allclose(scores[:5], [s for s, _ in wanted], rtol=1e-5)
    assert [row[2:] for row in tokens[:5].tolist()] == [tail for _, tail in wanted]


def test_a_beam_of_one_is_greedy():
    cr.random.seed(1)
    model = Recurrent()
    tokens, _ = decoding.beam_search(model, [[1, 2], [3, 0]], 6, width=1)
    assert tokens.shape == (2, 1, 8)
    found = decoding.generate(model, [[1, 2], [3, 0]], 6, temperature=0)
    assert tokens[:, 0].tolist() == found.tolist()


# ── errors ───────────────────────────────────────────────────────────────────────────────────────

WRONG = {
    "infinite temperature": (
        lambda m: decoding.generate(m, [1], 2, temperature=np.inf),
        ArgumentError,
        "inf",
    ),
    "temperature": (lambda m: decoding.generate(m, [1], 2, temperature=-1), ArgumentError, "-1"),
    "top_k": (lambda m: decoding.generate(m, [1], 2, top_k=0), ArgumentError, "top_k=0"),
    "top_p 0": (lambda m: decoding.generate(m, [1], 2, top_p=0.0), ArgumentError, "top_p=0.0"),
    "top_p": (lambda m: decoding.generate(m, [1], 2, top_p=1.5), ArgumentError, "above 0, up to 1"),
    "no prompt": (lambda m: decoding.generate(m, [], 2), ShapeError, "one token or more"),
    "text": (lambda m: decoding.generate(m, [0.5], 2), DtypeError, "whole numbers"),
    "outside": (
        lambda m: decoding.generate(m, [1, SIZE], 2),
        RangeError,
        r"got the index 7 at position \(0, 1\); expected 0 to 6",
    ),
    "below": (
        lambda m: decoding.beam_search(m, [1, -2], 2),
        RangeError,
        r"-2 at position \(0, 1\)",
    ),
    "steps": (lambda m: decoding.generate(m, [1], -1), ArgumentError, "steps=-1"),
    "width": (lambda m: decoding.beam_search(m, [1], 1, width=0), ArgumentError, "width=0"),
    "exclude": (lambda m: decoding.generate(m, [1], 1, exclude=[7]), RangeError, r"exclude=\[7\]"),
    "NaN": (
        lambda m: decoding.generate(nn.Lambda(lambda t, _: (m(t)[0] * np.nan, ())), [1], 1),
        ArgumentError,
        "got scores that are NaN",
    ),
    "no state": (
        lambda m: decoding.generate(nn.Lambda(lambda t, _: (m(t)[0], None)), [1], 1),
        ArgumentError,
        "got the state None from Lambda",
    ),
    "another model": (
        lambda m: decoding.generate(nn.Lambda(lambda tokens, state: tokens), [1], 1),
        ArgumentError,
        r"got int64\[1,1\] from Lambda; expected a model that returns",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    call, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        call(Recurrent())
