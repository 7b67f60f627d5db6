"""Activations and their gradients against PyTorch, tails and corners included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.ir import GraphBuilder, TensorType, Value
from tests.ops.gradient import grad
from tests.ops.records import run1

X = np.array([-1000.0, -20.0, -3.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 3.0, 6.0, 20.0, 1000.0])
PAIRS: list[tuple[Callable[..., Value], str]] = [
    (ops.relu, "relu"),
    (ops.relu6, "relu6"),
    (ops.leaky_relu, "leaky_relu"),
    (ops.elu, "elu"),
    (ops.selu, "selu"),
    (ops.sigmoid, "sigmoid"),
    (ops.log_sigmoid, "logsigmoid"),
    (ops.softplus, "softplus"),
    (ops.silu, "silu"),
    (ops.mish, "mish"),
    (ops.gelu, "gelu"),
    (ops.hardtanh, "hardtanh"),
    (ops.hardsigmoid, "hardsigmoid"),
    (ops.hardswish, "hardswish"),
    (ops.softsign, "softsign"),
]


@pytest.mark.parametrize(("fn", "peer"), PAIRS, ids=[p for _, p in PAIRS])
def test_activation_is_pytorchs(fn: Callable[..., Value], peer: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    t = torch.tensor(X, requires_grad=True)
    y = getattr(torch.nn.functional, peer)(t)
    y.sum().backward()
    np.testing.assert_allclose(run1(fn, X), y.detach().numpy(), rtol=1e-9, atol=1e-12)
    # PyTorch's softplus is the identity from 20 on, hence the absolute tolerance
    (got,) = grad(fn, X)
    np.testing.assert_allclose(got, t.grad.numpy(), rtol=1e-7, atol=1e-8)


def test_gelu_by_tanh_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    expected = torch.nn.functional.gelu(torch.tensor(X), approximate="tanh").numpy()
    np.testing.assert_allclose(run1(lambda x: ops.gelu(x, "tanh"), X), expected, rtol=1e-9)


def test_gelu_refuses_other_approximations() -> None:
    with GraphBuilder() as builder:
        x = builder.input(TensorType((2,), float32))
        with pytest.raises(ArgumentError, match="approximate must be 'none' or 'tanh', got appr"):
            ops.gelu(x, "sigmoid")  # type: ignore[arg-type]  # what the test is about


def test_glu() -> None:
    x = np.arange(8.0).reshape(2, 4)
    expected = x[:, :2] / (1 + np.exp(-x[:, 2:]))
    np.testing.assert_allclose(run1(ops.glu, x), expected)
    with GraphBuilder() as builder:
        odd = builder.input(TensorType((3,), float32))
        with pytest.raises(ShapeError, match="glu: the axis must have an even size"):
            ops.glu(odd)


@pytest.mark.parametrize("fn", [ops.relu, ops.sigmoid, ops.softplus, ops.silu, ops.elu])
def test_nan_stays_nan(fn: Callable[..., Value]) -> None:
    assert np.isnan(run1(fn, np.array([np.nan]))).all()


def test_sigmoid_keeps_its_precision_in_the_tail() -> None:
    x = np.array([-80.0], np.float32)
    np.testing.assert_allclose(run1(ops.sigmoid, x), np.exp(x.astype(np.float64)), rtol=1e-6)
