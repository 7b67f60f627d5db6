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
    order = [width if k is None else k for k in lanes]
    return shuffle(function, vector("i1", width), (mask, "zeroinitializer"), order)


def gather_chunks(
    function: Function, kind: str, chunks: Sequence[str], step: int, first: int = 0
) -> str:
    """The lanes' elements out of the chunks they lie in, from element `first` on; `kind` is the
    vector's LLVM type.
    """
    width = int(kind[1:].split(" ", 1)[0])
    homes = [divmod(k * step + first, width) for k in range(width)]
    order = [place if home == 0 else 0 for home, place in homes]
    result = shuffle(function, kind, (chunks[0], "poison"), order)
    for chunk, text in enumerate(chunks[1:], 1):
        order = [width + place if home == chunk else k for k, (home, place) in enumerate(homes)]
        result = shuffle(function, kind, (result, text), order)
    return result


def scatter_chunk(function: Function, kind: str, lanes: str, step: int, chunk: int) -> str:
    """One chunk with the lanes' elements in their places."""
    width = int(kind[1:].split(" ", 1)[0])
    order = [_lane_of(chunk * width + e, width, step) for e in range(width)]
    return shuffle(function, kind, (lanes, "poison"), order)


def shuffle(
    function: Function, kind: str, sources: tuple[str, str], order: Sequence[int | None]
) -> str:
    """Elements of two vectors in a new order, counted through both; `None` is any value."""
    a, b = sources
    lanes = ", ".join("i32 poison" if k is None else f"i32 {k}" for k in order)
    mask = f"<{len(order)} x i32> <{lanes}>"
    return function.pure(f"shufflevector {kind} {a}, {kind} {b}, {mask}")


def _lane_of(element: int, width: int, step: int) -> int | None:
    """The lane whose element this is."""
    lane, rest = divmod(element, step)
    return lane if rest == 0 and lane < width else None


def _literal(bits: Sequence[bool]) -> str:
    """A mask as a constant; empty where all are set."""
    if all(bits):
        return ""
    return "<" + ", ".join(f"i1 {'true' if bit else 'false'}" for bit in bits) + ">"
