"""Complex arithmetic over 4 M numbers and a product of matrices, beside NumPy, PyTorch and JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import jax_call, numpy_call, ours, torch_call
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting

SIZE = 1 << 22
SIDE = 512


@dataclass(frozen=True, slots=True)
class _Work:
    """A function of two complex arrays in a framework's terms, and the arrays' shape."""

    fn: Callable[[Any, Any, Any], Any]
    shape: tuple[int, ...]


WORKS = {
    "multiply add": _Work(lambda xp, a, b: a * b + a - 2j, (SIZE,)),
    "divide": _Work(lambda xp, a, b: a / b, (SIZE,)),
    "exp multiply": _Work(lambda xp, a, b: xp.exp(a) * b, (SIZE,)),
    "sqrt": _Work(lambda xp, a, b: xp.sqrt(a) + b, (SIZE,)),
    "power": _Work(lambda xp, a, b: xp.sum(xp.abs(a * xp.conj(b)) ** 2), (SIZE,)),
    "matmul": _Work(lambda xp, a, b: a @ b, (SIDE, SIDE)),
}


def race_work(work: _Work, shape: tuple[int, ...]) -> Race:
    """The work on complex64 arrays of this shape in all frameworks."""
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, 2, *shape), dtype=np.float32)
    arrays: list[Array] = [real + np.complex64(1j) * imag for real, imag in parts]
    fn = work.fn
    candidate, asked = ours(lambda a, b: fn(pl, a, b), *arrays)
    peers: dict[str, Callable[[], Candidate]] = {
        "numpy": lambda: numpy_call(lambda a, b: np.asarray(fn(np, a, b)), *arrays),
        "torch": lambda: torch_call(lambda a, b: fn(load("torch"), a, b), *arrays),
        "jax": lambda: jax_call(lambda a, b: fn(load("jax").numpy, a, b), *arrays),
    }
    return Race(ours=candidate, load=asked, peers=peers, tolerance=1e-4)


def _make(work: _Work) -> Callable[[Setting], Race]:
    def race(setting: Setting) -> Race:
        return race_work(work, tuple(64 for _ in work.shape) if setting.quick else work.shape)

    return race


ROWS = tuple(
    Row(name=f"complex {name}", group="complex", goal=Goal(ratio=1.0), make=_make(work))
    for name, work in WORKS.items()
)
