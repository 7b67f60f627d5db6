"""NumPy's other products, and choices among arrays."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.errors import ArgumentError
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import multiply
from pellucid.ops.comparison import where
from pellucid.ops.contraction import tensordot, vecdot
from pellucid.ops.layout import reshape
from pellucid.ops.promotion import Operand
from pellucid.ops.stacking import ravel


def dot(x: Operand, y: Operand) -> Value:
    """Sums over `x`'s last axis and the last but one of `y` (a vector's only one); with a scalar,
    the product. `x @ y` differs from rank 3 on.
    """
    if isinstance(x, Value) and isinstance(y, Value) and x.rank and y.rank:
        return tensordot(x, y, ((x.rank - 1,), (max(y.rank - 2, 0),)))
    return multiply(x, y)


def inner(x: Operand, y: Operand) -> Value:
    """Sums over the last axes of both; with a scalar, the product."""
    if isinstance(x, Value) and isinstance(y, Value) and x.rank and y.rank:
        return tensordot(x, y, ((x.rank - 1,), (y.rank - 1,)))
    return multiply(x, y)


def vdot(x: Value, y: Value) -> Value:
    """The dot product of all elements; complex `x` is conjugated."""
    return vecdot(ravel(x), ravel(y))


def kron(x: Value, y: Value) -> Value:
    """Kronecker's product: blocks of `y`, scaled by each element of `x`."""
    rank = max(x.rank, y.rank)
    left = (1,) * (rank - x.rank) + x.shape
    right = (1,) * (rank - y.rank) + y.shape
    spread = reshape(x, [n for a in left for n in (a, 1)])
    blocks = multiply(spread, reshape(y, [n for b in right for n in (1, b)]))
    return reshape(blocks, [a * b for a, b in zip(left, right, strict=True)])


def select(
    conditions: Sequence[Value], choices: Sequence[Operand], default: Operand = 0
) -> Operand:
    """For each element the choice of the first condition that holds, else the default.

    Raises:
        ArgumentError: there is not one choice per condition.
    """
    if len(conditions) != len(choices) or not conditions:
        operands: dict[str, object] = {"conditions": len(conditions), "choices": len(choices)}
        raise ArgumentError("select", "needs a choice for each condition", operands=operands)
    result = default
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        result = where(condition, choice, result)
    return result
