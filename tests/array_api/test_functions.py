"""Reductions, movement, search, sets, creation and indexing against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pellucid as pl
from pellucid import array_api as xp

from .oracle import QUICK, arrays, assert_same, check, dtypes, expected, pairs, to_strict, xps

REAL = ("signed", "unsigned", "float")
NUMERIC = (*REAL, "complex")
ALL = ("bool", *NUMERIC)
SIDES = xps.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


def axes_of(rank: int) -> st.SearchStrategy[Any]:
    """No axis, one, or several."""
    one = st.integers(-rank, rank - 1)
    some = st.lists(st.integers(0, rank - 1), unique=True).map(tuple)
    return st.none() | one | some if rank else st.none()


REDUCTIONS = {
    **dict.fromkeys(("sum", "prod"), NUMERIC),
    **dict.fromkeys(("max", "min"), REAL),
    **dict.fromkeys(("mean", "std", "var"), ("float",)),
    **dict.fromkeys(("all", "any", "count_nonzero"), ALL),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@QUICK
@given(data=st.data())
def test_reductions(name: str, data: st.DataObject) -> None:
    exact = name in ("max", "min", "all", "any", "count_nonzero")
    x = data.draw(arrays(dtypes(*REDUCTIONS[name]), SIDES, special=exact))
    if name == "prod":
        x = x % 3 if x.dtype.kind in ("int", "uint", "float") else x / 100
    axis = data.draw(axes_of(x.ndim))
    named: dict[str, Any] = {"axis": axis, "keepdims": data.draw(st.booleans())}
    if name in ("std", "var"):
        named["correction"] = data.draw(st.sampled_from([0, 0.5, 1]))
        count = np.size(x) // np.size(np.sum(x.numpy(), axis=axis))
        named["correction"] *= count > 1
    check(name, x, **named)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@QUICK
@given(data=st.data())
def test_positions(name: str, data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes(*REAL), SIDES))
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    check(name, x, axis=axis, keepdims=data.draw(st.booleans()))


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@QUICK
@given(data=st.data())
def test_running_totals(name: str, data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes(*REAL), SIDES, special=False)) % 3
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    check(name, x, axis=axis, include_initial=data.draw(st.booleans()))


@pytest.mark.parametrize("name", ["sort", "argsort"])
@QUICK
@given(data=st.data())
def test_sorting(name: str, data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes("signed", "unsigned"), SIDES))
    axis, descending = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.booleans())
    check(name, x, axis=axis, descending=descending)


@QUICK
@given(data=st.data())
def test_searchsorted(data: st.DataObject) -> None:
    first, second = data.draw(pairs(*REAL))
    row = data.draw(arrays(first, st.integers(0, 9), special=False))
    wanted = data.draw(arrays(second, SIDES, special=False))
    side = data.draw(st.sampled_from(["left", "right"]))
    check("searchsorted", xp.sort(row), wanted, side=side)
    check("searchsorted", row, wanted, side=side, sorter=xp.argsort(row))


@pytest.mark.parametrize("name", ["unique_all", "unique_counts", "unique_inverse", "unique_values"])
@QUICK
@given(data=st.data())
def test_sets(name: str, data: st.DataObject) -> None:
    check(name, data.draw(arrays(dtypes("bool", *REAL), SIDES, special=False)) % 7 == 3)
    check(name, data.draw(arrays(dtypes(*REAL), SIDES, special=False)))


@QUICK
@given(data=st.data())
def test_movement(data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes(*ALL), SIDES, special=False))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    axes = data.draw(st.permutations(range(x.ndim)))
    check("concat", [x, x], axis=data.draw(st.none() | st.just(axis)))
    check("stack", [x, x], axis=axis)
    check("unstack", x, axis=axis)
    check("expand_dims", x, axis=axis)
    check("squeeze", xp.expand_dims(x, axis=axis), axis=axis)
    check("flip", x, axis=data.draw(axes_of(x.ndim)))
    check("permute_dims", x, tuple(axes))
    check("moveaxis", x, axis, axes[0])
    check("roll", x, data.draw(st.integers(-5, 5)), axis=data.draw(st.none() | st.just(axis)))
    check("reshape", x, (-1,))
    check("tile", x, data.draw(st.lists(st.integers(0, 2), max_size=4).map(tuple)))
    check("repeat", x, data.draw(st.integers(0, 3)), axis=axis)
    check("repeat", x, xp.arange(x.shape[axis]), axis=axis)
    check("broadcast_to", x, (2, *x.shape))
    check("broadcast_arrays", x, xp.ones((2, *x.shape)))


@QUICK
@given(data=st.data())
def test_take(data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes(*ALL), SIDES, special=False))
    axis = data.draw(st.integers(0, x.ndim - 1))
    within = st.integers(-x.shape[axis], x.shape[axis] - 1)
    check("take", x, data.draw(xps.arrays(xp.int64, (3,), elements=within)), axis=axis)
    along = (*x.shape[:axis], 2, *x.shape[axis + 1 :])
    indices = data.draw(xps.arrays(xp.int64, along, elements=within))
    check("take_along_axis", x, indices, axis=axis)


@QUICK
@given(data=st.data())
def test_differences(data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes("signed", "float"), SIDES, special=False))
    axis, n = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.integers(0, 5))
    assert_same(xp.diff(x, axis=axis, n=n), _array(np.diff(x.numpy(), n=n, axis=axis)))
    more = np.diff(x.numpy(), axis=axis, prepend=x.numpy(), append=x.numpy())
    assert_same(xp.diff(x, axis=axis, prepend=x, append=x), _array(more))


def _array(array: Any) -> Any:
    return to_strict(pl.Tensor(array))


@QUICK
@given(data=st.data())
def test_matrices(data: st.DataObject) -> None:
    first, second = data.draw(pairs("signed", "unsigned", "complex"))
    x = data.draw(arrays(first, (2, 3, 4), special=False))
    y = data.draw(arrays(second, (4, 3), special=False))
    check("matmul", x, y)
    check("matrix_transpose", x)
    check("tensordot", x, y, axes=1)
    check("tensordot", x, y, axes=((1, 2), (1, 0)))
    check("vecdot", x, xp.matrix_transpose(y), axis=-1)
    check("tril", x, k=data.draw(st.integers(-4, 4)))
    check("triu", x, k=data.draw(st.integers(-4, 4)))


@QUICK
@given(data=st.data())
def test_creation(data: st.DataObject) -> None:
    dtype = data.draw(dtypes(*REAL))
    shape = data.draw(SIDES)
    for name in ("zeros", "ones"):
        check(name, shape, dtype=dtype)
        check(f"{name}_like", xp.zeros(shape), dtype=dtype)
    check("full", shape, 3, dtype=dtype)
    check("full_like", xp.zeros(shape, dtype=dtype), 3)
    check("eye", shape[0], shape[-1], k=data.draw(st.integers(-3, 3)), dtype=dtype)
    start, stop = data.draw(st.tuples(*2 * [st.integers(0, 50)]))
    check("arange", start, stop, data.draw(st.integers(1, 5)), dtype=dtype)
    if dtype.is_float:
        ends = data.draw(st.booleans())
        check("linspace", float(start), float(stop), shape[0], dtype=dtype, endpoint=ends)
    rows = [data.draw(arrays(dtype, (n,), special=False)) for n in shape]
    check("meshgrid", *rows, indexing=data.draw(st.sampled_from(["xy", "ij"])))


@QUICK
@given(data=st.data())
def test_dtype_questions(data: st.DataObject) -> None:
    first, second = data.draw(pairs(*ALL))
    assert xp.result_type(first, second).name == str(expected("result_type", first, second))[17:]
    x = xp.zeros(2, dtype=first)
    assert xp.can_cast(first, second) == expected("can_cast", first, second)
    assert xp.can_cast(x, second) == expected("can_cast", x, second)
    for kind in ("bool", "signed integer", "integral", "real floating", "numeric"):
        assert xp.isdtype(first, kind) == expected("isdtype", first, kind)
    if first.kind in ("float", "complex"):
        own, want = xp.finfo(first), expected("finfo", first)
        for part in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(own, part) == getattr(want, part)
    elif first.is_integer:
        ours, theirs = xp.iinfo(first), expected("iinfo", x)
        assert (ours.bits, ours.max, ours.min) == (theirs.bits, theirs.max, theirs.min)


@QUICK
@given(data=st.data())
def test_casts(data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes(*REAL), SIDES, special=False, least=0))
    check("astype", x, data.draw(dtypes(*REAL)))
    assert xp.astype(x, x.dtype, copy=False) is x
    assert xp.astype(x, x.dtype) is not x


@QUICK
@given(data=st.data())
def test_reading_and_writing(data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes(*ALL), SIDES, special=False))
    key = data.draw(xps.indices(x.shape, allow_newaxis=True))
    want = to_strict(x)
    assert_same(x[key], want[key])
    mask = data.draw(arrays(xp.bool, x.shape))
    assert_same(x[mask], want[to_strict(mask)])
    place = data.draw(xps.indices(x.shape))
    y, number = xp.asarray(x, copy=True), xp.asarray(1, dtype=x.dtype)
    y[place] = number
    want[place] = to_strict(number)
    assert_same(y, want)
    first = x.reshape(-1)[0]
    y[mask], want[to_strict(mask)] = first, to_strict(first)
    assert_same(y, want)


@QUICK
@given(data=st.data())
def test_reading_by_arrays_and_ints(data: st.DataObject) -> None:
    x = data.draw(arrays(dtypes(*ALL), xps.array_shapes(min_dims=2, max_dims=3), special=False))
    shape = data.draw(xps.array_shapes(min_dims=0, max_dims=2, max_side=3))
    numbers = [st.integers(-n, n - 1) for n in x.shape]
    places = [xps.arrays(xp.int64, shape, elements=within) for within in numbers]
    key = [data.draw(n | p) for n, p in zip(numbers, places, strict=True)]
    key[0] = data.draw(places[0])
    assert_same(x[tuple(key)], to_strict(x)[to_strict(tuple(key))])
