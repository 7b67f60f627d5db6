"""Complex numbers as pairs of real ones: their memory under another type, and in and out of it.

A complex array is its parts in turn, so `view_as_real` and `view_as_complex` move nothing. Compiled
programs compute with real and imaginary parts apart (`passes/split_complex.py`); these records are
the seams. `interleave` stands in compiled programs only, behind all derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pellucid.core.dtype import DType, complex64, complex128, float32, float64
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.complex_functions import pair
from pellucid.loop.compute import Index, Loops, Lowering, Pointwise, Readers
from pellucid.loop.ir import Buffer, Const, Expr, Load, Stmt, Store
from pellucid.ops.parts import check_complex
from pellucid.ops.shared import Types, nest, no_cost, through_cost

Tangent = Value | None

VIEWS = frozenset({"pairs_of", "of_pairs"})
"""Records whose output is their input's memory under another type."""


def view_as_real(z: Value) -> Value:
    """Real and imaginary parts side by side, `[..., 2]`: the memory of `z` as it is."""
    return emit(PAIRS_OF, z)


def view_as_complex(x: Value) -> Value:
    """The complex numbers of `[..., 2]` real ones: the memory of `x` as it is."""
    return emit(OF_PAIRS, x)


def interleave(real: Value, imag: Value) -> Value:
    """Two arrays of one type element by element in turn, `[..., 2]`."""
    return emit(INTERLEAVE, real, imag)


def _pairs_of_type(z: TensorType) -> TensorType:
    check_complex("pairs_of", z)
    return TensorType((*z.shape, 2), z.dtype.real)


def _of_pairs_type(x: TensorType) -> TensorType:
    if x.dtype not in (float32, float64):
        raise DTypeError("of_pairs", "takes float32 or float64", operands={"x": x})
    if not x.rank or x.shape[-1] != 2:
        raise ShapeError("of_pairs", "the last axis must have size 2", operands={"x": x})
    return TensorType(x.shape[:-1], x.dtype.complex)


def _interleave_type(real: TensorType, imag: TensorType) -> TensorType:
    if real != imag:
        operands: dict[str, object] = {"real": real, "imag": imag}
        raise ShapeError("interleave", "takes operands of one type", operands=operands)
    return TensorType((*real.shape, 2), real.dtype)


def _view(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    def body(idx: Index, readers: Readers) -> Expr:
        return readers[0](idx)

    return Pointwise(body=body, views=True)


def _lower_interleave(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        def step(idx: Index) -> tuple[Stmt, ...]:
            return tuple(
                Store(results[0], (*idx, Const(k)), Load(source, idx))
                for k, source in enumerate(sources)
            )

        return nest("i", sources[0].shape, step)

    return Loops(build=build)


def _samples_of(*dtypes: DType, last: tuple[int, ...] = (), count: int = 1) -> list[Sample]:
    shapes = ((3, 5), (), (0, 4), (1,))
    return [Sample((TensorType((*s, *last), d),) * count) for s in shapes for d in dtypes]


def _same(fn: Callable[[Value], Value]) -> Callable[[Site, Tangent], Sequence[Tangent]]:
    """A linear rule: `fn` of the tangent, or of the cotangent."""
    return lambda site, t: (None if t is None else fn(t),)


PAIRS_OF: Op = Op(
    name="pairs_of",
    doc="The parts of complex numbers side by side. Primitive: it is their memory as it is.",
    infer=_pairs_of_type,
    reference=lambda z: np.stack([z.real, z.imag], -1),
    vjp=_same(view_as_complex),
    jvp=_same(view_as_real),
    batch=lambda site, batched, size: (view_as_real(site.inputs[0]),),
    lower=_view,
    cost=no_cost,
    samples=lambda: _samples_of(complex64, complex128),
)
OF_PAIRS: Op = Op(
    name="of_pairs",
    doc="Complex numbers of their parts side by side. Primitive: it is their memory as it is.",
    infer=_of_pairs_type,
    reference=lambda x: pair(x[..., 0], x[..., 1]),
    vjp=_same(view_as_real),
    jvp=_same(view_as_complex),
    batch=lambda site, batched, size: (view_as_complex(site.inputs[0]),),
    lower=_view,
    cost=no_cost,
    samples=lambda: _samples_of(float32, float64, last=(2,)),
)
INTERLEAVE: Op = Op(
    name="interleave",
    doc="Two arrays in turn. Primitive: both are read and written in one loop of whole vectors.",
    infer=_interleave_type,
    reference=lambda real, imag: np.stack([real, imag], -1),
    vjp=None,
    jvp=None,
    batch=None,
    lower=_lower_interleave,
    cost=through_cost,
    samples=lambda: _samples_of(float32, float64, count=2),
)

RECORDS: tuple[Op, ...] = (PAIRS_OF, OF_PAIRS, INTERLEAVE)
