"""Arrays in and out: `asarray` and DLPack, with and without copies, and their refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError, DeviceError, TraceError

CPU = (1, 0)


def test_asarray_copies_only_where_it_is_asked_or_must() -> None:
    x = pl.Tensor([1.0, 2.0], requires_grad=True)
    assert pl.asarray(x) is x
    assert pl.asarray(x, copy=False) is x
    twin = pl.asarray(x, copy=True)
    assert twin is not x
    (twin * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, [3, 3])
    with pytest.raises(ArgumentError, match="asarray: cannot do without a copy"):
        pl.asarray(x, dtype="float64", copy=False)


def test_asarray_of_other_libraries_arrays() -> None:
    array = np.arange(3, dtype=np.float32)
    assert np.shares_memory(pl.asarray(array, copy=False), array)
    assert not np.shares_memory(pl.asarray(array), array)
    for data, dtype in ((array, "int64"), (np.ones((2, 3))[:, ::2], None)):
        with pytest.raises(ArgumentError, match="cannot do without a copy"):
            pl.asarray(data, dtype=dtype, copy=False)
    with pytest.raises(ValueError, match="copy"):
        pl.asarray([1.0, 2.0], copy=False)


def test_in_place_changes_stay_with_the_tensor_that_was_changed() -> None:
    x = pl.Tensor([1.0, 2.0])
    twins = [pl.asarray(x, copy=True), pl.astype(x, x.dtype), x.clone(), pl.from_dlpack(x)]
    x[0] = 9
    for twin in twins:
        np.testing.assert_array_equal(twin, [1, 2])


def test_dlpack_shares_memory_or_copies() -> None:
    x = pl.Tensor([1.0, 2.0])
    memory = x.numpy()
    assert x.__dlpack_device__() == CPU
    assert np.shares_memory(np.from_dlpack(x), memory)
    assert np.shares_memory(pl.from_dlpack(x).numpy(), memory)
    assert not np.shares_memory(pl.from_dlpack(x, copy=True).numpy(), memory)
    assert not np.shares_memory(np.from_dlpack(x, copy=True), memory)
    for version in (None, (0, 8), (1, 0)):
        assert "dltensor" in repr(x.__dlpack__(max_version=version))
    cell = pl.Buffer([1.0])
    assert not np.shares_memory(np.from_dlpack(cell), cell.numpy())
    with pytest.raises(ArgumentError, match=r"dlpack: .* it cannot be shared"):
        cell.__dlpack__(copy=False)


def test_dlpack_between_libraries() -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    theirs = strict.asarray([[1, 2], [3, 4]])
    ours = pl.from_dlpack(theirs, device="cpu")
    np.testing.assert_array_equal(ours, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(np.asarray(strict.from_dlpack(ours)), ours)


def refusals() -> list[tuple[Any, type[Exception], str]]:
    x = pl.Tensor([1.0, 2.0])
    return [
        (lambda: x.__dlpack__(stream=1), ArgumentError, "a CPU has no streams"),
        (lambda: x.__dlpack__(dl_device=(2, 0)), BufferError, r"not on device \(2, 0\)"),
        (lambda: pl.from_dlpack(x, device="cuda"), DeviceError, "no device 'cuda' here"),
        (lambda: pl.from_dlpack([1.0]), TypeError, "an array that speaks DLPack, got list"),
        (lambda: pl.from_dlpack(np.ones((4, 4))[::2].T, copy=False), ArgumentError, "a copy"),
        (lambda: pl.asarray(1.0, device="gpu"), DeviceError, "no device 'gpu'"),
        (lambda: pl.empty_like(x, device="gpu"), DeviceError, "no device 'gpu'"),
        (lambda: x.to_device("cpu", stream=3), ArgumentError, "a CPU has no streams"),
        (lambda: pl.jit(np.from_dlpack)(x), TraceError, "dlpack: a traced tensor has no value"),
        (lambda: pl.jit(complex)(x.sum()), TraceError, "complex: a traced tensor has no value"),
    ]


@pytest.mark.parametrize("number", range(len(refusals())))
def test_refusals(number: int) -> None:
    fn, error, text = refusals()[number]
    with pytest.raises(error, match=text):
        fn()


def test_questions_about_dtypes() -> None:
    assert pl.finfo("bfloat16").eps == 2**-7
    assert pl.finfo(pl.complex64).dtype == pl.float32
    assert pl.iinfo(pl.ones(1, dtype="uint8")).max == 255
    assert pl.result_type(pl.ones(1, dtype="int8"), 2.0) == pl.float32
    assert pl.isdtype(pl.bfloat16, ("integral", pl.bfloat16))
    for fn, error, text in (
        (lambda: pl.finfo(pl.int8), TypeError, "takes a float dtype, got dtype i8. Fix: use"),
        (lambda: pl.iinfo(pl.float32), TypeError, "takes an integer dtype, got dtype f32"),
        (lambda: pl.isdtype(pl.int8, "integer"), ArgumentError, "did you mean|no such kind"),
        (lambda: pl.result_type(1, 2.0), ArgumentError, "at least one tensor or dtype"),
        (lambda: pl.result_type(pl.uint64, pl.int8), TypeError, "result_type: uint64 and signed"),
    ):
        with pytest.raises(error, match=text):
            fn()
