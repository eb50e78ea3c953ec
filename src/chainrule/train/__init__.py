"""Training: the loop, its history, checkpoints, metrics; whole runs from a recipe."""

from .fit import fit
from .history import History
from .inference import evaluate, predict
from .trainer import Callback, Trainer

__all__ = ["Callback", "History", "Trainer", "evaluate", "fit", "predict"]
