"""The threads that run a step together.

Workers are Python threads inside a native loop: they wait for a job without the interpreter's lock,
at first awake, then asleep. A job is a driver of `module`, run by every thread that came in time:

    the first thread opens a job; workers join; it closes the job, and so knows how many there are;
    all run the driver, which has them meet between groups; it waits until the others are done.

A worker that comes late leaves the job alone. So nothing waits for a thread that sleeps, and since
no result depends on how many there are, none differs.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import ArgumentError
from ..code_cache import cached
from ..emit.team import BARRIER, LINE, STOP, WORD, team_text
from ..object_code import Library, compile_ir, load
from ..processor import host

AWAKE = 100_000  # looks for a job before a worker goes to sleep: some 300 µs
JOIN = 400  # looks for workers that are awake before a job is closed: some 2 µs
LOOK_TIME = 5.0  # nanoseconds that a look takes, about
WAIT = 0.25  # of a long job's time: so long it waits for workers that have to wake up
MOST_LOOKS = 400_000  # but no longer: some 2 ms
LONG_JOB = 500_000.0  # nanoseconds: a job for which that pays
TRIAL = 3  # calls in a row that are timed


class Team:
    """`size` threads: the one that calls `run`, and workers that begin when first needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        library = _library()
        words = np.zeros((BARRIER + 3) * LINE, np.int64)
        at = -words.ctypes.data % 64 // 8
        self._words = words[at : at + (BARRIER + 2) * LINE]
        self._address = self._words.ctypes.data
        long, pointer = ctypes.c_int64, ctypes.c_void_p
        self._worker = ctypes.CFUNCTYPE(long, pointer, long, long)(library.address("worker"))
        self._lead = ctypes.CFUNCTYPE(long, pointer, pointer, pointer, pointer, long, long, long)(
            library.address("lead")
        )
        self.barrier = self._address + 8 * LINE * BARRIER
        self._asleep = 0
        self._bell = threading.Condition()
        self._busy = threading.Lock()
        self._workers = [
            threading.Thread(target=self._work, name=f"chainrule-{k}", daemon=True)
            for k in range(1, size)
        ]
        for worker in self._workers:
            worker.start()

    def run(self, driver: int, table: int, scratch: int, stride: int, work: float) -> int:
        """Run a driver with all threads that are there in time; returns how many were.

        work   nanoseconds of one thread: a long job waits until sleeping workers are awake
        """
        if not self._busy.acquire(blocking=False):  # another step has the team
            return 0
        try:
            patience = JOIN
            if work > LONG_JOB:  # a worker may be asleep, or about to be
                patience = min(int(WAIT * work / LOOK_TIME), MOST_LOOKS)
            elif self._asleep:
                patience = 0
            if self._asleep:
                with self._bell:
                    self._bell.notify_all()
            most = self.size - 1
            return int(self._lead(self._address, driver, table, scratch, stride, most, patience))
        finally:
            self._busy.release()

    def _work(self) -> None:
        seen = 0
        while not self._words[STOP * LINE]:
            seen = self._worker(self._address, seen, AWAKE)
            with self._bell:
                if self._words[WORD] >> 9 == seen and not self._words[STOP * LINE]:
                    self._asleep += 1
                    self._bell.wait()
                    self._asleep -= 1

    def stop(self) -> None:
        """End the workers."""
        with self._bell:
            self._words[STOP * LINE] = 1
            self._bell.notify_all()
        for worker in self._workers:
            worker.join()


class Pace:
    """Whether all threads or one are faster at a job: both are timed, the slower one ever less.

    On a machine that is busy with other things threads wait for each other, and one is faster. The
    results are the same. What counts is the median of the last few calls: in the first one, caches
    hold what another thread has had to do with.
    """

    def __init__(self) -> None:
        self._seconds: dict[bool, deque[float]] = {w: deque(maxlen=TRIAL) for w in (True, False)}
        self._together, self._calls, self._trial, self._pause = True, 0, 4 * TRIAL, 8

    def choose(self) -> bool:
        """Whether all threads do the next call."""
        self._calls += 1
        return self._together != (self._calls > self._trial)

    def note(self, together: bool, seconds: float) -> None:
        """A call has taken so long."""
        self._seconds[together].append(seconds)
        if self._calls < self._trial + TRIAL:
            return
        better = self._median(True) <= self._median(False)
        self._pause = 8 if better != self._together else min(2 * self._pause, 4096)
        self._together, self._trial = better, self._calls + self._pause

    def _median(self, together: bool) -> float:
        return sorted(self._seconds[together])[TRIAL // 2]


_loaded: Library | None = None
_making = threading.RLock()  # of what is there once: who has an address must not see it replaced


def _library() -> Library:
    """The functions of this module, loaded when first needed."""
    global _loaded
    with _making:
        if _loaded is None:
            target = host()
            text = team_text(target)
            code = cached(text, lambda: compile_ir(text, target, 0), target)
            _loaded = load(code, ("worker", "lead", "alone", "repeat"))
        return _loaded


def alone(driver: int, table: int, scratch: int, barrier: int) -> Callable[[], None]:
    """A call of a driver by this thread, without the team (see _ALONE)."""
    job = (ctypes.c_uint64 * 4)(driver, table, scratch, barrier)
    call = functools.partial(_pointer_taking(_library().address("alone")), ctypes.addressof(job))
    call.job = job  # type: ignore[attr-defined]  # it lives as long as the call
    return call


_pointer_taking = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def repeat() -> int:
    """The address of the driver that repeats another one (see _REPEAT)."""
    return _library().address("repeat")


@functools.cache
def threads() -> int:
    """How many threads a step may use: CHAINRULE_THREADS, or the processors of this process."""
    asked = os.environ.get("CHAINRULE_THREADS", "")
    if asked:
        if not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= 128):
            raise ArgumentError(
                "compile",
                f"got CHAINRULE_THREADS={asked!r}",
                "expected a whole number from 1 to 128",
                "unset it to use all processors",
            )
        return int(asked)
    return min(_processors(), 128)


def _processors() -> int:
    """Those that this process may run on, and no more than its container has a share of."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return count


_team: Team | None = None


def team() -> Team:
    """The team of this process."""
    global _team
    with _making:
        if _team is None or _team.size != threads():
            if _team is not None:
                _team.stop()
            _team = Team(threads())
        return _team


def _forget() -> None:
    """After a fork the child has no workers."""
    global _team, _making
    _team, _making = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
