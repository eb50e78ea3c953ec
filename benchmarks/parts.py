"""What the parts share: their options, what is said of the machine, the control, the JSON kept."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def arguments(about: str, works: Iterable[str] = ()) -> argparse.Namespace:
    """quick: a try that takes little time; out: the folder that is written to.

    works   of a part with several: some can be measured alone
    """
    parser = argparse.ArgumentParser(description=about)
    if works := list(works):
        said = "measure these alone; others stay as they are"
        parser.add_argument("--works", nargs="+", choices=works, default=[], help=said)
    parser.add_argument("--quick", action="store_true", help="a short try: no figures to rely on")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write; here if left out")
    return parser.parse_args()


def facts(*packages: str) -> dict[str, object]:
    """The date, the machine, and the versions of what is installed."""
    versions = {"Python": platform.python_version()}
    for name in ("chainrule", "numpy", *packages):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} processors, {platform.machine()}",
        "versions": versions,
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    for line in listed.read_text().splitlines() if listed.exists() else ():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def control(seconds: float) -> float:
    """The median µs of a 512×512 product through NumPy."""
    a = np.ones((512, 512), np.float32)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


def keep(part: str, found: dict[str, object], out: Path) -> None:
    """Write what a part has found as JSON."""
    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def processors(count: int) -> Iterator[None]:
    """Processes that start inside run on `count` processors at most."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
