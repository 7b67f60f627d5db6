"""The update rules as functions of graph values; PyTorch's formulas, so that steps agree.

Each takes a parameter `p`, its gradient `g`, its state, the learning rate `lr` (a float64 scalar)
and settings, and returns the new parameter and state. Scalars are worked out in float64, so that
`1 - beta ** step` keeps its digits, and rounded to the parameter's dtype once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pellucid import ops
from pellucid.graph.ir import Value

Values = tuple[Value, ...]


def _scaled(x: Value, factor: Value) -> Value:
    """`x` times a float64 scalar, in `x`'s dtype."""
    return ops.multiply(x, ops.astype(factor, x.dtype))


def _moving(old: Value, new: Value, keep: float) -> Value:
    """`keep * old + (1 - keep) * new`."""
    return ops.add(ops.multiply(old, keep), ops.multiply(new, 1.0 - keep))


def _decayed(p: Value, g: Value, weight_decay: float) -> Value:
    """The gradient of the loss plus `weight_decay / 2 * |p|²`."""
    return ops.add(g, ops.multiply(p, weight_decay)) if weight_decay else g


def _by_parts(rule: Callable[..., Values]) -> Callable[..., Values]:
    """`rule`; complex parameters as pairs of real ones, each part squared alone, as PyTorch's."""

    @functools.wraps(rule)
    def split(p: Value, *rest: Value, **settings: Any) -> Values:
        if not p.dtype.is_complex:
            return rule(p, *rest, **settings)
        real = [ops.view_as_real(v) if v.dtype.is_complex else v for v in (p, *rest)]
        return tuple(ops.view_as_complex(v) for v in rule(*real, **settings))

    return split


def sgd(  # noqa: PLR0913  # the rule's settings, keyword-only
    p: Value,
    g: Value,
    lr: Value,
    step: Value,
    *state: Value,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> Values:
    """`v = momentum * v + (1 - dampening) * g; p = p - lr * v`; the first `v` is `g` itself.

    Nesterov: `p = p - lr * (g + momentum * v)`. Source: Sutskever et al. 2013.
    """
    g = _decayed(p, ops.negative(g) if maximize else g, weight_decay)
    if not momentum:
        return (ops.subtract(p, _scaled(g, lr)),)
    fresh = ops.multiply(g, 1.0 - dampening)
    v = ops.add(ops.multiply(state[0], momentum), fresh)
    if dampening:
        v = ops.where(ops.less_equal(step, 1.0), g, v)
    direction = ops.add(g, ops.multiply(v, momentum)) if nesterov else v
    return ops.subtract(p, _scaled(direction, lr)), v


@_by_parts
def adam(  # noqa: PLR0913  # the rule's settings, keyword-only
    p: Value,
    g: Value,
    lr: Value,
    step: Value,
    m: Value,
    v: Value,
    *largest: Value,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> Values:
    """Moving means `m` of `g` and `v` of `g²`, both corrected for starting at 0.

    `p = p - lr * m / (1 - beta1 ** step) / (sqrt(v / (1 - beta2 ** step)) + eps)`. Weight decay is
    added to the gradient (Adam, Kingma and Ba 2015) or, `decoupled`, shrinks the parameter (AdamW,
    Loshchilov and Hutter 2019). With `largest` state, its maximum stands for `v` (AMSGrad).
    """
    g = ops.negative(g) if maximize else g
    if decoupled:
        p = _scaled(p, ops.subtract(1.0, ops.multiply(lr, weight_decay)))
    else:
        g = _decayed(p, g, weight_decay)
    m = _moving(m, g, betas[0])
    v = _moving(v, ops.multiply(g, g), betas[1])
    top = tuple(ops.maximum(x, v) for x in largest)
    rest = [ops.subtract(1.0, ops.pow(ops.full_like(step, beta), step)) for beta in betas]
    root = _scaled(ops.sqrt(top[0] if top else v), ops.reciprocal(ops.sqrt(rest[1])))
    size = ops.divide(lr, rest[0])
    return ops.subtract(p, _scaled(ops.divide(m, ops.add(root, eps)), size)), m, v, *top


@_by_parts
def rmsprop(  # noqa: PLR0913  # the rule's settings, keyword-only
    p: Value,
    g: Value,
    lr: Value,
    v: Value,
    *more: Value,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
) -> Values:
    """`v = alpha * v + (1 - alpha) * g²; p = p - lr * g / (sqrt(v) + eps)`.

    `centered` subtracts the square of the gradient's moving mean from `v`; `momentum` adds up the
    scaled gradients. State: `v`, then the mean and the momentum where used. Source: Hinton's
    lecture 6e (2012).
    """
    g = _decayed(p, g, weight_decay)
    v = _moving(v, ops.multiply(g, g), alpha)
    state, spread = [v], v
    if centered:
        mean = _moving(more[0], g, alpha)
        state.append(mean)
        spread = ops.subtract(v, ops.multiply(mean, mean))
    direction = ops.divide(g, ops.add(ops.sqrt(spread), eps))
    if momentum:
        direction = ops.add(ops.multiply(more[-1], momentum), direction)
        state.append(direction)
    return ops.subtract(p, _scaled(direction, lr)), *state


@_by_parts
def adagrad(  # noqa: PLR0913  # the rule's settings, keyword-only
    p: Value,
    g: Value,
    lr: Value,
    step: Value,
    total: Value,
    *,
    lr_decay: float,
    eps: float,
    weight_decay: float,
) -> Values:
    """`total = total + g²; p = p - lr / (1 + (step - 1) * lr_decay) * g / (sqrt(total) + eps)`.

    Source: Duchi et al. 2011.
    """
    g = _decayed(p, g, weight_decay)
    total = ops.add(total, ops.multiply(g, g))
    waited = ops.multiply(ops.subtract(step, 1.0), lr_decay)
    size = ops.divide(lr, ops.add(waited, 1.0))
    return ops.subtract(p, _scaled(ops.divide(g, ops.add(ops.sqrt(total), eps)), size)), total


@_by_parts
def adadelta(  # noqa: PLR0913  # the rule's settings, keyword-only
    p: Value,
    g: Value,
    lr: Value,
    v: Value,
    moved: Value,
    *,
    rho: float,
    eps: float,
    weight_decay: float,
) -> Values:
    """`v` is the moving mean of `g²`, `moved` of `d²`; `d = sqrt(moved + eps) / sqrt(v + eps) * g`.

    `p = p - lr * d`. Source: Zeiler 2012.
    """
    g = _decayed(p, g, weight_decay)
    v = _moving(v, ops.multiply(g, g), rho)
    root = ops.divide(ops.sqrt(ops.add(moved, eps)), ops.sqrt(ops.add(v, eps)))
    d = ops.multiply(root, g)
    return ops.subtract(p, _scaled(d, lr)), v, _moving(moved, ops.multiply(d, d), rho)
