"""Stores that go past the caches: into outputs of which nothing would be left there.

A cache reads a line before it writes to it. Where a whole line is written and is gone before
anyone reads it, that reading is a third of the traffic of a copy; a non-temporal store leaves it
out. Such stores need aligned addresses, so a loop that has them is there twice. Other threads may
see them late: a fence at the end of a function, and before others get work, keeps them before what
follows. Where much is computed per element, memory is not what a loop waits for, and the caches
take stores faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pellucid.codegen.llvm_index import Affine, range_of
from pellucid.codegen.llvm_store import Stores
from pellucid.codegen.llvm_vectorize import expressions, roots, statements
from pellucid.core.size import likely
from pellucid.core.target import Target
from pellucid.loop.ir import Alloc, For, If, Kernel, Load, Prefetch, Stmt, Store
from pellucid.schedule.recipes.shape import extent_of, stride, work

MACHINES = ("sse2", "avx2", "avx512")  # whose fence is known here
LINE_BYTES = 64
LEAST_VECTORS = 4  # of a loop, beside which looking at the addresses is little
MOST_WORK = 10  # operations and statements per element stored; an exp is already too much


def far_outputs(kernel: Kernel, target: Target) -> frozenset[str]:
    """The outputs that leave the last cache before the kernel ends, and that it does not read."""
    if target.name not in MACHINES:
        return frozenset()
    read = {
        e.buffer.name
        for stmt in statements(kernel.body)
        for root in roots(stmt)
        for e in expressions(root)
        if isinstance(e, Load)
    }
    outputs = kernel.params[len(kernel.params) - kernel.outputs :]
    if likely(sum(b.nbytes for b in kernel.params)) <= 2 * target.l3_bytes:
        return frozenset()
    large = {b.name for b in outputs if 2 * likely(b.nbytes) > target.l3_bytes}
    return frozenset(large - read)


def streamed_pointers(writer: Stores, loop: For, end: Affine, lanes: int) -> dict[str, str]:
    """The first address of each store of a SIMD loop that may go past the caches, by the pointer of
    its buffer.
    """
    reach = range_of(end, writer.ranges, 1)
    if writer.accumulators or reach is None or reach[1] < LEAST_VECTORS * lanes:
        return {}
    outside, writer.width = writer.width, lanes
    writer.variables[loop.var] = Affine(lane=1)
    found: dict[str, str] = {}
    for store, around in _stores(loop.body):
        name = store.buffer.name
        if name in writer.storages and writer.storages[name].pointer in found:
            found = {}
            break
        if name in writer.far and _is_whole(writer, store, loop, lanes, around):
            place = writer.storages[name]
            for inner in around:
                writer.variables[inner.var] = Affine()
            form = writer.address(place, store.indices)
            for inner in around:
                del writer.variables[inner.var]
            found[place.pointer] = writer.pointer(place, form)
    del writer.variables[loop.var]
    writer.width = outside
    return found


def _is_whole(writer: Stores, store: Store, loop: For, lanes: int, around: tuple[For, ...]) -> bool:
    """Whether a store writes whole vectors that are all aligned if the first one is, one after
    another or whole lines, and little is computed for each.
    """
    size = store.buffer.dtype.itemsize
    whole = 8 * lanes * size == writer.target.vector_bits
    steps = [stride(store, x.var) for x in around]
    times = math.prod(extent_of(x) for x in around)
    return (
        whole
        and (not around or lanes * size == LINE_BYTES)
        and stride(store, loop.var) == 1
        and all(s is not None and s * size % (lanes * size) == 0 for s in steps)
        and work(loop.body) <= MOST_WORK * times
        and not any(isinstance(e, Load) for i in store.indices for e in expressions(i))
    )


def _stores(
    body: tuple[Stmt, ...], around: tuple[For, ...] = ()
) -> Iterator[tuple[Store, tuple[For, ...]]]:
    """The stores in a loop's body, each with the loops inside that are around it."""
    for stmt in body:
        match stmt:
            case Alloc():
                yield from _stores(stmt.body, around)
            case For():
                yield from _stores(stmt.body, (*around, stmt))
            case If():
                yield from _stores(stmt.then, around)
                yield from _stores(stmt.orelse, around)
            case Store():
                yield stmt, around
            case Prefetch():
                pass


def all_aligned(writer: Stores, pointers: dict[str, str]) -> str:
    """Whether vectors may be stored past the caches at all of these addresses, an i1."""
    function, total = writer.function, "0"
    for pointer in pointers.values():
        number = function.pure(f"ptrtoint ptr {pointer} to i64")
        total = function.pure(f"or i64 {total}, {number}")
    rest = function.pure(f"and i64 {total}, {writer.target.vector_bits // 8 - 1}")
    return function.pure(f"icmp eq i64 {rest}, 0")


def fence(writer: Stores) -> None:
    """What was stored past the caches, if anything, is there before all that is stored later."""
    if not writer.late:
        return
    writer.late = False
    writer.function.module.declare("void @llvm.x86.sse.sfence()")
    writer.function.effect("call void @llvm.x86.sse.sfence()")
