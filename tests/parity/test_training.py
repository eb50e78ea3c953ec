"""Training beside PyTorch: the same weights and batches, 50 steps, the losses within 1e-4."""

import copy
import math

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim

T = torch.nn
STEPS = 50
torch.set_num_threads(1)  # on a busy machine its threads mostly wait for each other


def channels_first(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def take_over(ours, theirs):
    """Copy PyTorch's parameters and buffers into our module; convolutions change their layout."""
    layouts = {}
    for path, module in theirs.named_modules():
        if isinstance(module, (T.Conv1d, T.Conv2d, T.Conv3d)):
            layouts[f"{path}.weight"] = lambda w: np.moveaxis(np.moveaxis(w, 0, -1), 0, -2)
        if isinstance(module, (T.ConvTranspose1d, T.ConvTranspose2d, T.ConvTranspose3d)):
            layouts[f"{path}.weight"] = lambda w: np.moveaxis(np.moveaxis(w, 0, -1), 0, -2)
    state = {}
    for name, value in theirs.state_dict().items():
        array = value.numpy()
        state[name] = layouts.get(name, lambda w: w)(array).copy()
    ours.load_state_dict(state)


def follow(ours, theirs, batches, loss, their_loss, make=None, their_make=None, schedules=None,
           prepare=torch.from_numpy, clip=None):  # fmt: skip
    """Train both; the losses of every step agree."""
    take_over(ours, theirs)
    optimizer = (make or (lambda ps: optim.SGD(ps, lr=0.05)))(ours.parameters())
    other = (their_make or (lambda ps: torch.optim.SGD(ps, lr=0.05)))(theirs.parameters())
    schedule, their_schedule = (
        s(o) if s else None
        for s, o in zip(schedules or (None, None), (optimizer, other), strict=True)
    )

    @cr.compile
    def step(x, y):
        value = loss(ours(x), y)
        value.backward()
        if clip:
            nn.utils.clip_grad_norm_(ours.parameters(), clip)
        optimizer.step()
        return value

    found, expected = [], []
    for k in range(STEPS):
        x, y = batches[k % len(batches)]
        found.append(float(step(x, y)))
        other.zero_grad()
        value = their_loss(theirs(prepare(x)), torch.from_numpy(y))
        value.backward()
        if clip:
            T.utils.clip_grad_norm_(theirs.parameters(), clip)
        other.step()
        expected.append(value.item())
        if schedule is not None:
            assert schedule.get_last_lr() == pytest.approx(their_schedule.get_last_lr(), rel=1e-9)
            schedule.step()
            their_schedule.step()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert len(step._steps) == 1, "one program for all steps"


def points(n=4, size=16, features=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(size, features)).astype(np.float32), rng.integers(0, classes, size))
        for _ in range(n)
    ]


def mlp():
    torch.manual_seed(0)
    theirs = T.Sequential(T.Linear(6, 16), T.Tanh(), T.Linear(16, 8), T.ReLU(), T.Linear(8, 4))
    ours = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    return ours, theirs


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
    follow(*mlp(), points(), nn.functional.cross_entropy, T.functional.cross_entropy,
           lambda ps: getattr(optim, kind)(ps, **settings),
           lambda ps: getattr(torch.optim, kind)(ps, **settings), clip=1.0)  # fmt: skip


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
    "MultiStepLR": (
        lambda o: optim.MultiStepLR(o, [5, 20]), lambda o: S.MultiStepLR(o, [5, 20])),
    "ExponentialLR": (lambda o: optim.ExponentialLR(o, 0.9), lambda o: S.ExponentialLR(o, 0.9)),
    "CosineAnnealingLR": (
        lambda o: optim.CosineAnnealingLR(o, 50, 1e-3), lambda o: S.CosineAnnealingLR(o, 50, 1e-3)),
    "LinearLR": (lambda o: optim.LinearLR(o, 0.1, 1.0, 10), lambda o: S.LinearLR(o, 0.1, 1.0, 10)),
    "LambdaLR": (
        lambda o: optim.LambdaLR(o, lambda t: 1 / (1 + t)),
        lambda o: S.LambdaLR(o, lambda t: 1 / (1 + t))),
    "OneCycleLR": (
        lambda o: optim.OneCycleLR(o, 0.1, 51), lambda o: S.OneCycleLR(o, 0.1, 51)),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    follow(*mlp(), points(), nn.functional.cross_entropy, T.functional.cross_entropy,
           lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9),
           lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9), SCHEDULES[name])  # fmt: skip


def test_plateau():
    ours, theirs = mlp()
    a, b = optim.SGD(ours.parameters(), lr=1.0), torch.optim.SGD(theirs.parameters(), lr=1.0)
    p = optim.ReduceLROnPlateau(a, patience=2, cooldown=1, factor=0.5)
    q = S.ReduceLROnPlateau(b, patience=2, cooldown=1, factor=0.5)
    for metric in [3, 2, 2, 2, 2, 2, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, math.nan, 1.9, 0.5]:
        p.step(metric)
        q.step(metric)
        assert a.param_groups[0]["lr"] == pytest.approx(b.param_groups[0]["lr"])


ACTIVATIONS = [
    "ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Sigmoid",
    "LogSigmoid", "Tanh", "Softplus", "Softsign", "Hardtanh", "Hardsigmoid", "Hardswish",
    "Hardshrink", "Softshrink", "Tanhshrink", "PReLU",
]  # fmt: skip


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


def regression(seed=0, positive=False, signs=False):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(4):
        x = rng.normal(size=(16, 6)).astype(np.float32)
        y = rng.normal(size=(16, 4)).astype(np.float32)
        y = np.abs(y) / 4 if positive else np.sign(y) if signs else y
        out.append((x, y.astype(np.float32)))
    return out


F, G = nn.functional, T.functional
W = np.array([1.0, 2.0, 0.5, 1.5], np.float32)
LOSSES = {
    "mse": (F.mse_loss, G.mse_loss, regression()),
    "l1": (F.l1_loss, G.l1_loss, regression()),
    "huber": (lambda a, b: F.huber_loss(a, b, delta=0.5),
              lambda a, b: G.huber_loss(a, b, delta=0.5),
              regression()),
    "smooth_l1": (F.smooth_l1_loss, G.smooth_l1_loss, regression()),
    "bce_logits": (F.binary_cross_entropy_with_logits, G.binary_cross_entropy_with_logits,
                   regression(positive=True)),
    "bce": (lambda a, b: F.binary_cross_entropy(cr.sigmoid(a), b),
            lambda a, b: G.binary_cross_entropy(torch.sigmoid(a), b.clamp(0, 1)),
            [(x, np.clip(y, 0, 1)) for x, y in regression(positive=True)]),
    "kl": (lambda a, b: F.kl_div(cr.log_softmax(a), b, reduction="batchmean"),
           lambda a, b: G.kl_div(torch.log_softmax(a, -1), b, reduction="batchmean"),
           regression(positive=True)),
    "poisson": (F.poisson_nll_loss, G.poisson_nll_loss, regression(positive=True)),
    "gaussian": (lambda a, b: F.gaussian_nll_loss(a[:, :2], b[:, :2], cr.exp(a[:, 2:])),
                 lambda a, b: G.gaussian_nll_loss(a[:, :2], b[:, :2], torch.exp(a[:, 2:])),
                 regression()),
    "soft_margin": (F.soft_margin_loss, G.soft_margin_loss, regression(signs=True)),
    "hinge_embedding": (F.hinge_embedding_loss, G.hinge_embedding_loss, regression(signs=True)),
    "cosine": (lambda a, b: F.cosine_embedding_loss(a, b, cr.ones(16)),
               lambda a, b: G.cosine_embedding_loss(a, b, torch.ones(16)), regression()),
    "triplet": (lambda a, b: F.triplet_margin_loss(a, b, -b),
                lambda a, b: G.triplet_margin_loss(a, b, -b), regression()),
    "margin_ranking": (lambda a, b: F.margin_ranking_loss(a, 0 * b, b, margin=0.1),
                       lambda a, b: G.margin_ranking_loss(a, 0 * b, b, margin=0.1),
                       regression(signs=True)),
    "bce_logits weight": (
        lambda a, b: F.binary_cross_entropy_with_logits(a, b, W, pos_weight=2 * W),
        lambda a, b: G.binary_cross_entropy_with_logits(
            a, b, torch.tensor(W), pos_weight=torch.tensor(2 * W)), regression(positive=True)),
    "kl log_target": (
        lambda a, b: F.kl_div(cr.log_softmax(a), cr.log_softmax(b), "sum", log_target=True),
        lambda a, b: G.kl_div(torch.log_softmax(a, -1), torch.log_softmax(b, -1), reduction="sum",
                              log_target=True), regression()),
    "poisson full": (
        lambda a, b: F.poisson_nll_loss(cr.softplus(a), 9 * b, log_input=False, full=True),
        lambda a, b: G.poisson_nll_loss(G.softplus(a), 9 * b, log_input=False, full=True),
        regression(positive=True)),
    "gaussian full": (
        lambda a, b: F.gaussian_nll_loss(a[:, :2], b[:, :2], cr.exp(a[:, 2:]), full=True),
        lambda a, b: G.gaussian_nll_loss(a[:, :2], b[:, :2], torch.exp(a[:, 2:]), full=True),
        regression()),
    "hinge_embedding margin": (lambda a, b: F.hinge_embedding_loss(a, b, 0.3),
                               lambda a, b: G.hinge_embedding_loss(a, b, 0.3),
                               regression(signs=True)),
    "cosine margin": (lambda a, b: F.cosine_embedding_loss(a, 2 - b, b[:, 0], 0.1),
                      lambda a, b: G.cosine_embedding_loss(a, 2 - b, b[:, 0], 0.1),
                      regression(signs=True)),
    "triplet p": (lambda a, b: F.triplet_margin_loss(a, b, 1 - b, 0.5, p=3.0),
                  lambda a, b: G.triplet_margin_loss(a, b, 1 - b, 0.5, p=3.0), regression()),
    "cross_entropy weight": (
        lambda a, b: F.cross_entropy(a, b, weight=[1.0, 2.0, 0.5, 1.5], label_smoothing=0.1,
                                     ignore_index=2),
        lambda a, b: G.cross_entropy(a, b, weight=torch.tensor([1.0, 2.0, 0.5, 1.5]),
                                     label_smoothing=0.1, ignore_index=2), points()),
    "cross_entropy sum": (lambda a, b: F.cross_entropy(a, b, reduction="sum") / 16,
                          lambda a, b: G.cross_entropy(a, b, reduction="sum") / 16, points()),
    "cross_entropy probabilities": (
        lambda a, b: F.cross_entropy(a, b), lambda a, b: G.cross_entropy(a, b),
        [(x, (np.exp(y) / np.exp(y).sum(1, keepdims=True)).astype(np.float32))
         for x, y in regression()]),
    "nll": (lambda a, b: F.nll_loss(cr.log_softmax(a), b, weight=[1.0, 2.0, 0.5, 1.5]),
            lambda a, b: G.nll_loss(torch.log_softmax(a, -1), b,
                                    torch.tensor([1.0, 2.0, 0.5, 1.5])),
            points()),
}  # fmt: skip


def test_every_loss_is_compared():
    mentioned = {
        n for ours, _, _ in LOSSES.values() for n in (ours.__name__, *ours.__code__.co_names)
    }
    assert set(nn.losses.__all__) <= mentioned


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    ours, theirs, batches = LOSSES[name]
    follow(*mlp(), batches, ours, theirs)


def images(size=12, channels=1, n=3, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(8, size, size, channels)).astype(np.float32), rng.integers(0, 4, 8))
        for _ in range(n)
    ]


class FlattenFirst(T.Module):
    """Flatten channels last, as our layout does."""

    def forward(self, x):
        return torch.flatten(torch.movedim(x, 1, -1), 1)


def test_lenet():
    torch.manual_seed(0)
    theirs = T.Sequential(
        T.Conv2d(1, 6, 5, padding=2), T.Tanh(), T.AvgPool2d(2), T.Conv2d(6, 8, 3), T.ReLU(),
        T.MaxPool2d(2), FlattenFirst(), T.Linear(32, 16), T.Tanh(), T.Linear(16, 4),
    )  # fmt: skip
    ours = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 4),
    )  # fmt: skip
    follow(ours, theirs, images(), F.cross_entropy, G.cross_entropy, prepare=channels_first)


class TheirBlock(T.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.inner = T.Sequential(
            T.Conv2d(i, o, 3, stride, 1, bias=False), T.BatchNorm2d(o), T.ReLU(),
            T.Conv2d(o, o, 3, 1, 1, bias=False), T.BatchNorm2d(o),
        )  # fmt: skip
        self.shortcut = T.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.inner(x))


def block(i, o, stride):
    inner = nn.Sequential(
        nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
        nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o),
    )  # fmt: skip
    return nn.Residual(inner, nn.Conv2d(i, o, 1, stride, bias=False))


def test_small_resnet():
    torch.manual_seed(0)
    theirs = T.Sequential(TheirBlock(3, 6, 1), TheirBlock(6, 8, 2), T.AdaptiveAvgPool2d(1),
                          FlattenFirst(), T.Linear(8, 4))  # fmt: skip

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


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_block(norm_first):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    allowed = np.triu(np.ones((6, 6), bool), 1)

    class Theirs(T.Module):
        def __init__(self):
            super().__init__()
            self.embed = T.Embedding(11, 8)
            self.block = T.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True,
                                                   norm_first=norm_first)  # fmt: skip
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
    follow(Ours(), Theirs(), batches, F.cross_entropy, G.cross_entropy,
           lambda ps: optim.SGD(ps, lr=0.1),  # momentum would be lazy on the embedding's rows
           lambda ps: torch.optim.SGD(ps, lr=0.1), clip=1.0)  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups):
    torch.manual_seed(0)
    theirs = T.Sequential(T.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups), T.Tanh(),
                          T.AdaptiveMaxPool2d(3), FlattenFirst(), T.Linear(36, 4))  # fmt: skip
    ours = nn.Sequential(nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups), nn.Tanh(),
                         nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Linear(36, 4))  # fmt: skip
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
    "ConvTranspose2d": (lambda m: m.ConvTranspose2d(4, 2, 3, 2, 1, 1, 2, False, 2), 392),
}


@pytest.mark.parametrize("name", ON_IMAGES)
def test_layers_on_images(name):
    torch.manual_seed(0)
    make, features = ON_IMAGES[name]
    theirs = T.Sequential(T.Conv2d(2, 4, 3, padding=1), make(T), T.Tanh(), FlattenFirst(),
                          T.Linear(features, 4))  # fmt: skip
    ours = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), make(nn), nn.Tanh(), nn.Flatten(),
                         nn.Linear(features, 4))  # fmt: skip
    follow(ours, theirs, images(6, 2), F.cross_entropy, G.cross_entropy, prepare=channels_first)


@pytest.mark.parametrize("n", [1, 3])
def test_layers_on_lines_and_volumes(n):
    torch.manual_seed(0)

    def layers(m):
        def of(kind, *settings):
            return getattr(m, f"{kind}{n}d")(*settings)

        return [
            of("Conv", 2, 4, 3), of("BatchNorm", 4), of("MaxPool", 2), m.ReLU(),
            of("ConvTranspose", 4, 2, 3, 2), of("InstanceNorm", 2), of("AdaptiveAvgPool", 3),
        ]  # fmt: skip

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
    ours = nn.Sequential(nn.EmbeddingBag(11, 8, mode, padding_idx=2), nn.Linear(8, 4))
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
        T, T.MultiheadAttention(8, 2, batch_first=True), T.Linear(14, 4), torch.cat,
        {k: None if v is None else torch.from_numpy(v) for k, v in masks.items()},
    )  # fmt: skip
    ours = attending(nn, nn.MultiheadAttention(8, 2), nn.Linear(14, 4),
                     lambda parts, axis: cr.concat(parts, axis=axis), masks)  # fmt: skip
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(4, 6, 8)).astype(np.float32), rng.integers(0, 4, 4)) for _ in range(3)
    ]
    follow(ours, theirs, batches, F.cross_entropy, G.cross_entropy)
