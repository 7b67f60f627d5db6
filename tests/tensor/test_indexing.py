"""Keys of eager tensors: what NumPy selects is selected, what it refuses is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import integer_array_indices

import pellucid as pl
from pellucid.core.errors import DTypeError, IndexRangeError

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
MASK = A % 3 == 0
NONE = np.array([], np.int64)
KEYS: list[Any] = [
    MASK, MASK[:, 0, 0], (slice(None), MASK[0]), (..., MASK[0, 0]), (0, MASK[0]), [True, False],
    np.array([1, 0, 1]), [1, 0], (np.array([0, 1]), np.array([2, 0])), (..., np.array([[-1, 0]])),
    (np.array([1, 0]), slice(None), np.array([3, 3])), (None, np.array([1])), NONE,
    np.zeros(2, bool), (slice(None), NONE), (np.array([1], np.uint8), MASK[0, :, 0]),
    (np.int64(1), np.array([0])), np.array(1),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=lambda k: repr(k)[:40])
def test_keys_select_what_numpy_selects(key: Any) -> None:
    np.testing.assert_array_equal(pl.Tensor(A)[key].numpy(), A[key])


@pytest.mark.parametrize("key", KEYS, ids=lambda k: repr(k)[:40])
def test_keys_replace_what_numpy_replaces(key: Any) -> None:
    tensor, array = pl.Tensor(A), A.copy()
    tensor[key] = -1.0
    array[key] = -1.0
    np.testing.assert_array_equal(tensor.numpy(), array)


@given(integer_array_indices(A.shape, result_shape=st.just((3,))))
def test_random_index_arrays(key: Any) -> None:
    np.testing.assert_array_equal(pl.Tensor(A)[key].numpy(), A[key])


def test_tensors_are_keys_too() -> None:
    x = pl.Tensor(A)
    np.testing.assert_array_equal(x[x > 20].numpy(), A[A > 20])
    np.testing.assert_array_equal(x[pl.Tensor([1, 0])].numpy(), A[[1, 0]])
    np.testing.assert_array_equal(x[pl.Tensor(1)].numpy(), A[1])
    x[x > 20] = 0.0
    assert x.numpy().max() == 20.0


@pytest.mark.parametrize("key", KEYS, ids=lambda k: repr(k)[:40])
def test_keys_known_while_recording(key: Any) -> None:
    def replaced(x: pl.Tensor) -> pl.Tensor:
        x = x.clone()
        x[key] = -1.0
        return x

    array = A.copy()
    array[key] = -1.0
    np.testing.assert_array_equal(pl.jit(lambda x: x[key])(pl.Tensor(A)).numpy(), A[key])
    np.testing.assert_array_equal(pl.jit(replaced)(pl.Tensor(A)).numpy(), array)


def test_a_mask_lets_gradients_through() -> None:
    x = pl.Tensor([1.0, -2.0, 3.0], requires_grad=True)
    x[x > 0].sum().backward()
    assert x.grad is not None
    assert x.grad.numpy().tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (np.array([0, 2]), r"must be in \[-2, 2\), got index 2 and size 2"),
        ((0, np.array([-4])), r"must be in \[-3, 3\), got index -4"),
        (pl.Tensor([5]), "got index 5"),
        (MASK[:, :, :3], r"a mask must have the sizes .* got mask \(2, 3, 3\)"),
        ((0, 0, 0, NONE), r"more indices than axes, got x \(2, 3, 4\) and indices 4"),
    ],
)
def test_keys_that_do_not_fit_are_refused(key: Any, message: str) -> None:
    with pytest.raises(IndexRangeError, match=message):
        pl.Tensor(A)[key]


def test_floats_are_no_indices() -> None:
    with pytest.raises(DTypeError, match="indices must be integers"):
        pl.Tensor(A)[np.array([0.5])]
