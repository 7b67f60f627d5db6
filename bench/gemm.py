"""fp32 matrix products against the measured FMA peak, NumPy's BLAS and PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pellucid as pl
from bench.timing import as_row, race, write_rows
from pellucid.runtime.machine import measure_machine


def main(threads: int, out: Path) -> None:
    """Print GFLOP/s and percent of peak at n = 256, 512, 1024 and write the rows."""
    import torch

    torch.set_num_threads(threads)
    pl.set_num_threads(threads)
    peak = measure_machine().fma_flops(threads)
    print(f"measured FMA peak with {threads} thread(s): {peak / 1e9:.0f} GFLOP/s")
    rows: list[dict[str, object]] = []
    rng = np.random.default_rng(0)
    multiply = pl.jit(pl.matmul)
    for n in (256, 512, 1024):
        a, b = (rng.standard_normal((n, n), dtype=np.float32) for _ in range(2))
        ours, theirs = (pl.Tensor(a), pl.Tensor(b)), (torch.from_numpy(a), torch.from_numpy(b))
        error = float(np.abs(multiply(*ours).numpy() - a @ b).max())
        times = race(
            {
                "pellucid": lambda args=ours: multiply(*args),
                "torch": lambda args=theirs: torch.mm(*args),
            },
            slot=0.03,
        )
        for who, timing in times.items():
            rate = 2 * n**3 / timing.median
            print(f"n={n:5} {who:10} {rate / 1e9:8.1f} GFLOP/s {100 * rate / peak:5.1f} % of peak")
            rows.append(as_row(f"gemm {n}", who, timing, flops=rate, peak=peak, max_error=error))
    write_rows(out, rows)
