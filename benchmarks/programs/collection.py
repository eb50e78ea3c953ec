"""A collection of others: a JSON file of cases, with their `data.py` and `build.py` beside it.

`build.py` has the same programs in PyTorch and the scores. A case's fault, symptom and results are
not read here; its patch only to make the corrected twin.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .patches import patched
from .program import Arrays, Program

Case = dict[str, Any]


class Collection:
    """The cases of a file.

    build   the module build.py
    """

    def __init__(self, cases: str | Path) -> None:
        path = Path(cases).resolve()
        self.cases: dict[str, Case] = {c["id"]: c for c in json.loads(path.read_text())}
        self._data, self.build = _modules(path.parent)

    def programs(self) -> Iterator[tuple[str, str, Program]]:
        """(case, "faulty" or "fixed", program) for all; a control, without fault, is "faulty"."""
        for name, case in self.cases.items():
            for which in ("faulty",) if case.get("control") else ("faulty", "fixed"):
                yield name, which, self.program(name, which)

    def program(self, name: str, which: str = "faulty") -> Program:
        """The program of a case, or its corrected twin."""
        case = self.cases[name]
        recipe = patched(case["program"], case["patch"] if which == "fixed" else ())
        return Program(recipe, self._data.load)

    def score(self, name: str, arrays: Arrays, outputs: np.ndarray, test: np.ndarray) -> float:
        """The score of predictions for the training and the test inputs: 1 is perfect."""
        metric = self.cases[name]["metric"]
        train_mean = np.asarray(arrays.y, float).mean(0)
        out, y = (test, arrays.y_test) if metric["on"] == "test" else (outputs, arrays.y)
        with np.errstate(all="ignore"):
            return self.build.score_of(metric["name"], out, y, train_mean)


NAMES = "data", "build"


def _modules(folder: Path) -> tuple[Any, Any]:
    """data.py and build.py of a folder, whatever else has these names."""
    others = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        data, build = map(importlib.import_module, NAMES)
    finally:
        sys.path.remove(str(folder))
        for name in NAMES:
            sys.modules.pop(name, None)
        sys.modules.update(others)
    return data, build
