"""Softmax and normalisation against PyTorch, with infinities, NaN and narrow floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.core.errors import ShapeError
from pellucid.graph.ir import GraphBuilder, TensorType
from tests.ops.gradient import grad
from tests.ops.records import run1

INF = np.inf
ROWS = np.array(
    [[1.0, 2.0, 3.0], [1e4, -1e4, 0.0], [-INF, 0.0, 1.0], [-INF] * 3, [np.nan, 0.0, 1.0],
     [INF, 0.0, 1.0]]
)  # fmt: skip
X = np.random.default_rng(0).normal(size=(4, 6, 5)) * 3 + 1


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_is_pytorchs(name: str, axis: int) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    expected = getattr(torch, name)(torch.tensor(ROWS), axis).numpy()
    got = run1(lambda x: getattr(ops, name)(x, axis), ROWS)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_softmax_gradient_is_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    t = torch.tensor(ROWS[:3], requires_grad=True)
    (getattr(torch, name)(t, 1) ** 2).clamp(max=100).sum().backward()
    (got,) = grad(lambda x: ops.clip(ops.square(getattr(ops, name)(x, 1)), None, 100), ROWS[:3])
    np.testing.assert_allclose(got[:2], t.grad.numpy()[:2], rtol=1e-9, atol=1e-12)


def test_rows_of_nothing() -> None:
    empty = np.zeros((3, 0))
    assert run1(ops.softmax, empty).shape == (3, 0)
    assert run1(ops.log_softmax, empty).shape == (3, 0)
    np.testing.assert_array_equal(run1(lambda x: ops.logsumexp(x, 1), empty), [-INF] * 3)


def test_logsumexp_shapes() -> None:
    assert run1(ops.logsumexp, X).shape == ()
    assert run1(lambda x: ops.logsumexp(x, (0, 2)), X).shape == (6,)
    assert run1(lambda x: ops.logsumexp(x, 1, keepdims=True), X).shape == (4, 1, 5)


def test_softmax_in_half_precision_rounds_once() -> None:
    x = np.linspace(-3, 3, 1000).astype(np.float16)
    wide = np.exp(x.astype(np.float64))
    got = run1(ops.softmax, x)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got.astype(np.float64), wide / wide.sum(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_layer_norm_is_pytorchs(dtype: Any, tolerance: float) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(1)
    x, w, b = (rng.normal(size=s).astype(dtype) for s in ((4, 6, 5), (5,), (5,)))
    ts = [torch.tensor(v, requires_grad=True) for v in (x, w, b)]
    y = torch.nn.functional.layer_norm(ts[0], (5,), ts[1], ts[2])
    (y**2).sum().backward()
    np.testing.assert_allclose(
        run1(ops.layer_norm, x, w, b), y.detach().numpy(), rtol=tolerance, atol=tolerance
    )
    gradients = grad(lambda *v: ops.square(ops.layer_norm(*v)), x, w, b)
    for got, t in zip(gradients, ts, strict=True):
        np.testing.assert_allclose(got, t.grad.numpy(), rtol=10 * tolerance, atol=20 * tolerance)


def test_layer_norm_over_two_axes() -> None:
    away = X - X.mean((1, 2), keepdims=True)
    expected = away / np.sqrt((away**2).mean((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(run1(lambda x: ops.layer_norm(x, axis=(1, 2)), X), expected)


def test_rms_norm_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    w = np.arange(5.0)
    expected = torch.nn.functional.rms_norm(torch.tensor(X), (5,), torch.tensor(w), 1e-6).numpy()
    np.testing.assert_allclose(run1(ops.rms_norm, X, w), expected)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_is_pytorchs(groups: int) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    w, b = np.arange(6.0), np.arange(6.0) - 2
    tensors = (torch.tensor(v) for v in (w, b))
    expected = torch.nn.functional.group_norm(torch.tensor(X), groups, *tensors).numpy()
    np.testing.assert_allclose(run1(lambda x, *p: ops.group_norm(x, groups, *p), X, w, b), expected)


def test_group_norm_refuses_groups_that_do_not_divide() -> None:
    with GraphBuilder() as builder:
        x = builder.input(TensorType((4, 6, 5), float32))
        with pytest.raises(ShapeError, match="group_norm: groups must divide the channels"):
            ops.group_norm(x, 4)


def test_batch_norm_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    w, b = np.arange(6.0), np.arange(6.0) - 2
    tensors = (torch.tensor(v) for v in (w, b))
    expected = torch.nn.functional.batch_norm(torch.tensor(X), None, None, *tensors, training=True)
    got = run1(lambda x, *p: ops.batch_norm(x, *ops.batch_moments(x), *p), X, w, b)
    np.testing.assert_allclose(got, expected.numpy())
