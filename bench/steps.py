"""Training steps against PyTorch eager and torch.compile: agreement first, then time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import pellucid as pl
from bench.models import WORKS, Work, copy_weights, loss_of, pellucid_step, torch_step
from bench.timing import as_row, race, write_rows


def agreement(work: Work, torch: Any, steps: int = 50) -> tuple[float, float]:
    """Largest relative gradient difference, and largest loss difference over `steps`, from equal
    weights.
    """
    torch.manual_seed(0)
    theirs, ours = work.torch(torch), work.pellucid()
    copy_weights(ours, theirs)
    rng = np.random.default_rng(0)
    x, y = work.batch(rng)
    gradient = _gradient_difference(ours, theirs, x, y, torch)
    our_step, their_step = pellucid_step(ours, work.lr), torch_step(torch, theirs, work.lr)
    worst = 0.0
    for _ in range(steps):
        x, y = work.batch(rng)
        a = our_step(pl.Tensor(x), pl.Tensor(y)).item()
        b = their_step(torch.from_numpy(x), torch.from_numpy(y)).item()
        worst = max(worst, abs(a - b))
    return gradient, worst


def _gradient_difference(ours: Any, theirs: Any, x: Any, y: Any, torch: Any) -> float:
    loss_of(ours(pl.Tensor(x)), pl.Tensor(y)).backward()
    logits, target = theirs(torch.from_numpy(x)), torch.from_numpy(y)
    if logits.ndim == 3:
        logits, target = logits.reshape(-1, logits.shape[-1]), target.reshape(-1)
    torch.nn.functional.cross_entropy(logits, target).backward()
    expected = {n: p.grad.numpy() for n, p in theirs.named_parameters()}
    worst = 0.0
    for name, p in ours.named_parameters():
        scale = float(np.abs(expected[name]).max()) or 1.0
        worst = max(worst, float(np.abs(p.grad.numpy() - expected[name]).max()) / scale)
        p.grad = None
    theirs.zero_grad()
    return worst


def main(threads: int, compiled: bool, out: Path) -> None:
    """Print a table of the training steps and write the rows as JSON."""
    import torch

    torch.set_num_threads(threads)
    pl.set_num_threads(threads)
    rows: list[dict[str, object]] = []
    print(f"{'work':32} {'who':16} {'median ms':>10} {'p10-p90 ms':>17} {'x ours':>7}")
    for work in WORKS:
        gradient, loss = agreement(work, torch)
        rng = np.random.default_rng(1)
        x, y = work.batch(rng)
        ours = pellucid_step(work.pellucid(), work.lr)
        mine = (pl.Tensor(x), pl.Tensor(y))
        given = (torch.from_numpy(x), torch.from_numpy(y))
        eager = torch_step(torch, work.torch(torch), work.lr)
        candidates = {
            "pellucid": lambda f=ours, a=mine: f(*a),
            "torch eager": lambda f=eager, a=given: f(*a),
        }
        if compiled:
            fast = torch_step(torch, work.torch(torch), work.lr, compiled=True)
            candidates["torch.compile"] = lambda f=fast, a=given: f(*a)
        times = race(candidates)
        for who, timing in times.items():
            ratio = timing.median / times["pellucid"].median
            spread = f"{timing.low * 1e3:.3f}-{timing.high * 1e3:.3f}"
            print(f"{work.name:32} {who:16} {timing.median * 1e3:10.3f} {spread:>17} {ratio:7.2f}")
            rows.append(as_row(work.name, who, timing, threads=threads, ratio=ratio))
        print(f"{'':32} gradients agree to {gradient:.1e}, 50 losses to {loss:.1e}")
        rows.append({"work": work.name, "gradient_difference": gradient, "loss_difference": loss})
    write_rows(out, rows)
