"""A finished run: its model, and how to predict and evaluate with it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ... import nn
from ...errors import ArgumentError, printable
from ..evaluation.inference import predict
from .folder import (
    expect_unchanged,
    load_weights,
    read_folder,
)
from .recipe import Recipe
from .result import evaluate_task
from .tasks import Task, TextTask


class Run:
    """A finished (or interrupted) run: its model and how to use it.

    run = Run.open("runs/digits-1"); run.predict("new.csv")
    """

    def __init__(self, folder: Path, recipe: Recipe, task: Task, model: nn.Module) -> None:
        self.folder, self.recipe, self.task, self.model = folder, recipe, task, model

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Read a run folder; no code in it is run."""
        folder = Path(folder)
        recipe, data, kind = read_folder(folder)
        task = kind.restored(recipe, data["preprocessing"])
        model = task.network(recipe)
        load_weights(model, folder)
        return cls(folder, recipe, task, model.eval())

    def predict(self, source: Any = None, *, warn: bool = True) -> dict[str, list[Any]]:
        """Columns row (or file), prediction and confidence: of a source, or the run's test rows.

        source   a path, a data frame or a dict of columns
        warn     warn of what is new in the source; without it `task.notes` has it alone
        """
        if isinstance(self.task, TextTask):
            raise ArgumentError(
                "predict",
                "got a run on text",
                "tables or images",
                "use write(start) to continue it",
            )
        if source is None:
            task = self._own_data()
            x, rows, names = task.test[0], task.rows.tolist(), task.test_names
        else:
            x, _ = self.task.read(_named(source), labelled=False)
            rows, names = None, self.task.names
            if warn and self.task.notes:
                notes = "\n  ".join(["[predict]", *map(printable, self.task.notes)])
                warnings.warn(notes, stacklevel=2)
        output = predict(self.model, x)
        said = self.task.decoded(output)
        if names is not None:
            return {"file": names, **said}
        return {"row": list(range(len(output))) if rows is None else rows, **said}

    def _own_data(self) -> Task:
        """The run's data, if it is still what it was."""
        _, data, _ = read_folder(self.folder)
        expect_unchanged(self.folder, self.recipe, data)
        return type(self.task).load(self.recipe)

    def evaluate(self, source: Any = None) -> tuple[int, dict[str, float]]:
        """How many rows there are, and the metrics, of a file or of the run's own test rows."""
        if source is None:
            x, y = self._own_data().test
        else:
            x, y = self.task.read(_named(source), labelled=True)
        _, metrics = evaluate_task(self.task, self.recipe, self.model, (x, y))
        return len(y), metrics

    def write(self, start: str, length: int = 400, seed: int = 0) -> str:
        """A text that follows the start."""
        if not isinstance(self.task, TextTask):
            raise ArgumentError(
                "write", f"got a run on {self.task.kind}", "a run on text", "use predict"
            )
        return self.task.continued(self.model, start, length, seed)  # type: ignore[arg-type]


def _named(source: Any) -> Any:
    return str(source) if isinstance(source, Path) else source
