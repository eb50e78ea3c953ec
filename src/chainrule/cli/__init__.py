"""The command line: one file per command.

runs        what `train`, `predict` and `evaluate` share
workloads   what `bench` times
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from .. import __version__
from ..errors import ArgumentError, ChainruleError, printable
from . import bench, check, evaluate, info, predict, train

app = typer.Typer(
    name="chainrule",
    help="Train neural networks by backpropagation that you can read.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Command(TyperCommand):
    """A command that does not silently take the last of two values for one option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[Any] = self.make_parser(ctx).parse_args(args=[*args])[2]
        for option, count in Counter(p for p in given if p.opts[0].startswith("-")).items():
            if count > 1 and not (option.multiple or option.is_flag):
                raise ArgumentError(
                    self.name or "chainrule",
                    f"got {option.opts[0]} {count} times",
                    "one value",
                    "leave all but one of them out",
                )
        return super().parse_args(ctx, args)


for _name, _function in (
    ("train", train.train),
    ("predict", predict.predict),
    ("evaluate", evaluate.evaluate),
    ("check", check.check),
    ("bench", bench.bench),
    ("info", info.info),
):
    app.command(_name, cls=_Command)(_function)


_INTERRUPTED = (
    "[interrupted] got Ctrl-C before there was a result; some more time, nothing was written; call "
    "it again"
)


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
        gc.freeze()  # what has been imported stays: it need not be looked through for garbage
        gc.set_threshold(50_000)  # and a command makes little: 2 % of a short run went into looking
    try:
        try:
            try:
                code = app(args=arguments, prog_name="chainrule", standalone_mode=False)
            except typer.Abort:  # Ctrl-C in older versions of Typer; newer ones return 130
                code = 130
            except train.StoppedError as stop:
                _tell(str(stop), arguments)
                sys.exit(130)
            if code == 130:
                _tell(_INTERRUPTED, arguments)
        except Exception as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
                sys.exit(2)
            told = _told(error, arguments)
            if told is None:
                raise
            _tell(told, arguments)
            sys.exit(2)
        finally:
            sys.stdout.flush()  # here, where an error can still be told
    except OSError as error:
        text = f"[output] got {error.strerror}; a place that can be written; free some space"
        with contextlib.suppress(OSError):
            print(f"chainrule: {text}", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # what is left cannot be written at exit either
                stream.flush()
                continue
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _given(arguments: Sequence[str] | None) -> Sequence[str]:
    return sys.argv[1:] if arguments is None else arguments


def _tell(text: str, arguments: Sequence[str] | None) -> None:
    """A line on stderr, and with --json an object on stdout."""
    text = printable(text)
    if "--json" in _given(arguments):
        print(json.dumps({"error": text}))
    print(f"chainrule: {text}", file=sys.stderr)


def _told(error: Exception, arguments: Sequence[str] | None) -> str | None:
    """An error that is no mistake of this program, in one line of the project's form."""
    if isinstance(error, ChainruleError):  # its source is a line of this program: not shown
        where = f" (in {error.layer})" if error.layer else ""
        text = f"[{error.operation}] {error.arrived}; {error.needed}; {error.advice}{where}"
    elif isinstance(error, OSError) and error.filename is not None:
        text = (
            f"[read] got {error.strerror} for {os.fsdecode(error.filename)}; a place that can be "
            "used; check the path and its rights"
        )
    elif isinstance(error, MemoryError):
        text = f"[memory] got too much: {error}; what fits into memory; make it smaller"
    elif hasattr(error, "format_message"):
        known = {command.name for command in app.registered_commands}
        named = [a for a in _given(arguments)[:1] if a in known]  # of an error without a context
        command = getattr(getattr(error, "ctx", None), "command_path", None)
        command = command or " ".join(["chainrule", *named])
        what = error.format_message().rstrip(".").replace(";", ",")
        text = f"[{command.split()[-1]}] got a call that it does not know: {what}; "
        text += f"the arguments and options that it has; look at {command} --help"
    else:
        return None
    return text


def _as_a_tool() -> None:
    """As other tools do: end quietly when the reader of a pipe has gone, and print what the
    terminal's encoding lacks as a question mark. A stream that is closed swallows what it gets,
    and a warning is what it says and no line of this program."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    warnings.formatwarning = lambda message, *_, **__: f"{printable(message, lines=True)}\n"
