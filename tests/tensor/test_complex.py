"""Complex tensors: making them, looking at them, refusing what they are not."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import DTypeError


def test_complex_data_is_complex64_unless_numpy_says_otherwise() -> None:
    assert pl.Tensor([1 + 2j]).dtype == pl.complex64
    assert pl.Tensor(2j).dtype == pl.complex64
    assert pl.asarray([1.0, 2j], dtype=pl.complex128).dtype == pl.complex128
    assert pl.Tensor(np.array([1j])).dtype == pl.complex128
    assert pl.zeros((2,), dtype="complex64").tolist() == [0j, 0j]
    assert pl.full((2,), 1 - 1j).tolist() == [1 - 1j, 1 - 1j]


def test_one_element_is_a_python_number() -> None:
    x = pl.Tensor(1.5 - 2j)
    assert (x.item(), complex(x), bool(x)) == (1.5 - 2j, 1.5 - 2j, True)
    assert complex(pl.Tensor(3.0)) == 3.0
    with pytest.raises(TypeError):
        float(x)


def test_it_prints() -> None:
    assert repr(pl.Tensor([1 + 2j])) == "Tensor([1.+2.j], dtype=complex64)"


def test_real_numbers_become_complex_and_not_back() -> None:
    x = pl.Tensor([1.0, 2.0]).astype(pl.complex128)
    assert x.tolist() == [1, 2]
    assert pl.Tensor([0j, 1j]).astype(pl.bool_).tolist() == [False, True]
    with pytest.raises(DTypeError, match=r"complex numbers do not become real ones.*real\(x\)"):
        x.astype(pl.float64)
    with pytest.raises(DTypeError, match="complex numbers do not become real ones"):
        pl.Tensor(np.array([1j]), dtype=pl.float32)
    with pytest.raises(DTypeError, match="a complex number needs a complex dtype"):
        pl.full((2,), 1j, dtype=pl.float32)


def test_gradients_are_allowed() -> None:
    assert pl.Tensor([1j], requires_grad=True).requires_grad
