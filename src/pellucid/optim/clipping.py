"""Limits on gradients, in place, eagerly or inside a jitted step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pellucid import ops
from pellucid.core.errors import ArgumentError
from pellucid.graph.ir import Value
from pellucid.tensor.dispatch import apply
from pellucid.tensor.tensor import Parameter, Tensor, full, no_grad


def _with_grad(parameters: Parameter | Iterable[Parameter]) -> list[tuple[Parameter, Tensor]]:
    given = [parameters] if isinstance(parameters, Parameter) else parameters
    return [(p, g) for p in given if (g := p.grad) is not None]


def _total_norm(grads: list[Value], kind: float) -> Value:
    sizes = [ops.abs(ops.astype(g, "float32") if g.dtype.bits < 32 else g) for g in grads]
    if kind == math.inf:
        return ops.max(ops.stack([ops.max(s) for s in sizes]))
    powers = [ops.multiply(s, s) if kind == 2 else ops.pow(s, kind) for s in sizes]
    total = ops.sum(ops.stack([ops.sum(p) for p in powers]))
    return ops.sqrt(total) if kind == 2 else ops.pow(total, 1 / kind)


def _scale(total: Value, grads: list[Value], max_norm: float) -> tuple[Value, ...]:
    factor = ops.minimum(ops.divide(max_norm, ops.add(total, 1e-6)), 1.0)
    return tuple(ops.multiply(g, ops.astype(factor, g.dtype)) for g in grads)


def clip_grad_norm_(
    parameters: Parameter | Iterable[Parameter], max_norm: float, norm_type: float = 2.0
) -> Tensor:
    """Scale all gradients so that their norm as one vector is at most `max_norm`.

    Args:
        parameters: whose gradients; those without one do not count.
        max_norm: the limit.
        norm_type: 2 for the Euclidean norm, `inf` for the largest absolute value.

    Returns:
        The norm before, a scalar.

    Raises:
        ArgumentError: `max_norm` is negative, or `norm_type` is not positive.
    """
    kind = float(norm_type)
    if not max_norm >= 0 or not kind > 0:
        operands: dict[str, object] = {"max_norm": max_norm, "norm_type": norm_type}
        rule = "max_norm must be >= 0 and norm_type > 0"
        raise ArgumentError("clip_grad_norm_", rule, operands=operands)
    pairs = _with_grad(parameters)
    if not pairs:
        return full((), 0.0)
    with no_grad():
        grads = [g for _, g in pairs]
        total: Tensor = apply(_total_norm, grads, kind)
        scaled: tuple[Any, ...] = apply(_scale, total, grads, float(max_norm))
        for (p, _), grad in zip(pairs, scaled, strict=True):
            p.grad = grad
    return total


def clip_grad_value_(parameters: Parameter | Iterable[Parameter], clip_value: float) -> None:
    """Limit every element of every gradient to `[-clip_value, clip_value]`.

    Raises:
        ArgumentError: `clip_value` is negative.
    """
    if not clip_value >= 0:
        operands: dict[str, object] = {"clip_value": clip_value}
        raise ArgumentError("clip_grad_value_", "clip_value must be >= 0", operands=operands)
    with no_grad():
        for p, grad in _with_grad(parameters):
            p.grad = grad.clip(-clip_value, clip_value)
