"""Lanes a few elements apart, read and written as whole vectors and shuffles.

`x[2*i]` for lanes `i = 0 .. 7` lies in two vectors of eight elements. Reading both and picking
every second element is several times faster than a gather, writing both under a mask faster than a
scatter. A vector here is a *chunk*: elements `[chunk * width, (chunk + 1) * width)` counted from
lane 0's.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.codegen.llvm_emitter import Function
from pellucid.codegen.llvm_types import vector

MOST_STEP = 4  # elements from lane to lane; beyond, most of what is read would be thrown away


def chunks_touched(width: int, step: int) -> int:
    """How many chunks hold the elements of `width` lanes."""
    return ((width - 1) * step) // width + 1


def read_mask(function: Function, mask: str, width: int, step: int, chunk: int) -> str:
    """The elements of a chunk that may be read: up to the last active lane's; empty means all.

    Elements between those of two active lanes lie in the same buffer, so they are read as well.
    """
    if mask and not mask.startswith("<"):
        return write_mask(function, mask, width, step, chunk)
    active = [i for i, bit in enumerate(mask.split(",")) if "true" in bit] if mask else [width - 1]
    last = active[-1] * step if active else -1
    return _literal([chunk * width + e <= last for e in range(width)])


def write_mask(function: Function, mask: str, width: int, step: int, chunk: int) -> str:
    """The elements of a chunk that are some active lane's own."""
    lanes = [_lane_of(chunk * width + e, width, step) for e in range(width)]
    if not mask:
        return _literal([k is not None for k in lanes])
    order = ", ".join(f"i32 {width if k is None else k}" for k in lanes)
    kind = vector("i1", width)
    return function.pure(
        f"shufflevector {kind} {mask}, {kind} zeroinitializer, <{width} x i32> <{order}>"
    )


def gather_chunks(function: Function, kind: str, chunks: Sequence[str], step: int) -> str:
    """The lanes' elements out of the chunks they lie in; `kind` is the vector's LLVM type."""
    width = int(kind[1:].split(" ", 1)[0])
    result = chunks[0]
    for chunk, text in enumerate(chunks):
        order = []
        for k in range(width):
            home, place = divmod(k * step, width)
            order.append(width + place if home == chunk else k)
        other = text if chunk else result
        if not chunk:
            order = [k - width if k >= width else 0 for k in order]
            other = "poison"
        lanes = ", ".join(f"i32 {k}" for k in order)
        result = function.pure(
            f"shufflevector {kind} {result}, {kind} {other}, <{width} x i32> <{lanes}>"
        )
    return result


def scatter_chunk(function: Function, kind: str, lanes: str, step: int, chunk: int) -> str:
    """One chunk with the lanes' elements in their places."""
    width = int(kind[1:].split(" ", 1)[0])
    places = [_lane_of(chunk * width + e, width, step) for e in range(width)]
    order = ", ".join("i32 poison" if k is None else f"i32 {k}" for k in places)
    return function.pure(f"shufflevector {kind} {lanes}, {kind} poison, <{width} x i32> <{order}>")


def _lane_of(element: int, width: int, step: int) -> int | None:
    """The lane whose element this is."""
    lane, rest = divmod(element, step)
    return lane if rest == 0 and lane < width else None


def _literal(bits: Sequence[bool]) -> str:
    """A mask as a constant; empty where all are set."""
    if all(bits):
        return ""
    return "<" + ", ".join(f"i1 {'true' if bit else 'false'}" for bit in bits) + ">"
