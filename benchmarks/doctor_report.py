"""Runs of `doctor.py` side by side, judged by the collection's `score.py`; as a table in Markdown.

    python benchmarks/doctor_report.py --cases FILE doctor.json random.json …

Each file is a column: the doctor's findings, and remedies of random search at equal budget.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RIGHT = "detected", "diagnosed", "first", "located", "treatable"
CURED = 0.7  # of the gap between the faulty program and its corrected twin

Found = dict[str, dict[str, list[dict[str, Any]]]]  # findings by case and program


def cured(job: tuple[Path, str, list[dict[str, Any]]]) -> bool:
    """Whether the first remedy cures a case."""
    path, name, findings = job
    score = _score_of(path.parent)
    (case,) = (c for c in json.loads(path.read_text()) if c["id"] == name)
    return bool(score.cure(case, findings) >= CURED)


def column(path: Path, found: Found, pool: Any) -> dict[str, str]:
    """The shares of one file's findings, by their names."""
    score = _score_of(path.parent)
    cases = json.loads(path.read_text())
    faulty = [c for c in cases if not c.get("control") and "faulty" in found.get(c["id"], {})]
    alarms: dict[str, bool] = {}
    for case in cases:
        side = "faulty" if case.get("control") else "fixed"
        if side in found.get(case["id"], {}):
            kinds = {f["kind"] for f in found[case["id"]][side]} - set(case.get("residual", ()))
            alarms[json.dumps(score.build.patched(case), sort_keys=True)] = bool(kinds)
    judged = [score.judge(case, found[case["id"]]["faulty"]) for case in faulty]
    out = {name: _share([j[name] for j in judged]) for name in RIGHT}
    out["false alarms"] = _share(list(alarms.values()))
    if not alarms:  # remedies alone
        out = dict.fromkeys(out, "")
    jobs = [(path, case["id"], found[case["id"]]["faulty"]) for case in faulty]
    return {**out, "cured": _share(pool.map(cured, jobs, chunksize=1))}


def _share(values: list[bool]) -> str:
    return f"{sum(values)} / {len(values)}, {sum(values) / max(len(values), 1):.0%}"


def _score_of(folder: Path) -> Any:
    """The module score.py of a collection."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module("score")


def table(columns: dict[str, dict[str, str]]) -> Iterator[str]:
    """Names of shares down, files across."""
    yield "| | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for name in next(iter(columns.values())):
        yield f"| {name} | " + " | ".join(c[name] for c in columns.values()) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("files", nargs="+", type=Path)
    a = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(a.jobs) as pool:
        columns = {
            file.stem: column(a.cases, json.loads(file.read_text()), pool) for file in a.files
        }
    print("\n".join(table(columns)))


if __name__ == "__main__":
    main()
