from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.tensor.tensor import Tensor
from tests.nn.peer import close, compare, draw, torch


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"padding": 1},
        {"stride": 2, "padding": (1, 2)},
        {"dilation": 2, "groups": 2},
        {"padding": "same", "dilation": (1, 2)},
        {"padding": "valid", "bias": False},
        {"groups": 4},
    ],
)
def test_conv2d(how: dict[str, Any]) -> None:
    compare(nn.Conv2d(4, 8, 3, **how), torch.nn.Conv2d(4, 8, 3, **how), draw(2, 4, 9, 8))


def test_conv2d_with_an_oblong_kernel() -> None:
    compare(nn.Conv2d(1, 2, (1, 5)), torch.nn.Conv2d(1, 2, (1, 5)), draw(3, 1, 4, 7))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": (1, 2), "dilation": 2},
        {"groups": 2, "bias": False},
    ],
)
def test_conv_transpose2d(how: dict[str, Any]) -> None:
    ours, theirs = nn.ConvTranspose2d(4, 6, 3, **how), torch.nn.ConvTranspose2d(4, 6, 3, **how)
    compare(ours, theirs, draw(2, 4, 5, 4))


@pytest.mark.parametrize(
    "args", [(2,), (3, 2), (3, 2, 1), (2, 1, 0, 2)], ids=["plain", "stride", "padding", "dilation"]
)
def test_max_pool2d(args: tuple[int, ...]) -> None:
    compare(nn.MaxPool2d(*args), torch.nn.MaxPool2d(*args), draw(2, 3, 9, 8))


@pytest.mark.parametrize("count", [True, False])
@pytest.mark.parametrize("args", [(2,), (3, 2), (3, 2, 1)])
def test_avg_pool2d(args: tuple[Any, ...], count: bool) -> None:
    theirs = torch.nn.AvgPool2d(*args, count_include_pad=count)
    full = (*args, *(None, 0)[len(args) - 1 :], count)
    compare(nn.AvgPool2d(*full), theirs, draw(2, 3, 9, 8))


@pytest.mark.parametrize("size", [1, (3, 2), (4, 3), (9, 8), (2, 5)])
def test_adaptive_avg_pool2d(size: Any) -> None:
    compare(nn.AdaptiveAvgPool2d(size), torch.nn.AdaptiveAvgPool2d(size), draw(2, 3, 9, 8))


def test_adaptive_bins_are_averaged_from_their_own_elements_alone() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 7))
    clean = nn.functional.adaptive_avg_pool2d(Tensor(x), (2, 3)).numpy()
    expected = [
        [x[:, r, c].mean(axis=(1, 2)) for c in (slice(0, 3), slice(2, 5), slice(4, 7))]
        for r in (slice(0, 3), slice(2, 5))
    ]
    np.testing.assert_allclose(clean, np.moveaxis(np.array(expected), 2, 0), rtol=1e-14)
    x[0, 0, 0], x[1, 4, 6] = np.inf, np.nan
    dirty = nn.functional.adaptive_avg_pool2d(Tensor(x), (2, 3)).numpy()
    assert dirty[0, 0, 0] == np.inf
    assert np.isnan(dirty[1, 1, 2])
    assert np.isfinite(dirty).sum() == dirty.size - 2
    np.testing.assert_array_equal(dirty[np.isfinite(dirty)], clean[np.isfinite(dirty)])


def test_adaptive_bins_send_gradients_to_their_own_elements_alone() -> None:
    x = Tensor(np.zeros((1, 5)), requires_grad=True)
    pooled = nn.functional.adaptive_avg_pool2d(x, (1, 3))
    (pooled * Tensor(np.array([[1.0, np.inf, 4.0]]))).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [[0.5, np.inf, np.inf, np.inf, 2.0]])


def test_adaptive_bins_that_do_not_fit() -> None:
    x = Tensor(draw(2, 5, 7))
    pool = nn.functional.adaptive_avg_pool2d
    assert pool(x, 0).shape == (2, 0, 0)
    assert pool(x, (0, 2)).shape == (2, 0, 2)
    with pytest.raises(ArgumentError, match=r"sizes must be >= 0, got output_size \(-1, -1\)"):
        pool(x, -1)
    for size in (1, 2, 5):
        with pytest.raises(DTypeError, match="adaptive_avg_pool2d: takes floats"):
            pool(x.astype("int64"), size)
    with pytest.raises(ShapeError, match=r"x must be \[\.\.\., H, W\] .*got x \(7,\)"):
        pool(Tensor(draw(7)), 2)
    with pytest.raises(ShapeError, match="H and W at least 1"):
        pool(Tensor(draw(2, 0, 3)), 2)


def test_adaptive_bins_of_half_precision_are_rounded_once() -> None:
    x = draw(5, 7).astype(np.float16)
    got = nn.functional.adaptive_avg_pool2d(Tensor(x), (2, 3)).numpy()
    exact = nn.functional.adaptive_avg_pool2d(Tensor(x.astype(np.float32)), (2, 3)).numpy()
    np.testing.assert_array_equal(got, exact.astype(np.float16))


def test_sizes_may_be_numpys_integers() -> None:
    three, one = np.int64(3), np.int32(1)
    layer = nn.Conv2d(1, 1, three, stride=one, padding=one)  # type: ignore[arg-type]  # as a number
    assert layer(Tensor(draw(1, 1, 5, 5))).shape == (1, 1, 5, 5)
    assert repr(layer) == "Conv2d(1, 1, kernel_size=(3, 3), padding=1)"
    for pool in (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d):
        assert pool(three)(Tensor(draw(1, 1, 9, 9))).shape == (1, 1, 3, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [2.5, (3,), (1, 2, 3), "3", None])
def test_sizes_that_are_no_integers(size: Any) -> None:
    with pytest.raises(ArgumentError, match="size: must be one integer or two, got it"):
        nn.Conv2d(1, 1, size)
    with pytest.raises(ArgumentError, match="size: must be one integer or two, got it"):
        nn.AdaptiveAvgPool2d(size)(Tensor(draw(1, 1, 5, 5)))


def test_same_padding_needs_stride_one() -> None:
    layer = nn.Conv2d(1, 1, 3, stride=2, padding="same")
    with pytest.raises(ArgumentError, match=r"conv2d: .*'same' with stride 1"):
        layer(Tensor(draw(1, 1, 5, 5)))


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ArgumentError, match=r"Conv2d: groups must divide .*got in_channels 3"):
        nn.Conv2d(3, 4, 1, groups=2)


def test_repr_shows_what_is_not_usual() -> None:
    text = repr(nn.Conv2d(1, 2, 3, padding=1, bias=False))
    assert text == "Conv2d(1, 2, kernel_size=(3, 3), padding=1, bias=False)"


def test_batch_of_none() -> None:
    ours, theirs = nn.Conv2d(2, 3, 3), torch.nn.Conv2d(2, 3, 3)
    ours.load_state_dict({n: v.numpy() for n, v in theirs.state_dict().items()})
    x = draw(0, 2, 5, 5)
    close(ours(Tensor(x)), theirs(torch.tensor(x)))
