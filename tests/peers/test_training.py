"""The models of the benchmark against PyTorch: gradients, and 50 losses from equal weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.bench.torch_models import torch_step
from pellucid.bench.works import (
    LEARNING_RATE,
    WORKS,
    Work,
    copy_weights,
    loss_of,
    pellucid_step,
)

torch = pytest.importorskip("torch", reason="PyTorch, the peer, is not installed")
STEPS = 50


def _pair(work: Work) -> tuple[Any, Any]:
    torch.manual_seed(0)
    theirs, ours = work.torch(), work.pellucid()
    copy_weights(ours, theirs)
    return ours, theirs


def _their_loss(model: Any, x: Any, y: Any) -> Any:
    logits, target = model(torch.from_numpy(x)), torch.from_numpy(y)
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), target.flatten())


@pytest.mark.parametrize("work", WORKS, ids=lambda w: w.name)
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_gradients_agree(work: Work, jitted: bool) -> None:
    ours, theirs = _pair(work)
    x, y = work.batch(np.random.default_rng(0))

    def backward(x: Any, y: Any) -> None:
        loss_of(ours(x), y).backward()

    (pl.jit(backward) if jitted else backward)(pl.Tensor(x), pl.Tensor(y))
    _their_loss(theirs, x, y).backward()
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert dict(ours.named_parameters()).keys() == expected.keys()
    for name, p in ours.named_parameters():
        distance = np.linalg.norm(p.grad.numpy() - expected[name])
        assert distance <= 1e-5 * np.linalg.norm(expected[name]), name


# AdamW divides a gradient by its own size, so losses of large batches part after some 30 steps
@pytest.mark.slow
@pytest.mark.parametrize("work", [w for w in WORKS if "b512" not in w.name], ids=lambda w: w.name)
def test_first_50_losses_agree(work: Work) -> None:
    ours, theirs = _pair(work)
    our_step, their_step = pellucid_step(ours), torch_step(theirs, LEARNING_RATE)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(STEPS):
        x, y = work.batch(rng)
        theirs_now = their_step(torch.from_numpy(x), torch.from_numpy(y)).item()
        losses.append((our_step(pl.Tensor(x), pl.Tensor(y)).item(), theirs_now))
    ours_all, theirs_all = np.array(losses).T
    np.testing.assert_allclose(ours_all, theirs_all, rtol=1e-5)
    assert len(set(theirs_all.tolist())) == STEPS  # the models moved
