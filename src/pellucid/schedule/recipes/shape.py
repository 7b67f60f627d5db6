"""What recipes look at: the loops of a nest, how much it computes, how its buffers are walked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pellucid.loop.affine import affine
from pellucid.loop.ir import Alloc, Call, Expr, For, If, Kernel, Load, Prefetch, Stmt, Store, Var
from pellucid.loop.rewrite import (
    Block,
    all_expressions,
    expressions,
    free_vars,
    loops,
    stores,
)
from pellucid.loop.sizes import likely_value

DEAR_FUNCTIONS = frozenset({
    "exp", "exp_bounded", "exp2", "expm1", "log", "log1p", "log2", "log10", "pow", "erf",
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
})  # fmt: skip
DEAR_WORK = 12  # what one of them counts for beside an addition


@dataclass(frozen=True, slots=True)
class Nest:
    """The perfect outer loops of a kernel and what is inside the innermost of them."""

    loops: tuple[For, ...]
    body: Block


def outer_nest(kernel: Kernel) -> Nest:
    """The loops from the outside in, as far as each is the whole body of the one before."""
    return perfect_nest(kernel.body)


def perfect_nest(body: Block) -> Nest:
    """The loops that a block begins with, as far as each is the whole of the block around it."""
    found: list[For] = []
    while len(body) == 1 and isinstance(body[0], For):
        found.append(body[0])
        body = body[0].body
    return Nest(tuple(found), body)


def nests_within(block: Block, last: Callable[[Nest], bool]) -> Iterator[Nest]:
    """The perfect nests of a block, in order; those that are not the `last` are looked into."""
    for stmt in block:
        match stmt:
            case For():
                nest = perfect_nest((stmt,))
                if last(nest):
                    yield nest
                else:
                    yield from nests_within(nest.body, last)
            case If():
                yield from nests_within(stmt.then + stmt.orelse, last)
            case Alloc():
                yield from nests_within(stmt.body, last)
            case Store() | Prefetch():
                pass


def extent_of(loop: For) -> int:
    """A loop's extent, probably; 1 where it varies."""
    return likely_value(loop.extent) or 1


def work(block: Block, times: int = 1) -> int:
    """About how many simple operations a block does."""
    total = 0
    for stmt in block:
        total += times * (1 + sum(_weight(e) for x in expressions(stmt) for e in _calls(x)))
        match stmt:
            case For():
                total += work(stmt.body, times * extent_of(stmt))
            case If():
                total += work(stmt.then + stmt.orelse, times)
            case Alloc():
                total += work(stmt.body, times)
            case Store() | Prefetch():
                pass
    return total


def _calls(expr: Expr) -> Iterator[Call]:
    if isinstance(expr, Call):
        yield expr
        for arg in expr.args:
            yield from _calls(arg)


def _weight(call: Call) -> int:
    return DEAR_WORK if call.fn in DEAR_FUNCTIONS else 1


def stride(access: Load | Store, var: str) -> int | None:
    """By how many elements the address moves when `var` does by one; None where that varies."""
    total, step = 0, 1
    for index, size in zip(reversed(access.indices), reversed(access.buffer.shape), strict=True):
        if var in free_vars(index):
            sum_ = affine(index)
            if any(var in free_vars(t) for t in sum_.terms if t != Var(var)):
                return None
            total += sum_.terms.get(Var(var), 0) * step
        step *= size
    return total


def pace(access: Load | Store, var: str) -> int | None:
    """`stride` inside the buffer: of an index that is kept there by `min` and `max`, the index."""
    indices = tuple(_unkept(i, var) for i in access.indices)
    return stride(replace(access, indices=indices), var)


def _unkept(index: Expr, var: str) -> Expr:
    while isinstance(index, Call) and index.fn in ("min", "max"):
        inner = [a for a in index.args if var in free_vars(a)]
        if len(inner) != 1:
            break
        index = inner[0]
    return index


def far_accesses(block: Block) -> list[Load | Store]:
    """The loads and stores of a block that are to parameters or temporaries."""
    found: list[Load | Store] = [e for e in all_expressions(block) if isinstance(e, Load)]
    found += list(stores(block))
    return [a for a in found if a.buffer.scope != "local"]


def inner_loops(block: Block) -> list[For]:
    """The loops of a block that are not inside another one of it, in order."""
    found: list[For] = []
    for stmt in block:
        if isinstance(stmt, For):
            found.append(stmt)
        else:
            found += [x for part in _parts(stmt) for x in inner_loops(part)]
    return found


def innermost(block: Block) -> list[For]:
    """The loops of a block that hold no loop."""
    return [x for x in loops(block) if not any(True for _ in loops(x.body))]


def path_to(nest: Nest, inner: For) -> list[For]:
    """The loops inside a row down to one of the innermost, that one last."""
    return [x for x in loops(nest.body) if x is inner or any(y is inner for y in loops(x.body))]


def _parts(stmt: Stmt) -> tuple[Block, ...]:
    match stmt:
        case If():
            return (stmt.then, stmt.orelse)
        case Alloc():
            return (stmt.body,)
        case _:
            return ()
