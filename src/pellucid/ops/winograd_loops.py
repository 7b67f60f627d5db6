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
from dataclasses import dataclass

from pellucid.core.dtype import DType
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    If,
    Load,
    Store,
    compare,
    const,
    iadd,
    imin,
    imul,
    isub,
)
from pellucid.ops.winograd_matrices import POINTS, transforms
from pellucid.ops.winograd_nests import Body, Nests

TAPS = 3
LANES = 16  # channels of a group
RUN = 8  # input channels whose points are in the first-level cache together
FEWEST_TILES = 12  # rows of a product that make a good tile of registers
NEAR_BYTES = 3 << 18  # of transformed weights that a second-level cache holds beside a block
BLOCK_BYTES = 1 << 22  # of scratch memory for a block's points
CONFLICT = 1024  # bytes: rows a multiple of this apart fight for the same cache lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Sizes of one convolution: `images` of `channels` by `size`, zeros `low` before them, results
    of `outputs` channels by `out`, and `tile` of them in each direction at once.
    """

    images: int
    channels: int
    size: tuple[int, int]
    low: tuple[int, int]
    outputs: int
    out: tuple[int, int]
    tile: int
    dtype: DType

    @property
    def reach(self) -> int:
        """Pixels that a tile reads in each direction."""
        return self.tile + TAPS - 1

    @property
    def points(self) -> int:
        """Products for each tile, pair of channels."""
        return self.reach**2

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles of an image."""
        return -(-self.out[0] // self.tile), -(-self.out[1] // self.tile)

    def block(self) -> tuple[int, int]:
        """Images, and rows of tiles of each, of a block.

        Few tiles where a second-level cache holds the weights beside them; else as many as read
        weights again least, where points that outgrow the cache count as well.
        """
        rows, columns = self.grid
        size = self.dtype.itemsize * self.points
        weights, each = (
            size * n for n in (self.channels * self.outputs, self.channels + self.outputs)
        )
        if weights <= NEAR_BYTES:
            fitting = [n for n in _divisors(rows) if n * columns <= 2 * FEWEST_TILES]
            if rows not in fitting:
                return 1, max(fitting, default=1)
            together = 2 * FEWEST_TILES // (rows * columns)
            return max(n for n in _divisors(self.images) if n <= max(1, together)), rows

        def traffic(block: tuple[int, int]) -> int:
            tiles = block[0] * block[1] * columns
            blocks = self.images * rows // (block[0] * block[1])
            again = 0 if tiles * each <= NEAR_BYTES else 2 * tiles * each
            return blocks * (weights + again)

        shapes = [(1, n) for n in _divisors(rows)] + [(n, rows) for n in _divisors(self.images)]
        least = columns * each
        small = [s for s in shapes if s[0] * s[1] * least <= BLOCK_BYTES]
        return min(small or shapes[:1], key=traffic)


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def group_of(channels: int) -> int:
    """Channels that are transformed side by side: the largest divisor that lanes hold."""
    return max(n for n in _divisors(channels) if n <= LANES)


def winograd_loops(problem: Problem, sources: Sequence[Buffer], outs: Sequence[Buffer]) -> Body:
    """The convolution; sources are images `[N, C, H, W]` and transformed weights `[points, O / b,
    C, b]`.
    """
    return _Writer(problem, sources, outs[0]).statements()


def weight_loops(tile: int, weights: Buffer, points: Buffer, *, exchanged: bool) -> Body:
    """The points of weights `[O, C, 9]`, or of `[C, O, 9]` with the taps in reverse order."""
    return _Weights(tile, weights, points, exchanged=exchanged).statements()


class _Weights(Nests):
    """Some input channels of a panel at a time: turned so that output channels lie side by side,
    their points, and these stored in runs, since points are far apart and often fall on each other.
    """

    def __init__(self, tile: int, weights: Buffer, points: Buffer, *, exchanged: bool) -> None:
        super().__init__(weights.dtype)
        self.w, self.u, self.exchanged = weights, points, exchanged
        self.reach, self.g = tile + TAPS - 1, transforms(tile, TAPS, POINTS[tile]).g
        self.channels = max(n for n in _divisors(points.shape[2]) if n <= RUN)

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


class _Writer(Nests):
    """Writes the nests of one convolution."""

    def __init__(self, problem: Problem, sources: Sequence[Buffer], out: Buffer) -> None:
        super().__init__(problem.dtype)
        self.p, self.out = problem, out
        self.x, self.w = sources
        self.matrices = transforms(problem.tile, TAPS, POINTS[problem.tile])
        self.images, self.rows = problem.block()
        self.columns = problem.grid[1]
        self.tiles = self.images * self.rows * self.columns
        self.image: Expr = Const(0)  # the first of the block
        self.row: Expr = Const(0)  # the first row of tiles of the block
        self.v, self.m = (
            self._points(h, n) for h, n in (("v", problem.channels), ("m", problem.outputs))
        )

    def _points(self, hint: str, channels: int) -> Buffer:
        """`[points, tiles, channels]`, a row longer where points would fall on each other."""
        bytes_ = self.tiles * channels * self.p.dtype.itemsize
        tiles = self.tiles + (bytes_ % CONFLICT == 0)
        return Buffer(hint, (self.p.points, tiles, channels), self.p.dtype, "temp")

    def statements(self) -> Body:
        """All blocks."""
        rows = self.p.grid[0]

        def block(n: Expr, b: Expr) -> Body:
            self.image, self.row = imul(n, self.images), imul(b, self.rows)
            made = self._transform_images() + self._multiply() + self._transform_back()
            return (Alloc(self.v, (Alloc(self.m, made),)),)

        return self.nest(block, n=self.p.images // self.images, b=rows // self.rows)

    # --- images to points -------------------------------------------------------------------------

    def _transform_images(self) -> Body:
        p, group = self.p, group_of(self.p.channels)
        shape = (self.rows * p.tile + TAPS - 1, self.columns * p.tile + TAPS - 1, group)
        pixels = Buffer("pixels", shape, p.dtype, "temp")

        def channels(g: Expr, i: Expr) -> Body:
            first = imul(g, group)
            made = self.nest(lambda r: self._pixel_row(pixels, i, first, r), r=shape[0])
            made += self.nest(
                lambda r, q, c: self._into_points(pixels, i, first, (r, q, c)),
                r=self.rows, q=self.columns, c=group,
            )  # fmt: skip
            return (Alloc(pixels, made),)

        return self.nest(channels, g=p.channels // group, i=self.images)

    def _pixel_row(self, pixels: Buffer, i: Expr, first: Expr, r: Expr) -> Body:
        """A row of the padded image, its channels side by side."""
        (height, width), (top, left) = self.p.size, self.p.low
        count, group = pixels.shape[1:]
        at = isub(iadd(imul(self.row, self.p.tile), r), top)

        def copy(q: Expr, c: Expr) -> Body:
            idx = (iadd(self.image, i), iadd(first, c), at, q)
            return (Store(pixels, (r, iadd(q, left), c), Load(self.x, idx)),)

        def zeros(start: int, end: int) -> Body:
            def clear(q: Expr, c: Expr) -> Body:
                return (Store(pixels, (r, iadd(q, start), c), const(0.0, self.p.dtype)),)

            return self.nest(clear, q=end - start, c=group) if end > start else ()

        inside = zeros(0, left) + self.nest(copy, q=width, c=group) + zeros(left + width, count)
        if (top, height) == (0, pixels.shape[0]) and self.rows == self.p.grid[0]:
            return inside
        known = Call(
            "and",
            (compare("ge", at, 0), compare("lt", at, height)),
            compare("lt", at, height).dtype,
        )
        return (If(known, inside, zeros(0, count)),)

    def _into_points(
        self, pixels: Buffer, i: Expr, first: Expr, place: tuple[Expr, Expr, Expr]
    ) -> Body:
        r, q, c = place
        reach, tile = self.p.reach, self.p.tile
        half = self.tile("half", reach, reach)
        at = self._tile_at(i, r, q)

        def down(j: Expr) -> Body:
            read = [
                Load(pixels, (iadd(imul(r, tile), k), iadd(imul(q, tile), j), c))
                for k in range(reach)
            ]
            return self.combine(
                self.matrices.bt, read, [(half, (Const(k), j)) for k in range(reach)]
            )

        def along(k: Expr) -> Body:
            read = [Load(half, (k, Const(j))) for j in range(reach)]
            places = [(self.v, (iadd(imul(k, reach), j), at, iadd(first, c))) for j in range(reach)]
            return self.combine(self.matrices.bt, read, places)

        return (Alloc(half, self.nest(down, j=reach) + self.nest(along, k=reach)),)

    def _tile_at(self, i: Expr, r: Expr, q: Expr) -> Expr:
        """The number of a tile in the block."""
        return iadd(imul(iadd(imul(i, self.rows), r), self.columns), q)

    # --- products ---------------------------------------------------------------------------------

    def _multiply(self) -> Body:
        panel = self.w.shape[-1]

        def element(k: Expr, o: Expr, t: Expr, z: Expr) -> Body:
            total = self.tile("sum")

            def step(c: Expr) -> Body:
                term = Call(
                    "mul", (Load(self.v, (k, t, c)), Load(self.w, (k, o, c, z))), self.p.dtype
                )
                return (Store(total, (), Call("add", (Load(total, ()), term), self.p.dtype)),)

            made: Body = (Store(total, (), const(0.0, self.p.dtype)),)
            made += self.nest(step, c=self.p.channels)
            at = (k, t, iadd(imul(o, panel), z))
            return (Alloc(total, (*made, Store(self.m, at, Load(total, ())))),)

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
        at = self._tile_at(i, r, q)

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
