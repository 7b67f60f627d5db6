"""Gather, scatter, take and indexing keys against NumPy and PyTorch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.autodiff.reverse import vjp_graph
from pellucid.compile import compile_graph
from pellucid.core.config import current_config
from pellucid.core.dtype import DType, bfloat16, bool_, float16, float32, int8, int64
from pellucid.core.errors import DTypeError, IndexRangeError, ShapeError, TraceError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import TensorType, Value
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import For
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops import index, scatter_rows
from pellucid.ops.getitem import getitem, index_add, index_set
from pellucid.ops.index import gather, scatter_add, scatter_set
from pellucid.ops.take import embedding, one_hot, take, take_along_axis
from pellucid.runtime.executable import Executable
from tests.lower.execution import run_program
from tests.ops.records import Array, run1, trace, type_of

NO_CACHE = dataclasses.replace(current_config(), cache=False)

X = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
IDX = np.array([0, 3, 1])
MASK = X[:, :, 0] % 4 == 2

KEYS: list[Any] = [
    0,
    -1,
    (1, 2, 3),
    slice(1, 3),
    slice(None, None, -1),
    (slice(3, 0, -2), ..., slice(None, None, 4)),
    (..., None),
    (None, 2, None, slice(1, 1)),
    (slice(10, 2, 1), 0),
    IDX,
    [0, 1],
    -IDX,
    (slice(None), IDX),
    (..., IDX),
    (IDX, IDX),
    (IDX[:, None], IDX),
    (0, slice(None), IDX),
    (IDX, slice(None), IDX),
    (IDX, 0),
    (slice(None), 0, IDX),
    (None, IDX, 1),
    (slice(1, None, 2), [[0, 4], [1, -1]], slice(None, None, -1)),
    (IDX, slice(None), None, 0),
    MASK,
    (slice(None), MASK[0]),
    (MASK, slice(0, 6, 2)),
    X > 50,
    (slice(None), X[0, :, 0] < 12, 0),
    np.zeros((0,), np.int64),
    np.zeros((2, 0), np.int64),
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_getitem(key: Any) -> None:
    want = X[tuple(key) if isinstance(key, tuple) else key]
    got = run1(lambda x: getitem(x, key), X)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_index_set_and_add(key: Any) -> None:
    value = np.asarray(np.random.default_rng(0).integers(1, 9, X[key].shape), np.float32)
    want = X.copy()
    want[key] = value
    np.testing.assert_array_equal(run1(lambda x, v: index_set(x, key, v), X, value), want)
    want = X.copy()
    np.add.at(want, key, value)
    np.testing.assert_array_equal(run1(lambda x, v: index_add(x, key, v), X, value), want)


SLICES = st.slices(5) | st.integers(-5, 4) | st.just(slice(None, None, -2)) | st.none()
ARRAYS = st.lists(st.integers(-5, 4), min_size=2, max_size=2).map(np.array)


@given(st.lists(SLICES | ARRAYS, max_size=3), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_any_key(entries: list[Any], dots: int) -> None:
    key = (*entries[:dots], ..., *entries[dots:])
    cube = np.arange(125).reshape(5, 5, 5)
    want = cube[key]
    got = run1(lambda x: getitem(x, key), cube)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)
    written = cube.copy()
    written[key] = -1
    np.testing.assert_array_equal(run1(lambda x: index_set(x, key, -1), cube), written)


def test_index_set_takes_scalars_and_broadcasts() -> None:
    row = np.arange(6, dtype=np.int64)
    got = run1(lambda x, r: index_set(index_set(x, (slice(1, 3), 0), r), -1, 7), X, row)
    want = X.copy()
    want[1:3, 0] = row
    want[-1] = 7
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("key", KEYS[:-2], ids=repr)
def test_getitem_gradient_adds_up(key: Any) -> None:
    graph = trace(lambda x: getitem(x, key), type_of(X))
    (y,) = interpret(graph, X)
    g = np.asarray(np.random.default_rng(1).normal(size=y.shape), np.float32)
    (got,) = interpret(vjp_graph(graph, [0]), X, y, g)
    want = np.zeros_like(X)
    np.add.at(want, key, g)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_index_values_wrap_and_stay_inside() -> None:
    i = np.array([0, -1, 4, -5, 3])
    got = run1(getitem, X, i)
    np.testing.assert_array_equal(got[[0, 1, 4]], X[[0, -1, 3]])
    assert np.isnan(got[[2, 3]]).all()
    got = run1(lambda x, k: getitem(x, (k, slice(None), k)), X, i)
    np.testing.assert_array_equal(got[[0, 1, 4]], X[[0, -1, 3], :, [0, -1, 3]])
    assert np.isnan(got[[2, 3]]).all()
    ones = np.ones((5, 5, 6), np.float32)
    got = run1(index_add, X, i, ones)
    want = X.copy()
    want[[0, 3]] += 1
    want[3] += 1
    np.testing.assert_array_equal(got, want)
    pairs = run1(lambda x, k: index_set(x, (k, slice(None), k), -1), X, i)
    assert np.count_nonzero(pairs == -1) == 3 * 5


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (4, r"the index must be in \[-4, 4\), got index 4"),
        ((0, -6), r"must be in \[-5, 5\)"),
        ([4], r"indices must be in \[-4, 4\)"),
        ([-5], r"indices must be in \[-4, 4\), got index -5"),
        ((0, 0, 0, 0), "more indices than axes"),
        ((..., 0, ...), r"at most one \.\.\."),
        (np.ones((4, 4), bool), "a mask must have the shape of the axes it covers"),
        ("a", "takes ints, slices"),
    ],
)
def test_getitem_refuses(key: Any, message: str) -> None:
    with pytest.raises(IndexRangeError, match=message):
        run1(lambda x: getitem(x, key), X)


def test_float_indices_are_refused() -> None:
    with pytest.raises(DTypeError, match="indices must be integers"):
        run1(lambda x: getitem(x, np.array([0.5])), X)


def test_a_traced_mask_says_what_to_do() -> None:
    with pytest.raises(TraceError, match=r"bool mask .* Fix: use where"):
        trace(getitem, TensorType((3,), float32), TensorType((3,), bool_))


@pytest.mark.parametrize(("shape", "axis"), [((3,), 0), ((2, 2), 1), ((), -1), ((0,), 2)])
def test_take(shape: tuple[int, ...], axis: int) -> None:
    i = np.asarray(np.random.default_rng(2).integers(-4, 4, shape))
    np.testing.assert_array_equal(run1(lambda x, k: take(x, k, axis), X, i), X.take(i, axis))
    np.testing.assert_array_equal(run1(lambda x: take(x, i, axis), X), X.take(i, axis))
    np.testing.assert_array_equal(run1(lambda x: take(x, i), X), X.take(i))


def test_take_with_narrow_and_unsigned_indices() -> None:
    x = np.arange(300, dtype=np.int32)
    for dtype, i in ((np.int8, [-1, 100]), (np.uint8, [0, 255]), (np.uint64, [299, 2**63])):
        got = run1(lambda a, k: take(a, k, 0), x, np.array(i, dtype))
        want = [0 if v > 299 else x[v] for v in i]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_along_axis(axis: int) -> None:
    i = np.argsort(-X, axis)
    np.testing.assert_array_equal(
        run1(lambda x, k: take_along_axis(x, k, axis), X, i), np.take_along_axis(X, i, axis)
    )


def test_take_along_axis_broadcasts() -> None:
    i = np.array([[[1], [-2], [0], [0], [3]]])
    np.testing.assert_array_equal(
        run1(take_along_axis, X, i), np.take_along_axis(X, np.broadcast_to(i, (4, 5, 1)), -1)
    )
    with pytest.raises(ShapeError, match="ranks must be equal"):
        run1(take_along_axis, X, np.array([0]))


def test_one_hot() -> None:
    i = np.array([[0, 2], [3, -1]])
    got = run1(lambda k: one_hot(k, 3), i)
    want = (i[..., None] == np.arange(3)).astype(np.float32)
    np.testing.assert_array_equal(got, want)


def _both(op: Callable[..., Value], *arrays: Array, wrt: list[int], **attrs: Any) -> list[Array]:
    """Gradients of an op whose cotangent is the last array."""
    graph = trace(lambda *v: op(*v, **attrs), *map(type_of, arrays[:-1]))
    outputs = interpret(graph, *arrays[:-1])
    return list(interpret(vjp_graph(graph, wrt), *arrays[:-1], *outputs, arrays[-1]))


def test_scatter_set_gradient_is_zero_for_what_was_overwritten() -> None:
    x, i = np.zeros((4, 2)), np.array([1, 1, 9, 3])
    updates, g = np.ones((4, 2)), np.arange(8.0).reshape(4, 2)
    gx, gu = _both(scatter_set, x, i, updates, g, wrt=[0, 2], axis=0)
    np.testing.assert_array_equal(gx, g * [[1], [0], [1], [0]])
    np.testing.assert_array_equal(gu, [[0, 0], [2, 3], [0, 0], [6, 7]])


def test_scatter_set_gradient_with_batch_and_middle_axes() -> None:
    rng = np.random.default_rng(3)
    x, i = rng.normal(size=(2, 3, 4, 5)), np.array([[1, 1], [2, 0]])
    updates, g = rng.normal(size=(2, 3, 2, 5)), rng.normal(size=(2, 3, 4, 5))
    gx, gu = _both(scatter_set, x, i, updates, g, wrt=[0, 2], axis=2, batch=1)
    np.testing.assert_array_equal(gu[0], np.stack([0 * g[0, :, 1], g[0, :, 1]], 1))
    np.testing.assert_array_equal(gu[1], g[1][:, [2, 0]])
    np.testing.assert_array_equal(gx[1, :, 3], g[1, :, 3])
    assert not gx[0, :, 1].any()


def test_dropped_updates_have_no_gradient() -> None:
    x, i, u, g = np.zeros(3), np.array([0, 7]), np.ones(2), np.ones(3)
    assert _both(scatter_add, x, i, u, g, wrt=[2], axis=0)[0].tolist() == [1, 0]


def test_embedding_and_its_gradient_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    w, i = rng.normal(size=(7, 3)).astype(np.float32), rng.integers(0, 7, (4, 5))
    weight = torch.tensor(w, requires_grad=True)
    y = torch.nn.functional.embedding(torch.tensor(i), weight)
    g = rng.normal(size=y.shape).astype(np.float32)
    y.backward(torch.tensor(g))
    graph = trace(embedding, type_of(w), type_of(i))
    (got,) = interpret(graph, w, i)
    np.testing.assert_array_equal(got, y.detach().numpy())
    (gradient,) = interpret(vjp_graph(graph, [0]), w, i, got, g)
    np.testing.assert_allclose(gradient, weight.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_scattered_rows_compiled_are_as_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "PARALLEL_ELEMENTS", 8)
    monkeypatch.setattr(scatter_rows, "PART_BYTES", 256)
    rng = np.random.default_rng(6)
    for n, width, count in ((23, 37, 50), (64, 16, 7), (3, 100, 200)):
        x, i = rng.normal(size=(n, width)), rng.integers(-2, n + 2, count)
        u = rng.normal(size=(count, width))
        for op in (scatter_add, scatter_set):
            graph = trace(lambda a, k, v, op=op: op(a, k, v, axis=0), *map(type_of, (x, i, u)))
            got = Executable(compile_graph(graph, config=NO_CACHE)).run([x, i, u])[0]
            np.testing.assert_array_equal(got, interpret(graph, x, i, u)[0])


def test_gather_refuses() -> None:
    x, i = TensorType((2, 3), float32), TensorType((3, 2), int64)
    with pytest.raises(ShapeError, match="batch axes must be equal"):
        trace(lambda a, k: gather(a, k, axis=1, batch=1), x, i)
    with pytest.raises(ShapeError, match="0 <= batch <= axis < rank"):
        trace(lambda a, k: gather(a, k, axis=2), x, i)
    with pytest.raises(ShapeError, match=r"updates must be \(3, 2, 3\)"):
        trace(lambda a, k: scatter_add(a, k, a, axis=0), x, i)
    with pytest.raises(DTypeError, match="bools are not added"):
        trace(
            lambda a, k: scatter_add(a, k, a, axis=0),
            TensorType((2,), bool_),
            TensorType((2,), int64),
        )
    with pytest.raises(ShapeError, match="weight needs two axes"):
        trace(embedding, TensorType((2,), float32), i)


@pytest.mark.parametrize("dtype", [float32, float16, bfloat16, int8, bool_], ids=str)
def test_indices_outside_lower_as_they_are_interpreted(dtype: DType) -> None:
    x = np.arange(12).reshape(4, 3).astype(dtype.numpy)
    i = np.array([3, -1, 0, 4, 2**40])
    graph = trace(lambda a, k: gather(a, k, axis=0), type_of(x), type_of(i))
    (got,), (want,) = run_program(lower_graph(graph), [x, i]), interpret(graph, x, i)
    np.testing.assert_array_equal(got.astype(np.float64), want.astype(np.float64))
    missing = np.isnan(got.astype(np.float32)) if dtype.is_float else got == 0
    assert missing[[1, 3, 4]].all()
    graph = trace(
        lambda a, k: scatter_set(a, k, gather(a, k, axis=0), axis=0), type_of(x), type_of(i)
    )
    np.testing.assert_array_equal(run_program(lower_graph(graph), [x, i])[0], x)


@pytest.mark.parametrize(
    ("shape", "indices", "axis", "batch"),
    [
        ((9, 64), (6,), 0, 0),
        ((9, 2, 32), (3, 2), 0, 0),
        ((10, 17), (40,), 0, 0),
        ((1, 16), (5,), 0, 0),
        ((2, 9, 5), (2, 4), 1, 1),
        ((3, 2, 9), (4,), 2, 0),
        ((9, 7), (11,), 0, 0),
        ((9,), (30,), 0, 0),
    ],
)
def test_parallel_scatters_do_not_race(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    indices: tuple[int, ...],
    axis: int,
    batch: int,
) -> None:
    monkeypatch.setattr(index, "PARALLEL_ELEMENTS", 8)
    rng = np.random.default_rng(5)
    x, i = rng.normal(size=shape), rng.integers(-1, 10, indices)
    read = trace(lambda a, k: gather(a, k, axis=axis, batch=batch), type_of(x), type_of(i))
    updates = rng.normal(size=read.outputs[0].shape)
    graph = trace(
        lambda a, k, u: scatter_add(a, k, u, axis=axis, batch=batch),
        *map(type_of, (x, i, updates)),
    )
    (call,) = lower_graph(graph).calls
    verify_kernel(call.kernel)
    outer = [s.kind for s in call.kernel.body if isinstance(s, For)]
    by_parts = axis == 0 and np.prod(shape[1:]) >= index.LEAST_ROW
    assert outer == (["parallel"] if by_parts else ["serial", "parallel" if axis else "serial"])
    want = interpret(graph, x, i, updates)[0]
    for seed in range(3):
        out, params = np.empty_like(x), call.kernel.params  # neighbouring axes may be one there
        given = [a.reshape(p.shape) for a, p in zip((x, i, updates, out), params, strict=True)]
        run_kernel(call.kernel, *given, seed=seed)
        np.testing.assert_array_equal(out, want)
