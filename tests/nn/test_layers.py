from __future__ import annotations

import numpy as np
import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError, IndexRangeError, ShapeError
from pellucid.tensor.random import manual_seed
from pellucid.tensor.tensor import Tensor
from tests.nn.peer import compare, draw, torch


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (3,), (2, 4, 3), (0, 3)])
def test_linear(bias: bool, shape: tuple[int, ...]) -> None:
    compare(nn.Linear(3, 7, bias), torch.nn.Linear(3, 7, bias), draw(*shape))


def test_linear_names_both_shapes() -> None:
    with pytest.raises(ShapeError, match=r"linear: .*x \(2, 4\) and weight \(7, 3\)"):
        nn.Linear(3, 7)(Tensor(draw(2, 4)))


def test_linear_starts_within_the_usual_bound() -> None:
    manual_seed(1)
    layer = nn.Linear(16, 400)
    assert layer.bias is not None
    for cell in (layer.weight, layer.bias):
        assert 0.2 < np.abs(cell.numpy()).max() <= 0.25
        assert abs(cell.numpy().mean()) < 0.02


def test_seed_makes_layers_repeatable() -> None:
    manual_seed(3)
    a = nn.Linear(4, 4).weight.numpy().copy()
    manual_seed(3)
    np.testing.assert_array_equal(nn.Linear(4, 4).weight.numpy(), a)
    assert not np.array_equal(nn.Linear(4, 4).weight.numpy(), a)


def test_embedding() -> None:
    tokens = np.array([[0, 4, 4], [2, 1, 0]])
    compare(nn.Embedding(5, 3), torch.nn.Embedding(5, 3), tokens)


def test_flatten() -> None:
    x = Tensor(draw(2, 3, 4))
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Flatten(0)(x).shape == (24,)
    assert nn.Flatten(0, 1)(x).shape == (6, 4)


def test_dropout_scales_what_it_keeps_and_rests_in_eval() -> None:
    manual_seed(0)
    x = Tensor(np.ones((200, 50), np.float32), requires_grad=True)
    layer = nn.Dropout(0.2)
    y = layer(x)
    values, counts = np.unique(y.numpy(), return_counts=True)
    np.testing.assert_allclose(values, [0.0, 1.25])
    assert abs(counts[0] / y.size - 0.2) < 0.02
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert not np.array_equal(layer(x).numpy(), y.numpy())
    assert layer.eval()(x) is x


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_at_its_ends(p: float) -> None:
    np.testing.assert_array_equal(nn.Dropout(p)(Tensor([1.0, 2.0])).numpy(), [1 - p, 2 - 2 * p])


def test_dropout_refuses_other_probabilities() -> None:
    with pytest.raises(ArgumentError, match=r"Dropout: p must be in \[0, 1\], got p 1.5"):
        nn.Dropout(1.5)


def test_an_index_outside_the_table_is_refused_eagerly() -> None:
    table = nn.Embedding(3, 2)
    with pytest.raises(IndexRangeError, match=r"indices must be in \[-3, 3\), got it 3"):
        table(Tensor([0, 3]))


def test_a_width_that_does_not_fit_says_what_to_do() -> None:
    with pytest.raises(ShapeError, match=r"takes a last axis of 64.*Fix: use x.flatten\(1\)"):
        nn.Linear(64, 10)(Tensor(np.ones((3, 8, 8), np.float32)))
