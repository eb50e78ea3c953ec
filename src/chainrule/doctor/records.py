"""A diagnosis beside the run that it is of: stored as JSON, shown in the run's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import files
from ..diagnosis.finding import Change, Finding, Remedy, Trial
from ..errors import FileError, warn
from ..train.report import with_trials
from ..train.runs.folder import read_folder
from ..train.runs.recipe import Recipe
from . import page
from .diagnosis import Attempt, Diagnosis
from .measured import Measurement

FORMAT = 1
NAME = "diagnosis.json"
REPORT = "report.html"


@dataclass(frozen=True)
class Record:
    """A diagnosis of the training of a recipe.

    settings   the lines of a recipe that make the changes
    notes      on how that training differs from `chainrule train`
    """

    diagnosis: Diagnosis
    settings: Sequence[str]
    notes: Sequence[str]

    @property
    def html(self) -> str:
        """All but the headline, for a page."""
        return self.diagnosis.html(self.settings) + page.notes(self.notes)


def store(folder: Path, recipe: Recipe, record: Record) -> None:
    """Write a record into the folder of the run of this recipe."""
    data = {"format": FORMAT, "recipe": _settings(recipe), **asdict(record)}
    data["checksum"] = _checksum(data)
    files.write(folder / NAME, files.to_json(data))


def show(folder: Path) -> Path:
    """Show the stored diagnosis in the report, whose path is returned.

    FileError: there is no report, or it has no place for that.
    """
    report = folder / REPORT
    data = _stored(folder)
    record = Record(restored(data["diagnosis"]), data["settings"], data["notes"])
    if not report.exists():
        raise FileError(
            "doctor",
            f"got {folder} without a {REPORT}",
            "expected the report of a run that has ended",
            f"chainrule train --resume {folder} writes it, with what was tried",
        )
    # What is no text stays as it is.
    before = files.read(report).decode(errors="surrogateescape")
    text = with_trials(before, page.lead(record.diagnosis.headline) + record.html)
    if text is None:
        raise FileError(
            "doctor",
            f"got {report}, which has no place for what was tried",
            "expected a report of this version",
            f"chainrule train --resume {folder} writes it again, with what was tried",
        )
    files.write(report, text.encode(errors="surrogateescape"))
    return report


def show_again(folder: Path) -> None:
    """Show the diagnosis in a report that was written again, if it is of the run as it is now; warn
    if it is damaged."""
    if not (folder / NAME).exists():
        return
    try:
        if _stored(folder)["recipe"] == _settings(read_folder(folder)[0]):
            show(folder)
    except FileError as error:
        warn(f"[doctor] {error.arrived}: the report does not show what was tried")


def _stored(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    data = files.from_json(path)
    intact = isinstance(data, dict) and data.pop("checksum", None) == _checksum(data)
    if not intact or data["format"] != FORMAT:
        raise FileError(
            "doctor",
            f"got {path}, which has changed since it was written, or is of another version",
            "expected the file that chainrule doctor wrote",
            f"chainrule doctor {folder} writes it again",
        )
    return data


def _settings(recipe: Recipe) -> str:
    """The recipe without the path of its data, which may change."""
    return replace(recipe, source="").to_toml()


def _checksum(data: dict[str, Any]) -> str:
    return files.checksum(files.to_json(data).encode(errors="backslashreplace"))


def restored(data: dict[str, Any]) -> Diagnosis:
    """The diagnosis whose `asdict` this is, read from JSON."""
    return Diagnosis(
        **{
            **data,
            "findings": tuple(map(_finding, data["findings"])),
            "trials": tuple(Attempt(**{**a, "trial": Trial(**a["trial"])}) for a in data["trials"]),
            "measured": tuple(
                Measurement(**{**m, "items": tuple(m["items"])}) for m in data["measured"]
            ),
        }
    )


def _finding(data: dict[str, Any]) -> Finding:
    remedies = (
        Remedy(
            tuple(Change(**{**c, "value": _hashable(c["value"])}) for c in r["changes"]),
            r["text"],
            None if r["trial"] is None else Trial(**r["trial"]),
            tuple(r["code"]),
        )
        for r in data["remedies"]
    )
    return Finding(**{**data, "remedies": tuple(remedies)})


def _hashable(value: Any) -> Any:
    """A change's value; JSON has lists for tuples."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
