"""`jit(dynamic=...)`: one recording for any size, decisions of the function, errors by name."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError, ShapeError

Tensor = pl.Tensor


def noise(*shape: int) -> Tensor:
    values = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    return pl.Tensor(values)


def test_a_training_step_at_any_batch() -> None:
    @pl.jit(dynamic={"x": {0: "batch"}, "y": {0: "batch"}})
    def step(w: Tensor, x: Tensor, y: Tensor) -> Any:
        return pl.value_and_grad(lambda w: ((pl.tanh(x @ w) - y) ** 2).mean())(w)

    for n in (5, 1, 7, 0, 130, 64):
        tensors = noise(10, 3), noise(n, 10), noise(n, 3)
        loss, grad = step(*tensors)
        w, x, y = (t.numpy() for t in tensors)
        t = np.tanh(x @ w)
        wanted = x.T @ ((t - y) * 2 / max(1, n * 3) * (1 - t * t))
        np.testing.assert_allclose(grad.numpy(), wanted, atol=2e-6)
        if n:
            np.testing.assert_allclose(loss.numpy(), ((t - y) ** 2).mean(), rtol=1e-5)
    assert step.explain().startswith("step: compiled 1 time(s)")


def test_decisions_make_programs() -> None:
    @pl.jit(dynamic={"x": {0: pl.dim("n", min=1, max=64)}})
    def halves(x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] % 2 == 0 else x + 3

    for n in (2, 3, 4, 5, 7, 64):
        expected = 2.0 if n % 2 == 0 else 4.0
        np.testing.assert_array_equal(halves(pl.ones(n)).numpy(), np.full(n, expected))
    text = halves.explain()
    assert text.startswith("halves: compiled 2 time(s)")
    assert "where n%2 == 0 (at test_dynamic.py" in text
    assert "because of its sizes this does not hold: n%2 == 0" in text


def test_errors_name_the_sizes() -> None:
    @pl.jit(dynamic={"x": {0: pl.dim("batch", min=1, max=8)}, "y": ["batch", None]})
    def add(x: Tensor, y: Tensor) -> Tensor:
        return x + y

    with pytest.raises(ShapeError, match="batch is one size, got axis 0 of x 3 and axis 0 of y 4"):
        add(noise(3, 2), noise(4, 2))
    with pytest.raises(ShapeError, match=r"batch must be in 1\.\.8, got axis 0 of x 9"):
        add(noise(9, 2), noise(9, 2))
    with pytest.raises(ShapeError, match=r"broadcast.*\(batch, 2\) and b \(batch, 3\)"):
        add(noise(3, 2), noise(3, 3))


def test_bad_specifications_are_refused() -> None:
    with pytest.raises(ArgumentError, match="names no argument"):
        pl.jit(lambda x: x, dynamic={"y": {0: "n"}})
    with pytest.raises(ArgumentError, match="an open axis has a name"):
        pl.jit(lambda x: x, dynamic={"x": {0: 3}})
    with pytest.raises(ArgumentError, match="axis that is not there"):
        pl.jit(lambda x: x, dynamic={"x": {2: "n"}})(noise(3))


def test_containers_state_and_eager_gradients() -> None:
    weight = pl.Parameter(noise(3))
    total = pl.Buffer(np.zeros((), np.float32))

    @pl.jit(dynamic={"batch": {0: "n"}})
    def loss(batch: dict[str, Tensor]) -> Tensor:
        made = (batch["x"] * weight).sum() + batch["y"].sum()
        total.assign_(total + 1.0)
        return made

    for n in (2, 5, 2):
        loss({"x": noise(n, 3), "y": noise(n)}).backward()
    wanted = sum(noise(n, 3).numpy().sum(0) for n in (2, 5, 2))
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad.numpy(), wanted, rtol=1e-5)
    assert total.item() == 3.0
    assert loss.explain().startswith("loss: compiled 1 time(s)")


def double(x: Tensor) -> Tensor:
    return x * 2


def test_it_is_pickled_with_what_is_open() -> None:
    again = pickle.loads(pickle.dumps(pl.jit(double, dynamic={"x": {0: "n"}})))
    again(noise(3)), again(noise(4))
    assert again.explain().startswith("double: compiled 1 time(s)")


def _turned(x: Tensor) -> Any:
    half, n = x.shape[0] // 2, x.shape[0]
    return pl.fori_loop(half, n, lambda i, total: total + x[i] * i, pl.zeros(3))


def _product(x: Tensor) -> Any:
    return pl.fori_loop(0, x.shape[0], lambda i, total: total * x[i], pl.ones(3)).sum()


@pytest.mark.parametrize(
    "fn",
    [
        _turned,
        pl.grad(_product),
        pl.cov,
        pl.grad(lambda x: pl.cumulative_prod(x, axis=0).sum()),
    ],
    ids=["fori_loop", "its gradient", "cov", "gradient of cumulative_prod"],
)
def test_open_sizes_down_to_one(fn: Any) -> None:
    def call(x: Tensor) -> Any:
        return fn(x)

    compiled = pl.jit(call, dynamic={"x": {0: "n"}})
    for n in (4, 1, 2, 7):
        x = noise(n, 3)
        wanted = fn(x).numpy()
        found = compiled(x).numpy()
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
