"""Layers for sequences: derivatives of orders 1 and 2, hard conditions, positions, tied weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, RangeError, ShapeError

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape)


# ── derivatives ──────────────────────────────────────────────────────────────────────────────────


def flat(out):
    """The tensors of a layer's output."""
    parts = out if isinstance(out, tuple) else (out,)
    return [t for p in parts if p is not None for t in (flat(p) if isinstance(p, tuple) else [p])]


def checked(layer, call, *inputs):
    """Derivatives of the layer's outputs by inputs and parameters, to orders 1 and 2."""
    named = dict(layer.named_parameters())
    values = [cr.Tensor(p.numpy().astype(np.float64)) for p in named.values()]

    def of(*tensors):
        for (name, _), t in zip(named.items(), tensors[len(inputs) :], strict=True):
            owner = layer
            *path, leaf = name.split(".")
            for part in path:
                owner = owner[int(part)] if isinstance(owner, list) else getattr(owner, part)
            vars(owner)[leaf] = t  # past the check that a parameter stays one
        out = call(layer, *tensors[: len(inputs)])
        return sum((cr.sin(t) * 0.5).sum() for t in flat(out))

    cr.check_gradients(of, *map(cr.Tensor, inputs), *values, order=2)


RECURRENT = {
    "RNN": lambda: nn.RNN(2, 2, bidirectional=True),
    "GRU": lambda: nn.GRU(2, 2, 2),
    "LSTM": lambda: nn.LSTM(2, 2),
    "LSTM projected": lambda: nn.LSTM(2, 2, proj_size=1),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_derivatives_of_recurrent_layers(kind):
    cr.random.seed(0)
    counts = np.array([3, 0, 2])
    checked(RECURRENT[kind](), lambda layer, x: layer(x, lengths=counts), random(3, 3, 2))


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_derivatives_of_cells(kind):
    cr.random.seed(0)
    states = [random(2, 2) for _ in range(1 + (kind == "LSTMCell"))]
    checked(
        getattr(nn, kind)(2, 2),
        lambda cell, x, *s: cell(x, s if len(s) > 1 else s[0]),
        random(2, 2),
        *states,
    )


MASKS = {
    "none": {},
    "causal": {"is_causal": True},
    "all masked": {"attn_mask": np.array([[True, True, True], [False, True, False]])},
    "padding": {"key_padding_mask": np.array([[False, True, False]])},
    "added": {"attn_mask": random(2, 3)},
}


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("masks", MASKS)
def test_derivatives_of_attention(masks, rotary):
    cr.random.seed(0)
    layer = nn.MultiheadAttention(4, 2, rotary=rotary)
    given = {**MASKS[masks], "need_weights": rotary}
    checked(layer, lambda m, q, k: m(q, k, **given), random(1, 2, 4), random(1, 3, 4))


@pytest.mark.parametrize("norm_first", [False, True])
def test_derivatives_of_transformer_layers(norm_first):
    cr.random.seed(0)
    settings = {"activation": "gelu", "norm_first": norm_first}
    encoder = nn.TransformerEncoderLayer(4, 2, 3, 0.0, **settings)
    checked(encoder, lambda m, x: m(x, is_causal=True), random(1, 2, 4))
    decoder = nn.TransformerDecoderLayer(4, 2, 3, 0.0, **settings)
    checked(decoder, lambda m, x, y: m(x, y), random(1, 2, 4), random(1, 2, 4))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_derivatives_of_bags(mode):
    cr.random.seed(0)
    numbers, offsets = np.array([3, 1, 1, 0, 2, 4]), np.array([0, 3, 3])
    layer = nn.EmbeddingBag(5, 2, mode=mode, padding_idx=4)
    checked(layer, lambda m: m(numbers, offsets))
    if mode == "sum":
        checked(layer, lambda m, w: m(numbers, offsets, w), random(6))


# ── hard conditions ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_no_steps(kind):
    """Of no steps the last state is the first one, and all gradients are finite."""
    layer = getattr(nn, kind)(2, 3, 2, bidirectional=True, dropout=0.5)
    h = cr.random.normal((4, 2, 3))
    state = (h, h + 1) if kind == "LSTM" else h
    for x, lengths in ((np.zeros((2, 0, 2), "f"), None), (random(2, 4, 2).astype("f"), [0, 0])):
        out, last = layer(x, state, lengths)
        assert out.shape == (2, x.shape[1], 6)
        assert not out.numpy().any()
        for found, wanted in zip(
            last if kind == "LSTM" else [last], state if kind == "LSTM" else [state], strict=True
        ):
            np.testing.assert_array_equal(found.numpy(), wanted.numpy())
        (out.sum() + sum(s.sum() for s in (last if kind == "LSTM" else (last,)))).backward()
        for p in layer.parameters():
            assert p.grad is None or not p.grad.numpy().any()


def test_a_length_of_0_among_others():
    layer = nn.LSTM(2, 3)
    x = random(3, 4, 2).astype("f")
    out, (h, _) = layer(x, lengths=[4, 0, 2])
    assert not out[1].numpy().any()
    assert not h[0, 1].numpy().any()
    alone, (h2, _) = layer(x[2:, :2])
    np.testing.assert_allclose(out[2, :2].numpy(), alone[0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(h[0, 2].numpy(), h2[0, 0].numpy(), rtol=1e-6)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_to_nothing(need_weights):
    """Masked rows, no keys and no queries: finite, and what is masked gets a gradient of 0."""
    layer = nn.MultiheadAttention(4, 2)
    x = cr.Tensor(random(2, 3, 4).astype("f"), requires_grad=True)
    padding = np.array([[True] * 3, [False] * 3])
    out, _ = layer(x, key_padding_mask=padding, need_weights=need_weights)
    np.testing.assert_allclose(out[0].numpy(), 0.0)  # out_proj's bias
    out[0].sum().backward()
    assert not x.grad.numpy().any()
    memory = nn.TransformerDecoderLayer(4, 2, 8, 0.0)(x, x, memory_key_padding_mask=padding)
    memory.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert layer(x, x[:, :0], need_weights=need_weights)[0].numpy().any() == 0
    assert layer(x[:, :0], x, need_weights=need_weights)[0].shape == (2, 0, 4)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_empty_bags(mode):
    layer = nn.EmbeddingBag(5, 2, mode=mode)
    assert layer(np.zeros((3, 0), int)).numpy().tolist() == [[0.0, 0.0]] * 3
    none = np.zeros(0, int)
    assert layer(none, np.zeros(2, int)).numpy().tolist() == [[0.0, 0.0]] * 2
    assert layer(none, none).shape == (0, 2)
    rows = layer.weight.numpy()
    ends = layer(np.array([1, 2]), np.array([0, 0, 1, 2])).numpy()  # bags of 0, 1, 1 and 0
    np.testing.assert_allclose(ends, [[0, 0], rows[1], rows[2], [0, 0]])


EMPTY = {
    # a layer, its arguments: batches without sequences, sequences without steps
    "RNN": (lambda: nn.RNN(3, 4), (np.zeros((0, 5, 3), "f"),)),
    "LSTM": (lambda: nn.LSTM(3, 4, 2, bidirectional=True), (np.zeros((0, 0, 3), "f"),)),
    "lengths": (lambda: nn.GRU(3, 4), (np.zeros((0, 5, 3), "f"), None, np.zeros(0, int))),
    "cell": (lambda: nn.LSTMCell(3, 4), (np.zeros((0, 3), "f"),)),
    "encoder": (lambda: nn.TransformerEncoderLayer(4, 2, 8), (np.zeros((0, 5, 4), "f"),)),
    "no steps": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8),
        (np.zeros((2, 0, 4), "f"), None, np.zeros((2, 0), bool)),
    ),
    "no memory": (
        lambda: nn.TransformerDecoderLayer(4, 2, 8),
        (np.zeros((2, 3, 4), "f"), np.zeros((2, 0, 4), "f")),
    ),
    "embedding": (lambda: nn.Embedding(5, 3), (np.zeros((0, 4), int),)),
    "bag": (lambda: nn.EmbeddingBag(5, 3, mode="max"), (np.zeros((0, 4), int),)),
    "rotary": (lambda: nn.MultiheadAttention(4, 2, rotary=True), (np.zeros((2, 0, 4), "f"),)),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing(name):
    make, arguments = EMPTY[name]
    layer = make()

    def total():
        out = layer(*arguments)
        loss = sum(cr.sum(t) for t in flat(out))
        loss.backward()
        return loss

    for f in (total, cr.compile(total)):
        assert np.isfinite(float(f()))
        for p in layer.parameters():
            grad = p.grad.to_dense() if isinstance(p.grad, cr.RowSparse) else p.grad
            assert grad is None or np.isfinite(grad.numpy()).all()


bags = st.lists(st.lists(st.integers(0, 4), max_size=5), max_size=4)


@given(bags, st.sampled_from(["sum", "mean", "max"]), st.sampled_from([None, 2]), st.booleans())
def test_bags(bags, mode, padding, last):
    """Against a loop over the bags."""
    layer = nn.EmbeddingBag(5, 2, mode=mode, padding_idx=padding, include_last_offset=last)
    offsets = np.cumsum([0, *map(len, bags)])
    found = layer(
        np.array([k for bag in bags for k in bag], int), offsets if last else offsets[:-1]
    ).numpy()
    table = layer.weight.numpy()
    combine = {"sum": np.sum, "mean": np.mean, "max": np.max}[mode]
    for row, bag in zip(found, bags, strict=True):
        rows = table[[k for k in bag if k != padding]]
        wanted = combine(rows, axis=0) if len(rows) else np.zeros(2)
        np.testing.assert_allclose(row, wanted, rtol=1e-5, atol=1e-6)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.sampled_from(["RNN", "GRU", "LSTM"]))
def test_lengths(lengths, kind):
    """Each sequence of a padded batch as alone, whatever stands in the padding."""
    cr.random.seed(0)
    layer = getattr(nn, kind)(2, 3, 2, bidirectional=True)
    x = np.random.default_rng(0).normal(size=(len(lengths), 4, 2)).astype("f")
    out, last = layer(x, lengths=lengths)
    for k, n in enumerate(lengths):
        one, end = layer(x[k, :n])
        np.testing.assert_allclose(out[k, :n].numpy(), one.numpy(), rtol=1e-5, atol=1e-6)
        assert not out[k, n:].numpy().any()
        for a, b in zip(*((s if kind == "LSTM" else (s,)) for s in (last, end)), strict=True):
            np.testing.assert_allclose(a[:, k].numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("offsets", [[0, 0], []])
def test_a_batch_of_empty_bags_has_a_gradient_of_0(mode, offsets):
    """It replaces the one before: a step of the optimizer would apply that again."""
    bag = nn.EmbeddingBag(5, 2, mode=mode)
    bag(np.array([1, 2]), np.array([0, 1])).sum().backward()
    out = bag(np.array([], int), np.array(offsets, int))
    assert out.shape == (len(offsets), 2)
    (out.sum() + bag.weight.sum() * 0).backward()
    np.testing.assert_array_equal(np.asarray(bag.weight.grad), np.zeros((5, 2)))
    bag(np.array([1, 2]), np.array([0, 1])).sum().backward()
    bag(np.array([], int), np.array(offsets, int)).sum().backward()
    np.testing.assert_array_equal(np.asarray(bag.weight.grad), np.zeros((5, 2)))


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_nan_in_the_padding_has_no_influence(kind):
    layer, x = getattr(nn, kind)(2, 3, bidirectional=True), random(2, 4, 2)
    results = []
    for padding in (0.0, np.nan):
        x[1, 2:] = padding
        t = cr.Tensor(x, requires_grad=True)
        out = layer(t, lengths=np.array([4, 2]))[0]
        (out**2).sum().backward()
        results.append([out.numpy(), t.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_between_layers_of_one_layer_warns():
    with pytest.warns(UserWarning, match=r"\[GRU\] got dropout=0.5 and one layer"):
        nn.GRU(2, 3, dropout=0.5)


def test_the_forget_gates_bias():
    for layer in (nn.LSTMCell(2, 3, unit_forget_bias=True), nn.LSTM(2, 3, unit_forget_bias=True)):
        state = layer.state_dict()
        total = sum(v for name, v in state.items() if name.startswith("bias"))
        np.testing.assert_array_equal(total[3:6], 1.0)
        assert (total[:3] != 1).all()
    with pytest.raises(ArgumentError, match="unit_forget_bias=True, bias=False"):
        nn.LSTM(2, 3, bias=False, unit_forget_bias=True)


def test_pretrained_tables():
    table = random(4, 2).astype("f")
    frozen = nn.Embedding.from_pretrained(table, padding_idx=1)
    np.testing.assert_array_equal(frozen.weight.numpy(), table)
    assert not frozen.weight.requires_grad
    trained = nn.EmbeddingBag.from_pretrained(table, freeze=False, mode="sum")
    trained(np.array([[0, 2]])).sum().backward()
    assert trained.weight.grad.numpy().tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]
    with cr.no_grad():
        trained.weight[0] = 0.0
    assert table[0].any()  # a copy


# ── positions ────────────────────────────────────────────────────────────────────────────────────


def test_sinusoidal_positions():
    """Against the formula, of an even and an odd number of channels, and with offsets."""
    for d in (6, 5):
        layer = nn.SinusoidalPositionalEncoding(d)
        t, i = np.arange(9)[:, None], np.arange(d)
        angle = t / 10000 ** (2 * (i // 2) / d)
        wanted = np.where(i % 2 == 0, np.sin(angle), np.cos(angle))
        found = layer(np.zeros((2, 9, d)))
        np.testing.assert_allclose(found.numpy(), np.stack([wanted] * 2), atol=1e-12)
        later = layer(np.zeros((2, 4, d)), cr.Tensor([5, 2])).numpy()
        np.testing.assert_allclose(later, [wanted[5:], wanted[2:6]], atol=1e-12)
        np.testing.assert_allclose(layer(np.zeros((4, d)), 5).numpy(), wanted[5:], atol=1e-12)


def test_rotary_positions():
    """Against a product of complex numbers; lengths stay, and products depend on distances."""
    layer = nn.RotaryPositionalEmbedding(6)
    x = random(2, 3, 7, 6)
    turns = np.exp(1j * np.arange(7)[:, None] * 10000.0 ** (-np.arange(3) / 3))
    z = (x[..., :3] + 1j * x[..., 3:]) * turns
    found = layer(x).numpy()
    np.testing.assert_allclose(found, np.concatenate([z.real, z.imag], axis=-1), atol=1e-12)
    q, k = random(1, 6), random(1, 6)

    def product(s, t):
        return (layer(q, s) @ layer(k, t).mT).item()

    assert product(3, 1) == pytest.approx(product(1002, 1000), rel=1e-9)
    assert product(3, 1) != pytest.approx(product(3, 2), rel=1e-3)
    later = layer(x, cr.Tensor([4, 0])).numpy()
    np.testing.assert_allclose(later[0], layer(x[0], 4).numpy(), atol=1e-12)
    np.testing.assert_allclose(later[1], found[1], atol=1e-12)


WRONG = {
    "odd": (lambda: nn.RotaryPositionalEmbedding(5), ArgumentError, "even number"),
    "channels": (lambda: nn.SinusoidalPositionalEncoding(4)(random(2, 3)), ShapeError, "T, 4"),
    "offset": (
        lambda: nn.RotaryPositionalEmbedding(4)(random(2, 3, 4), 0.5),
        ArgumentError,
        "whole number",
    ),
    "offsets": (
        lambda: nn.EmbeddingBag(5, 2)(np.array([1, 2]), np.array([0, 3])),
        RangeError,
        r"do not divide 2 numbers into bags",
    ),
    "offsets that fall": (
        lambda: nn.EmbeddingBag(5, 2)(np.array([1, 2]), np.array([0, 2, 1])),
        RangeError,
        "none below the one before",
    ),
    "last offset": (
        lambda: nn.EmbeddingBag(5, 2, include_last_offset=True)(np.array([1, 2]), np.array([0, 1])),
        RangeError,
        "the last one, with include_last_offset",
    ),
    "offsets of a table": (
        lambda: nn.EmbeddingBag(5, 2)(np.array([[1, 2]]), np.array([0])),
        ShapeError,
        "with offsets",
    ),
    "weights of a mean": (
        lambda: nn.EmbeddingBag(5, 2)(np.array([[1, 2]]), None, random(1, 2)),
        ShapeError,
        'mode="sum"',
    ),
    "table": (lambda: nn.Embedding.from_pretrained(random(3)), ShapeError, "num_embeddings, "),
    "max_norm": (lambda: nn.Embedding(3, 2, max_norm=0.0), ArgumentError, "max_norm=0.0"),
    "cell": (lambda: nn.GRUCell(2, 3)(random(1, 2, 2)), ShapeError, r"x\[:, t\]"),
    "cell's state": (lambda: nn.LSTMCell(2, 3)(random(1, 2), random(1, 3)), ArgumentError, "h, c"),
    "cell's size": (lambda: nn.RNNCell(2, 3)(random(1, 2), random(2, 3)), ShapeError, r"\(1, 3\)"),
    "proj_size": (lambda: nn.LSTM(2, 3, proj_size=3), ArgumentError, "below the hidden_size"),
    "projected state": (
        lambda: nn.LSTM(2, 3, proj_size=2)(random(1, 1, 2), (random(1, 1, 3), random(1, 1, 3))),
        ShapeError,
        r"expected \(1, 1, 2\) and \(1, 1, 3\)",
    ),
    "sparse": (lambda: nn.Embedding(3, 2, sparse=True), ArgumentError, "always row-sparse"),
    "add_bias_kv": (
        lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True),
        ArgumentError,
        "add_bias_kv",
    ),
    "layers": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer, 2),
        ArgumentError,
        "got TransformerEncoderLayer; expected a layer, of which it makes 2",
    ),
    "cache": (
        lambda: nn.MultiheadAttention(4, 2)(
            random(3, 1, 4), cache=nn.MultiheadAttention(4, 2).empty_cache(2, 5)
        ),
        ShapeError,
        r"empty_cache\(3, size\)",
    ),
    "mask and cache": (
        lambda: nn.MultiheadAttention(4, 2)(
            random(2, 1, 4),
            attn_mask=np.zeros((1, 1), bool),
            cache=nn.MultiheadAttention(4, 2).empty_cache(2, 5),
        ),
        ArgumentError,
        "with a cache",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    call, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        call()


# ── shared weights ───────────────────────────────────────────────────────────────────────────────


class Tied(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(6, 4)
        self.layer = nn.GRU(4, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.layer(self.embedding(x))[0])


def test_tied_weights(tmp_path):
    cr.random.seed(0)
    model, other = Tied(), Tied()
    assert "embedding.weight" in model.state_dict()
    assert "head.weight" not in model.state_dict()
    count = sum(p.size for p in model.parameters())
    assert count == model.summary(np.zeros((1, 2), int)).parameters == 24 + 120
    save_file(model.state_dict(), tmp_path / "tied.safetensors")
    other.load_state_dict(load_file(tmp_path / "tied.safetensors"))
    assert other.head.weight is other.embedding.weight
    x, y = np.array([[0, 1, 2], [3, 3, 1]]), np.array([[1, 2, 3], [4, 5, 0]])

    def step(model, optimizer):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    optimizers = [optim.AdamW(m.parameters(), lr=0.05) for m in (model, other)]
    compiled = cr.compile(lambda: step(other, optimizers[1]))
    losses = [float(step(model, optimizers[0])) for _ in range(5)]
    np.testing.assert_allclose(losses, [float(compiled()) for _ in range(5)], rtol=1e-5)
    assert losses[-1] < losses[0]
    assert model.head.weight is model.embedding.weight
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value, other.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_text_form_and_summary():
    layers = nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.SinusoidalPositionalEncoding(4))
    layers.append(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2, nn.LayerNorm(4)))
    text = str(layers)
    assert "Embedding(9, 4, padding_idx=0)" in text
    assert "(layers.1): TransformerEncoderLayer(" in text
    summary = layers.summary(np.zeros((2, 3), int))
    assert {row.path: row.shape for row in summary.rows}["2.layers.1.self_attn"] == (2, 3, 4)
    assert "LSTMCell(2, 3, bias=False)" in str(nn.LSTMCell(2, 3, bias=False))
