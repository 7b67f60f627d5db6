"""Windows that slide over the last axes: their maximum, its position, and their sum.

The leading axes are independent, so batching needs no rule. Records know no padding: the pooling
functions pad first, with what cannot win or does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pellucid.core.dtype import DType, bool_, float16, float32, float64, int32, int64
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import Shape, size_of
from pellucid.graph.ir import Attr, Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Index, Loops, Lowering, Readers, Reduction
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    Load,
    Stmt,
    Store,
    compare,
    const,
    iadd,
    ifloordiv,
    imax,
    imin,
    imod,
    imul,
    select,
)
from pellucid.ops.conv import spread
from pellucid.ops.index import gather
from pellucid.ops.movement import broadcast_to, pad, reshape
from pellucid.ops.shared import (
    Array,
    Types,
    accumulator,
    cast_expr,
    flatten_index,
    ints,
    lowest,
    nest,
    require_real,
    zero_of,
)

PARALLEL_ELEMENTS = 1 << 14


def _windowed(op: str, x: TensorType, window: Shape, stride: Shape, dilation: Shape) -> Shape:
    """The windowed axes' sizes in the result."""
    operands: dict[str, object] = {"x": x.shape, "window": window, "stride": stride}
    operands["dilation"] = dilation
    if not len(window) == len(stride) == len(dilation) <= x.rank:
        rule = "window, stride and dilation need one entry per windowed axis"
        raise ShapeError(op, rule, operands=operands)
    if any(n < 1 for n in (*window, *stride, *dilation)):
        raise ArgumentError(op, "window, stride and dilation must be >= 1", operands=operands)
    sizes = x.shape[x.rank - len(window) :]
    rest = [n - spread(k, d) for n, k, d in zip(sizes, window, dilation, strict=True)]
    if any(r < 0 for r in rest):
        raise ShapeError(op, "the window must fit in the padded input", operands=operands)
    return tuple(r // s + 1 for r, s in zip(rest, stride, strict=True))


def _infer(op: str, x: TensorType, attrs: Attrs) -> TensorType:
    if x.dtype.kind == "bool":
        raise DTypeError(op, "takes numbers, not bool", operands={"x": x})
    require_real(op, x)
    window = ints(attrs, "window")
    sizes = _windowed(op, x, window, ints(attrs, "stride"), ints(attrs, "dilation"))
    return TensorType((*x.shape[: x.rank - len(window)], *sizes), x.dtype)


def _views(x: Array, window: Shape, stride: Shape, dilation: Shape) -> Array:
    """`x` as `[lead.., positions.., window..]`, without copying."""
    lead = x.ndim - len(window)
    kind = TensorType(x.shape, float32)
    counts = _windowed("window", kind, window, stride, dilation)
    step = x.strides[lead:]
    hops = [b * s for b, s in zip(step, stride, strict=True)]
    taps = [b * d for b, d in zip(step, dilation, strict=True)]
    shape = (*x.shape[:lead], *counts, *window)
    return as_strided(x, shape, (*x.strides[:lead], *hops, *taps), writeable=False)


def _taps(attrs: Attrs, idx: Index, red: Index) -> Index:
    """Where tap `red` of the window at `idx` reads."""
    lead = len(idx) - len(red)
    steps = zip(idx[lead:], ints(attrs, "stride"), red, ints(attrs, "dilation"), strict=True)
    return (*idx[:lead], *(iadd(imul(i, s), imul(k, d)) for i, s, k, d in steps))


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    y = outputs[0]
    return Cost(y.size * size_of(ints(attrs, "window")), inputs[0].nbytes + y.nbytes)


def _geometry(window: Shape, stride: Shape, dilation: Shape) -> Attrs:
    return {"window": window, "stride": stride, "dilation": dilation}


_CASES: tuple[tuple[Shape, Shape, Shape, Shape, DType], ...] = (
    ((2, 3, 6, 4), (2, 2), (2, 2), (1, 1), float32),
    ((1, 2, 7, 5), (3, 2), (2, 1), (2, 1), float64),
    ((2, 5, 5), (3, 3), (1, 1), (1, 1), float32),
    ((9,), (4,), (3,), (1,), float32),
    ((0, 3, 3), (2, 2), (1, 1), (1, 1), float32),
    ((1, 1, 1), (1, 1), (1, 1), (1, 1), float32),
    ((2, 4, 4), (2, 2), (2, 2), (1, 1), int32),
    ((1, 5), (2,), (3,), (1,), float16),
)


def _samples() -> Sequence[Sample]:
    return [
        Sample((TensorType(shape, dtype),), _geometry(window, stride, dilation))
        for shape, window, stride, dilation, dtype in _CASES
    ]


# window_sum --------------------------------------------------------------------------------------


def _sum_reference(x: Array, *, window: Shape, stride: Shape, dilation: Shape) -> Array:
    views = _views(x, window, stride, dilation)
    narrow = x.dtype.kind not in "biu" and x.dtype.itemsize < 4
    axes = tuple(range(views.ndim - len(window), views.ndim))
    total = np.sum(views, axis=axes, dtype=np.dtype(np.float32) if narrow else x.dtype)
    return np.asarray(total).astype(x.dtype)


def _sum_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    dtype = inputs[0].dtype
    wide = accumulator(dtype)

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        return cast_expr(readers[0](_taps(attrs, idx, red)), wide)

    return Reduction(
        extents=ints(attrs, "window"),
        combine="add",
        init=zero_of(wide),
        accumulate=wide,
        body=body,
        finish=None if wide == dtype else lambda total: cast_expr(total, dtype),
    )


def _sum_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    """Every input gets the sum of the windows it is in: `g`, spread out, in windows again."""
    shape, window = site.inputs[0].shape, ints(site.attrs, "window")
    stride, dilation = ints(site.attrs, "stride"), ints(site.attrs, "dilation")
    lead = len(shape) - len(window)
    edges = [spread(k, d) - 1 for k, d in zip(window, dilation, strict=True)]
    covered = [spread(n, s) + e for n, s, e in zip(g.shape[lead:], stride, edges, strict=True)]
    ends = [e + n - c for e, n, c in zip(edges, shape[lead:], covered, strict=True)]
    none = (0,) * lead
    wide = pad(g, (*none, *edges), (*none, *ends), interior=(*none, *(s - 1 for s in stride)))
    return [window_sum(wide, window, (1,) * len(window), dilation)]


WINDOW_SUM: Op = Op(
    name="window_sum",
    doc=(
        "The sum of each window over the last axes; narrow floats are added in float32. Primitive:"
        " as a convolution it would multiply by ones."
    ),
    infer=lambda x, **attrs: _infer("window_sum", x, attrs),
    reference=_sum_reference,
    vjp=_sum_vjp,
    jvp=lambda site, t: [None if t is None else emit(WINDOW_SUM, t, **site.attrs)],
    batch=lambda site, batched, size: [emit(WINDOW_SUM, site.inputs[0], **site.attrs)],
    lower=_sum_lower,
    cost=_cost,
    samples=_samples,
)


def window_sum(x: Value, window: Shape, stride: Shape, dilation: Shape) -> Value:
    """The record as a function."""
    return emit(WINDOW_SUM, x, window=window, stride=stride, dilation=dilation)


# window_max and the position of the maximum ------------------------------------------------------


def _max_reference(x: Array, *, window: Shape, stride: Shape, dilation: Shape) -> Array:
    views = _views(x, window, stride, dilation)
    return np.asarray(np.max(views, axis=tuple(range(views.ndim - len(window), views.ndim))))


def _max_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    dtype = inputs[0].dtype

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        return readers[0](_taps(attrs, idx, red))

    return Reduction(
        extents=ints(attrs, "window"),
        combine="max",
        init=lowest(dtype),
        accumulate=dtype,
        body=body,
    )


def _max_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    return [emit(WINDOW_MAX_GRAD, site.inputs[0], g, **site.attrs)]


def _at_maximum(x: Value, t: Value, attrs: Attrs) -> Value:
    """`t`'s elements where the windows of `x` have their maximum."""
    lead = len(x.shape) - len(ints(attrs, "window"))
    where = emit(WINDOW_ARGMAX, x, **attrs)
    planes = reshape(t, (*x.shape[:lead], size_of(x.shape[lead:])))
    return gather(planes, where, axis=lead, batch=lead, nan=False)


def _max_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    return [None if t is None else _at_maximum(site.inputs[0], t, site.attrs)]


WINDOW_MAX: Op = Op(
    name="window_max",
    doc=(
        "The maximum of each window over the last axes; NaN if there is one. Gradient: to the first"
        " maximum of the window. Primitive: composed of slices it would read every element per tap."
    ),
    infer=lambda x, **attrs: _infer("window_max", x, attrs),
    reference=_max_reference,
    vjp=_max_vjp,
    jvp=_max_jvp,
    batch=lambda site, batched, size: [emit(WINDOW_MAX, site.inputs[0], **site.attrs)],
    lower=_max_lower,
    cost=_cost,
    samples=_samples,
)


def window_max(x: Value, window: Shape, stride: Shape, dilation: Shape) -> Value:
    """The record as a function."""
    return emit(WINDOW_MAX, x, window=window, stride=stride, dilation=dilation)


def _argmax_reference(x: Array, *, window: Shape, stride: Shape, dilation: Shape) -> Array:
    """Row-major positions in the windowed axes of the first maximum, or of the first NaN."""
    lead = x.ndim - len(window)
    views = _views(x, window, stride, dilation)
    counts, sizes = views.shape[lead : lead + len(window)], x.shape[lead:]
    if x.dtype.kind not in "biu":
        views = views.astype(np.float64)
    best = views.reshape(*views.shape[: lead + len(window)], size_of(window)).argmax(-1)
    taps = np.unravel_index(best, window)
    position = np.zeros(best.shape, np.int64)
    for axis, (n, s, d) in enumerate(zip(sizes, stride, dilation, strict=True)):
        first = np.arange(counts[axis]).reshape(-1, *(1,) * (len(window) - axis - 1)) * s
        position = position * n + first + taps[axis] * d
    return position


def _argmax_infer(x: TensorType, **attrs: Attr) -> TensorType:
    return TensorType(_infer("window_argmax", x, attrs).shape, int64)


def _better(value: Expr, best: Expr) -> Expr:
    """Whether `value` beats an earlier `best`: greater, or the first NaN."""
    greater = Call("gt", (value, best), bool_)
    if not value.dtype.is_float:
        return greater
    number = Call("not", (Call("isnan", (best,), bool_),), bool_)
    nan = Call("and", (Call("isnan", (value,), bool_), number), bool_)
    return Call("or", (greater, nan), bool_)


def _find_maximum(
    x: Buffer, idx: Index, attrs: Attrs, done: tuple[Stmt, ...], found: tuple[Buffer, Buffer]
) -> tuple[Stmt, ...]:
    """Statements that leave a window's maximum and its tap's number in two locals, then `done`."""
    window = ints(attrs, "window")
    best, at = found
    zero = (Const(0),)

    def tap(red: Index) -> tuple[Stmt, ...]:
        value, held = Load(x, _taps(attrs, idx, red)), Load(best, zero)
        wins = _better(value, held)  # a branch here would be guessed wrong half the time
        return (
            Store(at, zero, select(wins, _number(red, window), Load(at, zero))),
            Store(best, zero, select(wins, value, held)),
        )

    first = (Const(0),) * len(window)
    start = (
        Store(best, zero, Load(x, _taps(attrs, idx, first))),
        Store(at, zero, Const(0, int32)),
    )
    return (Alloc(best, (Alloc(at, (*start, *nest("k", window, tap), *done)),)),)


def _number(red: Index, window: Shape) -> Expr:
    """A tap's number in its window: 32 bits, as wide as the elements it is chosen beside."""
    return Call("cast", (flatten_index(red, window),), int32)


def _found_at(at: Buffer, idx: Index, x: Buffer, attrs: Attrs) -> Index:
    """Where in the windowed axes the tap lies whose number is in `at`."""
    window = ints(attrs, "window")
    number = Call("cast", (Load(at, (Const(0),)),), int64)
    return _taps(attrs, idx, _position(number, window))[len(idx) - len(window) :]


def _locals(dtype: DType) -> tuple[Buffer, Buffer]:
    return Buffer("best", (1,), dtype, "local"), Buffer("at", (1,), int32, "local")


def _argmax_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        (x,), (out,) = sources, results
        found = _locals(x.dtype)

        def window(idx: Index) -> tuple[Stmt, ...]:
            lead = len(x.shape) - len(ints(attrs, "window"))
            position = flatten_index(_found_at(found[1], idx, x, attrs), x.shape[lead:])
            done = (Store(out, idx, position),)
            return _find_maximum(x, idx, attrs, done, found)

        return _maybe_parallel(nest("i", out.shape, window), out.size)

    return Loops(build=build)


def _maybe_parallel(loops: tuple[Stmt, ...], elements: int) -> tuple[Stmt, ...]:
    first = loops[0]
    if elements < PARALLEL_ELEMENTS or not isinstance(first, For):
        return loops
    return (For(first.var, first.extent, first.body, "parallel"),)


WINDOW_ARGMAX: Op = Op(
    name="window_argmax",
    doc=(
        "Where the first maximum of each window lies, as a row-major position in the windowed axes."
        " Primitive: what second derivatives of `window_max` gather at."
    ),
    infer=_argmax_infer,
    reference=_argmax_reference,
    vjp=None,
    jvp=None,
    batch=lambda site, batched, size: [emit(WINDOW_ARGMAX, site.inputs[0], **site.attrs)],
    lower=_argmax_lower,
    cost=_cost,
    samples=_samples,
)


# window_max_grad ---------------------------------------------------------------------------------


def _grad_infer(x: TensorType, g: TensorType, **attrs: Attr) -> TensorType:
    y = _infer("window_max_grad", x, attrs)
    if y != g:
        operands: dict[str, object] = {"x": x, "g": g, "wanted": y}
        raise ShapeError("window_max_grad", "g must be like window_max's result", operands=operands)
    return x


def _grad_reference(x: Array, g: Array, *, window: Shape, stride: Shape, dilation: Shape) -> Array:
    lead = x.ndim - len(window)
    where = _argmax_reference(x, window=window, stride=stride, dilation=dilation)
    planes = np.zeros((size_of(x.shape[:lead]), size_of(x.shape[lead:])), x.dtype)
    rows = np.arange(planes.shape[0])[:, None]
    count = size_of(g.shape[lead:])
    flat = (planes.shape[0], count)
    np.add.at(planes, (rows, where.reshape(flat)), g.reshape(flat))
    return planes.reshape(x.shape)


def _grad_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    lead = inputs[0].rank - len(ints(attrs, "window"))
    windows = _tile_windows if _windows_tile(inputs[0].shape[lead:], attrs) else _scatter_windows

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        buffers = (*sources, *results)
        planes = nest("o", buffers[0].shape[:lead], lambda before: windows(buffers, before, attrs))
        return _maybe_parallel(planes, buffers[0].size) if lead else planes

    return Loops(build=build)


def _windows_tile(sizes: Shape, attrs: Attrs) -> bool:
    """Whether every element is in exactly one window."""
    window = ints(attrs, "window")
    plain = ints(attrs, "stride") == window and set(ints(attrs, "dilation")) == {1}
    return plain and all(n % k == 0 for n, k in zip(sizes, window, strict=True))


def _tile_windows(buffers: tuple[Buffer, ...], before: Index, attrs: Attrs) -> tuple[Stmt, ...]:
    """Each window writes all its elements: `g` at the maximum, zeros elsewhere."""
    x, g, out = buffers
    lead, found, window = len(before), _locals(x.dtype), ints(attrs, "window")

    def one_window(idx: Index) -> tuple[Stmt, ...]:
        def write(red: Index) -> tuple[Stmt, ...]:
            here = compare("eq", Load(found[1], (Const(0),)), _number(red, window))
            made = select(here, Load(g, idx), _zero(out))
            return (Store(out, _taps(attrs, idx, red), made),)

        return _find_maximum(x, idx, attrs, nest("w", window, write), found)

    return nest("i", g.shape[lead:], lambda i: one_window((*before, *i)))


def _scatter_windows(buffers: tuple[Buffer, ...], before: Index, attrs: Attrs) -> tuple[Stmt, ...]:
    """Zeros, then each window adds to the element where its maximum is, one after the other."""
    x, g, out = buffers
    lead, found = len(before), _locals(x.dtype)

    def one_window(idx: Index) -> tuple[Stmt, ...]:
        target = (*before, *_found_at(found[1], idx, x, attrs))
        total = Call("add", (Load(out, target), Load(g, idx)), out.dtype)
        return _find_maximum(x, idx, attrs, (Store(out, target, total),), found)

    clear = nest("z", x.shape[lead:], lambda z: (Store(out, (*before, *z), _zero(out)),))
    return (*clear, *nest("i", g.shape[lead:], lambda i: one_window((*before, *i))))


def _zero(out: Buffer) -> Expr:
    return const(zero_of(out.dtype), out.dtype)


def _position(flat: Expr, sizes: Shape) -> Index:
    """Indices from a row-major position read from memory, clamped for the bounds check."""
    at = imin(imax(flat, 0), size_of(sizes) - 1)
    result: list[Expr] = []
    for n in reversed(sizes):
        result.append(imod(at, n))
        at = ifloordiv(at, n)
    return tuple(reversed(result))


def _grad_vjp(site: Site, v: Value) -> Sequence[Value | None]:
    return [None, _at_maximum(site.inputs[0], v, site.attrs)]


def _grad_jvp(site: Site, tx: Value | None, tg: Value | None) -> Sequence[Value | None]:
    return [None if tg is None else emit(WINDOW_MAX_GRAD, site.inputs[0], tg, **site.attrs)]


def _grad_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    pairs = zip(site.inputs, batched, strict=True)
    full = [v if b else broadcast_to(v, (size, *v.shape)) for v, b in pairs]
    return [emit(WINDOW_MAX_GRAD, *full, **site.attrs)]


def _grad_samples() -> Sequence[Sample]:
    samples = []
    for shape, window, stride, dilation, dtype in _CASES:
        attrs, x = _geometry(window, stride, dilation), TensorType(shape, dtype)
        samples.append(Sample((x, _infer("window_max_grad", x, attrs)), attrs))
    return samples


WINDOW_MAX_GRAD: Op = Op(
    name="window_max_grad",
    doc=(
        "The gradient of `window_max`: each element of `g` is added where the first maximum of its"
        " window in `x` lies. Primitive: one pass instead of argmax and scatter."
    ),
    infer=_grad_infer,
    reference=_grad_reference,
    vjp=_grad_vjp,
    jvp=_grad_jvp,
    batch=_grad_batch,
    lower=_grad_lower,
    cost=lambda inputs, outputs, attrs: Cost(
        inputs[1].size * size_of(ints(attrs, "window")),
        sum(t.nbytes for t in (*inputs, *outputs)),
    ),
    samples=_grad_samples,
)

RECORDS: tuple[Op, ...] = (WINDOW_SUM, WINDOW_MAX, WINDOW_ARGMAX, WINDOW_MAX_GRAD)
