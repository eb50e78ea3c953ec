"""LLVM IR of what threads do: how they meet, how workers wait for a job and do it with the first.

What runs it is `run/team.py`.
"""

from __future__ import annotations

from ..processor import Target

LINE = 8  # int64 words of a cache line: each word that threads share has one to itself
WORD, GO, THREADS, DRIVER, TABLE, SCRATCH, STRIDE, DONE, STOP = range(9)
BARRIER = 9

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
  %failed = load i64, ptr %status
  call void @barrier(ptr %barrier, i64 %threads)
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
    """barrier(words, threads) as LLVM IR: returns when `threads` threads have called it."""
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


def team_text(target: Target) -> str:
    """The module with worker, lead, alone and repeat."""
    parts = _REST + _BARRIER + _TEAM + _ALONE + _REPEAT
    return f'target triple = "{target.triple}"\n' + _filled(parts, target)
