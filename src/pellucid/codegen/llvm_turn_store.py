"""Stores across an unrolled loop, held back until a block is whole and can be turned round.

`unroll for r in 16: vector for i in 16: y[i, r] = f(x[r, i])` writes lanes a whole row apart. As
scattered lanes that takes more than a cycle for each element; instead the 16 vectors are turned
round in registers (`llvm_turn.py`) and written as 16 rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pellucid.codegen.llvm_index import Affine
from pellucid.codegen.llvm_vectorize import expressions, roots, statements
from pellucid.loop.ir import Alloc, For, Load, Stmt, Store


@dataclass(slots=True)
class HeldStores:
    """The stores of a block being written: `rows` are their vectors and addresses, in order.

    `var` is the unrolled loop's variable; `count` of its iterations make the block.
    """

    var: str
    stores: tuple[Store, ...]
    count: int = 1
    rows: dict[Store, list[tuple[Affine, str]]] = field(default_factory=dict)


def outer_stores(loop: For) -> tuple[Store, ...]:
    """What a vector loop stores outside of its own buffers, in any order of its iterations.

    Empty where that is not certain: where it reads what it stores, or holds more than stores.
    """
    inside = list(statements(loop.body))
    private = {s.buffer.name for s in inside if isinstance(s, Alloc)}
    found = tuple(s for s in inside if isinstance(s, Store) and s.buffer.name not in private)
    written = {s.buffer.name for s in found}
    plain = all(isinstance(s, Store | Alloc) for s in inside)
    return found if plain and not any(_reads(s, written) for s in inside) else ()


def _reads(stmt: Stmt, names: set[str]) -> bool:
    return any(
        isinstance(e, Load) and e.buffer.name in names
        for root in roots(stmt)
        for e in expressions(root)
    )
