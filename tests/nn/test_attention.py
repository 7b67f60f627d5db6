from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.nn import functional as F
from pellucid.tensor.jit import jit
from pellucid.tensor.tensor import Tensor
from tests.nn.peer import close, compare, draw, load, torch


def pair(**how: Any) -> tuple[nn.MultiheadAttention, Any]:
    ours, theirs = nn.MultiheadAttention(8, 2, **how), torch.nn.MultiheadAttention(8, 2, **how)
    load(ours, theirs)
    return ours, theirs


@pytest.mark.parametrize("how", [{}, {"bias": False}, {"batch_first": True}])
def test_self_attention(how: dict[str, Any]) -> None:
    ours, theirs = pair(**how)
    x = draw(3, 5, 8)
    a, wa = ours(Tensor(x), Tensor(x), Tensor(x))
    t = torch.tensor(x)
    b, wb = theirs(t, t, t)
    close(a, b)
    close(wa, wb)


def test_gradients_of_cross_attention() -> None:
    ours, theirs = nn.MultiheadAttention(8, 2), torch.nn.MultiheadAttention(8, 2)
    compare(ours, theirs, draw(4, 2, 8), draw(6, 2, 8, seed=1), draw(6, 2, 8, seed=2))


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("kind", ["bool", "float", "per_head"])
def test_masks(kind: str, average: bool) -> None:
    ours, theirs = pair(batch_first=True)
    x = draw(3, 5, 8)
    mask = np.triu(np.ones((5, 5), np.bool_), 1)
    if kind == "float":
        mask = np.where(mask, -np.inf, draw(5, 5, seed=4)).astype(np.float32)
    if kind == "per_head":
        mask = np.broadcast_to(mask, (6, 5, 5)).copy()
    padding = np.zeros((3, 5), np.bool_)
    padding[1, 3:] = True
    given: Any = padding if kind != "float" else np.where(padding, -np.inf, 0).astype(np.float32)
    a, wa = ours(
        Tensor(x), Tensor(x), Tensor(x), Tensor(given), attn_mask=Tensor(mask),
        average_attn_weights=average,
    )  # fmt: skip
    t = torch.tensor(x)
    b, wb = theirs(
        t, t, t, torch.tensor(given), attn_mask=torch.tensor(mask), average_attn_weights=average
    )
    close(a, b)
    close(wa, wb)


def test_without_weights() -> None:
    ours, theirs = pair(batch_first=True)
    x = draw(2, 5, 8)
    a, wa = ours(Tensor(x), Tensor(x), Tensor(x), need_weights=False)
    t = torch.tensor(x)
    b, _ = theirs(t, t, t, need_weights=False)
    close(a, b)
    assert wa is None


@pytest.mark.parametrize("causal", [True, False])
def test_scaled_dot_product_attention(causal: bool) -> None:
    q, k, v = draw(2, 3, 5, 4), draw(2, 3, 7, 4, seed=1), draw(2, 3, 7, 6, seed=2)
    a = F.scaled_dot_product_attention(Tensor(q), Tensor(k), Tensor(v), is_causal=causal)
    b = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.tensor, (q, k, v)), is_causal=causal
    )
    close(a, b)
    mask = draw(5, 7, seed=3) > 0
    mask[:, 0] = True
    a = F.scaled_dot_product_attention(
        Tensor(q), Tensor(k), Tensor(v), attn_mask=Tensor(mask), scale=0.3
    )
    b = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.tensor, (q, k, v)), attn_mask=torch.tensor(mask), scale=0.3
    )
    close(a, b)


@pytest.mark.parametrize("wrap", [lambda f: f, jit])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_queries_that_see_nothing_give_zero_as_pytorchs(kind: str, wrap: Any) -> None:
    arrays = draw(2, 5, 4), draw(2, 7, 4, seed=1), draw(2, 7, 6, seed=2)
    seen = draw(5, 7, seed=3) > 0
    seen[2] = False
    mask = seen if kind == "bool" else np.where(seen, 0, -np.inf).astype(np.float32)
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    a = wrap(F.scaled_dot_product_attention)(*xs, Tensor(mask))
    b = torch.nn.functional.scaled_dot_product_attention(*ts, torch.tensor(mask))
    assert (a.numpy()[:, 2] == 0).all()
    close(a, b)
    a.sum().backward()
    b.sum().backward()
    for x, t in zip(xs, ts, strict=True):
        close(x.grad, t.grad)


@pytest.mark.parametrize("need_weights", [True, False])
def test_padding_alone_gives_the_outputs_bias(need_weights: bool) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    layer.load_state_dict({"out_proj.bias": draw(8, seed=1)}, strict=False)
    x = Tensor(draw(2, 3, 8))
    padding = Tensor(np.array([[False, False, True], [True, True, True]]))
    result, weights = layer(x, x, x, padding, need_weights=need_weights)
    bias = layer.state_dict()["out_proj.bias"].numpy()
    np.testing.assert_array_equal(result.numpy()[1], np.broadcast_to(bias, (3, 8)))
    assert weights is None or (weights.numpy()[1] == 0).all()
    assert np.isfinite(result.numpy()).all()


@pytest.mark.parametrize("need_weights", [True, False])
def test_causal_and_padded_at_once(need_weights: bool) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x, padding = Tensor(draw(2, 3, 8)), Tensor(np.array([[False] * 3, [False, True, False]]))
    both = layer(x, x, x, padding, need_weights, is_causal=True)[0]
    mask = nn.causal_mask(3)
    close(both, torch.tensor(layer(x, x, x, padding, need_weights, mask)[0].numpy()))


def test_dropout_acts_in_training_only() -> None:
    x = Tensor(draw(2, 5, 8))
    layer = nn.MultiheadAttention(8, 2, dropout=0.5)
    a, b = layer(x, x, x)[0].numpy(), layer(x, x, x)[0].numpy()
    assert not np.array_equal(a, b)
    layer.eval()
    np.testing.assert_array_equal(layer(x, x, x)[0].numpy(), layer(x, x, x)[0].numpy())


def test_bad_sizes() -> None:
    with pytest.raises(ArgumentError, match="MultiheadAttention: heads must divide the width"):
        nn.MultiheadAttention(8, 3)
    x = Tensor(draw(2, 5, 6))
    with pytest.raises(ShapeError, match=r"width 8, got query \(5, 2, 6\)"):
        nn.MultiheadAttention(8, 2)(x, x, x)


def test_causal_mask_hides_the_future() -> None:
    assert nn.causal_mask(2).tolist() == [[False, True], [False, False]]
