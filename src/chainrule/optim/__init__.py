"""Optimizers and schedules, by PyTorch's names and defaults.

optimizer   the base: groups, state, the step
group       settings that parameters share
parameters  checks of the parameters
sgd         SGD
adam        Adam and its variants
adaptive    RMSprop, Adagrad, Adadelta, Lion
rows        steps of parameters, and of tables with row-sparse gradients
catch_up    rows that were skipped brought up to date
schedules   schedules by step or epoch; `plateau`: by a metric
ema         moving averages of parameters
"""

from typing import TYPE_CHECKING, NoReturn

from ..hints import hide_modules, missing
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adagrad, Lion, RMSprop
from .ema import EMA
from .group import Group
from .optimizer import Optimizer
from .plateau import ReduceLROnPlateau
from .schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    Schedule,
    StepLR,
    WarmupCosine,
)
from .sgd import SGD

__all__ = [
    "EMA",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "CosineAnnealingLR",
    "ExponentialLR",
    "Group",
    "LambdaLR",
    "LinearLR",
    "Lion",
    "MultiStepLR",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "WarmupCosine",
]

hide_modules(__name__)

if not TYPE_CHECKING:  # type checkers must see which names there are

    def __getattr__(name: str) -> NoReturn:
        raise missing(__name__, name)
