"""The command line: one file per command.

train, predict, evaluate, explain, doctor, check, bench, info: commands
outputs     where `--out` may write
runs        what the commands on runs share
examples    what `explain` explains, ready
plain       characters that the encoding of the output lacks
workloads   what `bench` times, and in which process
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

_INTERRUPTED = (
    "[interrupted] got Ctrl-C before there was a result; expected more time, nothing was written; "
    "run the command again"
)
try:
    from . import bench, check, doctor, evaluate, explain, info, plain, predict, train
except KeyboardInterrupt:  # they take half a second to load
    print(f"chainrule: {_INTERRUPTED}", file=sys.stderr)
    sys.exit(130)

app = typer.Typer(
    name="chainrule",
    help="Train neural networks by backpropagation that you can read.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Command(TyperCommand):
    """A command for which an option with two values is an error, not the last value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options: list[Any] = self.make_parser(ctx).parse_args(args=[*args])[2]
        for option, count in Counter(p for p in options if p.opts[0].startswith("-")).items():
            if count > 1 and not (option.multiple or option.is_flag):
                raise ArgumentError(
                    self.name or "chainrule",
                    f"got {option.opts[0]} {count} times",
                    "expected one value",
                    f"pass {option.opts[0]} once",
                )
        return super().parse_args(ctx, args)


for _name, _function in (
    ("train", train.train),
    ("predict", predict.predict),
    ("evaluate", evaluate.evaluate),
    ("explain", explain.explained),
    ("doctor", doctor.doctor),
    ("check", check.check),
    ("bench", bench.bench),
    ("info", info.info),
):
    app.command(_name, cls=_Command)(_function)


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
    """Run the command line; an error of chainrule is one line and exit code 2."""
    if arguments is None:
        _behave_like_a_tool()
        gc.freeze()  # imported objects stay: the collector need not traverse them
        gc.set_threshold(50_000)  # collecting took 2 % of a short run
    try:
        try:
            try:
                code = app(args=arguments, prog_name="chainrule", standalone_mode=False)
            except typer.Abort:  # Ctrl-C in older versions of Typer; newer ones return 130
                code = 130
            except train.StoppedError as stop:
                _print_error(str(stop), arguments)
                sys.exit(130)
            if code == 130:
                _print_error(_INTERRUPTED, arguments)
        except Exception as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
                sys.exit(2)
            text = _error_text(error, arguments)
            if text is None:
                raise
            _print_error(text, arguments)
            sys.exit(2)
        finally:
            sys.stdout.flush()  # while an error can still be printed
    except OSError as error:
        text = f"[output] got {error.strerror}; expected a place for the output; free some space"
        with contextlib.suppress(OSError):
            print(f"chainrule: {text}", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # the rest cannot be written at exit either
                stream.flush()
                continue
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _words(arguments: Sequence[str] | None) -> Sequence[str]:
    return sys.argv[1:] if arguments is None else arguments


def _print_error(text: str, arguments: Sequence[str] | None) -> None:
    """A line on stderr, and with --json an object on stdout."""
    text = printable(text)
    if "--json" in _words(arguments):
        print(json.dumps({"error": text}))
    print(f"chainrule: {text}", file=sys.stderr)


def _error_text(error: Exception, arguments: Sequence[str] | None) -> str | None:
    """An expected error as one line; None for a bug of this program."""
    if isinstance(error, ChainruleError):  # without its source, a line of this program
        where = f" (in {error.layer})" if error.layer else ""
        text = f"[{error.operation}] {error.arrived}; {error.needed}; {error.advice}{where}"
    elif isinstance(error, OSError) and error.filename is not None:
        text = (
            f"[read] got {error.strerror} for {os.fsdecode(error.filename)}; expected a path that "
            "can be read and written; check the path and its permissions"
        )
    elif isinstance(error, MemoryError):
        text = f"[memory] got too much data: {error}; expected what fits into memory; use less data"
    elif hasattr(error, "format_message"):  # of Click, which newer versions of Typer copy
        known = {command.name for command in app.registered_commands}
        named = [a for a in _words(arguments)[:1] if a in known]  # for an error without a context
        command = getattr(getattr(error, "ctx", None), "command_path", None)
        command = command or " ".join(["chainrule", *named])
        what = error.format_message().rstrip(".").replace(";", ",")
        text = f"[{command.split()[-1]}] got a call that it does not know: {what}; "
        text += f"expected the arguments and options of the command; see {command} --help"
    else:
        return None
    return text


def _behave_like_a_tool() -> None:
    """Behave like other command-line tools.

    End quietly when the reader of a pipe is gone; print characters that the encoding of the
    terminal lacks in plainer ones; discard output to closed streams; print warnings without a line
    of this program.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    plain.register()
    as_json = "--json" in _words(None)
    sys.stdout.reconfigure(errors=plain.JSON if as_json else plain.PLAIN)  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors=plain.PLAIN)  # type: ignore[union-attr]
    warnings.formatwarning = lambda message, *_, **__: f"{printable(message, lines=True)}\n"
