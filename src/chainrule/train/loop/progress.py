"""Progress on stderr during training: a live screen in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any

from ...errors import printable
from ..charts.drawing import shorten, without_common_path
from .callback import Callback
from .trainer import Trainer

if TYPE_CHECKING:
    from rich.live import Live

REDRAW = 0.1  # seconds
LINE_EVERY = 2.0  # seconds between plain lines
LONG_EPOCH = 15.0  # seconds without a line, inside an epoch
LOOK_EVERY = 2.0  # seconds between looks for findings
LOOKING = 0.01  # of the time at most


def progress_for(wanted: bool) -> Callback:
    """The live screen if stderr is a terminal, lines of text otherwise; nothing if not wanted."""
    if not wanted:
        return Callback()
    return Screen() if sys.stderr.isatty() else Lines()


def short_number(value: Any) -> str:
    """Four significant digits, with an exponent only where it is very large or small."""
    if value is None or not math.isfinite(value):
        return "–" if value is None else str(value)
    four = float(f"{value:.4g}")
    if four and not 1e-4 <= abs(four) < 1e7:
        return f"{value:.3e}"
    return f"{four:.{max(0, 3 - math.floor(math.log10(abs(four) or 1)))}f}"


def counted(count: int, name: str) -> str:
    """1 epoch, 2 epochs."""
    return f"{count} {name}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """0:07, 12:34, 1:02:03."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def row_text(row: dict[str, Any]) -> str:
    """The losses and metrics of an epoch in one line."""
    shown = {k: v for k, v in row.items() if k not in ("epoch", "step", "lr", "seconds")}
    return printable(
        "  ".join(f"{n.replace('_', ' ')} {short_number(v)}" for n, v in shown.items())
    )


def share_done(run: Trainer) -> float | None:
    """The share of all steps that are done, if the length of an epoch is known."""
    if not run.batches:
        return None
    return min(1.0, (run.epoch + run.batch / run.batches) / run.epochs)


def closing(run: Trainer) -> str:
    """The end of the training, in one line."""
    stopping = run.early_stopping
    reasons = {
        "patience": f"no better {stopping.monitor.replace('_', ' ')} for "
        f"{counted(stopping.patience or 0, 'epoch')}",
        "interrupted": "stopped by Ctrl-C",
        "callback": "stopped by a callback",
    }
    reason = reasons.get(run.history.stopped, run.history.stopped)
    best = restored_epoch(run)
    ending = "" if run.history.stopped == "epochs" else f", {reason}"
    restored = f", weights of epoch {best}" if best else ""
    done = f"{counted(run.epoch, 'epoch')}, {counted(run.step, 'step')}"
    return printable(f"{done}, {duration(run.elapsed)}{ending}{restored}")


def restored_epoch(run: Trainer) -> int | None:
    """The epoch whose weights are restored at the end, if any."""
    return run.history.best_epoch if run.early_stopping.restore_best else None


def epoch_text(run: Trainer, row: dict[str, Any]) -> str:
    """A row of the history, with the number of its epoch."""
    return f"epoch {row['epoch']}/{run.epochs}  {row_text(row)}"


def norms_text(layers: list[str], norms: list[float], width: int) -> str:
    """The norms from input to output; layers in the middle are left out if there is no room."""
    pairs = zip(without_common_path(layers), norms, strict=True)
    shown = [f"{shorten(name.split()[0], 20)} {norm:.1e}" for name, norm in pairs]
    text = _joined(shown)
    for count in range(len(shown) - 1, 1, -1):
        if len(text) <= width:
            break
        tail = count // 2
        text = _joined([*shown[: count - tail], "…", *shown[-tail:]])
    return text


def _joined(parts: list[str]) -> str:
    return printable(f"gradient norms by layer: {' · '.join(parts)}")


class Warnings:
    """The warnings among the findings of a training that runs, as they appear.

    newest   the title of the last one; empty if there is none
    """

    def __init__(self) -> None:
        self.newest = ""
        self._known = set[tuple[str, str]]()
        self._next = 0.0  # when to look again

    def look(self, run: Trainer) -> list[str]:
        """The titles of those that are new; looks every two seconds, or more rarely if that takes
        more than a hundredth of the time."""
        began = time.perf_counter()
        if not self._next:
            self._next = began + LOOK_EVERY
        if began < self._next:
            return []
        warnings = [f for f in run.history.findings if f.level == "warning"]
        new = [f for f in warnings if (f.kind, f.place) not in self._known]
        self._known |= {(f.kind, f.place) for f in new}
        titles = [printable(f"warning: {f.title}") for f in new]
        self.newest = titles[0] if titles else self.newest  # the surest of them
        now = time.perf_counter()
        self._next = now + max(LOOK_EVERY, (now - began) / LOOKING)
        return titles


class Lines(Callback):
    """A line per epoch on stderr, at most one every two seconds; in long epochs some more; a line
    per warning, once."""

    each_step = False

    def __init__(self) -> None:
        self._warnings = Warnings()
        self._printed = -math.inf
        self._shown = 0  # the epoch of the last line

    def on_begin(self, run: Trainer) -> None:
        self._printed = time.perf_counter() - LINE_EVERY

    def on_step(self, run: Trainer) -> None:
        for warning in self._warnings.look(run):
            self.show(warning)
        if time.perf_counter() - self._printed < LONG_EPOCH or not run.batches:
            return
        self._printed = time.perf_counter()
        share = f"{run.batch / run.batches:.0%} of epoch {run.epoch + 1}/{run.epochs}"
        print(f"{share}  loss {short_number(run.loss)}", file=sys.stderr, flush=True)

    def on_epoch(self, run: Trainer) -> None:
        last = run.epoch == run.epochs or run.history.stopped
        if time.perf_counter() - self._printed < LINE_EVERY and not last and run.epoch > 1:
            return
        self._printed = time.perf_counter()
        self._shown = run.epoch
        print(epoch_text(run, run.history.epochs[-1]), file=sys.stderr, flush=True)

    def show(self, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)

    def on_end(self, run: Trainer) -> None:
        best = restored_epoch(run)
        if best and best != self._shown:
            print(epoch_text(run, run.history.epochs[best - 1]), file=sys.stderr, flush=True)
        if run.history.stopped:
            print(closing(run), file=sys.stderr, flush=True)


class Screen(Callback):
    """A bar with the time left, the last row of the history, the gradient norms by layer, and the
    newest warning."""

    each_step = False

    def __init__(self) -> None:
        self._live: Live | None = None
        self._drawn = 0.0
        self._first: tuple[float, float] | None = None  # seconds and share after what compiles
        self._epochs = 0
        self._warnings = Warnings()

    def on_begin(self, run: Trainer) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self._live.start()

    def on_step(self, run: Trainer) -> None:
        if self._first is None:  # the first step compiles
            self._first = run.elapsed, share_done(run) or 0.0
        if time.perf_counter() - self._drawn >= REDRAW:
            self._draw(run)

    def on_epoch(self, run: Trainer) -> None:
        if not self._epochs:  # and so does the first evaluation
            self._first = run.elapsed, share_done(run) or 0.0
        self._epochs += 1
        self.on_step(run)

    def show(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(printable(text), style="dim", highlight=False, markup=False)

    def on_end(self, run: Trainer) -> None:
        if self._live is None:
            return
        self._live.stop()
        console = self._live.console
        if run.history.epochs:
            text = epoch_text(run, run.history.epochs[(restored_epoch(run) or 0) - 1])
            console.print(text, highlight=False, markup=False)
        if run.history.stopped:
            console.print(closing(run), style="dim", highlight=False, markup=False)

    def _draw(self, run: Trainer) -> None:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._live is not None
        self._drawn = time.perf_counter()
        share = share_done(run)
        head = Table.grid(padding=(0, 2))
        now = f"epoch {min(run.epoch + 1, run.epochs)}/{run.epochs}"
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=30, pulse=share is None)
        head.add_row(now, bar, f"loss {short_number(run.loss)}", self._left(run, share))
        lines: list[Any] = [head]
        if run.history.epochs:
            lines.append(Text(row_text(run.history.epochs[-1]), no_wrap=True, overflow="ellipsis"))
        flow = run.history.gradients
        if flow.norms:
            text = norms_text(flow.layers, flow.norms[-1], self._live.console.width)
            lines.append(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
        self._warnings.look(run)
        if self._warnings.newest:
            lines.append(
                Text(self._warnings.newest, style="yellow", no_wrap=True, overflow="ellipsis")
            )
        self._live.update(Group(*lines), refresh=True)

    def _left(self, run: Trainer, share: float | None) -> str:
        began, before = self._first or (0.0, 1.0)
        if share is None or share <= before:
            return f"{duration(run.elapsed)} so far"
        left = (run.elapsed - began) * (1 - share) / (share - before)
        return f"{duration(left)} left"
