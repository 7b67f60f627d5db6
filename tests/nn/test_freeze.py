"""pl.freeze: a snapshot of a function and its state that computes what evaluation mode does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError, TraceError


def _shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Running statistics, scales and shifts as after training: no ones and zeros left."""
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            n = module.num_features
            wanted = {
                "running_mean": rng.normal(0, 0.5, n), "running_var": rng.uniform(0.1, 3, n),
                "weight": rng.normal(0, 1, n), "bias": rng.normal(0, 0.5, n),
            }  # fmt: skip
            wanted["weight"][0] = 0  # and negative ones among the others
            for name, array in wanted.items():
                cell = getattr(module, name)
                if cell is not None:
                    cell.assign_(pl.Tensor(array.astype(np.float32)))
    return model


class Residual(nn.Module):
    """Two convolutions and a shortcut, each with its batch norm."""

    def __init__(self, i: int, o: int, stride: int, groups: int = 1) -> None:
        self.body = nn.Sequential(
            nn.Conv2d(i, o, 3, stride=stride, padding=1, groups=groups, bias=False),
            nn.BatchNorm2d(o), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o),
        )  # fmt: skip
        self.down = nn.Sequential(nn.Conv2d(i, o, 1, stride=stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: pl.Tensor) -> pl.Tensor:
        """`[N, i, H, W]` to `[N, o, H / stride, W / stride]`."""
        y: pl.Tensor = pl.relu(self.body(x) + self.down(x))
        return y


def _models() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    pooled = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5, affine=False), nn.MaxPool2d(2),
        Residual(5, 10, 2, groups=5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 7),
    )  # fmt: skip
    return {
        "mlp": (nn.Sequential(nn.Linear(13, 37), nn.BatchNorm1d(37), nn.GELU(), nn.Linear(37, 5)),
                (3, 13)),
        "norm first": (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 2), nn.ReLU6()),
                       (2, 3, 5, 7)),
        "layer norm": (nn.Sequential(nn.LayerNorm(19), nn.Linear(19, 8), nn.Dropout(0.5)),
                       (2, 4, 19)),
        "residual": (Residual(6, 9, 2), (1, 6, 11, 13)),
        "pooled": (pooled, (1, 3, 17, 16)),
        "one": (nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), (1, 1, 1, 1)),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(_models()))
def test_freezing_equals_the_evaluation_mode(name: str) -> None:
    pl.manual_seed(1)
    model, shape = _models()[name]
    _shaken(model)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    frozen = pl.freeze(model, x)
    assert model.training  # as it was
    wanted = model.eval()(pl.Tensor(x)).numpy()
    got = frozen(pl.Tensor(x))
    assert isinstance(got, pl.Tensor)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-4, atol=1e-5 * abs(wanted).max())
    np.testing.assert_array_equal(frozen(x).numpy(), got.numpy())  # an array will do


def test_batch_norm_is_gone_from_the_program() -> None:
    model = _shaken(Residual(4, 8, 1))
    text = str(pl.freeze(model, pl.rand(1, 4, 9, 9)).lower().passes.graph)
    assert "rsqrt" not in text
    assert "sub(" not in text
    assert "mul(" not in text


def test_a_frozen_model_is_a_snapshot() -> None:
    model = nn.Linear(4, 3)
    x = pl.rand(2, 4)
    frozen = pl.freeze(model, x)
    before = frozen(x).numpy().copy()
    model.weight.assign_(model.weight * 2)
    np.testing.assert_array_equal(frozen(x).numpy(), before)
    assert not np.allclose(pl.freeze(model, x)(x).numpy(), before)


def test_results_keep_their_structure() -> None:
    w = pl.Parameter(pl.ones(3))

    def fn(batch: dict[str, pl.Tensor], scale: float) -> Any:
        return {"sum": batch["a"] + batch["b"] * w, "note": "as is", "pair": (batch["a"] * scale,)}

    a, b = pl.rand(2, 3), pl.rand(2, 3)
    frozen = pl.freeze(fn, {"a": a, "b": b}, 2.0)
    got = frozen({"a": a, "b": b}, 2.0)
    assert got["note"] == "as is"
    np.testing.assert_allclose(got["sum"].numpy(), (a + b).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(got["pair"][0].numpy(), (a * 2).numpy())
    assert not got["sum"].requires_grad
    with pytest.raises(ArgumentError, match="fixed at the example's value"):
        frozen({"a": a, "b": b}, 3.0)
    with pytest.raises(ArgumentError, match="structure it was frozen with"):
        frozen({"a": a}, 2.0)


def test_arguments_must_fit_the_example() -> None:
    frozen = pl.freeze(nn.Linear(4, 3), pl.rand(2, 4))
    with pytest.raises(ShapeError, match=r"must have shape \(2, 4\)"):
        frozen(pl.rand(3, 4))
    with pytest.raises(DTypeError, match="must have dtype float32"):
        frozen(np.zeros((2, 4)))
    with pytest.raises(ArgumentError, match="structure it was frozen with"):
        frozen()


def test_a_frozen_function_inside_a_trace_is_part_of_it() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    x = pl.rand(5, 4)
    frozen = pl.freeze(model, x)
    outer = pl.jit(lambda v: frozen(v) * 2)
    np.testing.assert_allclose(outer(x).numpy(), 2 * model(x).numpy(), rtol=1e-5, atol=1e-6)
    slope = pl.grad(lambda v: frozen(v).sum())(x)
    np.testing.assert_allclose(
        slope.numpy(), pl.grad(lambda v: model(v).sum())(x).numpy(), rtol=1e-4, atol=1e-6
    )


def test_what_cannot_be_frozen_is_refused() -> None:
    cell = pl.Buffer(pl.zeros(2))

    def writes(x: pl.Tensor) -> pl.Tensor:
        cell.assign_(cell + x)
        return cell * 1

    with pytest.raises(ArgumentError, match="freeze: the function writes state"):
        pl.freeze(writes, pl.ones(2))
    with pytest.raises(ArgumentError, match="at least one argument must be a tensor"):
        pl.freeze(lambda: pl.ones(2))
    with pytest.raises(ArgumentError, match=r"freeze: int cannot be called.*give a module"):
        pl.freeze(3, pl.ones(2))  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="cannot be called while a function is traced"):
        pl.jit(lambda x: pl.freeze(nn.Linear(2, 2), x)(x))(pl.rand(1, 2))


def test_a_large_model_needs_no_turned_copies_of_its_weights() -> None:
    x = pl.rand(3, 600)
    graph = pl.freeze(nn.Linear(600, 700), x).lower().passes.graph  # 1.7 MB, more than a literal's
    assert "transpose(" not in str(graph)


def test_repr_names_the_arguments() -> None:
    assert repr(pl.freeze(nn.Linear(4, 3), pl.rand(2, 4))) == "FrozenFunction(Linear(x: f32[2, 4]))"
