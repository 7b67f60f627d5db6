"""What a call costs beside its work: jitted functions of few and many tensors, a small eager op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pellucid.bench.adapters import jax_call, numpy_call, ours, ours_eager, torch_call
from pellucid.bench.row import Array, Goal, Load, Race, Row, Setting

MOST = {1: 3e-6, 10: 6e-6, 100: 30e-6}


def _arrays(count: int) -> list[Array]:
    return [np.full(4, i, np.float32) for i in range(count)]


def _chain(*tensors: Any) -> Any:
    """Uses every argument once; with four elements each the work is nothing."""
    total = tensors[0] + 1.0
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _jitted(count: int) -> Callable[[Setting], Race]:
    def make(_: Setting) -> Race:
        arrays = _arrays(count)
        peers = {"jax": lambda: jax_call(_chain, *arrays)}
        if count == 1:
            peers["torch"] = lambda: torch_call(_chain, *arrays)
            peers["numpy"] = lambda: numpy_call(_chain, *arrays)
        return Race(ours=ours(_chain, *arrays)[0], load=Load(), peers=peers)

    return make


def _eager(op: Callable[[Any, Any], Any]) -> Callable[[Setting], Race]:
    def make(_: Setting) -> Race:
        arrays = _arrays(2)
        peers = {
            "numpy": lambda: numpy_call(op, *arrays),
            "torch": lambda: torch_call(op, *arrays),
        }
        return Race(ours=ours_eager(op, *arrays), load=Load(), peers=peers)

    return make


ROWS = (
    *(
        Row(
            name=f"call jitted {count} tensor{'s' if count > 1 else ''}",
            group="overhead",
            goal=Goal(most=most),
            make=_jitted(count),
        )
        for count, most in MOST.items()
    ),
    *(
        Row(
            name=f"call eager {name} of 4",
            group="overhead",
            goal=Goal(over=("numpy", 1.5e-6)),
            make=_eager(op),
        )
        for name, op in (
            ("add", lambda x, y: x + y),
            ("less", lambda x, y: x < y),
            ("matmul", lambda x, y: x @ y),
        )
    ),
)
