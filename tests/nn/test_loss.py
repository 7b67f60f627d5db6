from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from pellucid.tensor.jit import jit
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.transforms import grad
from tests.nn.peer import Array, close, draw, torch

REDUCTIONS = ["mean", "sum", "none"]


def compare_loss(ours: nn.Module, theirs: Any, prediction: Array, target: Array) -> None:
    x, t = Tensor(prediction, requires_grad=True), torch.tensor(prediction, requires_grad=True)
    a, b = ours(x, Tensor(target)), theirs(t, torch.tensor(target))
    close(a, b)
    a.sum().backward()
    b.sum().backward()
    close(x.grad, t.grad)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("how", [{}, {"ignore_index": 2}, {"label_smoothing": 0.1}])
@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3)])
def test_cross_entropy(reduction: Any, how: dict[str, Any], shape: tuple[int, ...]) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (shape[0], *shape[2:]))
    ours = nn.CrossEntropyLoss(reduction=reduction, **how)
    theirs = torch.nn.CrossEntropyLoss(reduction=reduction, **how)
    compare_loss(ours, theirs, draw(*shape), labels)


def test_cross_entropy_with_probabilities() -> None:
    target = np.abs(draw(5, 3, seed=2))
    target /= target.sum(axis=1, keepdims=True)
    compare_loss(nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(), draw(5, 3), target)


def test_cross_entropy_of_large_logits_is_finite() -> None:
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    labels = np.array([0, 0])
    compare_loss(nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(), logits, labels)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll(reduction: Any) -> None:
    labels = np.array([0, 2, 1, -100])
    ours, theirs = nn.NLLLoss(reduction=reduction), torch.nn.NLLLoss(reduction=reduction)
    compare_loss(ours, theirs, draw(4, 3), labels)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "HuberLoss"])
def test_regression(name: str, reduction: Any) -> None:
    ours, theirs = (getattr(m, name)(reduction=reduction) for m in (nn, torch.nn))
    compare_loss(ours, theirs, draw(3, 4) * 3, draw(3, 4, seed=1))


def test_huber_delta() -> None:
    ours, theirs = nn.HuberLoss(delta=0.3), torch.nn.HuberLoss(delta=0.3)
    compare_loss(ours, theirs, draw(3, 4), draw(3, 4, seed=1))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_bce_with_logits(reduction: Any, weighted: bool) -> None:
    weight = np.array([1.0, 2.0, 0.5], np.float32)
    ours = nn.BCEWithLogitsLoss(reduction, Tensor(weight) if weighted else None)
    other = torch.tensor(weight) if weighted else None
    theirs = torch.nn.BCEWithLogitsLoss(reduction=reduction, pos_weight=other)
    target = (draw(4, 3, seed=1) > 0).astype(np.float32)
    compare_loss(ours, theirs, draw(4, 3) * 20, target)


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")  # PyTorch's advice on 'mean'
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
def test_kl_div(reduction: str) -> None:
    target = np.abs(draw(4, 3, seed=2))
    target[0, 0] = 0.0
    log_probs = np.log(np.abs(draw(4, 3)) + 0.1)
    theirs = torch.nn.KLDivLoss(reduction=reduction)
    compare_loss(nn.KLDivLoss(reduction), theirs, log_probs, target)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ShapeError, match="prediction and target must have one shape"):
        nn.MSELoss()(Tensor(draw(3, 1)), Tensor(draw(3)))


def test_labels_that_are_no_class_are_refused_eagerly_and_give_nan_when_compiled() -> None:
    logits, labels = Tensor(draw(3, 4)), Tensor(np.array([0, 4, -100]))
    for loss in (nn.CrossEntropyLoss(), nn.NLLLoss()):
        with pytest.raises(IndexRangeError, match=r"labels must be in \[0, 4\), got it 4"):
            loss(logits, labels)
        assert np.isnan(jit(loss)(logits, labels).item())


@pytest.mark.parametrize("make", [nn.CrossEntropyLoss, nn.NLLLoss])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_compiled_training_on_a_label_that_is_no_class_does_not_go_on_unseen(
    make: Any, reduction: Any
) -> None:
    criterion = make(reduction=reduction)

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        scores = nn.functional.log_softmax(x) if make is nn.NLLLoss else x
        result: Tensor = criterion(scores, labels)
        return result

    logits, labels = Tensor(draw(4, 5)), Tensor(np.array([0, 5, -100, 4]))
    got = jit(grad(lambda x: loss(x, labels)))(logits).numpy()
    right = grad(lambda x: loss(x, Tensor(np.array([0, 1, -100, 4]))))(logits).numpy()
    assert np.isnan(got[1]).all()
    np.testing.assert_allclose(got[[0, 2, 3]], right[[0, 2, 3]], rtol=1e-5)
    assert (got[2] == 0).all()


@pytest.mark.parametrize("wrap", [lambda f: f, jit])
def test_huber_of_infinite_distances(wrap: Any) -> None:
    x = Tensor(np.array([-np.inf, -3.0, -0.25, 0.0, 0.25, 1e30, np.inf], np.float32))
    zero = Tensor(np.zeros(7, np.float32))

    def slope(x: Tensor) -> Any:
        return grad(lambda x: nn.functional.huber_loss(x, zero, "sum", 0.5))(x)

    assert wrap(slope)(x).tolist() == [-0.5, -0.5, -0.25, 0.0, 0.25, 0.5, 0.5]
    bend = wrap(grad(lambda x: slope(x).sum()))(x)
    assert bend.tolist() == [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]


def test_label_smoothing_is_a_share() -> None:
    with pytest.raises(ArgumentError, match=r"label_smoothing must be in \[0, 1\], got .* 2"):
        nn.CrossEntropyLoss(label_smoothing=2.0)(Tensor(draw(2, 3)), Tensor(np.array([0, 1])))


def test_float_labels_are_told_to_become_integers() -> None:
    with pytest.raises(DTypeError, match=r"class labels must be integers.*astype\('int64'\)"):
        nn.CrossEntropyLoss()(Tensor(draw(3, 4)), Tensor(draw(3)))


def test_arrays_are_taken_as_tensors() -> None:
    x, labels = draw(3, 4), np.array([0, 1, 3])
    expected = nn.CrossEntropyLoss()(Tensor(x), Tensor(labels)).item()
    assert nn.CrossEntropyLoss()(x, labels).item() == expected
    assert nn.Linear(4, 2)(x).shape == (3, 2)
