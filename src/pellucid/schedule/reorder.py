"""Change the order of nested loops.

```
for i in 0..4:            for j in 0..10:
  for j in 0..10:    ->     for i in 0..4:
    B[i, j] = A[i]            B[i, j] = A[i]
```
Other names: TVM, Halide: reorder; loop interchange.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import For, Kernel, Stmt
from pellucid.loop.rewrite import Block, free_vars, map_bodies, with_body
from pellucid.schedule.dependence import reorderable
from pellucid.schedule.nest import require_loop


def reorder(kernel: Kernel, *order: str) -> Kernel:
    """Every perfect nest that holds all these loops, with them in this order, outermost first.

    Other loops of the nest stay where they are. Nests that lack one of the loops are left alone.

    Raises:
        ScheduleError: no nest holds them all, an extent depends on a loop that would move inside,
            or iterations may touch the same element in another order.
    """
    if len(set(order)) != len(order) or not order:
        raise ScheduleError("reorder", "name each loop once", operands={"order": order})
    for var in order:
        require_loop(kernel, "reorder", var)
    body, count = _rewrite(kernel.body, order, Facts())
    if not count:
        raise ScheduleError(
            "reorder",
            "no perfect nest holds these loops",
            operands={"order": order},
            fix="distribute, so that each loop's body is the next loop alone",
        )
    return with_body(kernel, body)


def _rewrite(block: Block, order: tuple[str, ...], facts: Facts) -> tuple[Block, int]:
    result: list[Stmt] = []
    total = 0
    for stmt in block:
        changed, count = _one(stmt, order, facts)
        result.append(changed)
        total += count
    return tuple(result), total


def _one(stmt: Stmt, order: tuple[str, ...], facts: Facts) -> tuple[Stmt, int]:
    if isinstance(stmt, For) and stmt.var in order:
        nest = _nest(stmt, order)
        if nest is not None:
            return _permute(nest, order, facts), 1
    count = 0

    def inside(body: Block) -> Block:
        nonlocal count
        known = facts.enter(stmt) if isinstance(stmt, For) else facts
        changed, found = _rewrite(body, order, known)
        count += found
        return changed

    return map_bodies(stmt, inside), count


def _nest(loop: For, order: tuple[str, ...]) -> list[For] | None:
    """The loops from `loop` inwards until all of `order` are met, if each is the next one's whole
    parent.
    """
    nest, missing = [loop], set(order) - {loop.var}
    while missing:
        inner = nest[-1].body[0]
        if len(nest[-1].body) != 1 or not isinstance(inner, For):
            return None
        nest.append(inner)
        missing.discard(inner.var)
    return nest


def _permute(nest: list[For], order: tuple[str, ...], facts: Facts) -> For:
    by_name = {loop.var: loop for loop in nest}
    names = iter(order)
    new = [by_name[next(names)] if loop.var in order else loop for loop in nest]
    _check_extents(new)
    clash = reorderable(nest, [loop.var for loop in new], facts)
    if clash is not None:
        raise ScheduleError(
            "reorder",
            f"accesses to {clash.buffer.name} would change places",
            operands={"order": order},
        )
    body = nest[-1].body
    for loop in reversed(new):
        body = (For(loop.var, loop.extent, body, loop.kind),)
    return next(s for s in body if isinstance(s, For))


def _check_extents(new: list[For]) -> None:
    for position, loop in enumerate(new):
        inside = free_vars(loop.extent) & {later.var for later in new[position:]}
        if inside:
            raise ScheduleError(
                "reorder",
                f"the extent of {loop.var!r} depends on {sorted(inside)}",
                fix="keep that loop outside, or specialize first",
            )
