"""The memory plan: which bytes of one arena each temporary of a program uses, and when.

Enters: lifetimes (a slot's size and the calls between which it holds data) and the pairs that may
share memory because a kernel can write one over the other. Leaves: `MemoryPlan`, one rectangle per
slot in the plane of time and address. Does not know kernels; `lifetimes.py` reads them from a
program.

Packing rectangles is NP-complete (it is dynamic storage allocation), so a few greedy orders are
tried with best-fit and first-fit placement and the smallest arena wins; the largest sum of bytes
alive at one moment bounds any plan from below.
Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020),
greedy by size; ours adds the other orders, the in-place groups and the lower bound as a stopping
rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import VerifyError

ALIGNMENT = 64
_TRY_ALL_BELOW = 400


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A slot that holds data from call `start` to call `end`, both included."""

    slot: int
    name: str
    nbytes: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Where a slot lives: calls `start..end` (included) by bytes `offset..offset + size`.

    Slots of one `group` were merged in place: each begins at the call at which the one before it
    ends.
    """

    slot: int
    name: str
    start: int
    end: int
    offset: int
    size: int
    group: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Rectangles in one arena, and the figures that say how good they are. All sizes in bytes.

    Attributes:
        rectangles: one per slot, in the order the lifetimes came.
        peak: size of the arena.
        no_reuse: what the slots would need with an address of their own each.
        bound: the most bytes alive at one call; no plan with these in-place groups can be smaller.
    """

    rectangles: tuple[Rectangle, ...]
    peak: int
    no_reuse: int
    bound: int

    def __str__(self) -> str:
        return print_plan(self)

    def offsets(self) -> dict[int, int]:
        """Byte offset by slot."""
        return {r.slot: r.offset for r in self.rectangles}


@dataclass(slots=True)
class _Block:
    """Slots that share one address: a chain of in-place writes, or a single slot."""

    members: list[Lifetime]
    size: int
    start: int
    end: int
    offset: int = 0


_Order = Callable[[_Block], tuple[int, ...]]
_Ints = NDArray[np.int64]
_Fit = Callable[[_Ints, _Ints, int, int, int], int]
_ENDLESS = np.iinfo(np.int64).max

_ORDERS: tuple[_Order, ...] = (
    lambda b: (-b.size, b.start),
    lambda b: (-b.size * (b.end - b.start + 1), b.start),
    lambda b: (b.start - b.end, -b.size),
    lambda b: (b.start, -b.size),
    lambda b: (-b.end, -b.size),
)


def plan_memory(
    lifetimes: Sequence[Lifetime],
    shares: Iterable[tuple[int, int]] = (),
    alignment: int = ALIGNMENT,
) -> MemoryPlan:
    """Offsets for all lifetimes in one arena, no two that are alive together overlapping.

    Args:
        lifetimes: the slots to place.
        shares: pairs (written slot, read slot): where the read one ends at the call at which the
            written one starts, both get the same address. Pairs that do not fit are left out.
        alignment: every offset is a multiple of it, bytes.

    Raises:
        VerifyError: a lifetime ends before it starts, or a slot comes twice.
    """
    _check_lifetimes(lifetimes)
    blocks = _merge_shared(lifetimes, shares, alignment)
    bound = _most_alive(blocks)
    offsets, peak = _best_placement(blocks, bound)
    rectangles = {
        m.slot: Rectangle(m.slot, m.name, m.start, m.end, offset, _round(m.nbytes, alignment), i)
        for i, (block, offset) in enumerate(zip(blocks, offsets, strict=True))
        for m in block.members
    }
    in_order = tuple(rectangles[life.slot] for life in lifetimes)
    return MemoryPlan(in_order, peak, sum(r.size for r in in_order), bound)


def check_plan(plan: MemoryPlan) -> None:
    """Verify that no two slots alive at one call overlap, and that all fit in the arena.

    Raises:
        VerifyError: with the two rectangles as the counterexample.
    """
    for rectangle in plan.rectangles:
        if rectangle.offset < 0 or rectangle.offset + rectangle.size > plan.peak:
            raise VerifyError(
                "memory plan",
                "every slot lies inside the arena",
                operands={"slot": rectangle, "arena": plan.peak},
            )
    by_start = sorted(plan.rectangles, key=lambda r: r.start)
    for i, a in enumerate(by_start):
        for b in by_start[i + 1 :]:
            if b.start > a.end:
                break
            _check_apart(a, b)


def print_plan(plan: MemoryPlan, columns: int = 48) -> str:
    """The plan as text: the figures, then one bar per slot over time, in order of address."""
    ends = max((r.end for r in plan.rectangles), default=0) + 1
    scale = min(1.0, columns / ends)
    lines = [
        f"arena {plan.peak:,} B (lower bound {plan.bound:,} B, without reuse {plan.no_reuse:,} B)"
    ]
    for r in sorted(plan.rectangles, key=lambda r: (r.offset, r.start)):
        first, last = int(r.start * scale), int(r.end * scale)
        bar = " " * first + "#" * (last - first + 1)
        span = f"{r.offset:>12,} +{r.size:<11,}"
        lines.append(f"{span} |{bar:<{int(ends * scale) + 1}}| {r.start}..{r.end} {r.name}")
    return "\n".join(lines)


def _check_lifetimes(lifetimes: Sequence[Lifetime]) -> None:
    seen: set[int] = set()
    for life in lifetimes:
        if life.start > life.end or life.nbytes < 0 or life.slot in seen:
            raise VerifyError(
                "memory plan",
                "each slot has one lifetime, which starts before it ends",
                operands={"it": life},
            )
        seen.add(life.slot)


def _check_apart(a: Rectangle, b: Rectangle) -> None:
    overlap = a.offset < b.offset + b.size and b.offset < a.offset + a.size
    handed_over = a.group == b.group and (a.end == b.start or b.end == a.start)
    if overlap and not handed_over:
        raise VerifyError(
            "memory plan", "slots alive together must not overlap", operands={"one": a, "other": b}
        )


def _round(nbytes: int, alignment: int) -> int:
    return -(-nbytes // alignment) * alignment


def _merge_shared(
    lifetimes: Sequence[Lifetime], shares: Iterable[tuple[int, int]], alignment: int
) -> list[_Block]:
    """Chains of in-place writes become one block; a slot joins at most one chain on each side.

    Only equal sizes merge: a chain keeps its largest size alive all along, so a smaller successor
    would waste the rest.
    """
    blocks = {
        life.slot: _Block([life], _round(life.nbytes, alignment), life.start, life.end)
        for life in lifetimes
    }
    for written, read in shares:
        after, before = blocks.get(written), blocks.get(read)
        if after is None or before is None or after is before or after.size != before.size:
            continue
        if before.members[-1].slot != read or after.members[0].slot != written:
            continue
        if before.end == after.start:
            before.members += after.members
            before.end = after.end
            blocks.update({m.slot: before for m in after.members})
    return list({id(b): b for b in blocks.values()}.values())


def _most_alive(blocks: Sequence[_Block]) -> int:
    """The largest sum of sizes alive at one call, by a sweep over starts and ends."""
    events = sorted(
        [(b.start, 1, b.size) for b in blocks] + [(b.end + 1, 0, -b.size) for b in blocks]
    )
    alive = most = 0
    for _, _, change in events:
        alive += change
        most = max(most, alive)
    return most


def _best_placement(blocks: Sequence[_Block], bound: int) -> tuple[list[int], int]:
    """The smallest arena of all orders and fits; stops early at the lower bound.

    Long programs try the first order only: placement is quadratic in the number of slots.
    """
    orders = _ORDERS if len(blocks) <= _TRY_ALL_BELOW else _ORDERS[:1]
    best: tuple[list[int], int] | None = None
    for order in orders:
        for fit in (_best_fit, _first_fit):
            peak = _place(sorted(blocks, key=order), fit)
            if best is None or peak < best[1]:
                best = [b.offset for b in blocks], peak
            if best[1] == bound:
                return best
    return best if best is not None else ([], 0)


def _place(blocks: Sequence[_Block], fit: _Fit) -> int:
    """Give each block in turn an offset among those placed before it; returns the arena's size."""
    placed = np.zeros((4, len(blocks)), np.int64)  # offset, top, start, end; in order of address
    peak = 0
    for count, block in enumerate(blocks):
        low, top, start, end = placed[:, :count]
        meets = (start <= block.end) & (end >= block.start)
        block.offset = fit(*_gaps(low[meets], top[meets]), block.size, peak)
        place = int(low.searchsorted(block.offset))
        placed[:, place + 1 : count + 1] = placed[:, place:count]
        placed[:, place] = block.offset, block.offset + block.size, block.start, block.end
        peak = max(peak, block.offset + block.size)
    return peak


def _gaps(low: _Ints, top: _Ints) -> tuple[_Ints, _Ints, int]:
    """Start and size of the free ranges between (possibly overlapping) taken ones, which come in
    order of address, and where the last of those ends.
    """
    if not len(low):
        return low, low, 0
    covered = np.maximum.accumulate(top)
    starts = np.zeros_like(covered)
    starts[1:] = covered[:-1]
    return starts, low - starts, int(covered[-1])


def _first_fit(starts: _Ints, sizes: _Ints, top: int, size: int, peak: int) -> int:
    """The lowest gap that holds `size` bytes, else the end."""
    fitting = sizes >= max(size, 1)
    return int(starts[fitting.argmax()]) if fitting.any() else top


def _best_fit(starts: _Ints, sizes: _Ints, top: int, size: int, peak: int) -> int:
    """The tightest gap that holds `size` bytes, the arena's present end closing the last one."""
    loose = np.where(sizes >= max(size, 1), sizes, _ENDLESS)
    best = int(loose.argmin()) if len(loose) else -1
    if best >= 0 and loose[best] < _ENDLESS and not size <= peak - top < loose[best]:
        return int(starts[best])
    return top
