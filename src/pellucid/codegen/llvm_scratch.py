"""Where a kernel's own buffers lie: strides, padding, stack or scratch memory."""

from __future__ import annotations

from pellucid.core.shape import Shape
from pellucid.core.size import prove
from pellucid.loop.ir import Alloc, Buffer, For, If, Kernel, Stmt

_ALIGN = 64
_STACK_BYTES = 65536


def row_major_strides(shape: Shape) -> tuple[int, ...]:
    """Elements between neighbours along each axis."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(1, shape[axis + 1])
    return tuple(strides)


def padded_rows(shape: Shape, lanes: int) -> Shape:
    """`shape` with its last axis rounded up to whole vectors.

    Then the masked vector at the end of a row reaches into no other row, and accumulators whose
    rows are not whole vectors become registers too.
    """
    if len(shape) < 2 or not shape[-1]:
        return shape
    step = min(lanes, 1 << (shape[-1] - 1).bit_length())
    return (*shape[:-1], -(-shape[-1] // step) * step)


def on_stack(buffer: Buffer) -> bool:
    """True for `local` buffers small enough for the stack; larger ones lie in scratch memory."""
    return buffer.scope == "local" and prove(buffer.nbytes, "<=", _STACK_BYTES) is True


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to whole cache lines."""
    return -(-nbytes // _ALIGN) * _ALIGN


def kernel_scratch_bytes(kernel: Kernel) -> tuple[int, int]:
    """Bytes of scratch memory a kernel needs: `(shared, per thread)`.

    The caller passes one block of `shared + threads * per_thread` bytes, aligned to 64, as the
    kernel's last argument (absent when both are 0), where `threads` counts the pool's workers and
    the caller. Temporaries inside a parallel loop are per thread, the others shared. Blocks of two
    calls that may run at once must not overlap.
    """
    return _scratch_bytes(kernel.body, False)


def _scratch_bytes(body: tuple[Stmt, ...], parallel: bool) -> tuple[int, int]:
    shared = private = 0
    for stmt in body:
        inner = parallel or (isinstance(stmt, For) and stmt.kind == "parallel")
        parts = [stmt.then, stmt.orelse] if isinstance(stmt, If) else []
        parts += [stmt.body] if isinstance(stmt, For | Alloc) else []
        own = 0
        if isinstance(stmt, Alloc) and not on_stack(stmt.buffer):
            own = aligned(stmt.buffer.nbytes)
        for part in parts:
            a, b = _scratch_bytes(part, inner)
            shared = _most(shared, a + (0 if parallel else own))
            private = _most(private, b + (own if parallel else 0))
    return shared, private


def _most(a: int, b: int) -> int:
    """The larger, or more than both where that depends on open sizes."""
    if prove(a, ">=", b):
        return a
    return b if prove(a, "<=", b) else a + b
