"""The targets that this machine can run code for, and arrays full of edge cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.codegen.llvm import host_target
from pellucid.core.dtype import DType
from pellucid.core.target import Target

HOST = host_target()


def runnable_targets() -> list[Target]:
    """The host, and on x86-64 the narrower machines whose instructions it also has."""
    targets = [HOST]
    if HOST.name in ("avx512", "avx2", "sse2"):
        sse2 = replace(
            HOST, name="sse2", vector_bits=128, vector_registers=16, has_fma=False,
            cpu="x86-64", features="+sse2,+64bit,+cmov,+cx8",
        )  # fmt: skip
        targets.append(sse2)
    if HOST.name == "avx512":
        avx2 = replace(
            HOST, name="avx2", vector_bits=256, vector_registers=16, cpu="haswell",
            features="+avx2,+fma,+f16c,+64bit,+bmi,+bmi2",
        )  # fmt: skip
        targets.append(avx2)
    return targets


# The quick lane compiles for the host only; the whole suite for the narrower machines as well.
each_target = pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, id=target.name, marks=() if target is HOST else pytest.mark.slow)
        for target in runnable_targets()
    ],
)


def poison(shape: tuple[int, ...], dtype: DType) -> NDArray[Any]:
    """An array whose contents would show if they reached a result."""
    block = np.full(shape, 0xA5, np.uint8) if dtype.itemsize == 1 else None
    if block is not None and dtype.kind != "bool":
        return block.view(dtype.numpy)
    if dtype.kind == "bool":
        return np.ones(shape, np.bool_)
    return np.full(shape, np.nan if dtype.is_float else 0x5A, dtype.numpy)


def samples(dtype: DType, count: int, seed: int = 0) -> NDArray[Any]:
    """Edge cases first, then random values over the whole range."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "bool":
        return rng.integers(0, 2, count).astype(np.bool_)
    if dtype.is_float:
        edges = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -2.5, 3.5, 1e-3, 250.0]
        body = rng.normal(size=count) * np.exp(rng.normal(size=count) * 3)
    else:
        limits = np.iinfo(dtype.name)
        edges = [0, 1, 2, 3, limits.max, limits.min, limits.max - 1, limits.min + 1, 7, 8, 31, 63]
        edges += [-1, -2] if dtype.kind == "int" else []
        body = rng.integers(limits.min, limits.max, count, dtype.name, endpoint=True)
    values = np.concatenate([np.array(edges, body.dtype), body])[: max(count, 0)]
    if count < len(edges):
        values = rng.permutation(values)
    with np.errstate(all="ignore"):
        return values.astype(dtype.numpy)
