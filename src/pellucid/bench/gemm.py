"""float32 matrix products: square, skinny, and with transposed operands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pellucid.bench.adapters import jax_call, numpy_call, ours, torch_call
from pellucid.bench.row import Array, Goal, Race, Row, Setting

SQUARE = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
SKINNY = (
    (1, 1024, 1024), (4, 1024, 1024), (8, 1024, 1024), (16, 1024, 1024), (1, 4096, 1024),
    (16, 4096, 1024), (1024, 1, 1024), (1024, 8, 1024), (1024, 16, 1024),
)  # fmt: skip


def _operands(m: int, n: int, k: int, form: str) -> tuple[Array, Array]:
    """Row-major `a` and `b` whose transposes, where `form` says `t`, are multiplied."""
    rng = np.random.default_rng(m * n + k)
    a = rng.standard_normal((k, m) if form[0] == "t" else (m, k), dtype=np.float32)
    b = rng.standard_normal((n, k) if form[1] == "t" else (k, n), dtype=np.float32)
    return a, b


def _product(m: int, n: int, k: int, form: str = "nn") -> Callable[[Setting], Race]:
    def multiply(a: Array, b: Array) -> Array:
        return (a.T if form[0] == "t" else a) @ (b.T if form[1] == "t" else b)

    def make(_: Setting) -> Race:
        a, b = _operands(m, n, k, form)
        candidate, work = ours(multiply, a, b)
        return Race(
            ours=candidate,
            load=work,
            peers={
                "numpy": lambda: numpy_call(multiply, a, b),
                "torch": lambda: torch_call(multiply, a, b),
                "jax": lambda: jax_call(multiply, a, b),
            },
        )

    return make


def _goal(m: int, n: int, k: int) -> Goal:
    least = min(m, n, k)
    if least <= 16:
        return Goal(ratio=1.0)
    return Goal(ratio=1.5 if least <= 128 else 1.0, share=0.9 if least >= 256 else 0.0)


def _row(name: str, m: int, n: int, k: int, form: str = "nn") -> Row:
    return Row(name=name, group="gemm", goal=_goal(m, n, k), make=_product(m, n, k, form))


ROWS = (
    *(_row(f"gemm {n}", n, n, n) for n in SQUARE),
    *(_row(f"gemm {m}x{n}x{k}", m, n, k) for m, n, k in SKINNY),
    *(_row(f"gemm {n} {form}", n, n, n, form) for n in (128, 512, 1024) for form in ("tn", "nt")),
    _row("gemm 8x1024x1024 nt", 8, 1024, 1024, "nt"),
)
