"""Split off what a kernel makes of constants alone, so that it is made once instead of at each run.

```
kernel product(A, B) -> (C):                 kernel product_pack(B) -> (Bp):
  alloc Bp                                     for ...: Bp[...] = B[...]
    for ...: Bp[...] = B[...]           ->
    for ...: C[...] += A[...] * Bp[...]      kernel product(A, Bp) -> (C):
                                               for ...: C[...] += A[...] * Bp[...]
```
Enters: a scheduled kernel and the names of the parameters whose contents never change. Leaves: the
kernel that is left, and those that prepare its new parameters. A copy is split off where nothing
but one statement outside all loops writes it, and that reads constants only.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from pellucid.loop.ir import Buffer, For, Kernel, Load, Stmt
from pellucid.loop.rewrite import Block, all_expressions, map_stmt, replace_buffer, stores
from pellucid.schedule.nest import flatten, with_allocs


@dataclass(frozen=True, slots=True)
class Hoisted:
    """A kernel in two parts.

    Attributes:
        kernel: what runs each time. Parameters that it reads no more are gone; the copies come
            after the inputs.
        packs: what runs once, one kernel per copy; the last parameter of each is the copy.
    """

    kernel: Kernel
    packs: tuple[Kernel, ...]


def hoist(kernel: Kernel, constants: Collection[str]) -> Hoisted:
    """Split off the copies that depend on the parameters named `constants` alone."""
    if not constants:
        return Hoisted(kernel, ())
    known = {p for p in kernel.params if p.name in constants}
    buffers, pieces = flatten(kernel.body)
    made: dict[Buffer, Stmt] = {}
    for piece in pieces:
        copy = _copy_of(piece, known, pieces)
        if copy is not None and copy in buffers:
            made[copy] = piece
    if not made:
        return Hoisted(kernel, ())
    packs = tuple(_pack(kernel, known, copy, piece) for copy, piece in made.items())
    rest = tuple(p for p in pieces if p not in made.values())
    body = with_allocs([b for b in buffers if b not in made], rest)
    return Hoisted(_without(kernel, body, tuple(made)), packs)


def _copy_of(piece: Stmt, known: Collection[Buffer], pieces: list[Stmt]) -> Buffer | None:
    """The one buffer a statement writes, if it reads `known` alone and no other writes that."""
    written = {s.buffer for s in stores((piece,))}
    read = {e.buffer for e in all_expressions((piece,)) if isinstance(e, Load)}
    if len(written) != 1 or not read or not read <= set(known):
        return None
    (copy,) = written
    writers = [p for p in pieces if copy in {s.buffer for s in stores((p,))}]
    return copy if writers == [piece] and copy.scope == "temp" else None


def _pack(kernel: Kernel, known: Collection[Buffer], copy: Buffer, piece: Stmt) -> Kernel:
    """The kernel that makes one copy, on one thread."""
    read = {e.buffer for e in all_expressions((piece,)) if isinstance(e, Load)}
    sources = tuple(p for p in kernel.params if p in known and p in read)
    target = replace(copy, scope="param")
    body = replace_buffer(map_stmt((piece,), _serial), copy, target)
    return Kernel(f"{kernel.name}_pack", (*sources, target), 1, body)


def _serial(stmt: Stmt) -> Stmt:
    if isinstance(stmt, For) and stmt.kind == "parallel":
        return replace(stmt, kind="serial")
    return stmt


def _without(kernel: Kernel, body: Block, copies: tuple[Buffer, ...]) -> Kernel:
    """The kernel with this body, in which `copies` have become parameters."""
    targets = tuple(replace(c, scope="param") for c in copies)
    for copy, target in zip(copies, targets, strict=True):
        body = replace_buffer(body, copy, target)
    read = {e.buffer for e in all_expressions(body) if isinstance(e, Load)}
    first_output = len(kernel.params) - kernel.outputs
    inputs = tuple(p for p in kernel.params[:first_output] if p in read)
    return Kernel(
        kernel.name, (*inputs, *targets, *kernel.params[first_output:]), kernel.outputs, body
    )
