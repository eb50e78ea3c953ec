"""Layers and losses in float64 beside PyTorch's: values and gradients to 1e-12, and places of NaN.

A constant that went through float32 would be seen in the eighth digit.
"""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn

F, G, T = nn.functional, torch.nn.functional, torch.nn
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6))
IMAGE = RNG.normal(size=(2, 5, 6, 4))

FUNCTIONS = {
    # settings of either library
    "celu": {"alpha": 0.7},
    "elu": {"alpha": 0.7},
    "gelu": {},
    "gelu tanh": {"approximate": "tanh"},
    "glu": {},
    "hardshrink": {"lambd": 0.3},
    "hardsigmoid": {},
    "hardswish": {},
    "hardtanh": {"min_val": -0.1, "max_val": 0.7},
    "leaky_relu": {"negative_slope": 0.01},
    "logsigmoid": {},
    "mish": {},
    "normalize": {"p": 3.0},
    "normalize 1": {"p": 1.0},
    "relu": {},
    "relu6": {},
    "selu": {},
    "sigmoid": {},
    "silu": {},
    "softplus": {},
    "softsign": {},
    "tanh": {},
    "softshrink": {"lambd": 0.3},
    "tanhshrink": {},
    "threshold": {"threshold": 0.1, "value": 0.3},
}


def both(ours, theirs, arrays):
    """Values and gradients of the sum of squares and of the value, by either library."""
    xs = [cr.Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    ts = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y, z = ours(*xs), theirs(*ts)
    assert y.dtype == np.float64
    (y + 0.1 * y * y).sum().backward()
    (z + 0.1 * z * z).sum().backward()
    found = [y, *(x.grad for x, t in zip(xs, ts, strict=True) if t.grad is not None)]
    wanted = [z, *(t.grad for t in ts if t.grad is not None)]
    return [f.numpy() for f in found], [w.numpy(force=True) for w in wanted]


def compare(ours, theirs, arrays, slopes=1e-12):
    found, wanted = both(ours, theirs, arrays)
    for k, (f, w) in enumerate(zip(found, wanted, strict=True)):
        np.testing.assert_allclose(f, w, rtol=slopes if k else 1e-12, atol=1e-13)


PYTORCHS_SLOPES = {"celu": 1e-7, "hardsigmoid": 1e-7}  # it computes them with float32 constants


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    settings, function = FUNCTIONS[name], name.split()[0]
    compare(
        lambda x: getattr(F, function)(x, **settings),
        lambda x: getattr(G, function)(x, **settings),
        [X],
        PYTORCHS_SLOPES.get(name, 1e-12),
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_what_is_not_a_number(name):
    settings, function = FUNCTIONS[name], name.split()[0]
    x = np.where(np.eye(4, 6) > 0, np.nan, X)
    found = getattr(F, function)(cr.Tensor(x), **settings).numpy()
    wanted = getattr(G, function)(torch.tensor(x), **settings).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-12, equal_nan=True)


def first(x):
    """An image of PyTorch's layout."""
    return torch.movedim(x, -1, 1)


def last(x):
    return torch.movedim(x, 1, -1)


@pytest.mark.parametrize("size", [(13, 13), (15, 14), (14, 13), 14])
def test_transposed_convolutions_to_a_size(size):
    """Of (5, 6) with these settings: from (13, 13) to (15, 14)."""
    settings = 4, 3, 3, (3, 2), 1, 0, 1, True, (1, 2)
    ours, theirs = nn.ConvTranspose2d(*settings), T.ConvTranspose2d(*settings, dtype=torch.float64)
    weight, bias = (t.numpy(force=True) for t in (theirs.weight, theirs.bias))
    ours.weight, ours.bias = nn.Parameter(weight.transpose(2, 3, 1, 0)), nn.Parameter(bias)
    sizes = [size, size] if isinstance(size, int) else size
    compare(
        lambda x: ours(x, output_size=size),
        lambda x: last(theirs(first(x), output_size=sizes)),
        [IMAGE],
    )


W, B = RNG.uniform(0.5, 2, 4), RNG.normal(size=4)
LAYERS = {
    # ours, PyTorch's (of channels-first images where it differs)
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), lambda: T.BatchNorm2d(4, dtype=torch.float64)),
    "BatchNorm2d eval": (
        lambda: nn.BatchNorm2d(4).eval(),
        lambda: T.BatchNorm2d(4, dtype=torch.float64).eval(),
    ),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), lambda: T.GroupNorm(2, 4, dtype=torch.float64)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4), lambda: T.InstanceNorm2d(4)),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1), lambda: T.AvgPool2d(3, 2, 1)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), lambda: T.MaxPool2d(3, 2, 1)),
    "AdaptiveAvgPool2d": (
        lambda: nn.AdaptiveAvgPool2d((2, 4)),
        lambda: T.AdaptiveAvgPool2d((2, 4)),
    ),
    "AdaptiveMaxPool2d": (
        lambda: nn.AdaptiveMaxPool2d((2, 4)),
        lambda: T.AdaptiveMaxPool2d((2, 4)),
    ),
    "Upsample": (lambda: nn.Upsample(scale_factor=3), lambda: T.Upsample(scale_factor=3)),
    "Upsample bilinear": (
        lambda: nn.Upsample(scale_factor=3, mode="bilinear"),
        lambda: T.Upsample(scale_factor=3, mode="bilinear"),
    ),
    "Dropout eval": (lambda: nn.Dropout(0.3).eval(), lambda: T.Dropout(0.3).eval()),
    "AlphaDropout eval": (lambda: nn.AlphaDropout(0.3).eval(), lambda: T.AlphaDropout(0.3).eval()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    ours, theirs = (make() for make in LAYERS[name])
    compare(ours, lambda x: last(theirs(first(x))), [IMAGE])


PARAMETERS = {
    # functions of an input and parameters, all in float64
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, 4, w, b),
        lambda x, w, b: G.layer_norm(x, (4,), w, b),
    ),
    "rms_norm": (
        lambda x, w, b: F.rms_norm(x, 4, w) + b,
        lambda x, w, b: G.rms_norm(x, (4,), w) + b,
    ),
    "rms_norm eps": (
        lambda x, w, b: F.rms_norm(x, 4, w, 1e-3),
        lambda x, w, b: G.rms_norm(x, (4,), w, 1e-3),
    ),
    "prelu": (lambda x, w, b: F.prelu(x, w), lambda x, w, b: last(G.prelu(first(x), w))),
    "attention": (
        lambda x, w, b: F.scaled_dot_product_attention(x * w, x + b, x),
        lambda x, w, b: G.scaled_dot_product_attention(x * w, x + b, x),
    ),
    "attention, masked": (
        lambda x, w, b: F.scaled_dot_product_attention(x * w, x + b, x, np.eye(6) > 0),
        lambda x, w, b: G.scaled_dot_product_attention(x * w, x + b, x, torch.eye(6) > 0),
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_functions_of_parameters(name):
    compare(*PARAMETERS[name], [IMAGE, W, B])


def test_rms_norm_of_small_numbers():
    """The default eps is that of the dtype, as in PyTorch."""
    for dtype in (np.float64, np.float32):
        x = np.array([[1e-4, 2e-4]], dtype)
        wanted = G.rms_norm(torch.tensor(x), (2,)).numpy()
        np.testing.assert_allclose(F.rms_norm(x, 2).numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(nn.RMSNorm(2)(np.full((1, 2), 1e-6)).numpy(), 1.0, rtol=1e-3)


def test_recurrent_layers_and_attention_in_float64():
    """The same weights in either library, converted to float64."""
    x = RNG.normal(size=(2, 5, 4))
    for ours, theirs in (
        (nn.GRU(4, 3), T.GRU(4, 3, batch_first=True)),
        (nn.LSTM(4, 3), T.LSTM(4, 3, batch_first=True)),
        (nn.RNN(4, 3), T.RNN(4, 3, batch_first=True)),
        (nn.MultiheadAttention(4, 2), T.MultiheadAttention(4, 2, batch_first=True)),
        (
            nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0),
            T.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True),
        ),
        (nn.Linear(4, 3), T.Linear(4, 3)),
    ):
        theirs = theirs.double()
        for name, value in theirs.state_dict().items():
            owner = ours
            *path, leaf = name.split(".")
            for part in path:
                owner = getattr(owner, part)
            setattr(owner, leaf, nn.Parameter(cr.Tensor(value.numpy())))
        attends = isinstance(theirs, T.MultiheadAttention)
        t = torch.tensor(x)
        found, wanted = ours(cr.Tensor(x)), theirs(t, t, t) if attends else theirs(t)
        found, wanted = (y[0] if isinstance(y, tuple) else y for y in (found, wanted))
        assert found.dtype == np.float64
        np.testing.assert_allclose(
            found.numpy(), wanted.numpy(force=True), rtol=1e-11, atol=1e-13, err_msg=str(theirs)
        )


P, SIGNS = RNG.uniform(0.1, 0.9, (4, 6)), RNG.choice([-1.0, 1.0], (4, 6))
LOSSES = {
    # a loss's tensors and settings
    "binary_cross_entropy": ((P, P[::-1]), {}),
    "binary_cross_entropy_with_logits": ((X, P), {}),
    "cosine_embedding_loss": ((X, P, SIGNS[:, 0]), {"margin": 0.1}),
    "cross_entropy": ((X, np.arange(4)), {"label_smoothing": 0.1}),
    "cross_entropy probabilities": ((X, P), {}),
    "gaussian_nll_loss": ((X, SIGNS, P), {"full": True}),
    "gaussian_nll_loss per row": ((X, SIGNS, P[:, 0]), {}),
    "hinge_embedding_loss": ((X, SIGNS), {"margin": 0.3}),
    "huber_loss": ((X, SIGNS), {"delta": 0.7}),
    "kl_div": ((X, P), {"reduction": "batchmean"}),
    "kl_div log": ((X, -P), {"log_target": True, "reduction": "sum"}),
    "l1_loss": ((X, P), {}),
    "margin_ranking_loss": ((X, P, SIGNS), {"margin": 0.1}),
    "mse_loss": ((X, P), {}),
    "nll_loss": ((X, np.arange(4)), {}),
    "poisson_nll_loss": ((X, 3 * P), {"full": True}),
    "poisson_nll_loss rate": ((P, P), {"log_input": False}),
    "smooth_l1_loss": ((X, P), {"beta": 0.7}),
    "soft_margin_loss": ((X, SIGNS), {}),
    "triplet_margin_loss": ((X, P, SIGNS), {"margin": 0.3}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    tensors, settings = LOSSES[name]
    ours, theirs = (getattr(m, name.split()[0]) for m in (F, G))
    compare(
        lambda x: ours(x, *tensors[1:], **settings),
        lambda x: theirs(x, *[torch.tensor(t.copy()) for t in tensors[1:]], **settings),
        [tensors[0]],
    )


WHOLE = ["l1_loss", "mse_loss", "smooth_l1_loss", "poisson_nll_loss"]  # what PyTorch computes


@pytest.mark.parametrize("name", WHOLE)
def test_losses_of_whole_predictions(name):
    wanted = getattr(G, name)(torch.tensor([1, 3]), torch.tensor([0.7, 2.7]))
    found = getattr(F, name)(np.array([1, 3]), np.array([0.7, 2.7], np.float32))
    assert str(found.dtype) == str(wanted.dtype).removeprefix("torch.")
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6)
