"""The thread pool as LLVM IR: `pellucid_parallel_for` and its start and stop.

Leaves a module that exports

- `i64 pellucid_pool_start(i64 workers)`: resizes the pool (0 stops it); returns the threads it now
  has, the caller of loops included;
- `void pellucid_pool_stop()`: ends the workers and waits for them;
- `i64 pellucid_pool_threads()`: workers + 1, so one more than the largest `thread` a loop body is
  given;
- `void pellucid_parallel_for(ptr fn, ptr context, i64 n)`: runs `fn(context, begin, end, thread)`
  on ranges that together are `[0, n)`, on the workers and the caller (thread 0), and returns when
  all are done.

How a loop runs: the caller divides it into chunks whose lengths differ by one at most, the larger
ones first (few iterations are a chunk each), writes a ticket `epoch : 24 | chunks : 20 | next : 20`
and bumps a generation counter. Threads claim chunks by compare-and-swap on the ticket, so a worker
that wakes late finds nothing left and never holds up the caller, and one that saw an older loop
cannot claim a chunk of a newer one. Idle workers spin for a while, then sleep on the generation in
a futex. A worker that finds itself on the caller's CPU, where they could only take turns, moves to
another: the system's load balancer would leave both there for tens of milliseconds. Only one loop
uses the workers at a time: a loop inside a loop, or one from a second thread meanwhile, runs
serially where it was called.

After `fork` the child has no workers; loops still finish there, because the caller alone can claim
every chunk, and `pellucid_pool_start` makes new ones. Where there is no futex (macOS, Windows,
other CPUs) the module holds a serial `pellucid_parallel_for` with the same exports.
"""

from __future__ import annotations

import platform

MAX_WORKERS = 255
_IDLE_SPINS = 7000  # of a worker after a loop: some 200 us, the time between the loops of a program
_SPINS = 2000  # of a caller for its workers
# Chunks per thread: enough to even out threads of unequal speed, few enough to be cheap.
_CHUNKS_PER_THREAD = 4

_PORTABLE = """\
define i64 @pellucid_pool_start(i64 %workers) nounwind {
  ret i64 1
}

define void @pellucid_pool_stop() nounwind {
  ret void
}

define i64 @pellucid_pool_threads() nounwind {
  ret i64 1
}

define void @pellucid_parallel_for(ptr %fn, ptr %context, i64 %n) nounwind {
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %run, label %done
run:
  call void %fn(ptr %context, i64 0, i64 %n, i64 0)
  br label %done
done:
  ret void
}
"""

# Words that different threads write lie on cache lines of their own.
_STATE = """\
@ticket = internal global i64 0, align 128
@generation = internal global i32 0, align 128
@done = internal global i32 0, align 128
@sleepers = internal global i32 0, align 128
@caller_sleeps = internal global i32 0, align 128
@caller_cpu = internal global i32 -1, align 128
@busy = internal global i32 0, align 128
@stopping = internal global i32 0, align 128
@fn = internal global ptr null, align 128
@context = internal global ptr null
@chunk = internal global i64 0
@larger = internal global i64 0
@workers = internal global i64 0
@owner = internal global i32 0
@handles = internal global [256 x i64] zeroinitializer

declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(i64, ptr)
declare i32 @getpid()
declare i32 @sched_yield()
declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_setaffinity(i32, i64, ptr)
declare i64 @syscall(i64, ...)
declare i64 @llvm.umin.i64(i64, i64)
"""

_CLAIM = """\
; Runs one chunk of the current loop; false when none is left.
define internal i1 @claim(i64 %thread) nounwind {
  %t = load atomic i64, ptr @ticket seq_cst, align 8
  %i = and i64 %t, 1048575
  %shifted = lshr i64 %t, 20
  %chunks = and i64 %shifted, 1048575
  %left = icmp ult i64 %i, %chunks
  br i1 %left, label %try, label %none
try:
  %t1 = add i64 %t, 1
  %swap = cmpxchg ptr @ticket, i64 %t, i64 %t1 seq_cst seq_cst
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %run, label %again
run:
  %f = load ptr, ptr @fn
  %c = load ptr, ptr @context
  %size = load i64, ptr @chunk
  %larger = load i64, ptr @larger
  %before_it = mul i64 %i, %size
  %more_before = call i64 @llvm.umin.i64(i64 %i, i64 %larger)
  %begin = add i64 %before_it, %more_before
  %one_more = icmp ult i64 %i, %larger
  %extra = zext i1 %one_more to i64
  %own = add i64 %size, %extra
  %end = add i64 %begin, %own
  call void %f(ptr %c, i64 %begin, i64 %end, i64 %thread)
  %before = atomicrmw add ptr @done, i32 1 seq_cst
  %now = add i32 %before, 1
  %all = trunc i64 %chunks to i32
  %last = icmp eq i32 %now, %all
  br i1 %last, label %finish, label %again
finish:
  %asleep = load atomic i32, ptr @caller_sleeps seq_cst, align 4
  %awake = icmp eq i32 %asleep, 0
  br i1 %awake, label %again, label %wake
wake:
  %w = call i64 (i64, ...) @syscall(i64 FUTEX, ptr @done, i32 129, i32 1, ptr null)
  br label %again
again:
  ret i1 true
none:
  ret i1 false
}

; Bumps the generation and wakes up to %most sleeping workers.
define internal void @kick(i32 %most) nounwind {
  %cpu = call i32 @sched_getcpu()
  store atomic i32 %cpu, ptr @caller_cpu monotonic, align 4
  %g = atomicrmw add ptr @generation, i32 1 seq_cst
  %s = load atomic i32, ptr @sleepers seq_cst, align 4
  %nobody = icmp eq i32 %s, 0
  br i1 %nobody, label %out, label %wake
wake:
  %w = call i64 (i64, ...) @syscall(i64 FUTEX, ptr @generation, i32 129, i32 %most, ptr null)
  br label %out
out:
  ret void
}
"""

_STEP_ASIDE = """\
; Leaves the CPU that the caller of the loop is on, if this thread may run elsewhere.
define internal void @step_aside() nounwind {
entry:
  %mask = alloca [128 x i8], align 8
  %here = call i32 @sched_getcpu()
  %theirs = load atomic i32, ptr @caller_cpu monotonic, align 4
  %shared = icmp eq i32 %here, %theirs
  %known = icmp ult i32 %here, 1024
  %move = and i1 %shared, %known
  br i1 %move, label %ask, label %out
ask:
  %got = call i32 @sched_getaffinity(i32 0, i64 128, ptr %mask)
  %told = icmp sge i32 %got, 0
  br i1 %told, label %leave, label %out
leave:
  %byte = lshr i32 %here, 3
  %place = getelementptr i8, ptr %mask, i32 %byte
  %within = and i32 %here, 7
  %bit = shl i32 1, %within
  %all = load i8, ptr %place
  %bit8 = trunc i32 %bit to i8
  %others = xor i8 %all, %bit8
  store i8 %others, ptr %place
  ; refused where this is the only CPU
  %moved = call i32 @sched_setaffinity(i32 0, i64 128, ptr %mask)
  store i8 %all, ptr %place
  %free = call i32 @sched_setaffinity(i32 0, i64 128, ptr %mask)
  br label %out
out:
  ret void
}
"""

_WORKER = """\
define internal ptr @worker(ptr %id) nounwind {
entry:
  %thread = ptrtoint ptr %id to i64
  br label %top
top:
  %g = load atomic i32, ptr @generation seq_cst, align 4
  %s = load atomic i32, ptr @stopping seq_cst, align 4
  %ending = icmp ne i32 %s, 0
  br i1 %ending, label %out, label %place
place:
  call void @step_aside()
  br label %work
work:
  %did = call i1 @claim(i64 %thread)
  br i1 %did, label %work, label %spin
spin:
  %k = phi i32 [ 0, %work ], [ %k1, %relax ]
  %g1 = load atomic i32, ptr @generation seq_cst, align 4
  %moved = icmp ne i32 %g1, %g
  br i1 %moved, label %top, label %relax
relax:
  PAUSE
  %k1 = add i32 %k, 1
  %more = icmp slt i32 %k1, IDLE_SPINS
  br i1 %more, label %spin, label %sleep
sleep:
  %up = atomicrmw add ptr @sleepers, i32 1 seq_cst
  %w = call i64 (i64, ...) @syscall(i64 FUTEX, ptr @generation, i32 128, i32 %g, ptr null)
  %down = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  br label %top
out:
  ret ptr null
}
"""

_LOOP = """\
define void @pellucid_parallel_for(ptr %f, ptr %c, i64 %total) nounwind {
entry:
  %some = icmp sgt i64 %total, 0
  br i1 %some, label %check, label %out
check:
  %crew = load atomic i64, ptr @workers seq_cst, align 8
  %alone = icmp eq i64 %crew, 0
  %single = icmp eq i64 %total, 1
  %inline = or i1 %alone, %single
  br i1 %inline, label %serial, label %lock
lock:
  %was = cmpxchg ptr @busy, i32 0, i32 1 seq_cst seq_cst
  %mine = extractvalue { i32, i1 } %was, 1
  br i1 %mine, label %begin, label %serial
serial:
  call void %f(ptr %c, i64 0, i64 %total, i64 0)
  br label %out
begin:
  %threads = add i64 %crew, 1
  %wanted = mul i64 %threads, CHUNKS
  %most = mul i64 %wanted, 2
  %few = icmp sle i64 %total, %most
  %chunks = select i1 %few, i64 %total, i64 %wanted
  %size = udiv i64 %total, %chunks
  %larger = urem i64 %total, %chunks
  store ptr %f, ptr @fn
  store ptr %c, ptr @context
  store i64 %size, ptr @chunk
  store i64 %larger, ptr @larger
  store atomic i32 0, ptr @done seq_cst, align 4
  %t = load atomic i64, ptr @ticket seq_cst, align 8
  %e = lshr i64 %t, 40
  %e1 = add i64 %e, 1
  %e2 = shl i64 %e1, 40
  %shifted = shl i64 %chunks, 20
  %fresh = or i64 %e2, %shifted
  store atomic i64 %fresh, ptr @ticket seq_cst, align 8
  %all = trunc i64 %chunks to i32
  %helpers = sub i32 %all, 1
  call void @kick(i32 %helpers)
  br label %work
work:
  %did = call i1 @claim(i64 0)
  br i1 %did, label %work, label %spin
spin:
  %k = phi i32 [ 0, %work ], [ %k1, %relax ], [ 0, %awake ]
  %d = load atomic i32, ptr @done seq_cst, align 4
  %finished = icmp eq i32 %d, %all
  br i1 %finished, label %unlock, label %relax
relax:
  PAUSE
  %k1 = add i32 %k, 1
  %more = icmp slt i32 %k1, SPINS
  br i1 %more, label %spin, label %sleep
sleep:
  store atomic i32 1, ptr @caller_sleeps seq_cst, align 4
  %d1 = load atomic i32, ptr @done seq_cst, align 4
  %late = icmp eq i32 %d1, %all
  br i1 %late, label %awake, label %wait
wait:
  %w = call i64 (i64, ...) @syscall(i64 FUTEX, ptr @done, i32 128, i32 %d1, ptr null)
  br label %awake
awake:
  store atomic i32 0, ptr @caller_sleeps seq_cst, align 4
  br label %spin
unlock:
  store atomic i32 0, ptr @busy seq_cst, align 4
  br label %out
out:
  ret void
}
"""

_CONTROL = """\
; Waits until no loop runs, so that the workers may be changed.
define internal void @acquire() nounwind {
entry:
  %me = call i32 @getpid()
  %who = load i32, ptr @owner
  %same = icmp eq i32 %me, %who
  br i1 %same, label %try, label %forked
forked:
  ; A new process (or the first use): its parent's workers and locks are not here.
  store i32 %me, ptr @owner
  store atomic i64 0, ptr @workers seq_cst, align 8
  store atomic i32 0, ptr @sleepers seq_cst, align 4
  store atomic i32 0, ptr @busy seq_cst, align 4
  br label %try
try:
  %was = cmpxchg ptr @busy, i32 0, i32 1 seq_cst seq_cst
  %mine = extractvalue { i32, i1 } %was, 1
  br i1 %mine, label %out, label %wait
wait:
  %y = call i32 @sched_yield()
  br label %try
out:
  ret void
}

; Ends and joins all workers; the caller holds the lock.
define internal void @dismiss() nounwind {
entry:
  %crew = load atomic i64, ptr @workers seq_cst, align 8
  store atomic i32 1, ptr @stopping seq_cst, align 4
  call void @kick(i32 2147483647)
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %join ]
  %more = icmp slt i64 %i, %crew
  br i1 %more, label %join, label %out
join:
  %place = getelementptr i64, ptr @handles, i64 %i
  %handle = load i64, ptr %place
  %r = call i32 @pthread_join(i64 %handle, ptr null)
  %i1 = add i64 %i, 1
  br label %head
out:
  store atomic i64 0, ptr @workers seq_cst, align 8
  store atomic i32 0, ptr @stopping seq_cst, align 4
  ret void
}

define void @pellucid_pool_stop() nounwind {
  call void @acquire()
  call void @dismiss()
  store atomic i32 0, ptr @busy seq_cst, align 4
  ret void
}

define i64 @pellucid_pool_threads() nounwind {
  %crew = load atomic i64, ptr @workers seq_cst, align 8
  %threads = add i64 %crew, 1
  ret i64 %threads
}

define i64 @pellucid_pool_start(i64 %asked) nounwind {
entry:
  call void @acquire()
  %crew = load atomic i64, ptr @workers seq_cst, align 8
  %high = icmp sgt i64 %asked, MAX
  %wanted = select i1 %high, i64 MAX, i64 %asked
  %same = icmp eq i64 %crew, %wanted
  br i1 %same, label %out, label %change
change:
  call void @dismiss()
  br label %head
head:
  %i = phi i64 [ 0, %change ], [ %id, %count ]
  %more = icmp slt i64 %i, %wanted
  br i1 %more, label %create, label %out
create:
  %place = getelementptr i64, ptr @handles, i64 %i
  %id = add i64 %i, 1
  %arg = inttoptr i64 %id to ptr
  %r = call i32 @pthread_create(ptr %place, ptr null, ptr @worker, ptr %arg)
  %ok = icmp eq i32 %r, 0
  br i1 %ok, label %count, label %out
count:
  store atomic i64 %id, ptr @workers seq_cst, align 8
  br label %head
out:
  store atomic i32 0, ptr @busy seq_cst, align 4
  %threads = call i64 @pellucid_pool_threads()
  ret i64 %threads
}
"""

_PAUSES = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}
_FUTEX = {"x86_64": 202, "aarch64": 98}


def pool_ir(system: str | None = None, machine: str | None = None) -> str:
    """The pool's module for a system and CPU (as `platform` names them), by default this one's.

    Without a futex it is the serial one, whose `pellucid_pool_start` always returns 1.
    """
    system = platform.system() if system is None else system
    machine = platform.machine() if machine is None else machine
    if system != "Linux" or machine not in _FUTEX:
        return _PORTABLE
    pause, declared = _PAUSES[machine]
    text = "\n".join((_STATE + declared + "\n", _CLAIM, _STEP_ASIDE, _WORKER, _LOOP, _CONTROL))
    fills = {
        "FUTEX": _FUTEX[machine], "PAUSE": pause, "IDLE_SPINS": _IDLE_SPINS, "SPINS": _SPINS,
        "CHUNKS": _CHUNKS_PER_THREAD, "MAX": MAX_WORKERS,
    }  # fmt: skip
    for word, value in fills.items():
        text = text.replace(word, str(value))
    return text
