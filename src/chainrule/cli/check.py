"""`chainrule check`: verify every row of the table of derivatives."""

from __future__ import annotations

import difflib
import json
import sys
import time
from typing import Annotated

import typer

from .. import checking, derivatives
from ..errors import ArgumentError, printable
from ..explanation import handbook


def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Operations to check; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Print the rows as a page of mathematics instead.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Which random points are checked.", min=0)] = 0,
) -> None:
    """Verify the derivatives of every operation, to orders 1 and 2.

    Each row of the table is compared with central differences in float64, on the shapes, domains
    and special points in the table. Exit code 1 if a row disagrees.

    Example: chainrule check tanh matmul
    """
    unknown = [n for n in names or [] if n not in derivatives.TABLE]
    if unknown:
        near = [m for n in unknown for m in difflib.get_close_matches(n, derivatives.TABLE, 2, 0.7)]
        raise ArgumentError(
            "check",
            f"got {', '.join(unknown)}",
            "expected names of operations",
            (f"did you mean {' or '.join(near)}? " if near else "")
            + "chainrule check --page lists them",
        )
    if page:
        print("\n".join(handbook(names or ())).lstrip("\n"))
        return
    rows = [derivatives.TABLE[n] for n in names or derivatives.TABLE]
    start = time.perf_counter()
    verdicts = [checking.check_row(row, seed=seed) for row in rows]
    seconds = time.perf_counter() - start
    wrong = [v for v in verdicts if v.failure]
    if as_json:
        report = {
            "rows": [vars(v) for v in verdicts],
            "checked": sum(not v.reason for v in verdicts),
            "failed": [v.name for v in wrong],
            "seconds": round(seconds, 3),
        }
        print(json.dumps(report))
    else:
        _print(verdicts, seconds)
    sys.exit(1 if wrong else 0)


def _print(verdicts: list[checking.Verdict], seconds: float) -> None:
    from rich.console import Console  # slow to import
    from rich.table import Column, Table
    from rich.text import Text

    console = Console()
    names = ("operation", "kind", "samples", "verdict")
    columns = [Column(name, overflow="fold") for name in names]
    table = Table(*columns, box=None, pad_edge=False)
    for v in verdicts:
        if v.reason:
            verdict = Text(printable(v.reason), "dim")
        elif v.failure:
            verdict = Text(printable(f"wrong: {v.failure}"), "red")  # Text: brackets are no style
        else:
            verdict = Text("agrees to order 2", "green")
        table.add_row(v.name, v.kind, "–" if v.reason else str(v.samples), verdict)
    console.print(table)
    checked = [v for v in verdicts if not v.reason]
    wrong = [v.name for v in checked if v.failure]
    samples = sum(v.samples for v in checked)
    console.print(
        f"\n{len(checked)} rows, {samples} samples, {seconds:.1f} s: "
        + (f"[red]{len(wrong)} wrong: {', '.join(wrong)}" if wrong else "[green]all agree")
    )
