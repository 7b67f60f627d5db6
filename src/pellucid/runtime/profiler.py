"""How long each kernel of a program takes, beside what the machine could do at best.

Enters: an executable, inputs, and the machine's limits where they are known. Leaves: a `Profile`.
Times are medians over repeats, read by the native code itself around each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.runtime.executable import Executable
from pellucid.runtime.machine import MachineLimits
from pellucid.runtime.pool import get_num_threads
from pellucid.runtime.program import ProgramCall


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One call of a program: what it is, how long it takes, and the least its work could take.

    Attributes:
        kernel: the kernel's name.
        nodes: graph values it computes.
        sources: the user's lines it comes from.
        seconds: median time.
        flops: operations.
        nbytes: bytes of its arguments, each moved once.
        roof: seconds by the roofline model, its data in the nearest cache that holds it; None
            without the machine's limits.
        level: that cache, `L1` to `L3`, or `DRAM`.
    """

    kernel: str
    nodes: tuple[str, ...]
    sources: tuple[str, ...]
    seconds: float
    flops: int
    nbytes: int
    roof: float | None
    level: str = "DRAM"

    @property
    def flops_per_second(self) -> float:
        """Operations per second."""
        return self.flops / max(self.seconds, 1e-9)

    @property
    def bytes_per_second(self) -> float:
        """Bytes per second; above the memory's limit where the data is in a cache."""
        return self.nbytes / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Profile:
    """A program's calls in order, and one run's times for drawing.

    Attributes:
        name: the program's.
        threads: threads of the pool.
        repeats: runs the medians are over.
        calls: one row per kernel call.
        times: start and end of each call of the last run, nanoseconds, shape (calls, 2).
    """

    name: str
    threads: int
    repeats: int
    calls: tuple[KernelTime, ...]
    times: NDArray[np.int64]

    @property
    def seconds(self) -> float:
        """Sum over all calls."""
        return sum(call.seconds for call in self.calls)

    @property
    def slowest(self) -> int:
        """The call that takes longest, by number."""
        return max(range(len(self.calls)), key=lambda i: self.calls[i].seconds)

    def table(self, rows: int = 30) -> str:
        """The slowest calls, one per line."""
        lines = [
            f"{self.name}: {self.seconds * 1e6:,.1f} us in {len(self.calls)} calls, "
            f"{self.threads} thread(s), median of {self.repeats}",
            f"{'us':>10} {'share':>6} {'GFLOP/s':>8} {'GB/s':>7} {'of roof':>7}  kernel",
        ]
        for call in sorted(self.calls, key=lambda c: -c.seconds)[:rows]:
            roof = "" if call.roof is None else f"{call.roof / max(call.seconds, 1e-9):.0%}"
            lines.append(
                f"{call.seconds * 1e6:>10,.1f} {call.seconds / max(self.seconds, 1e-9):>6.1%} "
                f"{call.flops_per_second / 1e9:>8.1f} {call.bytes_per_second / 1e9:>7.1f} "
                f"{roof:>7}  {call.kernel} {' '.join(call.sources)}".rstrip()
            )
        return "\n".join(lines)


def profile(
    executable: Executable,
    inputs: Sequence[NDArray[Any]],
    repeats: int = 20,
    limits: MachineLimits | None = None,
) -> Profile:
    """Run a program a few times and take each call's median time.

    Args:
        executable: the program.
        inputs: arrays as for `run`; donated ones are copied first, so that yours stay as they are.
        repeats: runs to take the median over.
        limits: the machine's, for the roofline column.
    """
    program = executable.program
    donated = set(program.donated.values())
    own = [array.copy() if k in donated else array for k, array in enumerate(inputs)]
    runs = [executable.run_profiled(own)[1] for _ in range(repeats + 1)]
    each = np.array([run[:, 1] - run[:, 0] for run in runs[1:]])  # the first run warms up
    median = np.median(each, axis=0) * 1e-9
    pairs = zip(program.calls, median, strict=True)
    calls = tuple(_timed(call, float(seconds), limits) for call, seconds in pairs)
    return Profile(program.name, get_num_threads(), repeats, calls, runs[-1])


def _timed(call: ProgramCall, seconds: float, limits: MachineLimits | None) -> KernelTime:
    level = "DRAM" if limits is None else limits.level(call.nbytes)
    roof = None if limits is None else limits.roof(call.flops, call.nbytes, level)
    return KernelTime(
        call.kernel, call.nodes, call.sources, seconds, call.flops, call.nbytes, roof, level
    )
