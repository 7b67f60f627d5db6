"""Rows that are read several times: the next row is fetched while the present one is computed.

```
for i in 0..4096:                         for i in 0..4096:
  for k in 0..4096:                         for k in 0..4096:
    m[] = max(m[], x[i, k])         ->        m[] = max(m[], x[i, k])
  for j in 0..4096:                         for j in 0..4096:
    e[j] = exp(x[i, j] - m[])                 prefetch x[i + 1, j]
  ...                                         e[j] = exp(x[i, j] - m[])
```
The first loop over a row waits for memory and the others for arithmetic, one after the other. The
processor's own prefetcher follows addresses as they are used, so it stops where a row is read
again; asked for in the second loop, the next row comes while that one computes.

Where a row is read once, to be reduced, what lies some pages further on is asked for: that
prefetcher stops at the end of each page, and one core alone does not keep memory busy.
"""

from __future__ import annotations

from pellucid.core.target import Target
from pellucid.loop.ir import For, Load, Store, Var, iadd
from pellucid.loop.rewrite import loads, stores, substitute_expr
from pellucid.schedule.prefetch import prefetch
from pellucid.schedule.recipes.plan import attempt
from pellucid.schedule.recipes.shape import Nest, extent_of, innermost, outer_nest, stride
from pellucid.schedule.trace import Schedule

SHORT_ROW_BYTES = 2048  # up to which the processor's own prefetcher stays ahead
NEAR_BYTES, FAR_BYTES = 2048, 16384  # how far ahead from the last cache, and from memory
SHORTEST_BYTES = 256  # of a row, for asking to be little beside adding up


def fetch_ahead(schedule: Schedule, target: Target) -> None:
    """Ask for the next rows of what is read again, and for what follows of what is read once."""
    fetch_next_rows(schedule, target)
    _fetch_along(schedule, target)


def _fetch_along(schedule: Schedule, target: Target) -> None:
    nest = outer_nest(schedule.kernel)
    row = nest.loops[-1].var if nest.loops else ""
    readers: dict[str, list[tuple[Load, For]]] = {}
    for loop in innermost(schedule.kernel.body):
        for load in dict.fromkeys(loads(loop.body)):
            readers.setdefault(load.buffer.name, []).append((load, loop))
    for found in readers.values():
        load, loop = found[0]
        if len(found) == 1 and _reduces(loop) and _is_stream(load, loop, row, target):
            far = load.buffer.nbytes > target.l3_bytes // 4
            step = (FAR_BYTES if far else NEAR_BYTES) // load.dtype.itemsize
            further = {loop.var: iadd(Var(loop.var), step)}
            place = [substitute_expr(i, further) for i in load.indices]
            attempt(schedule, prefetch, load.buffer.name, loop.var, place, (), not far)


def _reduces(loop: For) -> bool:
    """Whether a loop of lanes keeps all it computes in private memory."""
    kept = [s.buffer.scope == "local" for s in stores(loop.body)]
    return loop.kind == "vector" and bool(kept) and all(kept)


def _is_stream(load: Load, loop: For, row: str, target: Target) -> bool:
    """Whether rows lie one behind the other, and come from memory or the last cache."""
    extent = extent_of(loop)
    return (
        load.buffer.scope == "param"
        and stride(load, loop.var) == 1
        and (not row or row == loop.var or stride(load, row) == extent)
        and extent * load.dtype.itemsize >= SHORTEST_BYTES
        and load.buffer.nbytes > target.l2_bytes
    )


def fetch_next_rows(schedule: Schedule, target: Target) -> None:
    """Ask for the next row of each large operand that several loops of a row read."""
    nest = outer_nest(schedule.kernel)
    if not nest.loops:
        return
    row = nest.loops[-1].var
    for first, loop in _read_again(nest):
        near_end = {row: iadd(Var(row), 1)}
        if _is_worth_it(first, loop, row, target):
            place = [substitute_expr(i, near_end) for i in first.indices]
            attempt(schedule, prefetch, first.buffer.name, loop.var, place, (), False)


def _read_again(nest: Nest) -> list[tuple[Load, For]]:
    """Loads of parameters that a second loop of a row repeats, and that loop."""
    seen: dict[str, For] = {}
    found: dict[str, tuple[Load, For]] = {}
    for loop in innermost(nest.body):
        for load in loads(loop.body):
            name = load.buffer.name
            if load.buffer.scope != "param" or name in found:
                continue
            if seen.setdefault(name, loop) is not loop:
                found[name] = load, loop
    return [pair for pair in found.values() if not _writes_results(pair[1])]


def _writes_results(loop: For) -> bool:
    """Whether a loop waits for memory itself."""
    return any(isinstance(s, Store) and s.buffer.scope == "param" for s in loop.body)


def _is_worth_it(load: Load, loop: For, row: str, target: Target) -> bool:
    """Whether rows are long, lie one behind the other, and come from memory or the last cache."""
    along, down = stride(load, loop.var), stride(load, row)
    nbytes = extent_of(loop) * load.dtype.itemsize
    return (
        along == 1
        and down == extent_of(loop)
        and SHORT_ROW_BYTES <= nbytes <= target.l2_bytes // 4
        and load.buffer.nbytes > target.l2_bytes
    )
