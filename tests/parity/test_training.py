"""Training beside PyTorch: the same weights and batches, 50 steps, the losses within 1e-4."""

import copy
import math

import numpy as np
import pytest
import torch
from following import STEPS, F, FlattenFirst, G, T, channels_first, follow, images, mlp, points

import chainrule as cr
from chainrule import nn, optim

OPTIMIZERS = {
    "SGD": {"lr": 0.1},
    "SGD momentum": {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
    "SGD dampening": {"lr": 0.05, "momentum": 0.9, "dampening": 0.3},
    "SGD nesterov": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    "SGD maximize": {"lr": 0.01, "maximize": True},
    "Adam": {"lr": 3e-3},
    "Adam amsgrad": {"lr": 3e-3, "amsgrad": True, "weight_decay": 1e-2},
    "AdamW": {"lr": 3e-3, "weight_decay": 0.1},
    "NAdam": {"lr": 3e-3},
    "RAdam": {"lr": 3e-3},
    "Adamax": {"lr": 3e-3},
    "RMSprop": {"lr": 1e-3},
    "RMSprop centered": {"lr": 1e-3, "centered": True, "momentum": 0.9, "eps": 1e-5},
    "Adagrad": {"lr": 0.05, "lr_decay": 0.01},
    "Adadelta": {"lr": 1.0},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    kind, settings = name.split()[0], OPTIMIZERS[name]
    follow(
        *mlp(),
        points(),
        nn.functional.cross_entropy,
        T.functional.cross_entropy,
        lambda ps: getattr(optim, kind)(ps, **settings),
        lambda ps: getattr(torch.optim, kind)(ps, **settings),
        clip=1.0,
    )


def test_lion_follows_the_papers_algorithm():
    rng = np.random.default_rng(0)
    x, y, start = rng.normal(size=(32, 6)), rng.normal(size=32), rng.normal(size=6)
    settings = {"lr": 3e-2, "betas": (0.9, 0.99), "weight_decay": 0.1}
    p = nn.Parameter(start)
    optimizer = optim.Lion([p], **settings)
    (b1, b2), lr, decay = settings["betas"], settings["lr"], settings["weight_decay"]
    w, m = start.copy(), np.zeros(6)
    for _ in range(STEPS):  # Chen et al., 2023, algorithm 2
        g = 2 / 32 * x.T @ (x @ w - y)
        c = b1 * m + (1 - b1) * g
        w = w - lr * (np.sign(c) + decay * w)
        m = b2 * m + (1 - b2) * g
        ((cr.Tensor(x) @ p - y) ** 2).mean().backward()
        optimizer.step()
        np.testing.assert_allclose(p.numpy(), w, rtol=1e-6, atol=1e-6)


S = torch.optim.lr_scheduler
SCHEDULES = {
    "StepLR": (lambda o: optim.StepLR(o, 7, 0.5), lambda o: S.StepLR(o, 7, 0.5)),
    "MultiStepLR": (lambda o: optim.MultiStepLR(o, [5, 20]), lambda o: S.MultiStepLR(o, [5, 20])),
    "ExponentialLR": (lambda o: optim.ExponentialLR(o, 0.9), lambda o: S.ExponentialLR(o, 0.9)),
    "CosineAnnealingLR": (
        lambda o: optim.CosineAnnealingLR(o, 50, 1e-3),
        lambda o: S.CosineAnnealingLR(o, 50, 1e-3),
    ),
    "LinearLR": (lambda o: optim.LinearLR(o, 0.1, 1.0, 10), lambda o: S.LinearLR(o, 0.1, 1.0, 10)),
    "LambdaLR": (
        lambda o: optim.LambdaLR(o, lambda t: 1 / (1 + t)),
        lambda o: S.LambdaLR(o, lambda t: 1 / (1 + t)),
    ),
    "OneCycleLR": (lambda o: optim.OneCycleLR(o, 0.1, 51), lambda o: S.OneCycleLR(o, 0.1, 51)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    follow(
        *mlp(),
        points(),
        nn.functional.cross_entropy,
        T.functional.cross_entropy,
        lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9),
        lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9),
        SCHEDULES[name],
    )


def test_plateau():
    ours, theirs = mlp()
    a, b = optim.SGD(ours.parameters(), lr=1.0), torch.optim.SGD(theirs.parameters(), lr=1.0)
    p = optim.ReduceLROnPlateau(a, patience=2, cooldown=1, factor=0.5)
    q = S.ReduceLROnPlateau(b, patience=2, cooldown=1, factor=0.5)
    for metric in [3, 2, 2, 2, 2, 2, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, math.nan, 1.9, 0.5]:
        p.step(metric)
        q.step(metric)
        assert a.param_groups[0]["lr"] == pytest.approx(b.param_groups[0]["lr"])


def regression(seed=0, positive=False, signs=False):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(4):
        x = rng.normal(size=(16, 6)).astype(np.float32)
        y = rng.normal(size=(16, 4)).astype(np.float32)
        y = np.abs(y) / 4 if positive else np.sign(y) if signs else y
        out.append((x, y.astype(np.float32)))
    return out


W = np.array([1.0, 2.0, 0.5, 1.5], np.float32)
LOSSES = {
    "mse": (F.mse_loss, G.mse_loss, regression()),
    "l1": (F.l1_loss, G.l1_loss, regression()),
    "huber": (
        lambda a, b: F.huber_loss(a, b, delta=0.5),
        lambda a, b: G.huber_loss(a, b, delta=0.5),
        regression(),
    ),
    "smooth_l1": (F.smooth_l1_loss, G.smooth_l1_loss, regression()),
    "bce_logits": (
        F.binary_cross_entropy_with_logits,
        G.binary_cross_entropy_with_logits,
        regression(positive=True),
    ),
    "bce": (
        lambda a, b: F.binary_cross_entropy(cr.sigmoid(a), b),
        lambda a, b: G.binary_cross_entropy(torch.sigmoid(a), b.clamp(0, 1)),
        [(x, np.clip(y, 0, 1)) for x, y in regression(positive=True)],
    ),
    "kl": (
        lambda a, b: F.kl_div(cr.log_softmax(a), b, reduction="batchmean"),
        lambda a, b: G.kl_div(torch.log_softmax(a, -1), b, reduction="batchmean"),
        regression(positive=True),
    ),
    "poisson": (F.poisson_nll_loss, G.poisson_nll_loss, regression(positive=True)),
    "gaussian": (
        lambda a, b: F.gaussian_nll_loss(a[:, :2], b[:, :2], cr.exp(a[:, 2:])),
        lambda a, b: G.gaussian_nll_loss(a[:, :2], b[:, :2], torch.exp(a[:, 2:])),
        regression(),
    ),
    "soft_margin": (F.soft_margin_loss, G.soft_margin_loss, regression(signs=True)),
    "hinge_embedding": (F.hinge_embedding_loss, G.hinge_embedding_loss, regression(signs=True)),
    "cosine": (
        lambda a, b: F.cosine_embedding_loss(a, b, cr.ones(16)),
        lambda a, b: G.cosine_embedding_loss(a, b, torch.ones(16)),
        regression(),
    ),
    "triplet": (
        lambda a, b: F.triplet_margin_loss(a, b, -b),
        lambda a, b: G.triplet_margin_loss(a, b, -b),
        regression(),
    ),
    "margin_ranking": (
        lambda a, b: F.margin_ranking_loss(a, 0 * b, b, margin=0.1),
        lambda a, b: G.margin_ranking_loss(a, 0 * b, b, margin=0.1),
        regression(signs=True),
    ),
    "bce_logits weight": (
        lambda a, b: F.binary_cross_entropy_with_logits(a, b, W, pos_weight=2 * W),
        lambda a, b: G.binary_cross_entropy_with_logits(
            a, b, torch.tensor(W), pos_weight=torch.tensor(2 * W)
        ),
        regression(positive=True),
    ),
    "kl log_target": (
        lambda a, b: F.kl_div(
            cr.log_softmax(a), cr.log_softmax(b), reduction="sum", log_target=True
        ),
        lambda a, b: G.kl_div(
            torch.log_softmax(a, -1), torch.log_softmax(b, -1), reduction="sum", log_target=True
        ),
        regression(),
    ),
    "poisson full": (
        lambda a, b: F.poisson_nll_loss(cr.softplus(a), 9 * b, log_input=False, full=True),
        lambda a, b: G.poisson_nll_loss(G.softplus(a), 9 * b, log_input=False, full=True),
        regression(positive=True),
    ),
    "gaussian full": (
        lambda a, b: F.gaussian_nll_loss(a[:, :2], b[:, :2], cr.exp(a[:, 2:]), full=True),
        lambda a, b: G.gaussian_nll_loss(a[:, :2], b[:, :2], torch.exp(a[:, 2:]), full=True),
        regression(),
    ),
    "hinge_embedding margin": (
        lambda a, b: F.hinge_embedding_loss(a, b, 0.3),
        lambda a, b: G.hinge_embedding_loss(a, b, 0.3),
        regression(signs=True),
    ),
    "cosine margin": (
        lambda a, b: F.cosine_embedding_loss(a, 2 - b, b[:, 0], 0.1),
        lambda a, b: G.cosine_embedding_loss(a, 2 - b, b[:, 0], 0.1),
        regression(signs=True),
    ),
    "triplet p": (
        lambda a, b: F.triplet_margin_loss(a, b, 1 - b, 0.5, p=3.0),
        lambda a, b: G.triplet_margin_loss(a, b, 1 - b, 0.5, p=3.0),
        regression(),
    ),
    "cross_entropy weight": (
        lambda a, b: F.cross_entropy(
            a, b, weight=[1.0, 2.0, 0.5, 1.5], label_smoothing=0.1, ignore_index=2
        ),
        lambda a, b: G.cross_entropy(
            a, b, weight=torch.tensor([1.0, 2.0, 0.5, 1.5]), label_smoothing=0.1, ignore_index=2
        ),
        points(),
    ),
    "cross_entropy sum": (
        lambda a, b: F.cross_entropy(a, b, reduction="sum") / 16,
        lambda a, b: G.cross_entropy(a, b, reduction="sum") / 16,
        points(),
    ),
    "cross_entropy probabilities": (
        lambda a, b: F.cross_entropy(a, b),
        lambda a, b: G.cross_entropy(a, b),
        [
            (x, (np.exp(y) / np.exp(y).sum(1, keepdims=True)).astype(np.float32))
            for x, y in regression()
        ],
    ),
    "nll": (
        lambda a, b: F.nll_loss(cr.log_softmax(a), b, weight=[1.0, 2.0, 0.5, 1.5]),
        lambda a, b: G.nll_loss(torch.log_softmax(a, -1), b, torch.tensor([1.0, 2.0, 0.5, 1.5])),
        points(),
    ),
}


def test_every_loss_is_compared():
    mentioned = {
        n for ours, _, _ in LOSSES.values() for n in (ours.__name__, *ours.__code__.co_names)
    }
    assert set(nn.losses.__all__) <= mentioned


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    ours, theirs, batches = LOSSES[name]
    follow(*mlp(), batches, ours, theirs)


def test_lenet():
    torch.manual_seed(0)
    theirs = T.Sequential(
        T.Conv2d(1, 6, 5, padding=2),
        T.Tanh(),
        T.AvgPool2d(2),
        T.Conv2d(6, 8, 3),
        T.ReLU(),
        T.MaxPool2d(2),
        FlattenFirst(),
        T.Linear(32, 16),
        T.Tanh(),
        T.Linear(16, 4),
    )
    ours = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 16),
        nn.Tanh(),
        nn.Linear(16, 4),
    )
    follow(ours, theirs, images(), F.cross_entropy, G.cross_entropy, prepare=channels_first)


class TheirBlock(T.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.inner = T.Sequential(
            T.Conv2d(i, o, 3, stride, 1, bias=False),
            T.BatchNorm2d(o),
            T.ReLU(),
            T.Conv2d(o, o, 3, 1, 1, bias=False),
            T.BatchNorm2d(o),
        )
        self.shortcut = T.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.inner(x))


def block(i, o, stride):
    inner = nn.Sequential(
        nn.Conv2d(i, o, 3, stride, 1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(),
        nn.Conv2d(o, o, 3, 1, 1, bias=False),
        nn.BatchNorm2d(o),
    )
    return nn.Residual(inner, nn.Conv2d(i, o, 1, stride, bias=False))


def test_small_resnet():
    torch.manual_seed(0)
    theirs = T.Sequential(
        TheirBlock(3, 6, 1),
        TheirBlock(6, 8, 2),
        T.AdaptiveAvgPool2d(1),
        FlattenFirst(),
        T.Linear(8, 4),
    )

    class Ours(nn.Module):
        def __init__(self):
            self.layers = {"0": block(3, 6, 1), "1": block(6, 8, 2)}
            self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 4)

        def forward(self, x):
            for layer in self.layers.values():
                x = cr.relu(layer(x))
            return self.head(cr.flatten(self.pool(x), 1))

    ours = Ours()
    renamed = copy.deepcopy(theirs)

    class Renamed(T.Module):
        def __init__(self):
            super().__init__()
            self.layers = T.ModuleDict({"0": renamed[0], "1": renamed[1]})
            self.head = renamed[4]

        def forward(self, x):
            x = self.layers["1"](self.layers["0"](x))
            return self.head(x.mean((2, 3)))

    follow(ours, Renamed(), images(8, 3), F.cross_entropy, G.cross_entropy, prepare=channels_first)


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_block(norm_first):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    allowed = np.triu(np.ones((6, 6), bool), 1)

    class Theirs(T.Module):
        def __init__(self):
            super().__init__()
            self.embed = T.Embedding(11, 8)
            self.block = T.TransformerEncoderLayer(
                8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=norm_first
            )
            self.head = T.Linear(8, 11)

        def forward(self, x):
            h = self.block(self.embed(x), src_mask=torch.from_numpy(allowed))
            return self.head(h).reshape(-1, 11)

    class Ours(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(11, 8)
            self.block = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", norm_first=norm_first)
            self.head = nn.Linear(8, 11)

        def forward(self, x):
            return cr.reshape(self.head(self.block(self.embed(x), src_mask=allowed)), (-1, 11))

    batches = [(rng.integers(0, 11, (4, 6)), rng.integers(0, 11, 24)) for _ in range(3)]
    follow(
        Ours(),
        Theirs(),
        batches,
        F.cross_entropy,
        G.cross_entropy,
        lambda ps: optim.SGD(ps, lr=0.1),  # momentum would be lazy on the embedding's rows
        lambda ps: torch.optim.SGD(ps, lr=0.1),
        clip=1.0,
    )
