"""Convolution in two dimensions: the records, `conv2d` and its gradient for the kernel.

The records know neither padding nor holes in the input: the functions in `convolution.py` emit an
explicit `pad` node for them, so that every record lowers to a sum of products of two plain loads
with affine indices, which is what schedules recognise; a pass may fuse the padding into the
packing. Both are bilinear, and derivatives of any order are the two records again (with `pad`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pellucid.core.dtype import DType, float16, float32, float64, int32
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Index, Lowering, Reader, Readers, Reduction
from pellucid.loop.ir import Call, Const, Expr, iadd, ifloordiv, imul
from pellucid.ops.arithmetic import add
from pellucid.ops.create import zeros
from pellucid.ops.join import stack
from pellucid.ops.movement import (
    broadcast_to,
    flip,
    moveaxis,
    pad,
    reshape,
    slice_,
    transpose,
)
from pellucid.ops.shared import (
    Array,
    Types,
    accumulator,
    cast_expr,
    integer,
    ints,
    require_equal_dtypes,
    require_real,
    zero_of,
)

Pair = tuple[int, int]
Pixel = Callable[[Reader, Expr, Expr, tuple[Expr, Expr]], Expr]  # at image, channel, row, column

FEW_CHANNELS = 16  # of a result, that only together with others are worth a convolution


def spread(size: int, step: int) -> int:
    """What `size` elements cover that lie `step` apart; 0 for none."""
    return (size - 1) * step + 1 if size else 0


def pair_attr(attrs: Attrs, name: str) -> Pair:
    """An attribute of two ints: stride or dilation."""
    a, b = ints(attrs, name)
    return a, b


def _check_images(op: str, x: TensorType, other: TensorType, name: str) -> None:
    if x.rank != 4 or other.rank != 4:
        operands: dict[str, object] = {"x": x.shape, name: other.shape}
        rule = f"x must be [N, C, H, W] and {name} of rank 4"
        fix = "give x a batch axis: x[None]" if (x.rank, other.rank) == (3, 4) else ""
        raise ShapeError(op, rule, operands=operands, fix=fix)
    require_equal_dtypes(op, x, other)
    if x.dtype.kind == "bool":
        raise DTypeError(op, "takes numbers, not bool", operands={"x": x})
    require_real(op, x)


def _check_steps(op: str, stride: Pair, dilation: Pair, groups: int) -> None:
    if min(*stride, *dilation, groups) < 1:
        operands: dict[str, object] = {"stride": stride, "dilation": dilation, "groups": groups}
        raise ArgumentError(op, "stride, dilation and groups must be >= 1", operands=operands)


# conv2d ------------------------------------------------------------------------------------------


def infer_conv(
    x: TensorType, w: TensorType, *, stride: Pair, dilation: Pair, groups: int
) -> TensorType:
    """The type of `conv2d`'s result.

    Raises:
        ShapeError, DTypeError, ArgumentError: operands or attributes do not fit.
    """
    _check_images("conv2d", x, w, "w")
    _check_steps("conv2d", stride, dilation, groups)
    operands: dict[str, object] = {"x": x.shape, "w": w.shape, "groups": groups}
    if w.shape[1] * groups != x.shape[1] or w.shape[0] % groups:
        rule = "w must be [O, C / groups, kh, kw] with O divisible by groups"
        takes = w.shape[1] * groups
        fix = f"give x {takes} channels, as w takes" if takes != x.shape[1] else ""
        raise ShapeError("conv2d", rule, operands=operands, fix=fix)
    covered = [spread(k, d) for k, d in zip(w.shape[2:], dilation, strict=True)]
    if 0 in covered or any(n < c for n, c in zip(x.shape[2:], covered, strict=True)):
        operands["dilation"] = dilation
        raise ShapeError("conv2d", "the kernel must fit in the padded input", operands=operands)
    sizes = zip(x.shape[2:], covered, stride, strict=True)
    return TensorType((x.shape[0], w.shape[0], *((n - c) // s + 1 for n, c, s in sizes)), x.dtype)


def _windows(x: Array, taps: Pair, steps: Pair, counts: Pair, hops: Pair) -> Array:
    """A view `[N, C, counts.., taps..]`: tap `k` of window `i` is at `i hops + k steps`."""
    n, c, y, z = x.strides
    strides = (n, c, y * hops[0], z * hops[1], y * steps[0], z * steps[1])
    return as_strided(x, (*x.shape[:2], *counts, *taps), strides, writeable=False)


def _wide(x: Array) -> Array:
    """Narrow floats as float32, in which products are added up."""
    return x if x.dtype.kind in "biu" or x.dtype.itemsize > 2 else x.astype(np.float32)


def reference_conv(x: Array, w: Array, *, stride: Pair, dilation: Pair, groups: int) -> Array:
    """`conv2d` in NumPy."""
    (n, c, *size), (o, _, kh, kw) = x.shape, w.shape
    covered = [spread(k, d) for k, d in zip((kh, kw), dilation, strict=True)]
    oh, ow = ((m - e) // s + 1 for m, e, s in zip(size, covered, stride, strict=True))
    views = _windows(_wide(x), (kh, kw), dilation, (oh, ow), stride)
    views = views.reshape(n, groups, c // groups, oh, ow, kh, kw) if groups > 1 else views[:, None]
    kernels = _wide(w).reshape(groups, o // groups, c // groups, kh, kw)
    if groups == 1:
        out = np.tensordot(views[:, 0], kernels[0], axes=((1, 4, 5), (1, 2, 3)))
        out = out.transpose(0, 3, 1, 2)
    else:
        out = np.einsum("ngcyxhw,gochw->ngoyx", views, kernels, optimize=True)
    return out.reshape(n, o, oh, ow).astype(x.dtype)


def product_of(a: Expr, b: Expr, wide: DType) -> Expr:
    """The product of two elements in the dtype that sums are formed in."""
    return Call("mul", (cast_expr(a, wide), cast_expr(b, wide)), wide)


def sum_of_products(
    extents: Shape, dtype: DType, body: Callable[[Index, Index, Readers], Expr]
) -> Reduction:
    """A lowering that adds up `body` over `extents`, wider than `dtype` where that is narrow.

    Loops of one iteration are left out, so that pixels under a 1x1 kernel are one axis.
    """
    wide = accumulator(dtype)
    long = [k for k, n in enumerate(extents) if n != 1] or [0]

    def spread_out(idx: Index, red: Index, readers: Readers) -> Expr:
        steps: list[Expr] = [Const(0)] * len(extents)
        for k, step in zip(long, red, strict=True):
            steps[k] = step
        return body(idx, tuple(steps), readers)

    return Reduction(
        extents=tuple(extents[k] for k in long),
        combine="add",
        init=zero_of(wide),
        accumulate=wide,
        body=spread_out,
        finish=None if wide == dtype else lambda total: cast_expr(total, dtype),
    )


def in_channel(o: Expr, c: Expr, per_group_out: int, per_group_in: int, groups: int) -> Expr:
    """Input channel of element `c` of the group that output channel `o` belongs to."""
    if groups == 1:
        return c
    group = ifloordiv(o, per_group_out)
    return group if per_group_in == 1 else iadd(imul(group, per_group_in), c)


def _conv_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    x, w = inputs
    (sy, sx), (dy, dx) = pair_attr(attrs, "stride"), pair_attr(attrs, "dilation")
    groups, wide = integer(attrs, "groups"), accumulator(x.dtype)
    per_out, per_in = w.shape[0] // groups, w.shape[1]

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        (n, o, y, z), (c, ky, kx) = idx, red
        channel = in_channel(o, c, per_out, per_in, groups)
        row, column = iadd(imul(y, sy), imul(ky, dy)), iadd(imul(z, sx), imul(kx, dx))
        return product_of(readers[0]((n, channel, row, column)), readers[1]((o, c, ky, kx)), wide)

    return sum_of_products(w.shape[1:], x.dtype, body)


def _conv_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    x, w = site.inputs
    return [_input_gradient(g, w, x.shape, site.attrs), _kernel_gradient(x, g, w.shape, site.attrs)]


def _input_gradient(g: Value, w: Value, shape: Shape, attrs: Attrs) -> Value:
    stride, dilation = pair_attr(attrs, "stride"), pair_attr(attrs, "dilation")
    return spread_conv(g, w, (shape[2], shape[3]), stride, dilation, integer(attrs, "groups"))


def spread_conv(  # conv2d's parameters and the size asked for
    g: Value, w: Value, sizes: Pair, stride: Pair, dilation: Pair, groups: int
) -> Value:
    """The transpose of `conv2d` in its input: each pixel of `g` adds its multiple of `w`.

    Args:
        g: `[N, O, OH, OW]`.
        w: `[O, C / groups, kh, kw]`.
        sizes: of the result, at least what `g` covers; what it does not cover is zero.
        stride: between the places of neighbouring pixels.
        dilation: between neighbouring taps.
        groups: of channels.

    Returns:
        `[N, C, *sizes]`.
    """
    alone = w.shape[:2] == (groups, 1) and groups > 1  # there zeros are left out: conv_spread.py
    if stride != (1, 1) and dilation == (1, 1) and not alone:
        even = all(k % s == 0 for k, s in zip(w.shape[2:], stride, strict=True))
        few = w.shape[1] * groups < FEW_CHANNELS
        phases = _at_once if even or few else _one_by_one
        return phases(g, w, sizes, stride, groups)
    edges = [spread(k, d) - 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    covered = [spread(m, s) for m, s in zip(g.shape[2:], stride, strict=True)]
    wide = pad(
        g,
        (0, 0, *edges),
        (0, 0, *(n - c for n, c in zip(sizes, covered, strict=True))),
        interior=(0, 0, *(s - 1 for s in stride)),
    )
    return emit_conv(wide, flip(_exchanged(w, groups), (2, 3)), (1, 1), dilation, groups)


def _at_once(g: Value, w: Value, sizes: Pair, stride: Pair, groups: int) -> Value:
    """`spread_conv` without the zeros that a stride puts between pixels.

    Pixels of the result whose positions leave one remainder under the stride see every
    `stride`-th tap. Each remainder becomes an output channel, and the channels are interleaved;
    kernels are padded until all remainders see equally many taps.
    Source: Shi et al., Is the deconvolution layer the same as a convolutional layer? (2016).
    """
    (sy, sx), (n, _, oh, ow) = stride, g.shape
    u = _exchanged(w, groups)
    c, o, kh, kw = u.shape
    my, mx = -(-kh // sy), -(-kw // sx)
    u = pad(u, (0,) * 4, (0, 0, my * sy - kh, mx * sx - kw))
    u = flip(reshape(u, (c, o, my, sy, mx, sx)), (2, 4))
    u = reshape(transpose(u, (0, 3, 5, 1, 2, 4)), (c * sy * sx, o, my, mx))
    rows, columns = -(-sizes[0] // sy), -(-sizes[1] // sx)
    wide = pad(g, (0, 0, my - 1, mx - 1), (0, 0, rows - oh, columns - ow))
    y = reshape(emit_conv(wide, u, (1, 1), (1, 1), groups), (n, c, sy, sx, rows, columns))
    return _interleaved(y, sizes)


def _interleaved(y: Value, sizes: Pair) -> Value:
    """`[N, C, sy, sx, rows, columns]` -> `[N, C, *sizes]`: pixel `(q, p)` of each phase in turn."""
    n, c, sy, sx, rows, columns = y.shape
    y = reshape(transpose(y, (0, 1, 4, 2, 5, 3)), (n, c, rows * sy, columns * sx))
    return slice_(y, (0,) * 4, (n, c, *sizes))


def _one_by_one(g: Value, w: Value, sizes: Pair, stride: Pair, groups: int) -> Value:
    """`spread_conv` as a convolution for each phase, where phases see different numbers of taps."""
    u, (sy, sx) = _exchanged(w, groups), stride
    shape = (g.shape[0], u.shape[0], -(-sizes[0] // sy), -(-sizes[1] // sx))
    parts = [_phase(g, u, (a, b), stride, shape, groups) for a in range(sy) for b in range(sx)]
    y = stack(parts, 2)
    return _interleaved(reshape(y, (*shape[:2], sy, sx, *shape[2:])), sizes)


def _phase(  # the transposed kernel, the phase, and the shape of each
    g: Value, u: Value, phase: Pair, stride: Pair, shape: Shape, groups: int
) -> Value:
    """The pixels of the result at `phase` under the stride; zeros where no tap reaches them."""
    start, step = (0, 0, *phase), (1, 1, *stride)
    if any(p >= k for p, k in zip(phase, u.shape[2:], strict=True)):
        return zeros(shape, g.dtype)
    taps = flip(slice_(u, start, u.shape, step), (2, 3))
    edges = [k - 1 for k in taps.shape[2:]]
    ends = [n - m for n, m in zip(shape[2:], g.shape[2:], strict=True)]
    wide = pad(g, (0, 0, *edges), (0, 0, *ends))
    return emit_conv(wide, taps, (1, 1), (1, 1), groups)


def _exchanged(w: Value, groups: int) -> Value:
    """`[O, C / g, kh, kw]` -> `[C, O / g, kh, kw]`, each group by itself."""
    o, c, kh, kw = w.shape
    split = reshape(w, (groups, o // groups, c, kh, kw))
    return reshape(transpose(split, (0, 2, 1, 3, 4)), (groups * c, o // groups, kh, kw))


def _kernel_gradient(x: Value, g: Value, shape: Shape, attrs: Attrs) -> Value:
    kernel = shape[2:]
    return emit(CONV2D_KERNEL_GRAD, x, g, kernel=kernel, **attrs)


def _conv_jvp(site: Site, tx: Value | None, tw: Value | None) -> Sequence[Value | None]:
    x, w = site.inputs
    parts = [] if tx is None else [emit(CONV2D, tx, w, **site.attrs)]
    parts += [] if tw is None else [emit(CONV2D, x, tw, **site.attrs)]
    return [_total(parts)]


def _total(parts: Sequence[Value]) -> Value | None:
    return None if not parts else parts[0] if len(parts) == 1 else add(parts[0], parts[1])


def _conv_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    x, w = site.inputs
    groups, (stride, dilation) = integer(site.attrs, "groups"), _steps(site.attrs)
    if not batched[1]:  # more images
        y = emit_conv(reshape(x, (-1, *x.shape[2:])), w, stride, dilation, groups)
        return [reshape(y, (size, x.shape[1], *y.shape[1:]))]
    if not batched[0]:  # more filters, within each group
        b, o, *rest = w.shape
        by_group = moveaxis(reshape(w, (b, groups, o // groups, *rest)), 0, 1)
        y = emit_conv(x, reshape(by_group, (b * o, *rest)), stride, dilation, groups)
        apart = reshape(y, (y.shape[0], groups, b, o // groups, *y.shape[2:]))
        return [reshape(moveaxis(apart, 2, 0), (b, y.shape[0], o, *y.shape[2:]))]
    images = _channels_of_all(x)  # more groups
    kernels = reshape(w, (-1, *w.shape[2:]))
    return [_unmerged(emit_conv(images, kernels, stride, dilation, groups * size), size)]


def _steps(attrs: Attrs) -> tuple[Pair, Pair]:
    return pair_attr(attrs, "stride"), pair_attr(attrs, "dilation")


def _channels_of_all(x: Value) -> Value:
    """`[B, N, C, H, W]` -> `[N, B C, H, W]`."""
    b, n, c, *size = x.shape
    return reshape(moveaxis(x, 0, 1), (n, b * c, *size))


def _unmerged(y: Value, size: int) -> Value:
    """`[N, B C, H, W]` -> `[B, N, C, H, W]`."""
    n, c, *rest = y.shape
    return moveaxis(reshape(y, (n, size, c // size, *rest)), 1, 0)


def cost_of_conv(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """Two operations for each product; every byte once."""
    (x, w), y = inputs, outputs[0]
    products = y.size * (w.size // max(w.shape[0], 1))
    return Cost(2 * products, x.nbytes + w.nbytes + y.nbytes)


Case = tuple[Shape, Shape, Pair, Pair, int, DType]
_CASES: tuple[Case, ...] = (
    ((2, 3, 5, 5), (4, 3, 3, 3), (1, 1), (1, 1), 1, float32),
    ((1, 4, 7, 6), (6, 2, 3, 2), (2, 1), (1, 2), 2, float64),
    ((2, 3, 6, 5), (3, 1, 3, 3), (1, 2), (1, 1), 3, float32),
    ((1, 2, 1, 1), (1, 2, 1, 1), (1, 1), (1, 1), 1, float32),
    ((3, 1, 7, 1), (2, 1, 2, 1), (2, 1), (3, 1), 1, float32),
    ((0, 2, 3, 3), (2, 2, 2, 2), (1, 1), (1, 1), 1, float32),
    ((1, 2, 4, 4), (3, 2, 3, 3), (1, 1), (1, 1), 1, float16),
    ((1, 2, 3, 3), (3, 2, 2, 2), (1, 1), (1, 1), 1, int32),
)


def _conv_samples() -> Sequence[Sample]:
    return [
        Sample(
            (TensorType(x, dtype), TensorType(w, dtype)),
            {"stride": stride, "dilation": dilation, "groups": groups},
        )
        for x, w, stride, dilation, groups, dtype in _CASES
    ]


CONV2D: Op = Op(
    name="conv2d",
    doc=(
        "`y[n, o, i, j] = sum over c, k, l of x[n, c, i s + k d, j s + l d] w[o, c, k, l]`, each"
        " group of output channels reading its own input channels. Primitive: composed of gathers"
        " and `dot_general` it would copy the input once per tap."
    ),
    infer=infer_conv,
    reference=reference_conv,
    vjp=_conv_vjp,
    jvp=_conv_jvp,
    batch=_conv_batch,
    lower=_conv_lower,
    cost=cost_of_conv,
    samples=_conv_samples,
)


def emit_conv(x: Value, w: Value, stride: Pair, dilation: Pair, groups: int) -> Value:
    """The record as a function: equal dtypes, no padding."""
    return emit(CONV2D, x, w, stride=stride, dilation=dilation, groups=groups)


# conv2d_kernel_grad ------------------------------------------------------------------------------


def infer_kernel_grad(
    x: TensorType, g: TensorType, *, kernel: Pair, stride: Pair, dilation: Pair, groups: int
) -> TensorType:
    """The type of `conv2d_kernel_grad`'s result.

    Raises:
        ShapeError, DTypeError, ArgumentError: operands or attributes do not fit.
    """
    _check_images("conv2d_kernel_grad", x, g, "g")
    o, c = g.shape[1], x.shape[1]
    w = TensorType((o, c // max(groups, 1), *kernel), x.dtype)
    if infer_conv(x, w, stride=stride, dilation=dilation, groups=groups) != g:
        operands: dict[str, object] = {"x": x.shape, "g": g.shape, "kernel": kernel}
        rule = "g must have the shape of conv2d's output"
        raise ShapeError("conv2d_kernel_grad", rule, operands=operands)
    return w


def reference_kernel_grad(
    x: Array, g: Array, *, kernel: Pair, stride: Pair, dilation: Pair, groups: int
) -> Array:
    """`conv2d_kernel_grad` in NumPy."""
    (n, c, *_), (_, o, oh, ow) = x.shape, g.shape
    views = _windows(_wide(x), kernel, dilation, (oh, ow), stride)
    if groups == 1:
        out = np.tensordot(_wide(g), views, axes=((0, 2, 3), (0, 2, 3)))
    else:
        views = views.reshape(n, groups, c // groups, oh, ow, *kernel)
        split = _wide(g).reshape(n, groups, o // groups, oh, ow)
        out = np.einsum("ngcyxhw,ngoyx->gochw", views, split, optimize=True)
    return out.reshape(o, c // groups, *kernel).astype(x.dtype)


def _kernel_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    return sum_over_images(
        inputs, outputs, attrs, lambda reader, n, c, places: reader((n, c, *places))
    )


def sum_over_images(inputs: Types, outputs: Types, attrs: Attrs, pixel: Pixel) -> Lowering:
    """A kernel gradient's sum; `pixel` reads a pixel of the image."""
    (x, g), w = inputs, outputs[0]
    (sy, sx), (dy, dx) = _steps(attrs)
    groups, wide = integer(attrs, "groups"), accumulator(x.dtype)
    per_out, per_in = w.shape[0] // groups, w.shape[1]

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        (o, c, ky, kx), (n, y, z) = idx, red
        channel = in_channel(o, c, per_out, per_in, groups)
        row, column = iadd(imul(y, sy), imul(ky, dy)), iadd(imul(z, sx), imul(kx, dx))
        value = pixel(readers[0], n, channel, (row, column))
        return product_of(value, readers[1]((n, o, y, z)), wide)

    return sum_of_products((g.shape[0], *g.shape[2:]), x.dtype, body)


def _conv_attrs(attrs: Attrs) -> Attrs:
    return {name: value for name, value in attrs.items() if name != "kernel"}


def _kernel_vjp(site: Site, v: Value) -> Sequence[Value | None]:
    (x, g), attrs = site.inputs, _conv_attrs(site.attrs)
    return [_input_gradient(g, v, x.shape, attrs), emit(CONV2D, x, v, **attrs)]


def _kernel_jvp(site: Site, tx: Value | None, tg: Value | None) -> Sequence[Value | None]:
    x, g = site.inputs
    parts = [] if tx is None else [emit(CONV2D_KERNEL_GRAD, tx, g, **site.attrs)]
    parts += [] if tg is None else [emit(CONV2D_KERNEL_GRAD, x, tg, **site.attrs)]
    return [_total(parts)]


def _kernel_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    pairs = zip(site.inputs, batched, strict=True)
    x, g = (v if b else broadcast_to(v, (size, *v.shape)) for v, b in pairs)
    attrs = {**site.attrs, "groups": integer(site.attrs, "groups") * size}
    w = emit(CONV2D_KERNEL_GRAD, _channels_of_all(x), _channels_of_all(g), **attrs)
    return [reshape(w, (size, w.shape[0] // size, *w.shape[1:]))]


def cost_of_kernel_grad(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """Two operations for each product; every byte once."""
    (x, g), w = inputs, outputs[0]
    products = w.size * (g.size // max(g.shape[1], 1))
    return Cost(2 * products, x.nbytes + g.nbytes + w.nbytes)


def _kernel_samples() -> Sequence[Sample]:
    samples = []
    for x, w, stride, dilation, groups, dtype in _CASES:
        attrs: Attrs = {"stride": stride, "dilation": dilation, "groups": groups}
        images = TensorType(x, dtype)
        g = CONV2D.infer(images, TensorType(w, dtype), **attrs)
        if isinstance(g, TensorType):
            samples.append(Sample((images, g), {"kernel": w[2:], **attrs}))
    return samples


CONV2D_KERNEL_GRAD: Op = Op(
    name="conv2d_kernel_grad",
    doc=(
        "The gradient of `conv2d` for its kernel: `w[o, c, k, l] = sum over n, i, j of"
        " x[n, c, i s + k d, j s + l d] g[n, o, i, j]`. Primitive: as a `conv2d` with batch and"
        " channels exchanged it would move both operands."
    ),
    infer=infer_kernel_grad,
    reference=reference_kernel_grad,
    vjp=_kernel_vjp,
    jvp=_kernel_jvp,
    batch=_kernel_batch,
    lower=_kernel_lower,
    cost=cost_of_kernel_grad,
    samples=_kernel_samples,
)


RECORDS: tuple[Op, ...] = (CONV2D, CONV2D_KERNEL_GRAD)
