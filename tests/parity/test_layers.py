"""Layers beside PyTorch's, in networks that are trained: 50 steps, the losses within 1e-4."""

import numpy as np
import pytest
import torch
from following import F, FlattenFirst, G, T, channels_first, follow, images, points

import chainrule as cr
from chainrule import nn

ACTIVATIONS = [
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "ELU",
    "SELU",
    "CELU",
    "GELU",
    "SiLU",
    "Mish",
    "Sigmoid",
    "LogSigmoid",
    "Tanh",
    "Softplus",
    "Softsign",
    "Hardtanh",
    "Hardsigmoid",
    "Hardswish",
    "Hardshrink",
    "Softshrink",
    "Tanhshrink",
    "PReLU",
]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    torch.manual_seed(0)
    theirs = T.Sequential(T.Linear(6, 16), getattr(T, name)(), T.Linear(16, 4))
    ours = nn.Sequential(nn.Linear(6, 16), getattr(nn, name)(), nn.Linear(16, 4))
    follow(ours, theirs, points(), nn.functional.cross_entropy, T.functional.cross_entropy)


NORMS = {
    "BatchNorm1d": ((8,), (8,)),
    "BatchNorm1d no momentum": ((8, 1e-5, None), (8, 1e-5, None)),
    "LayerNorm": ((8,), (8,)),
    "RMSNorm": ((8,), (8,)),
    "GroupNorm": ((2, 8), (2, 8)),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalisations(name):
    kind = name.split()[0]
    torch.manual_seed(0)
    theirs = T.Sequential(
        T.Linear(6, 8), getattr(T, kind)(*NORMS[name][1]), T.Tanh(), T.Linear(8, 4)
    )
    ours = nn.Sequential(
        nn.Linear(6, 8), getattr(nn, kind)(*NORMS[name][0]), nn.Tanh(), nn.Linear(8, 4)
    )
    follow(ours, theirs, points(), nn.functional.cross_entropy, T.functional.cross_entropy)
    if kind == "BatchNorm1d":
        x = points()[0][0]
        ours.eval()
        theirs.eval()
        np.testing.assert_allclose(
            ours(x).numpy(), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_recurrent_with_lengths(kind):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    lengths = np.array([7, 3, 5, 1])

    class Theirs(T.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(T, kind)(3, 6, 2, batch_first=True, bidirectional=True)
            self.head = T.Linear(12, 4)

        def forward(self, x):
            packed = T.utils.rnn.pack_padded_sequence(
                x, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
            )
            out, _ = T.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
            return self.head(out.sum(1))

    class Ours(nn.Module):
        def __init__(self):
            self.rnn = getattr(nn, kind)(3, 6, 2, bidirectional=True)
            self.head = nn.Linear(12, 4)

        def forward(self, x):
            return self.head(self.rnn(x, lengths=cr.Tensor(lengths))[0].sum(axis=1))

    batches = [(rng.normal(size=(4, 7, 3)).astype(np.float32), rng.integers(0, 4, 4))] * 2
    follow(Ours(), Theirs(), batches, F.cross_entropy, G.cross_entropy)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups):
    torch.manual_seed(0)
    theirs = T.Sequential(
        T.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups),
        T.Tanh(),
        T.AdaptiveMaxPool2d(3),
        FlattenFirst(),
        T.Linear(36, 4),
    )
    ours = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups),
        nn.Tanh(),
        nn.AdaptiveMaxPool2d(3),
        nn.Flatten(),
        nn.Linear(36, 4),
    )
    follow(ours, theirs, images(6, 2), F.cross_entropy, G.cross_entropy, prepare=channels_first)


ON_IMAGES = {
    # the layer, from either library, and how many features come out of (6, 6, 4)
    "GroupNorm": (lambda m: m.GroupNorm(2, 4), 144),
    "InstanceNorm2d": (lambda m: m.InstanceNorm2d(4), 144),
    "InstanceNorm2d affine": (lambda m: m.InstanceNorm2d(4, affine=True), 144),
    "PReLU": (lambda m: m.PReLU(4), 144),
    "GLU": (lambda m: m.GLU(1 if m is T else -1), 72),
    "Softmax": (lambda m: m.Softmax(1 if m is T else -1), 144),
    "LogSoftmax": (lambda m: m.LogSoftmax(1 if m is T else -1), 144),
    "Threshold": (lambda m: m.Threshold(0.1, -0.2), 144),
    "AvgPool2d": (lambda m: m.AvgPool2d(3, 2, 1), 36),
    "AdaptiveAvgPool2d": (lambda m: m.AdaptiveAvgPool2d((4, 3)), 48),
    "Upsample": (lambda m: m.Upsample(scale_factor=2), 576),
    "Upsample bilinear": (lambda m: m.Upsample(scale_factor=3, mode="bilinear"), 1296),
    "Conv2d": (lambda m: m.Conv2d(4, 6, 3, 2, 2, dilation=2, groups=2), 54),
    "Conv2d reflect": (lambda m: m.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), 72),
    "Conv2d circular": (lambda m: m.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), 72),
    "ConvTranspose2d": (lambda m: m.ConvTranspose2d(4, 2, 3, 2, 1, 1, 2, False, 2), 392),
}


@pytest.mark.parametrize("name", ON_IMAGES)
def test_layers_on_images(name):
    torch.manual_seed(0)
    make, features = ON_IMAGES[name]
    theirs = T.Sequential(
        T.Conv2d(2, 4, 3, padding=1), make(T), T.Tanh(), FlattenFirst(), T.Linear(features, 4)
    )
    ours = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), make(nn), nn.Tanh(), nn.Flatten(), nn.Linear(features, 4)
    )
    follow(ours, theirs, images(6, 2), F.cross_entropy, G.cross_entropy, prepare=channels_first)


@pytest.mark.parametrize("n", [1, 3])
def test_layers_on_lines_and_volumes(n):
    torch.manual_seed(0)

    def layers(m):
        def of(kind, *settings):
            return getattr(m, f"{kind}{n}d")(*settings)

        return [
            of("Conv", 2, 4, 3),
            of("BatchNorm", 4),
            of("MaxPool", 2),
            m.ReLU(),
            of("ConvTranspose", 4, 2, 3, 2),
            of("InstanceNorm", 2),
            of("AdaptiveAvgPool", 3),
        ]

    theirs = T.Sequential(*layers(T), FlattenFirst(), T.Linear(2 * 3**n, 4))
    ours = nn.Sequential(*layers(nn), nn.Flatten(), nn.Linear(2 * 3**n, 4))
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(8, *(7,) * n, 2)).astype(np.float32), rng.integers(0, 4, 8))
        for _ in range(2)
    ]
    follow(ours, theirs, batches, F.cross_entropy, G.cross_entropy, prepare=channels_first)


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
def test_embedding_bag(mode):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    theirs = T.Sequential(T.EmbeddingBag(11, 8, mode=mode, padding_idx=2), T.Linear(8, 4))
    ours = nn.Sequential(nn.EmbeddingBag(11, 8, mode=mode, padding_idx=2), nn.Linear(8, 4))
    bags = [rng.integers(0, 11, (16, 5)) for _ in range(3)]
    for bag in bags:
        bag[:, 0] = 1  # none is empty
    batches = [(bag, rng.integers(0, 4, 16)) for bag in bags]
    follow(ours, theirs, batches, F.cross_entropy, G.cross_entropy)


def test_bilinear():
    torch.manual_seed(0)

    def joined(m, layer):
        class Joined(m.Module):
            def __init__(self):
                super().__init__()
                self.layer = layer

            def forward(self, x):
                return self.layer(x[:, :2], x[:, 2:])

        return Joined()

    ours, theirs = joined(nn, nn.Bilinear(2, 4, 4)), joined(T, T.Bilinear(2, 4, 4))
    follow(ours, theirs, points(), F.cross_entropy, G.cross_entropy)


FORBIDDEN = np.triu(np.ones((6, 6), bool), 1)
ADDED = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
PADDED = np.arange(6) >= np.array([6, 3, 5, 1])[:, None]
MASKS = {
    # attn_mask, key_padding_mask
    "padding": (None, PADDED),
    "forbidden": (FORBIDDEN, None),
    "both": (FORBIDDEN, PADDED),
    "added": (ADDED, None),
    "a head": (np.stack([FORBIDDEN, FORBIDDEN * 0] * 4).astype(bool), PADDED),
}


@pytest.mark.parametrize("name", MASKS)
def test_attention_with_masks(name):
    torch.manual_seed(0)
    masks = dict(zip(("attn_mask", "key_padding_mask"), MASKS[name], strict=True))

    def attending(m, layer, head, join, given):
        class Attending(m.Module):
            def __init__(self):
                super().__init__()
                self.layer, self.head = layer, head

            def forward(self, x):
                out, weights = self.layer(x, x, x, **given)
                return self.head(join([out, weights], -1))[:, 2]

        return Attending()

    theirs = attending(
        T,
        T.MultiheadAttention(8, 2, batch_first=True),
        T.Linear(14, 4),
        torch.cat,
        {k: None if v is None else torch.from_numpy(v) for k, v in masks.items()},
    )
    ours = attending(
        nn,
        nn.MultiheadAttention(8, 2),
        nn.Linear(14, 4),
        lambda parts, axis: cr.concat(parts, axis=axis),
        masks,
    )
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(4, 6, 8)).astype(np.float32), rng.integers(0, 4, 4)) for _ in range(3)
    ]
    follow(ours, theirs, batches, F.cross_entropy, G.cross_entropy)
