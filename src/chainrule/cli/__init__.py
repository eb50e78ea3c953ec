"""The command line: one file a command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from ..errors import ChainruleError
from . import check, info, predict, train

app = typer.Typer(
    name="chainrule",
    help="Train neural networks by backpropagation that you can read.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("evaluate")(predict.evaluate)
app.command("check")(check.check)
app.command("info")(info.info)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"chainrule {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Train neural networks by backpropagation that you can read."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error of the project's kind is one line and exit code 2."""
    if arguments is None:
        _as_a_tool()
    try:
        try:
            app(args=arguments, prog_name="chainrule")
        except ChainruleError as error:
            error.source = None  # a line of this program: nothing that its user wrote
            if "--json" in (sys.argv[1:] if arguments is None else arguments):
                print(json.dumps({"error": str(error)}))
            print(f"chainrule: {error}", file=sys.stderr)
            sys.exit(2)
        finally:
            sys.stdout.flush()  # here, where an error can still be told
    except OSError as error:
        text = f"[output] got {error.strerror}; a place that can be written; free some space"
        print(f"chainrule: {text}", file=sys.stderr)
        with contextlib.suppress(OSError):  # what is left cannot be written at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)


def _as_a_tool() -> None:
    """As other tools do: end quietly when the reader of a pipe has gone, and print what the
    terminal's encoding lacks as a question mark."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
