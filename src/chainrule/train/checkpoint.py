"""Checkpoints: everything that a run needs to go on as if it had not stopped.

A checkpoint is a folder that appears whole: tensors as safetensors, everything else as JSON with
the checksums of the tensor files. The last two are kept; one that does not read back is passed
over.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ChainruleError, FileError
from ..graph import Array
from . import files

FORMAT = 1
KEPT = 2


def save(folder: Path, step: int, tensors: Mapping[str, Mapping[str, Array]], state: Any) -> Path:
    """Write the checkpoint of a step: groups of named tensors, a file each, and a JSON state."""
    path = folder / f"step-{step:09d}"
    with files.told("checkpoint", folder):
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            shutil.rmtree(path)
    with files.new_folder(path) as inside:
        sums = {}
        for name, group in tensors.items():
            data = files.tensors_to_bytes(group)
            files.write(inside / f"{name}.safetensors", data)
            sums[name] = files.checksum(data)
        whole = {"format": FORMAT, "step": step, "sha256": sums, "state": state}
        files.write(inside / "state.json", files.to_json(whole))
    for old in _all(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def latest(folder: Path) -> tuple[dict[str, dict[str, Array]], Any] | None:
    """Tensors and state of the newest checkpoint that is intact; None where there is none."""
    found = _all(folder)
    for stale in folder.glob(".step-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    first: ChainruleError | None = None
    for path in reversed(found):
        try:
            return _read(path)
        except ChainruleError as error:
            first = first or error
            warnings.warn(f"passing over a damaged checkpoint: {error}", stacklevel=2)
    if first is not None:
        raise first
    return None


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _read(path: Path) -> tuple[dict[str, dict[str, Array]], Any]:
    whole = files.from_json(path / "state.json")
    if not isinstance(whole, dict) or "sha256" not in whole or "state" not in whole:
        raise FileError(
            "checkpoint", f"got {path / 'state.json'} without its parts", "a whole checkpoint",
            "delete that folder; the one before it is used",
        )  # fmt: skip
    if whole["format"] > FORMAT:
        raise FileError(
            "checkpoint", f"got {path} of format {whole['format']}", f"format {FORMAT} or older",
            "install the version of chainrule that wrote it, or a newer one",
        )  # fmt: skip
    tensors = {}
    for name, expected in whole["sha256"].items():
        file = path / f"{name}.safetensors"
        data = files.read(file)
        if files.checksum(data) != expected:
            raise FileError(
                "checkpoint", f"got {file}, {len(data)} bytes with another checksum",
                "the bytes that were written", "delete that folder; the one before it is used",
            )  # fmt: skip
        tensors[name] = files.tensors_from_bytes(data, file)
    return tensors, whole["state"]
