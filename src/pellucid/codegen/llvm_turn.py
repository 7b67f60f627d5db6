"""Blocks of memory turned round in registers: rows are read along memory, columns come out.

Sixteen lanes a whole row apart are a gather, and sixteen of them where the sixteen neighbours of
each are wanted too. Reading sixteen rows as they lie and turning the block round with shuffles is
several times faster. The shuffles are those that processors have: halves of 16-byte blocks of two
vectors interleaved, then whole blocks exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pellucid.codegen.llvm_emitter import Function
from pellucid.codegen.llvm_expr import Expressions, Storage, Turned
from pellucid.codegen.llvm_index import Affine
from pellucid.codegen.llvm_stride import MOST_STEP, shuffle
from pellucid.codegen.llvm_types import storage, vector
from pellucid.codegen.llvm_vectorize import expressions, roots, statements
from pellucid.loop.ir import For, Load, Stmt, Store

BLOCK_BYTES = 16
WIDTHS = (4, 8, 16)  # lanes of blocks that registers hold


def turned_loads(writer: Expressions, loop: For, extent: int) -> Turned:
    """What the loads of an unrolled loop inside a SIMD loop read, for those that go along memory
    with the unrolled loop and far across it with the lanes.

    Args:
        writer: stands inside the SIMD loop, before the unrolled one.
        loop: its body must be stores only.
        extent: its iterations.
    """
    width, mask = writer.width, writer.mask
    fits = width in WIDTHS and 2 * extent >= width and (not mask or mask.startswith("<"))
    if not fits or not all(isinstance(s, Store) for s in loop.body):
        return {}
    found: Turned = {}
    for load in _loads(loop):
        place = writer.storages[load.buffer.name]
        first = first_of_block(writer, place, load, loop.var)
        if first is None:
            continue
        for start in range(0, extent, width):
            if 2 * (extent - start) >= width:
                form = replace(first, const=first.const + start)
                found |= _block(writer, place, form, min(width, extent - start))
    return found


def block_loads(
    writer: Expressions, body: tuple[Stmt, ...], var: str, start: int, count: int
) -> Turned:
    """What `count` iterations of an unrolled loop, from `start` on, read where its body is lanes.

    Args:
        writer: stands inside the SIMD loop, with no lane left out.
        body: of the SIMD loop.
        var: the unrolled loop's variable.
        start: its first iteration.
        count: at most as many as there are lanes.
    """
    found: Turned = {}
    for stmt in statements(body):
        loads = (e for root in roots(stmt) for e in expressions(root) if isinstance(e, Load))
        for load in loads:
            place = writer.storages.get(load.buffer.name)
            first = None if place is None else first_of_block(writer, place, load, var)
            if place is not None and first is not None:
                form = replace(first, const=first.const + start)
                found |= _block(writer, place, form, count)
    return found


def _loads(loop: For) -> Iterator[Load]:
    for stmt in loop.body:
        if isinstance(stmt, Store):
            yield from (e for e in expressions(stmt.value) if isinstance(e, Load))


def first_of_block(
    writer: Expressions, place: Storage, access: Load | Store, var: str
) -> Affine | None:
    """The address in an unrolled loop's first iteration, where blocks of it can be turned."""
    if place.lanes > 1 or place.padded or any(isinstance(e, Load) for i in access.indices
                                              for e in expressions(i)):  # fmt: skip
        return None
    forms = []
    for iteration in (0, 1):
        writer.variables[var] = Affine(iteration)
        forms.append(writer.address(place, access.indices))
    del writer.variables[var]
    first, second = forms
    neighbours = replace(first, const=first.const + 1) == second
    return first if neighbours and not first.vector and abs(first.lane) > MOST_STEP else None


def _block(writer: Expressions, place: Storage, form: Affine, count: int) -> Turned:
    """`count` columns of a block whose rows start at the lanes' addresses."""
    kind, width = vector(storage(place.dtype), writer.width), writer.width
    active = writer.mask.strip("<>").split(",") if writer.mask else ["true"] * width
    bits = ", ".join(f"i1 {'true' if i < count else 'false'}" for i in range(width))
    rows = []
    for lane in range(width):
        at = replace(form, lane=0, const=form.const + lane * form.lane)
        if "true" in active[lane]:
            text = writer.lanes_text(
                place, writer.pointer(place, at), f"<{bits}>" if count < width else ""
            )
            rows.append(writer.raw(place, text))
        else:
            rows.append("zeroinitializer")
    columns = turned(writer.function, kind, rows, place.dtype.itemsize)
    return {
        (place.pointer, place.dtype, place.version, replace(form, const=form.const + i)): columns[i]
        for i in range(count)
    }


def turned(function: Function, kind: str, rows: Sequence[str], itemsize: int) -> list[str]:
    """The columns of a square block, given its rows; `kind` is their LLVM type.

    Args:
        function: where the shuffles go.
        kind: `<n x element>`, n a power of two and as many as there are rows.
        rows: vectors.
        itemsize: bytes of an element.
    """
    width = len(rows)
    near = min(width, max(1, BLOCK_BYTES // itemsize))
    groups = [
        _within_blocks(function, kind, rows[first : first + near], near)
        for first in range(0, width, near)
    ]
    columns = [""] * width
    for place in range(near):
        exchanged = _exchanged(function, kind, [group[place] for group in groups], near)
        for block, column in enumerate(exchanged):
            columns[block * near + place] = column
    return columns


def _within_blocks(function: Function, kind: str, rows: Sequence[str], near: int) -> list[str]:
    """Each 16-byte block of the result holds one column's elements of these rows."""
    if len(rows) == 1:
        return list(rows)
    half = len(rows) // 2
    first = _within_blocks(function, kind, rows[:half], near)
    second = _within_blocks(function, kind, rows[half:], near)
    return [
        shuffle(function, kind, (a, b), _interleaved(_width(kind), near, half, high=high))
        for a, b in zip(first, second, strict=True)
        for high in (False, True)
    ]


def _interleaved(width: int, near: int, run: int, *, high: bool) -> list[int]:
    """Runs of elements of two vectors in turns, from one half of each block of `near` elements."""
    order = []
    for block in range(0, width, near):
        start = block + (near // 2 if high else 0)
        for at in range(start, start + near // 2, run):
            order += [*range(at, at + run), *range(width + at, width + at + run)]
    return order


def _exchanged(function: Function, kind: str, vectors: Sequence[str], near: int) -> list[str]:
    """Vector `b` of the result holds block `b` of every vector, in order."""
    if len(vectors) == 1:
        return list(vectors)
    width = _width(kind)
    pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
    found = []
    for odd in (0, 1):
        blocks = range(odd * near, 2 * width, 2 * near)
        order = [e for block in blocks for e in range(block, block + near)]
        found.append([shuffle(function, kind, pair, order) for pair in pairs])
    even, odds = (_exchanged(function, kind, part, near) for part in found)
    return [v for pair in zip(even, odds, strict=True) for v in pair]


def _width(kind: str) -> int:
    return int(kind[1:].split(" ", 1)[0])
