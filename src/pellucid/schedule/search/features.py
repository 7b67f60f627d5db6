"""What can be told of a scheduled kernel's speed by reading its loops.

Enters: a kernel as scheduled, and the target. Leaves: `FEATURES` as a vector of numbers, most of
them logarithms of counts per operation: instructions, loads by kind, traffic per cache level, loop
steps, registers, balance of the threads. No time is measured, and no recipe is known here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pellucid.core.target import Target
from pellucid.loop.ir import Alloc, Call, Const, Expr, For, If, Kernel, Load, Store, Var
from pellucid.loop.rewrite import Block, constant, free_vars, index_vars, walk_expr
from pellucid.schedule.recipes.shape import DEAR_FUNCTIONS, DEAR_WORK, stride, work

FEATURES = (
    "work", "instructions", "dear", "near_loads", "broadcasts", "gathers", "scatters", "spilled",
    "steps", "forks", "serial_share", "balance", "waste", "registers", "code", "temp_bytes",
    "l1_bytes", "l2_bytes", "l3_bytes", "estimate",
)  # fmt: skip
_LINE_BYTES = 64
_FORK_CYCLES, _STEP_CYCLES, _GATHER_CYCLES = 2000.0, 1.0, 1.5
_BYTES_PER_CYCLE = (64.0, 32.0, 12.0)  # from L2, L3, memory: what outgrows L1, L2, L3


@dataclass(slots=True)
class _Access:
    """A load or store, the loops around it from the outside in, and how often it is made."""

    access: Load | Store
    around: tuple[For, ...]
    times: float


@dataclass(slots=True)
class _Counts:
    """What was counted, in instructions of the whole kernel unless named otherwise."""

    instructions: float = 0.0
    dear: float = 0.0
    near: float = 0.0
    broadcasts: float = 0.0
    gathers: float = 0.0
    scatters: float = 0.0
    spilled: float = 0.0
    steps: float = 0.0
    forks: float = 0.0
    parallel: float = 0.0
    slowest: float = 0.0  # of the parallel work, on the thread with most chunks
    wasted: float = 0.0  # lanes beyond what is asked for, per lane
    lanes: float = 0.0
    code: float = 0.0
    registers: float = 0.0
    temp_bytes: float = 0.0
    far: list[_Access] = field(default_factory=list)


def features(kernel: Kernel, target: Target) -> NDArray[np.float64]:
    """The values of `FEATURES`, in their order."""
    counts = _Counts()
    _Reader(counts, target).block(kernel.body, (), 1.0, 1.0)
    total = float(max(1, work(kernel.body)))
    traffic = _traffic(counts.far, target)
    cycles = _estimate(counts, traffic, target)
    per_work = [
        counts.instructions, counts.dear, counts.near, counts.broadcasts, counts.gathers,
        counts.scatters, counts.spilled, counts.steps, 1000 * counts.forks,
    ]  # fmt: skip
    return np.array([
        math.log2(total),
        *(_log(x / total) for x in per_work),
        1 - counts.parallel / max(counts.instructions, 1.0),
        counts.slowest / max(counts.parallel, 1.0),
        counts.wasted / max(counts.lanes, 1.0),
        counts.registers / target.vector_registers,
        _log(counts.code),
        _log(counts.temp_bytes / target.l1_bytes),
        *(_log(x / total) for x in traffic),
        _log(cycles / total),
    ])  # fmt: skip


def _log(value: float) -> float:
    return math.log2(value + 1e-4)


class _Reader:
    """Walks a kernel once and counts."""

    def __init__(self, counts: _Counts, target: Target) -> None:
        self.counts, self.target = counts, target

    def block(self, body: Block, around: tuple[For, ...], times: float, share: float) -> None:
        """Count a block that runs `times`, the slowest thread's `share` of them."""
        for stmt in body:
            match stmt:
                case For():
                    self._loop(stmt, around, times, share)
                case If():
                    odds = _odds(stmt.cond, around)
                    self.block(stmt.then, around, times * odds, share)
                    self.block(stmt.orelse, around, times * (1 - odds), share)
                case Alloc():
                    if stmt.buffer.scope == "temp":
                        self.counts.temp_bytes += stmt.buffer.nbytes
                    else:
                        self._tile(stmt)
                    self.block(stmt.body, around, times, share)
                case Store():
                    self._store(stmt, around, times, share)

    def _tile(self, stmt: Alloc) -> None:
        lanes = self.target.lanes(stmt.buffer.dtype)
        vectors = -(-stmt.buffer.size // lanes)
        self.counts.registers = max(self.counts.registers, float(vectors))

    def _loop(self, loop: For, around: tuple[For, ...], times: float, share: float) -> None:
        extent = constant(loop.extent) or _most(loop.extent)
        inside = (*around, loop)
        match loop.kind:
            case "vector":
                self.block(loop.body, inside, times, share)
                return
            case "parallel":
                self.counts.forks += times
                cores = self.target.cores
                share = -(-extent // cores) * cores / extent / cores
            case "serial":
                self.counts.steps += times * extent
            case "unroll":
                pass
        self.block(loop.body, inside, times * extent, share)

    def _store(self, store: Store, around: tuple[For, ...], times: float, share: float) -> None:
        counts = self.counts
        vector = next((x for x in around if x.kind == "vector"), None)
        issued = times * self._vectors(store, vector, times)
        calls = [e for e in walk_expr(store.value) if isinstance(e, Call)]
        dear = sum(DEAR_WORK for e in calls if e.fn in DEAR_FUNCTIONS)
        counts.instructions += issued * (1 + len(calls) + dear)
        counts.dear += issued * dear
        if any(x.kind == "parallel" for x in around):
            counts.parallel += issued * (1 + len(calls) + dear)
            counts.slowest += issued * (1 + len(calls) + dear) * share
        unrolled = [constant(x.extent) or 1 for x in around if x.kind == "unroll"]
        counts.code += math.prod(unrolled) * (1 + len(calls))
        loads = [e for e in walk_expr(store.value) if isinstance(e, Load)]
        both: list[Load | Store] = [store, *loads]
        for access in both:
            self._access(access, around, vector, issued, times)

    def _vectors(self, store: Store, vector: For | None, times: float) -> float:
        """Vector instructions that one pass through a vector loop takes."""
        if vector is None:
            return 1.0
        extent = constant(vector.extent) or _most(vector.extent)
        lanes = self.target.lanes(store.buffer.dtype)
        count = -(-extent // lanes)
        self.counts.lanes += times * count * lanes
        self.counts.wasted += times * (count * lanes - extent)
        return float(count)

    def _access(
        self,
        access: Load | Store,
        around: tuple[For, ...],
        vector: For | None,
        issued: float,
        times: float,
    ) -> None:
        counts = self.counts
        step = 0 if vector is None else stride(access, vector.var)
        if access.buffer.scope == "local":
            names = {v for i in access.indices for v in free_vars(i)}
            kinds = {x.kind for x in around if x.var in names}
            if "serial" in kinds or "parallel" in kinds:
                counts.spilled += issued
            return
        counts.far.append(_Access(access, around, times))
        if step == 0 and vector is not None:
            counts.broadcasts += times
        elif step in (0, 1):
            counts.near += issued
        elif isinstance(access, Load):
            counts.gathers += issued * self.target.lanes(access.buffer.dtype)
        else:
            counts.scatters += issued * self.target.lanes(access.buffer.dtype)


def _odds(cond: Expr, around: Sequence[For]) -> float:
    """How often `var < n` holds, for a loop's variable and a number; half for anything else."""
    if isinstance(cond, Call) and cond.fn == "lt":
        a, b = cond.args
        loop = next((x for x in around if a == Var(x.var)), None)
        extent = constant(loop.extent) if loop is not None else None
        if extent and isinstance(b, Const):
            return min(1.0, float(b.value) / extent)
    return 0.5


def _most(extent: Expr) -> int:
    """The larger of the numbers in an extent such as `min(32, 100 - io * 32)`, at most."""
    if isinstance(extent, Call) and extent.fn == "min":
        known = [constant(a) for a in extent.args]
        return min((n for n in known if n is not None), default=8)
    return 8


def _traffic(far: Sequence[_Access], target: Target) -> tuple[float, float, float]:
    """Bytes that come from beyond the first, second and third cache.

    For each access the outermost nest whose data fits is found; what it touches is fetched once
    for each time that nest runs. Accesses to one buffer in one nest are counted once.
    """
    levels = (target.l1_bytes // 2, target.l2_bytes // 2, target.l3_bytes // 2)
    unique = {(a.access.buffer, a.access.indices, a.around): a for a in far}.values()
    ways = [(one, _footprints(one)) for one in unique]
    first, second, third = (sum(_fetched(one, fp, size) for one, fp in ways) for size in levels)
    return first, second, third


def _fetched(one: _Access, footprints: Sequence[float], size: int) -> float:
    """Bytes of one access that are fetched into a cache of `size`."""
    for depth, footprint in enumerate(footprints):
        if footprint * 3 <= size:
            return math.prod(map(_extent, one.around[:depth])) * footprint
    return one.times * _LINE_BYTES


def _footprints(one: _Access) -> list[float]:
    """Bytes, in lines, that an access touches inside 0, 1, 2 ... of the loops around it."""
    buffer, names = one.access.buffer, index_vars(one.access)
    per_line = _LINE_BYTES // buffer.dtype.itemsize
    elements, along = 1.0, False
    found = [min(elements * per_line, buffer.size) * buffer.dtype.itemsize]
    for loop in reversed(one.around):
        step = stride(one.access, loop.var) if loop.var in names else 0
        if step != 0:
            elements *= _extent(loop)
            along |= step is not None and abs(step) == 1
        touched = elements if along else elements * per_line
        found.append(min(touched, buffer.size) * buffer.dtype.itemsize)
    return found[::-1]


def _extent(loop: For) -> int:
    return constant(loop.extent) or _most(loop.extent)


def _estimate(counts: _Counts, traffic: tuple[float, float, float], target: Target) -> float:
    """Cycles by adding up what each part would take by itself: rough, but right in the large."""
    loads = counts.near + counts.broadcasts + counts.spilled
    cycles = max(counts.instructions / 2, loads / 2)
    cycles += _GATHER_CYCLES * (counts.gathers + counts.scatters)
    cycles += _STEP_CYCLES * counts.steps / 4
    cycles += sum(t / b for t, b in zip(traffic, _BYTES_PER_CYCLE, strict=True)) / 2
    parallel = counts.parallel / max(counts.instructions, 1.0)
    balance = counts.slowest / max(counts.parallel, 1.0)
    threads = parallel * balance + (1 - parallel)
    return cycles * threads + _FORK_CYCLES * counts.forks
