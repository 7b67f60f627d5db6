"""Finding loops by name and rewriting each where it stands.

Enters: a kernel, a loop variable and a change. Leaves: the kernel with every loop of that name
changed. The change sees the loop and the facts that hold around it.
"""

from __future__ import annotations

from collections.abc import Callable

from pellucid.core.errors import ScheduleError, did_you_mean
from pellucid.loop.affine import affine
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Alloc, Buffer, For, If, Kernel, Load, Stmt, as_expr
from pellucid.loop.rewrite import Block, allocated, loops, map_bodies, with_body

Change = Callable[[For, Facts], Block]


def rewrite_loops(kernel: Kernel, step: str, var: str, change: Change) -> Kernel:
    """The kernel with every loop over `var` replaced by what `change` makes of it.

    Raises:
        ScheduleError: there is no such loop.
    """
    require_loop(kernel, step, var)
    return with_body(kernel, _rewrite(kernel.body, var, change, Facts()))


def require_loop(kernel: Kernel, step: str, var: str) -> None:
    """Raise unless the kernel has a loop over `var`.

    Raises:
        ScheduleError: there is no such loop.
    """
    names = sorted({loop.var for loop in loops(kernel.body)})
    if var not in names:
        operands = {"the loops": ", ".join(names) or "none"}
        hint = did_you_mean(var, names)
        raise ScheduleError(step, f"there is no loop {var!r}", operands=operands, fix=hint)


def require_buffer(kernel: Kernel, step: str, name: str) -> Buffer:
    """The buffer of that name, a parameter or allocated inside.

    Raises:
        ScheduleError: there is none.
    """
    known = {b.name: b for b in (*kernel.params, *allocated(kernel.body))}
    if name not in known:
        operands = {"the buffers": ", ".join(sorted(known))}
        hint = did_you_mean(name, known)
        raise ScheduleError(step, f"there is no buffer {name!r}", operands=operands, fix=hint)
    return known[name]


def _rewrite(block: Block, var: str, change: Change, facts: Facts) -> Block:
    result: list[Stmt] = []
    for stmt in block:
        match stmt:
            case For() if stmt.var == var:
                result.extend(change(stmt, facts))
            case For():
                inside = facts.enter(stmt)
                body = _rewrite(stmt.body, var, change, inside)
                result.append(For(stmt.var, stmt.extent, body, stmt.kind))
            case If():
                then = _rewrite(stmt.then, var, change, facts.assume(stmt.cond))
                other = _rewrite(stmt.orelse, var, change, facts.assume(stmt.cond, truth=False))
                result.append(If(stmt.cond, then, other))
            case _:
                result.append(map_bodies(stmt, lambda body: _rewrite(body, var, change, facts)))
    return tuple(result)


def flatten(block: Block) -> tuple[list[Buffer], list[Stmt]]:
    """The buffers allocated directly in a block, and its other statements in order."""
    buffers: list[Buffer] = []
    pieces: list[Stmt] = []
    for stmt in block:
        if isinstance(stmt, Alloc):
            inner_buffers, inner = flatten(stmt.body)
            buffers += [stmt.buffer, *inner_buffers]
            pieces += inner
        else:
            pieces.append(stmt)
    return buffers, pieces


def with_allocs(buffers: list[Buffer], block: Block) -> Block:
    """A block inside allocations, the first outermost."""
    for buffer in reversed(buffers):
        block = (Alloc(buffer, block),)
    return block


def in_bounds(load: Load, facts: Facts) -> bool:
    """Whether an element is proved to lie inside its buffer."""
    return all(
        facts.lower(i) >= 0 and facts.upper_sum(affine(i) - affine(as_expr(n))) < 0
        for i, n in zip(load.indices, load.buffer.shape, strict=True)
    )
