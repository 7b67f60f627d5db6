"""Blocks of Winograd's tiles, and images brought to points: what the forms of it share.

Enters: the sizes of a convolution. Leaves: which tiles are in a block, and the statements that turn
a block of images, so that channels lie side by side with zeros around them, and transform each tile
into points. Channels are the lanes, so images of any width fill vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pellucid.core.dtype import DType
from pellucid.core.size import Size
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
    imul,
    isub,
)
from pellucid.ops.nests import Body
from pellucid.ops.winograd_matrices import POINTS, Matrix, transforms
from pellucid.ops.winograd_nests import WinogradNests

TAPS = 3
LANES = 16  # channels of a group
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
            fitting = [n for n in divisors(rows) if n * columns <= 2 * FEWEST_TILES]
            if rows not in fitting:
                return 1, max(fitting, default=1)
            together = 2 * FEWEST_TILES // (rows * columns)
            return max(n for n in divisors(self.images) if n <= max(1, together)), rows

        def traffic(block: tuple[int, int]) -> int:
            tiles = block[0] * block[1] * columns
            blocks = self.images * rows // (block[0] * block[1])
            again = 0 if tiles * each <= NEAR_BYTES else 2 * tiles * each
            return blocks * (weights + again)

        shapes = [(1, n) for n in divisors(rows)] + [(n, rows) for n in divisors(self.images)]
        least = columns * each
        small = [s for s in shapes if s[0] * s[1] * least <= BLOCK_BYTES]
        return min(small or shapes[:1], key=traffic)


def divisors(n: int) -> list[int]:
    """In order."""
    if isinstance(n, Size):
        return [1]  # that is known
    return [k for k in range(1, n + 1) if n % k == 0]


def group_of(channels: int) -> int:
    """Channels that are transformed side by side: the largest divisor that lanes hold."""
    return max(n for n in divisors(channels) if n <= LANES)


@dataclass(frozen=True, slots=True)
class Side:
    """Images to be brought to points: the matrix that does it to tiles of `reach` pixels, `size`
    pixels after `low` zeros, and where the points go.
    """

    source: Buffer
    points: Buffer
    matrix: Matrix
    reach: int
    size: tuple[int, int]
    low: tuple[int, int]


class Tiles(WinogradNests):
    """Knows the tiles of a block, and brings images to points."""

    def __init__(self, problem: Problem, block: tuple[int, int]) -> None:
        super().__init__(problem.dtype)
        self.p = problem
        self.matrices = transforms(problem.tile, TAPS, POINTS[problem.tile])
        self.images, self.rows = block
        self.columns = problem.grid[1]
        self.tiles = self.images * self.rows * self.columns
        self.image: Expr = Const(0)  # the first of the block
        self.row: Expr = Const(0)  # the first row of tiles of the block

    def points(self, hint: str, rows: int, channels: int) -> Buffer:
        """`[points, rows, channels]`, a row longer where points would fall on each other."""
        more = rows * channels * self.dtype.itemsize % CONFLICT == 0
        return Buffer(hint, (self.p.points, rows + more, channels), self.dtype, "temp")

    def over_blocks(self, body: Callable[[], Body]) -> Body:
        """`body` for every block."""

        def block(n: Expr, b: Expr) -> Body:
            self.image, self.row = imul(n, self.images), imul(b, self.rows)
            return body()

        return self.nest(block, n=self.p.images // self.images, b=self.p.grid[0] // self.rows)

    def to_points(self, side: Side) -> Body:
        """A block of images, some channels at a time."""
        channels, tile = side.source.shape[1], self.p.tile
        group, more = group_of(channels), side.reach - tile
        shape = (self.rows * tile + more, self.columns * tile + more, group)
        pixels = Buffer(self.name("pixels"), shape, self.dtype, "temp")

        def some(g: Expr, i: Expr) -> Body:
            first = imul(g, group)
            made = self.nest(lambda r: self._pixel_row(side, pixels, i, first, r), r=shape[0])
            made += self.nest(
                lambda r, q, c: self._into_points(side, pixels, i, first, (r, q, c)),
                r=self.rows, q=self.columns, c=group,
            )  # fmt: skip
            return (Alloc(pixels, made),)

        return self.nest(some, g=channels // group, i=self.images)

    def _pixel_row(self, side: Side, pixels: Buffer, i: Expr, first: Expr, r: Expr) -> Body:
        """A row of the padded image, its channels side by side."""
        (height, width), (top, left) = side.size, side.low
        count, group = pixels.shape[1:]
        at = isub(iadd(imul(self.row, self.p.tile), r), top)

        def copy(q: Expr, c: Expr) -> Body:
            idx = (iadd(self.image, i), iadd(first, c), at, q)
            return (Store(pixels, (r, iadd(q, left), c), Load(side.source, idx)),)

        def zeros(start: int, end: int) -> Body:
            def clear(q: Expr, c: Expr) -> Body:
                return (Store(pixels, (r, iadd(q, start), c), const(0.0, self.dtype)),)

            return self.nest(clear, q=end - start, c=group) if end > start else ()

        inside = zeros(0, left) + self.nest(copy, q=width, c=group) + zeros(left + width, count)
        if (top, height) == (0, pixels.shape[0]) and self.rows == self.p.grid[0]:
            return inside
        below = compare("lt", at, height)
        known = Call("and", (compare("ge", at, 0), below), below.dtype)
        return (If(known, inside, zeros(0, count)),)

    def _into_points(
        self, side: Side, pixels: Buffer, i: Expr, first: Expr, place: tuple[Expr, Expr, Expr]
    ) -> Body:
        r, q, c = place
        reach, tile, count = side.reach, self.p.tile, self.p.reach
        half = self.tile("half", count, reach)
        at = self.tile_at(i, r, q)

        def down(j: Expr) -> Body:
            rows = [iadd(imul(r, tile), k) for k in range(reach)]
            read = [Load(pixels, (row, iadd(imul(q, tile), j), c)) for row in rows]
            return self.combine(side.matrix, read, [(half, (Const(k), j)) for k in range(count)])

        def along(k: Expr) -> Body:
            read = [Load(half, (k, Const(j))) for j in range(reach)]
            numbers = [iadd(imul(k, count), j) for j in range(count)]
            places = [(side.points, (n, at, iadd(first, c))) for n in numbers]
            return self.combine(side.matrix, read, places)

        return (Alloc(half, self.nest(down, j=reach) + self.nest(along, k=count)),)

    def tile_at(self, i: Expr, r: Expr, q: Expr) -> Expr:
        """The number of a tile in the block."""
        return iadd(imul(iadd(imul(i, self.rows), r), self.columns), q)

    def sums(
        self, extent: int, terms: Callable[[Expr], tuple[Load, Load]], target: Load, *, add: bool
    ) -> Body:
        """`target = sum over extent of the products of terms`, or added to it."""
        total = self.tile("sum")

        def step(c: Expr) -> Body:
            term = Call("mul", terms(c), self.dtype)
            return (Store(total, (), Call("add", (Load(total, ()), term), self.dtype)),)

        made: Body = (Store(total, (), const(0.0, self.dtype)), *self.nest(step, c=extent))
        value: Expr = Load(total, ())
        if add:
            value = Call("add", (target, value), self.dtype)
        return (Alloc(total, (*made, Store(target.buffer, target.indices, value))),)
