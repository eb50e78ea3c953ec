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
    """A finished or interrupted run: predict, evaluate and continue a text with its model.

    run = Run.open("runs/digits-1"); run.predict("new.csv")
    """

    def __init__(self, folder: Path, recipe: Recipe, task: Task, model: nn.Module) -> None:
        self.folder, self.recipe, self.task, self.model = folder, recipe, task, model

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Read a run folder; nothing in it is executed."""
        folder = Path(folder)
        recipe, data, kind = read_folder(folder)
        task = kind.restored(recipe, data["preprocessing"])
        model = task.network(recipe)
        load_weights(model, folder)
        return cls(folder, recipe, task, model.eval())

    def predict(self, source: Any = None, *, warn: bool = True) -> dict[str, list[Any]]:
        """Columns row (or file), prediction and confidence, for a source or the run's test rows.

        source   a path, a data frame or a dict of columns
        warn     whether to warn of values that training has not seen; `task.notes` has them too
        """
        if isinstance(self.task, TextTask):
            raise ArgumentError(
                "predict",
                "got a run on text",
                "expected tables or images",
                'write("Once upon a time") continues a text',
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
        columns = self.task.decoded(output)
        if names is not None:
            return {"file": names, **columns}
        return {"row": list(range(len(output))) if rows is None else rows, **columns}

    def _own_data(self) -> Task:
        """The data of the run, if it has not changed."""
        _, data, _ = read_folder(self.folder)
        expect_unchanged(self.folder, self.recipe, data)
        return type(self.task).load(self.recipe)

    def evaluate(self, source: Any = None) -> tuple[int, dict[str, float]]:
        """The number of rows and the metrics, for a source or the run's test rows."""
        if source is None:
            x, y = self._own_data().test
        else:
            x, y = self.task.read(_named(source), labelled=True)
        _, metrics = evaluate_task(self.task, self.recipe, self.model, (x, y))
        return y.size if isinstance(self.task, TextTask) else len(y), metrics

    def write(self, prompt: str, length: int = 400, seed: int = 0, **sampling: Any) -> str:
        """What the model writes after a prompt, `length` tokens.

        sampling   temperature, top_k, top_p, as for `nn.decoding.sample`
        """
        if not isinstance(self.task, TextTask):
            raise ArgumentError(
                "write", f"got a run on {self.task.kind}", "expected a run on text", "use predict"
            )
        return self.task.continued(self.model, prompt, length, seed, **sampling)


def _named(source: Any) -> Any:
    return str(source) if isinstance(source, Path) else source
