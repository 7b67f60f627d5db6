"""Whole matrices of derivatives: jacfwd, jacrev, hessian."""

from __future__ import annotations

import functools
from typing import Any

from pellucid import ops
from pellucid.core.dtype import int64
from pellucid.core.errors import GradientError
from pellucid.tensor.derivatives import grad, jvp, vjp
from pellucid.tensor.dispatch import apply
from pellucid.tensor.recording import Fn, as_tensor, differentiable, is_array, positions
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.vectorise import vmap


def _standard_basis(x: Tensor) -> Tensor:
    return apply(ops.reshape, apply_eye(x), (x.size, *x.shape))


def apply_eye(x: Tensor) -> Tensor:
    """The identity matrix of `x.size` rows, in `x`'s dtype."""
    zero = apply(ops.zeros_like, x).reshape(-1)
    index = apply(ops.cumulative_sum, apply(ops.astype, zero + 1, int64))
    return (index.unsqueeze(0) == index.unsqueeze(1)).astype(x.dtype)


def _one_argument(op: str, fn: Fn, args: tuple[Any, ...], argnums: int) -> tuple[Tensor, Fn]:
    """The argument a Jacobian is taken for, and `fn` as a function from it to one tensor."""
    (at,) = positions(op, argnums, len(args))
    x = differentiable(op, f"argument {at}", args[at])

    def of_x(value: Tensor) -> Tensor:
        result = fn(*args[:at], value, *args[at + 1 :])
        if not is_array(result):
            raise GradientError(
                op, "the function must return one tensor",
                operands={"result": type(result).__name__},
            )  # fmt: skip
        return as_tensor(result)

    return x, of_x


def jacfwd(fn: Fn, argnums: int = 0) -> Fn:
    """The Jacobian of `fn` (one tensor in `argnums`, one tensor out), column by column in forward
    mode.

    Returns:
        A function with result of shape `output.shape + input.shape`.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any) -> Tensor:
        x, of_x = _one_argument("jacfwd", fn, args, argnums)

        def one(direction: Tensor) -> Any:
            return jvp(of_x, (x,), (direction,))[1]

        columns = vmap(one)(_standard_basis(x))  # [x.size, *output]
        moved = apply(ops.moveaxis, columns, 0, -1)
        return moved.reshape((*moved.shape[:-1], *x.shape))

    return wrapped


def jacrev(fn: Fn, argnums: int = 0) -> Fn:
    """The Jacobian of `fn` (one tensor in `argnums`, one tensor out), row by row in reverse mode.

    Returns:
        A function with result of shape `output.shape + input.shape`.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any) -> Tensor:
        x, of_x = _one_argument("jacrev", fn, args, argnums)
        result, pull = vjp(of_x, x)
        rows = vmap(lambda row: pull(row)[0])(_standard_basis(result))
        return rows.reshape((*result.shape, *x.shape))

    return wrapped


def hessian(fn: Fn, argnums: int = 0) -> Fn:
    """Second derivatives of a scalar function: forward over reverse; shape `input.shape +
    input.shape`.
    """
    return jacfwd(grad(fn, argnums), argnums)
