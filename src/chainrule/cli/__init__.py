"""The command line: one file a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import typer

from ..errors import ChainruleError
from . import check, info

app = typer.Typer(
    name="chainrule",
    help="Train neural networks by backpropagation that you can read.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check")(check.check)
app.command("info")(info.info)


@app.callback()
def _root() -> None:
    """Train neural networks by backpropagation that you can read."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error of the project's kind is one line and exit code 2."""
    try:
        app(args=arguments, prog_name="chainrule")
    except ChainruleError as error:
        if "--json" in (sys.argv[1:] if arguments is None else arguments):
            print(json.dumps({"error": str(error)}))
        print(f"chainrule: {error}", file=sys.stderr)
        sys.exit(2)
