"""Add up products of narrow numbers several at a time, as dot products of words.

```
for k in 0..66:                                for kw in 0..16:
  s[] = s[] + cast(A[k], i32)        ->          s[] = s[] + dot4u(pack4(A[4*kw], …, A[4*kw + 3]),
            * cast(B[k], i32)                                      pack4(B[4*kw], …, B[4*kw + 3]))
                                               for kt in 0..2: s[] = s[] + … A[64 + kt] …
```
Machines multiply unsigned by signed bytes (VNNI) or signed by signed ones (NEON). Where the
operands are of other kinds, one is moved by 128 into the other kind (its top bits flipped), and
what that adds to each sum, 128 times the sum of the other operand's numbers, is taken away again.
All of it is exact modulo 2**32. Other names: tensorization; oneDNN: s8s8 compensation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pellucid.core.dtype import DType, bfloat16, int16, int32
from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.functions import call, cast
from pellucid.loop.ir import (
    Buffer,
    Call,
    Const,
    Expr,
    For,
    Kernel,
    Load,
    Store,
    Var,
    const,
    iadd,
    imul,
)
from pellucid.loop.rewrite import (
    Block,
    constant,
    free_vars,
    fresh,
    kernel_names,
    substitute,
    substitute_expr,
    walk_expr,
    with_body,
)
from pellucid.schedule.dependence import update_of
from pellucid.schedule.nest import in_bounds, rewrite_loops, with_allocs

_FLIP = -0x7F7F7F80  # the top bit of each byte; four times 128, or -128
_KINDS = {"dot4s": ("int", "int"), "dot4u": ("uint", "int")}


@dataclass(frozen=True, slots=True)
class _Dot:
    """A dot product: its function, the numbers it multiplies, and which of them is moved by 128."""

    fn: str
    numbers: tuple[Expr, Expr]
    moved: int | None

    @property
    def size(self) -> int:
        """Numbers in a word."""
        return 4 if self.fn in _KINDS else 2

    def words(self, var: str, word: str) -> tuple[Expr, Expr]:
        """The two words of iteration `word`, and of numbers `size * word` and up of `var`."""
        at = [iadd(imul(Var(word), self.size), n) for n in range(self.size)]
        made: list[Expr] = []
        for side, number in enumerate(self.numbers):
            parts = [substitute_expr(number, {var: x}) for x in at]
            joined: Expr = call(f"pack{self.size}", *parts)
            flip = const(_FLIP, int32)
            made.append(call("xor", joined, flip) if side == self.moved else joined)
        return made[0], made[1]


def group(kernel: Kernel, var: str, inner: str, fn: str, moved: str = "") -> Kernel:
    """Every reduction nest from `var` to `inner` with dot products over `inner`.

    New loops: `<inner>w` over words, `<inner>t` over what is left; new buffer, where numbers are
    moved: `<accumulator>_m`, filled at the start of the kernel.

    Args:
        kernel: the kernel.
        var: the outermost loop of a perfect nest around one update `x = x + a * b`.
        inner: the nest's innermost loop, of constant extent.
        fn: `dot4s`, `dot4u`, `dot2s` or `dot2b`.
        moved: the buffer whose numbers may be moved by 128.

    Raises:
        ScheduleError: no such nest; operands the function does not multiply; a nest with numbers to
            move inside loops or conditions it does not fit.
    """
    taken = kernel_names(kernel)
    names = {n: fresh(f"{inner}{n}", taken) for n in "wtm"}
    made: list[tuple[Buffer, Block]] = []

    def change(loop: For, facts: Facts) -> Block:
        nest, store = _nest(loop, inner)
        update = update_of(store)
        if update is None or update[0] != "add" or free_vars_of(store) & {x.var for x in nest}:
            raise ScheduleError("group", f"{store.buffer.name} is not a sum over {var!r}")
        dot = _dot(fn, update[1], moved)
        words, rest = divmod(constant(nest[-1].extent) or 0, dot.size)
        own = Load(store.buffer, store.indices)
        total = Store(
            store.buffer, store.indices, call("add", own, call(fn, *dot.words(inner, names["w"])))
        )
        result = _around(nest, names["w"], words, (total,))
        at = iadd(words * dot.size, Var(names["t"]))
        result += _around(nest, names["t"], rest, substitute((store,), {inner: at}), suffix="t")
        if dot.moved is None:
            return result
        extra, fill = _moved_sums(dot, nest, (words, names), store, facts)
        made.append((extra.buffer, fill))
        return (*result, Store(store.buffer, store.indices, call("sub", own, extra)))

    changed = rewrite_loops(kernel, "group", var, change)
    for buffer, fill in made:
        changed = with_body(changed, with_allocs([buffer], fill + changed.body))
    return changed


def free_vars_of(store: Store) -> set[str]:
    """The variables of a store's index."""
    return {v for i in store.indices for v in free_vars(i)}


def _nest(loop: For, inner: str) -> tuple[list[For], Store]:
    nest = [loop]
    while nest[-1].var != inner and isinstance(nest[-1].body[0], For):
        nest.append(nest[-1].body[0])
    body = nest[-1].body
    whole = all(len(x.body) == 1 for x in nest) and nest[-1].var == inner
    if not whole or not isinstance(body[0], Store) or constant(nest[-1].extent) is None:
        raise ScheduleError("group", f"no perfect nest leads from {loop.var!r} to {inner!r}")
    return nest, body[0]


def _around(nest: list[For], var: str, extent: int, body: Block, suffix: str = "") -> Block:
    """`body` in the nest's loops, the innermost over `var`; nothing for an extent of 0."""
    if not extent:
        return ()
    renamed: dict[str, Expr] = {x.var: Var(x.var + suffix) for x in nest[:-1]}
    result: Block = (For(var, Const(extent), substitute(body, renamed)),)
    for loop in reversed(nest[:-1]):
        result = (For(loop.var + suffix, substitute_expr(loop.extent, renamed), result),)
    return result


def _dot(fn: str, term: Expr, moved: str) -> _Dot:
    """The products of `term` as `fn` multiplies them."""
    if not isinstance(term, Call) or term.fn != "mul":
        raise ScheduleError("group", "what is added up must be products")
    a, b = (_number(x) for x in term.args)
    if fn not in _KINDS:
        return _Dot(fn, (_halfword(fn, a), _halfword(fn, b)), None)
    found: list[_Dot] = []
    for numbers in ((a, b), (b, a)):
        if any(x.dtype.bits != 8 or not x.dtype.is_integer for x in numbers):
            break
        wrong = [n for n, x in enumerate(numbers) if x.dtype.kind != _KINDS[fn][n]]
        if not wrong:
            return _Dot(fn, numbers, None)
        if len(wrong) == 1 and moved in _buffers(numbers[wrong[0]]):
            found.append(_Dot(fn, numbers, wrong[0]))
    if not found:
        operands: dict[str, object] = {"a": a.dtype, "b": b.dtype, "moved": moved or "nothing"}
        raise ScheduleError("group", f"{fn} does not multiply these", operands=operands)
    return found[0]


def _number(factor: Expr) -> Expr:
    """What a factor is cast from."""
    return factor.args[0] if isinstance(factor, Call) and factor.fn == "cast" else factor


def _halfword(fn: str, number: Expr) -> Expr:
    """A number as `dot2s` or `dot2b` takes it."""
    dtype: DType = bfloat16 if fn == "dot2b" else int16
    fits = number.dtype == dtype or (dtype == int16 and number.dtype.bits == 8)
    if not fits or number.dtype.kind == "bool":
        raise ScheduleError("group", f"{fn} does not multiply {number.dtype}")
    return cast(number, dtype)


def _buffers(expr: Expr) -> set[str]:
    return {e.buffer.name for e in walk_expr(expr) if isinstance(e, Load)}


def _moved_sums(
    dot: _Dot, nest: list[For], made: tuple[int, Mapping[str, str]], store: Store, facts: Facts
) -> tuple[Load, Block]:
    """What moving one operand adds to each sum: the element to take away, and the loops that fill
    the buffer it is in.
    """
    words, names = made
    inside = {x.var for x in nest}
    operands = list(dot.words(nest[-1].var, names["w"]))
    kept = operands[1 - (dot.moved or 0)]
    loops = [(v, facts.extents[v]) for v in facts.extents if v in free_vars(kept) - inside]
    extents = [constant(e) for _, e in loops]
    known = Facts()
    for v, extent in (*loops, *((x.var, x.extent) for x in nest[:-1]), (names["w"], Const(words))):
        known = known.enter(For(v, extent, ()))
    loads = [e for e in walk_expr(kept) if isinstance(e, Load)]
    if None in extents or not all(in_bounds(e, known) for e in loads):
        raise ScheduleError("group", f"the sums for {store.buffer.name} cannot stand first")
    shape = tuple(n for n in extents if n is not None)
    buffer = Buffer(f"{store.buffer.name}_m", shape, int32, "temp")
    renamed = {v: Var(f"{v}_{names['m']}") for v, _ in loops}
    own = Load(buffer, tuple(renamed.values()))
    operands[dot.moved or 0] = const(_FLIP, int32)
    term = substitute_expr(call(dot.fn, *operands), {**renamed, names["w"]: Var(names["m"])})
    body = _around(
        nest, names["m"], words, (Store(buffer, own.indices, call("add", own, term)),), "m"
    )
    body = (Store(buffer, own.indices, const(0, int32)), *body)
    for v, extent in reversed(loops):
        body = (For(renamed[v].name, extent, body),)
    return Load(buffer, tuple(Var(v) for v, _ in loops)), body
