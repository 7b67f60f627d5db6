"""Stores that go past the caches: into outputs of which nothing would be left there.

A cache reads a line before it writes to it. Where a whole line is written and is gone before
anyone reads it, that reading is a third of the traffic of a copy; a non-temporal store leaves it
out. Such stores need aligned addresses, so a loop that has them is there twice, and a fence of
their own keeps them before what follows. Where much is computed per element, memory is not what a
loop waits for, and the caches take stores faster.
"""

from __future__ import annotations

from collections.abc import Iterator

from pellucid.codegen.llvm_index import Affine, range_of
from pellucid.codegen.llvm_store import Stores
from pellucid.codegen.llvm_vectorize import expressions, roots, statements
from pellucid.core.target import Target
from pellucid.loop.ir import Alloc, For, Kernel, Load, Stmt, Store
from pellucid.schedule.recipes.shape import work

MACHINES = ("sse2", "avx2", "avx512")  # whose fence is known here
LEAST_VECTORS = 64  # of a loop, beside which the fence is little
MOST_WORK = 10  # operations and statements per iteration; an exp is already too much


def far_outputs(kernel: Kernel, target: Target) -> frozenset[str]:
    """The outputs that are larger than the last cache, and that the kernel does not read."""
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
    large = {b.name for b in outputs if b.nbytes > target.l3_bytes}
    return frozenset(large - read)


def streamed_pointers(writer: Stores, loop: For, end: Affine, lanes: int) -> dict[str, str]:
    """The first address of each store of a SIMD loop that may go past the caches, by the pointer of
    its buffer.
    """
    reach = range_of(end, writer.ranges, 1)
    if writer.accumulators or reach is None or reach[1] < LEAST_VECTORS * lanes:
        return {}
    if work(loop.body) > MOST_WORK:
        return {}
    outside, writer.width = writer.width, lanes
    writer.variables[loop.var] = Affine(lane=1)
    found: dict[str, str] = {}
    for store in _own_stores(loop.body):
        whole = lanes * store.buffer.dtype.bits == writer.target.vector_bits
        if store.buffer.name not in writer.far or not whole:
            continue
        place = writer.storages[store.buffer.name]
        form = writer.address(place, store.indices)
        if form.lane != 1 or form.vector or place.pointer in found:
            found = {}
            break
        found[place.pointer] = writer.pointer(place, form)
    del writer.variables[loop.var]
    writer.width = outside
    return found


def _own_stores(body: tuple[Stmt, ...]) -> Iterator[Store]:
    """The stores that each iteration does itself, at indices that are not read from memory."""
    for stmt in body:
        if isinstance(stmt, Alloc):
            yield from _own_stores(stmt.body)
        elif isinstance(stmt, Store):
            inside = (e for index in stmt.indices for e in expressions(index))
            if not any(isinstance(e, Load) for e in inside):
                yield stmt


def all_aligned(writer: Stores, pointers: dict[str, str]) -> str:
    """Whether vectors may be stored past the caches at all of these addresses, an i1."""
    function, total = writer.function, "0"
    for pointer in pointers.values():
        number = function.pure(f"ptrtoint ptr {pointer} to i64")
        total = function.pure(f"or i64 {total}, {number}")
    rest = function.pure(f"and i64 {total}, {writer.target.vector_bits // 8 - 1}")
    return function.pure(f"icmp eq i64 {rest}, 0")


def fence(writer: Stores) -> None:
    """What was stored past the caches is there before anything that is stored later."""
    writer.function.module.declare("void @llvm.x86.sse.sfence()")
    writer.function.effect("call void @llvm.x86.sse.sfence()")
