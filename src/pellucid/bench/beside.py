"""A process that keeps a core busy while something is measured, and ends with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MOST_S = 300
# It ends by itself too: when the time is over, or when whoever started it is gone.
_SPIN = """
import os, sys, time
parent, end = os.getppid(), time.perf_counter() + float(sys.argv[1])
sys.stdout.write("busy\\n")
sys.stdout.flush()
while time.perf_counter() < end and os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy_process(seconds: float = _MOST_S) -> Iterator[subprocess.Popen[str]]:
    """Another process computes meanwhile, wherever the system puts it.

    Args:
        seconds: how long it computes at most.
    """
    command = [sys.executable, "-S", "-c", _SPIN, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is not None:
                process.stdout.readline()
            yield process
        finally:
            process.kill()
