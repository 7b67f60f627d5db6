"""The thread pool: every iteration exactly once, whatever the threads do."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

from pellucid.codegen.llvm import compile_ir
from pellucid.codegen.llvm_pool import pool_ir
from tests.codegen.native import link
from tests.codegen.targets import HOST

# count: adds 1 to each element of its range and notes the thread; many: repeats the loop; nested:
# each iteration runs a loop of its own; parts: notes how long the chunk is that starts there.
_LOOPS = """
define void @count(ptr %c, i64 %b, i64 %e, i64 %t) nounwind {
entry:
  br label %l
l:
  %i = phi i64 [ %b, %entry ], [ %i1, %l ]
  %p = getelementptr i32, ptr %c, i64 %i
  %v = load i32, ptr %p
  %v1 = add i32 %v, 1
  store i32 %v1, ptr %p
  %i1 = add i64 %i, 1
  %m = icmp slt i64 %i1, %e
  br i1 %m, label %l, label %x
x:
  ret void
}

define void @many(ptr %c, i64 %n, i64 %reps) nounwind {
entry:
  br label %l
l:
  %i = phi i64 [ 0, %entry ], [ %i1, %l ]
  call void @pellucid_parallel_for(ptr @count, ptr %c, i64 %n)
  %i1 = add i64 %i, 1
  %m = icmp slt i64 %i1, %reps
  br i1 %m, label %l, label %x
x:
  ret void
}

define void @row(ptr %c, i64 %b, i64 %e, i64 %t) nounwind {
entry:
  br label %l
l:
  %i = phi i64 [ %b, %entry ], [ %i1, %l ]
  %o = mul i64 %i, 40
  %p = getelementptr i8, ptr %c, i64 %o
  call void @pellucid_parallel_for(ptr @count, ptr %p, i64 10)
  %i1 = add i64 %i, 1
  %m = icmp slt i64 %i1, %e
  br i1 %m, label %l, label %x
x:
  ret void
}

define void @nested(ptr %c, i64 %n) nounwind {
  call void @pellucid_parallel_for(ptr @row, ptr %c, i64 %n)
  ret void
}

define void @threads(ptr %c, i64 %b, i64 %e, i64 %t) nounwind {
  %p = getelementptr i32, ptr %c, i64 %t
  store i32 1, ptr %p
  ret void
}

define void @mark(ptr %c, i64 %b, i64 %e, i64 %t) nounwind {
  %p = getelementptr i32, ptr %c, i64 %b
  %n = sub i64 %e, %b
  %n32 = trunc i64 %n to i32
  store i32 %n32, ptr %p
  ret void
}

define void @parts(ptr %c, i64 %n) nounwind {
  call void @pellucid_parallel_for(ptr @mark, ptr %c, i64 %n)
  ret void
}

define void @who(ptr %c, i64 %n) nounwind {
  call void @pellucid_parallel_for(ptr @threads, ptr %c, i64 %n)
  ret void
}
"""


class Pool(NamedTuple):
    start: Any
    stop: Any
    count: Any
    many: Any
    nested: Any
    who: Any
    parts: Any


def make_pool(text: str) -> Pool:
    names = ("start", "stop", "threads")
    exports = [f"pellucid_pool_{n}" for n in names] + ["many", "nested", "who", "parts"]
    library = link([compile_ir(text + _LOOPS, HOST)], exports)
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    return Pool(
        library.function("pellucid_pool_start", number, result=number),
        library.function("pellucid_pool_stop"),
        library.function("pellucid_pool_threads", result=number),
        library.function("many", pointer, number, number),
        library.function("nested", pointer, number),
        library.function("who", pointer, number),
        library.function("parts", pointer, number),
    )


@pytest.fixture
def pool() -> Any:
    made = make_pool(pool_ir())
    yield made
    made.stop()


def run_many(pool: Pool, n: int, times: int) -> bool:
    counts = np.zeros(max(1, n), np.int32)
    pool.many(counts.ctypes.data, n, times)
    return bool((counts[:n] == times).all() and (n or counts[0] == 0))


@pytest.mark.parametrize("workers", [0, 1, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 63, 1000])
def test_every_iteration_runs_once(pool: Pool, workers: int, n: int) -> None:
    pool.start(workers)
    assert run_many(pool, n, 300)


@pytest.mark.parametrize("n", [2, 5, 8, 9, 10, 15, 16, 17, 1001])
def test_chunks_differ_by_one_at_most_and_the_larger_come_first(pool: Pool, n: int) -> None:
    if pool.start(1) == 1:
        pytest.skip("no threads here")
    lengths = np.zeros(n, np.int32)
    pool.parts(lengths.ctypes.data, n)
    starts = np.flatnonzero(lengths)
    assert starts[0] == 0
    assert (starts[1:] == np.cumsum(lengths[starts])[:-1]).all()
    assert len(starts) == (n if n <= 16 else 8)
    expected = sorted([n // len(starts) + (k < n % len(starts)) for k in range(len(starts))])
    assert list(lengths[starts]) == expected[::-1]


def test_resizing(pool: Pool) -> None:
    portable = pool.start(1) == 1
    for workers in (1, 3, 3, 0, 2):
        wanted = 1 if portable else workers + 1
        assert pool.start(workers) == wanted
        assert pool.count() == wanted
        assert run_many(pool, 50, 50)
    pool.stop()
    assert pool.count() == 1
    assert run_many(pool, 50, 50)


def test_thread_numbers_stay_below_the_count(pool: Pool) -> None:
    threads = pool.start(3)
    seen = np.zeros(64, np.int32)
    for _ in range(200):
        pool.who(seen.ctypes.data, 16)
    assert seen.any()
    assert not seen[threads:].any()


def test_loops_inside_loops(pool: Pool) -> None:
    pool.start(3)
    counts = np.zeros((30, 10), np.int32)
    for _ in range(100):
        pool.nested(counts.ctypes.data, 30)
    assert (counts == 100).all()


def test_calls_from_several_threads_while_the_pool_changes(pool: Pool) -> None:
    results: list[bool] = []
    callers = [
        threading.Thread(target=lambda: results.append(run_many(pool, 100, 2000))) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for workers in (1, 2, 0, 3):
        pool.start(workers)
    for caller in callers:
        caller.join()
    assert results == [True] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_child_process_runs_loops_and_starts_its_own_workers(pool: Pool) -> None:
    pool.start(2)
    assert run_many(pool, 100, 20)
    child = os.fork()
    if child == 0:
        fine = run_many(pool, 100, 20)
        pool.stop()
        pool.start(1)
        fine = fine and run_many(pool, 100, 20)
        pool.stop()
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_portable_pool_runs_serially() -> None:
    pool = make_pool(pool_ir("Darwin", "arm64"))
    assert pool.start(7) == 1
    assert run_many(pool, 100, 3)
    assert run_many(pool, 0, 3)
    pool.stop()


@pytest.mark.parametrize(("machine", "number"), [("x86_64", "i64 202"), ("aarch64", "i64 98")])
def test_futex_number_of_each_machine(machine: str, number: str) -> None:
    text = pool_ir("Linux", machine)
    assert number in text
    assert "FUTEX" not in text
    assert "PAUSE" not in text
