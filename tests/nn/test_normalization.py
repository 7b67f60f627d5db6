from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.tensor.tensor import Tensor
from tests.nn.peer import close, compare, draw, torch


@pytest.mark.parametrize("momentum", [0.1, None, 0.5])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm2d(momentum: float | None, affine: bool) -> None:
    how: dict[str, Any] = {"momentum": momentum, "affine": affine}
    ours, theirs = nn.BatchNorm2d(3, **how), torch.nn.BatchNorm2d(3, **how)
    for seed in range(3):
        x = draw(4, 3, 5, 2, seed=seed) * (seed + 1) + seed
        compare(ours, theirs, x, tolerance=2e-5)
        ours.zero_grad()
        theirs.zero_grad()
    theirs.eval()
    compare(ours, theirs, draw(1, 3, 2, 2))


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5)])
def test_batch_norm1d(shape: tuple[int, ...]) -> None:
    compare(nn.BatchNorm1d(4), torch.nn.BatchNorm1d(4), draw(*shape), tolerance=2e-5)


def test_batch_norm_without_statistics_uses_the_batch_in_eval() -> None:
    ours = nn.BatchNorm1d(4, track_running_stats=False)
    theirs = torch.nn.BatchNorm1d(4, track_running_stats=False).eval()
    compare(ours, theirs, draw(6, 4), tolerance=2e-5)


def test_batch_norm_refuses_one_value_per_channel_in_training() -> None:
    with pytest.raises(ShapeError, match=r"BatchNorm1d: training needs more .*use a larger batch"):
        nn.BatchNorm1d(4)(Tensor(draw(1, 4)))
    assert nn.BatchNorm1d(4).eval()(Tensor(draw(1, 4))).shape == (1, 4)


def test_batch_norm_checks_channels() -> None:
    with pytest.raises(ShapeError, match=r"4 axes, the second of size 3, got x \(2, 4, 5, 5\)"):
        nn.BatchNorm2d(3)(Tensor(draw(2, 4, 5, 5)))


@pytest.mark.parametrize("shape", [4, (3, 4)])
def test_layer_norm(shape: Any) -> None:
    compare(nn.LayerNorm(shape), torch.nn.LayerNorm(shape), draw(2, 3, 4), tolerance=2e-5)


@pytest.mark.parametrize("how", [{"elementwise_affine": False}, {"bias": False}, {"eps": 1e-2}])
def test_layer_norm_options(how: dict[str, Any]) -> None:
    compare(nn.LayerNorm(8, **how), torch.nn.LayerNorm(8, **how), draw(5, 8), tolerance=2e-5)


def test_layer_norm_checks_its_axes() -> None:
    with pytest.raises(
        ShapeError, match=r"layer_norm: .*got x \(2, 5\) and normalized_shape \(4,\)"
    ):
        nn.LayerNorm(4)(Tensor(draw(2, 5)))


@pytest.mark.parametrize("eps", [None, 1e-3])
def test_rms_norm(eps: float | None) -> None:
    compare(nn.RMSNorm(6, eps=eps), torch.nn.RMSNorm(6, eps=eps), draw(4, 6), tolerance=2e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_rms_norms_default_eps_is_that_of_the_dtype_it_works_in(dtype: str) -> None:
    value = 2e-4
    x = Tensor(np.full((2, 4), value)).astype(dtype)
    got = float(nn.functional.rms_norm(x, 4).astype("float64").numpy()[0, 0])
    eps = np.finfo(np.float64 if dtype == "float64" else np.float32).eps
    exact = float(x.astype("float64").numpy()[0, 0])
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-6)
    np.testing.assert_allclose(got, exact / np.sqrt(exact**2 + eps), rtol=tolerance)
    theirs = torch.nn.functional.rms_norm(
        torch.full((2, 4), value, dtype=getattr(torch, dtype)), (4,)
    )
    np.testing.assert_allclose(got, theirs[0, 0].item(), rtol=tolerance)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups: int) -> None:
    compare(
        nn.GroupNorm(groups, 6), torch.nn.GroupNorm(groups, 6), draw(2, 6, 3, 4), tolerance=2e-5
    )


def test_group_norm_checks_its_groups() -> None:
    with pytest.raises(ArgumentError, match="GroupNorm: groups must divide the channels"):
        nn.GroupNorm(4, 6)


def test_constant_input_is_normalised_to_the_bias() -> None:
    ours = nn.LayerNorm(4)
    result = ours(Tensor(np.full((2, 4), 1e4, np.float32)))
    close(result, torch.zeros(2, 4))
