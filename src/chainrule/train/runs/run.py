"""A finished run: its model, and how to predict and evaluate with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import nn
from ...errors import ArgumentError, FileError, printable, warn
from ...explanation import Explanation
from ..evaluation.inference import predict
from .explained import explained
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

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.task.task} with {self.recipe.model})"

    def predict(self, source: Any = None, *, warn: bool = True) -> dict[str, list[Any]]:
        """Columns row (or file), prediction and confidence, for a source or the run's test rows.

        source   a path, a data frame or a dict of columns; of images also a list of paths
        warn     whether to warn of values that training has not seen; `task.notes` has them too
        """
        if isinstance(self.task, TextTask):
            raise ArgumentError(
                "predict",
                "got a run on text",
                "expected tables or images",
                'write("Once upon a time") continues a text',
            )
        if isinstance(source, (list, tuple)):
            return self._predict_each(source, warn)
        if source is None:
            task = self._own_data()
            x, rows, names = task.test[0], task.rows.tolist(), task.test_names
        else:
            x, _ = self.task.read(_named(source), labelled=False)
            rows, names = None, self.task.names
            if warn:
                self._warn_of_notes()
        output = predict(self.model, x)
        columns = self.task.decoded(output)
        if names is not None:
            return {"file": names, **columns}
        return {"row": list(range(len(output))) if rows is None else rows, **columns}

    def _predict_each(self, sources: Sequence[Any], warn: bool) -> dict[str, list[Any]]:
        """The predictions for several paths of images; those that cannot be read are left out."""
        if self.task.kind != "images" or not sources:
            raise ArgumentError(
                "predict",
                f"got {len(sources)} sources for a run on {self.task.kind}",
                "expected one source; images may be in several",
                "predict them one by one",
            )
        parts, notes = list[dict[str, list[Any]]](), list[str]()
        failed: FileError | None = None
        for source in sources:
            try:
                parts.append(self.predict(source, warn=False))
                notes += self.task.notes
            except FileError as error:
                if not Path(source).exists():
                    raise
                failed = failed or error
                notes.append(f"{error.arrived.removeprefix('got ')}: it is left out")
        if failed is not None and not parts:
            raise failed
        if any("file" not in part for part in parts):
            raise ArgumentError(
                "predict",
                f"got {len(sources)} sources, one of them with many images in one file",
                "expected files of one image, or folders of them",
                "predict that one by itself",
            )
        self.task.notes = notes
        if warn:
            self._warn_of_notes()
        return {name: [v for part in parts for v in part[name]] for name in parts[0]}

    def _warn_of_notes(self) -> None:
        if self.task.notes:
            warn("\n  ".join(["[predict]", *map(printable, self.task.notes)]))

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

    def explain(self, sample: int = 0, batch: int = 1) -> Explanation:
        """The loss on test rows explained: as in training, with the model in evaluation mode.

        sample   the first row, among the test rows; of a text the first window
        batch    the number of rows
        """
        return self.explained(sample, batch)[0]

    def explained(self, sample: int, batch: int) -> tuple[Explanation, str]:
        """As `explain`, with a title."""
        name = self.folder.resolve().name
        return explained(self._own_data(), self.recipe, self.model, name, sample, batch)

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
