"""Derivatives of functions of one tensor against finite differences, real and complex."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pellucid as pl

Array = NDArray[Any]
Function = Callable[[Any], Any]

STEP = 1e-6


def random_like(x: Array, seed: int) -> Array:
    """Random numbers of the shape and kind of `x`."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=x.shape)
    return np.asarray(made + 1j * rng.normal(size=x.shape) if np.iscomplexobj(x) else made)


def inner(a: Array, b: Array) -> float:
    """`Re sum(conj(a) * b)`, the product under which vjp is the adjoint of jvp."""
    return float(np.real(np.vdot(a, b)))


def loss_of(fn: Function, x: Array) -> Function:
    """A real number that depends on every element of what `fn` gives, real and imaginary part."""
    weights = [random_like(y.numpy(), 11 + i) for i, y in enumerate(parts(fn(pl.Tensor(x))))]

    def loss(x: Any) -> Any:
        total = pl.Tensor(0.0, "float64")
        for w, y in zip(weights, parts(fn(x)), strict=True):
            if np.iscomplexobj(w):
                total = total + (pl.real(y) * w.real).sum() + (pl.imag(y) * w.imag).sum()
            else:
                total = total + (y * w).sum()
        return total

    return loss


def parts(made: Any) -> tuple[Any, ...]:
    """The results of a function, one or more."""
    return tuple(made) if isinstance(made, tuple) else (made,)


def check_derivatives(fn: Function, x: Array, rtol: float = 1e-5, order: int = 2) -> None:
    """Fails unless gradient, jvp and (order 2) the product of Hessian and vector agree with
    differences.
    """
    loss, start = loss_of(fn, x), pl.Tensor(x)
    direction = random_like(x, 5)
    ahead, behind = (pl.Tensor(x + s * direction) for s in (STEP, -STEP))
    expected = (loss(ahead).item() - loss(behind).item()) / (2 * STEP)
    gradient = pl.grad(loss)(start).numpy()
    np.testing.assert_allclose(inner(gradient, direction), expected, rtol=rtol, atol=rtol)
    _, pushed = pl.jvp(loss, (start,), (pl.Tensor(direction),))
    np.testing.assert_allclose(pushed.item(), expected, rtol=rtol, atol=rtol)
    if order < 2:
        return
    _, moved = pl.jvp(pl.grad(loss), (start,), (pl.Tensor(direction),))
    change = pl.grad(loss)(ahead).numpy() - pl.grad(loss)(behind).numpy()
    scale = max(1.0, float(np.abs(change).max()) / (2 * STEP))
    np.testing.assert_allclose(moved.numpy(), change / (2 * STEP), rtol=0, atol=10 * rtol * scale)
