"""Training: the loop, its history, checkpoints, metrics; whole runs from a recipe."""

from ..hints import hide_modules
from .fit import fit
from .history import History
from .inference import evaluate, predict
from .rates import Rates, find_lr
from .recipe import Recipe
from .run import Run
from .trainer import Callback, Trainer

__all__ = [
    "Callback",
    "History",
    "Rates",
    "Recipe",
    "Run",
    "Trainer",
    "evaluate",
    "find_lr",
    "fit",
    "predict",
]

hide_modules(__name__)
