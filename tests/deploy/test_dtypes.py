"""Every dtype through functions whose C form compilers like to warn of, warnings being errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.deploy import compile_c, export_c
from tests.deploy.programs import STRICT, needs_cc

TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
         "float32", "float64", "bool")  # fmt: skip


def everything(x: Any) -> Any:
    zero, top = pl.zeros_like(x), pl.max(x)
    always = (x >= 0, x < 0, x >= zero, zero > x, pl.equal(x, x), pl.not_equal(x, x), x <= top)
    reduced = (pl.max(x), pl.argmax(x), pl.sum(x), pl.any(x != 0), pl.all(x != 0))
    casts = tuple(pl.astype(x, t) for t in TYPES)
    return (*always, *reduced, pl.sort(x), pl.where(x > 0, x, zero), *casts)


@needs_cc
@pytest.mark.parametrize("dtype", TYPES)
def test_nothing_to_warn_of(dtype: str, tmp_path: Path) -> None:
    x = np.array([0, 1, 3, 100, 127]).astype(dtype)
    program = compile_c(export_c(everything, x, folder=tmp_path), flags=("-O2", *STRICT))
    for got, expected in zip(program(x), everything(pl.Tensor(x)), strict=True):
        np.testing.assert_array_equal(got, expected.numpy())
        assert got.dtype == expected.dtype.numpy
