"""What tensors are made of: dtypes kept, converted or refused; memory that nobody else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.dtype import ALL, DType
from pellucid.core.errors import ArgumentError, DTypeError, TraceError
from pellucid.tensor.box import STATE


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1, pl.int64, ()),
        (1.5, pl.float32, ()),
        (True, pl.bool_, ()),
        ([1, 2.5], pl.float32, (2,)),
        ([[True], [False]], pl.bool_, (2, 1)),
        ([], pl.float32, (0,)),
        ([[], []], pl.float32, (2, 0)),
        (np.float64(2), pl.float64, ()),
        (np.ones((2, 0), np.float16), pl.float16, (2, 0)),
        (range(3), pl.int64, (3,)),
        ([2**63], pl.uint64, (1,)),
        ([pl.Tensor(1.0), pl.Tensor(2.0)], pl.float32, (2,)),
        ([1.5, 2 - 1j], pl.complex64, (2,)),
        (np.array([2j]), pl.complex128, (1,)),
    ],
    ids=repr,
)
def test_dtype_and_shape_of_what_is_given(data: Any, dtype: DType, shape: tuple[int, ...]) -> None:
    x = pl.Tensor(data)
    assert (x.dtype, x.shape) == (dtype, shape)
    np.testing.assert_array_equal(x.numpy(), np.asarray(data))


@pytest.mark.parametrize("dtype", ALL, ids=lambda d: d.name)
def test_every_dtype_is_kept(dtype: DType) -> None:
    for spec in (dtype, dtype.name, dtype.short, dtype.numpy):
        assert pl.Tensor([0, 1], dtype=spec).dtype == dtype
    assert pl.Tensor(np.zeros(2, dtype.numpy)).dtype == dtype
    assert pl.Tensor(pl.Tensor([1.0]), dtype=dtype).dtype == dtype


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6.0)[::-2],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(3, dtype=">i4"),
        np.arange(3, dtype=">f8"),
    ],
    ids=["transposed", "strided", "broadcast", "big-endian int", "big-endian float"],
)
def test_any_layout_is_taken(array: np.ndarray[Any, Any]) -> None:
    x = pl.Tensor(array)
    np.testing.assert_array_equal(x.numpy(), array)
    assert x.numpy().flags.c_contiguous
    assert x.dtype.bits == array.dtype.itemsize * 8


def test_the_data_is_copied() -> None:
    array = np.ones(3, np.float32)
    x, cell = pl.Tensor(array), pl.Buffer(array)
    y = pl.Tensor(x)
    array[0] = 9.0
    x[1] = 7.0
    assert x.tolist() == [1.0, 7.0, 1.0]
    assert cell.tolist() == y.tolist() == [1.0, 1.0, 1.0]


def test_arrays_convert_as_astype_does() -> None:
    array = np.array([1e20, -1e20, np.nan, 2.9])
    for dtype in ("int8", "uint8", "int64", "float16", "bool"):
        made, cast = pl.Tensor(array, dtype=dtype), pl.Tensor(array).astype(dtype)
        np.testing.assert_array_equal(made.numpy(), cast.numpy())
    assert pl.Tensor(array, dtype="uint8").tolist() == [255, 0, 0, 2]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (["a"], DTypeError, "Tensor: has no such elements, got data list and dtype <U1"),
        (None, DTypeError, "got data NoneType and dtype object"),
        pytest.param(object(), DTypeError, "has no such elements", id="object"),
        ([2**70], DTypeError, "has no such elements"),
        (np.array(["2020"], "M8[D]"), DTypeError, "datetime64"),
        ([[1, 2], [3]], ArgumentError, "Tensor: cannot be made of this"),
    ],
    ids=repr,
)
def test_what_is_no_array_of_numbers_is_refused(
    data: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pl.Tensor(data)


@pytest.mark.parametrize("value", [300, -1])
def test_values_must_fit_the_dtype_that_was_asked_for(value: int) -> None:
    with pytest.raises(DTypeError, match=r"Tensor: does not fit its dtype: .* uint8"):
        pl.Tensor([value], dtype="uint8")


def test_unknown_names_are_corrected() -> None:
    with pytest.raises(DTypeError, match=r"unknown dtype 'flaot32'. Fix: did you mean 'float32'\?"):
        pl.Tensor([1], dtype="flaot32")


def test_integers_want_no_gradient() -> None:
    message = r"only floating-point tensors have gradients, got tensor i64\[1\].*astype\('float32'"
    with pytest.raises(DTypeError, match=message):
        pl.Tensor([1], requires_grad=True)
    with pytest.raises(DTypeError, match=message):
        pl.Parameter([1])


def test_a_shared_cell_keeps_what_it_shared() -> None:
    cell = pl.Buffer([1.0])
    kept = cell.shared()
    assert not kept.flags.writeable
    assert cell.shared() is kept
    assert pl.Tensor([1.0]).shared().flags.writeable


def test_a_tensor_that_escaped_its_trace_says_where_it_is_used() -> None:
    escaped: list[pl.Tensor] = []

    @pl.jit
    def f(x: pl.Tensor) -> pl.Tensor:
        escaped.append(x * 2)
        return x

    f(pl.ones(2))
    assert STATE.trace is None
    (x,) = escaped
    assert x.shape == (2,)
    message = r"while a function was traced.*\(at test_box.py:\d+\).*return it from"
    uses: list[Any] = [
        lambda: x + 1, lambda: pl.ones(2) + x, x.detach, lambda: f(x),
        lambda: pl.jit(lambda y: y + x)(pl.ones(2)),
        lambda: pl.grad(lambda y: (y * x).sum())(pl.ones(2)),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(TraceError, match=message):
            use()
    with pytest.raises(TraceError, match="has no value"):
        x.numpy()
