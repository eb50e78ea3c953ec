"""A run folder: creating, reading, verifying and locking it.

Everything that chainrule reads from a run folder has a checksum: data.json has one of itself and
contains the settings of recipe.toml, each tensor file has one of itself, a checkpoint one of its
parts. The other files are for people and other programs; chainrule does not read them.
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

from ... import files
from ...data import NAMES, load
from ...data.images.listing import files_in_table, files_of_classes
from ...data.images.packed import files_of_packed
from ...errors import ArgumentError, ChainruleError, FileError, ShapeError, warn
from ...graph import Array
from ...nn import Module
from ..checkpoints import checkpoint
from .recipe import Recipe
from .tasks import KINDS, Task

FORMAT = 1
MODEL = "model.safetensors"
_CONTENTS = "contents "  # prefix of a fingerprint of the contents of a folder's files


class LockedFolder:
    """A run folder in which this process trains."""

    def __init__(self, folder: Path, moved: Callable[[], str | None]) -> None:
        self.folder, self._moved = folder, moved
        self._began = {name: files.read(folder / name) for name in ("recipe.toml", "data.json")}

    def restore(self) -> None:
        """Write recipe.toml and data.json again if they were removed.

        A removal of the folder can fail halfway, at files that are just being written.
        """
        for name, content in self._began.items():
            if not os.path.lexists(self.folder / name):
                files.write(self.folder / name, content)

    def expect_weights(self) -> None:
        """Raise if the trained weights have been removed since they were written."""
        if not os.path.lexists(self.folder / MODEL):
            raise FileError(
                "train",
                f"got {self.folder}, from which {MODEL} was removed during training",
                "expected the folder as the run left it",
                f"write it again with chainrule train --resume {self.folder}",
            )

    def expect_there(self) -> None:
        """Raise if the folder is no longer at its path."""
        what = self._moved()
        if what is None:
            return
        _, _, now = what.partition("renamed to ")
        raise FileError(
            "train",
            f"got {self.folder}, which {what} during training",
            "expected the folder that the run began in",
            f"continue with chainrule train --resume {now}"
            if now
            else "train again, and leave the folder in place until the run has ended",
        )

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)
        self._moved = lambda: None


@contextlib.contextmanager
def training_in(folder: Path) -> Iterator[LockedFolder]:
    """Lock the folder. Errors inside also say how to continue the run; Ctrl-C names the folder."""
    with files.locked(folder) as moved:
        run = LockedFolder(folder, moved)
        try:
            yield run
            run.expect_there()
            run.restore()
            run.expect_weights()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(folder) from None
        except FileError as error:
            run.expect_there()
            if not folder.exists():  # nothing was kept
                raise
            with contextlib.suppress(FileError):  # the first error says more
                run.restore()
            advice = f"{error.advice}; then continue with chainrule train --resume {folder}"
            raise FileError(error.operation, error.arrived, error.needed, advice) from None


def create(place: Path, recipe: Recipe, task: Task) -> None:
    """Create the folder, with recipe.toml and data.json for resuming and predicting."""
    data = {
        "format": FORMAT,
        "kind": task.kind,
        "fingerprint": fingerprint(recipe.source),
        "recipe": _settings(recipe),
        "preprocessing": task.to_json(),
    }
    data["checksum"] = _checksum(data)
    with files.new_folder(place) as inside:
        chosen = task.chosen(recipe)
        comment = f"# {chosen}\n" if chosen else ""
        files.write(inside / "recipe.toml", comment + _movable(recipe, place).to_toml())
        files.write(inside / "data.json", files.to_json(data))


def _checksum(data: dict[str, Any]) -> str:
    return files.checksum(files.to_json(data).encode(errors="backslashreplace"))


def _movable(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with a source relative to the run folder, if both are in the current folder."""
    here, run = Path.cwd(), folder.resolve()
    inside = run.is_relative_to(here) and Path(recipe.source).is_relative_to(here)
    if recipe.source in NAMES or not inside:
        return recipe
    return dataclasses.replace(recipe, source=os.path.relpath(recipe.source, run))


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that a run may not change: all but the path of its data."""
    return {k: v for k, v in vars(recipe).items() if k != "source"}


def fingerprint(source: str, contents: bool = True) -> str:
    """A checksum of the data: contents of a file; names and contents of several files, of a folder
    those of its images.

    contents   False: names and sizes of several files, as in earlier versions
    """
    if source in NAMES:
        return f"{source} 0..255" if load(source).kind == "images" else source
    path = Path(source)
    inside = files_of_packed(path)
    if not inside and path.is_dir():
        inside = files_of_classes(path)
    inside = inside or [path, *files_in_table(path)]
    if inside == [path]:
        return files.checksum_of(path)
    folder = path if path.is_dir() else path.parent
    of = _checksum_of_image if contents else (lambda p: p.stat().st_size)
    text = "\n".join(f"{os.path.relpath(p, folder)} {of(p)}" for p in inside)
    return _CONTENTS * contents + hashlib.sha256(os.fsencode(text)).hexdigest()


def _checksum_of_image(path: Path) -> str:
    """The checksum of a file; of one that cannot be read, which a run may leave out, its size."""
    try:
        return files.checksum_of(path)
    except FileError:
        return f"{path.stat().st_size} bytes"


def expect_unchanged(folder: Path, recipe: Recipe, data: dict[str, Any]) -> None:
    """Raise if the data of the run is gone or has changed."""
    if recipe.source not in NAMES and not os.path.exists(recipe.source):
        place = os.path.normpath(folder / recipe.source)  # a relative source starts at the run
        raise FileError(
            "run",
            f"got {place}, which does not exist",
            f"expected the data of {folder}",
            f"restore it, or write its new path as source into {folder / 'recipe.toml'}",
        )
    before = data["fingerprint"]
    if fingerprint(recipe.source, contents=before.startswith(_CONTENTS)) != before:
        raise FileError(
            "run",
            f"got {recipe.source}, which has changed since {folder} began",
            "expected the same data",
            "restore the old file, pass another file, or train again",
        )


def read_folder(folder: Path) -> tuple[Recipe, dict[str, Any], type[Task]]:
    """The recipe, the content of data.json and the kind of task, if they have not changed.

    Only two settings of the recipe may differ: the path of the data and the number of epochs.
    """
    if not os.path.lexists(folder / "recipe.toml"):
        raise FileError(
            "run",
            f"got {folder}, which has no recipe.toml",
            "expected a run folder",
            "pass a folder that chainrule train wrote, by default runs/NAME-1",
        )
    recipe = Recipe.read(folder / "recipe.toml")
    if not os.path.lexists(folder / "data.json"):
        raise FileError(
            "run",
            f"got {folder}, which has no data.json",
            "expected a complete run folder: data.json "
            "says how the data is encoded, without it the weights are unusable",
            f"restore an intact copy, or train again with chainrule train {folder / 'recipe.toml'}",
        )
    data = files.from_json(folder / "data.json")
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise FileError(
            "run",
            f"got {folder / 'data.json'} of another format",
            f"expected format {FORMAT}",
            "install the version of chainrule that wrote it",
        )
    if str(data.get("kind")) not in KINDS:
        raise FileError(
            "run",
            f"got a run on {data.get('kind')!r}",
            f"expected one of {', '.join(KINDS)}",
            "install the version of chainrule that wrote it",
        )
    if data.pop("checksum", None) != _checksum(data):
        raise FileError(
            "run",
            f"got {folder / 'data.json'}, which has changed since it was written",
            "expected the file that chainrule train wrote",
            "restore an intact copy, or train again",
        )
    if data["kind"] == "images" and data["fingerprint"] in NAMES:
        raise FileError(
            "run",
            f"got {folder}, a run on {recipe.source} from 0 to 16",
            "expected images from 0 to 255",
            "train again: earlier versions did not scale them like image files",
        )
    _expect_settings(folder, recipe, data)
    return recipe, data, KINDS[data["kind"]]


def _expect_settings(folder: Path, recipe: Recipe, data: dict[str, Any]) -> None:
    """Raise if the recipe differs from that of the run, or is not complete."""
    then, now = data.get("recipe", {}), _settings(recipe)
    differ = [k for k in now if k in then and k != "epochs" and then[k] != now[k]]
    if differ:
        before = ", ".join(f"no {k}" if then[k] is None else f"{k} = {then[k]!r}" for k in differ)
        raise FileError(
            "run",
            f"got {folder / 'recipe.toml'} with another {', '.join(differ)} than {folder} "
            "began with",
            f"expected {before} as before (only epochs may change)",
            f"restore it, or train again: chainrule train {folder / 'recipe.toml'}",
        )
    needed = ["epochs", "batch_size", "lr", *["embedding"] * (data["kind"] == "table")]
    absent = [name for name in needed if getattr(recipe, name) is None]
    if absent:
        raise FileError(
            "run",
            f"got {folder / 'recipe.toml'} without {absent[0]}",
            "expected every setting, as chainrule train wrote it",
            f"add {absent[0]}, or train again",
        )


def note_epochs(folder: Path, recipe: Recipe, data: dict[str, Any]) -> None:
    """Warn if a resumed run has another number of epochs than it began with.

    It is the only setting that may change, so nothing else would show a typing error.
    """
    began = data.get("recipe", {}).get("epochs", recipe.epochs)
    if began != recipe.epochs:
        fewer = recipe.epochs < began
        warn(
            f"[resume] epochs is {recipe.epochs} in {folder / 'recipe.toml'} and was {began} when "
            "the run began: a cosine schedule continues with the new number"
            + ("; a run that has passed it is only evaluated again" if fewer else "")
        )


def expect_own_checkpoints(folder: Path) -> None:
    """Raise if checkpoints would be written through a link, outside the folder."""
    if (folder / "checkpoints").is_symlink():
        raise FileError(
            "resume",
            f"got {folder / 'checkpoints'}, which is a link",
            "expected a folder: nothing is written through a link in a run folder",
            "replace the link by the folder that it points to",
        )


def load_weights(model: Module, folder: Path) -> None:
    """Load the trained weights; if they are damaged, with a warning, those of the newest intact
    checkpoint."""
    weights, note = _weights(folder)
    try:
        model.load_state_dict(weights)
    except (ArgumentError, ShapeError) as error:
        raise FileError(
            "run",
            f"got {folder / MODEL} with the weights of another network ({error.arrived})",
            "expected the same architecture as in the recipe",
            "restore the weights of this run, or train "
            f"again with chainrule train {folder / 'recipe.toml'}",
        ) from None
    if note:
        warn(f"[run] {note}")


def _weights(folder: Path) -> tuple[dict[str, Array], str]:
    """The weights, and a warning about them or an empty text."""
    file = folder / MODEL
    if not os.path.lexists(file):
        state = f"has no {MODEL}"
        advice = f"finish it with chainrule train --resume {folder}"
        if files.is_locked(folder):
            state, advice = "is being trained", "wait, or stop it with one Ctrl-C"
        raise FileError(
            "run", f"got {folder}, which {state}", "expected a run that has ended", advice
        )
    try:
        data = files.read(file)
        weights = files.tensors_from_bytes(data, file)
        _expect_finite(weights, file)
    except FileError as error:
        newest = _newest(folder / "checkpoints")
        if newest is None:
            raise
        tensors, state = newest
        return tensors.get("best", tensors["model"]), (
            f"{error.arrived}: using the weights of the checkpoint after step {state['step']}; "
            f"chainrule train --resume {folder} writes the file again"
        )
    if files.seal_of(data) is not None:
        return weights, ""
    return weights, (
        f"got {file} without a checksum, as earlier versions wrote it: damage is not detected; "
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
                "expected the weights that chainrule train wrote",
                "restore an intact copy, or train again",
            )
