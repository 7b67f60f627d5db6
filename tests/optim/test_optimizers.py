"""PI-5: the first ten steps match a hand-written NumPy reference and PyTorch, eager and jitted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid import optim
from pellucid.core.errors import ArgumentError
from pellucid.tensor.jit import jit
from pellucid.tensor.tensor import Parameter, Tensor

torch: Any = pytest.importorskip("torch")
Array = NDArray[np.float64]
STEPS = 10
SHAPE = (3, 4)
START = np.random.default_rng(0).standard_normal(SHAPE)
TARGET = np.random.default_rng(1).standard_normal(SHAPE)
CURVATURE = np.linspace(0.1, 3.0, 12).reshape(SHAPE)


def slope(w: Array) -> Array:
    """Of `sum(CURVATURE / 2 * (w - TARGET)²)`."""
    return CURVATURE * (w - TARGET)


def loss_of(w: Any, wrap: Callable[[Any], Any]) -> Any:
    away = w - wrap(TARGET.astype(np.float32))
    return (away * away * wrap((CURVATURE / 2).astype(np.float32))).sum()


def sgd(w: Array, lr: float, momentum: float = 0, nesterov: bool = False) -> Array:
    v = np.zeros_like(w)
    for _ in range(STEPS):
        g = slope(w)
        v = momentum * v + g
        w = w - lr * (g + momentum * v if nesterov else v)
    return w


def adam(
    w: Array, lr: float, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0
) -> Array:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, STEPS + 1):
        g = slope(w)
        w = w * (1 - lr * weight_decay)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        w = w - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + 1e-8)
    return w


def rmsprop(w: Array, lr: float, alpha: float = 0.99) -> Array:
    v = np.zeros_like(w)
    for _ in range(STEPS):
        g = slope(w)
        v = alpha * v + (1 - alpha) * g * g
        w = w - lr * g / (np.sqrt(v) + 1e-8)
    return w


def adagrad(w: Array, lr: float, lr_decay: float = 0) -> Array:
    total = np.zeros_like(w)
    for t in range(STEPS):
        g = slope(w)
        total = total + g * g
        w = w - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + 1e-10)
    return w


def adadelta(w: Array, lr: float, rho: float = 0.9) -> Array:
    v, moved = np.zeros_like(w), np.zeros_like(w)
    for _ in range(STEPS):
        g = slope(w)
        v = rho * v + (1 - rho) * g * g
        d = np.sqrt(moved + 1e-6) / np.sqrt(v + 1e-6) * g
        moved = rho * moved + (1 - rho) * d * d
        w = w - lr * d
    return w


HAND_WRITTEN: list[tuple[str, dict[str, Any], Callable[..., Array]]] = [
    ("SGD", {"lr": 0.1}, sgd),
    ("SGD", {"lr": 0.1, "momentum": 0.9}, sgd),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, sgd),
    ("Adam", {"lr": 0.1}, adam),
    ("Adam", {"lr": 0.01, "betas": (0.5, 0.9)}, adam),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.1}, adam),
    ("RMSprop", {"lr": 0.05}, rmsprop),
    ("RMSprop", {"lr": 0.05, "alpha": 0.5}, rmsprop),
    ("Adagrad", {"lr": 0.3}, adagrad),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.2}, adagrad),
    ("Adadelta", {"lr": 1.0}, adadelta),
    ("Adadelta", {"lr": 0.5, "rho": 0.5}, adadelta),
]
MORE: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "maximize": True}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}),
    ("Adadelta", {"lr": 1.0, "weight_decay": 0.1}),
]
ALL = [(name, how) for name, how, _ in HAND_WRITTEN] + MORE


def ours(name: str, how: dict[str, Any], jitted: bool = False) -> Array:
    p = Parameter(START.astype(np.float32))
    optimizer = getattr(optim, name)([p], **how)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = loss_of(p, Tensor)
        loss.backward()
        optimizer.step()
        return loss

    run = jit(step) if jitted else step
    for _ in range(STEPS):
        run()
    return p.numpy().astype(np.float64)


def theirs(name: str, how: dict[str, Any]) -> Array:
    p = torch.nn.Parameter(torch.tensor(START.astype(np.float32)))
    optimizer = getattr(torch.optim, name)([p], **how)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(p, torch.tensor).backward()
        optimizer.step()
    return np.asarray(p.detach().numpy(), np.float64)


@pytest.mark.parametrize(("name", "how", "reference"), HAND_WRITTEN)
def test_ten_steps_match_the_formula(
    name: str, how: dict[str, Any], reference: Callable[..., Array]
) -> None:
    np.testing.assert_allclose(ours(name, how), reference(START, **how), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "how"), ALL)
def test_ten_steps_match_pytorch(name: str, how: dict[str, Any]) -> None:
    np.testing.assert_allclose(ours(name, how), theirs(name, how), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "how"), ALL)
def test_jitted_steps_match_eager_ones(name: str, how: dict[str, Any]) -> None:
    np.testing.assert_allclose(ours(name, how, jitted=True), ours(name, how), rtol=1e-6, atol=1e-6)


def test_defaults_are_pytorchs() -> None:
    p, t = Parameter([1.0]), torch.nn.Parameter(torch.ones(1))
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta"):
        mine, other = getattr(optim, name)([p]).defaults, getattr(torch.optim, name)([t]).defaults
        assert mine == {k: other[k] for k in mine}, name


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("SGD", {"lr": -1}, "SGD: lr must be >= 0, got lr -1"),
        ("SGD", {"nesterov": True}, "nesterov needs momentum"),
        ("SGD", {"lr": math.nan}, "lr must be >= 0, got lr nan"),
        ("Adam", {"betas": (0.9, 1.0)}, r"Adam: betas\[1\] must be in \[0, 1\)"),
        ("RMSprop", {"alpha": -0.1}, "alpha must be in"),
        ("Adadelta", {"rho": 2}, "rho must be in"),
    ],
)
def test_settings_out_of_range(name: str, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        getattr(optim, name)([Parameter([1.0])], **how)
