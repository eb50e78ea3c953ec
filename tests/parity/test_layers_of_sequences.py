"""Layers for sequences beside PyTorch's, in float64: outputs, states and all gradients to 1e-9."""

import itertools

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn

T = torch.nn
RNG = np.random.default_rng(0)


def taken_over(ours, theirs):
    """Our layer with PyTorch's weights, in float64; the names are the same."""
    theirs.double().zero_grad()
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    for name, parameter in list(ours.named_parameters()):
        owner = ours
        *path, leaf = name.split(".")
        for part in path:
            owner = owner[int(part)] if isinstance(owner, list) else getattr(owner, part)
        setattr(owner, leaf, nn.Parameter(cr.Tensor(state[name].copy())))
        assert parameter.shape == state[name].shape, name
    assert {n for n, _ in ours.named_parameters()} == set(state)
    return ours


def flat(out):
    parts = out if isinstance(out, tuple) else (out,)
    return [t for p in parts if p is not None for t in (flat(p) if isinstance(p, tuple) else [p])]


def compare(ours, theirs, arrays, call_ours, call_theirs):
    """Outputs, and gradients of inputs and parameters, of a sum in which each output counts."""
    taken_over(ours, theirs)
    xs = [cr.Tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    found, wanted = flat(call_ours(ours, *xs)), flat(call_theirs(theirs, *ts))
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f.numpy(), w.numpy(force=True), rtol=1e-9, atol=1e-11)
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=f.shape) for f in found]
    sum((f * w).sum() for f, w in zip(found, weights, strict=True)).backward()
    sum((f * torch.tensor(w)).sum() for f, w in zip(wanted, weights, strict=True)).backward()
    slopes = [(x.grad, t.grad) for x, t in zip(xs, ts, strict=True)]
    named = dict(theirs.named_parameters())
    slopes += [(p.grad, named[name].grad) for name, p in ours.named_parameters()]
    for f, w in slopes:
        assert (f is None) == (w is None)
        if f is not None:
            np.testing.assert_allclose(f.numpy(), w.numpy(force=True), rtol=1e-9, atol=1e-10)


# ── recurrent ────────────────────────────────────────────────────────────────────────────────────

KINDS = {"RNN": {}, "RNN relu": {"nonlinearity": "relu"}, "GRU": {}, "LSTM": {}}


def states_of(kind, shape):
    return [RNG.normal(size=shape) for _ in range(1 + (kind == "LSTM"))]


def state_from(parts):
    return tuple(parts) if len(parts) > 1 else (parts[0] if parts else None)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_cells(kind, bias, batched):
    name = kind.split()[0]
    settings = {"bias": bias, **KINDS[kind]}
    ours, theirs = (getattr(m, f"{name}Cell")(3, 4, **settings) for m in (nn, T))
    n = (2,) if batched else ()
    x, states = RNG.normal(size=(*n, 3)), states_of(name, (*n, 4))

    def call(cell, x, *states):
        return cell(x, state_from(states))

    compare(ours, theirs, [x, *states], call, call)
    compare(ours, theirs, [x], call, call)


GRID = list(itertools.product((1, 2), (False, True), (False, True), ("given", "zeros")))


@pytest.mark.parametrize(("layers", "bidirectional", "lengths", "state"), GRID)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_recurrent(kind, layers, bidirectional, lengths, state):
    ours = getattr(nn, kind)(3, 4, layers, bidirectional=bidirectional)
    theirs = getattr(T, kind)(3, 4, layers, batch_first=True, bidirectional=bidirectional)
    x, counts = RNG.normal(size=(3, 5, 3)), np.array([5, 1, 3])
    shape = layers * (1 + bidirectional), 3, 4
    states = states_of(kind, shape) if state == "given" else []

    def ask_ours(layer, x, *states):
        return layer(x, state_from(states), counts if lengths else None)

    def ask_theirs(layer, x, *states):
        if not lengths:
            return layer(x, state_from(states))
        packed = T.utils.rnn.pack_padded_sequence(
            x, torch.from_numpy(counts), batch_first=True, enforce_sorted=False
        )
        out, last = layer(packed, state_from(states))
        return T.utils.rnn.pad_packed_sequence(out, batch_first=True)[0], last

    compare(ours, theirs, [x, *states], ask_ours, ask_theirs)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_recurrent_of_one_sequence(kind, steps):
    """(T, C): no result has a batch, with one step too."""
    ours, theirs = (getattr(m, kind)(3, 4, 2, bidirectional=True) for m in (nn, T))
    states = states_of(kind, (4, 4))

    def call(layer, x, *states):
        return layer(x, state_from(states))

    compare(ours, theirs, [RNG.normal(size=(steps, 3)), *states], call, call)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_projected_states(bidirectional):
    ours = nn.LSTM(3, 5, 2, bidirectional=bidirectional, proj_size=2)
    theirs = T.LSTM(3, 5, 2, batch_first=True, bidirectional=bidirectional, proj_size=2)
    layers = 2 * (1 + bidirectional)
    arrays = [RNG.normal(size=(3, 4, 3)), *(RNG.normal(size=(layers, 3, n)) for n in (2, 5))]
    compare(ours, theirs, arrays[:1], lambda m, x: m(x), lambda m, x: m(x))
    compare(ours, theirs, arrays, lambda m, x, *s: m(x, s), lambda m, x, *s: m(x, s))


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_dropout_between_layers(kind):
    """With probability 1 the second layer reads zeros in training, and its output is kept."""
    ours = getattr(nn, kind)(3, 4, 3, dropout=1.0, bidirectional=True)
    theirs = getattr(T, kind)(3, 4, 3, batch_first=True, dropout=1.0, bidirectional=True)
    arrays = [RNG.normal(size=(2, 5, 3))]
    for training in (True, False):
        compare(
            ours.train(training),
            theirs.train(training),
            arrays,
            lambda layer, x: layer(x),
            lambda layer, x: layer(x),
        )


# ── attention ────────────────────────────────────────────────────────────────────────────────────

LATER = np.triu(np.ones((4, 6), bool), 1)
PADDED = np.arange(6) >= np.array([6, 3, 5])[:, None]
ADDED = RNG.normal(size=(4, 6))
MASKS = {
    "none": {},
    "padding": {"key_padding_mask": PADDED},
    "forbidden": {"attn_mask": LATER},
    "added": {"attn_mask": ADDED},
    "both": {"attn_mask": LATER, "key_padding_mask": PADDED},
    "added both": {"attn_mask": ADDED, "key_padding_mask": np.where(PADDED, -np.inf, 0.0)},
    "a head": {"attn_mask": np.stack([LATER, LATER & False] * 3), "key_padding_mask": PADDED},
}


def torchs(settings):
    """Arrays as tensors."""
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}


@pytest.mark.parametrize("weights", ["mean", "per head", "none"])
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("sizes", [{}, {"kdim": 5, "vdim": 3, "bias": False}])
def test_attention(sizes, masks, weights):
    ours = nn.MultiheadAttention(8, 2, **sizes)
    theirs = T.MultiheadAttention(8, 2, batch_first=True, **sizes)
    given = {
        **MASKS[masks],
        "need_weights": weights != "none",
        "average_attn_weights": weights == "mean",
    }
    arrays = [
        RNG.normal(size=(3, 4, 8)),
        RNG.normal(size=(3, 6, sizes.get("kdim", 8))),
        RNG.normal(size=(3, 6, sizes.get("vdim", 8))),
    ]
    compare(
        ours,
        theirs,
        arrays,
        lambda layer, *xs: layer(*xs, **given),
        lambda layer, *xs: layer(*xs, **torchs(given)),
    )


def test_attention_of_one_sequence():
    ours, theirs = nn.MultiheadAttention(8, 2), T.MultiheadAttention(8, 2)
    given = {"attn_mask": LATER, "key_padding_mask": PADDED[1]}
    arrays = [RNG.normal(size=(n, 8)) for n in (4, 6, 6)]
    compare(
        ours,
        theirs,
        arrays,
        lambda layer, *xs: layer(*xs, **given),
        lambda layer, *xs: layer(*xs, **torchs(given)),
    )


# ── transformers ─────────────────────────────────────────────────────────────────────────────────

SOURCE_PADDED = np.arange(5) >= np.array([5, 2])[:, None]
TARGET_PADDED = np.arange(4) >= np.array([3, 4])[:, None]
ENCODER_MASKS = {
    "none": {},
    "causal": {"mask": np.triu(np.ones((5, 5), bool), 1)},
    "padding": {"src_key_padding_mask": SOURCE_PADDED},
    "both": {"mask": RNG.normal(size=(5, 5)), "src_key_padding_mask": SOURCE_PADDED * -1e3},
}
DECODER_MASKS = {
    "none": {},
    "causal": {"tgt_mask": np.triu(np.ones((4, 4), bool), 1)},
    "memory": {"memory_mask": RNG.random((4, 5)) < 0.3, "memory_key_padding_mask": SOURCE_PADDED},
    "all": {
        "tgt_mask": np.triu(np.ones((4, 4), bool), 1),
        "tgt_key_padding_mask": TARGET_PADDED,
        "memory_key_padding_mask": SOURCE_PADDED,
    },
}
SETTINGS = [
    {},
    {"norm_first": True, "activation": "gelu", "layer_norm_eps": 1e-3},
    {"bias": False, "activation": "gelu"},
]
X, TARGET = RNG.normal(size=(2, 5, 8)), RNG.normal(size=(2, 4, 8))


def both(kind, *sizes, **settings):
    ours = getattr(nn, kind)(*sizes, dropout=0.0, **settings)
    return ours, getattr(T, kind)(*sizes, dropout=0.0, batch_first=True, **settings)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("masks", ENCODER_MASKS)
def test_encoder(masks, settings):
    ours, theirs = both("TransformerEncoderLayer", 8, 2, 12, **settings)
    stacks = (
        nn.TransformerEncoder(ours, 2, nn.LayerNorm(8)),
        T.TransformerEncoder(theirs, 2, T.LayerNorm(8), enable_nested_tensor=False),
    )
    given = ENCODER_MASKS[masks]
    compare(*stacks, [X], lambda m, x: m(x, **given), lambda m, x: m(x, **torchs(given)))
    given = {k.replace("mask", "src_mask") if k == "mask" else k: v for k, v in given.items()}
    compare(ours, theirs, [X], lambda m, x: m(x, **given), lambda m, x: m(x, **torchs(given)))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("masks", DECODER_MASKS)
def test_decoder(masks, settings):
    ours, theirs = both("TransformerDecoderLayer", 8, 2, 12, **settings)
    stacks = (
        nn.TransformerDecoder(ours, 2, nn.LayerNorm(8)),
        T.TransformerDecoder(theirs, 2, T.LayerNorm(8)),
    )
    given = DECODER_MASKS[masks]
    for pair in (stacks, (ours, theirs)):
        compare(
            *pair,
            [TARGET, X],
            lambda m, y, x: m(y, x, **given),
            lambda m, y, x: m(y, x, **torchs(given)),
        )


def test_transformer():
    ours, theirs = both("Transformer", 8, 2, 2, 1, 12)
    given = {**DECODER_MASKS["all"], "src_key_padding_mask": SOURCE_PADDED}
    compare(
        ours,
        theirs,
        [X, TARGET],
        lambda m, *xs: m(*xs, **given),
        lambda m, *xs: m(*xs, **torchs(given)),
    )


def test_transformer_of_one_sequence():
    ours, theirs = both("TransformerDecoderLayer", 8, 2, 12)
    given = {"tgt_key_padding_mask": TARGET_PADDED[0], "memory_key_padding_mask": SOURCE_PADDED[1]}
    compare(
        ours,
        theirs,
        [TARGET[0], X[0]],
        lambda m, *xs: m(*xs, **given),
        lambda m, *xs: m(*xs, **torchs(given)),
    )


def test_a_round_trip_of_weights():
    """PyTorch's names and shapes, to it and back."""
    ours = nn.Transformer(8, 2, 1, 2, 12)
    theirs = T.Transformer(8, 2, 1, 2, 12, batch_first=True)
    theirs.load_state_dict(cr.interop.torch.to_torch(ours))
    again = nn.Transformer(8, 2, 1, 2, 12)
    cr.interop.torch.load_state_dict(again, theirs.state_dict())
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)
    ours.eval(), theirs.eval()
    out = theirs(torch.tensor(X, dtype=torch.float32), torch.tensor(TARGET, dtype=torch.float32))
    np.testing.assert_allclose(
        ours(X.astype("f"), TARGET.astype("f")).numpy(), out.numpy(force=True), rtol=1e-4, atol=1e-5
    )


def test_tied_weights_of_pytorch():
    """PyTorch's state has a shared tensor under each of its names."""

    def tied(m):
        class Tied(m.Module):
            def __init__(self):
                super().__init__()
                self.embedding, self.head = m.Embedding(5, 3), m.Linear(3, 5, bias=False)
                self.head.weight = self.embedding.weight

            def forward(self, x):
                return self.head(self.embedding(x))

        return Tied()

    ours, theirs = tied(nn), tied(T)
    cr.interop.torch.load_state_dict(ours, theirs.state_dict())
    assert ours.head.weight is ours.embedding.weight
    theirs.load_state_dict(cr.interop.torch.to_torch(ours))
    numbers = np.array([[0, 4]])
    found, wanted = ours(numbers), theirs(torch.from_numpy(numbers))
    found.sum().backward()
    wanted.sum().backward()
    np.testing.assert_allclose(found.numpy(), wanted.numpy(force=True), rtol=1e-5)
    np.testing.assert_allclose(
        ours.head.weight.grad.numpy(), theirs.head.weight.grad.numpy(), rtol=1e-5
    )


# ── embeddings ───────────────────────────────────────────────────────────────────────────────────

BAGS = RNG.integers(0, 7, (4, 3))
FLAT, OFFSETS = RNG.integers(0, 7, 10), np.array([0, 3, 3, 4, 10])


@pytest.mark.parametrize("padding", [None, 2, -1])
@pytest.mark.parametrize("form", ["padded", "offsets", "last offset"])
@pytest.mark.parametrize("mode", ["sum", "mean", "max", "weighted"])
def test_embedding_bag(mode, form, padding):
    settings = {
        "mode": "sum" if mode == "weighted" else mode,
        "padding_idx": padding,
        "include_last_offset": form == "last offset",
    }
    ours, theirs = (m.EmbeddingBag(7, 3, **settings) for m in (nn, T))
    numbers = BAGS if form == "padded" else FLAT
    offsets = None if form == "padded" else OFFSETS if form == "last offset" else OFFSETS[:-1]
    factors = [RNG.normal(size=numbers.shape)] if mode == "weighted" else []
    compare(
        ours,
        theirs,
        factors,
        lambda layer, *w: layer(numbers, offsets, *w),
        lambda layer, *w: layer(*torchs({"x": numbers, "o": offsets}).values(), *w),
    )


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_max_norm(kind, p):
    """The rows that are read are scaled in the table; the others are not."""
    ours, theirs = (getattr(m, kind)(7, 3, max_norm=0.8, norm_type=p) for m in (nn, T))
    numbers = np.minimum(BAGS, 4)
    taken_over(ours, theirs)
    before = ours.weight.numpy().copy()
    found, wanted = ours(numbers), theirs(torch.from_numpy(numbers))
    np.testing.assert_allclose(found.numpy(), wanted.numpy(force=True), rtol=1e-12)
    np.testing.assert_allclose(ours.weight.numpy(), theirs.weight.numpy(force=True), rtol=1e-12)
    np.testing.assert_array_equal(ours.weight.numpy()[5:], before[5:])
    found.sum().backward()
    wanted.sum().backward()
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-12)
