"""Two parameters for an array that is both operands of a contraction.

Self-attention multiplies one slice of `qkv` by another: both loads are of one buffer, but schedules
copy, pack and walk operands by name. Reading the same memory through two parameters is free.

    acc = acc + x0[i, k] * x0[j, k + 128]   ->   acc = acc + x0[i, k] * x0b[j, k + 128]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pellucid.loop.ir import Buffer, Call, Expr, Kernel, Load, Stmt, Store
from pellucid.loop.rewrite import map_expr, map_stmt, stores, walk_expr


def separate_operands(kernel: Kernel) -> tuple[Kernel, tuple[int, ...]]:
    """The kernel with the second operand of such a product under a parameter of its own.

    Returns:
        The kernel, and for each new parameter (they stand behind the other inputs) the position of
        the one whose memory it is.
    """
    inputs = kernel.params[: len(kernel.params) - kernel.outputs]
    twins: dict[Buffer, Buffer] = {}
    for store in stores(kernel.body):
        for _, second in _twice(store):
            if second.buffer in inputs and second.buffer not in twins:
                twins[second.buffer] = replace(second.buffer, name=f"{second.buffer.name}b")
    if not twins:
        return kernel, ()

    def change(stmt: Stmt) -> Stmt:
        return _redirect(stmt, twins) if isinstance(stmt, Store) else stmt

    outputs = kernel.params[len(inputs) :]
    params = (*inputs, *twins.values(), *outputs)
    made = Kernel(kernel.name, params, kernel.outputs, map_stmt(kernel.body, change))
    return made, tuple(inputs.index(b) for b in twins)


def _twice(store: Store) -> Iterator[tuple[Load, Load]]:
    """Products of two loads of one buffer at different indices, in a running sum."""
    value = store.value
    if not isinstance(value, Call) or value.fn != "add":
        return
    for term in value.args:
        if isinstance(term, Call) and term.fn == "mul":
            found = [_only_load(a) for a in term.args]
            first, second = found
            if first is not None and second is not None:
                if first.buffer == second.buffer and first.indices != second.indices:
                    yield first, second


def _only_load(expr: Expr) -> Load | None:
    found = [e for e in walk_expr(expr) if isinstance(e, Load)]
    return found[0] if len(found) == 1 else None


def _redirect(store: Store, twins: dict[Buffer, Buffer]) -> Store:
    value = store.value
    for _, second in _twice(store):
        twin = twins.get(second.buffer)
        if twin is not None:
            old, new = second, Load(twin, second.indices)
            value = map_expr(value, lambda e, a=old, b=new: b if e == a else e)  # type: ignore[misc]  # bound per pair
    return replace(store, value=value)
