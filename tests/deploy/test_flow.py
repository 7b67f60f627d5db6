"""Exported programs with branches and loops against Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.deploy import compile_c, export_c
from tests.deploy.programs import STRICT, needs_cc


@needs_cc
def test_branches_and_loops(tmp_path: Path) -> None:
    """Export of control flow: loops in C, over rows and carries, forward and backward."""

    def step(carry: tuple[Any, Any], x: Any) -> Any:
        h, n = carry
        h = pl.cond(x.sum() > 0, lambda: pl.tanh(h + x), lambda: h * 0.5)
        return (h, n + 1), h.sum()

    def f(h: Any, xs: Any) -> Any:
        (last, n), ys = pl.scan(step, (h, 0), xs)
        grown = pl.while_loop(lambda v: v.sum() < 10.0, lambda v: v * 2.0 + 1.0, pl.abs(last))
        return last, n, ys, grown

    def gradient(h: Any, xs: Any) -> Any:
        return pl.grad(lambda a, b: f(a, b)[2].sum(), (0, 1))(h, xs)

    rng = np.random.default_rng(0)
    args = [pl.Tensor(rng.normal(size=s).astype(np.float32)) for s in ((3,), (5, 3))]
    for k, fn in enumerate((f, gradient)):
        made = export_c(fn, *args, name=f"loops{k}", folder=tmp_path)
        got = compile_c(made, flags=("-O1", *STRICT)).run(*args)
        for a, b in zip(got, fn(*args), strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-5)
