"""The pool starts, resizes, survives fork, and lets the process end."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.core.errors import ArgumentError
from pellucid.runtime import pool
from pellucid.runtime.native import POOL_THREADS, pool_library


def running() -> int:
    return int(pool_library().function(POOL_THREADS, result=ctypes.c_int64)())


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    threads = pool.get_num_threads()
    yield
    pool.set_num_threads(threads)


def test_the_pool_has_as_many_threads_as_asked_for() -> None:
    pool.start_pool()
    for threads in (1, pool.max_threads()):
        pool.set_num_threads(threads)
        assert pool.get_num_threads() == threads
        assert running() == threads


def test_a_stopped_pool_starts_again() -> None:
    pool.start_pool()
    pool.stop_pool()
    assert running() == 1
    pool.start_pool()
    assert running() == pool.get_num_threads()


@pytest.mark.parametrize("threads", [0, -1, pool.max_threads() + 1, 1 << 70, "2", 1.5, None])
def test_impossible_numbers_are_refused(threads: Any) -> None:
    with pytest.raises(ArgumentError, match="threads must be an integer between 1 and"):
        pool.set_num_threads(threads)


def test_numpy_integers_are_integers() -> None:
    pool.set_num_threads(np.int32(1))  # type: ignore[arg-type]  # what is tested
    assert type(pool.get_num_threads()) is int


CROWDED = """
import os, sys, time
import numpy as np
import pellucid as pl
cores = set(map(int, sys.argv[1].split(",")))
os.sched_setaffinity(0, cores)
pl.set_num_threads(int(sys.argv[2]))
rng = np.random.default_rng(0)
a, b = (rng.standard_normal((300, 300), dtype=np.float32) for _ in range(2))
multiply = pl.jit(pl.matmul)
for i in range(40):
    if i % 10 == 0:
        time.sleep(0.02)  # the workers go to sleep
    np.testing.assert_allclose(multiply(a, b).numpy(), a @ b, rtol=1e-3, atol=1e-3)
threads = os.listdir("/proc/self/task")
ours = [os.sched_getaffinity(int(t)) for t in threads]
assert len(threads) >= min(int(sys.argv[2]), len(cores)), threads
assert all(mask == cores for mask in ours), ours
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be placed here")
@pytest.mark.parametrize("cores", ["one", "all"])
def test_workers_that_step_aside_may_run_everywhere_again(cores: str) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    chosen = ",".join(map(str, allowed[:1] if cores == "one" else allowed))
    command = [sys.executable, "-c", CROWDED, chosen, str(pool.max_threads())]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PELLUCID_THREADS": str(pool.max_threads())}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys, tempfile
from pathlib import Path
import numpy as np
from pellucid.compile import compile_graph
from pellucid.runtime.executable import Executable
from pellucid.runtime.pool import start_pool
from tests.runtime.programs import affine, config_in
start_pool()
graph = affine(1_000_000)
program = Executable(compile_graph(graph, config=config_in(Path(tempfile.mkdtemp()))))
x = np.ones(1_000_000, np.float32)
def good():
    total, product = program.run([x, x])
    return bool((total == 2).all() and (product == 1).all())
assert good()
child = os.fork()
if child == 0:
    first = good()
    start_pool()
    os._exit(0 if first and good() else 1)
_, status = os.waitpid(child, 0)
assert good()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_programs_run_in_a_forked_child_and_the_process_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PELLUCID_THREADS": "4"},
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
