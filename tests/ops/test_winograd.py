"""Winograd's convolution: exact matrices, fewer products, any size, stated errors."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from pellucid.core.dtype import float32
from pellucid.core.errors import PellucidError
from pellucid.graph.ir import Attr, TensorType
from pellucid.ops.conv import reference_conv
from pellucid.ops.conv_winograd import CONV2D_WINOGRAD, WINOGRAD_WEIGHTS, transformed_weights
from pellucid.ops.shared import Array
from pellucid.ops.winograd_matrices import POINTS, Matrix, transforms
from pellucid.ops.winograd_tiles import TAPS, Problem

RNG = np.random.default_rng(0)


def _times(matrix: Matrix, vector: list[Fraction]) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


@pytest.mark.parametrize(
    ("outputs", "taps", "points"),
    [
        *((m, TAPS, points) for m, points in POINTS.items()),
        (1, 1, ()),
        (3, 2, tuple(Fraction(p) for p in (0, 1, 5))),
        (2, 5, tuple(Fraction(p) for p in (0, 1, -1, 2, -0.25))),
        (6, 3, tuple(Fraction(p) for p in (0, 1, -1, 2, -2, 0.5, -0.5))),
    ],
)
def test_the_matrices_are_exact(outputs: int, taps: int, points: tuple[Fraction, ...]) -> None:
    made = transforms(outputs, taps, points)
    for unit in range(outputs + taps - 1):  # bilinear: pairs of unit vectors say it all
        for tap in range(taps):
            x = [Fraction(int(i == unit)) for i in range(outputs + taps - 1)]
            w = [Fraction(int(i == tap)) for i in range(taps)]
            points_ = [a * b for a, b in zip(_times(made.g, w), _times(made.bt, x), strict=True)]
            expected = [
                sum((w[k] * x[i + k] for k in range(taps)), Fraction(0)) for i in range(outputs)
            ]
            assert _times(made.at, points_) == expected


def test_the_first_row_of_the_inverse_has_no_minus() -> None:
    """OpenMLSys prints 1, 1, -1, 0, which gives wrong sums."""
    assert transforms(2, TAPS, POINTS[2]).at[0] == tuple(map(Fraction, (1, 1, 1, 0)))


@pytest.mark.parametrize(("tile", "products", "plain"), [(2, 16, 36), (4, 36, 144)])
def test_fewer_products(tile: int, products: int, plain: int) -> None:
    size = 3 * tile
    x = TensorType((1, 1, size + 2, size + 2), float32)
    w = TensorType((products, 1, 1, 1), float32)
    y = CONV2D_WINOGRAD.infer(x, w, tile=tile, low=(0, 0), high=(0, 0))
    assert isinstance(y, TensorType)
    attrs: dict[str, Attr] = {"tile": tile, "low": (0, 0), "high": (0, 0)}
    assert CONV2D_WINOGRAD.cost([x, w], [y], attrs).flops == 2 * 9 * products
    assert tile**2 * TAPS**2 == plain


def _convolve(x: Array, w: Array, tile: int, low: tuple[int, int], high: tuple[int, int]) -> Array:
    points = transformed_weights(w, tile, w.shape[0])
    made: Array = CONV2D_WINOGRAD.reference(x, points, tile=tile, low=low, high=high)
    return made


@pytest.mark.parametrize("tile", POINTS)
def test_exchanged_weights_are_those_of_the_gradient(tile: int) -> None:
    w = RNG.normal(size=(6, 4, 3, 3))
    turned = np.ascontiguousarray(w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
    made = WINOGRAD_WEIGHTS.reference(w.reshape(6, 4, 9), tile=tile, panel=2, exchanged=True)
    np.testing.assert_allclose(made, transformed_weights(turned, tile, 2), atol=1e-12)


@pytest.mark.parametrize("tile", POINTS)
@pytest.mark.parametrize("size", [*itertools.product((1, 2, 7), (1, 4, 5))])
@pytest.mark.parametrize("ends", [((1, 1), (1, 1)), ((2, 0), (0, 2)), ((3, 5), (2, 1))])
def test_any_size_and_padding(
    tile: int, size: tuple[int, int], ends: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    low, high = ends
    x, w = RNG.normal(size=(2, 3, *size)), RNG.normal(size=(4, 3, 3, 3))
    image = np.pad(x, ((0, 0), (0, 0), *zip(low, high, strict=True)))
    expected = reference_conv(image, w, stride=(1, 1), dilation=(1, 1), groups=1)
    np.testing.assert_allclose(_convolve(x, w, tile, low, high), expected, atol=1e-11)


@pytest.mark.parametrize(("tile", "most"), [(2, 1e-6), (4, 5e-6)])
def test_the_rounding_error_stays_within_its_bound(tile: int, most: float) -> None:
    """The bound that `conv_winograd` states, relative to the largest result."""
    for channels in (16, 64, 256):
        x = RNG.normal(size=(1, channels, 16, 16)).astype(np.float32)
        w = RNG.normal(size=(16, channels, 3, 3)).astype(np.float32)
        wide = x.astype(np.float64), w.astype(np.float64)
        expected = reference_conv(*wide, stride=(1, 1), dilation=(1, 1), groups=1)
        error = np.abs(_convolve(x, w, tile, (0, 0), (0, 0)) - expected).max()
        assert error < most * np.abs(expected).max()


def test_a_nan_stays_in_its_tiles() -> None:
    x, w = RNG.normal(size=(1, 2, 14, 14)), RNG.normal(size=(1, 2, 3, 3))
    x[0, 1, 0, 0] = np.nan
    y = _convolve(x, w, 4, (0, 0), (0, 0))
    assert np.isnan(y[0, 0, :4, :4]).any()
    assert np.isfinite(y[0, 0, 4:]).all()
    assert np.isfinite(y[0, 0, :, 4:]).all()


@pytest.mark.parametrize(
    ("x", "w", "attrs", "text"),
    [
        ((1, 2, 5, 5), (16, 1, 3, 4), {"tile": 2}, "must be"),
        ((1, 3, 5, 5), (16, 1, 3, 4), {"tile": 3}, "tile must be"),
        ((1, 3, 2, 2), (16, 1, 3, 4), {"tile": 2}, "must fit"),
        ((1, 3, 5, 5), (16, 1, 3, 4), {"tile": 2, "low": (-1, 0)}, "padding"),
    ],
)
def test_what_does_not_fit_is_refused(
    x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, object], text: str
) -> None:
    ends: dict[str, object] = {"low": (0, 0), "high": (0, 0)}
    with pytest.raises(PellucidError, match=text):
        CONV2D_WINOGRAD.infer(TensorType(x, float32), TensorType(w, float32), **(ends | attrs))


def test_blocks_divide_the_work() -> None:
    for images, size in itertools.product((1, 3, 8), (1, 13, 56)):
        for channels in (16, 64, 256):
            problem = Problem(
                images=images, channels=channels, size=(size, size), low=(1, 1),
                outputs=channels, out=(size, size), tile=4, dtype=float32,
            )  # fmt: skip
            together, rows = problem.block()
            assert images % together == 0
            assert problem.grid[0] % rows == 0
