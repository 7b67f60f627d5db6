from __future__ import annotations

import dis
import inspect
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import ops
from pellucid.core.errors import ArgumentError, DTypeError, IndexRangeError
from pellucid.tensor import functions

A = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


@pytest.mark.parametrize("second", [A, pl.Tensor(A)], ids=["array", "tensor"])
def test_lists_of_tensors_and_arrays_are_joined(second: object) -> None:
    x = pl.Tensor(A)
    for name in ("concatenate", "concat", "stack"):
        joined = getattr(pl, name)([x, second], axis=1).numpy()
        np.testing.assert_array_equal(joined, getattr(np, name)([A, A], axis=1))


def test_no_body_uses_a_name_that_is_a_function_here() -> None:
    """`any`, `sum` and their like are tensor functions in that module, not Python's."""
    hidden = {n for n in functions.__all__ if hasattr(__import__("builtins"), n)}
    assert hidden > {"any", "all", "sum", "max"}
    for name, fn in inspect.getmembers(functions, inspect.isfunction):
        own = inspect.unwrap(fn)
        if own.__module__ == functions.__name__:
            read = {i.argval for i in dis.get_instructions(own) if i.opname == "LOAD_GLOBAL"}
            assert not hidden & read, name


def test_every_function_is_public_and_documented() -> None:
    for name in functions.__all__:
        assert getattr(pl, name) is getattr(functions, name)
        assert inspect.getdoc(getattr(functions, name)), name
        own = getattr(functions, name).__module__.startswith("pellucid.tensor.")
        assert hasattr(ops, name) or own or name == "concat", name


def test_sizes_of_a_shape_go_in_one_tuple() -> None:
    with pytest.raises(DTypeError, match=r"put sizes in one tuple, as in zeros\(\(2, 3\)\)"):
        pl.zeros(2, 3)  # type: ignore[arg-type]  # the mistake that is tested


def test_ragged_rows_are_no_tensor() -> None:
    with pytest.raises(ArgumentError, match="Tensor: cannot be made of this"):
        pl.Tensor([[1, 2], [3]])


@pytest.mark.parametrize("name", ["reshape", "broadcast_to"])
def test_a_traced_size_says_what_to_do(name: str) -> None:
    step = pl.jit(lambda x, n: getattr(pl, name)(x, (n,)))
    with pytest.raises(ArgumentError, match=f"{name}: sizes must be integers.*static_argnames"):
        step(pl.Tensor(A), 4)


@pytest.mark.parametrize("fn", [pl.take, pl.take_along_axis])
def test_an_index_tensor_outside_the_axis(fn: Any) -> None:
    x = pl.Tensor(np.arange(12).reshape(3, 4))
    inside, outside = pl.Tensor([[2, -3, 0, 1]]), pl.Tensor([[2, -4, 0, 1]])
    np.testing.assert_array_equal(
        pl.jit(lambda i: fn(x, i, axis=0))(inside).numpy(), fn(x, inside, axis=0).numpy()
    )
    with pytest.raises(IndexRangeError, match=rf"{fn.__name__}: .*\[-3, 3\), got index -4"):
        fn(x, outside, axis=0)
    with pytest.raises(IndexRangeError, match="got index 0 and size 0"):
        pl.take(pl.zeros((0, 3)), pl.Tensor([0]), axis=0)


def test_zeros_of_both_signs_are_two_static_values() -> None:
    one = pl.Tensor([1.0])
    for zero in (0.0, -0.0, 0.0):
        want = [np.copysign(np.inf, zero)]
        assert (1 / pl.full_like(one, zero)).tolist() == want
        assert (1 / pl.where(one > 0, zero, one)).tolist() == want
        assert (1 / pl.pad(one, (1,), (0,), value=zero)).tolist()[:1] == want


@pytest.mark.parametrize("low", [0.0, np.nan, [0.0, np.nan, 0.0, 0.0]], ids=str)
@pytest.mark.parametrize("high", [2.0, np.nan, [2.0, 2.0, np.nan, 2.0]], ids=str)
def test_clip_is_nan_where_a_bound_is(low: Any, high: Any) -> None:
    x = np.array([-1.0, 1.0, 5.0, np.nan], np.float32)
    low, high = (b if np.isscalar(b) else np.array(b, np.float32) for b in (low, high))
    want = np.clip(x, low, high)
    np.testing.assert_array_equal(pl.clip(pl.Tensor(x), low, high).numpy(), want)
    np.testing.assert_array_equal(pl.jit(pl.clip)(pl.Tensor(x), low, high).numpy(), want)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize(("y", "x"), [(1.0, 1.0), (3.0, -4.0), (0.0, -1.0), (-2.0, 0.0)])
def test_gradients_of_atan2_neither_overflow_nor_vanish(y: float, x: float, scale: float) -> None:
    both = pl.grad(pl.atan2, argnums=(0, 1))
    found = both(pl.Tensor(y * scale), pl.Tensor(x * scale))
    want = np.array([x, -y]) / (x * x + y * y) / scale
    np.testing.assert_allclose([g.item() for g in found], want, rtol=1e-5)
    assert [g.item() for g in both(pl.zeros(()), pl.zeros(()))] == [0.0, 0.0]
