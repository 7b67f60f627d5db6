"""`regular`: a result computed by generated code, or the error that LAPACK would have raised.

Small matrices are factorised by loops (`elimination.py`, `cholesky_loops.py`), which cannot raise.
They note whether a pivot was bad, and this record, which costs a copy where none was, raises then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pellucid.core.dtype import float32, float64, int32
from pellucid.core.errors import ShapeError
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import HostCall, Lowering
from pellucid.ops.broadcast import broadcast_to, sum_axes
from pellucid.ops.matrices import guarded, hermitian_array
from pellucid.ops.shared import Array, Types, copy_cost

Refusal = tuple[str, str, Callable[..., Any]]
SINGULAR: Refusal = (
    "the matrix is singular",
    "use pinv or lstsq, or add a small multiple of the identity",
    np.linalg.inv,
)


def hermitian_factor(x: Array) -> Array:
    """LAPACK's Cholesky factor of the Hermitian parts."""
    factor: Array = np.linalg.cholesky(hermitian_array(x))
    return factor


NOT_POSITIVE: Refusal = (
    "the matrix must be positive definite",
    "add a small multiple of the identity, or use eigh for one that is not",
    hermitian_factor,
)
"""What was wrong, the mend, and the function of NumPy that knows which matrix it was."""


def refusal(op: str) -> Refusal:
    """What an operator says of matrices that it cannot take."""
    return NOT_POSITIVE if op == "cholesky" else SINGULAR


def regular(op: str, x: Value, wrong: Value, a: Value) -> Value:
    """`x` itself, computed from the matrices `a`.

    Args:
        op: what the user called, for the message.
        x: the result.
        wrong: int32, per matrix 1 if it seems singular (for `cholesky`, not positive definite).
        a: the matrices.
    """
    return emit(REGULAR, x, sum_axes(wrong, range(wrong.rank)), a, who=op)


def _infer(x: TensorType, wrong: TensorType, a: TensorType, *, who: str) -> TensorType:
    if wrong != TensorType((), int32):
        raise ShapeError("regular", "takes a count, i32[]", operands={"wrong": wrong})
    return x


def _reference(x: Array, wrong: Array, a: Array, *, who: str) -> Array:
    if wrong:
        guarded(who, *refusal(who), a)  # LAPACK may know better than the loops
    return x


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    def run(arrays: Sequence[Array]) -> Sequence[Array]:
        return (_reference(*arrays, who=str(attrs["who"])),)

    return HostCall(run=run, when=1, copied_bytes=inputs[0].nbytes)


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    x, wrong, a = site.inputs
    x = x if batched[0] else broadcast_to(x, (size, *x.shape))
    wrong = sum_axes(wrong, (0,)) if batched[1] else wrong
    return [emit(REGULAR, x, wrong, a, who=site.attrs["who"])]


def _samples() -> Sequence[Sample]:
    none, some = np.array(0, np.int32), np.array(1, np.int32)
    return [
        Sample((TensorType((2, 3), float64), none, np.eye(2)), {"who": "inv"}),
        Sample((TensorType((2, 1), float32), some, np.eye(2, dtype=np.float32)), {"who": "inv"}),
    ]


REGULAR: Op = Op(
    name="regular",
    doc=(
        "`x`, or an error in the name of `who` if `wrong` is not 0 and a matrix of `a` is one that"
        " `who` cannot take. Primitive: nothing else raises while a program runs."
    ),
    infer=_infer,
    reference=_reference,
    vjp=lambda site, g: [g, None, None],
    jvp=lambda site, t, wrong, a: [t],
    batch=_batch,
    lower=_lower,
    cost=copy_cost,
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (REGULAR,)
