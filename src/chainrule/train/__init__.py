"""Training: `fit` and its history; whole runs from a recipe.

loop          `fit`, one step, early stopping, what is checked before the first step
evaluation    losses by name, metrics, predictions for many rows
checkpoints   writing and reading checkpoints
runs          run folders: recipe, data, network, `train` and `resume`, `Run`
report        the HTML page of a run
charts        charts as SVG
"""

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
