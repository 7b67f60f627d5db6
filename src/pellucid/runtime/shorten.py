"""The first iterations of a slow kernel: enough to know its speed without waiting for all of it.

Enters: a kernel that takes seconds. Leaves: the same kernel with fewer iterations of its outer
loops, and the share of the work that is left. The elements it does write are those of the whole.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pellucid.loop.ir import Alloc, Const, For, Kernel
from pellucid.loop.rewrite import Block, constant, free_vars, stores, walk
from pellucid.schedule.recipes.shape import work


def shorten(kernel: Kernel, share: float, least: int = 1) -> tuple[Kernel, float]:
    """A kernel that does about `share` of the work, and how much it really does.

    Args:
        kernel: its last nest is shortened, and only where that is most of the work: what comes
            before it (copies of operands) stays whole.
        share: of the outer loops' iterations that are kept, between 0 and 1.
        least: iterations of the outermost loop to keep at any rate, so that each thread has one.
    """
    body = _shortened(kernel.body, share, least)
    short = replace(kernel, body=body)
    whole = max(1, work(kernel.body))
    left = work(body) / whole
    return (short, left) if work(kernel.body[-1:]) * 2 > whole else (kernel, 1.0)


def _shortened(body: Block, share: float, least: int) -> Block:
    """The block with fewer iterations of the loops around its last nest, the outermost first."""
    if not body or share >= 1:
        return body
    *before, last = body
    match last:
        case Alloc():
            return (*before, replace(last, body=_shortened(last.body, share, least)))
        case For():
            extent = constant(last.extent)
            if extent is None or not _separate(last):
                return body
            kept = min(extent, max(least, math.ceil(extent * share)))
            inside = _shortened(last.body, share * extent / kept, 1)
            return (*before, replace(last, extent=Const(kept), body=inside))
        case _:
            return body


def _separate(loop: For) -> bool:
    """Whether each iteration writes elements of its own, whole without the other iterations."""
    own = {x.buffer for x in walk(loop.body) if isinstance(x, Alloc)}
    return all(
        any(loop.var in free_vars(index) for index in store.indices)
        for store in stores(loop.body)
        if store.buffer not in own
    )
