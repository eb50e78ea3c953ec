"""Networks for images, channels last: (N, H, W, channels) -> (N, classes), or classes per pixel.

Each is a `Sequential` of two parts: `features`, a list of layers from the image to a vector, and
`head`, the layer from that vector to the scores. So `model.features.freeze().eval()` and
`model.head = nn.Linear(model.head.in_features, 3)` prepare a network for other classes.

lenet       `LeNet5`: two convolutions and three dense layers
vgg         `VGG`: 3 × 3 convolutions one after the other
resnet      `ResNet`: convolutions learn what is added to their input; `resnet20`, `resnet50`, …
mobilenet   `MobileNetV2`: depthwise convolutions between 1 × 1 convolutions
convnext    `ConvNeXt`: a convolutional network with the habits of transformers
unet        `UNet`: a class for each pixel
parts       the parts that these share
"""

from ...hints import hide_modules
from .convnext import ConvNeXt
from .lenet import LeNet5
from .mobilenet import MobileNetV2
from .resnet import ResNet, resnet18, resnet20, resnet32, resnet34, resnet44, resnet50, resnet56
from .unet import UNet
from .vgg import VGG

__all__ = [
    "VGG",
    "ConvNeXt",
    "LeNet5",
    "MobileNetV2",
    "ResNet",
    "UNet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
]

hide_modules(__name__)
