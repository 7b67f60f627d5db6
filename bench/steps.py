"""Training steps against PyTorch eager and torch.compile: agreement first, then time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pellucid as pl
from bench.models import WORKS, Work, copy_weights, loss_of, pellucid_step, torch_step
from bench.peers import can_compile, torch_or_none
from bench.timing import Timing, as_row, race, write_rows

STEPS = 50
GRADIENT_LIMIT = 1e-5  # of each parameter's largest gradient
_HEAD = (
    f"{'work':30} {'who':14} {'median ms':>10} {'p10-p90 ms':>16} {'best ms':>9}"
    f" {'x ours':>7} {'x best':>7}"
)


def agreement(work: Work, torch: Any) -> tuple[float, float]:
    """Largest gradient difference of any parameter, relative to its largest gradient, and largest
    loss difference over `STEPS`, from equal weights.
    """
    torch.manual_seed(0)
    theirs, ours = work.torch(torch), work.pellucid()
    copy_weights(ours, theirs)
    rng = np.random.default_rng(0)
    x, y = work.batch(rng)
    gradient = _gradient_difference(ours, theirs, x, y, torch)
    our_step, their_step = pellucid_step(ours, work.lr), torch_step(torch, theirs, work.lr)
    worst = 0.0
    for _ in range(STEPS):
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


def _candidates(work: Work, torch: Any, compiled: bool) -> dict[str, Callable[[], object]]:
    x, y = work.batch(np.random.default_rng(1))
    ours, mine = pellucid_step(work.pellucid(), work.lr), (pl.Tensor(x), pl.Tensor(y))
    steps: dict[str, Callable[[], object]] = {"pellucid": lambda: ours(*mine)}
    if torch is None:
        return steps
    given = torch.from_numpy(x), torch.from_numpy(y)
    eager = torch_step(torch, work.torch(torch), work.lr)
    steps["torch eager"] = lambda: eager(*given)
    if compiled:
        fast = torch_step(torch, work.torch(torch), work.lr, compiled=True)
        steps["torch.compile"] = lambda: fast(*given)
    return steps


def _report(work: Work, times: dict[str, Timing]) -> None:
    ours = times["pellucid"]
    for who, t in times.items():
        spread = f"{t.low * 1e3:.3f}-{t.high * 1e3:.3f}"
        print(
            f"{work.name:30} {who:14} {t.median * 1e3:10.3f} {spread:>16} {t.best * 1e3:9.3f}"
            f" {t.median / ours.median:7.2f} {t.best / ours.best:7.2f}"
        )


def main(threads: int, compiled: bool, out: Path) -> None:
    """Print a table of the training steps and write the rows as JSON.

    Raises:
        SystemExit: gradients differ from PyTorch's, so that times would mean nothing.
    """
    torch = torch_or_none(threads)
    pl.set_num_threads(threads)
    compiled = compiled and torch is not None and can_compile()
    rows: list[dict[str, object]] = []
    print(f"training steps with AdamW, {threads} thread(s)\n{_HEAD}")
    for work in WORKS:
        if torch is not None:
            gradient, loss = agreement(work, torch)
            if gradient > GRADIENT_LIMIT:
                raise SystemExit(f"{work.name}: gradients differ from PyTorch's by {gradient:.1e}")
            rows.append(
                {"work": work.name, "gradient_difference": gradient, "loss_difference": loss}
            )
        times = race(_candidates(work, torch, compiled))
        _report(work, times)
        for who, timing in times.items():
            ratio = timing.median / times["pellucid"].median
            rows.append(as_row(work.name, who, timing, threads=threads, ratio=ratio))
        if torch is not None:
            print(f"{'':30} gradients agree to {gradient:.1e}, {STEPS} losses to {loss:.1e}")
    write_rows(out, rows)
