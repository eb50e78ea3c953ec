"""Networks for images: published sizes, shapes, parts that are replaced, what they refuse."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import models, nn, optim
from chainrule.errors import ArgumentError, ChainruleError, ShapeError

RNG = np.random.default_rng(0)

PUBLISHED = {
    # a network, its input, and its parameters as the paper or torchvision counts them
    "LeNet5": (models.LeNet5, (1, 28, 28, 1), 61_706),
    "resnet20": (models.resnet20, (1, 32, 32, 3), 269_722),
    "resnet32": (models.resnet32, (1, 32, 32, 3), 464_154),
    "resnet44": (models.resnet44, (1, 32, 32, 3), 658_586),
    "resnet56": (models.resnet56, (1, 32, 32, 3), 853_018),
    "resnet18": (models.resnet18, (1, 224, 224, 3), 11_689_512),
    "resnet34": (models.resnet34, (1, 224, 224, 3), 21_797_672),
    "resnet50": (models.resnet50, (1, 224, 224, 3), 25_557_032),
    "MobileNetV2": (models.MobileNetV2, (1, 224, 224, 3), 3_504_872),
    "ConvNeXt": (models.ConvNeXt, (1, 224, 224, 3), 28_589_128),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name):
    make, shape, parameters = PUBLISHED[name]
    model = make()
    summary = model.summary(shape)
    assert summary.parameters == parameters
    assert summary.rows[0].shape == (1, model.head.out_features)


def test_vgg_has_eight_convolutions():
    model = models.VGG(7, channels=1, width=4)
    convolutions = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [4, 8, 16, 16, 32, 32, 32, 32]
    assert model.summary((2, 32, 32, 1)).rows[0].shape == (2, 7)


SMALL = {
    "LeNet5": lambda **s: models.LeNet5(5, channels=2, size=16, **s),
    "VGG": lambda **s: models.VGG(5, channels=2, width=4, blocks=(1, 2), **{"dropout": 0.0, **s}),
    "resnet20": lambda **s: models.resnet20(5, channels=2, width=4, **s),
    "resnet18": lambda **s: models.resnet18(5, channels=2, width=4, **s),
    "MobileNetV2": lambda **s: models.MobileNetV2(
        *(5,),
        **{"dropout": 0.0, **s},
        channels=2,
        width=0.25,
        stages=((1, 16, 1, 1), (4, 32, 2, 2)),
        stride=1,
        last=16,
    ),
    "ConvNeXt": lambda **s: models.ConvNeXt(
        5, channels=2, width=8, blocks=(1, 1), patch=2, stochastic_depth=0.0, layer_scale=1.0, **s
    ),
    "UNet": lambda **s: models.UNet(5, channels=2, width=4, depth=2, **s),
}
IMAGES = RNG.normal(size=(4, 16, 16, 2)).astype(np.float32)


@pytest.mark.parametrize("name", SMALL)
def test_it_learns_a_batch_by_heart(name):
    cr.random.seed(0)
    model = SMALL[name]()
    labels = np.arange(4) if name != "UNet" else RNG.integers(0, 5, (4, 16, 16))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    @cr.compile
    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [float(step(cr.Tensor(IMAGES), cr.Tensor(labels))) for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]
    scores = model.eval()(IMAGES)
    assert scores.shape == (*labels.shape, 5)
    assert np.isfinite(scores.numpy()).all()


@pytest.mark.parametrize("name", [n for n in SMALL if n != "UNet"])
def test_features_are_frozen_and_the_head_replaced(name):
    cr.random.seed(0)
    model = SMALL[name]()
    model.features.freeze().eval()
    model.head = nn.Linear(model.head.in_features, 3)
    before = model.features.state_dict()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(IMAGES), cr.Tensor(np.array([0, 1, 2, 0]))).backward()
    optimizer.step()
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "head.weight",
        "head.bias",
    ]
    assert model(IMAGES).shape == (4, 3)
    for key, value in model.features.state_dict().items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)


@pytest.mark.parametrize("name", [n for n in SMALL if n not in ("ConvNeXt",)])
def test_dropout_changes_scores_in_training_alone(name):
    model = SMALL[name](dropout=0.5)
    first, second = (model(IMAGES).numpy() for _ in range(2))
    assert not np.array_equal(first, second)
    model.eval()
    np.testing.assert_array_equal(model(IMAGES).numpy(), model(IMAGES).numpy())


def test_deeper_blocks_are_skipped_more_often():
    model = models.ConvNeXt(2, width=4, blocks=(1, 2), stochastic_depth=0.2)
    shares = [m.p for m in model.modules() if isinstance(m, nn.StochasticDepth)]
    assert shares == [0.0, 0.1, 0.2]


def test_weights_start_as_the_papers_say():
    cr.random.seed(0)
    resnet = models.resnet20(width=32)
    kernel = resnet.features.stage3[1][0].inner[0].weight.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    unet = models.UNet(width=16, depth=2)
    kernel = unet.features.after[0].weight.numpy()  # of 32 channels to 16
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 32)), rel=0.05)
    head = models.MobileNetV2(100).head
    assert head.weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert not head.bias.numpy().any()


REFUSED = {
    "LeNet5 of little": (lambda: models.LeNet5(size=11), "size=11; expected 12 or more"),
    "classes": (lambda: models.LeNet5(0), "classes=0"),
    "channels": (lambda: models.resnet20(channels=0), "channels=0"),
    "form": (lambda: models.ResNet(10, [1], "large"), "form 'large'; expected cifar or imagenet"),
    "width": (lambda: models.MobileNetV2(width=0.0), "width=0.0; expected a number above 0"),
    "stochastic depth": (lambda: models.ConvNeXt(stochastic_depth=2.0), "stochastic_depth=2"),
    "another name": (lambda: models.resnet18(num_classes=3), "got the argument num_classes"),
    "depth": (lambda: models.UNet(depth=0), "depth=0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, says = REFUSED[name]
    with pytest.raises(ChainruleError, match=says) as caught:
        make()
    assert isinstance(caught.value, (ArgumentError, TypeError))


def test_a_unet_says_which_sizes_it_takes():
    model = SMALL["UNet"]()
    says = r"\[UNet\] got .*; expected .* multiples of 4.*; resize or pad the images to \(12, 16\)"
    with pytest.raises(ShapeError, match=says):
        model(np.zeros((1, 9, 16, 2), np.float32))


def test_images_of_another_layout_are_refused_with_the_layer():
    for shape in ((1, 3, 32, 32), (32, 32, 3)):
        with pytest.raises(ShapeError, match=r"\(N, H, W, 3\), channels last") as caught:
            models.resnet20()(np.zeros(shape, np.float32))
        assert "in features.stem.0 (Conv2d)" in str(caught.value)
    with pytest.raises(ShapeError, match=r"features.before.0"):
        SMALL["UNet"]()(np.zeros((8, 8), np.float32))
