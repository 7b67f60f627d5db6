"""Exported programs on complex numbers: `_Complex` in C, constants and views included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid.core.errors import PellucidError
from pellucid.deploy import compile_c, export_c
from tests.deploy.programs import needs_cc

WEIGHTS = np.array([0.5j, 2 - 1j, 0], np.complex64)


def turned(z: pl.Tensor) -> list[pl.Tensor]:
    w = pl.Tensor(WEIGHTS)
    return [pl.exp(z) * w, pl.abs(z), z[::-1], w, pl.sum(z)]


@needs_cc
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_a_complex_program_is_the_same_in_c(tmp_path: Path, dtype: type) -> None:
    z: NDArray[Any] = np.array([1 + 2j, 3 - 1j, -0.5j], dtype)
    export = export_c(turned, pl.Tensor(z), name=f"turned_{np.dtype(dtype).name}", folder=tmp_path)
    assert " _Complex *z" in export.header.read_text()
    results = compile_c(export).run(z)
    for got, want in zip(results, turned(pl.Tensor(z)), strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-5)


def test_what_runs_by_its_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="asin"):
        export_c(pl.asin, pl.Tensor([1j]), folder=tmp_path)
