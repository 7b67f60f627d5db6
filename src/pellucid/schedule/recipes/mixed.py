"""Matrix products of narrow numbers: dot products of words, or operands widened once.

```
for i in 0..M:                           for jb, io, jo:                  # blocks, tiles of results
  for j in 0..N:                           alloc acc: i32[13, 32]
    for k in 0..K:                ->       for kw in 0..K/4:
      acc += i32(A[i, k])                    unroll for ii in 0..13:
           * i32(B[k, j])                      vector for ji in 0..32:
                                                 acc[ii, ji] += dot4u(Bp[jo, kw, ji], A4[i, kw])
                                           C[...] = f(acc - 128 * sum(A[i]))
```
Int8 products are added up four at a time, bfloat16 products two at a time, where the machine has an
instruction for it. Where it has none, narrow floats are widened while they are packed, so that the
inner loop is that of float32. What is read along the lanes is packed, unless the rows are so few
that its bytes are better read once, in the order of memory (`direct`); where both operands lie
along the reduction and the rows are few, the lanes go along it too (`dots`).
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.dtype import DType, bfloat16, int32
from pellucid.core.target import Target
from pellucid.loop.ir import Call, Const, Expr, For, Load, Store
from pellucid.loop.rewrite import index_vars
from pellucid.loop.simplify import simplify
from pellucid.schedule.dependence import update_of
from pellucid.schedule.group import group
from pellucid.schedule.lanes import lanes
from pellucid.schedule.recipes.dots import choose_dots, schedule_dots
from pellucid.schedule.recipes.mixed_tiles import Product, schedule_tiles
from pellucid.schedule.recipes.plan import attempt, attempt_all
from pellucid.schedule.recipes.shape import Nest, extent_of, inner_loops, stride, work
from pellucid.schedule.trace import Schedule

LEAST_DEPTH = 16  # steps of a reduction, below which words gain nothing
LEAST_WORK = 1 << 12
MOST_ROWS = 32  # that lanes along the reduction serve as fast as packing
LEAST_WORDS = 64  # of a reduction, beside which adding up a vector's lanes is little


@dataclass(frozen=True, slots=True)
class Mixed:
    """A product of narrow numbers: its sum, loops and operands, and how it is added up.

    `wide` is read along the lanes, `narrow` is one element for all of them; `fn` is the dot
    product, empty where operands are widened instead, `moved` the operand it moves by 128.
    """

    update: Store
    results: tuple[For, ...]
    lane: For
    row: For | None
    reduced: For
    wide: Load
    narrow: Load
    fn: str
    moved: str

    @property
    def step(self) -> For:
        """The loop over the reduction, once grouped."""
        if not self.fn:
            return self.reduced
        size = 2 if self.fn in ("dot2s", "dot2b") else 4
        return For(f"{self.reduced.var}w", Const(extent_of(self.reduced) // size), ())


def find_mixed(nest: Nest, target: Target) -> Mixed | None:
    """The product of narrow numbers that a nest holds, if its last loop is one operand's own."""
    inside = inner_loops(nest.body)
    if len(inside) != 1 or not nest.loops or len(inside[0].body) != 1:
        return None
    update = inside[0].body[0]
    found = update_of(update) if isinstance(update, Store) else None
    factors = _factors(found[1]) if found and found[0] == "add" else None
    if factors is None or not isinstance(update, Store):
        return None
    if extent_of(inside[0]) < LEAST_DEPTH or work(nest.loops[:1]) < LEAST_WORK:
        return None
    for wide, narrow in (factors, factors[::-1]):
        lane, row = _own_loop(nest, wide, narrow), _own_loop(nest, narrow, wide)
        fn = choose_dot(wide.dtype, narrow.dtype, update.buffer.dtype, target)
        if lane is nest.loops[-1] and fn is not None:
            made = wide, narrow, fn, _moved(fn, wide, narrow)
            return Mixed(update, nest.loops, lane, row, inside[0], *made)
    return None


def _factors(term: Expr) -> tuple[Load, Load] | None:
    """The two loads that are cast and multiplied."""
    if not isinstance(term, Call) or term.fn != "mul":
        return None
    a, b = (x.args[0] if isinstance(x, Call) and x.fn == "cast" else x for x in term.args)
    if not (isinstance(a, Load) and isinstance(b, Load)):
        return None
    return None if a.buffer == b.buffer or a.dtype == term.dtype else (a, b)


def _own_loop(nest: Nest, own: Load, other: Load) -> For | None:
    """The longest loop that only one operand knows."""
    alone = index_vars(own) - index_vars(other)
    found = [x for x in nest.loops if x.var in alone and stride(own, x.var) is not None]
    return max(found, key=extent_of, default=None)


def choose_dot(a: DType, b: DType, total: DType, target: Target) -> str | None:
    """The dot product for two dtypes and their sum's: empty: widen; None: no product of narrow
    numbers.
    """
    if total == int32 and all(t.is_integer and t.bits == 8 for t in (a, b)):
        if target.has("avx512vnni") or target.has("avxvnni"):
            return "dot4u"
        return "dot4s" if target.has("dotprod") and "int" in (a.kind, b.kind) else "dot2s"
    if a == b == bfloat16 and target.has("avx512bf16"):
        return "dot2b"
    narrow = all(t.is_float and t.bits == 16 for t in (a, b))
    return "" if narrow and total.bits == 32 else None


def _moved(fn: str, wide: Load, narrow: Load) -> str:
    """The operand whose numbers `fn` moves by 128: the larger one, so that the other is summed."""
    mixed = wide.dtype.kind != narrow.dtype.kind
    if fn == "dot4s" and mixed:
        return (wide if wide.dtype.kind == "uint" else narrow).buffer.name
    return max((wide, narrow), key=lambda x: x.buffer.size).buffer.name


def schedule_mixed(schedule: Schedule, found: Mixed, target: Target) -> bool:
    """Words, register tiles, packing, lanes and threads; whether the nest allowed all of it."""
    return attempt_all(schedule, lambda: _schedule(schedule, found, target))


def _schedule(schedule: Schedule, found: Mixed, target: Target) -> None:
    total, var = work(schedule.kernel.body), found.reduced.var
    if found.fn:
        schedule.apply(group, var, var, found.fn, found.moved)
        attempt(schedule, lanes, f"{var}m")
    if not _dots(schedule, found, target):
        others = [x.var for x in found.results if x not in (found.lane, found.row)]
        product = Product(
            found.update.buffer, found.lane, found.row, tuple(others), found.step,
            found.wide, found.narrow, along=stride(found.narrow, var) == 1 and bool(found.fn),
            constant=bool(found.fn) and found.wide.buffer.name in schedule.constants,
        )  # fmt: skip
        schedule_tiles(schedule, product, total, target)
    attempt(schedule, simplify)


def _dots(schedule: Schedule, found: Mixed, target: Target) -> bool:
    """Lanes along the reduction where both operands lie along it and rows are few; whether so."""
    along = all(stride(x, found.reduced.var) == 1 for x in (found.wide, found.narrow))
    rows = 1 if found.row is None else extent_of(found.row)
    if not along or rows > MOST_ROWS or extent_of(found.step) < LEAST_WORDS:
        return False
    update, operands = Load(found.update.buffer, found.update.indices), (found.wide, found.narrow)
    dots = choose_dots(found.results, (found.step,), operands, update, target, fill=False)
    return dots is not None and attempt_all(schedule, lambda: schedule_dots(schedule, dots, target))
