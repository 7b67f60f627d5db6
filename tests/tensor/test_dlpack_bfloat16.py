"""bfloat16 through DLPack, both ways, in the same memory."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl

torch = pytest.importorskip("torch", reason="torch is the other side of the exchange")


@pytest.mark.parametrize("copy", [None, True, False])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_from_the_other_side(shape: tuple[int, ...], copy: bool | None) -> None:
    theirs = torch.arange(6, dtype=torch.bfloat16)[: int(np.prod(shape))].reshape(shape)
    ours = pl.from_dlpack(theirs, copy=copy)
    assert ours.dtype == pl.bfloat16
    assert ours.shape == shape
    assert ours.astype("float32").tolist() == theirs.tolist()
    if theirs.numel():
        assert (ours.numpy().ctypes.data == theirs.data_ptr()) == (not copy)


def test_to_the_other_side_and_back() -> None:
    ours = pl.Tensor([1.0, -2.5]).astype("bfloat16") + 0
    theirs = torch.from_dlpack(ours)
    assert theirs.dtype == torch.bfloat16
    assert theirs.tolist() == [1.0, -2.5]
    assert pl.from_dlpack(theirs).astype("float32").tolist() == [1.0, -2.5]
    assert torch.from_dlpack(ours, copy=True).tolist() == [1.0, -2.5]


def test_strides_are_kept() -> None:
    theirs = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T[::2]
    assert pl.from_dlpack(theirs).astype("float32").tolist() == theirs.tolist()


def test_other_types_are_refused_as_before() -> None:
    with pytest.raises((BufferError, RuntimeError)):
        pl.from_dlpack(torch.ones(2).to(torch.float8_e5m2))
