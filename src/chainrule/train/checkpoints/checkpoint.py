"""Checkpoints: everything that a training needs to continue as if it had not stopped.

A checkpoint is a folder that is renamed into place when it is complete: tensors as safetensors,
all else as JSON with the checksums of the tensor files (`files.tensors_to_bytes`). The last two
are kept; a damaged one is skipped.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import files
from ...errors import ChainruleError, FileError
from ...graph import Array

FORMAT = 1
KEPT = 2


def save(folder: Path, step: int, tensors: Mapping[str, Mapping[str, Array]], state: Any) -> Path:
    """Write the checkpoint of a step: a file per group of named tensors, and a JSON state.

    No checkpoint is overwritten: a second one of the same step gets a number after the step.
    """
    with files.file_errors("checkpoint", folder):
        folder.mkdir(exist_ok=True)  # not its parents: a removed run folder stays removed
    same = [p.name.partition(".")[2] for p in folder.glob(f"step-{step:09d}*")]
    count = max((int(n or 0) + 1 for n in same if n.isdigit() or not n), default=0)
    path = folder / (f"step-{step:09d}" + (f".{count:03d}" if count else ""))
    with files.new_folder(path) as inside:
        sums = {}
        for name, group in tensors.items():
            data = files.tensors_to_bytes(group)
            files.write(inside / f"{name}.safetensors", data)
            sums[name] = files.seal_of(data)
        whole = {"format": FORMAT, "step": step, "sha256": sums, "state": state}
        whole["checksum"] = files.checksum(files.to_json(whole).encode())
        files.write(inside / "state.json", files.to_json(whole))
    for old in _all(folder)[:-KEPT]:
        if old != path:
            shutil.rmtree(old, ignore_errors=True)
    return path


def prepare(folder: Path, resume: bool) -> None:
    """Create the folder, or raise if it contains the checkpoints of another run."""
    with files.file_errors("checkpoint", folder):
        folder.mkdir(parents=True, exist_ok=True)
        files.sweep(folder)
    if not resume and _all(folder):
        raise FileError(
            "checkpoint",
            f"got {folder}, which contains the checkpoints of a run",
            "expected an empty folder for a new run",
            "pass resume=True to continue that run",
        )


def latest(folder: Path) -> tuple[dict[str, dict[str, Array]], Any] | None:
    """Tensors and state of the newest intact checkpoint; None if there is none."""
    first: ChainruleError | None = None
    for path in reversed(_all(folder)):
        try:
            return _read(path)
        except ChainruleError as error:
            first = first or error
            older = "the one before it is used, if it is intact"
            text = f"skipping a damaged checkpoint: {error.arrived}; {older}"
            warnings.warn(text, stacklevel=2)
    if first is not None:
        raise first
    return None


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _read(path: Path) -> tuple[dict[str, dict[str, Array]], Any]:
    whole = files.from_json(path / "state.json")
    version = whole.get("format") if isinstance(whole, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise FileError(
            "checkpoint",
            f"got {path} of format {version}",
            f"expected format {FORMAT} or older",
            "install the version of chainrule that wrote it, or a newer one",
        )
    expected = whole.pop("checksum", None) if isinstance(whole, dict) else None
    if expected is None or files.checksum(files.to_json(whole).encode()) != expected:
        raise FileError(
            "checkpoint",
            f"got {path / 'state.json'}, which is not as it was written",
            "expected the file that was written",
            "delete that folder; the one before it is used",
        )
    tensors = {}
    for name, expected in whole["sha256"].items():
        file = path / f"{name}.safetensors"
        data = files.read(file)
        tensors[name] = files.tensors_from_bytes(data, file)
        if (
            files.seal_of(data) or files.checksum(data)
        ) != expected:  # files of earlier versions have no seal
            raise FileError(
                "checkpoint",
                f"got {file}, {len(data)} bytes with another checksum",
                "expected the bytes that were written",
                "delete that folder; the one before it is used",
            )
    return tensors, whole["state"]
