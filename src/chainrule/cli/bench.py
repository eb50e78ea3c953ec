"""`chainrule bench`: how fast training steps are on this machine."""

from __future__ import annotations

import difflib
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import backends
from ..errors import ArgumentError, ChainruleError
from . import info
from .workloads import PRODUCT, SCRIPT, WORKLOADS, Images

ROUNDS = 3  # in which the programs alternate


def bench(
    works: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORK]...", help=f"{', '.join(WORKLOADS)}; all of them by default."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Number of threads; all processors by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time for each program on each workload.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Time training steps of networks; compare with their arithmetic alone, and with PyTorch.

    A step is forward, loss, backward, clipping and Adam, compiled. The first one compiles, or loads
    what an earlier process has compiled. Every program runs in its own process.

    Example: chainrule bench mnist --threads 1
    """
    names = works or list(WORKLOADS)
    for name in names:
        if name not in WORKLOADS:
            near = difflib.get_close_matches(name, WORKLOADS, n=1)
            advice = f"did you mean {near[0]}?" if near else "leave it out for all"
            raise ArgumentError(
                "bench", f"got {name}", f"expected one of {', '.join(WORKLOADS)}", advice
            )
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ArgumentError(
            "bench", f"got --seconds {seconds:g}", "expected a number above 0", "try --seconds 2"
        )
    if threads is not None and not 1 <= threads <= 128:
        raise ArgumentError(
            "bench",
            f"got --threads {threads}",
            "expected a whole number from 1 to 128",
            "leave it out to use all processors",
        )
    from rich.console import Console  # slow to import, as below

    backend = backends.current().name
    threads = threads or info.threads()
    rows = []
    with Console(stderr=True).status("") as status:
        for name in dict.fromkeys(names):
            status.update(f"{name}: {WORKLOADS[name]}")
            rows.append(_row(name, threads, seconds / ROUNDS, backend))
    report = {"threads": threads, "backend": backend, "works": rows}
    if as_json:
        print(json.dumps(report))
    else:
        _print(report)


def _row(name: str, threads: int, seconds: float, backend: str) -> dict[str, Any]:
    """The figures of a workload: medians over rounds of medians."""
    theirs = "torch, channels last" if isinstance(WORKLOADS[name], Images) else "torch"
    programs = ["chainrule", "product", *([theirs] if find_spec("torch") else [])]
    rounds = [
        {
            program: measure(SCRIPT, program, name, threads, seconds, CHAINRULE_BACKEND=backend)
            for program in programs
        }
        for _ in range(ROUNDS)
    ]
    us = {p: float(np.median([r[p]["us"] for r in rounds])) for p in programs}
    work, ours, torch_us = WORKLOADS[name], us["chainrule"], us.get(theirs)
    speed = 2 * PRODUCT**3 / us["product"]  # operations per microsecond
    return {
        "work": name,
        "network": str(work),
        "batch": work.batch,
        "us": ours,
        "first_seconds": rounds[0]["chainrule"]["first"],
        "gflops": work.operations / ours / 1e3,
        "product_gflops": speed / 1e3,
        "floor_share": work.operations / speed / ours,
        "torch_us": torch_us,
        "ratio": torch_us and torch_us / ours,
    }


def measure(
    script: Path, program: str, work: str, threads: int, seconds: float, **environment: str
) -> dict[str, Any]:
    """The output of `timed` for a program on a workload, in its own process with these threads."""
    package = Path(__file__).parent.parent.parent
    wanted = dict.fromkeys(
        ("CHAINRULE_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        str(threads),
    )
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-P", script, program, work, str(seconds)],
        env={**os.environ, **wanted, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ChainruleError(
            "bench",
            f"got no result of {program} on {work}: {last.replace(';', ',')}",
            "expected a step that runs",
            "check the versions with chainrule info",
        )
    return json.loads(done.stdout)


def _microseconds(us: float) -> str:
    return f"{us:.1f}" if us < 1000 else f"{us:.0f}"


def _print(report: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    rows: Sequence[Mapping[str, Any]] = report["works"]
    with_torch = rows[0]["torch_us"] is not None
    table = Table("work", "network", box=None, pad_edge=False)
    heads = ["µs/step", "first, s", "GFLOP/s", "floor"]
    for head in heads + ["torch", "ratio"] * with_torch:
        table.add_column(head, justify="right")
    for row in rows:
        cells = [_microseconds(row["us"]), f"{row['first_seconds']:.2f}"]
        some = row["gflops"] > 0
        cells += [f"{row['gflops']:.1f}", f"{row['floor_share']:.0%}"] if some else ["–", "–"]
        if with_torch:
            cells += [_microseconds(row["torch_us"]), f"{row['ratio']:.2f}"]
        table.add_row(row["work"], row["network"], *cells)
    console = Console()
    console.print(table)
    speed = np.median([row["product_gflops"] for row in rows])
    threads, processors = report["threads"], info.processors()
    used = "1 thread" if threads == 1 else f"up to {threads} threads"
    if threads > processors:
        used += f" on {processors} processors: threads wait for each other"
    notes = [
        f"{report['backend']} backend, {used}",
        "rows of a batch: " + ", ".join(f"{row['work']} {row['batch']}" for row in rows),
        "first: the first step, which compiles, or loads compiled code from the cache",
        "floor: the share of the time that the matrix products alone would take, at the "
        f"{speed:.0f} GFLOP/s of a large product in NumPy",
    ]
    if any(row["floor_share"] > 1 for row in rows):
        notes.append("above 100%: the large product is slower here, or something else was running")
    if with_torch:
        sparse = ", for factors SparseAdam" * any(row["work"] == "factors" for row in rows)
        images = any(isinstance(WORKLOADS[row["work"]], Images) for row in rows)
        layout = ", images channels last" * images
        notes.append(f"torch: µs/step, eager, with the fused Adam{sparse}{layout}")
        notes.append("ratio: speed relative to torch")
    else:
        notes.append("torch: not installed, not compared")
    console.print("", *notes, sep="\n", highlight=False, soft_wrap=True)
