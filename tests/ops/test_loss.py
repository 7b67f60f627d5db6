"""Losses and their gradients against PyTorch; labels that do not count; errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import float32, int64
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.graph.ir import GraphBuilder, TensorType, Value
from tests.ops.gradient import grad
from tests.ops.records import Array, run1

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 7)) * 3
LABELS = np.array([0, 6, 3, -100, 2])


def _compare(
    mine: Callable[..., Value], peer: Callable[..., Any], x: Array, *others: Array
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    t = torch.tensor(x, requires_grad=True)
    expected = peer(t, *(torch.tensor(o) for o in others))
    expected.sum().backward()
    np.testing.assert_allclose(run1(mine, x, *others), expected.detach().numpy(), rtol=1e-10)
    (got,) = grad(mine, x, *others, by=0)
    np.testing.assert_allclose(got, t.grad.numpy(), rtol=1e-9, atol=1e-12)


def _functional() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed").nn.functional


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.int64])
def test_cross_entropy_is_pytorchs(reduction: Any, smoothing: float, dtype: Any) -> None:
    functional = _functional()
    options = {"reduction": reduction, "label_smoothing": smoothing}
    _compare(
        lambda x, y: ops.cross_entropy(x, y, **options),
        lambda x, y: functional.cross_entropy(x, y, **options),
        LOGITS,
        LABELS.astype(dtype),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_on_probabilities_is_pytorchs(smoothing: float) -> None:
    functional = _functional()
    _compare(
        lambda x, y: ops.cross_entropy(x, y, label_smoothing=smoothing),
        lambda x, y: functional.cross_entropy(x, y, label_smoothing=smoothing),
        LOGITS,
        RNG.dirichlet(np.ones(7), 5),
    )


def test_cross_entropy_over_channels_is_pytorchs() -> None:
    functional = _functional()
    _compare(
        lambda x, y: ops.cross_entropy(x, y, 1, ignore_index=2),
        lambda x, y: functional.cross_entropy(x, y, ignore_index=2),
        RNG.normal(size=(2, 4, 3)),
        np.array([[0, 1, 2], [3, 2, 1]]),
    )


def test_labels_may_be_narrow() -> None:
    labels = np.array([0, 6, 3, 255, 2], np.uint8)
    expected = run1(ops.cross_entropy, LOGITS, LABELS)
    got = run1(lambda x, y: ops.cross_entropy(x, y, ignore_index=255), LOGITS, labels)
    np.testing.assert_array_equal(got, expected)
    wide = np.zeros((1, 300))
    wide[0, 256] = 50.0  # must not be taken for label 0
    loss = run1(ops.cross_entropy, wide, np.zeros(1, np.uint8))
    np.testing.assert_allclose(loss, 50.0, rtol=1e-6)


@pytest.mark.parametrize("wrong", [-1, 7, 2**32])
def test_a_label_that_is_no_class_makes_the_loss_nan(wrong: int) -> None:
    labels = np.where(LABELS == 3, wrong, LABELS)
    assert np.isnan(run1(ops.cross_entropy, LOGITS, labels))
    rows = run1(lambda x, y: ops.nll_loss(x, y, reduction="none"), LOGITS, labels)
    np.testing.assert_array_equal(np.isnan(rows), labels == wrong)


@pytest.mark.parametrize("wrong", [-1, 7, 2**32])
@pytest.mark.parametrize("smoothing", [None, 0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_label_that_is_no_class_makes_its_rows_gradient_nan(
    wrong: int, smoothing: float | None, reduction: Any
) -> None:
    def loss(x: Value, y: Value) -> Value:
        if smoothing is None:
            return ops.nll_loss(x, y, reduction=reduction)
        return ops.cross_entropy(x, y, label_smoothing=smoothing, reduction=reduction)

    labels = np.where(LABELS == 3, wrong, LABELS)
    (got,) = grad(loss, LOGITS, labels, by=0)
    (right,) = grad(loss, LOGITS, LABELS, by=0)
    rows = labels == wrong
    assert np.isnan(got[rows]).any() if smoothing is None else np.isnan(got[rows]).all()
    np.testing.assert_array_equal(got[~rows], right[~rows])
    assert (got[LABELS == -100] == 0).all()


@pytest.mark.parametrize("smoothing", [-0.1, 2.0, np.nan])
def test_label_smoothing_is_a_share(smoothing: float) -> None:
    with pytest.raises(ArgumentError, match=r"label_smoothing must be in \[0, 1\], got"):
        run1(lambda x, y: ops.cross_entropy(x, y, label_smoothing=smoothing), LOGITS, LABELS)


def test_cross_entropy_survives_extreme_logits() -> None:
    logits = np.array([[1e4, -1e4, -np.inf]])
    np.testing.assert_array_equal(run1(ops.cross_entropy, logits, np.array([0])), 0.0)
    np.testing.assert_array_equal(run1(ops.cross_entropy, logits, np.array([1])), 2e4)
    (got,) = grad(ops.cross_entropy, logits, np.array([1]))
    np.testing.assert_array_equal(got, [[1.0, -1.0, 0.0]])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_is_pytorchs(reduction: Any) -> None:
    functional = _functional()
    _compare(
        lambda x, y: ops.nll_loss(x, y, reduction=reduction),
        lambda x, y: functional.nll_loss(x, y, reduction=reduction),
        LOGITS,
        LABELS,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("name", "peer"),
    [("mse_loss", "mse_loss"), ("mae_loss", "l1_loss"), ("huber_loss", "huber_loss")],
)
def test_regression_losses_are_pytorchs(name: str, peer: str, reduction: Any) -> None:
    functional = _functional()
    target = LOGITS + np.linspace(-2, 2, 35).reshape(5, 7)
    _compare(
        lambda x, y: getattr(ops, name)(x, y, reduction=reduction),
        lambda x, y: getattr(functional, peer)(x, y, reduction=reduction),
        LOGITS,
        target,
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber_is_finite_as_far_as_its_value_is(dtype: Any, delta: float) -> None:
    def loss(x: Value, y: Value) -> Value:
        return ops.huber_loss(x, y, delta, reduction="none")

    big = float(np.finfo(dtype).max) / 4
    far = np.array([0.0, 0.25, -0.25, delta, -delta, 300.0, big, np.inf, -np.inf], dtype)
    zero = np.zeros_like(far)
    size = np.abs(far).astype(np.float64)
    inside = size <= delta
    expected = np.where(inside, np.where(inside, size, 0) ** 2 / 2, delta * (size - delta / 2))
    np.testing.assert_allclose(run1(loss, far, zero), expected.astype(dtype), rtol=2e-3)
    (slope,) = grad(loss, far, zero, by=0)
    np.testing.assert_array_equal(slope, np.clip(far, -delta, delta))


@pytest.mark.parametrize("weight", [None, 3.0])
def test_bce_is_pytorchs(weight: float | None) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    peer_weight = None if weight is None else torch.tensor(weight)
    logits = np.array([-1000.0, -3.0, 0.0, 0.0, 2.0, 1000.0])
    _compare(
        lambda x, y: ops.bce_with_logits(x, y, weight),
        lambda x, y: torch.nn.functional.binary_cross_entropy_with_logits(
            x, y, pos_weight=peer_weight
        ),
        logits,
        np.array([0.0, 1.0, 0.0, 1.0, 0.3, 1.0]),
    )


def test_kl_is_pytorchs() -> None:
    functional = _functional()
    target = np.array([[0.0, 0.25, 0.75]])
    _compare(
        lambda x, y: ops.kl_div(x, y, reduction="sum"),
        lambda x, y: functional.kl_div(x, y, reduction="sum"),
        np.log([[0.2, 0.3, 0.5]]),
        target,
    )


def _inputs(*types: TensorType) -> list[Value]:
    builder = GraphBuilder()
    return [builder.input(t) for t in types]


def test_losses_refuse_what_does_not_fit() -> None:
    x, column, row = _inputs(*(TensorType(s, float32) for s in ((4, 3), (4, 1), (4,))))
    with pytest.raises(ShapeError, match=r"mse_loss: prediction and target must have one shape"):
        ops.mse_loss(row, column)
    (short,) = _inputs(TensorType((3,), int64))
    with GraphBuilder():
        with pytest.raises(ShapeError, match="labels must have the logits' shape without axis 1"):
            ops.cross_entropy(x, short)
        with pytest.raises(DTypeError, match=r"nll_loss: labels must be integers.*cast the labels"):
            ops.nll_loss(x, row)
        with pytest.raises(ArgumentError, match="delta must be positive"):
            ops.huber_loss(x, x, 0.0)
        with pytest.raises(ArgumentError, match="reduction must be 'mean', 'sum' or 'none'"):
            ops.mse_loss(x, x, reduction="all")  # type: ignore[arg-type]  # what the test is about
