from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.nn import init
from pellucid.tensor.random import Generator
from pellucid.tensor.tensor import Buffer, Parameter
from tests.nn.peer import torch


def cell(*shape: int) -> Parameter:
    return Parameter(np.zeros(shape, np.float32))


Fill = Callable[[Buffer, Generator], Buffer]
# fan_in is 500, fan_out 1000
CASES: dict[str, tuple[Fill, float, float]] = {
    "uniform": (lambda c, g: init.uniform_(c, -1, 3, g), 4 / math.sqrt(12), 3.0),
    "normal": (lambda c, g: init.normal_(c, 0.0, 0.5, g), 0.5, math.inf),
    "xavier_uniform": (
        lambda c, g: init.xavier_uniform_(c, 2.0, g),
        2 * math.sqrt(2 / 1500),
        2 * math.sqrt(6 / 1500),
    ),
    "xavier_normal": (
        lambda c, g: init.xavier_normal_(c, 1.0, g),
        math.sqrt(2 / 1500),
        math.inf,
    ),
    "kaiming_uniform": (
        lambda c, g: init.kaiming_uniform_(c, nonlinearity="relu", generator=g),
        math.sqrt(2 / 500),
        math.sqrt(6 / 500),
    ),
    "kaiming_normal": (
        lambda c, g: init.kaiming_normal_(c, mode="fan_out", generator=g),
        math.sqrt(2 / 1000),
        math.inf,
    ),
    "trunc_normal": (lambda c, g: init.trunc_normal_(c, 0.0, 1.0, -2, 2, g), 0.8796, 2.0),
}


@pytest.mark.parametrize(("fill", "std", "bound"), CASES.values(), ids=CASES)
def test_spread(fill: Fill, std: float, bound: float) -> None:
    c = cell(200, 100, 5)
    assert fill(c, Generator(5)) is c
    values = c.numpy()
    assert abs(values.std() / std - 1) < 0.02
    assert np.abs(values).max() <= bound
    again = cell(200, 100, 5)
    fill(again, Generator(5))
    np.testing.assert_array_equal(again.numpy(), values)


@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 5, 5), (4, 1)])
def test_fans_are_pytorchs(shape: tuple[int, ...]) -> None:
    theirs = torch.nn.init._calculate_fan_in_and_fan_out(torch.zeros(shape))
    assert init.fans(cell(*shape)) == theirs


@pytest.mark.parametrize(
    ("name", "param"),
    [("relu", None), ("tanh", None), ("leaky_relu", 0.2), ("leaky_relu", None), ("selu", None)],
)
def test_gains_are_pytorchs(name: str, param: Any) -> None:
    assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 2, 3)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    matrix = init.orthogonal_(cell(*shape), gain=2.0).numpy().reshape(shape[0], -1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    np.testing.assert_allclose(matrix @ matrix.T, 4 * np.eye(len(matrix)), atol=1e-5)


def test_constants() -> None:
    assert init.zeros_(Parameter([1.0, 2.0])).tolist() == [0, 0]
    assert init.ones_(cell(2)).tolist() == [1, 1]
    assert init.constant_(cell(2), 0.5).tolist() == [0.5, 0.5]


def test_bad_arguments() -> None:
    with pytest.raises(ShapeError, match="fans need two axes or more"):
        init.kaiming_uniform_(cell(3))
    with pytest.raises(ArgumentError, match=r"no gain for 'reluu'.*did you mean 'relu'"):
        init.calculate_gain("reluu")
    with pytest.raises(ArgumentError, match="mode must be"):
        init.kaiming_normal_(cell(2, 2), mode="fan")  # type: ignore[arg-type]  # refused
    with pytest.raises(ArgumentError, match="within 4 standard deviations"):
        init.trunc_normal_(cell(2), a=5.0, b=6.0)


def test_layers_without_inputs_start_at_zero() -> None:
    c = cell(3, 0)
    init.kaiming_uniform_(c)
    assert c.shape == (3, 0)
