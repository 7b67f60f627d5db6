from __future__ import annotations

import numpy as np
import pytest

from pellucid import nn
from pellucid.tensor.tensor import Tensor
from tests.nn.peer import compare, torch

PLAIN = [
    "ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Sigmoid", "Tanh", "Softplus", "Hardswish",
    "Hardsigmoid", "LeakyReLU", "ELU", "GELU",
]  # fmt: skip
X = np.linspace(-8, 8, 37, dtype=np.float32).reshape(1, 37)


@pytest.mark.parametrize("name", PLAIN)
def test_activation(name: str) -> None:
    compare(getattr(nn, name)(), getattr(torch.nn, name)(), X)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("dim", [0, -1])
def test_softmax(name: str, dim: int) -> None:
    compare(getattr(nn, name)(dim), getattr(torch.nn, name)(dim), X.reshape(37, 1) @ X)


def test_options() -> None:
    compare(nn.LeakyReLU(0.3), torch.nn.LeakyReLU(0.3), X)
    compare(nn.ELU(0.5), torch.nn.ELU(0.5), X)
    compare(nn.GELU("tanh"), torch.nn.GELU("tanh"), X)


def test_nan_and_infinity_come_through() -> None:
    x = Tensor([np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(nn.ReLU()(x).numpy(), [np.nan, np.inf, 0.0])
    np.testing.assert_array_equal(nn.Sigmoid()(x).numpy(), [np.nan, 1.0, 0.0])


def test_repr() -> None:
    assert repr(nn.ReLU()) == "ReLU()"
    assert repr(nn.GELU("tanh")) == "GELU(approximate='tanh')"
