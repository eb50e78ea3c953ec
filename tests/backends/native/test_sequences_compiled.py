"""Layers for sequences in machine code: outputs and derivatives of orders 1 and 2 as in NumPy."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

RNG = np.random.default_rng(0)
COUNTS = np.array([3, 0, 2])
NUMBERS, OFFSETS = np.array([3, 1, 1, 0, 2, 4]), np.array([0, 3, 3])
HIDDEN = np.array([[[True, True, True], [False, True, False]]] * 2)
PADDED = np.array([[False, False, True]])


def random(*shape):
    return RNG.normal(size=shape)


def cached(m, x):
    cache = m.empty_cache(x.shape[0], 4)
    first, cache = m(x[:, :2], cache=cache)
    second, cache = m(x[:, 2:], cache=cache)
    return first, second, cache.keys


LAYERS = {
    # the layer, a call of it, its inputs
    "RNNCell": (lambda: nn.RNNCell(2, 3), lambda m, x: m(x), [random(2, 2)]),
    "GRUCell": (lambda: nn.GRUCell(2, 3), lambda m, x, h: m(x, h), [random(2, 2), random(2, 3)]),
    "LSTMCell": (lambda: nn.LSTMCell(2, 3), lambda m, x: m(x), [random(2, 2)]),
    "RNN": (lambda: nn.RNN(2, 3), lambda m, x: m(x), [random(2, 3, 2)]),
    "GRU": (
        lambda: nn.GRU(2, 2, bidirectional=True),
        lambda m, x: m(x, lengths=COUNTS),
        [random(3, 3, 2)],
    ),
    "LSTM": (
        lambda: nn.LSTM(2, 2, 2),
        lambda m, x, h, c: m(x, (h, c), COUNTS),
        [random(3, 3, 2), random(2, 3, 2), random(2, 3, 2)],
    ),
    "LSTM of one step": (lambda: nn.LSTM(2, 3), lambda m, x: m(x), [random(2, 1, 2)]),
    "LSTM of no step": (lambda: nn.LSTM(2, 3), lambda m, x: m(x), [random(2, 0, 2)]),
    "attention": (lambda: nn.MultiheadAttention(4, 2), lambda m, x: m(x), [random(1, 3, 4)]),
    "attention, masked": (
        lambda: nn.MultiheadAttention(4, 2),
        lambda m, x, y: m(x, y, y, PADDED, False, HIDDEN),
        [random(1, 2, 4), random(1, 3, 4)],
    ),
    "attention, added": (
        lambda: nn.MultiheadAttention(4, 2, kdim=2, vdim=3),
        lambda m, x, y, z, mask: m(x, y, z, None, False, mask),
        [random(1, 2, 4), random(1, 3, 2), random(1, 3, 3), random(2, 3)],
    ),
    "rotary, causal": (
        lambda: nn.MultiheadAttention(4, 2, rotary=True),
        lambda m, x: m(x, need_weights=False, is_causal=True),
        [random(1, 3, 4)],
    ),
    "cache": (
        lambda: nn.MultiheadAttention(4, 2, rotary=True),
        cached,
        [random(2, 3, 4)],
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5, 0.0), 1, nn.LayerNorm(4)),
        lambda m, x: m(x, src_key_padding_mask=PADDED),
        [random(1, 3, 4)],
    ),
    "decoder": (
        lambda: nn.TransformerDecoderLayer(4, 2, 5, 0.0, "gelu", norm_first=True),
        lambda m, x, y: m(x, y, tgt_is_causal=True),
        [random(1, 2, 4), random(1, 3, 4)],
    ),
    **{
        f"bag, {mode}": (
            lambda mode=mode: nn.EmbeddingBag(5, 2, mode=mode, padding_idx=4),
            lambda m: m(NUMBERS, OFFSETS),
            [],
        )
        for mode in ("sum", "mean", "max")
    },
    "sinusoidal": (
        lambda: nn.SinusoidalPositionalEncoding(3),
        lambda m, x: m(x, cr.Tensor([5, 0])),
        [random(2, 3, 3)],
    ),
}


def leaves(out):
    parts = out if isinstance(out, (tuple, list)) else (out,)
    return [t for p in parts if p is not None for t in (leaves(p) if p is not out else [p])]


def dense(gradient):
    return gradient.to_dense() if isinstance(gradient, cr.RowSparse) else gradient


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    cr.random.seed(0)
    make, call, inputs = LAYERS[name]
    layer = make()
    for path, parameter in list(layer.named_parameters()):
        *owners, leaf = path.split(".")
        owner = layer
        for part in owners:
            owner = owner[int(part)] if isinstance(owner, list) else getattr(owner, part)
        setattr(owner, leaf, nn.Parameter(parameter.numpy().astype(np.float64)))
    xs = [nn.Parameter(x) for x in inputs]
    tensors = [*xs, *layer.parameters()]

    def derivatives():
        """The outputs, and the gradients of a sum of them and of a sum of these gradients."""
        outputs = leaves(call(layer, *xs))
        sum((cr.sin(t) * 0.5).sum() for t in outputs).backward(create_graph=True)
        first = [dense(t.grad) for t in tensors]
        sum((cr.cos(g) * 0.3).sum() for g in first).backward()
        return [*outputs, *first, *(dense(t.grad) for t in tensors)]

    wanted = derivatives()
    for found, expected in zip(cr.compile(derivatives)(), wanted, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-10, atol=1e-12)


def test_max_norm():
    """Rows are scaled in place, then read and trained, as in eager mode."""
    cr.random.seed(0)
    layers = [nn.Embedding(5, 3, max_norm=0.5) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    numbers = cr.Tensor([[0, 1, 1], [3, 0, 1]])

    def step(layer, optimizer):
        loss = (layer(numbers) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    optimizers = [optim.SGD(layer.parameters(), lr=0.1) for layer in layers]
    compiled = cr.compile(lambda: step(layers[1], optimizers[1]))
    for _ in range(3):
        assert float(step(layers[0], optimizers[0])) == pytest.approx(float(compiled()))
    np.testing.assert_allclose(layers[0].weight.numpy(), layers[1].weight.numpy(), rtol=1e-6)
    norms = np.linalg.norm(layers[0].weight.numpy(), axis=1)
    assert (norms[[0, 1, 3]] <= 0.5 + 1e-6).all()
    assert (norms[[2, 4]] > 0.5).all()


def test_decoding():
    """The same tokens as on the reference backend, and as one by one."""
    cr.random.seed(0)

    class Model(nn.Module):
        def __init__(self):
            layer = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, rotary=True)
            self.embedding = nn.Embedding(7, 8)
            self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
            self.head = nn.Linear(8, 7)

        def forward(self, tokens, state=None):
            state = self.layers.empty_cache(tokens.shape[0], 5) if state is None else state
            out, state = self.layers(self.embedding(tokens), cache=state)
            return self.head(out), state

    model = Model()
    for settings in ({"temperature": 0}, {"seed": 1, "top_k": 5, "top_p": 0.8, "exclude": [2]}):
        found = nn.decoding.generate(model, [[1, 2], [3, 1]], 12, **settings)
        again = nn.decoding.generate(model, [[1, 2], [3, 1]], 12, **settings)
        np.testing.assert_array_equal(found, again)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHAINRULE_BACKEND", "reference")
            wanted = nn.decoding.generate(model, [[1, 2], [3, 1]], 12, **settings)
        np.testing.assert_array_equal(found, wanted)
    tokens, scores = nn.decoding.beam_search(model, [1, 2], 5, width=3)
    assert tokens.shape == (3, 7)
    assert (np.diff(scores) <= 0).all()


def test_a_token_outside_names_its_position():
    table = nn.Embedding(3, 2)
    with pytest.raises(cr.errors.RangeError, match=r"got the index 5 at position \(1, 0\)"):
        cr.compile(table)(cr.Tensor([[0, 1], [5, 2]]))
