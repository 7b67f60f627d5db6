"""State in converted functions: cells, random numbers, modules, gradients, attributes, globals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn

TOTAL = 0


def test_cells_written_in_branches_and_loops() -> None:
    count = pl.Buffer(0.0)

    @pl.jit(convert=True)
    def walk(x: Any) -> Any:
        if x < 0:
            count.assign_(count - 100)
            return x
        while x < 10:
            count.assign_(count + x)
            x = x * 2
        return x

    for value, seen in ((1.0, 15.0), (20.0, 15.0), (-1.0, -85.0), (6.0, -79.0)):
        walk(pl.Tensor(value))
        assert count.item() == seen


def test_random_numbers_are_drawn_only_where_they_are_used() -> None:
    def draw(x: Any) -> Any:
        if x > 0:
            return pl.rand(3)
        return pl.zeros(3)

    def run(fn: Any) -> list[Any]:
        pl.manual_seed(0)
        return [fn(pl.Tensor(v)).numpy() for v in (1.0, -1.0, 2.0)]

    for a, b in zip(run(pl.jit(draw, convert=True)), run(draw), strict=True):
        np.testing.assert_array_equal(a, b)


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.seen = pl.Buffer(0)

    def forward(self, x: Any) -> Any:
        self.seen.assign_(self.seen + 1)
        h = self.linear(x)
        if h.sum() > 0:
            return h
        return x


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Gate(), nn.ReLU(), Gate())

    def forward(self, x: Any) -> Any:
        for _ in range(3):
            x = self.layers(x)
            if x.mean() > 0.1:
                break
        return x


def test_modules_inside_library_containers_are_converted() -> None:
    pl.manual_seed(3)
    net = Stack()
    jitted = pl.jit(net, convert=True)
    seen = []
    for scale in (1.0, -1.0, 0.001):
        x = pl.ones((4, 3)) * scale
        np.testing.assert_allclose(jitted(x).numpy(), net(x).numpy(), rtol=1e-5)
        seen.append(net.layers[0].seen.item())
    assert len(set(np.diff([0, *seen]))) > 1  # the loop made different numbers of turns


def test_training_loop_over_rows() -> None:
    rng = np.random.default_rng(0)
    xs = pl.Tensor(rng.normal(size=(20, 3)).astype(np.float32))
    ys = pl.Tensor(rng.normal(size=20).astype(np.float32))

    def losses(compiled: bool) -> Any:
        w = pl.Parameter(np.ones(3, np.float32))
        optimizer = pl.optim.SGD([w], lr=0.1)

        def train(xs: Any, ys: Any) -> Any:
            total = 0.0
            for x, y in zip(xs, ys, strict=True):
                optimizer.zero_grad()
                loss = ((x * w).sum() - y) ** 2
                loss.backward()
                optimizer.step()
                total = total + loss.detach()
            return total

        total = (pl.jit(train, convert=True) if compiled else train)(xs, ys)
        return np.append(w.numpy(), total.item())

    np.testing.assert_allclose(losses(True), losses(False), rtol=1e-5)


def test_gradient_clipped_in_a_branch() -> None:
    def weights(compiled: bool) -> Any:
        w: Any = pl.Parameter(np.ones(3, np.float32))
        optimizer = pl.optim.SGD([w], lr=0.1)

        def step(x: Any) -> Any:
            loss = ((x * w).sum() - 1) ** 2
            optimizer.zero_grad()
            loss.backward()
            norm = (w.grad * w.grad).sum().sqrt()
            if norm > 1:
                w.grad = w.grad / norm
            optimizer.step()
            return loss

        fn = pl.jit(step, convert=True) if compiled else step
        for k in range(4):
            fn(pl.Tensor([1.0, 0.1 * k, 0.3]))
        return w.numpy()

    np.testing.assert_allclose(weights(True), weights(False), rtol=1e-5)


def test_transforms_of_converted_functions() -> None:
    @pl.convert
    def leaky(x: Any) -> Any:
        if x > 0:
            return x * x
        return x * 0.1

    xs = pl.Tensor([1.0, -2.0, 3.0])
    np.testing.assert_allclose(pl.vmap(leaky)(xs).numpy(), [1, -0.2, 9], rtol=1e-6)
    np.testing.assert_allclose(pl.vmap(pl.grad(leaky))(xs).numpy(), [2, 0.1, 6], rtol=1e-6)
    assert pl.hessian(leaky)(pl.Tensor(2.0)).item() == 2.0
    assert pl.jvp(leaky, (pl.Tensor(-1.0),), (pl.Tensor(2.0),))[1].item() == pytest.approx(0.2)


def test_batched_loops_stop_one_by_one() -> None:
    @pl.convert
    def collatz(k: Any) -> Any:
        turns = 0
        while k != 1:
            k = k // 2 if k % 2 == 0 else 3 * k + 1
            turns += 1
        return turns

    found = pl.jit(pl.vmap(collatz))(pl.Tensor([1, 2, 3, 6, 7], "int64"))
    assert found.tolist() == [0, 1, 7, 8, 16]


def test_library_transforms_see_converted_functions() -> None:
    def relu(x: Any) -> Any:
        return x if x > 0 else x * 0

    @pl.jit(convert=True)
    def both(x: Any) -> Any:
        return pl.vmap(relu)(x), pl.grad(lambda v: relu(v[0]) + relu(v[1]))(x)

    values, slopes = both(pl.Tensor([2.0, -3.0]))
    assert (values.tolist(), slopes.tolist()) == ([2.0, 0.0], [1.0, 0.0])


def test_jitted_helpers_are_converted_too() -> None:
    @pl.jit
    def helper(x: Any) -> Any:
        return x if x > 0 else -x

    assert pl.jit(lambda x: helper(x) + 1, convert=True)(pl.Tensor(-2.0)).item() == 3.0


def test_a_global_written_in_a_branch() -> None:
    def run(x: Any) -> Any:
        global TOTAL  # noqa: PLW0603
        TOTAL = 0
        if x > 0:
            TOTAL = 5
        result = x + TOTAL
        TOTAL = 0
        return result

    jitted = pl.jit(run, convert=True)
    assert [jitted(pl.Tensor(v)).item() for v in (1.0, -1.0)] == [6.0, -1.0]
    assert TOTAL == 0


def test_assert_is_checked_after_the_run_and_again() -> None:
    @pl.jit(convert=True)
    def grow(x: Any) -> Any:
        assert x > 0, "must be positive"
        while x < 10:
            assert x != 4
            x = x * 2
        return x

    assert grow(pl.Tensor(3.0)).item() == 12
    with pytest.raises(AssertionError, match="must be positive"):
        grow(pl.Tensor(-1.0))  # and the loop, which would not end, stops
    with pytest.raises(AssertionError, match=r"at test_state\.py:\d+"):
        grow(pl.Tensor(1.0))
    assert grow(pl.Tensor(3.0)).item() == 12


def test_arguments_are_not_changed_for_the_caller() -> None:
    @pl.jit(convert=True)
    def run(x: Any) -> Any:
        y = x.clone()
        if x.sum() > 0:
            y[0] = 5.0
        return y

    x = pl.Tensor([1.0, 2.0])
    assert run(x).tolist() == [5.0, 2.0]
    assert x.tolist() == [1.0, 2.0]
    assert run(-x).tolist() == [-1.0, -2.0]
