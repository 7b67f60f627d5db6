from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pellucid import optim
from pellucid.core.errors import ArgumentError
from pellucid.tensor.jit import jit
from pellucid.tensor.tensor import Parameter, Tensor

torch: Any = pytest.importorskip("torch")
GRADS = [np.array([[3.0, -4.0]], np.float32), np.array([12.0], np.float32)]


def with_grads(scale: float = 1.0) -> tuple[list[Parameter], list[Any]]:
    ours = [Parameter(np.zeros_like(g)) for g in GRADS] + [Parameter([1.0])]
    theirs = [torch.nn.Parameter(torch.zeros(g.shape)) for g in GRADS]
    for p, t, g in zip(ours[:2], theirs, GRADS, strict=True):
        p.grad, t.grad = Tensor(g * np.float32(scale)), torch.tensor(g * scale)
    return ours, theirs


@pytest.mark.parametrize("kind", [2.0, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("limit", [1.0, 100.0])
def test_norm(kind: float, limit: float) -> None:
    ours, theirs = with_grads()
    total = optim.clip_grad_norm_(ours, limit, kind)
    other = torch.nn.utils.clip_grad_norm_(theirs, limit, kind)
    np.testing.assert_allclose(total.numpy(), other.numpy(), rtol=1e-6)
    for p, t in zip(ours, theirs, strict=False):
        assert p.grad is not None
        np.testing.assert_allclose(p.grad.numpy(), t.grad.numpy(), rtol=1e-6)
    assert ours[2].grad is None


def test_value() -> None:
    ours, theirs = with_grads()
    optim.clip_grad_value_(ours, 3.5)
    torch.nn.utils.clip_grad_value_(theirs, 3.5)
    for p, t in zip(ours, theirs, strict=False):
        assert p.grad is not None
        np.testing.assert_array_equal(p.grad.numpy(), t.grad.numpy())


def test_inside_a_jitted_step() -> None:
    p = Parameter([3.0, 4.0])
    optimizer = optim.SGD([p], lr=1.0)

    @jit
    def step() -> Tensor:
        (p * p * 0.5).sum().backward()
        total = optim.clip_grad_norm_([p], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return total

    assert abs(step().item() - 5.0) < 1e-6
    np.testing.assert_allclose(p.numpy(), [2.4, 3.2], rtol=1e-5)


def test_nothing_to_clip() -> None:
    assert optim.clip_grad_norm_([Parameter([1.0])], 1.0).item() == 0.0


def test_bad_limits() -> None:
    with pytest.raises(ArgumentError, match="max_norm must be >= 0"):
        optim.clip_grad_norm_([Parameter([1.0])], -1.0)
    with pytest.raises(ArgumentError, match="clip_value must be >= 0"):
        optim.clip_grad_value_([Parameter([1.0])], math.nan)
