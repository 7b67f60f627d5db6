"""Sorting against NumPy and PyTorch, with NaN, signed zeros and ties."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.autodiff.reverse import vjp_graph
from pellucid.compile import compile_graph
from pellucid.core.config import current_config
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.interpreter import interpret
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops import radix_sort
from pellucid.ops.sort import MERGED, argsort
from pellucid.ops.sort_network import odd_even_pairs
from pellucid.ops.sort_values import sort
from pellucid.ops.top_k import BLOCK, top_k
from pellucid.runtime.executable import Executable
from tests.lower.execution import run_program
from tests.ops.records import Array, run, run1, trace, type_of

NO_CACHE = dataclasses.replace(current_config(), cache=False)

HARD = np.array([0.0, np.nan, -0.0, 2, -np.inf, np.nan, np.inf, 2, -1], np.float32)


@pytest.mark.parametrize("descending", [False, True])
def test_order_is_stable_with_nan_last(descending: bool) -> None:
    got = run1(lambda x: argsort(x, descending=descending), HARD)
    want = [6, 3, 7, 0, 2, 8, 4, 1, 5] if descending else [4, 8, 0, 2, 3, 7, 6, 1, 5]
    assert got.tolist() == want
    assert got.dtype == np.int64


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_extreme_integers_descend(dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.array([0, info.max, info.min, 1, info.max], dtype)
    got = run1(lambda v: sort(v, descending=True), x)
    np.testing.assert_array_equal(got, np.sort(x)[::-1])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_sort_axis(axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(run1(lambda v: sort(v, axis), x), np.sort(x, axis))
    want = -np.sort(-x, axis)
    np.testing.assert_array_equal(run1(lambda v: sort(v, axis, descending=True), x), want)


@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, -2.0, np.nan, np.inf]), max_size=19), st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_merge_sort_agrees_with_reference(items: list[float], descending: bool) -> None:
    x = np.array(items, np.float32)
    graph = trace(lambda v: argsort(v, descending=descending), type_of(x))
    (got,), (want,) = run_program(lower_graph(graph), [x]), interpret(graph, x)
    np.testing.assert_array_equal(got, want)


WIDTHS = ["float32", "int32", "float64", "uint8", "int16", "bool", "float16"]


def long_rows(shape: tuple[int, ...], dtype: str) -> Any:
    x = np.random.default_rng(3).normal(size=shape) * 50
    if dtype.startswith("float"):
        x[..., ::7], x[..., 1::5], x[..., 2::10] = np.nan, 0, -0.0
        x[..., 3], x[..., 4] = np.inf, -np.inf
        return x.astype(dtype)
    return np.abs(x).astype(dtype) if dtype == "uint8" else x.astype(dtype)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("descending", [False, True])
def test_radix_sort_agrees_with_reference(
    dtype: str, descending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(radix_sort, "SHARED_ELEMENTS", 64)
    for shape in ((MERGED + 1,), (2, 300), (1, 1001)):
        x = long_rows(shape, dtype)
        graph = trace(lambda v: argsort(v, descending=descending), type_of(x))
        (got,), (want,) = run_program(lower_graph(graph), [x]), interpret(graph, x)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(("shape", "k"), [((3, 70), 5), ((67,), 16), ((2, 9, 128), 1)])
def test_selection_is_the_start_of_sorting(
    shape: tuple[int, ...], k: int, largest: bool, dtype: str
) -> None:
    x = long_rows(shape, dtype)
    graph = trace(lambda v: top_k(v, k, largest=largest), type_of(x))
    got = run_program(lower_graph(graph), [x])
    want = run1(lambda v: argsort(v, descending=largest), x)[..., :k]
    np.testing.assert_array_equal(got[1], want)
    np.testing.assert_array_equal(got[0], np.take_along_axis(x, want, -1))


@pytest.mark.parametrize("dtype", ["float32", "int16", "bool"])
def test_first_ones_of_a_long_row_are_those_of_its_blocks(dtype: str) -> None:
    x = long_rows((2 * BLOCK + 3,), dtype)
    for largest in (False, True):
        want = run1(lambda v, d=largest: argsort(v, descending=d), x)[:9]
        _, places = run(lambda v, d=largest: top_k(v, 9, largest=d), x)
        np.testing.assert_array_equal(places, want)


def test_sort_and_its_gradient_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).normal(size=(4, 7)).astype(np.float32)
    x[1, 2] = x[1, 5]
    t = torch.tensor(x, requires_grad=True)
    y, order = torch.sort(t, dim=1, stable=True)
    g = np.arange(28, dtype=np.float32).reshape(4, 7)
    y.backward(torch.tensor(g))
    graph = trace(lambda v: (sort(v, 1), argsort(v, 1)), type_of(x))
    got, places = interpret(graph, x)
    np.testing.assert_array_equal(got, y.detach().numpy())
    np.testing.assert_array_equal(places, order.numpy())
    (gradient,) = interpret(vjp_graph(graph, [0]), x, got, places, g)
    np.testing.assert_array_equal(gradient, t.grad.numpy())


@pytest.mark.parametrize(("k", "axis", "largest"), [(3, 1, True), (2, 0, False), (0, 1, True)])
def test_top_k_is_torchs(k: int, axis: int, largest: bool) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(2).permutation(20).reshape(4, 5).astype(np.float32)
    values, places = run(lambda v: top_k(v, k, axis, largest=largest), x)
    want: Any = torch.topk(torch.tensor(x), k, dim=axis, largest=largest)
    np.testing.assert_array_equal(values, want.values.numpy())
    np.testing.assert_array_equal(places, want.indices.numpy())


def test_refuses() -> None:
    with pytest.raises(ArgumentError, match="k must be in the axis"):
        run(lambda v: top_k(v, 10), HARD)
    with pytest.raises(ShapeError, match=r"axis must be in"):
        run1(lambda v: sort(v, 1), HARD)


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_networks_sort_all_zeros_and_ones(n: int) -> None:
    """Which suffices for all inputs (Knuth, 5.3.4, the zero-one principle)."""
    x = (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(np.int8)
    for low, high in odd_even_pairs(n):
        x[:, [low, high]] = np.sort(x[:, [low, high]], axis=1)
    assert (np.diff(x, axis=1) >= 0).all()


@pytest.mark.parametrize("n", [1, 3, 15, 16, 17, 31, 33, 64, 65, 100, 130, 257, 600, 1025])
@pytest.mark.parametrize("dtype", ["float32", "int16", "uint64"])
def test_rows_side_by_side(n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    for shape, axis in (((19, n), 1), ((n, 21), 0), ((2, n, 17), 1)):
        x = (rng.normal(size=shape) * 99).astype(dtype)
        if dtype == "float32":
            x.flat[:: max(1, x.size // 7)] = np.nan
        for descending in (False, True):
            got = _compiled(lambda v, a=axis, d=descending: sort(v, a, descending=d), x)
            np.testing.assert_array_equal(got, _sorted(x, axis, descending))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool"])
def test_long_rows_by_digits(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radix_sort, "SHARED_ELEMENTS", 64)
    rng = np.random.default_rng(3)
    for shape in ((3, 211), (1, 513)):
        x = (rng.normal(size=shape) * 99).astype(dtype)
        for descending in (False, True):
            got = _compiled(lambda v, d=descending: sort(v, 1, descending=d), x)
            np.testing.assert_array_equal(got, _sorted(x, 1, descending))


def _sorted(x: Array, axis: int, descending: bool) -> Array:
    order = run1(lambda v: argsort(v, axis, descending=descending), x)
    return np.asarray(np.take_along_axis(x, order, axis))


def _compiled(fn: Any, x: Array) -> Array:
    graph = trace(fn, type_of(x))
    return Executable(compile_graph(graph, config=NO_CACHE)).run([x])[0]
