"""Where layers, losses and files meet what is unusual: against NumPy, with no other library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn
from pellucid.core.errors import ArgumentError, DTypeError
from pellucid.nn import functional as F

RNG = np.random.default_rng(0)


def cut(n: int, k: int) -> list[slice]:
    return [slice(i * n // k, -(-(i + 1) * n // k)) for i in range(k)]


def bins(x: np.ndarray[Any, Any], rows: int, columns: int) -> np.ndarray[Any, Any]:
    """Adaptive average pooling, bin by bin."""
    h, w = x.shape[-2:]
    grid = [[x[..., r, c].mean((-2, -1)) for c in cut(w, columns)] for r in cut(h, rows)]
    return np.stack([np.stack(row, -1) for row in grid], -2)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (4, 7), (9, 8), (11, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adaptive_pooling_takes_each_bin_from_its_own_elements(size: Any, dtype: str) -> None:
    x = RNG.normal(size=(2, 3, 9, 8)).astype(dtype)
    x[0, 0, 0, 0], x[1, 2, 8, 7] = np.inf, np.nan
    for f in (
        F.adaptive_avg_pool2d,
        pl.jit(F.adaptive_avg_pool2d, static_argnames=["output_size"]),
    ):
        found = f(pl.Tensor(x), output_size=size).numpy()
        tolerance = 1e-6 if dtype == "float32" else 1e-15
        np.testing.assert_allclose(found, bins(x, *size), rtol=tolerance, atol=tolerance)


def test_adaptive_pooling_refuses_integers_and_less_than_no_bins() -> None:
    with pytest.raises(DTypeError, match="adaptive_avg_pool2d: takes floats"):
        F.adaptive_avg_pool2d(pl.Tensor(np.arange(9).reshape(1, 1, 3, 3)), 2)
    with pytest.raises(ArgumentError, match=r"sizes must be >= 0, got output_size \(-1, -1\)"):
        F.adaptive_avg_pool2d(pl.ones((1, 1, 3, 3)), -1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rms_norm_of_small_numbers(dtype: str) -> None:
    x = (RNG.normal(size=(3, 8)) * 1e-4).astype(dtype)
    eps = np.finfo("float64" if dtype == "float64" else "float32").eps
    wide = x.astype(np.float64)
    want = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + eps)
    found = F.rms_norm(pl.Tensor(x), 8).numpy()
    np.testing.assert_allclose(found, want, rtol={"float16": 2e-3}.get(dtype, 1e-5))


def test_huber_far_away() -> None:
    x = pl.Tensor([np.inf, -np.inf, 1e30, -1e30, 0.5, -2.0, 0.0, 1.5])
    loss = lambda x: F.huber_loss(x, pl.zeros(8), delta=1.5, reduction="sum")  # noqa: E731
    want = [1.5, -1.5, 1.5, -1.5, 0.5, -1.5, 0.0, 1.5]
    np.testing.assert_allclose(pl.grad(loss)(x).numpy(), want)
    rows = F.huber_loss(x, pl.zeros(8), delta=1.5, reduction="none").numpy()
    np.testing.assert_allclose(rows[4:], [0.125, 1.5 * (2.0 - 0.75), 0.0, 1.125])
    assert np.isinf(rows[:2]).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_label_that_is_no_class_spoils_its_row_and_no_other(smoothing: float) -> None:
    def loss(x: pl.Tensor, labels: pl.Tensor) -> Any:
        return F.cross_entropy(x, labels, label_smoothing=smoothing)

    x, labels = pl.Tensor(RNG.normal(size=(4, 3))), pl.Tensor([0, 3, -100, 2])
    found = pl.jit(pl.grad(loss))(x, labels).numpy()
    assert np.isnan(found[1]).all()
    assert not found[2].any()  # ignored
    np.testing.assert_array_equal(np.isfinite(found).all(axis=1), [True, False, True, True])


def test_label_smoothing_is_a_share() -> None:
    with pytest.raises(ArgumentError, match=r"label_smoothing must be in \[0, 1\], got .* 2.0"):
        F.cross_entropy(pl.ones((2, 3)), pl.Tensor([0, 1]), label_smoothing=2.0)


@pytest.mark.parametrize("jitted", [False, True])
def test_a_row_that_may_attend_to_nothing_is_zero(jitted: bool) -> None:
    q = pl.Tensor(RNG.normal(size=(2, 3, 4)).astype(np.float32))
    mask = pl.Tensor(np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], np.bool_))

    def attend(q: pl.Tensor) -> Any:
        return F.scaled_dot_product_attention(q, q, q, mask)

    def slope(q: pl.Tensor) -> Any:
        return pl.grad(lambda q: (attend(q) ** 2).sum())(q)

    run, run_slope = (pl.jit(attend), pl.jit(slope)) if jitted else (attend, slope)
    found = run(q).numpy()
    assert not found[:, 1].any()
    np.testing.assert_allclose(
        found[:, 2], F.scaled_dot_product_attention(q, q, q).numpy()[:, 2], rtol=1e-5
    )
    assert np.isfinite(run_slope(q).numpy()).all()


class Holder(nn.Module):
    pass


@pytest.mark.parametrize(
    "value",
    [[[nn.Linear(1, 1)]], {"a": [nn.Linear(1, 1)]}, {nn.Linear(1, 1)}, ((nn.Parameter([1.0]),),)],
    ids=["nested list", "list in dict", "set", "nested tuple"],
)
def test_modules_hidden_in_containers(value: Any) -> None:
    with pytest.raises(ArgumentError, match="which do not register"):
        Holder().hidden = value


def test_a_module_cannot_be_part_of_itself() -> None:
    outer, inner = Holder(), Holder()
    outer.inner = inner
    for holder, value in ((outer, outer), (inner, outer)):
        with pytest.raises(ArgumentError, match="would contain the module that it is part of"):
            holder.again = value
    assert repr(outer)


def test_sizes_may_be_numpys_integers() -> None:
    three: Any = np.int64(3)
    layer = nn.Conv2d(1, 2, three, padding=(three - 2, 1))
    assert layer(pl.ones((1, 1, 5, 5))).shape == (1, 2, 5, 5)


@pytest.mark.parametrize("state", [[], None, {0: np.ones(1)}, {"weight": "text"}], ids=str)
def test_states_that_are_none(state: Any) -> None:
    with pytest.raises(ArgumentError, match="load_state_dict: "):
        nn.Linear(1, 1, bias=False).load_state_dict(state)


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ({"a": [1.0]}, ArgumentError),
        ({"a": 1.0}, ArgumentError),
        ({1: np.ones(1)}, ArgumentError),
        ({"__metadata__": np.ones(1)}, ArgumentError),
        ({"a": np.ones(1, np.complex128)}, DTypeError),
        ({"a": np.array(["text"])}, DTypeError),
    ],
    ids=str,
)
def test_what_cannot_be_saved(tensors: Any, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        pl.save(tmp_path / "file", tensors)
    assert not list(tmp_path.iterdir())
