"""Networks for images beside the same in PyTorch: in float64 to 1e-9, and 50 training steps."""

import numpy as np
import pytest
import their_image_networks as theirs
import torch
from following import F, G, channels_first, follow, images

import chainrule as cr
from chainrule import models, optim
from chainrule.errors import ArgumentError

RNG = np.random.default_rng(0)
TINY_STAGES = ((1, 8, 1, 1), (3, 16, 2, 2))


def mobilenet(classes, channels):
    """Of a quarter of the channels: 8 in the stem, then 8, 16 and 24."""
    stages = tuple((t, 4 * c, n, s) for t, c, n, s in TINY_STAGES)
    settings = {"stride": 1, "last": 24, "dropout": 0.0}
    return models.MobileNetV2(classes, channels=channels, width=0.25, stages=stages, **settings)


NETWORKS = {
    # ours, PyTorch's, the size of the images, of 2 channels
    "LeNet5": (
        lambda: models.LeNet5(4, channels=2, size=14),
        lambda: theirs.lenet(4, 2, 14),
        (14, 14),
    ),
    "VGG": (
        lambda: models.VGG(4, channels=2, width=4, blocks=(1, 2, 2), dropout=0.0),
        lambda: theirs.vgg(4, 2),
        (8, 11),
    ),
    "resnet20": (
        lambda: models.resnet20(4, channels=2, width=4),
        lambda: theirs.resnet(4, 2, 4, (3, 3, 3), True),
        (9, 8),
    ),
    "resnet18": (
        lambda: models.resnet18(4, channels=2, width=4),
        lambda: theirs.resnet(4, 2, 4, (2, 2, 2, 2), False),
        (33, 32),
    ),
    "bottlenecks": (
        lambda: models.ResNet(4, (1, 2), "imagenet", bottleneck=True, channels=2, width=4),
        lambda: theirs.resnet(4, 2, 4, (1, 2), False, True),
        (16, 15),
    ),
    "MobileNetV2": (lambda: mobilenet(4, 2), lambda: theirs.mobilenet(4, 2), (8, 9)),
    "ConvNeXt": (
        lambda: models.ConvNeXt(
            *(4,),
            channels=2,
            width=4,
            blocks=(1, 2),
            patch=2,
            stochastic_depth=0.0,
            layer_scale=0.5,
        ),
        lambda: theirs.convnext(4, 2),
        (16, 12),
    ),
    "UNet": (
        lambda: models.UNet(4, channels=2, width=4, depth=2),
        lambda: theirs.unet(4, 2, 4, 2),
        (8, 12),
    ),
}


def own_layout(name, array):
    """PyTorch's array in our order: a kernel (O, I, H, W) is (H, W, I, O) here."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def pairs(ours, other):
    """Parameters and buffers of both, in the order of the layers."""
    for named in ("named_parameters", "named_buffers"):
        yield from zip(getattr(ours, named)(), getattr(other, named)(), strict=True)


def copy(ours, other):
    """Our network has PyTorch's parameters and buffers, in their dtype."""
    values = {a: own_layout(b, t.numpy(force=True)) for (a, _), (b, t) in pairs(ours, other)}
    for name, value in values.items():
        *path, leaf = name.split(".")
        owner = ours
        for part in path:
            owner = getattr(owner, part)
        old = getattr(owner, leaf)
        assert old.shape == value.shape, name
        setattr(owner, leaf, cr.Tensor(value.copy(), requires_grad=old.requires_grad))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients(name, training):
    torch.manual_seed(0)
    make, other, size = NETWORKS[name]
    ours, other = make().train(training), other().double().train(training)
    with torch.no_grad():
        for t in (*other.parameters(), *other.buffers()):  # so that no factor is 1 and no bias 0
            if t.ndim == 1:
                t += 0.2 * torch.rand_like(t)
    copy(ours, other)
    image = RNG.normal(size=(3, *size, 2))
    x = cr.Tensor(image, requires_grad=True)
    y = channels_first(image).requires_grad_()
    found, expected = ours(x), other(y)
    if expected.ndim == 4:
        expected = expected.movedim(1, -1)
    factor = RNG.normal(size=found.shape)
    (found * cr.Tensor(factor)).sum().backward()
    (expected * torch.tensor(factor)).sum().backward()

    def same(a, b, what):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=what)

    same(found.numpy(), expected.numpy(force=True), "values")
    same(x.grad.numpy(), y.grad.movedim(1, -1).numpy(), "images")
    for (path, ours_t), (their_path, their_t) in pairs(ours, other):
        if their_t.requires_grad:
            same(ours_t.grad.numpy(), own_layout(their_path, their_t.grad.numpy()), path)
        same(ours_t.numpy(), own_layout(their_path, their_t.numpy(force=True)), path)


TRAINED = {
    # the size of the images, and a rate at which the loss falls and rounding does not grow
    "LeNet5": (14, 0.2),
    "resnet20": (8, 0.02),
    "MobileNetV2": (8, 0.1),
}


@pytest.mark.parametrize("name", TRAINED)
def test_fifty_steps(name):
    """Running statistics included."""
    torch.manual_seed(0)
    make, other, _ = NETWORKS[name]
    ours, other, (size, lr) = make(), other(), TRAINED[name]
    follow(
        ours,
        other,
        images(size, 2),
        F.cross_entropy,
        G.cross_entropy,
        lambda ps: optim.SGD(ps, lr=lr),
        lambda ps: torch.optim.SGD(ps, lr=lr),
        prepare=channels_first,
        copy=copy,
    )
    for (path, t), (_, buffer) in zip(ours.named_buffers(), other.named_buffers(), strict=True):
        np.testing.assert_allclose(t.numpy(), buffer.numpy(), rtol=1e-3, atol=1e-4, err_msg=path)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "LeNet5"])
def test_weights_of_pytorch_are_loaded_in_order(name):
    """Nothing is said about flattened images where each layer shows that it reads none."""
    torch.manual_seed(0)
    make, other, size = NETWORKS[name]
    ours, other = make().eval(), other().eval()
    state = other.state_dict()
    names = cr.interop.torch.names_in_order(ours, state)
    assert set(names.values()) <= {n for n, _ in ours.named_modules()}
    flattened = {} if name == "ConvNeXt" else None
    cr.interop.torch.load_state_dict(ours, state, names=names, flattened=flattened)
    image = RNG.normal(size=(1, *size, 2)).astype(np.float32)
    expected = other(channels_first(image)).movedim(1, -1).numpy(force=True)
    np.testing.assert_allclose(ours(image).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert cr.interop.torch.to_torch(ours, flattened=flattened).keys() == ours.state_dict().keys()


def test_other_layers_than_the_models_are_not_paired():
    with pytest.raises(ArgumentError, match="got 43 layers with weights for the 39 of the model"):
        cr.interop.torch.names_in_order(
            models.resnet20(), theirs.resnet(10, 3, 4, (3, 3, 4), True).state_dict()
        )
