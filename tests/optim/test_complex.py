"""Optimisers of complex parameters, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import optim


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta"])
def test_steps_are_pytorchs(name: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    start = np.array([1 + 1j, 2j, -0.5 - 3j])
    ours, theirs = pl.Parameter(start), torch.tensor(start, requires_grad=True)
    optimizer = getattr(optim, name)([ours], lr=0.1)
    peer = getattr(torch.optim, name)([theirs], lr=0.1)
    for _ in range(4):
        for p, o, xp in ((ours, optimizer, pl), (theirs, peer, torch)):
            o.zero_grad()
            (abs(p * 2j - 3) ** 2 + xp.real(p)).sum().backward()
            o.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-9)


def test_gradients_are_clipped_by_their_length() -> None:
    p = pl.Parameter(np.array([3 + 4j, 0j]))
    p.grad = pl.Tensor(np.array([3 + 4j, 12 + 0j]))
    assert optim.clip_grad_norm_(p, 1.0).item() == 13
    assert p.grad is not None
    np.testing.assert_allclose(abs(p.grad).numpy(), [5 / 13, 12 / 13], rtol=1e-6)
