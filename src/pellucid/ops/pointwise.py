"""The elementwise record maker.

An elementwise op is a scalar function of `loop/functions.py` applied at every index. Its meaning
and dtypes come from there. Its Jacobian is diagonal, so one function per operand, the *partial*,
serves both directions: it scales a cotangent for the vjp (by its conjugate, see `parts.py`) and a
tangent for the jvp. Partials are ops functions, so derivatives can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from pellucid.core.dtype import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
    uint32,
)
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers
from pellucid.loop.functions import evaluate, function, result_dtype
from pellucid.loop.ir import Call, Expr
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.parts import conj
from pellucid.ops.shared import Types

Partial = Callable[[Site, Value], Value]
Partials = tuple[Partial | None, ...]
Samples = Callable[[], Sequence[Sample]]
CostRule = Callable[[Types, Types, Attrs], Cost]


def elementwise_op(
    name: str,
    partials: Partials | None,
    *,
    low: float = -2.0,
    high: float = 2.0,
    scalar_function: str = "",
    samples: Samples | None = None,
) -> Op:
    """The record of a loop function applied at every index.

    Args:
        name: the record's name, and the loop function's unless `scalar_function` is given.
        partials: per operand, `partial(site, g)` = g times the derivative, or None where that is
            zero everywhere; `None` in place of all for an op that has no derivatives.
        low: least value of the operands in samples.
        high: greatest value of the operands in samples.
        scalar_function: the loop function's name where it differs.
        samples: test cases beyond the ones made for every dtype the function takes.
    """
    fn = function(scalar_function or name)

    def batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
        pairs = zip(site.inputs, batched, strict=True)
        full = [v if b else broadcast_to(v, (size, *v.shape)) for v, b in pairs]
        return (emit(op, *full, **site.attrs),)

    def all_samples() -> Sequence[Sample]:
        extra = () if samples is None else samples()
        return (*_type_samples(fn.name, low, high), *extra)

    op = Op(
        name=name,
        doc=f"{fn.doc}.",
        infer=_type_rule(name, fn.name),
        reference=_reference(fn.name),
        vjp=None if partials is None else _vjp(partials),
        jvp=None if partials is None else _jvp(partials),
        batch=batch,
        lower=_lowering(fn.name),
        cost=output_cost(1),
        samples=all_samples,
    )
    return op


def check_equal_shapes(op: str, types: Types) -> None:
    """Refuse operands of different shapes: a primitive does not broadcast.

    Raises:
        ShapeError: shapes differ.
    """
    if any(t.shape != types[0].shape for t in types):
        operands: dict[str, object] = dict(zip("abc", types, strict=False))
        fix = "use the function in pellucid.ops, which broadcasts"
        raise ShapeError(op, "operands must have one shape", operands=operands, fix=fix)


def _type_rule(name: str, fn: str) -> Callable[..., TensorType]:
    arity = function(fn).arity

    def infer(*types: TensorType) -> TensorType:
        if len(types) != arity:
            raise ArgumentError(name, f"takes {arity} operands", operands={"count": len(types)})
        check_equal_shapes(name, types)
        return TensorType(types[0].shape, result_dtype(fn, [t.dtype for t in types]))

    return infer


def _reference(fn: str) -> Callable[..., NDArray[Any]]:
    def reference(*arrays: NDArray[Any]) -> NDArray[Any]:
        dtype = result_dtype(fn, [as_dtype(a.dtype) for a in arrays])
        return evaluate(fn, dtype, *arrays)

    return reference


def _lowering(fn: str) -> Callable[[Types, Types, Attrs], Lowering]:
    def lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
        def body(index: Index, readers: Readers) -> Expr:
            return Call(fn, tuple(read(index) for read in readers), outputs[0].dtype)

        return Pointwise(body=body, elementwise=True)

    return lower


def _vjp(partials: Partials) -> Callable[..., Sequence[Value | None]]:
    def vjp(site: Site, g: Value) -> Sequence[Value | None]:
        wanted = site.wanted or (True,) * len(partials)
        triples = zip(site.inputs, partials, wanted, strict=True)
        return [
            # conj is nothing on real numbers; on complex ones the derivative is conjugated
            conj(p(site, conj(g))) if p and w and x.dtype.is_inexact else None
            for x, p, w in triples
        ]

    return vjp


def _jvp(partials: Partials) -> Callable[..., Sequence[Value | None]]:
    def jvp(site: Site, *tangents: Value | None) -> Sequence[Value | None]:
        total: Value | None = None
        for partial, tangent in zip(partials, tangents, strict=True):
            if partial is not None and tangent is not None:
                term = partial(site, tangent)
                total = term if total is None else emit(ADD, total, term)
        return (total,)

    return jvp


def moved_bytes(inputs: Types, outputs: Types) -> int:
    """Bytes of all operands and results, each moved once."""
    return sum(t.nbytes for t in inputs) + sum(t.nbytes for t in outputs)


def output_cost(flops_each: int) -> CostRule:
    """Cost of `flops_each` operations per output element."""

    def cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
        return Cost(flops_each * outputs[0].size, moved_bytes(inputs, outputs))

    return cost


def input_cost(flops_each: int) -> CostRule:
    """Cost of `flops_each` operations per element of input 0."""

    def cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
        return Cost(flops_each * inputs[0].size, moved_bytes(inputs, outputs))

    return cost


# rank 0 to 2, sizes 0, 1 and odd, every family of dtypes
_TYPES: tuple[tuple[Shape, DType], ...] = (
    ((3, 5), float64), ((), float32), ((0, 4), float32), ((1,), float16), ((7,), bfloat16),
    ((3, 5), int32), ((), int64), ((0, 4), int8), ((1,), uint8), ((7,), uint32),
    ((3, 5), bool_), ((), bool_), ((3, 5), complex128), ((), complex64), ((0, 4), complex64),
    ((7,), complex64),
)  # fmt: skip


def _type_samples(fn: str, low: float, high: float) -> Sequence[Sample]:
    row = function(fn)
    types = [TensorType(s, d) for s, d in _TYPES if d.kind in row.kinds]
    if row.rule == "select":
        return [Sample((TensorType(t.shape, bool_), t, t), low=low, high=high) for t in types]
    return [Sample((t,) * row.arity, low=low, high=high) for t in types]


def _identity(site: Site, g: Value) -> Value:
    return g


# here and not with the other arithmetic because every jvp adds its terms with it
ADD: Op = elementwise_op("add", (_identity, _identity))
