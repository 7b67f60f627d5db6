from __future__ import annotations

from typing import Any

import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError
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
