"""Convolutions and their gradients against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pellucid.autodiff.reverse import vjp_graph
from pellucid.core.dtype import bool_, float32
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import TensorType, Value
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.conv import CONV2D
from pellucid.ops.convolution import conv1d, conv2d, conv_transpose2d
from tests.lower.execution import run_program
from tests.ops.records import Array, run1, trace, type_of

CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 8, 7), (4, 3, 3, 3), {}),
    ((2, 3, 8, 7), (4, 3, 3, 3), {"padding": 1}),
    ((2, 3, 8, 7), (4, 3, 3, 2), {"stride": 2, "padding": (1, 0)}),
    ((1, 4, 9, 9), (6, 2, 3, 3), {"stride": (2, 3), "groups": 2, "padding": 2}),
    ((1, 4, 9, 9), (8, 1, 3, 3), {"groups": 4, "dilation": 2, "padding": 2}),
    ((2, 3, 8, 8), (5, 3, 1, 1), {"stride": 2}),
    ((1, 2, 6, 5), (3, 2, 5, 5), {"padding": 4}),
    ((1, 2, 7, 7), (3, 2, 2, 3), {"dilation": (3, 2), "stride": (1, 2), "padding": (2, 1)}),
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((0, 2, 4, 4), (3, 2, 3, 3), {"padding": 1}),
]
TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 4, 5, 4), (4, 3, 3, 3), {}),
    ((2, 4, 5, 4), (4, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((1, 4, 5, 5), (4, 2, 2, 3), {"stride": (3, 2), "groups": 2, "output_padding": (2, 0)}),
    ((1, 2, 6, 6), (2, 3, 2, 2), {"padding": 2, "dilation": (1, 2)}),
    ((1, 2, 4, 4), (2, 1, 1, 1), {"stride": 3, "padding": 1, "output_padding": 2}),
]
Function = Callable[..., Value]


def _random(shape: tuple[int, ...], seed: int) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=shape), np.float32)


def _close(a: Array, b: Array) -> None:
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def _compare(ours: Function, theirs: Any, x: Array, w: Array) -> None:
    """Values, both gradients, and the gradients' own gradients."""
    torch = pytest.importorskip("torch")
    tx, tw = (torch.tensor(a, requires_grad=True) for a in (x, w))
    y = theirs(tx, tw)
    g = _random(tuple(y.shape), 2)
    tg = torch.tensor(g, requires_grad=True)
    first = torch.autograd.grad(y, (tx, tw), tg, create_graph=True)
    graph = trace(ours, type_of(x), type_of(w))
    (got,) = interpret(graph, x, w)
    _close(got, y.detach().numpy())
    pulled = vjp_graph(graph, [0, 1])
    gradients = interpret(pulled, x, w, got, g)
    for mine, their in zip(gradients, first, strict=True):
        _close(mine, their.detach().numpy())
    if x.size == 0:  # PyTorch has no second derivatives there
        return
    seeds = [_random(a.shape, 3) for a in (x, w)]
    second = torch.autograd.grad(first, (tx, tw, tg), [torch.tensor(s) for s in seeds])
    again = interpret(vjp_graph(pulled, [0, 1, 3]), x, w, got, g, *gradients, *seeds)
    for mine, their in zip(again, second, strict=True):
        _close(mine, their.numpy())


@pytest.mark.parametrize(("x", "w", "options"), CASES)
def test_conv2d_is_torchs(x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    _compare(
        lambda a, b: conv2d(a, b, **options),
        lambda a, b: torch.nn.functional.conv2d(a, b, **options),
        _random(x, 0),
        _random(w, 1),
    )


@pytest.mark.parametrize(("x", "w", "options"), TRANSPOSED)
def test_conv_transpose2d_is_torchs(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch")
    _compare(
        lambda a, b: conv_transpose2d(a, b, **options),
        lambda a, b: torch.nn.functional.conv_transpose2d(a, b, **options),
        _random(x, 0),
        _random(w, 1),
    )


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1}, {"dilation": 3, "groups": 2, "padding": 2}]
)
def test_conv1d_is_torchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    _compare(
        lambda a, b: conv1d(a, b, **options),
        lambda a, b: torch.nn.functional.conv1d(a, b, **options),
        _random((2, 4, 11), 0),
        _random((6, 4 // options.get("groups", 1), 3), 1),
    )


def test_uneven_padding_and_input_dilation() -> None:
    x, w = _random((1, 2, 4, 3), 0), _random((3, 2, 2, 3), 1)
    spread = np.zeros((1, 2, 7, 7), np.float32)
    spread[:, :, ::2, ::3] = x
    padded = np.pad(spread, ((0, 0), (0, 0), (0, 2), (1, 3)))
    got = run1(lambda a, b: conv2d(a, b, padding=((0, 2), (1, 3)), input_dilation=(2, 3)), x, w)
    np.testing.assert_allclose(got, run1(conv2d, padded, w), rtol=1e-6)


def test_gradient_graph_lowers_to_the_same_numbers() -> None:
    x, w = _random((2, 4, 7, 6), 0), _random((6, 2, 3, 2), 1)
    graph = trace(
        lambda a, b: conv2d(a, b, stride=2, padding=1, groups=2, dilation=(1, 2)),
        type_of(x),
        type_of(w),
    )
    (y,) = interpret(graph, x, w)
    pulled = vjp_graph(graph, [0, 1])
    args = [x, w, y, _random(y.shape, 2)]
    for got, want in zip(
        run_program(lower_graph(pulled), args), interpret(pulled, *args), strict=True
    ):
        _close(got, want)


def test_one_by_one_kernels_slice_instead_of_striding() -> None:
    graph = trace(
        lambda a, b: conv2d(a, b, stride=2),
        TensorType((1, 2, 5, 5), float32),
        TensorType((3, 2, 1, 1), float32),
    )
    assert [n.op.name for n in graph.nodes] == ["slice", "conv2d"]
    assert graph.nodes[1].attrs["stride"] == (1, 1)


def test_without_padding_there_is_one_node() -> None:
    graph = trace(conv2d, TensorType((1, 2, 5, 5), float32), TensorType((3, 2, 3, 3), float32))
    assert [n.op for n in graph.nodes] == [CONV2D]


def test_narrow_floats_are_added_in_float32() -> None:
    x, w = np.ones((1, 64, 9, 9), np.float16), np.ones((1, 64, 9, 9), np.float16)
    w[0, 0, 0, 0] = 0.5
    (got,) = run1(conv2d, x, w).ravel()
    assert got == np.float16(64 * 81 - 0.5)


@pytest.mark.parametrize(
    ("x", "w", "options", "message"),
    [
        ((1, 3, 5, 5), (4, 2, 3, 3), {}, r"w must be \[O, C / groups, kh, kw\]"),
        ((1, 4, 5, 5), (3, 2, 3, 3), {"groups": 2}, "O divisible by groups"),
        ((1, 3, 2, 5), (4, 3, 3, 3), {}, "kernel must fit in the padded input"),
        ((1, 3, 5, 5), (4, 3, 3, 3), {"dilation": 3}, "kernel must fit"),
        ((3, 5, 5), (4, 3, 3, 3), {}, r"x must be \[N, C, H, W\]"),
    ],
)
def test_conv2d_refuses_shapes(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        trace(lambda a, b: conv2d(a, b, **options), TensorType(x, float32), TensorType(w, float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "must be >= 1"),
        ({"stride": (1, 2, 3)}, "stride must be an int or two"),
        ({"padding": -1}, "none negative"),
        ({"padding": (1, 2, 3)}, "two pairs"),
        ({"dilation": 0}, "must be >= 1"),
        ({"input_dilation": 0}, "must be >= 1"),
    ],
)
def test_conv2d_refuses_parameters(options: dict[str, Any], message: str) -> None:
    types = TensorType((1, 1, 5, 5), float32), TensorType((1, 1, 3, 3), float32)
    with pytest.raises(ArgumentError, match=message):
        trace(lambda a, b: conv2d(a, b, **options), *types)


def test_bools_are_refused() -> None:
    flags = TensorType((1, 1, 3, 3), bool_)
    with pytest.raises(DTypeError, match="takes numbers, not bool"):
        trace(conv2d, flags, flags)


def test_records_refuse_mixed_dtypes() -> None:
    attrs: dict[str, Any] = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
    x = TensorType((1, 1, 5, 5), float32)
    with pytest.raises(DTypeError, match="dtypes must be equal"):
        CONV2D.infer(x, type_of(np.zeros((1, 1, 3, 3))), **attrs)
