"""What `chainrule bench` times: a table of works, and the process that times a program on one.

networks   the base of all works, and those that are not convolutional
images     convolutional networks
programs   the training step of a work in chainrule and in torch, and its timing
process    the script of a process that contains the measured program and nothing else
"""

from pathlib import Path

from . import programs
from .images import CNN, CNN3, DEPTHWISE, LENET5, RESNET20, Images
from .networks import Factors, Gpt, Layers, Lstm, Recurrence, Workload
from .programs import PRODUCT

SCRIPT = Path(__file__).with_name("process.py")
WORKLOADS: dict[str, Workload] = {
    "tiny": Layers(32, (2, 16, 16, 2)),
    "digits": Layers(32, (64, 64, 32, 10)),
    "mnist": Layers(128, (784, 256, 128, 10)),
    "wide": Layers(256, (1024, 2048, 2048, 10)),
    "deep": Layers(64, (64,) * 31 + (10,)),
    "lstm": Lstm(batch=32, steps=64, vocabulary=64, inputs=64, hidden=256),
    "gpt": Gpt(batch=16, steps=64, vocabulary=64, blocks=4, width=128, heads=4),
    "factors": Factors(1024, (200_000, 50_000), 32),
    "scan": Recurrence(batch=32, steps=64, inputs=32, hidden=128, classes=10),
    "cnn": CNN,
    "cnn3": CNN3,
    "lenet5": LENET5,
    "depthwise": DEPTHWISE,
    "resnet20": RESNET20,
}

__all__ = [
    "PRODUCT",
    "SCRIPT",
    "WORKLOADS",
    "Factors",
    "Gpt",
    "Images",
    "Layers",
    "Lstm",
    "Recurrence",
    "Workload",
    "programs",
]
