"""Attention against PyTorch's, masks included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import bool_, float32
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.ir import GraphBuilder, TensorType
from tests.ops.gradient import grad
from tests.ops.records import run1

RNG = np.random.default_rng(0)
Q, K, V = (RNG.normal(size=(2, 3, n, d)) for n, d in ((4, 5), (6, 5), (6, 7)))
BOOLS = RNG.random((4, 6)) < 0.7
BOOLS[:, 0] = True


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (None, {}),
        (None, {"is_causal": True}),
        (None, {"scale": 0.5}),
        (BOOLS, {}),
        (RNG.normal(size=(4, 6)), {}),
    ],
)
def test_attention_is_pytorchs(mask: Any, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    given = [Q, K, V] + ([] if mask is None else [mask])
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(torch.tensor(a) for a in given), **options
    )
    got = run1(lambda *v: ops.scaled_dot_product_attention(*v, **options), *given)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-9)


@pytest.mark.parametrize("kind", [bool, float])
def test_rows_that_see_nothing_are_zero_and_have_no_gradient(kind: type) -> None:
    seen = BOOLS.copy()
    seen[1] = False
    mask = seen if kind is bool else np.where(seen, 0.0, -np.inf)
    got = run1(ops.scaled_dot_product_attention, Q, K, V, mask)
    assert (got[..., 1, :] == 0).all()
    others = [0, 2, 3]
    expected = run1(ops.scaled_dot_product_attention, Q[..., others, :], K, V, mask[others])
    np.testing.assert_allclose(got[..., others, :], expected, rtol=1e-12)
    gradients = grad(ops.scaled_dot_product_attention, Q, K, V, mask)[:3]
    wanted = grad(ops.scaled_dot_product_attention, Q[..., others, :], K, V, mask[others])[:3]
    assert (gradients[0][..., 1, :] == 0).all()
    np.testing.assert_allclose(gradients[0][..., others, :], wanted[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradients[1], wanted[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradients[2], wanted[2], rtol=1e-9, atol=1e-12)


def test_attention_refuses_what_does_not_fit() -> None:
    with GraphBuilder() as builder:
        q, k = (builder.input(TensorType(s, float32)) for s in ((4, 5), (6, 7)))
        with pytest.raises(ShapeError, match=r"attention: needs .* and key f32\[6, 7\]"):
            ops.scaled_dot_product_attention(q, k, k)
        mask = builder.input(TensorType((4, 4), bool_))
        with pytest.raises(ArgumentError, match="takes either a mask or is_causal"):
            ops.scaled_dot_product_attention(q, q, q, mask, is_causal=True)


def test_without_features_every_key_counts_alike() -> None:
    query = np.ones((2, 3, 0))
    got = run1(ops.scaled_dot_product_attention, query, query, V[0, :2, :3])
    np.testing.assert_allclose(got, np.broadcast_to(V[0, :2, :3].mean(1, keepdims=True), got.shape))
