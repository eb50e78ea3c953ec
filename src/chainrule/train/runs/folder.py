"""A run folder: what is read of it, whether that is as it was written, and holding it.

All that a run reads of its folder has a checksum: data.json of itself and of the settings of
recipe.toml, each tensor file of itself, a checkpoint of its parts. The other files are for people
and other programs: nothing reads them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...data import NAMES, load
from ...errors import ArgumentError, ChainruleError, FileError, ShapeError, warn
from ...graph import Array
from ...nn import Module
from .. import files
from ..checkpoints import checkpoint
from .recipe import Recipe
from .tasks import KINDS, Task

FORMAT = 1
MODEL = "model.safetensors"
_CONTENTS = "contents "  # begins the fingerprint of a folder whose files were read for it


class Held:
    """A folder that this process trains in."""

    def __init__(self, folder: Path, moved: Callable[[], str | None]) -> None:
        self.folder, self._moved = folder, moved
        self._began = {name: files.read(folder / name) for name in ("recipe.toml", "data.json")}

    def restore(self) -> None:
        """Write again what the folder had when the run began, where it was removed: by a removal
        of the folder that met files which were just being written, and left it."""
        for name, content in self._began.items():
            if not os.path.lexists(self.folder / name):
                files.write(self.folder / name, content)

    def expect_weights(self) -> None:
        """Raise if the trained weights have been removed since they were written."""
        if not os.path.lexists(self.folder / MODEL):
            raise FileError(
                "train",
                f"got {self.folder}, from which {MODEL} was removed while it was trained in",
                "the folder as the run left it",
                f"write it again with chainrule train --resume {self.folder}",
            )

    def expect_there(self) -> None:
        """Raise if something else is at its path now, or nothing."""
        what = self._moved()
        if what is None:
            return
        _, _, now = what.partition("renamed to ")
        raise FileError(
            "train",
            f"got {self.folder}, which {what} while it was trained in",
            "the folder that the run began in",
            f"go on with chainrule train --resume {now}"
            if now
            else "train again, and leave the folder where it is until the run has ended",
        )

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)
        self._moved = lambda: None


@contextlib.contextmanager
def training_in(folder: Path) -> Iterator[Held]:
    """Hold the folder; what breaks off what is done there says what became of it, or goes on how.

    A Ctrl-C names the folder.
    """
    with files.held(folder) as moved:
        held = Held(folder, moved)
        try:
            yield held
            held.expect_there()
            held.restore()
            held.expect_weights()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(folder) from None
        except FileError as error:
            held.expect_there()
            if not folder.exists():  # there was nothing to keep
                raise
            with contextlib.suppress(FileError):  # the error there was says more
                held.restore()
            advice = f"{error.advice}; then go on with chainrule train --resume {folder}"
            raise FileError(error.operation, error.arrived, error.needed, advice) from None


def create(place: Path, recipe: Recipe, task: Task) -> None:
    """Make the folder, with what resuming and predicting need to know."""
    data = {
        "format": FORMAT,
        "kind": task.kind,
        "fingerprint": fingerprint(recipe.source),
        "recipe": _settings(recipe),
        "preprocessing": task.to_json(),
    }
    data["checksum"] = _checksum(data)
    with files.new_folder(place) as inside:
        files.write(inside / "recipe.toml", _movable(recipe, place).to_toml())
        files.write(inside / "data.json", files.to_json(data))


def _checksum(data: dict[str, Any]) -> str:
    return files.checksum(files.to_json(data).encode(errors="backslashreplace"))


def _movable(recipe: Recipe, folder: Path) -> Recipe:
    """With a source that is relative to the run folder, if both are in the current folder."""
    here, run = Path.cwd(), folder.resolve()
    inside = run.is_relative_to(here) and Path(recipe.source).is_relative_to(here)
    if recipe.source in NAMES or not inside:
        return recipe
    return dataclasses.replace(recipe, source=os.path.relpath(recipe.source, run))


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that a run keeps: not where its data lies."""
    return {k: v for k, v in vars(recipe).items() if k != "source"}


def fingerprint(source: str, contents: bool = True) -> str:
    """Tells whether data is still the same: contents of a file; of a folder names and contents.

    contents   False: names and sizes of a folder's files, as earlier versions took it
    """
    if source in NAMES:
        return f"{source} 0..255" if load(source).kind == "images" else source
    path = Path(source)
    if path.is_dir():
        inside = sorted(p for p in path.glob("*/*") if p.is_file())  # through links, as it is read
        of = (lambda p: files.checksum(files.read(p))) if contents else (lambda p: p.stat().st_size)
        text = "\n".join(f"{p.relative_to(path)} {of(p)}" for p in inside)
        return _CONTENTS * contents + hashlib.sha256(os.fsencode(text)).hexdigest()
    return files.checksum(files.read(path))


def expect_unchanged(folder: Path, recipe: Recipe, data: dict[str, Any]) -> None:
    """Raise if the run's data has gone or is not what it was."""
    if recipe.source not in NAMES and not os.path.exists(recipe.source):
        place = os.path.normpath(folder / recipe.source)  # which may be relative to the run
        raise FileError(
            "run",
            f"got {place}, which does not exist",
            f"the data of {folder}",
            f"put it back, or write where it is now as source into {folder / 'recipe.toml'}",
        )
    before = data["fingerprint"]
    if fingerprint(recipe.source, contents=before.startswith(_CONTENTS)) != before:
        raise FileError(
            "run",
            f"got {recipe.source}, which has changed since {folder} began",
            "the same data",
            "put the old file back, name another file, or train again",
        )


def read_folder(folder: Path) -> tuple[Recipe, dict[str, Any], type[Task]]:
    """The recipe, the content of data.json and the kind of task, if they are as they were written.

    Of the recipe two settings may differ: where the data lies, and how many epochs there are.
    """
    if not os.path.lexists(folder / "recipe.toml"):
        raise FileError(
            "run",
            f"got {folder}, which has no recipe.toml",
            "a run folder",
            "name a folder that chainrule train wrote, runs/… by default",
        )
    recipe = Recipe.read(folder / "recipe.toml")
    if not os.path.lexists(folder / "data.json"):
        raise FileError(
            "run",
            f"got {folder}, which has no data.json",
            "a whole run folder: it says how the "
            "data is encoded, and without it the weights are unusable",
            f"take an intact copy, or train again with chainrule train {folder / 'recipe.toml'}",
        )
    data = files.from_json(folder / "data.json")
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise FileError(
            "run",
            f"got {folder / 'data.json'} of another format",
            f"format {FORMAT}",
            "install the version of chainrule that wrote it",
        )
    if str(data.get("kind")) not in KINDS:
        raise FileError(
            "run",
            f"got a run on {data.get('kind')!r}",
            f"one of {', '.join(KINDS)}",
            "install the version of chainrule that wrote it",
        )
    if data.pop("checksum", None) != _checksum(data):
        raise FileError(
            "run",
            f"got {folder / 'data.json'}, which is not as it was written",
            "the file that chainrule train wrote",
            "take an intact copy, or train again",
        )
    if data["kind"] == "images" and data["fingerprint"] in NAMES:
        raise FileError(
            "run",
            f"got {folder}, a run on {recipe.source} from 0 to 16",
            "images from 0 to 255",
            "train again: earlier versions did not bring them to the scale of image files",
        )
    _expect_settings(folder, recipe, data)
    return recipe, data, KINDS[data["kind"]]


def _expect_settings(folder: Path, recipe: Recipe, data: dict[str, Any]) -> None:
    """Raise if the recipe is not the one that the run began with, or not complete."""
    kept, now = data.get("recipe", {}), _settings(recipe)
    differ = [k for k in now if k in kept and k != "epochs" and kept[k] != now[k]]
    if differ:
        before = ", ".join(f"no {k}" if kept[k] is None else f"{k} = {kept[k]!r}" for k in differ)
        raise FileError(
            "run",
            f"got {folder / 'recipe.toml'} with another {', '.join(differ)} than {folder} "
            "began with",
            f"{before} as then (epochs alone may change)",
            f"put it back, or train again: chainrule train {folder / 'recipe.toml'}",
        )
    needed = ["epochs", "batch_size", "lr", *["embedding"] * (data["kind"] == "table")]
    lost = [name for name in needed if getattr(recipe, name) is None]
    if lost:
        raise FileError(
            "run",
            f"got {folder / 'recipe.toml'} without {lost[0]}",
            "every setting, as chainrule train wrote it",
            f"add {lost[0]}, or train again",
        )


def note_epochs(folder: Path, recipe: Recipe, data: dict[str, Any]) -> None:
    """Say that a run that goes on has other epochs than it began with: the one setting that may
    change, so a slip or a damaged byte there would go unseen."""
    began = data.get("recipe", {}).get("epochs", recipe.epochs)
    if began != recipe.epochs:
        fewer = recipe.epochs < began
        warn(
            f"[resume] epochs is {recipe.epochs} in {folder / 'recipe.toml'} and was {began} when "
            "the run began: a cosine schedule goes on as that of the changed run"
            + ("; a run that is past them already is only judged once more" if fewer else "")
        )


def expect_own_checkpoints(folder: Path) -> None:
    """Raise if the checkpoints would be written through a link, to a place outside the folder."""
    if (folder / "checkpoints").is_symlink():
        raise FileError(
            "resume",
            f"got {folder / 'checkpoints'}, which is a link",
            "a folder of the run itself: nothing is written through a link in it",
            "put the folder in its place",
        )


def load_weights(model: Module, folder: Path) -> None:
    """Give the model its trained weights; if they are damaged, and with a warning, those of the
    newest intact checkpoint."""
    weights, note = _weights(folder)
    try:
        model.load_state_dict(weights)
    except (ArgumentError, ShapeError) as error:
        raise FileError(
            "run",
            f"got {folder / MODEL} with the weights of another network ({error.arrived})",
            "the same architecture as in the recipe",
            "take the weights of this run, or train "
            f"again with chainrule train {folder / 'recipe.toml'}",
        ) from None
    if note:
        warn(f"[run] {note}")


def _weights(folder: Path) -> tuple[dict[str, Array], str]:
    """The weights, and what there is to say of them."""
    file = folder / MODEL
    if not os.path.lexists(file):
        state = f"has no {MODEL}"
        advice = f"finish it with chainrule train --resume {folder}"
        if files.is_held(folder):
            state, advice = "is being trained", "wait, or stop it with Ctrl-C, once"
        raise FileError("run", f"got {folder}, which {state}", "a run that has ended", advice)
    try:
        data = files.read(file)
        weights = files.tensors_from_bytes(data, file)
        _expect_finite(weights, file)
    except FileError as error:
        found = _newest(folder / "checkpoints")
        if found is None:
            raise
        tensors, state = found
        return tensors.get("best", tensors["model"]), (
            f"{error.arrived}: taking the weights of the checkpoint after step {state['step']}; "
            f"chainrule train --resume {folder} writes the file again"
        )
    if files.seal_of(data) is not None:
        return weights, ""
    return weights, (
        f"got {file} without a checksum, as earlier versions wrote it: damage would go unseen; "
        f"chainrule train --resume {folder} writes it again with one"
    )


def _newest(checkpoints: Path) -> tuple[dict[str, dict[str, Array]], Any] | None:
    with contextlib.suppress(ChainruleError):
        return checkpoint.latest(checkpoints)
    return None


def _expect_finite(weights: dict[str, Array], file: Path) -> None:
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise FileError(
                "run",
                f"got {file} with values in {name} that are not finite",
                "the weights that chainrule train wrote",
                "take an intact copy, or train again",
            )
