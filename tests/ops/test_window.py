"""Windows and pooling against PyTorch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid.autodiff.forward import tangent_graph
from pellucid.autodiff.reverse import vjp_graph
from pellucid.core.dtype import float32, int32
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import TensorType, emit
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.pooling import avg_pool2d, max_pool2d
from pellucid.ops.window import WINDOW_ARGMAX, WINDOW_MAX_GRAD
from tests.lower.execution import run_program
from tests.ops.records import Array, run1, trace, type_of

SHAPE = (2, 3, 9, 8)


def _random(shape: tuple[int, ...], seed: int) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=shape), np.float32)


def _compare(ours: Any, theirs: Any, x: Array) -> None:
    torch = pytest.importorskip("torch")
    t = torch.tensor(x, requires_grad=True)
    y = theirs(t)
    g = _random(tuple(y.shape), 1)
    y.backward(torch.tensor(g))
    graph = trace(ours, type_of(x))
    (got,) = interpret(graph, x)
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-6, atol=1e-6)
    pulled = vjp_graph(graph, [0])
    (gradient,) = interpret(pulled, x, got, g)
    np.testing.assert_allclose(gradient, t.grad.numpy(), rtol=1e-5, atol=1e-6)
    (lowered,) = run_program(lower_graph(pulled), [x, got, g])
    np.testing.assert_allclose(lowered, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "options"),
    [
        (2, {}),
        (3, {"stride": 2, "padding": 1}),
        ((3, 2), {"stride": 1, "dilation": (2, 1), "padding": (1, 0)}),
        ((9, 8), {}),
        (1, {"stride": 3}),
    ],
)
def test_max_pool2d_is_torchs(window: Any, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    for x in (_random(SHAPE, 0), np.round(_random(SHAPE, 0))):  # rounded: with ties
        _compare(
            lambda v: max_pool2d(v, window, **options),
            lambda v: torch.nn.functional.max_pool2d(v, window, **options),
            x,
        )


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize(
    ("window", "options"), [(2, {}), (3, {"stride": 2, "padding": 1}), ((2, 3), {"stride": (1, 2)})]
)
def test_avg_pool2d_is_torchs(
    window: Any, options: dict[str, Any], count_include_pad: bool
) -> None:
    torch = pytest.importorskip("torch")
    options = {**options, "count_include_pad": count_include_pad}
    _compare(
        lambda v: avg_pool2d(v, window, **options),
        lambda v: torch.nn.functional.avg_pool2d(v, window, **options),
        _random(SHAPE, 0),
    )


TIES = np.array([[1, 1, 0], [1, 1, np.nan], [2, 2, np.nan]], np.float32)
GEOMETRY: dict[str, Any] = {"window": (2, 2), "stride": (1, 1), "dilation": (1, 1)}


def test_the_first_maximum_and_the_first_nan_win() -> None:
    graph = trace(lambda x: emit(WINDOW_ARGMAX, x, **GEOMETRY), type_of(TIES))
    want = [[0, 5], [6, 5]]
    assert interpret(graph, TIES)[0].tolist() == want
    assert run_program(lower_graph(graph), [TIES])[0].tolist() == want
    g = np.array([[1, 2], [3, 4]], np.float32)
    graph = trace(lambda x, c: emit(WINDOW_MAX_GRAD, x, c, **GEOMETRY), type_of(TIES), type_of(g))
    spread = [[1, 0, 0], [0, 0, 6], [3, 0, 0]]
    assert interpret(graph, TIES, g)[0].tolist() == spread
    assert run_program(lower_graph(graph), [TIES, g])[0].tolist() == spread
    pooled = run1(lambda x: max_pool2d(x, 2, stride=1), TIES)
    np.testing.assert_array_equal(pooled, [[1, np.nan], [2, np.nan]])


def test_second_derivatives_of_max_pooling_are_gathers() -> None:
    x, t = _random((1, 4, 4), 0), _random((1, 4, 4), 1)
    graph = trace(lambda v: max_pool2d(v, 2), type_of(x))
    pooled = x.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    moved = t.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    want = moved[np.arange(4), pooled.argmax(1)].reshape(1, 2, 2)
    (got,) = interpret(tangent_graph(graph, [True]), x, t)
    np.testing.assert_array_equal(got, want)
    pulled = vjp_graph(graph, [0])
    (y,) = interpret(graph, x)
    g = np.ones((1, 2, 2), np.float32)
    (gradient,) = interpret(pulled, x, y, g)
    twice = interpret(vjp_graph(pulled, [0, 2]), x, y, g, gradient, t)
    assert not twice[0].any()
    np.testing.assert_array_equal(twice[1], want)


def test_integers_pool_to_their_maximum() -> None:
    x = np.array([[-5, -7], [-6, -128]], np.int8)
    assert run1(lambda v: max_pool2d(v, 2, padding=1), x).tolist() == [[-5, -7], [-6, -128]]


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (lambda x: max_pool2d(x, 10), ShapeError, "window must fit in the padded input"),
        (lambda x: max_pool2d(x, 2, padding=2), ArgumentError, "must not lie in the padding alone"),
        (lambda x: max_pool2d(x, 2, stride=0), ArgumentError, "must be >= 1"),
        (lambda x: avg_pool2d(x, (2, 2, 2)), ArgumentError, "window must be an int or two"),
    ],
)
def test_refuses(fn: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trace(fn, TensorType((1, 5, 5), float32))


def test_a_mean_needs_floats() -> None:
    with pytest.raises(DTypeError, match="a mean needs floats"):
        trace(lambda x: avg_pool2d(x, 2), TensorType((4, 4), int32))
