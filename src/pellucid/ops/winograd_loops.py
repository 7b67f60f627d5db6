"""Winograd's convolution as loops over blocks of tiles: nothing transformed leaves the caches.

Enters: the buffers of one `conv2d_winograd`. Leaves: statements, for each block of tiles

    for each group of channels:   its image, turned so that channels lie side by side, with zeros
                                  around it; every tile of it transformed into n x n points
    for each point:               a matrix product, tiles by channels by output channels
    for each group of outputs:    every tile transformed back; turned round, and stored

Channels are the lanes of both transforms, so images of any width fill vectors. A block is some rows
of tiles of one image, or all tiles of some images.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.loop.ir import Alloc, Buffer, Const, Expr, Load, Store, iadd, imin, imul, isub
from pellucid.ops.nests import Body
from pellucid.ops.winograd_matrices import POINTS, transforms
from pellucid.ops.winograd_nests import WinogradNests
from pellucid.ops.winograd_tiles import TAPS, Problem, Side, Tiles, divisors, group_of

RUN = 8  # input channels whose points are in the first-level cache together


def winograd_loops(problem: Problem, sources: Sequence[Buffer], outs: Sequence[Buffer]) -> Body:
    """The convolution; sources are images `[N, C, H, W]` and transformed weights `[points, O / b,
    C, b]`.
    """
    return _Writer(problem, sources, outs[0]).statements()


def weight_loops(tile: int, weights: Buffer, points: Buffer, *, exchanged: bool) -> Body:
    """The points of weights `[O, C, 9]`, or of `[C, O, 9]` with the taps in reverse order."""
    return _Weights(tile, weights, points, exchanged=exchanged).statements()


class _Weights(WinogradNests):
    """Some input channels of a panel at a time: turned so that output channels lie side by side,
    their points, and these stored in runs, since points are far apart and often fall on each other.
    """

    def __init__(self, tile: int, weights: Buffer, points: Buffer, *, exchanged: bool) -> None:
        super().__init__(weights.dtype)
        self.w, self.u, self.exchanged = weights, points, exchanged
        self.reach, self.g = tile + TAPS - 1, transforms(tile, TAPS, POINTS[tile]).g
        self.channels = max(n for n in divisors(points.shape[2]) if n <= RUN)

    def statements(self) -> Body:
        """All panels."""
        _, panels, channels, width = self.u.shape
        taps, points = (
            Buffer(name, (self.channels, n, width), self.dtype, "temp")
            for name, n in (("taps", TAPS**2), ("points", self.reach**2))
        )

        def block(o: Expr, b: Expr) -> Body:
            first = imul(b, self.channels), imul(o, width)

            def turn(c: Expr, k: Expr, z: Expr) -> Body:
                idx = (iadd(first[0], c), iadd(first[1], z))
                idx = idx if self.exchanged else idx[::-1]
                return (Store(taps, (c, k, z), Load(self.w, (*idx, k))),)

            def store(k: Expr, c: Expr, z: Expr) -> Body:
                idx = (k, o, iadd(first[0], c), z)
                return (Store(self.u, idx, Load(points, (c, k, z))),)

            made = self.nest(turn, c=self.channels, k=TAPS**2, z=width)
            made += self.nest(
                lambda c, z: self._points(taps, points, c, z), c=self.channels, z=width
            )
            made += self.nest(store, k=self.reach**2, c=self.channels, z=width)
            return (Alloc(taps, (Alloc(points, made),)),)

        return self.nest(block, o=panels, b=channels // self.channels)

    def _points(self, taps: Buffer, points: Buffer, c: Expr, z: Expr) -> Body:
        reach = self.reach
        half = self.tile("half", reach, TAPS)

        def tap(i: Expr | int, j: Expr) -> Expr:
            number = iadd(imul(i, TAPS), j)
            return Load(taps, (c, isub(TAPS**2 - 1, number) if self.exchanged else number, z))

        def down(j: Expr) -> Body:
            places = [(half, (Const(k), j)) for k in range(reach)]
            return self.combine(self.g, [tap(i, j) for i in range(TAPS)], places)

        def along(k: Expr) -> Body:
            read = [Load(half, (k, Const(j))) for j in range(TAPS)]
            places = [(points, (c, iadd(imul(k, reach), j), z)) for j in range(reach)]
            return self.combine(self.g, read, places)

        return (Alloc(half, self.nest(down, j=TAPS) + self.nest(along, k=reach)),)


class _Writer(Tiles):
    """Writes the nests of one convolution."""

    def __init__(self, problem: Problem, sources: Sequence[Buffer], out: Buffer) -> None:
        super().__init__(problem, problem.block())
        self.out = out
        self.x, self.w = sources
        self.v = self.points("v", self.tiles, problem.channels)
        self.m = self.points("m", self.tiles, problem.outputs)

    def statements(self) -> Body:
        """All blocks."""
        p = self.p
        images = Side(self.x, self.v, self.matrices.bt, p.reach, p.size, p.low)

        def block() -> Body:
            made = self.to_points(images) + self._multiply() + self._transform_back()
            return (Alloc(self.v, (Alloc(self.m, made),)),)

        return self.over_blocks(block)

    # --- products ---------------------------------------------------------------------------------

    def _multiply(self) -> Body:
        panel = self.w.shape[-1]

        def element(k: Expr, o: Expr, t: Expr, z: Expr) -> Body:
            def terms(c: Expr) -> tuple[Load, Load]:
                return Load(self.v, (k, t, c)), Load(self.w, (k, o, c, z))

            target = Load(self.m, (k, t, iadd(imul(o, panel), z)))
            return self.sums(self.p.channels, terms, target, add=False)

        return self.nest(element, k=self.p.points, o=self.w.shape[1], t=self.tiles, z=panel)

    # --- points to results ------------------------------------------------------------------------

    def _transform_back(self) -> Body:
        p, group = self.p, group_of(self.p.outputs)
        made = Buffer(
            "results", (self.rows * p.tile, self.columns * p.tile, group), p.dtype, "temp"
        )
        height: Expr = Const(self.rows * p.tile)
        if p.out[0] % (self.rows * p.tile):
            height = imin(height, isub(p.out[0], imul(self.row, p.tile)))

        def channels(g: Expr, i: Expr) -> Body:
            first = imul(g, group)

            def store(r: Expr, q: Expr, o: Expr) -> Body:
                row = iadd(imul(self.row, p.tile), r)
                idx = (iadd(self.image, i), iadd(first, o), row, q)
                return (Store(self.out, idx, Load(made, (r, q, o))),)

            body = self.nest(
                lambda r, q, o: self._from_points(made, i, first, (r, q, o)),
                r=self.rows, q=self.columns, o=group,
            )  # fmt: skip
            return (Alloc(made, body + self.nest(store, r=height, q=p.out[1], o=group)),)

        return self.nest(channels, g=p.outputs // group, i=self.images)

    def _from_points(
        self, made: Buffer, i: Expr, first: Expr, place: tuple[Expr, Expr, Expr]
    ) -> Body:
        r, q, o = place
        reach, tile = self.p.reach, self.p.tile
        half = self.tile("half", tile, reach)
        at = self.tile_at(i, r, q)

        def down(j: Expr) -> Body:
            read = [Load(self.m, (iadd(k * reach, j), at, iadd(first, o))) for k in range(reach)]
            return self.combine(
                self.matrices.at, read, [(half, (Const(k), j)) for k in range(tile)]
            )

        def along(k: Expr) -> Body:
            read = [Load(half, (k, Const(j))) for j in range(reach)]
            row = iadd(imul(r, tile), k)
            places = [(made, (row, iadd(imul(q, tile), j), o)) for j in range(tile)]
            return self.combine(self.matrices.at, read, places)

        return (Alloc(half, self.nest(down, j=reach) + self.nest(along, k=tile)),)
