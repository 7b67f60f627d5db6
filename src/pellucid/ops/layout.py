"""Other shapes and axis orders of the same elements: `reshape`, `transpose`.

Import order of the families that others' rules need, so that none imports in a circle:
`layout` <- `broadcast` (with `sum`) <- `movement` (slice, pad) <- everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import bool_ as bool_dtype
from pellucid.core.dtype import complex64, float32, int32, int64
from pellucid.core.errors import ShapeError
from pellucid.core.shape import (
    Shape,
    as_sizes,
    check_shape,
    normalize_axes,
    normalize_axis,
    size_of,
)
from pellucid.core.size import may_equal
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers
from pellucid.loop.ir import (
    Const,
    Expr,
    ifloordiv,
    imod,
)
from pellucid.ops.shared import (
    Types,
    copy_cost,
    flatten_index,
    ints,
    no_cost,
)

Tangent = Value | None


def _reshape_infer(x: TensorType, *, shape: Shape) -> TensorType:
    if not may_equal(size_of(shape), x.size):
        raise ShapeError(
            "reshape",
            "sizes must be equal",
            operands={
                "x": f"{x.shape} with {x.size} elements",
                "shape": f"{shape} with {size_of(shape)}",
            },
        )
    return TensorType(shape, x.dtype)


def aligned_groups(src: Shape, dst: Shape) -> list[tuple[range, range]]:
    """Runs of axes of two shapes of one size that hold the same elements, as small as possible.

    `(2, 3, 20)` and `(6, 4, 5)` -> axes 0-1 with 0, axis 2 with 1-2. Size-0 shapes are one group.
    """
    groups, i, j = [], 0, 0
    if 0 in src:
        return [(range(len(src)), range(len(dst)))]
    while i < len(src) or j < len(dst):
        a, b, i0, j0 = 1, 1, i, j
        while a != b or (i == i0 and j == j0):
            if i == len(src) and j == len(dst):
                break  # equal, as was decided of open sizes
            if (a <= b and i < len(src)) or j == len(dst):
                a, i = a * src[i], i + 1
            else:
                b, j = b * dst[j], j + 1
        groups.append((range(i0, i), range(j0, j)))
    return groups


def _unravel(flat: Expr, sizes: Sequence[int]) -> list[Expr]:
    """Row-major indices of a flat position; the first needs no remainder, the last no division."""
    result: list[Expr] = []
    stride = size_of(sizes)
    for n in sizes:
        outer, stride = stride, stride // max(n, 1)
        part = flat if outer == size_of(sizes) else imod(flat, outer)
        result.append(Const(0) if n == 1 else ifloordiv(part, stride))
    return result


def reshaped_index(idx: Index, src: Shape, dst: Shape) -> Index:
    """Where element `idx` of a `dst`-shaped view lies in the `src`-shaped array."""
    result: list[Expr] = []
    for src_axes, dst_axes in aligned_groups(src, dst):
        flat = flatten_index([idx[j] for j in dst_axes], [dst[j] for j in dst_axes])
        result += _unravel(flat, [src[i] for i in src_axes])
    return tuple(result)


def _reshape_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    src, dst = inputs[0].shape, outputs[0].shape

    def body(idx: Index, readers: Readers) -> Expr:
        return readers[0](reshaped_index(idx, src, dst))

    return Pointwise(body=body, views=True)


RESHAPE: Op = Op(
    name="reshape",
    doc="The same elements in row-major order under another shape.",
    infer=_reshape_infer,
    reference=lambda x, *, shape: np.reshape(x, shape),
    vjp=lambda site, g: [reshape(g, site.inputs[0].shape)],
    jvp=lambda site, t: [None if t is None else reshape(t, site.outputs[0].shape)],
    batch=lambda site, batched, size: [reshape(site.inputs[0], (size, *ints(site.attrs, "shape")))],
    lower=_reshape_lower,
    cost=no_cost,
    samples=lambda: [
        Sample((TensorType((2, 3, 4), float32),), {"shape": (6, 4)}),
        Sample((TensorType((6, 4), float32),), {"shape": (2, 3, 2, 2)}),
        Sample((TensorType((4, 6), int32),), {"shape": (3, 1, 8)}),
        Sample((TensorType((), float32),), {"shape": (1, 1)}),
        Sample((TensorType((1, 7, 1), bool_dtype),), {"shape": (7,)}),
        Sample((TensorType((0, 3), float32),), {"shape": (5, 0)}),
        Sample((TensorType((2, 6), complex64),), {"shape": (3, 4)}),
    ],
)


def reshape(x: Value, shape: int | Sequence[int]) -> Value:
    """`x` with another shape of the same size; one entry may be -1 and is then computed.

    Raises:
        ShapeError: the sizes differ.
    """
    wanted = [shape] if isinstance(shape, int) else list(as_sizes("reshape", shape))
    if wanted.count(-1) == 1:
        known = size_of([n for n in wanted if n != -1])
        if known == 0 or x.type.size % known:
            raise ShapeError(
                "reshape",
                "the other sizes must divide the size for a -1",
                operands={"x": x.shape, "shape": tuple(wanted)},
            )
        wanted[wanted.index(-1)] = x.type.size // known
    result = check_shape("reshape", wanted)
    return x if result == x.shape else emit(RESHAPE, x, shape=result)


def _transpose_infer(x: TensorType, *, permutation: tuple[int, ...]) -> TensorType:
    if sorted(permutation) != list(range(x.rank)):
        raise ShapeError(
            "transpose",
            "the permutation must name every axis once",
            operands={"x": x.shape, "permutation": permutation},
        )
    return TensorType(tuple(x.shape[p] for p in permutation), x.dtype)


def _inverse(permutation: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(permutation))


def _transpose_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    inverse = _inverse(ints(attrs, "permutation"))

    def body(idx: Index, readers: Readers) -> Expr:
        return readers[0](tuple(idx[i] for i in inverse))

    return Pointwise(body=body)


TRANSPOSE: Op = Op(
    name="transpose",
    doc="Axes in another order: output axis `i` is input axis `permutation[i]`.",
    infer=_transpose_infer,
    reference=lambda x, *, permutation: np.transpose(x, permutation),
    vjp=lambda site, g: [transpose(g, _inverse(ints(site.attrs, "permutation")))],
    jvp=lambda site, t: [None if t is None else transpose(t, ints(site.attrs, "permutation"))],
    batch=lambda site, batched, size: [
        transpose(site.inputs[0], (0, *(p + 1 for p in ints(site.attrs, "permutation"))))
    ],
    lower=_transpose_lower,
    cost=copy_cost,
    samples=lambda: [
        Sample((TensorType((3, 5), float32),), {"permutation": (1, 0)}),
        Sample((TensorType((2, 1, 3, 4), float32),), {"permutation": (2, 0, 3, 1)}),
        Sample((TensorType((), float32),), {"permutation": ()}),
        Sample((TensorType((0, 7), int64),), {"permutation": (1, 0)}),
        Sample((TensorType((3, 2), bool_dtype),), {"permutation": (1, 0)}),
        Sample((TensorType((3, 2, 4), complex64),), {"permutation": (2, 0, 1)}),
    ],
)


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """`x` with its axes in the order given, reversed by default.

    Raises:
        ShapeError: `axes` is not a permutation of the axes.
    """
    order = range(x.rank)[::-1] if axes is None else axes
    permutation = tuple(normalize_axis("transpose", a, x.shape) for a in order)
    return x if permutation == tuple(range(x.rank)) else emit(TRANSPOSE, x, permutation=permutation)


permute_dims = transpose


def swapaxes(x: Value, axis1: int, axis2: int) -> Value:
    """`x` with two axes exchanged."""
    order = list(range(x.rank))
    a, b = (normalize_axis("swapaxes", axis, x.shape) for axis in (axis1, axis2))
    order[a], order[b] = b, a
    return transpose(x, order)


def matrix_transpose(x: Value) -> Value:
    """`x` with its last two axes exchanged."""
    if x.rank < 2:
        raise ShapeError("matrix_transpose", "needs at least two axes", operands={"x": x.shape})
    return swapaxes(x, -2, -1)


def moveaxis(x: Value, source: int | Sequence[int], destination: int | Sequence[int]) -> Value:
    """`x` with the `source` axes at the `destination` positions and the others in their order."""
    src = (source,) if isinstance(source, int) else tuple(source)
    dst = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(src) != len(dst):
        raise ShapeError(
            "moveaxis",
            "as many destinations as sources are needed",
            operands={"source": src, "destination": dst},
        )
    src = tuple(normalize_axis("moveaxis", a, x.shape) for a in src)
    dst = tuple(normalize_axis("moveaxis", a, x.shape) for a in dst)
    order = [a for a in range(x.rank) if a not in src]
    for d, s in sorted(zip(dst, src, strict=True)):
        order.insert(d, s)
    return transpose(x, order)


def squeeze(x: Value, axis: int | Sequence[int] | None = None) -> Value:
    """`x` without the size-1 axes named; all of size 1 by default.

    Raises:
        ShapeError: a named axis is not of size 1.
    """
    if axis is None:
        axes = tuple(a for a, n in enumerate(x.shape) if n == 1)
    else:
        axes = normalize_axes("squeeze", axis, x.shape)
    if any(x.shape[a] != 1 for a in axes):
        raise ShapeError("squeeze", "axes must have size 1", operands={"x": x.shape, "axis": axes})
    return reshape(x, [n for a, n in enumerate(x.shape) if a not in axes])


def expand_dims(x: Value, axis: int | Sequence[int] = 0) -> Value:
    """`x` with new axes of size 1, at these positions of the result."""
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    axes = normalize_axes("expand_dims", given, x.shape, new=len(given))
    shape = list(x.shape)
    for a in axes:
        shape.insert(a, 1)
    return reshape(x, shape)


RECORDS: tuple[Op, ...] = (RESHAPE, TRANSPOSE)
