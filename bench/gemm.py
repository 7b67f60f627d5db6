"""fp32 matrix products as a share of the FMA peak, the most seen before and between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pellucid as pl
from bench.peers import limit_blas, torch_or_none
from bench.timing import as_row, race, write_rows
from pellucid.compile import this_machine
from pellucid.runtime.machine import arithmetic_call

SIZES = (64, 128, 256, 512, 1024, 2048)


def _candidates(n: int, blas: bool, torch: Any) -> tuple[dict[str, Callable[[], object]], float]:
    """One product in each framework, and the largest error of ours relative to the result."""
    rng = np.random.default_rng(n)
    a, b = (rng.standard_normal((n, n), dtype=np.float32) for _ in range(2))
    multiply, ours = pl.jit(pl.matmul), (pl.Tensor(a), pl.Tensor(b))
    exact = a.astype(np.float64) @ b
    error = float(np.abs(multiply(*ours).numpy() - exact).max() / np.abs(exact).max())
    steps: dict[str, Callable[[], object]] = {"pellucid": lambda: multiply(*ours)}
    if blas:
        steps["numpy"] = lambda: a @ b
    if torch is not None:
        theirs = torch.from_numpy(a), torch.from_numpy(b)
        steps["torch"] = lambda: torch.mm(*theirs)
    return steps, error


def main(threads: int, out: Path) -> None:
    """Print GFLOP/s and percent of peak for square products and write the rows."""
    blas, torch = limit_blas(threads), torch_or_none(threads)
    pl.set_num_threads(threads)
    peak_call, peak_flops = arithmetic_call(this_machine(), threads)
    rows: list[dict[str, object]] = []
    peak = peak_flops / race({"peak": peak_call}, rounds=30, slot=0.02)["peak"].best
    print(f"{'fp32 matrix product':20} {'who':10} {'GFLOP/s':>9} {'% of peak':>10} {'best %':>7}")
    for n in SIZES:
        steps, error = _candidates(n, blas, torch)
        times = race({"peak": peak_call, **steps}, slot=0.03, rest=0.08)
        peak = max(peak, peak_flops / times.pop("peak").best)
        for who, timing in times.items():
            rate, best = 2 * n**3 / timing.median, 2 * n**3 / timing.best
            share, most = 100 * rate / peak, 100 * best / peak
            print(f"n = {n:<16} {who:10} {rate / 1e9:9.1f} {share:10.1f} {most:7.1f}")
            more = {"threads": threads, "flops_per_second": rate, "peak": peak}
            rows.append(as_row(f"gemm {n}", who, timing, **more, max_error=error))
        print(f"{'':20} {'FMA peak':10} {peak / 1e9:9.1f}   (our error {error:.0e})")
    write_rows(out, rows)
