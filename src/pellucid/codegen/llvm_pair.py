"""Two stores that fill every other element of the same memory, written as whole vectors.

`z[i, 0] = re; z[i, 1] = im` for lanes `i = 0 .. 7` fills two vectors of eight elements. Shuffled
together and stored whole, they need no masks and no scatter.
"""

from __future__ import annotations

from collections.abc import Iterator

from pellucid.codegen.llvm_emitter import Function
from pellucid.codegen.llvm_stride import shuffle
from pellucid.loop.ir import Alloc, Const, Stmt, Store
from pellucid.loop.rewrite import loads, stores


def paired_stores(body: tuple[Stmt, ...]) -> frozenset[Store]:
    """The stores of a loop's body that fill a last axis of two elements, both at every turn, in
    memory that the body does not read.
    """
    read = {load.buffer for load in loads(body)}
    found: dict[str, list[Store]] = {}
    for store in stores(body):
        found.setdefault(store.buffer.name, []).append(store)
    sure = list(_unconditional(body))
    pairs = (
        made
        for made in found.values()
        if len(made) == 2 and all(s in sure for s in made) and made[0].buffer not in read
    )
    return frozenset(store for made in pairs if _fills(*made) for store in made)


def _unconditional(body: tuple[Stmt, ...]) -> Iterator[Store]:
    for stmt in body:
        if isinstance(stmt, Store):
            yield stmt
        elif isinstance(stmt, Alloc):
            yield from _unconditional(stmt.body)


def _fills(first: Store, second: Store) -> bool:
    shape = first.buffer.shape
    if not shape or shape[-1] != 2 or first.indices[:-1] != second.indices[:-1]:
        return False
    return (first.indices[-1], second.indices[-1]) == (Const(0), Const(1))


def in_turn(function: Function, kind: str, width: int, first: str, second: str) -> tuple[str, str]:
    """The lanes of two vectors in turn, as two vectors of `width` lanes."""
    order = [k // 2 + k % 2 * width for k in range(2 * width)]
    halves = (order[:width], order[width:])
    low, high = (shuffle(function, kind, (first, second), half) for half in halves)
    return low, high
