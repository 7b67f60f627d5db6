"""The gradient of 3 x 3 kernels by Winograd's way: what `passes/transform_convolutions` makes.

Forward, `y = At [(G w G') * (Bt x B)] A` for a tile; so the gradient of `w` is
`G' [sum over tiles of (Bt x B) * (A g A')] G`: of both images the points, a product for each point
that sums over all tiles, and one transform of the sums. Source: Lavin and Gray (2016), the same
matrices transposed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.dtype import float32, float64
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample
from pellucid.loop.compute import Loops, Lowering
from pellucid.loop.ir import Alloc, Buffer, Const, Expr, Load, Store, const, iadd, imul
from pellucid.ops.conv import CONV2D_KERNEL_GRAD, Pair, pair_attr
from pellucid.ops.movement import PAD, reshape
from pellucid.ops.nests import Body
from pellucid.ops.shared import Array, Types, integer
from pellucid.ops.winograd_matrices import POINTS
from pellucid.ops.winograd_tiles import (
    BLOCK_BYTES,
    TAPS,
    Problem,
    Side,
    Tiles,
    divisors,
    group_of,
)

RUN = 8  # input channels whose taps are in the first-level cache together


def gradient_block(problem: Problem) -> tuple[int, int]:
    """Images, and rows of tiles of each, of a block: sums over many tiles are read again least."""
    rows, columns = problem.grid
    each = problem.points * (problem.channels + problem.outputs) * problem.dtype.itemsize
    most = max(1, BLOCK_BYTES // (columns * each))
    if rows > most:
        return 1, max(n for n in divisors(rows) if n <= most)
    return max(n for n in divisors(problem.images) if n * rows <= most), rows


class _Gradient(Tiles):
    """Writes the nests of one gradient; the result is `[O, C * 9]`."""

    def __init__(self, problem: Problem, sources: Sequence[Buffer], out: Buffer) -> None:
        super().__init__(problem, gradient_block(problem))
        self.x, self.g = sources
        self.out = out
        self.v = self.points("v", self.tiles, problem.channels)
        self.y = self.points("y", self.tiles, problem.outputs)
        self.total = self.points("total", problem.channels, problem.outputs)

    def statements(self) -> Body:
        """Zeros, the sums of all blocks, and their transform."""
        p = self.p
        a = tuple(zip(*self.matrices.at, strict=True))
        images = Side(self.x, self.v, self.matrices.bt, p.reach, p.size, p.low)
        slopes = Side(self.g, self.y, a, p.tile, p.out, (0, 0))

        def block() -> Body:
            made = self.to_points(images) + self.to_points(slopes) + self._multiply()
            return (Alloc(self.v, (Alloc(self.y, made),)),)

        def clear(k: Expr, c: Expr, o: Expr) -> Body:
            return (Store(self.total, (k, c, o), const(0.0, self.dtype)),)

        zeros = self.nest(clear, k=p.points, c=p.channels, o=p.outputs)
        return (Alloc(self.total, zeros + self.over_blocks(block) + self._to_taps()),)

    def _multiply(self) -> Body:
        def element(k: Expr, c: Expr, o: Expr) -> Body:
            def terms(t: Expr) -> tuple[Load, Load]:
                return Load(self.v, (k, t, c)), Load(self.y, (k, t, o))

            return self.sums(self.tiles, terms, Load(self.total, (k, c, o)), add=True)

        p = self.p
        return self.nest(element, k=p.points, c=p.channels, o=p.outputs)

    def _to_taps(self) -> Body:
        p, group = self.p, group_of(self.p.outputs)
        run = max(n for n in divisors(p.channels) if n <= RUN)
        taps = Buffer("taps", (run * TAPS**2, group), self.dtype, "temp")

        def some(g: Expr, b: Expr) -> Body:
            first, from_ = imul(g, group), imul(b, run)

            def store(q: Expr, o: Expr) -> Body:
                idx = (iadd(first, o), iadd(imul(b, run * TAPS**2), q))
                return (Store(self.out, idx, Load(taps, (q, o))),)

            made = self.nest(
                lambda c, o: self._taps(taps, c, o, (iadd(from_, c), iadd(first, o))),
                c=run, o=group,
            )  # fmt: skip
            return (Alloc(taps, made + self.nest(store, q=taps.shape[0], o=group)),)

        return self.nest(some, g=p.outputs // group, b=p.channels // run)

    def _taps(self, taps: Buffer, c: Expr, o: Expr, at: tuple[Expr, Expr]) -> Body:
        reach, back = self.p.reach, tuple(zip(*self.matrices.g, strict=True))
        half = self.tile("half", TAPS, reach)

        def down(j: Expr) -> Body:
            read = [Load(self.total, (iadd(k * reach, j), *at)) for k in range(reach)]
            return self.combine(back, read, [(half, (Const(k), j)) for k in range(TAPS)])

        def along(k: Expr) -> Body:
            read = [Load(half, (k, Const(j))) for j in range(reach)]
            row = iadd(imul(c, TAPS**2), imul(k, TAPS))
            return self.combine(back, read, [(taps, (iadd(row, j), o)) for j in range(TAPS)])

        return (Alloc(half, self.nest(down, j=reach) + self.nest(along, k=TAPS)),)


def _infer(x: TensorType, g: TensorType, *, tile: int, low: Pair, high: Pair) -> TensorType:
    operands: dict[str, object] = {"x": x.shape, "g": g.shape, "low": low, "high": high}
    name = "winograd_kernel_grad"
    if x.dtype != g.dtype or x.dtype not in (float32, float64):
        raise DTypeError(name, "operands must be float32 or both float64", operands=operands)
    fits = x.rank == 4 and g.rank == 4 and x.shape[0] == g.shape[0] and min(*low, *high) >= 0
    sizes = [n + a + b - TAPS + 1 for n, a, b in zip(x.shape[2:], low, high, strict=False)]
    if not fits or tile not in POINTS or sizes != list(g.shape[2:]):
        rule = "x must be [N, C, H, W] and g [N, O, H + pads - 2, W + pads - 2]"
        raise ShapeError(name, rule, operands=operands)
    return TensorType((g.shape[1], x.shape[1] * TAPS**2), x.dtype)


def _reference(x: Array, g: Array, *, tile: int, low: Pair, high: Pair) -> Array:
    ends = {"low": (0, 0, *low), "high": (0, 0, *high), "interior": (0,) * 4}
    made: Array = CONV2D_KERNEL_GRAD.reference(
        PAD.reference(x, **ends, value=0), g, kernel=(TAPS, TAPS), stride=(1, 1),
        dilation=(1, 1), groups=1,
    )  # fmt: skip
    return made.reshape(g.shape[1], -1)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    x, g = inputs
    problem = Problem(
        images=x.shape[0], channels=x.shape[1], size=(x.shape[2], x.shape[3]),
        low=pair_attr(attrs, "low"), outputs=g.shape[1], out=(g.shape[2], g.shape[3]),
        tile=integer(attrs, "tile"), dtype=x.dtype,
    )  # fmt: skip
    return Loops(
        build=lambda sources, outs: _Gradient(problem, sources, outs[0]).statements(), closed=True
    )


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """The products of all points, two operations each; transforms are left out."""
    (x, g), tile = inputs, integer(attrs, "tile")
    tiles = g.shape[0] * -(-g.shape[2] // tile) * -(-g.shape[3] // tile)
    products = tiles * (tile + TAPS - 1) ** 2 * x.shape[1] * g.shape[1]
    return Cost(2 * products, x.nbytes + g.nbytes + outputs[0].nbytes)


def _samples() -> Sequence[Sample]:
    cases: tuple[tuple[Shape, int, Pair, Pair], ...] = (
        ((2, 3, 5, 6), 4, (1, 1), (1, 1)),
        ((1, 1, 3, 3), 1, (0, 0), (0, 0)),
        ((3, 2, 9, 7), 5, (2, 0), (0, 3)),
    )
    samples = []
    for x, o, low, high in cases:
        sizes = (n + a + b - 2 for n, a, b in zip(x[2:], low, high, strict=True))
        types = (TensorType(x, float64), TensorType((x[0], o, *sizes), float64))
        samples += [Sample(types, {"tile": tile, "low": low, "high": high}) for tile in POINTS]
    return samples


WINOGRAD_KERNEL_GRAD: Op = Op(
    name="winograd_kernel_grad",
    doc=(
        "`conv2d_kernel_grad` of 3 x 3 taps, stride 1, of an image with `low` and `high` zeros"
        " around it, in tiles of `tile` x `tile` results: `[O, C * 9]`. Made by a pass only, after"
        " derivatives and batching. Primitive: composition would hold all points in memory."
    ),
    infer=_infer,
    reference=_reference,
    vjp=None,
    jvp=None,
    batch=None,
    lower=_lower,
    cost=_cost,
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (WINOGRAD_KERNEL_GRAD,)


def emit_kernel_grad(x: Value, g: Value, *, tile: int, low: Pair, high: Pair) -> Value:
    """The record as a function, as `[O, C, 3, 3]`."""
    flat = emit(WINOGRAD_KERNEL_GRAD, x, g, tile=tile, low=low, high=high)
    return reshape(flat, (g.shape[1], x.shape[1], TAPS, TAPS))
