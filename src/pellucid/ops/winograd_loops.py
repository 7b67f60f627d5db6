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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pellucid.core.dtype import DType
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Load,
    Stmt,
    Store,
    Var,
    as_expr,
    compare,
    const,
    iadd,
    imin,
    imul,
    isub,
)
from pellucid.ops.winograd_matrices import POINTS, Matrix, transforms

TAPS = 3
LANES = 16  # channels of a group
FEWEST_TILES = 12  # rows of a product that make a good tile of registers
NEAR_BYTES = 3 << 18  # of transformed weights that a second-level cache holds beside a block
BLOCK_BYTES = 1 << 21  # of a block's points, where weights are far
CONFLICT = 1024  # bytes: rows a multiple of this apart fight for the same cache lines
Body = tuple[Stmt, ...]
Sum = list[tuple[Fraction, Expr]]


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
        """Images, and rows of tiles of each, of a block."""
        rows, columns = self.grid
        weights = self.points * self.channels * self.outputs * self.dtype.itemsize
        each = self.points * (self.channels + self.outputs) * self.dtype.itemsize
        most = max(FEWEST_TILES, BLOCK_BYTES // each)
        if weights <= NEAR_BYTES:
            most = 2 * FEWEST_TILES
        if rows * columns > most:
            fitting = [n for n in _divisors(rows) if n * columns <= most]
            return 1, max(fitting, default=1)
        return max(n for n in _divisors(self.images) if n * rows * columns <= most), rows


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


class _Writer:
    """Writes the nests of one convolution."""

    def __init__(self, problem: Problem, sources: Sequence[Buffer], out: Buffer) -> None:
        self.p, self.out = problem, out
        self.x, self.w = sources
        self.matrices = transforms(problem.tile, TAPS, POINTS[problem.tile])
        self.images, self.rows = problem.block()
        self.columns = problem.grid[1]
        self.tiles = self.images * self.rows * self.columns
        self._count: dict[str, int] = {}
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

    def nest(self, body: Callable[..., Body], **extents: Expr | int) -> Body:
        """`body` of new variables in one loop per extent, the first outermost."""
        variables = [Var(self._name(hint)) for hint in extents]
        made = body(*variables)
        for variable, extent in zip(reversed(variables), reversed(extents.values()), strict=True):
            made = (For(variable.name, as_expr(extent), made),)
        return made

    def _name(self, hint: str) -> str:
        number = self._count.get(hint, 0)
        self._count[hint] = number + 1
        return f"{hint}{number}"

    def tile(self, hint: str, *shape: int) -> Buffer:
        """A small array beside the registers."""
        return Buffer(self._name(hint), shape, self.p.dtype, "local")

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
            return self._combine(
                self.matrices.bt, read, [(half, (Const(k), j)) for k in range(reach)]
            )

        def along(k: Expr) -> Body:
            read = [Load(half, (k, Const(j))) for j in range(reach)]
            places = [(self.v, (iadd(imul(k, reach), j), at, iadd(first, c))) for j in range(reach)]
            return self._combine(self.matrices.bt, read, places)

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
            return self._combine(
                self.matrices.at, read, [(half, (Const(k), j)) for k in range(tile)]
            )

        def along(k: Expr) -> Body:
            read = [Load(half, (k, Const(j))) for j in range(reach)]
            row = iadd(imul(r, tile), k)
            places = [(made, (row, iadd(imul(q, tile), j), o)) for j in range(tile)]
            return self._combine(self.matrices.at, read, places)

        return (Alloc(half, self.nest(down, j=reach) + self.nest(along, k=tile)),)

    # --- products with small matrices -------------------------------------------------------------

    def _combine(
        self,
        matrix: Matrix,
        read: Sequence[Expr],
        places: Sequence[tuple[Buffer, tuple[Expr, ...]]],
    ) -> Body:
        """`places = matrix @ read`, with what points and their negatives share computed once."""
        shared: list[tuple[Buffer, Expr]] = []

        def name(value: Expr) -> Expr:
            if not isinstance(value, Call):
                return value
            shared.append((self.tile("part"), value))
            return Load(shared[-1][0], ())

        sums = [[(c, e) for c, e in zip(row, read, strict=True) if c] for row in matrix]
        sums = _paired_columns(sums, name)
        made = _paired_rows(sums, name)
        body: Body = tuple(
            Store(buffer, idx, value) for (buffer, idx), value in zip(places, made, strict=True)
        )
        for buffer, value in reversed(shared):
            body = (Alloc(buffer, (Store(buffer, (), value), *body)),)
        return body


def _paired_columns(sums: list[Sum], name: Callable[[Expr], Expr]) -> list[Sum]:
    """Terms `c a + c b` and `c a - c b` of several sums in terms of `a + b` and `a - b`."""
    columns = [dict((e, c) for c, e in row) for row in sums]
    terms = list(dict.fromkeys(e for row in columns for e in row))
    for a in terms:
        for b in terms[terms.index(a) + 1 :]:
            pairs = [(row.get(a), row.get(b)) for row in columns]
            used = [(x, y) for x, y in pairs if x or y]
            signs = {x == y for x, y in used if x and y and abs(x) == abs(y)}
            if len(signs) < 2 or not all(x and y and abs(x) == abs(y) for x, y in used):
                continue
            plus, minus = name(_call("add", a, b)), name(_call("sub", a, b))
            for row in columns:
                x, y = row.pop(a, None), row.pop(b, None)
                if x:
                    row[plus if x == y else minus] = x
    return [[(c, e) for e, c in row.items()] for row in columns]


def _paired_rows(sums: list[Sum], name: Callable[[Expr], Expr]) -> list[Expr]:
    """The sums, of which pairs that differ in the signs of some terms share both parts."""
    made: dict[int, Expr] = {}
    for i, first in enumerate(sums):
        for k in range(i + 1, len(sums)):
            second = {e: c for c, e in sums[k]}
            fits = len(first) == len(second) > 2 and all(
                abs(second.get(e, 0)) == abs(c) for c, e in first
            )
            if i in made or k in made or not fits:
                continue
            even = [(c, e) for c, e in first if second[e] == c]
            odd = [(c, e) for c, e in first if second[e] == -c]
            if even and odd:
                scale = odd[0][0]
                part = name(_total([(c / scale, e) for c, e in odd]))
                rest = name(_total(even))
                made[i], made[k] = _plus(rest, scale, part), _plus(rest, -scale, part)
    return [made.get(i) or _total(row) for i, row in enumerate(sums)]


def _total(terms: Sum) -> Expr:
    """A sum, beginning with a term that needs no product."""
    ordered = sorted(terms, key=lambda t: t[0] != 1)
    (factor, start), *rest = ordered
    total = start if factor == 1 else _call("mul", const(float(factor), start.dtype), start)
    for c, e in rest:
        total = _plus(total, c, e)
    return total


def _plus(total: Expr, factor: Fraction, term: Expr) -> Expr:
    if abs(factor) == 1:
        return _call("add" if factor > 0 else "sub", total, term)
    return Call("fma", (const(float(factor), term.dtype), term, total), term.dtype)


def _call(fn: str, a: Expr, b: Expr) -> Expr:
    return Call(fn, (a, b), b.dtype)
