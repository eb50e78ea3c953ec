"""Whole models, ready to train.

images      networks for images: `LeNet5`, `VGG`, `ResNet`, `MobileNetV2`, `ConvNeXt`, `UNet`
language    `LanguageModel`: the next token of a text
recurrent   the recurrent layers that these are made of
sequences   `SequenceClassifier` and `Forecaster`: a class or the next values of a sequence
"""

from ..hints import hide_modules
from .images import (
    VGG,
    ConvNeXt,
    LeNet5,
    MobileNetV2,
    ResNet,
    UNet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
)
from .language import LanguageModel
from .sequences import Forecaster, SequenceClassifier

__all__ = [
    "VGG",
    "ConvNeXt",
    "Forecaster",
    "LanguageModel",
    "LeNet5",
    "MobileNetV2",
    "ResNet",
    "SequenceClassifier",
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
