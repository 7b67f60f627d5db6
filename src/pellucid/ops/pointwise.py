"""What elementwise records share: type rules, NumPy wrappers, costs and samples. Emits no nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
    uint32,
)
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType
from pellucid.graph.op import Cost, Sample
from pellucid.ops.shared import Types

Kinds = tuple[str, ...]
Samples = Callable[[], Sequence[Sample]]
Infer = Callable[..., TensorType]

FLOAT: Kinds = ("float",)
SIGNED: Kinds = ("int", "float")
INTEGER: Kinds = ("int", "uint")
BITS: Kinds = ("bool", "int", "uint")
NUMERIC: Kinds = ("int", "uint", "float")
ANY: Kinds = ("bool", "int", "uint", "float")

_NAMES = "abcdefgh"
_FIX_KIND = {FLOAT: "cast to float32 with .astype", NUMERIC: "cast to int64 with .astype"}


def named(types: Types) -> dict[str, object]:
    """Operands by letter, for messages."""
    return dict(zip(_NAMES, types, strict=False))


def check_kind(op: str, types: Types, kinds: Kinds) -> None:
    """Refuse operands whose dtype is of another kind.

    Raises:
        DTypeError: an operand's kind is not in `kinds`.
    """
    if any(t.dtype.kind not in kinds for t in types):
        rule = f"takes {' or '.join(kinds)} operands"
        raise DTypeError(op, rule, operands=named(types), fix=_FIX_KIND.get(kinds, ""))


def check_equal(op: str, types: Types) -> None:
    """Refuse operands of different shapes or dtypes; a primitive neither broadcasts nor promotes.

    Raises:
        ShapeError: shapes differ.
        DTypeError: dtypes differ.
    """
    if any(t.shape != types[0].shape for t in types):
        fix = "use the function in pellucid.ops, which broadcasts"
        raise ShapeError(op, "operands must have one shape", operands=named(types), fix=fix)
    if any(t.dtype != types[0].dtype for t in types):
        fix = "use the function in pellucid.ops, which promotes"
        raise DTypeError(op, "operands must have one dtype", operands=named(types), fix=fix)


def elementwise_type(op: str, kinds: Kinds, result: DType | None = None) -> Infer:
    """A type rule: operands of one shape, one dtype, these kinds; the result likewise or `result`."""

    def infer(*types: TensorType) -> TensorType:
        check_kind(op, types, kinds)
        check_equal(op, types)
        return TensorType(types[0].shape, types[0].dtype if result is None else result)

    return infer


def is_narrow(dtype: DType) -> bool:
    """True for floats below 32 bits, whose arithmetic is done in float32 and rounded once."""
    return dtype.is_float and dtype.bits < 32


def widened(array: NDArray[Any]) -> NDArray[Any]:
    """Narrow floats as float32, anything else unchanged."""
    return array.astype(np.float32) if is_narrow(as_dtype(array.dtype)) else array


def in_numpy(fn: Callable[..., Any]) -> Callable[..., NDArray[Any]]:
    """`fn` without float warnings, narrow floats computed in float32; bool results stay bool."""

    def reference(*arrays: NDArray[Any], **attrs: Any) -> NDArray[Any]:
        dtype = arrays[-1].dtype
        with np.errstate(all="ignore"):
            result = np.asarray(fn(*map(widened, arrays), **attrs))
            return result if result.dtype == np.bool_ else result.astype(dtype, copy=False)

    return reference


def _moved_bytes(inputs: Types, outputs: Types) -> int:
    return sum(t.nbytes for t in inputs) + sum(t.nbytes for t in outputs)


def output_cost(flops_each: int) -> Callable[[Types, Types, Attrs], Cost]:
    """Cost of `flops_each` operations per output element."""

    def cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
        return Cost(flops_each * outputs[0].size, _moved_bytes(inputs, outputs))

    return cost


def input_cost(flops_each: int) -> Callable[[Types, Types, Attrs], Cost]:
    """Cost of `flops_each` operations per element of input 0."""

    def cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
        return Cost(flops_each * inputs[0].size, _moved_bytes(inputs, outputs))

    return cost


_TYPES: dict[str, tuple[tuple[Shape, DType], ...]] = {
    "float": (
        ((3, 5), float64), ((), float32), ((0, 4), float32), ((1,), float16), ((7,), bfloat16),
    ),
    "int": (((3, 5), int32), ((), int64), ((0, 4), int8)),
    "uint": (((1,), uint8), ((7,), uint32)),
    "bool": (((3, 5), bool_), ((), bool_)),
}  # fmt: skip


def elementwise_samples(arity: int, kinds: Kinds, low: float = -2.0, high: float = 2.0) -> Samples:
    """Samples of `arity` like operands in `[low, high)`: rank 0 to 2, sizes 0, 1 and odd."""

    def samples() -> tuple[Sample, ...]:
        types = [TensorType(s, d) for kind in kinds for s, d in _TYPES[kind]]
        return tuple(Sample((t,) * arity, low=low, high=high) for t in types)

    return samples
