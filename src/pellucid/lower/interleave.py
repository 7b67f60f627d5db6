"""Real and imaginary parts stored in turn where they are made.

```
for i: y0[i] = re
for i: y1[i] = im                            for i: z[i, 0] = re
for i: z[i, 0] = y0[i]; z[i, 1] = y1[i]  ->         z[i, 1] = im
```

The kernels that make both parts of complex numbers, which nothing else reads, and the call behind
them that interleaves the parts become one: what both are made of is read once, and what leaves is
written once. Elementwise nests over the same elements only; the recipes of others count on their
form. Works on the steps of one graph; decides nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pellucid.graph.op import Cost
from pellucid.loop.ir import Alloc, Buffer, Const, Expr, For, Kernel, Load, Stmt, Store
from pellucid.loop.rewrite import (
    Block,
    allocated,
    fresh,
    kernel_names,
    loads,
    loops,
    map_exprs,
    map_stmt,
)
from pellucid.lower.flow import Step, leaves, own_slots
from pellucid.lower.inplace import inplace_params
from pellucid.lower.program import BufferSlot, KernelCall
from pellucid.ops.pairs import INTERLEAVE


def store_interleaved(steps: Sequence[Step], slots: Sequence[BufferSlot]) -> list[Step]:
    """The steps with such calls made one, where the last of them was made.

    Args:
        steps: of one graph, in order; those inside loops and branches are left alone.
        slots: all slots so far.
    """
    uses = Counter(own_slots(steps))
    uses.update(slot for call in leaves(steps) for slot in call.args)
    result: list[Step | None] = []
    makers: dict[int, int] = {}  # by slot, the place in `result` of the call that writes it
    for step in steps:
        places = _makers(step, makers, uses, slots)
        calls = [call for k in places if isinstance(call := result[k], KernelCall)]
        if calls and _fit(calls, step.args[:-1]):
            for k in places:
                result[k] = None
            made, at = _merged(calls, step), places[-1]
            result[at] = made
        else:
            made, at = step, len(result)
            result.append(step)
        if isinstance(made, KernelCall):
            makers.update(dict.fromkeys(_written(made), at))
    return [step for step in result if step is not None]


def _written(call: KernelCall) -> tuple[int, ...]:
    return call.args[len(call.args) - call.kernel.outputs :]


def _makers(
    step: Step, makers: dict[int, int], uses: Counter[int], slots: Sequence[BufferSlot]
) -> list[int]:
    """Where the calls are that make the operands of an interleaving, in order; none unless they
    make them for it alone.
    """
    if not (isinstance(step, KernelCall) and step.kernel.name == INTERLEAVE.name):
        return []
    parts = step.args[:-1]
    own = all(uses[slot] == 2 and slots[slot].role == "temp" for slot in parts)
    if len(set(parts)) < 2 or not own or any(slot not in makers for slot in parts):
        return []
    return sorted({makers[slot] for slot in parts})


def _fit(calls: Sequence[KernelCall], parts: Sequence[int]) -> bool:
    """Whether the calls are elementwise nests over the same loops that never read what they make;
    two of them make nothing else.
    """
    if any(call.host is not None or call.recipe is not None for call in calls):
        return False
    if len(calls) > 1 and any(call.kernel.outputs > 1 for call in calls):
        return False
    nests = [_peeled(call.kernel.body) for call in calls]
    made = [_buffer(call, slot) for call in calls for slot in parts if slot in _written(call)]
    reads = (load.buffer for call in calls for load in loads(call.kernel.body))
    return (
        all(loops_of == nests[0][0] for loops_of, _ in nests)
        and not any(True for _, body in nests for _ in loops(body))
        and len({(b.shape, b.dtype) for b in made}) == 1
        and made[0] not in set(reads)
        and made[-1] not in set(reads)
    )


def _buffer(call: KernelCall, slot: int) -> Buffer:
    return call.kernel.params[call.args.index(slot)]


def _peeled(block: Block) -> tuple[tuple[For, ...], Block]:
    """The loops around a nest's body, without their bodies, and the body."""
    around: list[For] = []
    while len(block) == 1 and isinstance(block[0], For):
        around.append(replace(block[0], body=()))
        block = block[0].body
    return tuple(around), block


def _merged(calls: Sequence[KernelCall], interleaving: KernelCall) -> KernelCall:
    """One call that makes the interleaved array, its last output."""
    both, parts = calls[0], interleaving.args[:-1]
    if len(calls) > 1:
        both = _joined(*calls)
    kernel = both.kernel
    buffers = [_buffer(both, slot) for slot in parts]
    whole = Buffer(fresh("z", kernel_names(kernel)), (*buffers[0].shape, 2), buffers[0].dtype)
    kept = [k for k, slot in enumerate(both.args) if slot not in parts]
    params = (*(kernel.params[k] for k in kept), whole)
    made = Kernel(kernel.name, params, kernel.outputs - 1, _retargeted(kernel, buffers, whole))
    args = (*(both.args[k] for k in kept), interleaving.args[-1])
    return replace(
        both,
        kernel=made,
        args=args,
        nodes=(*both.nodes, *interleaving.nodes),
        cost=Cost(both.cost.flops, sum(p.nbytes for p in params)),
        inplace=inplace_params(made, args),
    )


def _retargeted(kernel: Kernel, parts: Sequence[Buffer], whole: Buffer) -> Block:
    def change(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Store) and stmt.buffer in parts:
            place = Const(parts.index(stmt.buffer))
            return Store(whole, (*stmt.indices, place), stmt.value)
        return stmt

    return map_stmt(kernel.body, change)


def _joined(first: KernelCall, second: KernelCall) -> KernelCall:
    """Two calls over the same loops as one, whose nest does for each element what both do."""
    around, body = _peeled(first.kernel.body)
    taken = kernel_names(first.kernel) | kernel_names(second.kernel)
    swaps: dict[Buffer, Buffer] = {}
    for buffer in allocated(second.kernel.body):
        swaps[buffer] = replace(buffer, name=fresh(buffer.name, taken))
        taken.add(swaps[buffer].name)
    params, args = list(first.kernel.params[:-1]), list(first.args[:-1])
    for buffer, slot in zip(second.kernel.params[:-1], second.args[:-1], strict=True):
        known = [p for p, s in zip(params, args, strict=True) if s == slot and _alike(p, buffer)]
        if not known:
            known = [replace(buffer, name=fresh(buffer.name, taken))]
            taken.add(known[0].name)
            params, args = [*params, known[0]], [*args, slot]
        swaps[buffer] = known[0]
    last = second.kernel.params[-1]
    swaps[last] = replace(last, name=fresh(last.name, taken))
    body = (*body, *_swapped(_peeled(second.kernel.body)[1], swaps))
    for loop in reversed(around):
        body = (replace(loop, body=body),)
    outputs = (first.kernel.params[-1], swaps[last])
    name = "_".join(dict.fromkeys((*first.kernel.name.split("_"), *second.kernel.name.split("_"))))
    return KernelCall(
        kernel=Kernel(name, (*params, *outputs), 2, body),
        args=(*args, first.args[-1], second.args[-1]),
        nodes=(*first.nodes, *second.nodes),
        sources=tuple(dict.fromkeys((*first.sources, *second.sources))),
        cost=first.cost + second.cost,
    )


def _alike(a: Buffer, b: Buffer) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def _swapped(block: Block, swaps: dict[Buffer, Buffer]) -> Block:
    """The block on other buffers."""

    def read(expr: Expr) -> Expr:
        return Load(swaps[expr.buffer], expr.indices) if isinstance(expr, Load) else expr

    def write(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Store):
            return Store(swaps[stmt.buffer], stmt.indices, stmt.value)
        return Alloc(swaps[stmt.buffer], stmt.body) if isinstance(stmt, Alloc) else stmt

    return map_stmt(map_exprs(block, read), write)
