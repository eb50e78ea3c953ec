"""Layers and their functions: what they refuse, masks without a key, empty bags, whole numbers."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ChainruleError, DtypeError, RangeError, ShapeError

F = nn.functional
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(4, 6)).astype(np.float32)
IMAGE = RNG.normal(size=(2, 6, 6, 4)).astype(np.float32)
LINE, VOLUME = IMAGE[:, 0], IMAGE[:, :, :, None]
POINT = IMAGE[:, :1, :1]

REFUSED = {
    # what is called, and what the message says
    "softshrink": (lambda: F.softshrink(ROWS, -1.0), "lambd=-1.0; expected a number from 0"),
    "Softshrink": (lambda: nn.Softshrink(-1.0), "lambd=-1.0"),
    "hardtanh": (lambda: F.hardtanh(ROWS, 1.0, -1.0), "min_val=1.0, max_val=-1.0"),
    "hardtanh NaN": (lambda: F.hardtanh(ROWS, float("nan"), 1.0), "min_val=nan"),
    "Hardtanh": (lambda: nn.Hardtanh(2.0, 1.0), "max_val of 1.0|min_val=2.0"),
    "celu": (lambda: F.celu(ROWS, 0.0), "alpha=0"),
    "CELU": (lambda: nn.CELU(0.0), "alpha=0"),
    "GELU": (lambda: nn.GELU("erf"), "approximate"),
    "gelu": (lambda: F.gelu(ROWS, "erf"), "approximate"),
    "prelu": (lambda: F.prelu(ROWS, cr.ones(3)), "one for each of 6 channels"),
    "PReLU": (lambda: nn.PReLU(0), "num_parameters=0"),
    "glu": (lambda: F.glu(ROWS[:, :5]), "split"),
    "dropout": (lambda: F.dropout(ROWS, 1.5), "p=1.5; expected a number from 0 to 1"),
    "dropout shape": (lambda: F.dropout(ROWS, 0.5, shape=(2, 4, 6)), "the shape bool"),
    "Dropout": (lambda: nn.Dropout(-0.1), "p=-0.1"),
    "Dropout2d": (lambda: nn.Dropout2d(float("nan")), "p=nan"),
    "AlphaDropout": (lambda: nn.AlphaDropout(2), "p=2"),
    "normalize": (lambda: F.normalize(ROWS, p=-1.0), "ord"),
    "normalize eps": (lambda: F.normalize(ROWS, eps=-1.0), "eps=-1.0"),
    "layer_norm": (lambda: F.layer_norm(ROWS, 4), "normalized shape"),
    "layer_norm shape": (lambda: F.layer_norm(ROWS, ()), "one or more"),
    "layer_norm axes": (lambda: F.layer_norm(ROWS, (2, 4, 6)), "normalized shape"),
    "layer_norm weight": (lambda: F.layer_norm(ROWS, 6, cr.ones(1)), "the weight float32"),
    "layer_norm bias": (lambda: F.layer_norm(ROWS, 6, None, cr.ones((4, 6))), "the bias"),
    "layer_norm eps": (lambda: F.layer_norm(ROWS, 6, eps=-1.0), "eps=-1.0"),
    "LayerNorm": (lambda: nn.LayerNorm(5)(ROWS), "normalized shape"),
    "LayerNorm size": (lambda: nn.LayerNorm(-1), "from 0"),
    "rms_norm": (lambda: F.rms_norm(ROWS, 4), "normalized shape"),
    "rms_norm weight": (lambda: F.rms_norm(ROWS, 6, cr.ones(1)), "the weight"),
    "rms_norm eps": (lambda: F.rms_norm(ROWS, 6, eps=-1e-6), "eps"),
    "RMSNorm": (lambda: nn.RMSNorm((4, 5))(ROWS), "normalized shape"),
    "BatchNorm eps": (lambda: nn.BatchNorm1d(6, eps=-1.0), "eps=-1.0"),
    "BatchNorm eps 0": (lambda: nn.BatchNorm2d(6, eps=0.0), "eps=0.0; expected a number above 0"),
    "BatchNorm momentum": (lambda: nn.BatchNorm1d(6, momentum=2.0), "momentum=2.0"),
    "BatchNorm size": (lambda: nn.BatchNorm1d(-6), "num_features=-6"),
    "BatchNorm of one": (lambda: nn.BatchNorm1d(6)(ROWS[:1]), "more than one value"),
    "BatchNorm of one pixel": (
        lambda: nn.BatchNorm2d(4)(POINT[:1]),
        r"\[BatchNorm2d\] got float32\[1,1,1,4\] while training; .*; use a larger",
    ),
    "BatchNorm1d of images": (lambda: nn.BatchNorm1d(4)(IMAGE), r"\(N, 4\) or \(N, H, 4\)"),
    "BatchNorm2d of lines": (lambda: nn.BatchNorm2d(4)(LINE), r"\(N, H, W, 4\)"),
    "BatchNorm3d of images": (lambda: nn.BatchNorm3d(4)(IMAGE), r"\(N, H, W, D, 4\)"),
    "InstanceNorm of one": (lambda: nn.InstanceNorm2d(4)(POINT), "more than one value"),
    "InstanceNorm1d of one": (lambda: nn.InstanceNorm1d(4)(POINT[:, 0]), "more than one value"),
    "InstanceNorm momentum": (lambda: nn.InstanceNorm2d(4, momentum=2.0), "momentum=2.0"),
    "InstanceNorm1d of images": (lambda: nn.InstanceNorm1d(4)(IMAGE), r"\(N, H, 4\)"),
    "GroupNorm of one": (lambda: nn.GroupNorm(6, 6)(ROWS), "more than one value"),
    "GroupNorm": (lambda: nn.GroupNorm(4, 6), "divides the channels"),
    "GroupNorm none": (lambda: nn.GroupNorm(0, 6), "num_groups=0"),
    "Linear": (lambda: nn.Linear(-1, 2), "in_features=-1"),
    "Linear half": (lambda: nn.Linear(2, 2.5), "out_features=2.5"),
    "linear bias": (lambda: F.linear(ROWS, cr.ones((1, 6)), cr.ones(5)), "the bias"),
    "masked_fill": (lambda: F.masked_fill(ROWS[:, 0], ROWS[:, :1] > 0, 0.0), "the mask"),
    "Residual": (lambda: nn.Residual(nn.Linear(6, 1))(ROWS), "equal shapes"),
    "Bilinear of rows": (lambda: nn.Bilinear(6, 6, 2)(ROWS, ROWS[:, None]), "leading sizes"),
    "Bilinear of sizes": (lambda: nn.Bilinear(6, 5, 2)(ROWS, ROWS), "leading sizes"),
    "Bilinear": (lambda: nn.Bilinear(0, 2, 2), "=0; expected a whole number from 1"),
    "Embedding": (lambda: nn.Embedding(-3, 2), "num_embeddings=-3"),
    "Embedding padding": (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx=3"),
    "Embedding padding below": (lambda: nn.Embedding(3, 2, padding_idx=-4), "padding_idx=-4"),
    "Embedding of floats": (lambda: nn.Embedding(3, 2)(np.ones(2)), r"\[Embedding\].*integer"),
    "Embedding of bools": (lambda: nn.Embedding(3, 2)(np.ones(2, bool)), "integer"),
    "EmbeddingBag of a number": (lambda: nn.EmbeddingBag(3, 2)(np.array(1)), r"\(N, L\)"),
    "Dropout2d of a vector": (lambda: nn.Dropout2d()(ROWS[0]), r"\(N, \*size, C\)"),
    "StochasticDepth": (lambda: nn.StochasticDepth(1.5), "p=1.5"),
    "SqueezeExcitation": (lambda: nn.SqueezeExcitation(4, 0), "squeeze_channels=0"),
    "SqueezeExcitation of 3": (lambda: nn.SqueezeExcitation(3, 1)(IMAGE), r"\(N, \*size, 3\)"),
    "nll_loss of a number": (lambda: F.nll_loss(-1.0, np.array(0)), "scores float32"),
    "EmbeddingBag padding": (lambda: nn.EmbeddingBag(3, 2, padding_idx=5), "padding_idx=5"),
    "EmbeddingBag mode": (lambda: nn.EmbeddingBag(3, 2, mode="median"), "median"),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 0), "num_heads=0"),
    "MultiheadAttention size": (lambda: nn.MultiheadAttention(-4, 2), "embed_dim=-4"),
    "MultiheadAttention heads": (lambda: nn.MultiheadAttention(4, 3), "divides the channels"),
    "MultiheadAttention dropout": (lambda: nn.MultiheadAttention(4, 2, 2.0), "dropout=2.0"),
    "MultiheadAttention of rows": (lambda: nn.MultiheadAttention(6, 2)(ROWS[0]), r"\(N, T, 6\)"),
    "MultiheadAttention of 4": (lambda: nn.MultiheadAttention(6, 2)(LINE), r"\(N, T, 6\)"),
    "MultiheadAttention of a batch": (
        lambda: nn.MultiheadAttention(4, 2)(LINE, LINE[:1]),
        r"a key and a value \(N, S, 4\)",
    ),
    "MultiheadAttention of values": (
        lambda: nn.MultiheadAttention(4, 2)(LINE, LINE, LINE[:, :2]),
        "a key and a value",
    ),
    "TransformerEncoderLayer": (
        lambda: nn.TransformerEncoderLayer(4, 2, activation="tahn"),
        "activation 'tahn'",
    ),
    "LSTM": (lambda: nn.LSTM(0, 3), "input_size=0"),
    "GRU": (lambda: nn.GRU(3, -1), "hidden_size=-1"),
    "RNN layers": (lambda: nn.RNN(3, 3, 0), "num_layers=0"),
    "RNN dropout": (lambda: nn.RNN(3, 3, 2, dropout=1.5), "dropout=1.5"),
    "Conv2d groups": (lambda: nn.Conv2d(4, 4, 3, groups=0), "groups=0"),
    "Conv2d channels": (lambda: nn.Conv2d(-4, 4, 3), "in_channels=-4"),
    "Conv2d kernel": (lambda: nn.Conv2d(4, 4, 0), "from 1"),
    "Conv2d stride": (lambda: nn.Conv2d(4, 4, 1, stride=0), "from 1"),
    "Conv2d padding": (lambda: nn.Conv2d(4, 4, 3, padding="full"), "valid, same or numbers"),
    "Conv2d same": (lambda: nn.Conv2d(4, 4, 3, 2, padding="same"), "stride of 1"),
    "convolution same": (
        lambda: cr.convolution(IMAGE, cr.ones((3, 3, 4, 1)), stride=2, padding="same"),
        "stride of 1",
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 1, 3, stride=2, output_padding=2)(IMAGE),
        "less than the str",
    ),
    "ConvTranspose1d": (
        lambda: nn.ConvTranspose1d(4, 1, 3, output_padding=1)(LINE),
        "less than the stride",
    ),
    "ConvTranspose2d output size": (
        lambda: nn.ConvTranspose2d(4, 1, 3, 2, 1)(IMAGE, output_size=(12, 13)),
        r"output_size=\(12, 13\) for sizes \(6, 6\); expected \(11, 11\) to \(12, 12\)",
    ),
    "ConvTranspose2d output sizes": (
        lambda: nn.ConvTranspose2d(4, 1, 3, 2)(IMAGE, output_size=(1, 2, 3)),
        "or 2 of them",
    ),
    "Conv2d padding_mode": (
        lambda: nn.Conv2d(4, 4, 3, padding_mode="wrap"),
        "one of zeros, reflect, replicate, circular",
    ),
    "MaxPool1d": (lambda: nn.MaxPool1d(2, padding=2)(LINE), "half the window"),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, padding=(1, 2))(IMAGE), "half the window"),
    "MaxPool3d": (lambda: nn.MaxPool3d(2, padding=2)(VOLUME), "half the window"),
    "max_pool": (lambda: cr.max_pool(IMAGE, 1, padding=1), "half the window"),
    "max_pool dilated": (lambda: cr.max_pool(IMAGE, 2, padding=2, dilation=3), "half the window"),
    "max_pool between": (
        lambda: cr.max_pool(LINE[:, :1], 2, padding=1, dilation=2),
        "an element in each window",
    ),
    "AvgPool2d": (lambda: nn.AvgPool2d(2, padding=2)(IMAGE), "half the window"),
    "sum_pool": (lambda: cr.sum_pool(IMAGE, 2, padding=2), "half the window"),
    "MaxPool2d of lines": (lambda: nn.MaxPool2d(2)(LINE), r"\(N, H, W, C\)"),
    "AvgPool1d of images": (lambda: nn.AvgPool1d(2)(IMAGE), r"\(N, H, C\)"),
    "AdaptiveAvgPool1d of rows": (lambda: nn.AdaptiveAvgPool1d(1)(ROWS), r"\(N, H, C\)"),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(0)(IMAGE), "from 1"),
    "AdaptiveAvgPool of nothing": (lambda: nn.AdaptiveAvgPool2d(1)(IMAGE[:, :0]), "sizes above 0"),
    "MaxPool of too little": (lambda: nn.MaxPool2d(7)(IMAGE), "window"),
    "clip_grad_norm_": (lambda: nn.utils.clip_grad_norm_([], -1.0), "max_norm=-1.0"),
    "clip_grad_value_": (lambda: nn.utils.clip_grad_value_([], -1.0), "clip_value=-1.0"),
    "max_norm_": (lambda: nn.utils.max_norm_(cr.ones((2, 2)), float("nan")), "max_value=nan"),
    "trunc_normal_": (lambda: nn.init.trunc_normal_(cr.ones(2), std=0.0), "std=0.0"),
    "trunc_normal_ ends": (lambda: nn.init.trunc_normal_(cr.ones(2), a=2.0, b=-2.0), "a below b"),
    "uniform_": (lambda: nn.init.uniform_(cr.ones(2), 2.0, 1.0), "2.0 to 1.0"),
    "normal_": (lambda: nn.init.normal_(cr.ones(2), std=-1.0), "std -1.0"),
    "Upsample": (lambda: nn.Upsample(), "size=None and scale_factor=None; expected one of them"),
    "Upsample by both": (lambda: nn.Upsample(8, 2), "size=8 and scale_factor=2"),
    "Upsample mode": (lambda: nn.Upsample(8, mode="cubic"), "mode 'cubic'; expected one of near"),
    "Upsample corners": (lambda: nn.Upsample(8, align_corners=True), "align_corners=True and mode"),
    "Upsample by 0": (lambda: F.interpolate(IMAGE, scale_factor=0), "scale_factor=0; .* above 0"),
    "Upsample to nothing": (lambda: F.interpolate(IMAGE, scale_factor=0.1), "sizes above 0"),
    "Upsample of nothing": (lambda: F.interpolate(IMAGE[:, :0], 2), "sizes above 0"),
    "Upsample by three": (lambda: F.interpolate(IMAGE, scale_factor=(2, 2, 2)), "or 2 of them"),
    "Upsample to three": (lambda: F.interpolate(IMAGE, (2, 2, 2)), "or 2 of them"),
    "Upsample of rows": (lambda: F.interpolate(ROWS, 2), r"\(N, \*size, C\)"),
    "Upsample bilinear": (lambda: F.interpolate(LINE, 2, mode="bilinear"), r"\(N, H, W, C\)"),
    "PixelShuffle": (lambda: nn.PixelShuffle(3)(IMAGE), r"\(N, H, W, a multiple of 9\)"),
    "PixelShuffle of a line": (lambda: nn.PixelShuffle(2)(LINE), r"x\[None\]"),
    "PixelUnshuffle": (
        lambda: nn.PixelUnshuffle(4)(IMAGE),
        r"\(N, a multiple of 4, a multiple of 4, C\)",
    ),
    "PixelUnshuffle by 0": (lambda: nn.PixelUnshuffle(0), "downscale_factor=0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, says = REFUSED[name]
    with pytest.raises(ChainruleError, match=says):
        call()


def test_what_is_at_the_edge_of_a_range_is_taken():
    F.hardtanh(ROWS, 1.0, 1.0)
    F.softshrink(ROWS, 0.0)
    np.testing.assert_array_equal(F.hardshrink(ROWS, -1.0), ROWS)
    np.testing.assert_array_equal(nn.AlphaDropout(1)(ROWS), 0 * ROWS)
    nn.BatchNorm1d(6, momentum=None)(ROWS)
    nn.ConvTranspose2d(4, 1, 3, stride=2, dilation=3, output_padding=2)(IMAGE)
    nn.MaxPool2d(3, padding=1, dilation=2)(IMAGE)
    nn.Embedding(3, 2, padding_idx=-3)(np.array([0]))
    nn.GroupNorm(6, 6)(IMAGE.repeat(2, axis=-1)[..., :6])


# ── attention ────────────────────────────────────────────────────────────────────────────────────

WHOLE = np.triu(np.ones((3, 3), int), 1)
X = RNG.normal(size=(2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_masks_of_whole_numbers(dtype):
    mask, padding = WHOLE.astype(dtype), WHOLE[:2].astype(dtype)
    attention, layer = nn.MultiheadAttention(4, 2), nn.TransformerEncoderLayer(4, 2, 8)
    for call in (
        lambda: F.scaled_dot_product_attention(X, X, X, attn_mask=mask),
        lambda: attention(X, attn_mask=mask),
        lambda: attention(X, key_padding_mask=padding),
        lambda: layer(X, src_mask=mask),
        lambda: layer(X, src_key_padding_mask=padding),
    ):
        with pytest.raises(DtypeError, match="expected bool, or floats"):
            call()


def test_masks_of_another_shape():
    attention = nn.MultiheadAttention(4, 2)
    for name, mask in {
        "attn_mask": np.zeros((2, 3, 3), bool),
        "key_padding_mask": np.zeros((3, 3), bool),
    }.items():
        with pytest.raises(ShapeError, match=name):
            attention(X, **{name: mask})
    with pytest.raises(ShapeError, match="mask"):
        F.scaled_dot_product_attention(X, X, X, attn_mask=np.zeros((5, 1, 3, 3), bool))


def test_a_mask_does_not_widen_the_result():
    mask = np.zeros((3, 3))
    assert F.scaled_dot_product_attention(X, X, X, attn_mask=mask).dtype == "float32"


ALLOWED = np.array([[True, True, False], [False, False, False], [True, False, False]])
GONE = np.array([[False, False, True], [True, True, True]])
INFINITE = np.where(ALLOWED, 0.5, -np.inf).astype(np.float32)
ATTENDING = {
    # of x (2, 3, 4), weights w: what has rows without a key, and where they are in the result
    "bool": (lambda x, w: F.scaled_dot_product_attention(x, x, x, ALLOWED), np.s_[:, 1]),
    "added": (lambda x, w: F.scaled_dot_product_attention(x, x, x, INFINITE), np.s_[:, 1]),
    "of float16": (
        lambda x, w: F.scaled_dot_product_attention(*[x.astype("float16")] * 3, ALLOWED).astype(
            "float32"
        ),
        np.s_[:, 1],
    ),
    "dropout": (
        lambda x, w: F.scaled_dot_product_attention(x, x, x, ALLOWED, dropout_p=0.5),
        np.s_[:, 1],
    ),
    "causal": (
        lambda x, w: F.scaled_dot_product_attention(x, x, x, ~ALLOWED.T, is_causal=True),
        np.s_[:, 0],
    ),
    "no keys": (lambda x, w: F.scaled_dot_product_attention(x, x[:, :0], x[:, :0]), np.s_[:]),
    "layer, padding": (lambda x, w: w.attend(x, key_padding_mask=GONE)[0], np.s_[1]),
    "layer, padding added": (
        lambda x, w: w.attend(x, key_padding_mask=np.where(GONE, -np.inf, 0.0))[0],
        np.s_[1],
    ),
    "layer, attn_mask": (lambda x, w: w.attend(x, attn_mask=~ALLOWED)[0], np.s_[:, 1]),
    "layer, both": (
        lambda x, w: w.attend(x, attn_mask=INFINITE, key_padding_mask=GONE)[0],
        np.s_[:, 1],
    ),
    "layer, weights": (lambda x, w: w.attend(x, key_padding_mask=GONE)[1], np.s_[1]),
}


@pytest.mark.parametrize("backend_name", ["eager", "reference", "native"])
@pytest.mark.parametrize("name", ATTENDING)
def test_a_query_that_may_attend_to_nothing_gives_0(name, backend_name, monkeypatch):
    call, masked = ATTENDING[name]
    holder = nn.Sequential()
    cr.random.seed(0)
    holder.attend = nn.MultiheadAttention(4, 2)
    parameters = [p for _, p in holder.named_parameters()]

    x = cr.Tensor(X, requires_grad=True)

    def step():
        y = call(x, holder)
        (y * y + y).sum().backward()
        return y

    if backend_name != "eager":
        monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
        step = cr.compile(step)
    y = step().numpy()
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(y[masked], 0 * y[masked])
    for t in (x, *parameters):
        if t.grad is not None:
            assert np.isfinite(t.grad.numpy()).all()


@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_layer_with_a_sequence_of_padding_alone(norm_first):
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, norm_first=norm_first)
    y = layer(X, src_key_padding_mask=GONE)
    y[0].sum().backward()
    assert np.isfinite(y.numpy()).all()
    alone = layer(X[:1], src_key_padding_mask=GONE[:1])
    np.testing.assert_allclose(y[0].numpy(), alone[0].numpy(), rtol=1e-5, atol=1e-6)
    assert all(np.isfinite(p.grad.numpy()).all() for p in layer.parameters())


# ── embeddings ───────────────────────────────────────────────────────────────────────────────────

LAYERS = {"Embedding": lambda: nn.Embedding(3, 2), "EmbeddingBag": lambda: nn.EmbeddingBag(3, 2)}


@pytest.mark.parametrize("backend_name", ["eager", "reference", "native"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("name", LAYERS)
def test_an_index_below_0_is_no_row(name, dtype, backend_name, monkeypatch):
    layer = LAYERS[name]()
    run = lambda x: layer(x)  # noqa: E731
    if backend_name != "eager":
        monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
        run = cr.compile(run)
    np.testing.assert_array_equal(
        run(cr.Tensor(np.array([[2]], dtype)))[0].numpy().reshape(-1), layer.weight.numpy()[2]
    )
    for wrong in (-1, 3):
        with pytest.raises(RangeError, match=rf"\[{name}\] got the index {wrong} at position"):
            run(cr.Tensor(np.array([[wrong]], dtype)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_an_index_above_the_table_is_no_row(dtype):
    with pytest.raises(RangeError, match="the index 200"):
        nn.Embedding(3, 2)(np.array([200], dtype))


@pytest.mark.parametrize("backend_name", ["reference", "native"])
def test_fit_refuses_an_index_below_0(backend_name, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
    codes = np.tile([1, -1, 0], 10)
    model = nn.Sequential(nn.Embedding(2, 3), nn.Linear(3, 2))
    with pytest.raises(RangeError, match="the index -1"):
        cr.fit(model, (codes, codes > 0), loss="cross_entropy", epochs=1, progress=False)


def test_indexing_counts_from_the_end():
    assert cr.take(cr.arange(3), cr.Tensor([-1])).tolist() == [2]


@pytest.mark.parametrize("backend_name", ["eager", "reference", "native"])
@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
def test_a_bag_of_padding_alone_is_0(mode, backend_name, monkeypatch):
    layer = nn.EmbeddingBag(4, 2, mode=mode, padding_idx=0)

    def step(x):
        y = layer(x)
        y.sum().backward()
        return y, layer.weight.grad

    if backend_name != "eager":
        monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
        step = cr.compile(step)
    y, gradient = step(cr.Tensor([[0, 0], [2, 0]]))
    np.testing.assert_array_equal(y.numpy(), [[0, 0], layer.weight.numpy()[2]])
    gradient = gradient.to_dense() if isinstance(gradient, cr.RowSparse) else gradient
    np.testing.assert_array_equal(gradient.numpy(), [[0, 0], [0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(layer(np.zeros((3, 0), int)).numpy(), np.zeros((3, 2)))


@pytest.mark.parametrize("backend_name", ["eager", "reference", "native"])
@pytest.mark.parametrize("lengths", [[4, 1], [-1, 2]])
def test_lengths_that_no_sequence_has(lengths, backend_name, monkeypatch):
    layer = nn.GRU(4, 2)
    run = lambda n: layer(X, lengths=n)[0]  # noqa: E731
    if backend_name != "eager":
        monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
        run = cr.compile(run)
    run(cr.Tensor([3, 0]))
    error = ShapeError if backend_name == "eager" else RangeError
    with pytest.raises(error, match=r"\[GRU\] got .*length.* from 0 to 3 per sequence, 2 in all"):
        run(cr.Tensor(lengths))


# ── whole numbers ────────────────────────────────────────────────────────────────────────────────

FUNCTIONS = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "normalize",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "bool"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_whole_numbers(name, dtype):
    """As of the same numbers in float64: nothing overflows, wraps or is cut off."""
    extremes = {"uint8": [0, 1, 100, 255], "bool": [0, 1, 1, 0]}.get(dtype, [-128, 1, 100, 127])
    x = np.array([extremes, [0, 2, 3, 4]]).astype(dtype)
    given = {"negative_slope": 0.3} if name == "leaky_relu" else {}
    found = getattr(F, name)(x, **given).numpy().astype(np.float64)
    wanted = getattr(F, name)(x.astype(np.float64), **given).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*FUNCTIONS, "threshold"])
def test_nan_is_not_hidden(name):
    """Neither in the value nor, as 0, in the gradient."""
    x = cr.Tensor([[math.nan, 1.0], [2.0, math.nan]], requires_grad=True)
    given = (0.1, 7.0) if name == "threshold" else ()
    y = getattr(F, name)(x, *given)
    assert np.isnan(y.numpy()).any(axis=-1).all()
    y.sum().backward()
    gradient = x.grad.numpy()
    assert (gradient[np.isnan(x.numpy())] != 0).all()


LAYERS_OF_NUMBERS = {
    "LayerNorm": (lambda: nn.LayerNorm(4), IMAGE),
    "RMSNorm": (lambda: nn.RMSNorm(4), IMAGE),
    "BatchNorm": (lambda: nn.BatchNorm2d(4), IMAGE),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(4), IMAGE),
    "PReLU": (lambda: nn.PReLU(4), IMAGE),
    "AvgPool": (lambda: nn.AvgPool2d(2), IMAGE),
    "Adaptive": (lambda: nn.AdaptiveAvgPool2d(4), IMAGE),
    "Upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "Linear": (lambda: nn.Linear(4, 2), IMAGE),
    "nearest": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "MaxPool": (lambda: nn.MaxPool2d(2), IMAGE),
    "Conv2d": (lambda: nn.Conv2d(4, 2, 3), IMAGE),
    "GRU": (lambda: nn.GRU(4, 3), LINE),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 2, 3), IMAGE),
    "sum_pool": (lambda: lambda x: cr.sum_pool(x, 3), IMAGE),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2), LINE),
    "attention": (lambda: lambda x: F.scaled_dot_product_attention(x, x, x), LINE),
    "dropout": (lambda: nn.Dropout(0.5).eval(), IMAGE),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
@pytest.mark.parametrize("name", LAYERS_OF_NUMBERS)
def test_layers_of_whole_numbers(name, dtype):
    make, x = LAYERS_OF_NUMBERS[name]
    layer, x = make(), (20 * np.abs(x)).astype(dtype)
    found, wanted = (layer(cr.Tensor(a)) for a in (x, x.astype(np.float32)))
    found, wanted = (t[0] if isinstance(t, tuple) else t for t in (found, wanted))
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-5)


def test_upsampling_bytes():
    """0, 25, 75, 100: what PyTorch gives for uint8 too."""
    image = np.array([[0, 100], [0, 100]], np.uint8)[None, :, :, None]
    found = nn.Upsample(scale_factor=2, mode="bilinear")(image)
    np.testing.assert_array_equal(found.numpy()[0, :, :, 0], [[0, 25, 75, 100]] * 4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm", "GroupNorm", "BatchNorm"])
def test_the_square_of_a_half_float_does_not_overflow(name, dtype):
    layer, x = LAYERS_OF_NUMBERS[name][0](), 300 * IMAGE
    found = layer(cr.Tensor(x).astype(dtype)).astype("float32").numpy()
    np.testing.assert_allclose(found, layer(cr.Tensor(x)).numpy(), atol=0.05)


def test_prelu_of_a_number():
    assert nn.PReLU()(cr.Tensor(-2.0)).shape == ()
    assert nn.PReLU()(cr.Tensor(-2.0)).item() == -0.5
    assert F.prelu(cr.Tensor([-2.0]), cr.Tensor(0.25)).tolist() == [-0.5]


def test_settings_that_are_no_numbers():
    with pytest.raises(ArgumentError, match="lambd='a'"):
        F.softshrink(ROWS, "a")
