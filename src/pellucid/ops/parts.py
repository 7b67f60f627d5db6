"""Real and imaginary parts: between complex numbers and pairs of real ones.

The gradient of a real loss by `z = a + bi` is `dL/da + i dL/db`, as PyTorch's: a step against it
makes the loss smaller. So a rule of a function with a complex derivative multiplies by that
derivative's conjugate; a tangent is multiplied by the derivative itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import DType, complex64, complex128, float32, float64
from pellucid.core.errors import DTypeError
from pellucid.graph.ir import TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.complex_functions import pair
from pellucid.loop.compute import host_lowering
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.create import zeros
from pellucid.ops.shared import through_cost

Tangent = Value | None


def real_part(x: Value) -> Value:
    """The real part; a real `x` itself."""
    return emit(REAL, x) if x.dtype.is_complex else x


def imag_part(x: Value) -> Value:
    """The imaginary part; zeros for a real `x`."""
    return emit(IMAG, x) if x.dtype.is_complex else zeros(x.shape, x.dtype)


def conj(x: Value) -> Value:
    """`a - bi` of `a + bi`; a real `x` itself."""
    return emit(CONJ, x) if x.dtype.is_complex else x


def make_complex(real: Value, imag: Value) -> Value:
    """`real + i imag`, of two values of one type."""
    return emit(COMPLEX, real, imag)


def complex_of(x: Value) -> Value:
    """A real `x` with the imaginary part 0; a complex `x` itself."""
    return x if x.dtype.is_complex else make_complex(x, zeros(x.shape, x.dtype))


def check_complex(op: str, x: TensorType) -> None:
    """Refuse what is not complex.

    Raises:
        DTypeError: it is not.
    """
    if not x.dtype.is_complex:
        raise DTypeError(op, "takes complex numbers", operands={"x": x})


def _part_type(name: str) -> Callable[[TensorType], TensorType]:
    def infer(x: TensorType) -> TensorType:
        check_complex(name, x)
        return TensorType(x.shape, x.dtype.real)

    return infer


def _conj_type(x: TensorType) -> TensorType:
    check_complex("conj", x)
    return x


def _complex_type(real: TensorType, imag: TensorType) -> TensorType:
    if real != imag or real.dtype not in (float32, float64):
        operands: dict[str, object] = {"real": real, "imag": imag}
        rule = "takes two float32 or two float64 operands of one shape"
        raise DTypeError("complex", rule, operands=operands, fix="cast with astype")
    return TensorType(real.shape, real.dtype.complex)


def _record(
    name: str,
    doc: str,
    infer: Callable[..., TensorType],
    reference: Callable[..., NDArray[Any]],
    rules: tuple[Callable[..., Sequence[Tangent]], Callable[..., Sequence[Tangent]]],
    samples: Callable[[], Sequence[Sample]],
) -> Op:
    """The record of an elementwise linear function of parts; `rules` are vjp and jvp."""

    def batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
        pairs = zip(site.inputs, batched, strict=True)
        return (emit(op, *(v if b else broadcast_to(v, (size, *v.shape)) for v, b in pairs)),)

    op = Op(
        name=name, doc=doc, infer=infer, reference=reference, vjp=rules[0], jvp=rules[1],
        batch=batch, lower=host_lowering(reference), cost=through_cost, samples=samples,
    )  # fmt: skip
    return op


_SPECIAL = np.array([complex(0.0, -0.0), complex(-0.0, np.inf), complex(np.nan, 1.0), -2.5 - 1j])


def samples_of(dtypes: Sequence[DType], count: int = 1) -> Callable[[], Sequence[Sample]]:
    """Test cases of `count` operands: rank 0 to 2, sizes 0, 1 and odd."""
    shapes = ((3, 5), (), (0, 4), (1,))

    def samples() -> Sequence[Sample]:
        return [Sample((TensorType(s, d),) * count) for s in shapes for d in dtypes]

    return samples


def _complex_samples() -> Sequence[Sample]:
    return (*samples_of((complex64, complex128))(), Sample((_SPECIAL,)))


def _pair_samples() -> Sequence[Sample]:
    parts = _SPECIAL.real.copy(), _SPECIAL.imag.copy()
    return (*samples_of((float32, float64), 2)(), Sample(parts))


def _complex_jvp(site: Site, ta: Tangent, tb: Tangent) -> Sequence[Tangent]:
    known = ta if ta is not None else tb
    if known is None:
        return (None,)
    nothing = zeros(known.shape, known.dtype)
    return (make_complex(nothing if ta is None else ta, nothing if tb is None else tb),)


REAL: Op = _record(
    "real",
    "The real part of complex numbers.",
    _part_type("real"),
    lambda z: np.array(z.real),
    (
        lambda site, g: (complex_of(g),),
        lambda site, t: (None if t is None else real_part(t),),
    ),
    _complex_samples,
)
IMAG: Op = _record(
    "imag",
    "The imaginary part of complex numbers.",
    _part_type("imag"),
    lambda z: np.array(z.imag),
    (
        lambda site, g: (make_complex(zeros(g.shape, g.dtype), g),),
        lambda site, t: (None if t is None else imag_part(t),),
    ),
    _complex_samples,
)
CONJ: Op = _record(
    "conj",
    "The complex conjugate, `a - bi` of `a + bi`.",
    _conj_type,
    np.conjugate,
    (
        lambda site, g: (conj(g),),
        lambda site, t: (None if t is None else conj(t),),
    ),
    _complex_samples,
)
COMPLEX: Op = _record(
    "complex",
    "Complex numbers of their real and imaginary parts.",
    _complex_type,
    pair,
    (
        lambda site, g: (real_part(g), imag_part(g)),
        _complex_jvp,
    ),
    _pair_samples,
)

RECORDS: tuple[Op, ...] = (REAL, IMAG, CONJ, COMPLEX)
