"""Networks for images written in PyTorch, in the order of layers that the papers have."""

import torch
from following import FlattenFirst

T, G = torch.nn, torch.nn.functional


class Vector(T.Module):
    """The mean over all positions."""

    def forward(self, x):
        return x.mean((2, 3))


def convolved(i, o, k=3, stride=1, groups=1, act=T.ReLU):
    conv = T.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)
    return [conv, T.BatchNorm2d(o), *([act()] if act else [])]


def lenet(classes, channels, size):
    side = (size // 2 - 4) // 2
    return T.Sequential(
        T.Conv2d(channels, 6, 5, padding=2),
        T.Tanh(),
        T.AvgPool2d(2),
        T.Conv2d(6, 16, 5),
        T.Tanh(),
        T.AvgPool2d(2),
        FlattenFirst(),
        T.Linear(16 * side * side, 120),
        T.Tanh(),
        T.Linear(120, 84),
        T.Tanh(),
        T.Linear(84, classes),
    )


def vgg(classes, channels):
    """Stages of one, two and two convolutions of 4, 8 and 16 channels."""
    sizes = [channels, 4, None, 8, 8, None, 16, 16, None]
    layers, i = [], sizes[0]
    for o in sizes[1:]:
        layers += convolved(i, o) if o else [T.MaxPool2d(2)]
        i = o or i
    return T.Sequential(*layers, Vector(), T.Linear(16, classes))


class ResidualBlock(T.Module):
    """inner: the sizes of its kernels; zeros: a shortcut without parameters."""

    def __init__(self, i, hidden, o, stride, kernels, zeros):
        super().__init__()
        places = [i, *[hidden] * (len(kernels) - 1), o]
        strided = 0 if len(kernels) == 2 else 1
        layers = []
        for k, kernel in enumerate(kernels):
            act = T.ReLU if k + 1 < len(kernels) else None
            step = stride if k == strided else 1
            layers += convolved(places[k], places[k + 1], kernel, step, act=act)
        self.inner = T.Sequential(*layers)
        self.stride, self.added, self.zeros = stride, o - i, zeros
        if not zeros and (stride > 1 or i != o):
            self.shortcut = T.Sequential(*convolved(i, o, 1, stride, act=None))

    def forward(self, x):
        if self.zeros:
            short = G.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        else:
            short = self.shortcut(x) if hasattr(self, "shortcut") else x
        return torch.relu(short + self.inner(x))


def resnet(classes, channels, width, blocks, small, bottleneck=False):
    stem = convolved(channels, width, *((3,) if small else (7, 2)))
    layers = stem if small else [*stem, T.MaxPool2d(3, 2, 1)]
    i, kernels = width, (1, 3, 1) if bottleneck else (3, 3)
    for stage, count in enumerate(blocks):
        hidden = width << stage
        o = 4 * hidden if bottleneck else hidden
        for k in range(count):
            stride = 2 if stage > 0 and k == 0 else 1
            layers.append(ResidualBlock(i, hidden, o, stride, kernels, small))
            i = o
    return T.Sequential(*layers, Vector(), T.Linear(i, classes))


class InvertedResidual(T.Module):
    def __init__(self, i, o, stride, expansion):
        super().__init__()
        hidden = i * expansion
        wider = convolved(i, hidden, 1, act=T.ReLU6) if expansion > 1 else []
        depthwise = convolved(hidden, hidden, 3, stride, hidden, T.ReLU6)
        self.inner = T.Sequential(*wider, *depthwise, *convolved(hidden, o, 1, act=None))
        self.adds = stride == 1 and i == o

    def forward(self, x):
        return x + self.inner(x) if self.adds else self.inner(x)


def mobilenet(classes, channels):
    """A stem of 8 channels, two stages of 8 and 16, at last 24."""
    return T.Sequential(
        *convolved(channels, 8, 3, 1, act=T.ReLU6),
        InvertedResidual(8, 8, 1, 1),
        InvertedResidual(8, 16, 2, 3),
        InvertedResidual(16, 16, 1, 3),
        *convolved(16, 24, 1, act=T.ReLU6),
        Vector(),
        T.Linear(24, classes),
    )


class Scale(T.Module):
    def __init__(self, channels, initial):
        super().__init__()
        self.weight = T.Parameter(torch.full((channels,), initial))

    def forward(self, x):
        return x * self.weight


class ChannelNorm(T.Module):
    """Layer normalization of the channels of each pixel."""

    def __init__(self, channels):
        super().__init__()
        self.norm = T.LayerNorm(channels, 1e-6)

    def forward(self, x):
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class ConvNeXtBlock(T.Module):
    def __init__(self, c, initial):
        super().__init__()
        self.depthwise = T.Conv2d(c, c, 7, padding=3, groups=c)
        self.pixels = T.Sequential(
            T.LayerNorm(c, 1e-6),
            T.Linear(c, 4 * c),
            T.GELU(),
            T.Linear(4 * c, c),
            Scale(c, initial),
        )

    def forward(self, x):
        return x + self.pixels(self.depthwise(x).movedim(1, -1)).movedim(-1, 1)


def convnext(classes, channels):
    """Patches of 2 × 2; a stage of one block with 4 channels, one of two with 8."""
    return T.Sequential(
        T.Conv2d(channels, 4, 2, 2),
        ChannelNorm(4),
        ConvNeXtBlock(4, 0.5),
        ChannelNorm(4),
        T.Conv2d(4, 8, 2, 2),
        ConvNeXtBlock(8, 0.5),
        ConvNeXtBlock(8, 0.5),
        Vector(),
        T.LayerNorm(8, 1e-6),
        T.Linear(8, classes),
    )


class UNetLevel(T.Module):
    def __init__(self, i, width, depth):
        super().__init__()
        self.before = T.Sequential(*convolved(i, width), *convolved(width, width))
        wide = 2 * width
        self.inner = (
            UNetLevel(width, wide, depth - 1)
            if depth > 1
            else T.Sequential(*convolved(width, wide), *convolved(wide, wide))
        )
        self.up = T.ConvTranspose2d(wide, width, 2, 2)
        self.after = T.Sequential(*convolved(wide, width), *convolved(width, width))

    def forward(self, x):
        left = self.before(x)
        right = self.up(self.inner(G.max_pool2d(left, 2)))
        return self.after(torch.cat([left, right], 1))


def unet(classes, channels, width, depth):
    return T.Sequential(UNetLevel(channels, width, depth), T.Conv2d(width, classes, 1))
