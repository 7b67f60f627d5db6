"""What this machine can do at most: the figures that every kernel's time is held against.

Enters: nothing but the machine. Leaves: `MachineLimits`, measured in a few seconds by kernels that
go through the normal code generator, and kept in the cache folder under the CPU's identity.
Each figure is the best of several repeats: a limit is what the machine does when left alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.llvm import compile_ir, render_kernel
from pellucid.compile import this_machine
from pellucid.core.config import Config, current_config
from pellucid.core.dtype import float32
from pellucid.core.files import write_atomically
from pellucid.core.log import get_logger
from pellucid.core.target import Target
from pellucid.core.version import VERSION
from pellucid.loop.ir import Kernel
from pellucid.runtime.buffer import data_pointer, default_allocator
from pellucid.runtime.machine_kernels import (
    LINE_BYTES,
    arithmetic_chains,
    chase_kernel,
    copy_kernel,
    fma_kernel,
    fork_kernel,
    read_kernel,
)
from pellucid.runtime.native import PARALLEL_FOR, link, pool_library
from pellucid.runtime.pool import get_num_threads, start_pool

LOG = get_logger("runtime.machine")
_CALL_S = 0.01  # length of one timed call
_REPEATS = 10
_ATTEMPTS = 8
_IDLE_S = 0.005
_DRAM_BYTES = 128 << 20  # at least; and several times the last cache


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineLimits:
    """The most this machine was seen to do.

    Attributes:
        cpu: its name and the vectors used.
        threads: threads of the figures for all threads.
        flops: float32 multiply-adds in registers, counted as two each, per second, by threads.
        read: bytes per second read, by level and threads: `L1`, `L2`, `L3`, `DRAM`.
        copy: bytes per second read plus written, likewise.
        latency_ns: one load that waits for the one before, by level.
        fork_join_ns: a parallel loop of nothing, workers awake.
        wake_ns: the same after a pause in which the workers fell asleep.
        seconds: how long measuring took.
    """

    cpu: str
    threads: int
    flops: Mapping[int, float]
    read: Mapping[str, Mapping[int, float]]
    copy: Mapping[str, Mapping[int, float]]
    latency_ns: Mapping[str, float]
    fork_join_ns: float
    wake_ns: float
    seconds: float

    def roof(self, flops: int, nbytes: int, level: str = "DRAM") -> float:
        """The least seconds that so much work can take from `level`: the roofline model.

        Source: Williams, Waterman and Patterson, "Roofline" (2009).
        """
        return max(flops / self.flops[self.threads], nbytes / self.read[level][self.threads])

    def level(self, nbytes: int) -> str:
        """The nearest level of this machine's memory that holds so many bytes.

        L1 and L2 are each core's own, so that threads together have that many times their size.
        """
        target, threads = this_machine(), self.threads
        sizes = {
            "L1": target.l1_bytes * threads,
            "L2": target.l2_bytes * threads,
            "L3": target.l3_bytes,
        }
        fitting = (name for name, size in sizes.items() if nbytes <= size and name in self.read)
        return next(fitting, "DRAM")

    def table(self) -> str:
        """All figures as text."""
        rows = [f"{self.cpu}, {self.threads} threads"]
        for threads in self.flops:
            rows.append(f"  {threads} thread(s): {self.flops[threads] / 1e9:8.1f} GFLOP/s")
        for level, speeds in self.read.items():
            reads = "  ".join(f"{speeds[n] / 1e9:7.1f}" for n in speeds)
            copies = "  ".join(f"{self.copy[level][n] / 1e9:7.1f}" for n in speeds)
            rows.append(
                f"  {level:<5} read {reads} GB/s  copy {copies} GB/s"
                f"  latency {self.latency_ns[level]:6.1f} ns"
            )
        rows.append(f"  fork-join {self.fork_join_ns:.0f} ns, from sleep {self.wake_ns:.0f} ns")
        return "\n".join(rows)


def machine_limits(config: Config | None = None, *, again: bool = False) -> MachineLimits:
    """The limits from the cache folder, or measured now and kept there."""
    config = config or current_config()
    known = None if again else known_limits(config)
    if known is not None:
        return known
    limits = measure_limits(this_machine())
    if config.cache:
        path = _path(config)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(asdict(limits), indent=1).encode())
        except OSError as error:
            LOG.warning("the machine's limits cannot be kept: %s", error)
    return limits


def known_limits(config: Config | None = None) -> MachineLimits | None:
    """The limits from the cache folder; None if they were never measured, or are damaged."""
    config = config or current_config()
    try:
        read = json.loads(_path(config).read_bytes())
        return _plausible(_from_json(read))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        LOG.warning("%s cannot be used: %s", _path(config), error)
        return None


def measure_limits(target: Target, call_s: float = _CALL_S) -> MachineLimits:
    """Measure now. Other work on the machine makes the figures smaller.

    Args:
        target: this machine.
        call_s: how long one timed call lasts, seconds; each figure is the best of a few.
    """
    begun = time.perf_counter()
    start_pool()
    threads = get_num_threads()
    counts = sorted({1, threads})
    read, copy = (
        {
            level: {n: _bandwidth(k, target, size, n, call_s) for n in counts}
            for level, size in sizes
        }
        for k, sizes in ((read_kernel, _levels(target, 1)), (copy_kernel, _levels(target, 2)))
    )
    fork_join, wake = _fork_join(target, threads, call_s)
    flops: dict[int, float] = {}
    for n in counts:
        flops[n] = _arithmetic(target, n, call_s, hoped=0.95 * n * flops.get(1, 0.0))
    return MachineLimits(
        cpu=f"{cpu_name()} ({target.name})",
        threads=threads,
        flops=flops,
        read=read,
        copy=copy,
        latency_ns={level: _latency(target, size, call_s) for level, size in _levels(target, 1)},
        fork_join_ns=fork_join * 1e9,
        wake_ns=wake * 1e9,
        seconds=time.perf_counter() - begun,
    )


def _levels(target: Target, arrays: int) -> list[tuple[str, int]]:
    """Bytes per array, for `arrays` arrays that together fill half of each cache, or none at all.

    The last cache is shared with others, so a quarter of it is what one program can count on; a
    level that would hardly be larger than the one below gets three times that one's bytes.
    """
    l3 = max(target.l3_bytes // 4, 3 * target.l2_bytes)
    whole = {
        "L1": target.l1_bytes // 2,
        "L2": target.l2_bytes // 2,
        "L3": min(l3, 16 << 20),
        "DRAM": max(_DRAM_BYTES, min(3 * target.l3_bytes, 512 << 20)),
    }
    return [(level, nbytes // arrays) for level, nbytes in whole.items()]


def arithmetic_call(
    target: Target, threads: int, rounds: int = 30_000
) -> tuple[Callable[[], float], float]:
    """A function that keeps the multipliers busy, and the float32 operations of one call of it.

    To hold other work against: measured in turns with it, so that both meet the same noise.
    """
    width = arithmetic_chains(target) * target.lanes(float32)
    arrays = np.array([0.5, 1.0], np.float32), _zeros(threads * width)
    run = _load(fma_kernel(target, threads, rounds), target)
    return lambda: run(*arrays), 2.0 * rounds * threads * width


def bandwidth_call(
    target: Target, threads: int, *, copy: bool
) -> tuple[Callable[[], float], float]:
    """A function that reads, or copies, arrays that no cache holds, and the bytes that one call of
    it moves. To hold other work against, as `arithmetic_call`.
    """
    nbytes = dict(_levels(target, 2 if copy else 1))["DRAM"]
    block = 8 * target.lanes(float32)
    size = max(1, nbytes // threads // 4 // block) * block
    arrays = _zeros(threads * size), _zeros(threads * size if copy else threads * block)
    run = _load((copy_kernel if copy else read_kernel)(target, threads, size, 1), target)
    return lambda: run(*arrays), 4.0 * threads * size * (2 if copy else 1)


def _arithmetic(target: Target, threads: int, call_s: float, hoped: float) -> float:
    """float32 operations per second without memory.

    Where other work holds some of the cores, more attempts are made to reach what is `hoped` for.
    """
    width = arithmetic_chains(target) * target.lanes(float32)
    arrays = np.array([0.5, 1.0], np.float32), _zeros(threads * width)
    best = 0.0
    for _ in range(_ATTEMPTS):
        rate = _rounds_per_second(lambda n: fma_kernel(target, threads, n), target, arrays, call_s)
        best = max(best, rate * threads * width * 2)
        if best >= hoped:
            break
        time.sleep(10 * call_s)
    return best


def _bandwidth(
    make: Callable[[Target, int, int, int], Kernel],
    target: Target,
    nbytes: int,
    threads: int,
    call_s: float,
) -> float:
    """Bytes per second of a kernel that goes through arrays of `nbytes`.

    Small arrays are each thread's own, as L1 and L2 are; large ones are divided between threads.
    """
    block = 8 * target.lanes(float32)
    own = nbytes // threads if nbytes > target.l2_bytes else nbytes
    size = max(1, own // 4 // block) * block
    arrays = _zeros(threads * size), _zeros(threads * size)
    rate = _rounds_per_second(lambda n: make(target, threads, size, n), target, arrays, call_s)
    return rate * threads * size * 4 * (2 if make is copy_kernel else 1)


def _latency(target: Target, nbytes: int, call_s: float) -> float:
    """Nanoseconds per load in a random cycle through all lines of `nbytes`."""
    apart = LINE_BYTES // 8
    lines = nbytes // LINE_BYTES
    order = np.random.default_rng(0).permutation(lines) * apart
    start = int(np.flatnonzero(order == 0)[0])
    order = np.roll(order, -start)  # the chase begins at element 0
    following = np.zeros(lines * apart, np.int64)
    following[order] = np.roll(order, -1)
    arrays = following, np.zeros(1, np.int64)
    rate = _rounds_per_second(
        lambda n: chase_kernel(following.size, n * 1000), target, arrays, call_s
    )
    return 1e6 / rate


def _fork_join(target: Target, threads: int, call_s: float) -> tuple[float, float]:
    """Seconds of an empty parallel loop: one after the other, and after a pause."""
    arrays = (np.zeros((max(threads, 1), 8), np.int64),)
    hot = 1 / _rounds_per_second(lambda n: fork_kernel(threads, n), target, arrays, call_s)
    once = _load(fork_kernel(threads, 1), target)
    cold = []
    for _ in range(20):
        time.sleep(_IDLE_S)
        cold.append(once(*arrays))
    return hot, float(np.median(cold))


def _rounds_per_second(
    make: Callable[[int], Kernel], target: Target, arrays: Sequence[NDArray[Any]], call_s: float
) -> float:
    """How often per second the work inside `make(rounds)` is done, at best.

    The number of rounds is part of the kernel; it is raised until one call lasts `call_s`.
    """
    rounds = 1
    while True:
        run = _load(make(rounds), target)
        seconds = min(run(*arrays) for _ in range(2))
        if seconds >= call_s / 2:
            break
        rounds = int(rounds * min(1000, max(2, 1.2 * call_s / max(seconds, 1e-7))))
    return rounds / min(seconds, *(run(*arrays) for _ in range(_REPEATS)))


def _load(kernel: Kernel, target: Target) -> Callable[..., float]:
    """The kernel as a function of arrays that returns the seconds it ran."""
    code = compile_ir(render_kernel(kernel, target, "measured"), target)
    imports = {PARALLEL_FOR: pool_library().addresses[PARALLEL_FOR]}
    function = link([code], ["measured"], imports).function(
        "measured", *[ctypes.c_void_p] * len(kernel.params)
    )

    def run(*arrays: NDArray[Any]) -> float:
        pointers = [data_pointer(array) for array in arrays]
        start = time.perf_counter()
        function(*pointers)
        return time.perf_counter() - start

    return run


def _zeros(size: int) -> NDArray[Any]:
    array = default_allocator().empty((size,), np.dtype(np.float32))
    array.fill(0)  # touches each page, so that no measurement does
    return array


def cpu_name() -> str:
    """What the system calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _path(config: Config) -> Path:
    identity = f"{VERSION} {cpu_name()} {this_machine()!r} {config.threads}"
    return config.cache_dir / f"machine_{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def _from_json(read: dict[str, Any]) -> MachineLimits:
    """JSON has text for keys where the record has numbers."""
    read["flops"] = _by_threads(read["flops"])
    for name in ("read", "copy"):
        read[name] = {level: _by_threads(speeds) for level, speeds in read[name].items()}
    return MachineLimits(**read)


def _plausible(limits: MachineLimits) -> MachineLimits:
    """The limits, if a machine could have them and all figures are there.

    Raises:
        ValueError: they are not what was measured.
    """
    speeds = [limits.flops, *limits.read.values(), *limits.copy.values()]
    times = [*limits.latency_ns.values(), limits.fork_join_ns, limits.wake_ns, limits.seconds]
    levels = {name for name, _ in _levels(this_machine(), 1)}
    complete = (
        set(limits.read) == set(limits.copy) == set(limits.latency_ns) == levels
        and all(set(by_threads) == {1, limits.threads} for by_threads in speeds)
    )  # fmt: skip
    possible = all(1e6 < f < 1e18 for by_threads in speeds for f in by_threads.values()) and all(
        0 <= t < 1e9 for t in times
    )
    if not complete or not possible:
        raise ValueError("it has figures that no machine has, or not all of them")
    return limits


def _by_threads(figures: Mapping[str, float]) -> dict[int, float]:
    return {int(threads): float(figure) for threads, figure in figures.items()}
