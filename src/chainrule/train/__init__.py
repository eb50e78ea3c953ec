"""Training: the loop, its history, checkpoints, metrics; whole runs from a recipe."""

from ..hints import hide_modules
from .evaluation.inference import evaluate, predict
from .loop.callback import Callback
from .loop.find_lr import Rates, find_lr
from .loop.fit import fit
from .loop.history import History
from .loop.trainer import Trainer
from .runs.recipe import Recipe
from .runs.run import Run

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
