"""The process that times one program on one work: `python -P process.py PROGRAM WORK SECONDS`.

Run by its path, so that the process contains the measured program and nothing else; it prints one
JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


def load() -> Any:
    """The package `workloads` by its path: as a part of chainrule it would import all of that."""
    spec = spec_from_file_location("workloads", Path(__file__).with_name("__init__.py"))
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules["workloads"] = module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def main(programs: Mapping[str, Callable[[Any], Any]]) -> None:
    """Time the program and work that the command line names."""
    program, work, seconds = sys.argv[1:]
    step = programs[program](workloads.WORKLOADS[work])
    print(json.dumps(workloads.programs.timed(step, float(seconds))))


workloads = load()
if __name__ == "__main__":
    main(workloads.programs.PROGRAMS)
