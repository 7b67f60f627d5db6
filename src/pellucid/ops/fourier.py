"""Discrete Fourier transforms: the records.

All three are linear, so a tangent takes the same way as the value, and a cotangent the adjoint's.
The adjoint of a transform is the inverse one without its scale, so the same with the norm turned
round: `backward` and `forward` change places. A real transform keeps half of the frequencies; the
ones that stand for two count double.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from pellucid.core.dtype import DType, complex64, complex128, float32, float64
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape
from pellucid.core.size import Size
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import host_lowering
from pellucid.ops.arithmetic import divide, multiply
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, logical_or, where
from pellucid.ops.create import iota
from pellucid.ops.layout import reshape
from pellucid.ops.shared import Array, Types, integer, ints

TURNED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
"""The norm of the adjoint, by the norm."""


def _adjoint_norm(attrs: Attrs) -> str:
    return TURNED[cast("str", attrs["norm"])]


def _check(op: str, x: TensorType, axes: Sequence[int], *, complex_: bool) -> None:
    kinds = (complex64, complex128) if complex_ else (float32, float64)
    if x.dtype not in kinds:
        rule = f"takes {kinds[0].name} and {kinds[1].name}"
        raise DTypeError(op, rule, operands={"x": x})
    operands: dict[str, object] = {"x": x, "axes": tuple(axes)}
    if any(not 0 <= a < x.rank for a in axes) or len(set(axes)) < len(axes):
        raise ShapeError(op, "axes must be distinct, non-negative and in range", operands=operands)
    if any(x.shape[a] == 0 for a in axes):
        raise ShapeError(op, "needs at least one point along an axis", operands=operands)


def _resized(x: TensorType, axis: int, size: int, dtype: DType) -> TensorType:
    return TensorType((*x.shape[:axis], size, *x.shape[axis + 1 :]), dtype)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """`5 n log2 n` operations per transform of n points (Van Loan 1992)."""
    widest = outputs[0] if outputs[0].dtype.kind == "float" else inputs[0]  # not half of it
    axes = ints(attrs, "axes") if "axes" in attrs else (integer(attrs, "axis"),)
    flops = 5 * widest.size * sum(_levels(widest.shape[a]) for a in axes)
    return Cost(flops, inputs[0].nbytes + outputs[0].nbytes)


def _levels(n: int) -> int:
    """The logarithm of n, rounded up; that of 256 for a size that is not known yet."""
    return 8 if isinstance(n, Size) else max(n - 1, 0).bit_length()


# complex to complex -----------------------------------------------------------------------------


def _fft_infer(x: TensorType, *, axes: tuple[int, ...], inverse: bool, norm: str) -> TensorType:
    _check("fft", x, axes, complex_=True)
    return x


def _fft_reference(x: Array, *, axes: tuple[int, ...], inverse: bool, norm: Any) -> Array:
    transform = np.fft.ifftn if inverse else np.fft.fftn
    return np.asarray(transform(x, axes=axes, norm=norm))


def _fft_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    inverse, norm = not site.attrs["inverse"], _adjoint_norm(site.attrs)
    return [emit(FFT, g, axes=ints(site.attrs, "axes"), inverse=inverse, norm=norm)]


def _fft_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    axes = tuple(a + 1 for a in ints(site.attrs, "axes"))
    return [emit(FFT, site.inputs[0], **{**site.attrs, "axes": axes})]


def _waves(*shape: int, dtype: DType = complex128) -> Array:
    rng = np.random.default_rng(10)
    made: Array = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return made.astype(dtype.numpy)


def _fft_samples() -> Sequence[Sample]:
    def case(x: Array | TensorType, axes: Shape, inverse: bool, norm: str) -> Sample:
        return Sample((x,), {"axes": axes, "inverse": inverse, "norm": norm})

    return [
        case(_waves(5), (0,), False, "backward"),
        case(_waves(3, 4), (1, 0), True, "backward"),
        case(_waves(2, 3, 4, dtype=complex64), (0, 2), False, "ortho"),
        case(_waves(1, 6), (1,), True, "forward"),
        case(_waves(2, 2), (), False, "forward"),
        case(_waves(0, 3), (1,), False, "backward"),
    ]


FFT: Op = Op(
    name="fft",
    doc=(
        "The discrete Fourier transform of complex numbers along some axes, or its inverse."
        " Primitive: composed of products it would take n operations per point, not log n."
    ),
    infer=_fft_infer,
    reference=_fft_reference,
    vjp=_fft_vjp,
    jvp=lambda site, t: [None if t is None else emit(FFT, t, **site.attrs)],
    batch=_fft_batch,
    lower=host_lowering(_fft_reference),
    cost=_cost,
    samples=_fft_samples,
)


# real to half of the frequencies, and back ------------------------------------------------------


def _rfft_infer(x: TensorType, *, axis: int, norm: str) -> TensorType:
    _check("rfft", x, (axis,), complex_=False)
    return _resized(x, axis, x.shape[axis] // 2 + 1, x.dtype.complex)


def _rfft_reference(x: Array, *, axis: int, norm: Any) -> Array:
    return np.asarray(np.fft.rfft(x, axis=axis, norm=norm))


def _shares(n: int, like: Value, axis: int) -> Value:
    """How many frequencies of a transform of n points each of the kept ones stands for."""
    place = iota((n // 2 + 1,), 0)
    single = logical_or(equal(place, 0), equal(multiply(place, 2), n))
    counts = astype(where(single, 1, 2), like.dtype.real)
    return reshape(counts, [n // 2 + 1 if a == axis else 1 for a in range(like.rank)])


def _rfft_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    axis = integer(site.attrs, "axis")
    n, norm = site.inputs[0].shape[axis], _adjoint_norm(site.attrs)
    return [irfft_of(divide(g, _shares(n, g, axis)), axis, n, norm)]


def _rfft_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    attrs = {**site.attrs, "axis": integer(site.attrs, "axis") + 1}
    return [emit(RFFT, site.inputs[0], **attrs)]


def _rfft_samples() -> Sequence[Sample]:
    def case(x: TensorType, axis: int, norm: str) -> Sample:
        return Sample((x,), {"axis": axis, "norm": norm})

    return [
        case(TensorType((5,), float64), 0, "backward"),
        case(TensorType((2, 6), float64), 1, "ortho"),
        case(TensorType((4, 3), float32), 0, "forward"),
        case(TensorType((1,), float64), 0, "backward"),
        case(TensorType((0, 2), float32), 1, "backward"),
    ]


RFFT: Op = Op(
    name="rfft",
    doc=(
        "The discrete Fourier transform of real numbers along an axis: the first `n // 2 + 1`"
        " frequencies, whose conjugates are the others. Primitive: half the work of `fft`."
    ),
    infer=_rfft_infer,
    reference=_rfft_reference,
    vjp=_rfft_vjp,
    jvp=lambda site, t: [None if t is None else emit(RFFT, t, **site.attrs)],
    batch=_rfft_batch,
    lower=host_lowering(_rfft_reference),
    cost=_cost,
    samples=_rfft_samples,
)


def irfft_of(x: Value, axis: int, n: int, norm: str) -> Value:
    """`n` real numbers from the first `n // 2 + 1` frequencies along an axis."""
    return emit(IRFFT, x, axis=axis, n=n, odd=n % 2 > 0, norm=norm)


def _irfft_infer(x: TensorType, *, axis: int, n: int, odd: bool, norm: str) -> TensorType:
    _check("irfft", x, (axis,), complex_=True)
    if n < 1 or x.shape[axis] != n // 2 + 1:
        operands: dict[str, object] = {"x": x, "n": n}
        raise ShapeError("irfft", f"needs n // 2 + 1 frequencies at axis {axis}", operands=operands)
    return _resized(x, axis, n, x.dtype.real)


def _irfft_reference(x: Array, *, axis: int, n: int, odd: bool, norm: Any) -> Array:
    points = 2 * x.shape[axis] - (1 if odd else 2)  # n itself may be open
    return np.asarray(np.fft.irfft(x, points, axis, norm))


def _irfft_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    axis = integer(site.attrs, "axis")
    made = emit(RFFT, g, axis=axis, norm=_adjoint_norm(site.attrs))
    return [multiply(made, _shares(g.shape[axis], made, axis))]


def _irfft_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    attrs = {**site.attrs, "axis": integer(site.attrs, "axis") + 1}
    return [emit(IRFFT, site.inputs[0], **attrs)]


def _irfft_samples() -> Sequence[Sample]:
    def case(x: Array, axis: int, n: int, norm: str) -> Sample:
        return Sample((x,), {"axis": axis, "n": n, "odd": n % 2 == 1, "norm": norm})

    return [
        case(_waves(3), 0, 5, "backward"),
        case(_waves(2, 4), 1, 6, "ortho"),
        case(_waves(3, 2, dtype=complex64), 0, 4, "forward"),
        case(_waves(1), 0, 1, "backward"),
        case(_waves(0, 2), 1, 2, "backward"),
    ]


IRFFT: Op = Op(
    name="irfft",
    doc=(
        "The inverse of `rfft` along an axis: `n` real numbers from `n // 2 + 1` frequencies; `odd`"
        " says of `n`, which may be open, what the transform must know."
        " Primitive: half the work of `fft`."
    ),
    infer=_irfft_infer,
    reference=_irfft_reference,
    vjp=_irfft_vjp,
    jvp=lambda site, t: [None if t is None else emit(IRFFT, t, **site.attrs)],
    batch=_irfft_batch,
    lower=host_lowering(_irfft_reference),
    cost=_cost,
    samples=_irfft_samples,
)

RECORDS: tuple[Op, ...] = (FFT, RFFT, IRFFT)
