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

from ...errors import ArgumentError
from . import target as machine
from .target import Target

LINE = 8  # int64 words of a cache line: each word that threads share has one to itself
WORD, GO, THREADS, DRIVER, TABLE, SCRATCH, STRIDE, DONE, STOP = range(9)
BARRIER = 9
AWAKE = 100_000  # looks for a job before a worker goes to sleep: some 300 µs
JOIN = 400  # looks for workers that are awake before a job is closed: some 2 µs
LOOK = 5.0  # nanoseconds that a look takes, about
WAIT = 0.25  # of a long job's time: so long it waits for workers that have to wake up
MOST_LOOKS = 400_000  # but no longer: some 2 ms
LONG = 500_000.0  # nanoseconds: a job for which that pays
TRIAL = 3  # calls in a row that are timed

_REST = """
{pause_declaration}
{yield_declaration}

define internal void @rest(i64 %looks) alwaysinline {{
  {pause}
  %often = and i64 %looks, 127
  %tired = icmp eq i64 %often, 127
  br i1 %tired, label %sleepy, label %out
sleepy:
  {yield_}
  br label %out
out:
  ret void
}}
"""
_BARRIER = """
define internal void @barrier(ptr %arrived, i64 %threads) noinline {{
  %turn_at = getelementptr i64, ptr %arrived, i64 {line}
  %turn = load atomic i64, ptr %turn_at acquire, align 8
  %before = atomicrmw add ptr %arrived, i64 1 acq_rel
  %count = add i64 %before, 1
  %last = icmp eq i64 %count, %threads
  br i1 %last, label %open, label %look
open:
  store atomic i64 0, ptr %arrived monotonic, align 8
  %next = add i64 %turn, 1
  store atomic i64 %next, ptr %turn_at release, align 8
  ret void
look:
  %looks = phi i64 [ 0, %0 ], [ %more, %look ]
  %more = add i64 %looks, 1
  call void @rest(i64 %looks)
  %now = load atomic i64, ptr %turn_at acquire, align 8
  %same = icmp eq i64 %now, %turn
  br i1 %same, label %look, label %out
out:
  ret void
}}
"""
# Where the words of the control block %c are.
_WORDS = """
  %go_at = getelementptr i64, ptr %c, i64 {go}
  %threads_at = getelementptr i64, ptr %c, i64 {threads}
  %driver_at = getelementptr i64, ptr %c, i64 {driver}
  %table_at = getelementptr i64, ptr %c, i64 {table}
  %scratch_at = getelementptr i64, ptr %c, i64 {scratch}
  %stride_at = getelementptr i64, ptr %c, i64 {stride}
  %done_at = getelementptr i64, ptr %c, i64 {done}
  %barrier = getelementptr i64, ptr %c, i64 {barrier}
"""
# The job's word: its number · 512, + 256 when closed, + the workers that have joined.
_TEAM = """
define i64 @worker(ptr %c, i64 %seen, i64 %awake) {{
entry:
  %stop_at = getelementptr i64, ptr %c, i64 {stop}
{words}
  br label %look
look:
  %last = phi i64 [ %seen, %entry ], [ %last, %idle ], [ %last, %join ], [ %number, %next ]
  %looks = phi i64 [ 0, %entry ], [ %more, %idle ], [ %looks, %join ], [ 0, %next ]
  %word = load atomic i64, ptr %c acquire, align 8
  %number = lshr i64 %word, 9
  %new = icmp ne i64 %number, %last
  br i1 %new, label %found, label %idle
idle:
  %more = add i64 %looks, 1
  call void @rest(i64 0)
  %stop = load atomic i64, ptr %stop_at acquire, align 8
  %ends = icmp ne i64 %stop, 0
  %enough = icmp ugt i64 %more, %awake
  %leaves = or i1 %ends, %enough
  br i1 %leaves, label %park, label %look
park:
  ret i64 %last
found:
  %closed = and i64 %word, 256
  %open = icmp eq i64 %closed, 0
  br i1 %open, label %join, label %next
join:
  %mine = add i64 %word, 1
  %pair = cmpxchg ptr %c, i64 %word, i64 %mine acq_rel acquire
  %in = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %in, label %wait, label %look
wait:
  %rank = and i64 %mine, 255
  br label %ready
ready:
  %turns = phi i64 [ 0, %wait ], [ %turns1, %ready ]
  %turns1 = add i64 %turns, 1
  call void @rest(i64 %turns)
  %go = load atomic i64, ptr %go_at acquire, align 8
  %started = icmp eq i64 %go, %number
  br i1 %started, label %work, label %ready
work:
  %threads = load i64, ptr %threads_at
  %driver = load ptr, ptr %driver_at
  %table = load ptr, ptr %table_at
  %scratch = load ptr, ptr %scratch_at
  %stride = load i64, ptr %stride_at
  %shift = mul i64 %stride, %rank
  %own = getelementptr i8, ptr %scratch, i64 %shift
  call void %driver(ptr %table, ptr %own, i64 %rank, i64 %threads, ptr %barrier)
  %before = atomicrmw add ptr %done_at, i64 1 acq_rel
  br label %next
next:
  br label %look
}}

define i64 @lead(ptr %c, ptr %driver, ptr %table, ptr %scratch, i64 %stride, i64 %most,
                 i64 %patience) {{
entry:
{words}
  store ptr %driver, ptr %driver_at
  store ptr %table, ptr %table_at
  store ptr %scratch, ptr %scratch_at
  store i64 %stride, ptr %stride_at
  store atomic i64 0, ptr %done_at release, align 8
  %old = load atomic i64, ptr %c acquire, align 8
  %last = lshr i64 %old, 9
  %number = add i64 %last, 1
  %opened = shl i64 %number, 9
  store atomic i64 %opened, ptr %c release, align 8
  br label %wait
wait:
  %looks = phi i64 [ 0, %entry ], [ %more, %wait ]
  %more = add i64 %looks, 1
  call void @rest(i64 %looks)
  %word = load atomic i64, ptr %c acquire, align 8
  %came = and i64 %word, 255
  %all = icmp uge i64 %came, %most
  %enough = icmp ugt i64 %more, %patience
  %go_on = or i1 %all, %enough
  br i1 %go_on, label %close, label %wait
close:
  %final = atomicrmw or ptr %c, i64 256 acq_rel
  %others = and i64 %final, 255
  %threads = add i64 %others, 1
  store i64 %threads, ptr %threads_at
  store atomic i64 %number, ptr %go_at release, align 8
  call void %driver(ptr %table, ptr %scratch, i64 0, i64 %threads, ptr %barrier)
  br label %finish
finish:
  %turns = phi i64 [ 0, %close ], [ %turns1, %finish ]
  %turns1 = add i64 %turns, 1
  %done = load atomic i64, ptr %done_at acquire, align 8
  call void @rest(i64 %turns)
  %finished = icmp eq i64 %done, %others
  br i1 %finished, label %out, label %finish
out:
  ret i64 %threads
}}
"""

# A driver that one thread runs alone. job: driver, table, scratch, barrier.
_ALONE = """
define void @alone(ptr %job) {{
  %table_at = getelementptr i64, ptr %job, i64 1
  %scratch_at = getelementptr i64, ptr %job, i64 2
  %barrier_at = getelementptr i64, ptr %job, i64 3
  %driver = load ptr, ptr %job
  %table = load ptr, ptr %table_at
  %scratch = load ptr, ptr %scratch_at
  %barrier = load ptr, ptr %barrier_at
  tail call void %driver(ptr %table, ptr %scratch, i64 0, i64 1, ptr %barrier)
  ret void
}}
"""

# A driver that runs another one `count` times, moving pointers of its table on after each: the next
# batch, the next place for the loss. job: driver, table, count, status, moves, then pairs (place in
# the table, bytes). It ends early where the status says that a step has failed; `count` then is how
# many were begun.
_REPEAT = """
define void @repeat(ptr %job, ptr %scratch, i64 %thread, i64 %threads, ptr %barrier) {{
entry:
  %driver = load ptr, ptr %job
  %table_at = getelementptr i64, ptr %job, i64 1
  %count_at = getelementptr i64, ptr %job, i64 2
  %status_at = getelementptr i64, ptr %job, i64 3
  %moves_at = getelementptr i64, ptr %job, i64 4
  %pairs = getelementptr i64, ptr %job, i64 5
  %table = load ptr, ptr %table_at
  %count = load i64, ptr %count_at
  %status = load ptr, ptr %status_at
  %moves = load i64, ptr %moves_at
  %leads = icmp eq i64 %thread, 0
  br label %step
step:
  %k = phi i64 [ 0, %entry ], [ %k1, %next ]
  call void %driver(ptr %table, ptr %scratch, i64 %thread, i64 %threads, ptr %barrier)
  call void @barrier(ptr %barrier, i64 %threads)
  br i1 %leads, label %look, label %wait
look:
  %any = icmp ne i64 %moves, 0
  br i1 %any, label %move, label %wait
move:
  %m = phi i64 [ 0, %look ], [ %m1, %move ]
  %m2 = shl i64 %m, 1
  %place_at = getelementptr i64, ptr %pairs, i64 %m2
  %bytes_at = getelementptr i64, ptr %place_at, i64 1
  %place = load i64, ptr %place_at
  %bytes = load i64, ptr %bytes_at
  %pointer_at = getelementptr i64, ptr %table, i64 %place
  %old = load i64, ptr %pointer_at
  %new = add i64 %old, %bytes
  store i64 %new, ptr %pointer_at
  %m1 = add i64 %m, 1
  %more = icmp ult i64 %m1, %moves
  br i1 %more, label %move, label %wait
wait:
  call void @barrier(ptr %barrier, i64 %threads)
  %failed = load i64, ptr %status
  %good = icmp eq i64 %failed, 0
  %k1 = add i64 %k, 1
  %left = icmp ult i64 %k1, %count
  %goes_on = and i1 %good, %left
  br i1 %goes_on, label %next, label %out
next:
  br label %step
out:
  br i1 %leads, label %tell, label %end
tell:
  store i64 %k1, ptr %count_at
  ret void
end:
  ret void
}}
"""


def barrier_text(target: Target) -> str:
    """barrier(words, threads) as LLVM IR: returns when as many threads have called it."""
    return _filled(_REST + _BARRIER, target)


def _filled(template: str, target: Target) -> str:
    x86, windows = target.x86, "windows" in target.triple
    places = {
        "go": GO,
        "threads": THREADS,
        "driver": DRIVER,
        "table": TABLE,
        "scratch": SCRATCH,
        "stride": STRIDE,
        "done": DONE,
        "stop": STOP,
        "barrier": BARRIER,
    }
    offsets = {name: LINE * k for name, k in places.items()}
    return template.format(
        pause="call void @llvm.x86.sse2.pause()" if x86 else "call void @llvm.aarch64.hint(i32 1)",
        pause_declaration="declare void @llvm.x86.sse2.pause()"
        if x86
        else "declare void @llvm.aarch64.hint(i32)",
        yield_="" if windows else "%r = call i32 @sched_yield()",
        yield_declaration="" if windows else "declare i32 @sched_yield()",
        line=LINE,
        words=_WORDS.format(**offsets),
        **offsets,
    )


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
            if work > LONG:  # a worker may be asleep, or about to be
                patience = min(int(WAIT * work / LOOK), MOST_LOOKS)
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


_loaded: machine.Library | None = None
_making = threading.RLock()  # of what is there once: who has an address must not see it replaced


def _library() -> machine.Library:
    """The functions of this module, loaded when first needed."""
    global _loaded
    with _making:
        if _loaded is None:
            host = machine.host()
            parts = _REST + _BARRIER + _TEAM + _ALONE + _REPEAT
            text = f'target triple = "{host.triple}"\n' + _filled(parts, host)
            names = ("worker", "lead", "alone", "repeat")
            code = machine.cached(text, lambda: machine.compile_ir(text, host), host)
            _loaded = machine.load(code, names)
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
                "a whole number from 1 to 128",
                "unset it to use the processors there are",
            )
        return int(asked)
    return min(_processors(), 128)


def _processors() -> int:
    """Those that this process may run on, and no more than its container has a share of."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    found = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(found, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return found


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
